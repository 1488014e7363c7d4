"""Work on many items at once, in order, with a bounded number under way."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

AHEAD = 256
"""Items that are begun before the first result is taken: bounds memory."""


def in_parallel(
    function: Callable[[Item], Result], items: Iterable[Item], ahead: int = AHEAD
) -> Iterator[Result]:
    """Yield ``function(item)`` of each item, in order; threads work ``ahead`` items in advance.

    Pillow and zlib let other threads run while they decode.
    """
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1), "air-read") as pool:
        under_way: deque[Future[Result]] = deque()
        try:
            for item in items:
                under_way.append(pool.submit(function, item))
                if len(under_way) >= ahead:
                    yield under_way.popleft().result()
            while under_way:
                yield under_way.popleft().result()
        finally:
            for future in under_way:
                future.cancel()


class Budget:
    """Bytes that items under way may hold, all together.

    The oldest item that is not done yet may always go on, so that there is no waiting for ever: at
    most its own bytes come on top.

    Args:
        limit: in bytes.
    """

    def __init__(self, limit: int) -> None:
        self._limit, self._held = limit, 0
        self._oldest, self._done = 0, set[int]()
        self._changed = threading.Condition()

    def reserve(self, number: int, num_bytes: int) -> None:
        """Take bytes for an item; wait until there are enough.

        Args:
            number: the item's, counted from 0 in the order in which items are begun.
            num_bytes: what it takes.
        """
        with self._changed:
            self._changed.wait_for(
                lambda: self._held + num_bytes <= self._limit or number == self._oldest
            )
            self._held += num_bytes

    def done(self, number: int, given_back: int) -> None:
        """Mark an item as done, and give back so many of its bytes."""
        with self._changed:
            self._done.add(number)
            while self._oldest in self._done:
                self._done.remove(self._oldest)
                self._oldest += 1
            self._held -= given_back
            self._changed.notify_all()

    def give_back(self, num_bytes: int) -> None:
        """Give back bytes of items that are done."""
        with self._changed:
            self._held -= num_bytes
            self._changed.notify_all()
