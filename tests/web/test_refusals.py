"""Every mistake is answered with a 4xx and its reason; the server goes on."""

from __future__ import annotations

import http.client
import io
import json
import struct
import zlib
from collections.abc import Iterator

import numpy as np
import pytest
import requests
from serving import Page, base64_of, png

SOUND = png(np.zeros((50, 50), np.uint8))
CODE = [0.0] * 50
OBJECT = {"z_where": [2.6, 0, 0], "z_what": CODE}


def bomb(width: int, height: int, rows: int = 0) -> str:
    """Return a PNG of a few bytes that claims a size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + checksum

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    data = zlib.compress(bytes((width + 1) * rows), 9)
    file = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )
    return base64_of(file)


def of(**fields: object) -> bytes:
    return json.dumps(fields).encode()


# name: (address, body, status, what the reason says)
BODIES: dict[str, tuple[str, bytes, int, str]] = {
    "empty": ("infer", b"", 422, "required"),
    "no JSON": ("infer", b"image=x", 400, "JSON"),
    "half JSON": ("infer", b'{"image": "AA', 400, "JSON"),
    "no text": ("infer", b"\xff\xfe\x00", 400, "JSON"),
    "a list": ("infer", b"[]", 422, "object"),
    "null": ("infer", b"null", 422, "body"),
    "nothing to read": ("infer", b"{}", 422, "image, pixels"),
    "both": ("infer", of(image="AAAA", pixels=[[0]]), 422, "both"),
    "unknown field": ("infer", of(image="AAAA", bogus=1), 422, "bogus: no such field"),
    "half a character": ("infer", b'{"\\ud800": 1}', 422, "unicode"),
    "deep lists": ("infer", b"[" * 100_000, 400, "nested"),
    "deep pixels": ("infer", b'{"pixels": ' + b"[" * 900 + b"]" * 900 + b"}", 422, "pixels"),
    "deep objects": ("infer", b'{"a":' * 50_000 + b"1" + b"}" * 50_000, 400, "nested"),
    "number for an image": ("infer", of(image=3), 422, "image"),
    "not base64": ("infer", of(image="!!!!"), 422, "base64"),
    "not ASCII": ("infer", of(image="ééé"), 422, "base64"),
    "data URI of text": ("infer", of(image="data:image/svg+xml,<svg/>"), 422, "base64"),
    "path": ("infer", of(image="/etc/passwd"), 422, "image"),
    "file URI": ("infer", of(image="file:///etc/passwd"), 422, "base64"),
    "not a picture": ("infer", of(image=base64_of(b"hello" * 100)), 422, "format"),
    "SVG": (
        "infer",
        of(image=base64_of(b"<svg xmlns='http://www.w3.org/2000/svg'/>")),
        422,
        "form",
    ),
    "empty picture": ("infer", of(image=""), 422, "image"),
    "cut picture": ("infer", of(image=base64_of(SOUND[:60])), 422, "image"),
    "tiny picture": ("infer", of(image=base64_of(png(np.zeros((2, 9), np.uint8)))), 422, "small"),
    "bomb": ("infer", of(image=bomb(60_000, 60_000)), 422, "pixels"),
    "bomb that unpacks": ("infer", of(image=bomb(5_000, 5_000, 5_000)), 422, "16,000,000"),
    "picture without rows": ("infer", of(image=bomb(3_000, 3_000)), 422, "image"),
    "NaN": ("infer", b'{"pixels": [[NaN]]}', 422, "pixels.0.0"),
    "infinity": ("infer", b'{"pixels": [[0, -Infinity]]}', 422, "pixels.0.1"),
    "overflow": ("infer", b'{"pixels": [[1e999]]}', 422, "finite"),
    "too bright": ("infer", of(pixels=[[1.5]]), 422, "less than or equal to 1"),
    "truth for a pixel": ("infer", of(pixels=[[True]]), 422, "number"),
    "text for a pixel": ("infer", of(pixels=[["1"]]), 422, "number"),
    "no pixels": ("infer", of(pixels=[]), 422, "pixels"),
    "no columns": ("infer", of(pixels=[[]]), 422, "pixels"),
    "ragged": ("infer", of(pixels=[[0, 0], [0]]), 422, "unlike"),
    "other size": ("infer", of(pixels=[[0.0] * 49] * 50), 422, "expected (channels"),
    "other channels": ("infer", of(pixels=[[[0.0] * 50] * 50] * 3), 422, "expected (channels"),
    "too many rows": ("infer", of(pixels=[[0]] * 2_000), 422, "1024"),
    "unknown way": ("infer", of(image="AAAA", invert="maybe"), 422, "invert"),
    "too many samples": ("infer", of(image="AAAA", samples=501), 422, "samples"),
    "half a sample": ("infer", of(image="AAAA", samples=0.5), 422, "samples"),
    "negative seed": ("infer", of(image="AAAA", seed=-1), 422, "seed"),
    "huge seed": ("infer", of(image="AAAA", seed=2**64), 422, "seed"),
    "endless seed": ("infer", b'{"image": "AAAA", "seed": ' + b"9" * 5_000 + b"}", 400, "digits"),
    "long name": ("infer", of(image="AAAA", name="x" * 300), 422, "name"),
    "no objects": ("render", b"{}", 422, "objects"),
    "10,000 objects": ("render", of(objects=[OBJECT] * 10_000), 422, "at most 50"),
    "51 objects": ("render", of(objects=[OBJECT] * 51), 422, "at most 50"),
    "short code": ("render", of(objects=[OBJECT, OBJECT | {"z_what": [0]}]), 422, "1.z_what"),
    "long code": ("render", of(objects=[OBJECT | {"z_what": [0] * 51}]), 422, "50 numbers, got 51"),
    "short pose": ("render", of(objects=[OBJECT | {"z_where": [1, 0]}]), 422, "z_where"),
    "NaN in a pose": ("render", b'{"objects": [{"z_where": [NaN, 0, 0]}]}', 422, "z_where.0"),
    "huge pose": ("render", of(objects=[OBJECT | {"z_where": [1e300, 0, 0]}]), 422, "10000"),
    "endless pose": (
        "render",
        b'{"objects": [{"z_where": [' + b"9" * 400 + b', 0, 0], "z_what": [0]}]}',
        422,
        "z_where.0",
    ),
    "unknown field of an object": ("render", of(objects=[OBJECT | {"x": 1}]), 422, "objects.0.x"),
    "number for noise": ("render", of(objects=[], noise=1), 422, "noise"),
    "no number": ("sample", b"{}", 422, "num"),
    "no scenes": ("sample", of(num=0), 422, "num"),
    "too many scenes": ("sample", of(num=17), 422, "num"),
    "text for a number": ("sample", of(num="4"), 422, "num"),
    "truth for a number": ("sample", of(num=True), 422, "num"),
    "count over T": ("sample", of(num=1, count=4), 422, "at most 3"),
    "negative count": ("sample", of(num=1, count=-1), 422, "count"),
    "count over T of a picture": ("sample", of(num=1, count=9, image="AAAA"), 422, "at most 3"),
    "bad picture to explain": ("sample", of(num=1, image="AAAA"), 422, "image"),
}


@pytest.mark.parametrize("mistake", BODIES)
def test_a_mistake_is_refused_with_its_reason(mistake: str, page: Page) -> None:
    path, body, status, hint = BODIES[mistake]
    headers = {"Content-Type": "application/json"}
    answer = page.post(f"/api/{path}", None, data=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    reason = answer.json()
    assert reason.keys() == {"detail"}
    assert hint in reason["detail"]
    assert "\n" not in reason["detail"]


# Requests that are too large, or not what they say


def large(megabytes: int) -> bytes:
    return b'{"image": "' + b"A" * (megabytes * 1_000_000) + b'"}'


def test_a_body_over_the_limit_is_refused(page: Page) -> None:
    headers = {"Content-Type": "application/json"}
    answer = page.post("/api/infer", None, data=large(5), headers=headers)
    assert answer.status_code == 413
    assert "5,000,000" in answer.json()["detail"]


def test_a_body_without_a_length_is_refused_as_soon_as_it_is_too_large(page: Page) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        part = b" " * 100_000
        while sent < 50_000_000:
            sent += len(part)
            yield part

    headers = {"Content-Type": "application/json"}
    answer = page.post("/api/infer", None, data=endless(), headers=headers)
    assert answer.status_code == 413


def test_a_body_at_the_limit_is_read(page: Page) -> None:
    body = of(image=base64_of(SOUND))
    headers = {"Content-Type": "application/json"}
    answer = page.post("/api/infer", None, data=body.ljust(5_000_000), headers=headers)
    assert answer.status_code == 200


@pytest.mark.parametrize("length", ["99999999999999999999", "1000000000"])
def test_a_length_that_is_only_claimed_takes_no_memory(length: str, page: Page) -> None:
    status, body = raw(page, "POST", "/api/infer", {"Content-Length": length})
    assert status == 413
    assert b"5,000,000" in body


KINDS = ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]


@pytest.mark.parametrize("kind", KINDS)
def test_other_types_than_json_are_refused(kind: str, page: Page) -> None:
    answer = page.post("/api/sample", None, data=of(num=1), headers={"Content-Type": kind})
    assert answer.status_code == 415
    assert "application/json" in answer.json()["detail"]


# Other sites, other files


def raw(page: Page, method: str, path: str, headers: dict[str, str]) -> tuple[int, bytes]:
    """Send a request as it stands, which no well-behaved client would."""
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=30)
    connection.putrequest(method, path, skip_host="Host" in headers)
    for name, value in ({"Content-Type": "application/json"} | headers).items():
        connection.putheader(name, value)
    connection.endheaders()
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


HOSTS = {
    "127.0.0.1": 200,
    "localhost:1234": 200,
    "LOCALHOST": 200,
    "[::1]:8000": 200,
    "example.org": 403,
    "127.0.0.1.example.org": 403,
    "example.org:80@127.0.0.1": 403,
    "localhost:99999": 403,
    "[::1": 403,
    "192.168.0.1": 403,
    "": 403,
}


@pytest.mark.parametrize("host", HOSTS)
def test_only_the_servers_own_names_are_answered(host: str, page: Page) -> None:
    for path in ("/", "/api/model", "/static/index.html"):
        status, content = raw(page, "GET", path, {"Host": host})
        assert status == HOSTS[host]
        assert status == 200 or b"Host" in content


@pytest.mark.parametrize("origin", ["http://example.org", "null", "http://127.0.0.1:1", "file://"])
def test_pages_of_other_sites_are_refused(origin: str, page: Page) -> None:
    answer = page.post("/api/sample", {"num": 1}, headers={"Origin": origin})
    assert answer.status_code == 403
    assert "Origin" in answer.json()["detail"]
    assert page.get("/api/model", headers={"Origin": origin}).status_code == 403


def test_the_page_itself_is_answered(page: Page) -> None:
    assert page.post("/api/sample", {"num": 1}, headers={"Origin": page.url}).status_code == 200


PATHS = [
    "/static/../app.py",
    "/static/%2e%2e/app.py",
    "/static/..%2fapp.py",
    "/static/%2e%2e%2f%2e%2e%2fcli.py",
    "/static/..%5capp.py",
    "/static//etc/passwd",
    "/static/%2fetc%2fpasswd",
    "/static/index.html/../../app.py",
    "/static/index.html%00.js",
    "/static/%00",
    "/static/%ff%fe",
    "/static/",
    "/static",
    "/static/nowhere.js",
    "/static/" + "a" * 5_000,
    "/app.py",
    "//etc/passwd",
    "/../../etc/passwd",
    "/api",
    "/api/nothing",
    "/docs",
    "/redoc",
    "/openapi.json",
]


@pytest.mark.parametrize("path", PATHS)
def test_nothing_but_the_pages_files_is_readable(path: str, page: Page) -> None:
    status, content = raw(page, "GET", path, {})
    assert status == 404
    assert "detail" in json.load(io.BytesIO(content))


ALLOWED = {
    **dict.fromkeys(("/api/infer", "/api/render", "/api/sample"), "OPTIONS, POST"),
    **dict.fromkeys(("/api/model", "/api/docs", "/api/openapi.json"), "GET, HEAD, OPTIONS"),
    **dict.fromkeys(("/", "/static/main.js"), "GET, HEAD, OPTIONS"),
}


@pytest.mark.parametrize("path", ALLOWED)
def test_other_methods_are_refused(path: str, page: Page) -> None:
    for method in {"HEAD", "GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "X"}:
        if method not in ALLOWED[path].split(", "):
            answer = requests.request(method, page.url + path, timeout=60)
            assert answer.status_code == 405
            assert answer.headers["Allow"] == ALLOWED[path]
            assert method == "HEAD" or "detail" in answer.json()


@pytest.mark.parametrize("path", ALLOWED)
def test_options_are_the_methods_that_are_answered(path: str, page: Page) -> None:
    answer = requests.options(page.url + path, timeout=60)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["Allow"] == ALLOWED[path]
    asked = {"Origin": "http://example.org", "Access-Control-Request-Method": "POST"}
    assert requests.options(page.url + path, headers=asked, timeout=60).status_code == 403


@pytest.mark.parametrize("path", [*(p for p in ALLOWED if "GET" in ALLOWED[p]), "/nowhere"])
def test_head_is_get_without_the_body(path: str, page: Page) -> None:
    with requests.Session() as session:  # one connection: a body would be the next answer
        heads = [session.head(page.url + path, timeout=60) for _ in range(2)]
        whole = session.get(page.url + path, timeout=60)
    for head in heads:
        assert head.status_code == whole.status_code
        assert dict(head.headers, date="") == dict(whole.headers, date="")
        assert head.content == b""
    assert int(whole.headers["Content-Length"]) == len(whole.content) > 0


# Headers


@pytest.mark.parametrize(
    "path", ["/", "/static/index.html", "/api/model", "/api/docs", "/api/openapi.json", "/nowhere"]
)
def test_answers_carry_the_headers_that_keep_other_sites_out(path: str, page: Page) -> None:
    headers = page.get(path).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'" if path == "/api/docs" else "default-src 'self'")
    assert "unsafe" not in policy
    assert "http" not in policy
    assert "Access-Control-Allow-Origin" not in headers


def test_refusals_carry_them_too(page: Page) -> None:
    answer = page.post("/api/sample", {"num": 1}, headers={"Origin": "http://example.org"})
    assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_the_description_needs_nothing_from_elsewhere(page: Page) -> None:
    text = page.get("/api/docs").text
    for path in page.get("/api/openapi.json").json()["paths"]:
        assert path in text
    assert "<script" not in text
    assert not [part for part in text.split('"') if part.startswith(("http", "//"))]


def test_after_all_mistakes_the_server_answers_as_before(page: Page) -> None:
    answers = []
    for _ in range(2):
        answers.append(page.ask("/api/infer", {"image": base64_of(SOUND)}))
        for path, body, _, _ in BODIES.values():
            headers = {"Content-Type": "application/json"}
            page.post(f"/api/{path}", None, data=body, headers=headers)
        del answers[-1]["milliseconds"]
    assert answers[0] == answers[1]
    assert answers[0]["scene"]["count"] == 0
