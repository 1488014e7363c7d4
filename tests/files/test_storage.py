"""A file is there whole or not at all, and a folder has one writer."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from attend_infer_repeat.errors import BusyError
from attend_infer_repeat.storage import (
    LOCK_FILE,
    discard_all_leftovers,
    discard_leftovers,
    is_empty,
    owned,
    replacing,
    shortened,
    write_atomically,
)

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


@pytest.mark.parametrize("name", ["x" * 255, "字" * 85], ids=["one byte", "three bytes"])
def test_the_longest_name_that_a_folder_takes_can_be_written(tmp_path: Path, name: str) -> None:
    write_atomically(tmp_path / name, b"content")


def test_an_error_names_the_file_that_the_user_knows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for path in (tmp_path / "file", tmp_path / ("x" * 300), tmp_path / "nowhere" / "file"):
        with pytest.raises(OSError, match="Errno") as raised:
            write_atomically(path, b"content")
        assert raised.value.filename == str(path)
        assert raised.value.filename2 is None
    assert not os.listdir(tmp_path)


def test_a_link_stays_a_link_to_what_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "file", tmp_path / "link"
    target.write_bytes(b"old")
    link.symlink_to(target)
    write_atomically(link, b"new")
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@pytest.mark.parametrize("mode", [0o600, 0o640, 0o644, 0o755])
def test_a_file_that_is_replaced_keeps_its_mode(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    path.chmod(mode)
    write_atomically(path, b"new")
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == mode


@pytest.mark.parametrize("linked", [False, True])
def test_what_is_no_regular_file_is_written_to_and_stays_what_it_is(
    tmp_path: Path, linked: bool
) -> None:
    pipe, link = tmp_path / "pipe", tmp_path / "link"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_atomically(link if linked else pipe, b"content")
        assert os.read(reader, 100) == b"content"
    finally:
        os.close(reader)
    assert pipe.is_fifo()
    assert sorted(os.listdir(tmp_path)) == ["link", "pipe"]


@pytest.mark.parametrize("name", ["x" * 300, "字" * 100, "xx字" * 50, "\udcff" * 300])
def test_a_name_is_cut_by_its_bytes(name: str) -> None:
    cut = shortened(name, 100)
    assert len(cut.encode(errors="surrogateescape")) <= 100
    assert name.startswith(cut)
    assert shortened(name[:30], 100) == name[:30]


def test_all_that_interrupted_writes_left_in_a_folder_is_cleared_up_and_no_more(
    tmp_path: Path,
) -> None:
    others = ["file", ".file.tmp", ".file.notes.tmp", ".mine.tmp", "x.0123abcd.tmp"]
    for name in (".file.0123abcd.tmp", ".other.89abcdef.tmp", *others):
        (tmp_path / name).write_text(name)
    discard_all_leftovers(tmp_path)
    discard_all_leftovers(tmp_path / "nowhere")
    assert sorted(os.listdir(tmp_path)) == sorted(others)


def test_only_what_an_interrupted_write_left_is_cleared_up(tmp_path: Path) -> None:
    leftover = tmp_path / ".file.0123abcd.tmp"
    others = [".other.0123abcd.tmp", "file.tmp", ".file.tmp", ".file.notes.tmp", "file.0123abcd"]
    for name in (leftover.name, *others):
        (tmp_path / name).write_text(name)
    discard_leftovers(tmp_path / "file")
    assert sorted(os.listdir(tmp_path)) == sorted(others)


@pytest.mark.parametrize("name", ["x", "x.tmp", ".x.tmp", ".lock", ".x.01234567.temp"])
def test_a_folder_with_a_users_file_is_not_empty(tmp_path: Path, name: str) -> None:
    (tmp_path / LOCK_FILE).touch()
    (tmp_path / ".file.0123abcd.tmp").touch()
    assert is_empty(tmp_path)
    (tmp_path / name).touch()
    assert not is_empty(tmp_path)


def test_a_folder_has_one_writer_and_the_error_names_it(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(BusyError, match=f"process {process.pid} on "), owned(tmp_path):
            pass
        assert json.loads((tmp_path / LOCK_FILE).read_text())["process"] == process.pid


def test_a_writer_may_wait_for_another_ones_end(tmp_path: Path) -> None:
    with holder(tmp_path) as process:
        with pytest.raises(BusyError), owned(tmp_path, timeout=0.1):
            pass
        timer = threading.Timer(0.2, process.kill)
        timer.start()
        with owned(tmp_path, timeout=60):
            assert json.loads((tmp_path / LOCK_FILE).read_text())["process"] == os.getpid()
        timer.join()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_lock_ends_with_its_process(tmp_path: Path, number: int) -> None:
    with holder(tmp_path) as process:
        process.send_signal(number)
        process.wait()
    with owned(tmp_path):
        assert is_empty(tmp_path)
    assert not os.listdir(tmp_path)
