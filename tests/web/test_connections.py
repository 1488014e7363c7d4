"""Clients that let the server wait are closed, and keep nobody else out."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests
from fastapi import FastAPI, Request, Response
from serving import Page, serving

from attend_infer_repeat.web import connections, guards
from attend_infer_repeat.web.connections import MAX_CONNECTIONS, Listener, connection_limit
from attend_infer_repeat.web.guards import Guards

resource = pytest.importorskip("resource", reason="needs limits of files")

SHORT = 0.3  # seconds that clients have in these tests
LARGE = 6_000_000  # bytes, more than two sockets' buffers hold
HEAD = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
POST = b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n"


def app() -> FastAPI:
    """Return a server without a model."""
    app = FastAPI()
    app.state.free = threading.Event()
    app.state.num_slow = 0
    app.add_middleware(Guards)

    @app.get("/")
    async def sound() -> str:
        return "sound"

    @app.get("/large")
    async def large() -> Response:
        return Response(bytes(LARGE))

    @app.get("/slow")
    async def slow() -> str:
        app.state.num_slow += 1
        while not app.state.free.is_set():
            await asyncio.sleep(0.02)
        return "slow"

    @app.post("/")
    async def echo(request: Request) -> Response:
        return Response(await request.body())

    return app


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_PATIENCE", SHORT)
    monkeypatch.setattr(connections, "PATIENCE", SHORT)
    monkeypatch.setattr(guards, "PATIENCE", SHORT)


@contextmanager
def connected(page: Page, sent: bytes = b"", buffer: int | None = None) -> Iterator[socket.socket]:
    """Connect, and send something; ``buffer`` is what the client holds of an answer."""
    with socket.socket() as client:
        if buffer is not None:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        client.settimeout(10)
        client.connect(("127.0.0.1", page.port))
        client.sendall(sent)
        yield client


def hears(client: socket.socket, word: bytes) -> bool:
    """Read until a word comes; tell whether it did before the end."""
    heard = b""
    while word not in heard and (part := client.recv(10_000)):
        heard += part
    return word in heard


def is_closed(client: socket.socket) -> bool:
    """Read all that comes; tell whether that was the end within the time."""
    try:
        while client.recv(1_000_000):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True


# How long one may take

HALVES = {
    "nothing": b"",
    "half a line": b"GE",
    "half of the headers": HEAD,
    "a request, then half of the next": HEAD + b"\r\n" + HEAD,
}


@pytest.mark.parametrize("half", HALVES)
def test_half_a_request_is_waited_for_only_so_long(half: str, short: None) -> None:
    with serving(app()) as page:
        began = time.monotonic()
        with connected(page, HALVES[half]) as client:
            assert is_closed(client)
        assert SHORT / 2 < time.monotonic() - began < 5


@pytest.mark.parametrize("begin", [b"", HEAD, HEAD + b"\r\n", POST])
def test_a_byte_now_and_then_buys_no_time(begin: bytes, short: None) -> None:
    with serving(app()) as page, connected(page, begin) as client:
        client.settimeout(0.05)
        began, open_ = time.monotonic(), True
        while open_ and time.monotonic() - began < 5:
            try:
                client.sendall(b"X")
                open_ = not is_closed(client)
            except ConnectionError:
                open_ = False
        assert not open_


def test_an_answer_that_is_not_taken_is_not_kept(short: None) -> None:
    request = HEAD.replace(b"/ ", b"/large ") + b"\r\n"
    with serving(app()) as page, connected(page, request, buffer=4096) as client:
        time.sleep(4 * SHORT)
        assert is_closed(client)
        assert page.get("/").ok


def test_a_slow_computation_is_waited_for(short: None) -> None:
    served = app()
    request = HEAD.replace(b"/ ", b"/slow ") + b"\r\n"
    with serving(served) as page, connected(page, request) as client:
        time.sleep(3 * SHORT)
        served.state.free.set()
        assert hears(client, b"slow")


def test_an_open_connection_is_used_again(short: None) -> None:
    with serving(app()) as page, connected(page) as client:
        for _ in range(3):
            client.sendall(HEAD + b"\r\n")
            assert hears(client, b"sound")
            time.sleep(1.2 * SHORT)  # idle: another limit, uvicorn's


# How many there may be

HANGING = {
    "nothing": (b"", None),
    "half of the headers": (HEAD, None),
    "a body that does not come": (POST, None),
    "an answer that is not taken": (HEAD.replace(b"/ ", b"/large ") + b"\r\n", 4096),
    "nothing after an answer": (HEAD + b"\r\n", None),
}


@pytest.mark.parametrize("kind", HANGING)
def test_clients_that_hang_keep_nobody_out(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEADER_PATIENCE", 600)  # they do not go by themselves
    sent, buffer = HANGING[kind]
    with serving(app(), limit=4) as page, ExitStack() as stack:
        clients = [stack.enter_context(connected(page, sent, buffer)) for _ in range(12)]
        for _ in range(3):
            assert page.get("/").text == '"sound"'
            clients += [stack.enter_context(connected(page, sent, buffer)) for _ in range(4)]
        assert page.post("/", {"a": 1}).ok
        for client in clients:
            client.settimeout(0.02)
        assert sum(not is_closed(client) for client in clients) <= 4


def test_where_all_wait_for_the_server_the_next_is_closed() -> None:
    served = app()
    request = HEAD.replace(b"/ ", b"/slow ") + b"\r\n"
    with serving(served, limit=4) as page, ExitStack() as stack:
        clients = [stack.enter_context(connected(page, request)) for _ in range(4)]
        while served.state.num_slow < 4:
            time.sleep(0.01)
        before = time.process_time()
        with connected(page, HEAD + b"\r\n") as client:
            assert is_closed(client)
        time.sleep(0.5)
        assert time.process_time() - before < 0.3  # the loop does not spin
        served.state.free.set()
        assert all(hears(client, b"slow") for client in clients)
        assert page.get("/").ok


@pytest.mark.parametrize("code", connections.EXHAUSTED)
def test_where_descriptors_run_out_room_is_made(
    code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    failures = iter([OSError(code, "none left")] * 5)
    accept = socket.socket.accept
    with serving(app()) as page, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(connected(page))
        assert page.get("/").ok

        def failing(listener: socket.socket) -> Any:
            for failure in failures:
                raise failure
            return accept(listener)

        monkeypatch.setattr(socket.socket, "accept", failing)
        assert page.get("/").ok  # of five failures three had a connection to close
        assert next(failures, None) is None
    assert caplog.records == []


def test_other_errors_are_the_loops_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(listener: socket.socket) -> Any:
        raise OSError(errno.EPROTO, "broken")

    with Listener() as listener:
        monkeypatch.setattr(socket.socket, "accept", failing)
        with pytest.raises(OSError, match="broken"):
            listener.accept()


LIMITS = {64: 32, 128: 64, 256: 192, 1024: 960, 100_000: MAX_CONNECTIONS}


@pytest.mark.parametrize("files", [*LIMITS, resource.RLIM_INFINITY])
def test_the_limit_leaves_descriptors_for_files(
    files: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (files, files))
    assert connection_limit() == LIMITS.get(files, MAX_CONNECTIONS)


def test_sound_clients_over_the_limit_take_turns() -> None:
    with serving(app(), limit=4) as page, requests.Session() as session:
        session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=1, max_retries=3))
        assert all(session.get(page.url).ok for _ in range(5))
        with ExitStack() as stack:
            for _ in range(12):
                client = stack.enter_context(connected(page, HEAD + b"\r\n"))
                assert hears(client, b"sound")
