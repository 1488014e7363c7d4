"""Does `air serve` answer at once, also when many ask?

    air benchmark serve            measure, and print the table
    air benchmark serve --table    print the table of the last result

Processes are timed from their start to the page, and to the first answer to a picture, with files
in the system's cache. Then, from another process on the same cores, one client asks about a
picture, waits for the answer, and asks about the next; and 50 clients do, each on its own
connection, until 2,000 pictures are answered, in several rounds. The pictures are PNG files of
scenes of digits, the answers have all that the page shows of a picture. Seconds are the client's,
from the request to the last byte; the memory is the server's resident set.

Last, 200 clients hang at a server that may have 128 files open: a fifth each sends nothing, half of
a request's headers, a byte of them each second, a body that does not come, and requests whose
answers it does not take. Whoever is closed comes back a second later. Meanwhile one client asks as
before.

Result: ``benchmarks/results/serve.json``.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import select
import selectors
import shlex
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import tyro
from PIL import Image
from runs import machine, read_result, result_path, write_result

RESULT = result_path("serve", "cpu")
AIR_COMMAND = (sys.executable, "-m", "attend_infer_repeat.cli")
ASKED = {"start": 3.0, "alone": 0.05, "p99": 0.5}
"""What was asked for, in seconds."""


@dataclass(frozen=True)
class Serve:
    """Measure the start, one client, and many."""

    clients: int = 50
    """Clients at once."""
    requests: int = 2_000
    """Pictures of a round."""
    rounds: int = 3
    """Rounds; memory must not grow with them."""
    starts: int = 7
    """Processes to start; the median of their times counts."""
    hanging: int = 200
    """Clients that hang; 0 leaves them out."""
    files: int = 128
    """Files that the server may have open while they hang, as by `ulimit -n`."""
    table: bool = False
    """Only print the table of the last result."""

    def run(self) -> None:
        """Run the command."""
        if not self.table:
            write_result(RESULT, self.measure())
        print(table(read_result(RESULT)))

    def measure(self) -> dict[str, Any]:
        """Return the result."""
        bodies = pictures()
        starts = []
        for _ in range(self.starts):
            began = time.perf_counter()
            with server() as (_, port):
                ask(port, "GET", "/")
                page = time.perf_counter() - began
                ask(port, "POST", "/api/infer", bodies[0])
                first = time.perf_counter() - began
                ask(port, "GET", "/api/model")
                starts.append({"page": page, "first": first, "model": time.perf_counter() - began})
        with server() as (process, port):
            ask(port, "GET", "/api/model")
            load(port, bodies, 1, 50)  # to warm up
            alone = load(port, bodies, 1, 300)
            memory = [resident(process.pid)]
            rounds = []
            for _ in range(self.rounds):
                rounds.append(load(port, bodies, self.clients, self.requests))
                memory.append(resident(process.pid))
        return {
            "command": f"air benchmark serve --clients {self.clients} --requests {self.requests} "
            f"--rounds {self.rounds} --starts {self.starts} --hanging {self.hanging} "
            f"--files {self.files}",
            "machine": machine(1) | {"load": os.getloadavg()[0]},
            "starts": {
                name: statistics.median(start[name] for start in starts) for name in starts[0]
            },
            "longest_start": max(start["model"] for start in starts),
            "clients": self.clients,
            "alone": alone,
            "rounds": rounds,
            "memory_mib": [size / 2**20 for size in memory],
            "hanging": self.measure_hanging(bodies) if self.hanging else None,
        }

    def measure_hanging(self, bodies: list[bytes]) -> dict[str, Any]:
        """Return how a client fares while others hang."""
        with server(self.files) as (process, port):
            ask(port, "GET", "/api/model")
            load(port, bodies, 1, 50)
            free = load(port, bodies, 1, 200)
            command = [sys.executable, __file__, "--hang", str(port), str(self.hanging)]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as others:
                assert others.stdin is not None
                assert others.stdout is not None
                others.stdout.readline()  # all hang
                beside = load(port, bodies, 1, 200)
                descriptors = len(os.listdir(f"/proc/{process.pid}/fd"))
                others.stdin.close()
                told = json.loads(others.stdout.read())
            again = load(port, bodies, 1, 200)
        return {
            "clients": self.hanging,
            "files": self.files,
            "descriptors": descriptors,
            **told,
            "before": free,
            "beside": beside,
            "after": again,
        }


def pictures() -> list[bytes]:
    """Return requests about 100 scenes."""
    from attend_infer_repeat import load_dataset

    bodies = []
    for image in load_dataset("digits", "test").images[:100]:
        file = io.BytesIO()
        Image.fromarray(image).save(file, "PNG")
        text = base64.b64encode(file.getvalue()).decode()
        bodies.append(json.dumps({"image": f"data:image/png;base64,{text}"}).encode())
    return bodies


@contextmanager
def server(files: int | None = None) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Run `air serve`, with at most so many open files; yield its process and its port."""
    command = [*AIR_COMMAND, "serve", "--port", "0"]
    if files is not None:
        command = ["sh", "-c", f"ulimit -n {files} && exec {shlex.join(command)}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process, int(process.stdout.readline().rsplit(":", 1)[1])
        process.send_signal(signal.SIGINT)
    assert process.returncode == 130


def ask(port: int, method: str, path: str, body: bytes | None = None) -> None:
    """Ask once, on a connection of its own."""
    client = http.client.HTTPConnection("127.0.0.1", port)
    client.request(method, path, body, {"Content-Type": "application/json"})
    answer = client.getresponse()
    answer.read()
    assert answer.status == 200
    client.close()


def load(port: int, bodies: list[bytes], clients: int, requests: int) -> dict[str, Any]:
    """Ask about pictures from so many clients at once, in a process of their own."""
    command = [sys.executable, __file__, "--ask", str(port), str(clients), str(requests)]
    text = "\n".join(body.decode() for body in bodies)
    done = subprocess.run(command, input=text, check=True, capture_output=True, text=True)
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def be_clients(port: int, clients: int, requests: int) -> None:
    """Ask about the pictures of standard input; print how long the answers took."""
    bodies = [line.encode() for line in sys.stdin.read().splitlines()]
    numbers, seconds, errors = count(), list[float](), list[str]()
    together = threading.Barrier(clients)

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        together.wait()
        while (number := next(numbers)) < requests:
            began = time.perf_counter()
            try:
                body, headers = bodies[number % len(bodies)], {"Content-Type": "application/json"}
                connection.request("POST", "/api/infer", body, headers)
                answer = connection.getresponse()
                content = answer.read()
                if answer.status != 200 or not content.endswith(b"}"):
                    errors.append(f"{answer.status}: {content[:100]!r}")
            except (OSError, http.client.HTTPException) as error:
                errors.append(repr(error))
                connection.close()
            seconds.append(time.perf_counter() - began)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wall = time.perf_counter() - began
    result = {
        "clients": clients,
        "requests": len(seconds),
        "errors": len(errors),
        "first_error": errors[0] if errors else None,
        "per_second": len(seconds) / wall,
        "p50": statistics.median(seconds),
        "p99": statistics.quantiles(seconds, n=100)[-1],
        "longest": max(seconds),
    }
    print(json.dumps(result))


HEAD = b"HTTP/1.1\r\nHost: localhost\r\n"
HANGING = (
    b"",
    b"GET / " + HEAD,
    b"GET / " + HEAD + b"X-",  # and a byte each second
    b"POST /api/infer " + HEAD + b"Content-Type: application/json\r\nContent-Length: 9\r\n\r\n",
    (b"GET /static/style.css " + HEAD + b"\r\n") * 20,
)
"""What clients that hang send before they do."""


def hang(port: int, clients: int) -> None:
    """Be so many clients that hang until standard input ends; print how often they were closed."""
    opened = 0
    selector = selectors.DefaultSelector()
    slow: set[socket.socket] = set()

    def begin(kind: int) -> None:
        nonlocal opened
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(60)
        client.connect(("127.0.0.1", port))
        opened += 1
        client.setblocking(False)
        with contextlib.suppress(OSError):
            client.send(HANGING[kind])
        # Closed connections are readable; what does not take its answers is looked at by sending.
        taking = kind < len(HANGING) - 1
        selector.register(client, selectors.EVENT_READ if taking else selectors.EVENT_WRITE, kind)
        if kind == 2:
            slow.add(client)

    def end(client: socket.socket) -> None:
        selector.unregister(client)
        slow.discard(client)
        client.close()

    for i in range(clients):
        begin(i % len(HANGING))
    print("hanging", flush=True)
    while not select.select([sys.stdin], [], [], 1.0)[0]:
        for client in list(slow):
            with contextlib.suppress(OSError):
                client.send(b"X")
        for key, _ in selector.select(0):
            client, kind = key.fileobj, key.data
            assert isinstance(client, socket.socket)
            try:
                closed = (
                    not client.recv(100_000) if kind < len(HANGING) - 1 else not is_open(client)
                )
            except OSError:
                closed = True
            if closed:
                end(client)
                begin(kind)
    print(json.dumps({"connections": opened}))


def is_open(client: socket.socket) -> bool:
    """Tell whether a connection is there, without taking what it has sent."""
    return client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and client.send(b"") == 0


def resident(pid: int) -> int:
    """Return a process's resident set in bytes."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def table(result: dict[str, Any]) -> str:
    """Return a result as Markdown."""
    starts, memory, hardware = result["starts"], result["memory_mib"], result["machine"]
    lines = [
        f"{hardware['cpu']}, {hardware['cores']} cores; torch {hardware['versions']['torch']}",
        "",
        "| from the start of `air serve` | median | asked |",
        "| --- | --- | --- |",
        f"| to the page | {starts['page']:.2f} s | {ASKED['start']:.0f} s |",
        f"| to the first answer to a picture | {starts['first']:.2f} s | |",
        f"| to the examples and the directions of the codes | {starts['model']:.2f} s | |",
        "",
        "| clients at once | requests | errors | a second | p50 | p99 | longest | memory, then |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row, size in zip([result["alone"], *result["rounds"]], memory, strict=True):
        times = " | ".join(f"{1e3 * row[name]:,.0f} ms" for name in ("p50", "p99", "longest"))
        lines.append(
            f"| {row['clients']} | {row['requests']:,} | {row['errors']} | "
            f"{row['per_second']:,.0f} | {times} | {size:.0f} MiB |"
        )
    if hanging := result.get("hanging"):
        lines += [
            "",
            f"| with {hanging['files']} files | requests | errors | p50 | p99 | longest |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        beside = f"beside {hanging['clients']} clients that hang"
        for name, words in {"before": "alone", "beside": beside, "after": "afterwards"}.items():
            row = hanging[name]
            times = " | ".join(f"{1e3 * row[key]:,.0f} ms" for key in ("p50", "p99", "longest"))
            lines.append(f"| {words} | {row['requests']:,} | {row['errors']} | {times} |")
    return "\n".join(lines)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--ask"]:
        be_clients(*map(int, sys.argv[2:]))
    elif sys.argv[1:2] == ["--hang"]:
        hang(*map(int, sys.argv[2:]))
    else:
        tyro.cli(Serve, description=__doc__, prog="air benchmark serve").run()
