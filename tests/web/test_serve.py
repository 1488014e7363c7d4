"""`air serve` as a process: from its start to its end."""

from __future__ import annotations

import errno
import io
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
import webbrowser
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from attend_infer_repeat import AIR as Model
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.web import serve as module
from attend_infer_repeat.web.connections import Listener
from attend_infer_repeat.web.serve import address_of, open_address

AIR = (sys.executable, "-m", "attend_infer_repeat.cli", "serve")


def test_ctrl_c_ends_it_with_130_and_nothing_on_standard_error(tmp_path: Path) -> None:
    command = [*AIR, "sprites", "--port", "0"]
    environment = os.environ | {"AIR_CACHE_DIR": str(tmp_path)}  # scenes are still being made
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        line = process.stdout.readline()
        address = line.removeprefix("Open ").strip()
        assert address.startswith("http://127.0.0.1:")
        with requests.Session() as session:  # a connection that stays open
            assert session.get(address, timeout=30).status_code == 200
            body = {"num": 2, "count": 1}
            assert session.post(f"{address}/api/sample", json=body, timeout=30).ok
            process.send_signal(signal.SIGINT)
            assert process.wait(timeout=30) == 130
        assert process.stdout.read() == ""
        assert process.stderr.read() == ""


STARTS = {
    "an import": "import slow_module",
    "a destructor": "Slow()",  # an exception there is printed and lost
}
START = """
import sys, time
from attend_infer_repeat.cli import main as cli, serve

def wait():
    print("waiting", flush=True)
    time.sleep(60)

class Slow:
    def __del__(self):
        wait()

def load_model(*_):
    {statement}

serve.load_model = load_model
sys.exit(cli.main(["serve", "--port", "0"]))
"""


@pytest.mark.parametrize("start", STARTS)
def test_ctrl_c_while_it_starts_ends_it_without_a_word(start: str, tmp_path: Path) -> None:
    (tmp_path / "slow_module.py").write_text("from __main__ import wait; wait()")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*sys.path, str(tmp_path)])}
    command = [sys.executable, "-c", START.format(statement=STARTS[start])]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"waiting\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stdout.read() + process.stderr.read() == b""


BUSY = """
import sys, time
from attend_infer_repeat.cli import main as cli
from attend_infer_repeat.web import explain, serve, worker

def sample_prior(*_):
    print("computing", flush=True)
    time.sleep(60)

explain.sample_prior, serve.GRACE, worker.LAST_SECONDS = sample_prior, {grace}, 0.1
sys.exit(cli.main(["serve", "sprites", "--port", "0"]))
"""


@pytest.mark.long
@pytest.mark.parametrize(("presses", "grace"), [(1, 0.2), (3, 60)])
def test_ctrl_c_does_not_wait_for_a_long_computation(presses: int, grace: float) -> None:
    command = [sys.executable, "-c", BUSY.format(grace=grace)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        port = int(process.stdout.readline().rsplit(":", 1)[1])
        body = b'{"num": 1}'
        head = f"Host: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(f"POST /api/sample HTTP/1.1\r\n{head}\r\n\r\n".encode() + body)
            assert process.stdout.readline() == "computing\n"
            for _ in range(presses):
                process.send_signal(signal.SIGINT)
                time.sleep(0.05)
            assert process.wait(timeout=20) == 130
        assert process.stdout.read() + process.stderr.read() == ""


UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
HANGING = [
    b"",
    b"GET / HTTP/1.1\r\nHost: loc",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\n",
    b"GET /static/main.js HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50,
    f"GET / HTTP/1.1\r\nHost: localhost\r\n{UPGRADE}\r\n\r\n".encode(),
    b"\x16\x03\x01\x02\x00",  # as for https
]


@pytest.mark.long
def test_ctrl_c_in_a_terminal_ends_it_whatever_hangs_on_its_few_descriptors() -> None:
    pty = pytest.importorskip("pty")
    program = "ulimit -n 128 && exec " + shlex.join([*AIR, "sprites", "--port", "0"])
    process, terminal = pty.fork()
    if process == 0:
        os.execv("/bin/sh", ["sh", "-c", program])
    with open(terminal, "r+b", buffering=0) as file, ExitStack() as stack:
        address = file.readline().decode().removeprefix("Open ").strip()
        port = int(address.rsplit(":", 1)[1])
        for i in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(HANGING[i % len(HANGING)])
        body = {"num": 2, "count": 1}
        for _ in range(5):
            assert requests.post(f"{address}/api/sample", json=body, timeout=30).ok
        file.write(b"\x03")
        assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 130
        assert file.read(1_000) in (b"^C", b"^C\r\n")


def only_line(capsys: pytest.CaptureFixture[str]) -> str:
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return captured.err


def test_a_port_in_use_is_one_line_and_exit_2(capsys: pytest.CaptureFixture[str]) -> None:
    with open_address("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        assert main(["serve", "--port", str(port)]) == 2
    line = only_line(capsys)
    assert str(port) in line
    assert "--port" in line


@pytest.mark.parametrize("code", [errno.EACCES, errno.EADDRNOTAVAIL, errno.EMFILE])
def test_an_address_that_is_refused_is_one_line_and_exit_2(
    code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bind(listener: socket.socket, address: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Listener, "bind", bind, raising=False)
    assert main(["serve", "--port", "80"]) == 2
    line = only_line(capsys)
    assert os.strerror(code) in line
    assert "--port or --host" in line


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EPIPE, errno.EBADF])
def test_where_the_address_cannot_be_written_nothing_is_left_behind(
    code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(code, os.strerror(code))

    before = set(threading.enumerate())
    monkeypatch.setattr(module, "make_server", None)  # it does not come to that
    monkeypatch.setattr(sys, "stdout", Failing())
    with pytest.raises(OSError, match=os.strerror(code)):
        module.serve(lambda: Model.load("sprites"), "sprites", port=0)
    left = {thread.name for thread in threading.enumerate() if thread not in before}
    assert not left & {"model", "exhibits"}


@pytest.mark.parametrize("fault", [False, webbrowser.Error("no display")])
def test_without_a_browser_it_serves_and_says_so(
    fault: bool | Exception, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def open_none(address: str) -> bool:
        if isinstance(fault, Exception):
            raise fault
        return fault

    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    monkeypatch.setattr("webbrowser.open", open_none)
    assert main(["serve", "sprites", "--port", "0", "--open"]) == 0
    captured = capsys.readouterr()
    assert captured.out.startswith("Open http")
    assert captured.err == "No browser could be started; open the address in one.\n"


MISTAKES = {
    "--port 99999": "65535",
    "--port -1": "65535",
    "--port x": "'x'",
    "--host 203.0.113.77": "203.0.113.77",
    "--host no.such.host.invalid": "no.such.host.invalid",
    "--port 0 nowhere": "nowhere",
    "--port 0 --device cuda:77": "cuda:77",
}


@pytest.mark.parametrize("options", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve", *options.split()]) == 2
    assert MISTAKES[options] in only_line(capsys)


def test_without_fastapi_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert main(["serve"]) == 2
    assert "pip install 'attend-infer-repeat[web]'" in only_line(capsys)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0"])
def test_another_host_than_this_machine_is_warned_of(
    host: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: None)
    monkeypatch.setattr("webbrowser.open", lambda address: not opened.append(address))
    assert main(["serve", "sprites", "--port", "0", "--host", host, "--open"]) == 0
    captured = capsys.readouterr()
    address = captured.out.removeprefix("Open ").strip()
    assert opened == [address]
    name = "127.0.0.1" if host == "0.0.0.0" else host
    assert address.startswith(f"http://{name}:")
    assert captured.err.count("\n") == (host == "0.0.0.0")


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_address_of_version_6_is_opened_in_brackets() -> None:
    try:
        listener = open_address("::1", 0)
    except module.ConfigError as error:  # built in, but switched off
        pytest.skip(str(error))
    with listener:
        assert address_of(listener, "::1") == f"http://[::1]:{listener.getsockname()[1]}"


def test_the_server_is_imported_only_once_it_is_asked_for() -> None:
    program = "import sys, attend_infer_repeat.cli.main; assert 'fastapi' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
