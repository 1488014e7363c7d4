"""What stands before the interface: sizes and origins of requests, headers of answers.

A page of another site may not use the server: its requests carry that site's ``Origin``, and a name
that it has made to point here is in their ``Host`` (DNS rebinding).
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import socket
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import MAX_BODY

LOOPBACK = ("127.0.0.1", "localhost", "::1")
ANYWHERE = ("0.0.0.0", "::")

MAX_ACTIVE = 128
"""Requests whose answer has not begun; each may hold a body of ``MAX_BODY``."""

MAX_DRAINED = 20 * MAX_BODY
"""Bytes of a body too large that are read and thrown away: who still sends hears no answer."""

PATIENCE = 30.0
"""Seconds that a body may take to arrive."""

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-cache",
}
"""Of every answer that does not set them itself."""


class Refused(Exception):
    """A request that is not let in: its status, and the reason."""

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status


class Guards:
    """Lets in what may be let in, with its whole body, and puts ``HEADERS`` on what comes back.

    Args:
        app: what is guarded.
        host: the address that the server listens on.
    """

    def __init__(self, app: ASGIApp, host: str = LOOPBACK[0]) -> None:
        self.app = app
        self.hosts = allowed_hosts(host)
        self.any_address = host in ANYWHERE
        self.active = 0
        self._arriving: dict[asyncio.Task[bytes | None], None] = {}  # bodies, the oldest first

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request. HEAD is answered as GET is; the server leaves out the body."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a WebSocket: there is none, and the server closes it

        answered = False

        def count_answered() -> None:
            nonlocal answered
            self.active -= not answered
            answered = True

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                count_answered()  # a client that does not take it keeps out no other
            await send(message)

        self.active += 1
        try:
            body = await self._let_in(scope, receive)
            if body is not None:
                if scope["method"] == "HEAD":
                    scope = {**scope, "method": "GET"}
                await self.app(scope, _replay(body, receive), send_guarded)
        except Refused as refused:
            await _refuse(refused, send_guarded)
        finally:
            count_answered()

    async def _let_in(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body, or None if the client has gone. Raises: Refused."""
        headers = Headers(scope=scope)
        self._check_origin(headers)
        if self.active > MAX_ACTIVE and not self._make_room():
            raise Refused(503, f"busy with {MAX_ACTIVE} requests; try again soon.")
        body = asyncio.ensure_future(_read_body(headers, receive))
        self._arriving[body] = None
        try:
            arrived, _ = await asyncio.wait([body], timeout=PATIENCE)
            if arrived and not body.cancelled():
                return body.result()
            slow = f"took more than {PATIENCE:.0f} s"
            if arrived:
                slow = "was too slow for a server that many ask"
            raise Refused(408, f"the body {slow}; send it again.")
        finally:
            self._arriving.pop(body, None)
            body.cancel()

    def _make_room(self) -> bool:
        """Give up the body that has been on its way longest; return whether there is one."""
        for body in list(self._arriving):
            del self._arriving[body]
            if body.cancel():
                return True
        return False

    def _check_origin(self, headers: Headers) -> None:
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._is_own(hosts[0]):
            raise Refused(
                403, "Host: not an address of this server; open the one that `air serve` printed."
            )
        for origin in headers.getlist("origin"):
            if origin_host(origin) != hosts[0].lower():
                raise Refused(
                    403, "Origin: a page of another site may not use this server; open its own."
                )

    def _is_own(self, host: str) -> bool:
        name = host_name(host)
        if name is None:
            return False
        if name in self.hosts:
            return True
        # A number cannot be made to point elsewhere, as a name can.
        return self.any_address and _is_address(name)


def allowed_hosts(host: str) -> Collection[str]:
    """Return the names by which a server that listens on ``host`` is asked for."""
    own = {socket.gethostname().lower()} if host in ANYWHERE else {host.lower()}
    return {*LOOPBACK, *own}


def host_name(host: str) -> str | None:
    """Return the name in ``name:port``, ``[address]:port`` or one of them without a port."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises if it is no number
    except ValueError:
        return None
    if parts.path or parts.query or parts.fragment or "@" in host:
        return None
    return parts.hostname


def origin_host(origin: str) -> str | None:
    """Return the ``name:port`` of a web page's origin, in lower case."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return None
    return parts.netloc.lower() if parts.scheme in ("http", "https") else None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


async def _read_body(headers: Headers, receive: Receive) -> bytes | None:
    """Read the whole body. Raises: Refused if it is too large."""
    parts: list[bytes] = []
    size, more = 0, True
    announced = headers.get("content-length", "")
    if announced.isdecimal() and len(announced) > len(str(MAX_DRAINED)):
        raise _too_large()
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size <= MAX_BODY:
            parts.append(part)
        else:
            parts.clear()
        if size > MAX_DRAINED:
            break
        more = message.get("more_body", False)
    if size > MAX_BODY:
        raise _too_large()
    return b"".join(parts)


def _too_large() -> Refused:
    return Refused(
        413, f"the body has more than {MAX_BODY:,} bytes; send a smaller picture or scene."
    )


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a ``receive`` that delivers the body at once, and then what else comes."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def replayed() -> Message:
        return waiting.pop() if waiting else await receive()

    return replayed


async def _refuse(refused: Refused, send: Send) -> None:
    body = json.dumps({"detail": str(refused)}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if refused.status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": refused.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
