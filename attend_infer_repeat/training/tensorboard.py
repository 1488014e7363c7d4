"""TensorBoard's log of a run. Its package is imported only where the log is asked for."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..errors import MissingError, warn_once


def can_write_events() -> bool:
    """Tell whether TensorBoard's package is installed; a warning says so if it is not."""
    if find_spec("tensorboard") is not None:
        return True
    missing = MissingError("tensorboard", "tensorboard", "a log for TensorBoard")
    warn_once(f"Left out: {missing}")
    return False


class EventWriter:
    """Writes scalars as TensorBoard's events.

    Not TensorBoard's ``SummaryWriter``, which writes in a thread: on a full disk, that thread ends
    in a traceback instead of an error that can be handled.
    """

    def __init__(self, folder: Path, step: int) -> None:
        """Open a new file in ``folder`` after optimization step ``step``.

        Raises: OSError if it cannot be written, as all the methods.
        """
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.summary.writer.record_writer import RecordWriter

        self._event, self._summary = event_pb2.Event, summary_pb2.Summary
        folder.mkdir(exist_ok=True)
        interrupted = any(folder.iterdir())
        name = f"events.out.tfevents.{time.time():.6f}.{socket.gethostname()}.{os.getpid()}"
        self._file = (folder / name).open("ab")
        self._records = RecordWriter(self._file)
        self._add(file_version="brain.Event:2")
        if interrupted:  # hides the later steps that earlier files hold: they are taken again
            session_start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
            self._add(step=step + 1, session_log=session_start)

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        """Write the values of a step by their tags."""
        for tag, value in scalars.items():
            summary = self._summary(value=[self._summary.Value(tag=tag, simple_value=value)])
            self._add(step=step, summary=summary)
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _add(self, **content: Any) -> None:
        self._records.write(self._event(wall_time=time.time(), **content).SerializeToString())
