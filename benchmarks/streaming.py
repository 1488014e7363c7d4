"""Does `air infer` take ever more memory, and does a killed run end with the same file?

    air benchmark streaming            measure, and print the table
    air benchmark streaming --table    print the table of the last result

A folder of PNG files, the test scenes of multi-MNIST over and over, goes through `air infer --out`
(without annotated pictures) with an untrained model of the default preset's sizes. The memory is
the process's largest resident set; a tenth of the pictures stands beside all of them. Then the run
is killed (SIGKILL) once half of its lines are written, and goes on with `--resume`: both files of
results are compared byte by byte.

Result: ``benchmarks/results/streaming.json``.
"""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro
from PIL import Image
from runs import machine, read_result, result_path, write_result

from attend_infer_repeat import AIR, ModelConfig, load_dataset

RESULT = result_path("streaming", "cpu")


@dataclass(frozen=True)
class Streaming:
    """Infer many pictures; kill the run; go on."""

    number: int = 100_000
    """Pictures."""
    table: bool = False
    """Only print the table of the last result."""

    def run(self) -> None:
        """Run the command."""
        if not self.table:
            with tempfile.TemporaryDirectory() as folder:
                write_result(RESULT, self.measure(Path(folder)))
        print(table(read_result(RESULT)))

    def measure(self, folder: Path) -> dict[str, Any]:
        """Return the result."""
        AIR(ModelConfig()).save(folder / "model")
        tenth, whole = self.number // 10, self.number
        for number in (tenth, whole):
            write_pictures(folder / str(number), number)
        runs = {
            str(number): infer(folder, str(number), folder / f"found-{number}")
            for number in (tenth, whole)
        }
        killed = infer(folder, str(whole), folder / "killed", kill_at=whole // 2)
        resumed = infer(folder, str(whole), folder / "killed", "--resume")
        digests = {
            name: hashlib.sha256((folder / name / "scenes.jsonl").read_bytes()).hexdigest()
            for name in (f"found-{whole}", "killed")
        }
        return {
            "command": f"air benchmark streaming --number {self.number}",
            "machine": machine(os.cpu_count() or 1),
            "runs": runs,
            "killed": killed,
            "resumed": resumed,
            "same_file": len(set(digests.values())) == 1,
        }


def write_pictures(folder: Path, number: int) -> None:
    """Write PNG files."""
    folder.mkdir()
    images = load_dataset("multi-mnist", "test").images
    for i in range(number):
        Image.fromarray(images[i % len(images)]).save(folder / f"{i:06d}.png", compress_level=1)


def infer(
    folder: Path, pictures: str, out: Path, *options: str, kill_at: int | None = None
) -> dict[str, Any]:
    """Run `air infer`; return lines, seconds and the largest resident set in MiB."""
    command = [sys.executable, "-m", "attend_infer_repeat.cli", "infer", str(folder / "model")]
    command += [str(folder / pictures), "--out", str(out), "--no-annotate", "--quiet", *options]
    lines, began, peak = out / "scenes.jsonl", time.perf_counter(), 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            peak = max(peak, resident(process.pid))
            if kill_at is not None and count_lines(lines) >= kill_at:
                process.send_signal(signal.SIGKILL)
            time.sleep(0.5)
    assert process.returncode == (0 if kill_at is None else -signal.SIGKILL)
    return {
        "lines": count_lines(lines),
        "seconds": time.perf_counter() - began,
        "peak_mib": peak / 2**20,
    }


def resident(pid: int) -> int:
    """Return a process's resident set in bytes."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):  # it has just ended
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def count_lines(path: Path) -> int:
    """Return how many lines a file has."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        return sum(block.count(b"\n") for block in iter(lambda: file.read(1 << 20), b""))


def table(result: dict[str, Any]) -> str:
    """Return a result as Markdown."""
    rows = {f"{int(number):,} pictures": run for number, run in result["runs"].items()}
    rows |= {"killed halfway": result["killed"], "gone on with": result["resumed"]}
    lines = [
        "| `air infer` | lines at its end | seconds | largest memory |",
        "| --- | --- | --- | --- |",
    ]
    lines += [
        f"| {name} | {run['lines']:,} | {run['seconds']:.0f} | {run['peak_mib']:.0f} MiB |"
        for name, run in rows.items()
    ]
    same = "the same, byte for byte" if result["same_file"] else "different"
    return "\n".join([*lines, "", f"The file of the run that was killed and gone on with: {same}."])


if __name__ == "__main__":
    tyro.cli(Streaming, description=__doc__, prog="air benchmark streaming").run()
