"""`air serve` as a process: from its start to its end."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import requests

from attend_infer_repeat.cli import main
from attend_infer_repeat.web import serve as module
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
    monkeypatch.setattr("webbrowser.open", opened.append)
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
    program = "import sys, attend_infer_repeat.cli; assert 'fastapi' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True)
