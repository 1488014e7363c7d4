"""Disks, files, streams, locales and Ctrl-C: one line, exit code 2 or 130, never a traceback."""

from __future__ import annotations

import errno
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attend_infer_repeat.cli.main import main
from attend_infer_repeat.cli.streams import explain, is_interrupt, standard_streams
from attend_infer_repeat.errors import Stopped

PROGRAM = [sys.executable, "-m", "attend_infer_repeat"]
FULL = Path("/dev/full")

# The commands that print; what they write besides goes to the working directory.
PRINTING = {
    "help": "--help",
    "help of a command": "help train",
    "evaluate": "evaluate digits --data data.npz --split train",
    "infer": "infer digits é.png --quiet",
    "infer csv": "infer digits é.png --quiet --format csv",
    "infer coco": "infer digits é.png --quiet --format coco",
    "sample": "sample digits -n 1 --out samples-é.png",
}


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A working directory with a picture and a few scenes."""
    monkeypatch.chdir(tmp_path)
    torch.set_default_dtype(torch.float32)
    Image.fromarray(np.zeros((50, 50), np.uint8)).save("é.png")
    images = np.random.default_rng(0).integers(0, 99, (20, 50, 50), dtype=np.uint8)
    np.savez("data.npz", images=images, counts=np.zeros(20, int))


def run(line: str) -> int:
    """Run a command in this process; return its exit code, also that of its help."""
    try:
        return main(line.split())
    except SystemExit as end:
        return int(end.code or 0)


def only_line(text: str) -> str:
    assert text.count("\n") == 1, text
    assert text.startswith("air: ")
    return text


@pytest.mark.parametrize("command", PRINTING)
def test_a_closed_standard_output_is_one_line(command, capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)
    assert run(PRINTING[command]) == 2
    assert only_line(capsys.readouterr().err) == "air: standard output: closed.\n"


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("command", PRINTING)
def test_a_full_standard_output_is_one_line(command, capsys, monkeypatch) -> None:
    with FULL.open("w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert run(PRINTING[command]) == 2
    assert "No space left on device" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("command", PRINTING)
def test_a_reader_that_has_seen_enough_is_no_mistake(command, capsys, monkeypatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stream:
        monkeypatch.setattr(sys, "stdout", stream)
        assert run(PRINTING[command]) == 0
    assert capsys.readouterr().err == ""


class Broken(io.StringIO):
    """A stream that takes nothing."""

    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, "full")


@pytest.mark.parametrize("stream", [None, Broken()], ids=["closed", "full"])
@pytest.mark.parametrize("command", ["evaluate", "infer"])
def test_results_do_not_depend_on_standard_error(stream, command, capsys, monkeypatch) -> None:
    line = PRINTING[command].replace("--quiet", "")
    assert run(line) == 0
    expected = capsys.readouterr().out
    monkeypatch.setattr(sys, "stderr", stream)
    assert run(line) == 0
    assert run("evaluate nowhere") == 2  # nothing can be said, and nothing is said elsewhere
    assert capsys.readouterr().out == expected


def test_a_closed_standard_input_is_one_line(capsys, monkeypatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    assert run("infer digits - --quiet") == 2
    assert "standard input: closed" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
@pytest.mark.parametrize("command", PRINTING)
def test_every_command_prints_in_ascii(command, errors, capsys, monkeypatch) -> None:
    out, err = (
        io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=name)
        for name in (errors, "backslashreplace")
    )
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    assert run(PRINTING[command]) == 0
    assert run("evaluate é") == 2
    assert out.buffer.getvalue()  # type: ignore[attr-defined]
    assert b"\\xe9" in err.buffer.getvalue()  # type: ignore[attr-defined]


LONG = "x" * 300
PLACES = {
    "infer": f"infer digits é.png --quiet --out {LONG}",
    "infer on": f"infer digits é.png --quiet --resume --out {LONG}",
    "sample": f"sample digits -n 1 --out {LONG}.png",
    "train": f"train -n 1 -b 4 --data data.npz --preset fast --quiet --out {LONG}",
    "resume": f"train --resume {LONG}",
    "data": f"train --data {LONG} --preset fast --quiet",
    "evaluate": f"evaluate {LONG}",
    "plot": f"plot {LONG}",
    "report": f"report {LONG}",
    "picture": f"infer digits {LONG}.png --quiet --strict",
}


@pytest.mark.parametrize("command", PLACES)
def test_a_name_that_is_too_long_is_one_line(command, capsys) -> None:
    before = sorted(os.listdir())
    assert run(PLACES[command]) == 2
    assert LONG in only_line(capsys.readouterr().err)
    assert sorted(os.listdir()) == before


REFUSALS = [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EMFILE, errno.EIO]


@pytest.mark.parametrize("number", REFUSALS, ids=errno.errorcode.get)
@pytest.mark.parametrize("command", ["train", "infer", "sample", "evaluate"])
def test_whatever_the_system_refuses_is_one_line(command, number, capsys, monkeypatch) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        raise OSError(number, os.strerror(number), "some/file")

    places = {
        "train": "attend_infer_repeat.training.state.save_checkpoint",
        "infer": "attend_infer_repeat.cli.infer.load_model",
        "sample": "matplotlib.figure.Figure.savefig",
        "evaluate": "attend_infer_repeat.cli.evaluate.load_model",
    }
    lines = PRINTING | {"train": "train -n 1 -b 4 --data data.npz --preset fast --quiet"}
    monkeypatch.setattr(places[command], refuse)
    assert run(lines[command]) == 2
    line = only_line(capsys.readouterr().err)
    assert "some/file: " in line
    assert os.strerror(number) in line


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_one_line(capsys) -> None:
    Path("locked").mkdir(mode=0o500)
    assert run("sample digits -n 1 --out locked/x.png") == 2
    assert "Permission denied" in only_line(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (OSError("only\na text"), "only a text."),
        (OSError(errno.ENOENT, "No such file", b"a"), "a: No such file."),
        (OSError(), "OSError."),
    ],
)
def test_errors_of_any_form_have_a_line(error: OSError, line: str) -> None:
    assert explain(error) == line


# Ctrl-C


def interrupt(*arguments: object, **options: object) -> None:
    raise KeyboardInterrupt


PHASES = {
    "the options": ("attend_infer_repeat.cli.main.options_of", "evaluate digits"),
    "an import": ("attend_infer_repeat.cli.loading.tune_process", "evaluate digits"),
    "loading": ("attend_infer_repeat.air.AIR.load", "evaluate digits"),
    "the data": ("attend_infer_repeat.cli.evaluate.load_data", "evaluate digits"),
    "evaluation": ("attend_infer_repeat.evaluation.evaluate", PRINTING["evaluate"]),
    "inference": ("attend_infer_repeat.air.AIR.infer", "infer digits é.png --quiet"),
    "figures": ("attend_infer_repeat.viz.plots.samples_figure", "sample digits"),
    "before training": (
        "attend_infer_repeat.training.data._load",
        "train -n 1 --data data.npz --preset fast --quiet",
    ),
}


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_is_one_line_and_130(phase, capsys, monkeypatch) -> None:
    place, line = PHASES[phase]
    monkeypatch.setattr(place, interrupt)
    assert run(line) == 130
    assert only_line(capsys.readouterr().err) == "air: interrupted\n"


def test_training_that_was_stopped_has_said_so_itself(capsys, monkeypatch) -> None:
    def stop(*arguments: object, **options: object) -> None:
        raise Stopped

    monkeypatch.setattr("attend_infer_repeat.trainer.carry_out", stop)
    assert run("train --data data.npz --preset fast --quiet") == 130
    assert capsys.readouterr().err == ""


def from_cause() -> None:
    try:
        interrupt()
    except KeyboardInterrupt as error:
        raise ImportError("initialization failed") from error


def while_handled() -> None:
    try:
        interrupt()
    except KeyboardInterrupt:
        raise SystemError("no return value")  # noqa: B904 - as C code does it


@pytest.mark.parametrize("fail", [interrupt, from_cause, while_handled])
def test_ctrl_c_is_known_in_the_error_of_an_import(fail: Callable[[], None], monkeypatch) -> None:
    monkeypatch.setattr("attend_infer_repeat.cli.main._run", lambda arguments: fail())
    assert main([]) == 130


def test_other_errors_are_no_interrupt(monkeypatch) -> None:
    assert not is_interrupt(ValueError())
    monkeypatch.setattr("attend_infer_repeat.cli.main._run", lambda arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        main([])


@pytest.fixture
def heeds_ctrl_c() -> Iterator[None]:
    """Let children have SIGINT, which a shell has its background jobs ignore."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


# A process that says when it imports torch, and takes its time.
STARTING = """
import sys, time
class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "torch":
            print("importing", flush=True)
            time.sleep(60)
sys.meta_path.insert(0, Slow())
sys.argv = ["air", "evaluate", "digits"]
from attend_infer_repeat.__main__ import run
sys.exit(run())
"""


@pytest.mark.usefixtures("heeds_ctrl_c")
def test_ctrl_c_in_a_process_that_starts_is_no_traceback() -> None:
    command = [sys.executable, "-c", STARTING]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"importing\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == b"air: interrupted\n"


@pytest.mark.parametrize("errors", ["strict", "replace"])
def test_streams_are_left_as_they_were(errors: str, monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors=errors)
    monkeypatch.setattr(sys, "stdout", stream)
    with standard_streams():
        print("è")
    assert stream.errors == errors
    assert sys.stdout is stream


# Streams as a shell closes them: what Python does when it ends is seen only in a process.
REDIRECTIONS = {
    "--help > /dev/full": 2,
    "--help >&-": 2,
    "--help >&- 2>&-": 2,
    "trian 2>&-": 2,
    "trian 2> /dev/full": 2,
    "trian >&- <&-": 2,
    "--help | true": 0,
}


@pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full here")
@pytest.mark.parametrize("line", REDIRECTIONS)
def test_a_shells_redirections_end_in_a_line_at_most(line: str) -> None:
    command = f"set -o pipefail; '{sys.executable}' -m attend_infer_repeat {line}"
    process = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert process.returncode == REDIRECTIONS[line]
    assert process.stderr.count("\n") <= 1
    assert process.stdout == ""
