"""How files are written, and how a folder has one writer at a time.

A file is written beside its place under a temporary name, and moved there once all of it is on the
disk: readers find the old content or the new, also after a crash, a kill or a full disk.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from filelock import FileLock, Timeout

from .errors import BusyError

TEMPORARY = ".tmp"
LOCK_FILE = ".air-lock"


@contextmanager
def replacing(path: str | os.PathLike[str], mode: str = "wb", **options: Any) -> Iterator[IO[Any]]:
    """Open a file to write, which replaces ``path`` when the ``with`` block ends.

    Nothing changes at ``path`` if the block raises. A link stays one: what it leads to is replaced,
    by a file of the same mode. What is no regular file, such as a pipe or ``/dev/null``, cannot be
    replaced: it is written to as the block goes on.

    Args:
        path: the file; its folder must exist.
        mode: ``wb``, or ``w`` for text.
        **options: of ``open``, such as ``newline``; text is UTF-8.
    Raises: OSError, which names ``path``, if it cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f"{_prefix(target)}{secrets.token_hex(4)}{TEMPORARY}")
    if "b" not in mode:
        options = {"encoding": "utf-8"} | options
    old = _mode(path)
    if old is not None and not stat.S_ISREG(old):
        with open(path, mode, **options) as file:
            yield file
        return
    try:
        with temporary.open(mode, **options) as file:
            if old is not None:
                with contextlib.suppress(OSError):  # file systems without modes
                    temporary.chmod(stat.S_IMODE(old))
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if (
            isinstance(error, OSError)
            and error.errno is not None
            and error.filename in (None, str(temporary))
        ):
            # Users know the file by its own name, and a full disk's error has none at all.
            raise OSError(error.errno, error.strerror, os.fspath(path)) from error
        raise
    sync_folder(target.parent)


def _mode(path: str | os.PathLike[str]) -> int | None:
    """Return the type and the permissions of what is at a path; None if nothing is."""
    try:
        return os.stat(path).st_mode
    except (OSError, ValueError):  # opening it says what is wrong
        return None


def write_atomically(path: str | os.PathLike[str], content: bytes) -> None:
    """Replace a file in one go; see ``replacing``."""
    with replacing(path) as file:
        file.write(content)


def discard_leftovers(path: Path) -> None:
    """Remove what interrupted writes of a file left beside it. Only its one writer may do so."""
    _discard(path.parent, _prefix(path))


def discard_all_leftovers(folder: Path) -> None:
    """Remove what interrupted writes left in a folder. Only its one writer may do so."""
    if folder.is_dir():
        _discard(folder, "")


def _discard(folder: Path, prefix: str) -> None:
    for name in os.listdir(folder):
        if name.startswith(prefix) and _is_leftover(name):
            (folder / name).unlink(missing_ok=True)


def _prefix(path: Path) -> str:
    """Return how the names begin under which a file is written: 102 bytes at most."""
    return f".{shortened(path.name, 100)}."


def shortened(name: str, num_bytes: int) -> str:
    """Cut a file's name to so many bytes, which is what file systems count."""
    encoded = name.encode(errors="surrogateescape")
    return name if len(encoded) <= num_bytes else encoded[:num_bytes].decode(errors="ignore")


def _is_leftover(name: str) -> bool:
    return re.fullmatch(rf"\..+\.[0-9a-f]{{8}}{re.escape(TEMPORARY)}", name, re.DOTALL) is not None


def sync_folder(folder: Path) -> None:
    """Have a folder's entries on the disk: without it, a power cut can undo a move."""
    with contextlib.suppress(OSError):  # systems that cannot open or sync folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def owned(folder: Path, timeout: float = 0.0) -> Iterator[None]:
    """Be the only process that writes to a folder, for the length of a ``with`` block.

    The lock goes with its process, however that ends. The file beside it names the owner.

    Args:
        folder: made if need be.
        timeout: seconds to wait for another owner's end.
    Raises: BusyError if another process owns it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK_FILE
    lock = FileLock(path, timeout=timeout, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise BusyError(
            f"{folder}: {_owner(path)} is writing to it; wait for its end, or use another folder."
        ) from None
    try:
        path.write_text(json.dumps({"process": os.getpid(), "host": socket.gethostname()}) + "\n")
        yield
    finally:
        # The file is removed before the lock is released. Another process may have opened it and
        # wait for the lock: when it gets it, filelock sees that the file is gone, and makes a new
        # one. In the other order, this would remove a file that the next owner has locked.
        with contextlib.suppress(OSError):
            path.unlink()
        lock.release()


def _owner(path: Path) -> str:
    """Name the process that holds a lock."""
    try:
        owner = json.loads(path.read_bytes())
        return f"process {int(owner['process'])} on {owner['host']}"
    except (OSError, ValueError, TypeError, KeyError):
        return "another process"


def is_empty(folder: Path) -> bool:
    """Tell whether a folder holds nothing but a lock and what an interrupted write left."""
    return all(name == LOCK_FILE or _is_leftover(name) for name in os.listdir(folder))
