"""One thread in which the model computes, so that the server never waits for it.

What arrives while the thread is busy waits in line. When it is free it takes all that waits, in
order of arrival: the pictures among it go through the model at once, since a block costs the same
however many of its rows are used, then each is answered in turn.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..air import AIR
from ..files.canvases import BLOCK
from .explain import Reading, read_block

T = TypeVar("T")

LAST_SECONDS = 2.0
"""For what is under way at the end; who pressed Ctrl-C does not wait for a long computation."""


@dataclass(frozen=True)
class _Job:
    canvas: NDArray[np.uint8] | None  # to read first, if any
    work: Callable[..., Any]  # gets the reading and the row there, or nothing
    done: Future[Any]


class Worker:
    """Runs what uses the model, in its own thread, which starts at once."""

    def __init__(self, air: AIR) -> None:
        self._air = air
        self._waiting: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._closing = threading.Lock()
        self._closed = False
        # Joined, not a daemon: the end of the process would cut the model's arithmetic off, which
        # C++ takes for a crash.
        self._thread = threading.Thread(target=self._serve, name="model")
        self._thread.start()

    def close(self) -> None:
        """Refuse what comes, finish what waits, and end the thread; wait a while for that."""
        with self._closing:
            if not self._closed:
                self._closed = True
                self._waiting.put(None)
        self._thread.join(LAST_SECONDS)

    def submit(self, work: Callable[[], T]) -> Future[T]:
        """Have something done once it is its turn."""
        return self._put(None, work)

    async def run(self, work: Callable[[], T]) -> T:
        """Have something done, and wait for its result."""
        return await asyncio.wrap_future(self.submit(work))

    async def read(self, canvas: NDArray[np.uint8], work: Callable[[Reading, int], T]) -> T:
        """Have a picture read, and something made of the reading and the picture's row there."""
        return await asyncio.wrap_future(self._put(canvas, work))

    def _put(self, canvas: NDArray[np.uint8] | None, work: Callable[..., T]) -> Future[T]:
        job = _Job(canvas, work, Future())
        with self._closing:
            if self._closed:
                job.done.cancel()
            else:
                self._waiting.put(job)
        return job.done

    def _serve(self) -> None:
        torch.set_num_threads(1)  # of this thread: tiny products only make a second one wait
        ended = False
        while not ended:
            jobs = self._next_jobs()
            ended = None in jobs
            self._do([job for job in jobs if job is not None])

    def _next_jobs(self) -> list[_Job | None]:
        """Wait for something to do; return all that waits by then, up to a block of it."""
        jobs = [self._waiting.get()]
        while len(jobs) < BLOCK and jobs[-1] is not None:
            try:
                jobs.append(self._waiting.get_nowait())
            except queue.Empty:
                break
        return jobs

    def _do(self, jobs: list[_Job]) -> None:
        jobs = [job for job in jobs if job.done.set_running_or_notify_cancel()]
        canvases = [job.canvas for job in jobs if job.canvas is not None]
        row = 0
        try:
            reading = read_block(self._air, canvases) if canvases else None
        except Exception as error:
            for job in jobs:
                job.done.set_exception(error)
            return
        for job in jobs:
            try:
                if job.canvas is None:
                    job.done.set_result(job.work())
                else:
                    job.done.set_result(job.work(reading, row))
                    row += 1
            except Exception as error:
                row += job.canvas is not None
                job.done.set_exception(error)
