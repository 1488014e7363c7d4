"""A file is there whole or not at all, and a folder has one writer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attend_infer_repeat.errors import BusyError
from attend_infer_repeat.storage import LOCK_FILE, is_empty, owned, replacing, write_atomically

HOLD = """
import sys, time
from pathlib import Path
from attend_infer_repeat.storage import owned
with owned(Path(sys.argv[1])):
    print("owned", flush=True)
    time.sleep(60)
"""


@contextmanager
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Have a process that owns a folder."""
    command = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "owned\n"
        try:
            yield process
        finally:
            process.kill()


def write_half(path: Path, half: bytes | str) -> None:
    """Begin to write a file, and fail."""
    with replacing(path, "wb" if isinstance(half, bytes) else "w") as file:
        file.write(half)
        raise OSError("full")


@pytest.mark.parametrize("half", [b"half", "half"])
def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, half: bytes | str
) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with pytest.raises(OSError, match="full"):
        write_half(path, half)
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_readers_find_the_old_content_until_all_of_the_new_is_written(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")
    with replacing(path, "w") as file:
        file.write("né")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_text(encoding="utf-8") == "né"


def test_the_longest_name_that_a_folder_takes_can_be_written(tmp_path: Path) -> None:
    write_atomically(tmp_path / ("x" * 255), b"content")


def test_a_folder_has_one_writer_and_the_error_names_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(BusyError, match=f"process {process.pid} on "), owned(tmp_path):
            pass
        assert json.loads((tmp_path / LOCK_FILE).read_text())["process"] == process.pid


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lock_ends_with_its_process(tmp_path: Path, number: int) -> None:
    with holder(tmp_path) as process:
        process.send_signal(number)
        process.wait()
    with owned(tmp_path):
        assert is_empty(tmp_path)
    assert not os.listdir(tmp_path)
