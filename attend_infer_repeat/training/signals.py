"""Ctrl-C and SIGTERM during training: a request to stop after the step under way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class StopRequest:
    """Whether the user has asked training to stop."""

    made = False


@contextmanager
def stop_on_signal(patient: bool) -> Iterator[StopRequest]:
    """Let Ctrl-C and SIGTERM ask for an end; a second one raises KeyboardInterrupt at once.

    The handlers are those of before when the ``with`` block ends. Only a process's main thread can
    have handlers: in others, nothing changes.

    Args:
        patient: take no second signal for impatience: torchrun passes on to its processes what the
            terminal has sent them already.
    """
    stop = StopRequest()

    def request(signum: int, frame: FrameType | None) -> None:
        if stop.made and not patient:
            raise KeyboardInterrupt
        stop.made = True

    signals = (signal.SIGINT, signal.SIGTERM)
    try:
        previous = [signal.signal(number, request) for number in signals]
    except ValueError:  # not the main thread
        yield stop
        return
    try:
        yield stop
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)
