"""Does `air infer`, killed at any moment, end with the same files, and is a second writer refused?

    python benchmarks/trials_infer.py --kills 30

Sixty pictures (PNG, JPEG, an array, a GIF; one that cannot be read) go through `air infer --out`
with codes, annotated pictures, reconstructions and samples, once for each form of results. Then
folders are begun anew and killed (SIGKILL) at random moments of the time that the first run took,
gone on with and killed again, up to ``PER_FOLDER`` times, and gone on with to the end: all files
are compared byte by byte with those of the first run. At last, a second process is started on a
folder that another one writes to.

Each run is a process of its own, forked once everything is imported: it is killed at its work, and
not while Python starts.

Result: ``benchmarks/results/trials/infer.json``.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import sys
import tempfile
import time
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from PIL import Image
from runs import RESULTS, machine, write_result

from attend_infer_repeat import AIR, load_dataset
from attend_infer_repeat.cli import echo  # noqa: F401 (what a run imports)
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.files import results, streaming  # noqa: F401 (what a run imports)

RESULT = RESULTS / "trials" / "infer.json"
FORMS = ("json", "csv", "coco")
PER_FOLDER = 3
"""Kills of one folder's runs, before it is gone on with to the end."""


@dataclass(frozen=True)
class Trials:
    """Kill; go on; compare."""

    kills: int = 30
    """Kills for each form of results."""
    seed: int = 0
    """Seed of the moments."""

    def run(self) -> None:
        """Run the command."""
        torch.set_num_threads(1)  # a pool of threads would not outlive a fork
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_pictures(folder / "pictures")
            AIR.load("digits").save(folder / "model")
            finish(folder, "json", folder / "warm")  # what is only slow once
            moments = random.Random(self.seed)
            forms = {form: self.trial(folder, form, moments) for form in FORMS}
            writers = two_writers(folder)
        result = {
            "command": f"python benchmarks/trials_infer.py --kills {self.kills}",
            "machine": machine(os.cpu_count() or 1),
            "forms": forms,
            "two_writers": writers,
        }
        write_result(RESULT, result)
        print(RESULT)
        sound = all(found["same_bytes"] == found["folders"] for found in forms.values())
        sys.exit(0 if sound and writers["second_refused"] and writers["first_same_bytes"] else 1)

    def trial(self, folder: Path, form: str, moments: random.Random) -> dict[str, Any]:
        """Kill runs of one form, and compare what they end with."""
        began = time.perf_counter()
        finish(folder, form, folder / form)
        seconds = time.perf_counter() - began
        expected = content(folder / form)
        kills = folders = same = 0
        after: list[int] = []  # lines at each kill
        while kills < self.kills:
            out = folder / f"{form}-{folders}"
            for _ in range(min(PER_FOLDER, self.kills - kills)):
                if not killed(folder, form, out, moments.uniform(0, seconds)):
                    break
                kills += 1
                after.append(lines(out))
            finish(folder, form, out)
            folders += 1
            same += content(out) == expected
            print(f"{form}: {kills} kills, {same} of {folders} folders the same", flush=True)
        return {
            "pictures": lines(folder / form),
            "seconds": seconds,
            "kills": kills,
            "kills_with_lines": sum(num > 0 for num in after),
            "lines_at_kills": after,
            "folders": folders,
            "same_bytes": same,
        }


def write_pictures(folder: Path) -> None:
    """Write 60 pictures, some of which take long, and one that is none."""
    folder.mkdir()
    images = load_dataset("digits", "test").images
    for i in range(24):
        Image.fromarray(images[i]).save(folder / f"{i:02d}.png")
    for i in range(24, 40):
        Image.fromarray(images[i]).resize((1200, 1200)).save(folder / f"{i:02d}.jpg")
    (folder / "broken.png").write_bytes(b"no picture")
    frames = [Image.fromarray(image) for image in images[40:50]]
    frames[0].save(folder / "clip.gif", save_all=True, append_images=frames[1:])
    np.save(folder / "some.npy", images[50:60])


def start(folder: Path, form: str, out: Path) -> BaseProcess:
    """Start a run, which begins a folder or goes on with it."""
    pictures = folder / "pictures"
    options = f"--format {form} --codes --reconstructions --samples 2 -b 4 --quiet --resume"
    names = [str(pictures), str(pictures / "some.npy")]
    arguments = ["infer", str(folder / "model"), *names, *options.split(), "--out", str(out)]
    process = multiprocessing.get_context("fork").Process(
        target=infer, args=(arguments, folder / "messages")
    )
    process.start()
    return process


def infer(arguments: list[str], messages: Path) -> None:
    """Do what the command does, in a process of its own."""
    with messages.open("wb") as said, open(os.devnull, "wb") as nothing:
        os.dup2(nothing.fileno(), 1)
        os.dup2(said.fileno(), 2)
    sys.exit(main(arguments))


def finish(folder: Path, form: str, out: Path) -> None:
    """Run to the end."""
    process = start(folder, form, out)
    process.join()
    # One picture cannot be read.
    assert process.exitcode == 1, (folder / "messages").read_text()


def killed(folder: Path, form: str, out: Path, seconds: float) -> bool:
    """Run, and kill it after so many seconds; tell whether it was still running then."""
    process = start(folder, form, out)
    process.join(seconds)
    process.kill()
    process.join()
    return process.exitcode == -signal.SIGKILL


def two_writers(folder: Path) -> dict[str, Any]:
    """Start a second process on a folder as soon as a first one has begun to write."""
    out = folder / "two"
    first = start(folder, "json", out)
    while not lines(out):
        assert first.is_alive()
        time.sleep(0.001)
    assert first.pid is not None
    # Stopped: else it might end before the second one comes.
    os.kill(first.pid, signal.SIGSTOP)
    second = start(folder, "json", out)
    second.join()
    said = (folder / "messages").read_text()
    os.kill(first.pid, signal.SIGCONT)
    first.join()
    return {
        "second_refused": second.exitcode == 2 and said.count("\n") == 1,
        "second_says": said.strip()
        .replace(str(folder), "FOLDER")
        .replace(socket.gethostname(), "HOST"),
        "first_same_bytes": content(out) == content(folder / "json"),
    }


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder of results."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def lines(folder: Path) -> int:
    """Return how many lines of results a folder has."""
    path = folder / "scenes.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


if __name__ == "__main__":
    tyro.cli(Trials, description=__doc__).run()
