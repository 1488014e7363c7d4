"""Where a checkpoint is: in a run's folder, in its own, or among the weights of the package."""

from __future__ import annotations

from os import PathLike
from pathlib import Path

from ..errors import CheckpointError, nearest

STATE_FILE = "state.json"  # of a checkpoint
CONFIG_FILE = "config.json"  # of a run

WEIGHTS = Path(__file__).parents[1] / "weights"
"""Where the trained models that come with the package are, a checkpoint's folder each."""

PICKLES = (".pt", ".pth", ".ckpt", ".pkl", ".pickle")


def find_checkpoint(path: str | PathLike[str]) -> Path:
    """Return the checkpoint's folder of a run, of a checkpoint, or of shipped weights by name.

    Raises: CheckpointError if there is none.
    """
    given = WEIGHTS / str(path) if str(path) in shipped() else Path(path)
    for folder in (given / "checkpoint", given):
        if (folder / STATE_FILE).is_file():
            return folder
    raise CheckpointError(f"{given}: {_why_none(given)}")


def has_checkpoint(run: Path) -> bool:
    """Tell whether a run has saved anything yet."""
    return (run / "checkpoint" / STATE_FILE).is_file()


def shipped() -> list[str]:
    """Return the names of the trained models that come with the package."""
    return sorted(path.parent.name for path in WEIGHTS.glob(f"*/{STATE_FILE}"))


def _why_none(path: Path) -> str:
    """Say why there is no checkpoint at a path, and what to do."""
    advice = "give a folder that `air train` wrote"
    if path.is_dir():
        if (path / CONFIG_FILE).is_file():
            return f"a run without a checkpoint as yet; go on with: air train --resume {path}."
        pickles = [file for file in sorted(path.iterdir()) if file.suffix in PICKLES]
        if not pickles:
            return f"holds no checkpoint; {advice}."
        path = pickles[0]
    if not path.exists():
        known = shipped()
        return (
            f"no such run or checkpoint; {advice}, or one of {', '.join(known)}."
            f"{nearest(str(path), known)}"
        )
    if path.suffix in PICKLES or _is_pickle(path):
        return (
            "a pickle, which can run any program when it is read, so it is not; weights are read "
            f"as safetensors alone: {advice}."
        )
    return f"a file; {advice}."


def _is_pickle(path: Path) -> bool:
    """Tell by its first bytes whether a file is a pickle, or one of torch's archives of them."""
    try:
        with path.open("rb") as file:
            return file.read(2) in (b"PK", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    except OSError:
        return False
