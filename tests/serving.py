"""A server in a thread, for the tests of `air serve`, and pictures as they travel."""

from __future__ import annotations

import base64
import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from fastapi import FastAPI
from PIL import Image

from attend_infer_repeat import AIR
from attend_infer_repeat.web.serve import address_of, make_server, open_address

MODEL = "multi-mnist"


@dataclass(frozen=True)
class Page:
    """A server that is listening."""

    url: str
    port: int
    air: Any

    def get(self, path: str, **options: Any) -> requests.Response:
        return requests.get(self.url + path, timeout=60, **options)

    def post(self, path: str, body: Any, **options: Any) -> requests.Response:
        return requests.post(self.url + path, json=body, timeout=60, **options)

    def ask(self, path: str, body: Any) -> Any:
        """Return what is answered, which must be no refusal."""
        answer = self.post(path, body)
        assert answer.status_code == 200, answer.text
        return answer.json()


@contextmanager
def serving(app: FastAPI, air: AIR | None = None, limit: int | None = None) -> Iterator[Page]:
    """Serve an app, of a model if it has one, on at most so many connections."""
    with open_address("127.0.0.1", 0) as listener:
        listener.limit = limit or listener.limit
        server = make_server(app, listener)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Page(address_of(listener, "127.0.0.1"), listener.getsockname()[1], air)
        finally:
            server.should_exit = True
            thread.join()


def png(image: np.ndarray, form: str = "PNG", **options: Any) -> bytes:
    """Return a picture as a file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, form, **options)
    return file.getvalue()


def base64_of(content: bytes) -> str:
    return base64.b64encode(content).decode()


def pixels_of(uri: str) -> np.ndarray:
    """Return the pixels of a PNG in a data URI, uint8."""
    head, _, text = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text, validate=True))))
