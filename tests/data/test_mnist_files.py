"""Where MNIST's files are found or downloaded, and what happens to bad ones.

The files here are small stand-ins, served by a web server on this machine: no test needs a
network, and the whole MNIST is needed by none.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.server
import socket
import threading
from pathlib import Path

import numpy as np
import pytest

from attend_infer_repeat.data.sets import mnist
from attend_infer_repeat.errors import DataError

IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"
DIGITS = (np.arange(3 * 28 * 28) % 251).astype(np.uint8).reshape(3, 28, 28)
CLASSES = np.array([4, 0, 9], np.uint8)
CONTENT = {IMAGES: b"\0" * 16 + DIGITS.tobytes(), LABELS: b"\0" * 8 + CLASSES.tobytes()}
PACKED = {f"{name}.gz": gzip.compress(content, mtime=0) for name, content in CONTENT.items()}


@pytest.fixture(autouse=True)
def small_mnist(monkeypatch, tmp_path):
    """Put three digits in MNIST's place, with folders of this test's own and no mirrors."""

    def stand_in(name: str) -> mnist._File:
        md5 = hashlib.md5(CONTENT[name]).hexdigest()
        return mnist._File(name, md5, hashlib.sha256(PACKED[f"{name}.gz"]).hexdigest())

    monkeypatch.setitem(mnist._IMAGES, "train", stand_in(IMAGES))
    monkeypatch.setitem(mnist._LABELS, "train", stand_in(LABELS))
    monkeypatch.setattr(mnist, "MIRRORS", ())
    monkeypatch.setattr(mnist, "RETRIES", 0)
    monkeypatch.setenv("AIR_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("AIR_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@contextlib.contextmanager
def mirror(files: dict[str, bytes], claimed_length: int | None = None):
    """Serve the files on this machine and yield (address, names asked for)."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name = self.path.lstrip("/")
            asked.append(name)
            content = files.get(name)
            self.send_response(404 if content is None else 200)
            self.send_header("Content-Length", str(claimed_length or len(content or b"")))
            self.end_headers()
            self.wfile.write(content or b"")

        def log_message(self, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/", asked
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def dead_mirror() -> str:
    """Return an address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/"


def put(folder: Path, files: dict[str, bytes]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def files_below(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def assert_loads() -> None:
    digits, classes = mnist.load_mnist("train")
    np.testing.assert_array_equal(digits, DIGITS)
    np.testing.assert_array_equal(classes, CLASSES)


@pytest.mark.parametrize("root", ["data", "cache"])
@pytest.mark.parametrize("files", [CONTENT, PACKED], ids=["unpacked", "packed"])
def test_files_are_found_in_either_folder_packed_or_not(tmp_path, root, files):
    put(tmp_path / root / "mnist", files)
    assert_loads()


def test_files_may_lie_in_different_folders(tmp_path):
    put(tmp_path / "data" / "mnist", {IMAGES: CONTENT[IMAGES]})
    put(tmp_path / "cache" / "mnist", {f"{LABELS}.gz": PACKED[f"{LABELS}.gz"]})
    assert_loads()


def test_a_file_packed_anew_by_someone_else_is_as_good_as_the_original(tmp_path):
    anew = {f"{name}.gz": gzip.compress(content, 1) for name, content in CONTENT.items()}
    put(tmp_path / "data" / "mnist", anew)
    assert_loads()


@pytest.mark.parametrize("root", ["data", "cache"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        (IMAGES, CONTENT[IMAGES][:-1]),
        (IMAGES, CONTENT[IMAGES][:-1] + b"x"),
        (IMAGES, b""),
        (f"{IMAGES}.gz", PACKED[f"{IMAGES}.gz"][:-20]),
        (f"{IMAGES}.gz", b"<html>not a gzip file</html>"),
        (f"{IMAGES}.gz", PACKED[f"{LABELS}.gz"]),
        (f"{IMAGES}.gz", PACKED[f"{IMAGES}.gz"][:20] + b"zzzz" + PACKED[f"{IMAGES}.gz"][24:]),
    ],
    ids=["truncated", "changed", "empty", "truncated-gz", "html", "other-file", "damaged-gz"],
)
def test_a_bad_file_is_named_and_refused_not_skipped(tmp_path, monkeypatch, root, name, content):
    folder = put(tmp_path / root / "mnist", PACKED | {name: content})
    with mirror(PACKED) as (address, asked):
        monkeypatch.setattr(mnist, "MIRRORS", (address,))
        with pytest.raises(DataError) as caught:
            mnist.load_mnist("train")
    assert str(folder / name) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert asked == []


def test_a_folder_in_a_files_place_is_named_and_refused(tmp_path):
    (tmp_path / "data" / "mnist" / IMAGES).mkdir(parents=True)
    with pytest.raises(DataError, match=IMAGES):
        mnist.load_mnist("train")


def test_what_is_not_found_is_downloaded_once_and_kept(tmp_path, monkeypatch):
    with mirror(PACKED) as (address, asked):
        monkeypatch.setattr(mnist, "MIRRORS", (address,))
        assert_loads()
        assert_loads()
    assert sorted(asked) == sorted(PACKED)
    assert files_below(tmp_path) == sorted(PACKED)


@pytest.mark.parametrize("fault", ["dead", "missing", "wrong", "truncated", "short"])
def test_a_mirror_that_fails_is_passed_over(tmp_path, monkeypatch, fault):
    with contextlib.ExitStack() as stack:
        good, _ = stack.enter_context(mirror(PACKED))
        halves = {name: content[: len(content) // 2] for name, content in PACKED.items()}
        faulty = {
            "dead": dead_mirror,
            "missing": lambda: stack.enter_context(mirror({}))[0],
            "wrong": lambda: stack.enter_context(mirror(dict.fromkeys(PACKED, b"no")))[0],
            "truncated": lambda: stack.enter_context(mirror(halves))[0],
            # It announces more bytes than it sends before it hangs up.
            "short": lambda: stack.enter_context(mirror(halves, claimed_length=10_000))[0],
        }[fault]()
        monkeypatch.setattr(mnist, "MIRRORS", (faulty, good))
        assert_loads()
    assert files_below(tmp_path) == sorted(PACKED)


def test_a_mirror_is_tried_again_before_the_next(monkeypatch):
    with mirror({}) as (faulty, asked), mirror(PACKED) as (good, _):
        monkeypatch.setattr(mnist, "MIRRORS", (faulty, good))
        monkeypatch.setattr(mnist, "RETRIES", 1)
        monkeypatch.setattr("time.sleep", lambda seconds: None)
        assert_loads()
    assert asked == [f"{IMAGES}.gz"] * 2 + [f"{LABELS}.gz"] * 2


def test_without_a_network_one_line_tells_which_files_to_put_where(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(mnist, "MIRRORS", (dead_mirror(), dead_mirror()))
    with pytest.raises(DataError) as caught:
        mnist.load_mnist("train")
    message = str(caught.value)
    assert "\n" not in message
    for name in (IMAGES, LABELS, "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"):
        assert f"{name}.gz" in message
    assert "$AIR_DATA_DIR/mnist" in message
    assert str(tmp_path / "cache" / "mnist") in message
    assert files_below(tmp_path) == []


def test_a_cache_that_cannot_be_written_to_does_not_stop_the_download(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AIR_CACHE_DIR", str(tmp_path / "file" / "cache"))
    with mirror(PACKED) as (address, _):
        monkeypatch.setattr(mnist, "MIRRORS", (address,))
        assert_loads()
    assert files_below(tmp_path) == ["file"]
