"""`air serve`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..config.annotations import Positional, arg
from .command import Command
from .loading import load_model


@dataclass(frozen=True)
class Serve(Command):
    """Serve a page for drawing, inferring, editing and sampling scenes; it works offline.

    Prints the page's address; --open opens it in the browser. Draw or drop a picture: the model
    answers as you draw, and shows how it came to its answer. The page's JSON interface is described
    at /api/docs. Ctrl-C ends it.

    Examples:
      air serve                              multi-mnist, at http://127.0.0.1:8000
      air serve runs/mine --open             your own model, in your browser at once
      air serve digits --port 0              any free port
      air serve --host 0.0.0.0               for everyone who can reach this machine
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]] = "multi-mnist"
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    host: str = "127.0.0.1"
    """Address to listen on; any but the default may admit other machines."""
    port: int = 8000
    """Port to listen on; 0 takes any free one."""
    open: bool = False
    """Open the page in the browser."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from ..web.serve import serve

        serve(
            lambda: load_model(self.model, self.device),
            self.model,
            host=self.host,
            port=self.port,
            in_browser=self.open,
        )
