"""What `air serve` does: open the address, load the model, answer until Ctrl-C."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import webbrowser
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import TYPE_CHECKING

from ..errors import ConfigError, MissingError

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from ..air import AIR
    from .connections import Listener

logger = logging.getLogger(__name__)

LOCAL = ("localhost", "127.0.0.1", "::1")

GRACE = 3
"""Seconds for what is being answered at the end."""


def serve(
    load: Callable[[], AIR],
    name: str,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    in_browser: bool = False,
) -> None:
    """Serve the page of a model until Ctrl-C.

    Args:
        load: loads the model, once the address is had.
        name: what the page calls the model.
        host: the address to listen on.
        port: 0 takes any that is free.
        in_browser: open the page in the user's browser.

    Ctrl-C ends the process with 130: at once, or once what is under way is answered. The second
    one does not wait for that.

    Raises: MissingError if what it needs is not installed; ConfigError if the address cannot be
        had; what ``load`` raises.
    """
    for package in ("fastapi", "uvicorn", "jinja2"):
        if find_spec(package) is None:
            raise MissingError(package, "web", "air serve")
    with _ended_by_ctrl_c(), open_address(host, port) as listener:
        _answer(load(), name, host, listener, in_browser)


@contextmanager
def _ended_by_ctrl_c() -> Iterator[None]:
    """Let Ctrl-C end the process, without an exception.

    One that is raised inside an import or a callback is printed there, or lost; and the end of the
    interpreter would wait for the threads. Nothing is lost: the server keeps nothing.
    """
    if threading.current_thread() is not threading.main_thread():  # it gets no signals
        yield
        return
    before = signal.signal(signal.SIGINT, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _leave(number: int, frame: FrameType | None) -> None:
    os._exit(128 + number)


def open_address(host: str, port: int) -> Listener:
    """Open an address to listen on; port 0 takes any that is free.

    Raises: ConfigError if it cannot be had.
    """
    from .connections import Listener

    if not 0 <= port <= 65535:
        raise ConfigError(f"port: expected 0 to 65535, got {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = Listener(family, kind, protocol)
    except (OSError, UnicodeError) as error:
        raise ConfigError(f"host: {host} is no address of this machine.") from error
    try:
        if os.name == "posix":  # elsewhere it would share an address that is in use
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise ConfigError(
            f"{host}, port {port}: {error.strerror or error}; choose another with --port or --host."
        ) from error
    return listener


def address_of(listener: socket.socket, host: str) -> str:
    """Return what to open in a browser."""
    port = listener.getsockname()[1]
    name = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{name}]:{port}" if ":" in name else f"http://{name}:{port}"


def _open(address: str) -> bool:
    """Open a page in the user's browser; return whether there is one."""
    try:
        return webbrowser.open(address)
    except webbrowser.Error:
        return False


def make_server(app: FastAPI, listener: Listener) -> uvicorn.Server:
    """Return what answers an address with an app: ``run(sockets=[listener])``."""
    import uvicorn

    from .connections import Connection

    class Server(uvicorn.Server):
        """One that ends without a word."""

        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            if self.should_exit:
                _leave(sig, frame)
            # What is cut off when its time is over is no error.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="error",  # warnings are of mistakes of clients
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=GRACE,
    )
    server = Server(config)
    listener.connections = server.server_state.connections  # type: ignore[assignment]
    return server


def _answer(air: AIR, name: str, host: str, listener: Listener, in_browser: bool) -> None:
    from .app import make_app

    if host not in LOCAL:
        logger.warning(
            "Anyone who reaches this machine at %s can use the model, which has no password.",
            host,
        )
    app = make_app(air, name, host)
    try:
        address = address_of(listener, host)
        print(f"Open {address}", flush=True)
        if in_browser and not _open(address):
            logger.warning("No browser could be started; open the address in one.")
        make_server(app, listener).run(sockets=[listener])
    finally:
        app.state.service.close()
