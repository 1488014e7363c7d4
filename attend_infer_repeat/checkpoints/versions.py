"""What made a result: the versions of the software, and the commit of a checkout."""

from __future__ import annotations

import os
import platform
import subprocess
from functools import cache
from pathlib import Path

import pyro
import torch

from ..version import __version__

PROJECT = "attend-infer-repeat"


def versions() -> dict[str, str | None]:
    """Return the versions of Python, torch, Pyro and the package, and the package's commit."""
    return {
        "attend_infer_repeat": __version__,
        "torch": torch.__version__,
        "pyro": pyro.__version__,
        "python": platform.python_version(),
        "commit": _own_commit(),
    }


@cache
def _own_commit() -> str | None:
    """Ask git once: the code that runs is the one that was imported, whatever is committed later.

    A process that saves a hundred checkpoints would start git for each of them otherwise.
    """
    return commit_of(Path(__file__).parents[1])


def commit_of(package: Path) -> str | None:
    """Return the commit of the checkout of this project that a package's folder is part of.

    None if it is part of none: an installed package may lie in a repository of the user's, whose
    commit says nothing about the package.
    """
    # Where git itself called, as from a hook, its variables would name another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}

    def git(*command: str) -> str:
        return subprocess.run(
            ["git", "-C", str(package), *command],
            capture_output=True,
            text=True,
            timeout=5,
            check=True,
            env=environment,
        ).stdout.strip()

    try:
        project = Path(git("rev-parse", "--show-toplevel"))
        if not (project / package.name).samefile(package):
            return None
        if f'name = "{PROJECT}"' not in (project / "pyproject.toml").read_text(encoding="utf-8"):
            return None
        git("ls-files", "--error-unmatch", "__init__.py")
        return git("describe", "--always", "--dirty") or None
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
