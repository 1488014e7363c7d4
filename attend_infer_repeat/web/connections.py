"""The server's connections: how many there may be, and how long each may wait for its client.

A connection waits for the server, which computes an answer, or for its client: for a request's
headers or body, or for the answer to be taken in. A client that leaves the server waiting holds a
file descriptor, of which a process has few. So its time is limited, and when no connection is left,
the one that has waited longest for its client makes room. ``guards.py`` limits bodies.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import time
import weakref
from collections.abc import Collection
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from .guards import PATIENCE

HEADER_PATIENCE = 5.0
"""Seconds that a request's headers may take to arrive, from the connection or their first byte."""

MAX_CONNECTIONS = 1_000
"""At once, where the process may have many files open."""

EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
"""What ``accept`` fails with where no connection can be added."""


def connection_limit() -> int:
    """Return how many connections there may be at once; other files need descriptors, too."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return MAX_CONNECTIONS
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if files == resource.RLIM_INFINITY:
        return MAX_CONNECTIONS
    return min(max(files // 2, files - 64), MAX_CONNECTIONS)


class Connection(H11Protocol):
    """A connection that ends if its client lets the server wait too long.

    Attributes:
        since: when it was made or, later, when its last answer was complete; of the loop's clock.
    """

    def connection_made(self, transport: Any) -> None:
        """Begin: wait for headers."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(high=0)  # writing pauses as soon as anything is not taken
        self.since = self.loop.time()
        self._sending = True  # the client, a request's headers
        self._seconds: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._limit()

    def data_received(self, data: bytes) -> None:
        """Take in a part of a request."""
        super().data_received(data)
        self._sending = not self._answering
        self._limit()

    def on_response_complete(self) -> None:
        """End an answer; the next request may be there already."""
        self.since = self.loop.time()
        super().on_response_complete()
        self._sending = not self._answering and self.conn.trailing_data[0] != b""
        self._limit()

    def pause_writing(self) -> None:
        """Begin to wait until the client takes in what was sent."""
        super().pause_writing()
        self._limit()

    def resume_writing(self) -> None:
        """End to wait."""
        super().resume_writing()
        self._limit()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    @property
    def awaits_client(self) -> bool:
        """Whether the next step is the client's."""
        return not self._answering or self.cycle.more_body or self.flow.write_paused

    @property
    def _answering(self) -> bool:
        """Whether a request is under way, from the end of its headers to the end of its answer."""
        return self.cycle is not None and not self.cycle.response_complete

    def _limit(self) -> None:
        """Limit the time for what the client has to do now; while it does nothing, uvicorn does."""
        seconds = None
        if self.flow.write_paused:
            seconds = PATIENCE
        elif self._sending and not self._answering:
            seconds = HEADER_PATIENCE
        if seconds == self._seconds:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._seconds = seconds
        self._timer = None if seconds is None else self.loop.call_later(seconds, self.abort)

    def abort(self) -> None:
        """Close it at once, whatever is under way; its descriptor is free when the loop goes on."""
        self.transport.abort()


class Listener(socket.socket):
    """A listening socket that takes in as many connections as there is room for.

    Attributes:
        limit: of open connections.
        connections: those that the server knows; it keeps them.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.limit = connection_limit()
        self.connections: Collection[Connection] = ()
        self._accepted = weakref.WeakSet[socket.socket]()

    def accept(self) -> tuple[socket.socket, Any]:
        """Take in a connection.

        At the limit, the one that has waited longest for its client is closed first; if all wait
        for the server, the new one is.

        Raises: BlockingIOError if none can be had now; the loop asks again.
        """
        self._accepted = weakref.WeakSet(part for part in self._accepted if part.fileno() >= 0)
        full = len(self._accepted) >= self.limit
        if full and (self._is_settling() or self._make_room()):
            raise BlockingIOError
        try:
            accepted, address = super().accept()
        except OSError as error:
            if error.errno not in EXHAUSTED:
                raise
            if not self._make_room():
                time.sleep(0.01)  # the loop would ask again and again, and leave nobody else time
            raise BlockingIOError from error
        if full:
            accepted.close()
            raise BlockingIOError
        self._accepted.add(accepted)
        return accepted, address

    def _is_settling(self) -> bool:
        """Whether some were taken in so lately that the server does not know them yet."""
        return len(self._accepted) > len(self.connections)

    def _make_room(self) -> bool:
        """Close what has waited longest for its client; return whether there is such a one."""
        waiting = [connection for connection in self.connections if connection.awaits_client]
        if waiting:
            min(waiting, key=lambda connection: connection.since).abort()
        return bool(waiting)
