"""What stands before the interface, by itself: without a network, without a model."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from attend_infer_repeat.web import guards
from attend_infer_repeat.web.guards import MAX_ACTIVE, Guards, host_name


async def echo(scope: Any, receive: Any, send: Any) -> None:
    """Answer with the body that came."""
    message = await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": message["body"]})


def ask(*arguments: Any, **options: Any) -> tuple[int, bytes]:
    """Do what ``send`` does."""
    return asyncio.run(send(*arguments, **options))


async def send(
    app: Any, parts: list[bytes], host: str = "localhost", wait: float = 0.0
) -> tuple[int, bytes]:
    """Send a POST whose body comes in parts, the last of which takes a while."""
    sent: list[dict[str, Any]] = []
    waiting = list(parts)

    async def receive() -> dict[str, Any]:
        if len(waiting) == 1:
            await asyncio.sleep(wait)
        return {"type": "http.request", "body": waiting.pop(0), "more_body": bool(waiting)}

    async def hear(message: dict[str, Any]) -> None:
        sent.append(message)

    headers = [(b"host", host.encode()), (b"content-type", b"application/json")]
    scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
    await app(scope, receive, hear)
    return sent[0]["status"], sent[1]["body"]


def test_a_body_in_parts_arrives_whole() -> None:
    assert ask(Guards(echo), [b"a", b"", b"bc"]) == (200, b"abc")


def test_a_body_in_parts_is_measured_whole() -> None:
    status, reason = ask(Guards(echo), [b" " * 1_000_000] * 5 + [b" "])
    assert status == 413
    assert b"detail" in reason
    assert ask(Guards(echo), [b" " * 1_000_000] * 5)[0] == 200


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guards, "PATIENCE", 0.05)
    assert ask(Guards(echo), [b"a", b"b"], wait=5)[0] == 408


def test_more_requests_than_are_served_at_once_are_told_to_come_back() -> None:
    guarded = Guards(echo)
    guarded.active = MAX_ACTIVE
    status, reason = ask(guarded, [b""])
    assert status == 503
    assert b"try again" in reason
    guarded.active -= 1
    assert ask(guarded, [b""])[0] == 200
    assert guarded.active == MAX_ACTIVE - 1


def test_bodies_that_do_not_come_make_room_for_those_that_do() -> None:
    guarded = Guards(echo)

    async def crowd() -> list[tuple[int, bytes]]:
        slow = [
            asyncio.create_task(send(guarded, [b"a", b"b"], wait=60)) for _ in range(MAX_ACTIVE)
        ]
        await asyncio.sleep(0.05)
        sound = [await send(guarded, [b"a", b"b"]) for _ in range(3)]
        refused, late = await asyncio.wait(slow, return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        await asyncio.wait(slow)
        return [*sound, *(task.result() for task in refused)]

    *sound, refused = asyncio.run(crowd())
    assert sound == [(200, b"ab")] * 3
    assert refused[0] == 408
    assert b"slow" in refused[1]
    assert guarded.active == 0


def test_answers_that_are_not_taken_keep_nobody_out() -> None:
    counts: list[int] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        counts.append(guarded.active)
        await echo(scope, receive, send)

    async def send(message: dict[str, Any]) -> None:
        counts.append(guarded.active)  # it may take long to be taken

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    guarded = Guards(app)
    scope = {"type": "http", "method": "POST", "path": "/", "headers": [(b"host", b"localhost")]}
    asyncio.run(guarded(scope, receive, send))
    assert counts == [1, 0, 0]
    assert guarded.active == 0


def test_a_client_that_leaves_is_forgotten() -> None:
    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        raise AssertionError("answered nobody")

    guarded = Guards(echo)
    headers = [(b"host", b"localhost")]
    scope = {"type": "http", "method": "GET", "path": "/", "headers": headers}
    asyncio.run(guarded(scope, receive, send))
    assert guarded.active == 0


OPEN = {
    ("127.0.0.1", "10.0.0.5"): 403,
    ("10.0.0.5", "10.0.0.5:8000"): 200,
    ("10.0.0.5", "localhost"): 200,
    ("10.0.0.5", "10.0.0.6"): 403,
    ("box.local", "BOX.local:8000"): 200,
    ("0.0.0.0", "10.0.0.5:8000"): 200,
    ("0.0.0.0", "[fe80::1]"): 200,
    ("0.0.0.0", "example.org"): 403,
    ("0.0.0.0", socket.gethostname()): 200,
    ("::", "10.0.0.5"): 200,
}


@pytest.mark.parametrize(("listening", "host"), OPEN)
def test_a_server_answers_to_its_own_address(listening: str, host: str) -> None:
    assert ask(Guards(echo, listening), [b""], host)[0] == OPEN[listening, host]


def test_a_name_is_found_with_and_without_a_port() -> None:
    assert host_name("a.b:80") == host_name("A.b") == "a.b"
    assert host_name("[::1]:80") == host_name("[::1]") == "::1"
    for wrong in ("", "a:b", "a@b", "a/b", "[", "a?b", "a#b", "a:123456"):
        assert host_name(wrong) is None
