"""What `air serve` does: open the address, load the model, answer until Ctrl-C."""

from __future__ import annotations

import logging
import os
import socket
import webbrowser
from importlib.util import find_spec
from typing import TYPE_CHECKING

from ..errors import ConfigError

if TYPE_CHECKING:
    from ..cli import Serve

logger = logging.getLogger(__name__)

LOCAL = ("localhost", "127.0.0.1", "::1")


def serve(options: Serve) -> None:
    """Do what `air serve` does, with its options.

    Raises: ConfigError if what it needs is not installed, or the address cannot be had;
        CheckpointError if there is no such model.
    """
    for name in ("fastapi", "uvicorn"):
        if find_spec(name) is None:
            raise ConfigError(
                f"air serve needs {name}, which is not installed; "
                "pip install 'attend-infer-repeat[web]'"
            )
    with open_address(options.host, options.port) as listener:
        _answer(options, listener)


def open_address(host: str, port: int) -> socket.socket:
    """Open an address to listen on; port 0 takes any that is free.

    Raises: ConfigError if it cannot be had.
    """
    if not 0 <= port <= 65535:
        raise ConfigError(f"port: expected 0 to 65535, got {port}.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
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


def _answer(options: Serve, listener: socket.socket) -> None:
    import uvicorn

    from ..cli import load_model
    from .app import make_app

    air = load_model(options.model, options.device)
    if options.host not in LOCAL:
        logger.warning(
            "Anyone who reaches this machine at %s can use the model, which has no password.",
            options.host,
        )
    app = make_app(air, options.model, options.host)
    config = uvicorn.Config(
        app,
        http="h11",
        ws="none",
        loop="asyncio",
        lifespan="on",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )
    address = address_of(listener, options.host)
    print(f"Open {address}", flush=True)
    try:
        if options.open:
            webbrowser.open(address)
        uvicorn.Server(config).run(sockets=[listener])
    finally:
        app.state.service.close()
