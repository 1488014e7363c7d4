"""What the page shows before anyone has drawn: example scenes, and how the codes vary.

Both come from scenes like those that the model knows, as far as the package can make them without
any network, else from its own prior. They are made in the background, once. What cannot be made is
missing, with its reason; the page is of use without.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from concurrent.futures import CancelledError
from functools import partial
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from ..air import AIR, largest_batch
from ..checkpoints.checkpoint import read_checkpoint
from ..data import load_dataset
from ..errors import AirError
from ..evaluation.components import principal_components
from ..files.canvases import BLOCK
from ..files.records import rounded
from .pictures import data_uri
from .schemas import Component, Directions, Example

logger = logging.getLogger(__name__)

NUM_SCENES = 1_000
NUM_EXAMPLES = 8
NUM_COMPONENTS = 6

ALIKE = {"digits": "digits", "multi-mnist": "digits", "sprites": "sprites"}
"""The generated set whose scenes are like those of a model's data. MNIST itself may not be here."""

T = TypeVar("T")
Compute = Callable[[Callable[[], Any]], Any]
"""Runs something where the model may be used, and returns its result."""


class Images(NamedTuple):
    """Images like those that the model knows."""

    images: NDArray[np.generic]  # (N, channels, height, width), uint8 or intensity
    counts: NDArray[np.integer]
    source: str


class Exhibits(NamedTuple):
    """What is shown."""

    code: Directions | None
    examples: list[Example]
    missing: dict[str, str]


def make_exhibits(air: AIR, model: str, compute: Compute) -> Exhibits:
    """Make what the page shows of a model.

    Args:
        air: the model.
        model: what it was loaded from.
        compute: gets the work that uses the model, in small portions.
    """
    missing: dict[str, str] = {}

    def attempt(what: str, parts: tuple[str, ...], make: Callable[[], T]) -> T | None:
        try:
            return make()
        except CancelledError:  # the server ends
            raise
        except Exception as error:
            logger.warning("%s could not be made: %s: %s", what, type(error).__name__, error)
            reason = str(error) if isinstance(error, AirError) else f"{type(error).__name__}."
            missing.update(dict.fromkeys(parts, f"{what} could not be made: {reason}"))
            return None

    scenes = attempt(
        "Example scenes",
        ("examples", "code"),
        lambda: _generated(air, model) or _from_prior(air, compute),
    )
    if scenes is None:
        return Exhibits(None, [], missing)
    examples = attempt("Example scenes", ("examples",), lambda: _examples(scenes))
    code = attempt(
        "The directions of the codes",
        ("code",),
        lambda: directions(_codes(air, scenes, compute), scenes.source),
    )
    return Exhibits(code, examples or [], missing)


def _generated(air: AIR, model: str) -> Images | None:
    """Return test scenes of the set that is like the model's data, if there is one that fits."""
    height, width = air.config.canvas_size
    try:
        config = read_checkpoint(model).train_config
        name = None if config is None else ALIKE.get(config.dataset.data)
        if config is None or name is None:
            return None
        options = config.dataset.options() | {"canvas_size": height}
        data = load_dataset(name, "test", **options)[:NUM_SCENES]
    except (AirError, OSError):  # the prior has scenes, too
        return None
    images = data.images if data.images.ndim == 4 else data.images[:, None]
    if data.counts is None or images.shape[1:] != (air.config.channels, height, width):
        return None
    return Images(images, data.counts, f"scenes of {name}")


def _from_prior(air: AIR, compute: Compute) -> Images:
    """Return scenes that the model draws, of 1 to T objects in equal shares."""
    steps, size = air.config.count.shown_steps, largest_batch(air)
    counts = np.arange(NUM_SCENES) % steps + 1

    def draw(start: int) -> NDArray[np.floating]:
        part = counts[start : start + size].tolist()
        images: NDArray[np.floating] = air.sample(len(part), counts=part, seed=start).reconstruction
        return images

    parts = [compute(partial(draw, start)) for start in range(0, NUM_SCENES, size)]
    images = np.rint(255 * np.concatenate(parts).clip(0, 1)).astype(np.uint8)
    return Images(images, counts, "scenes drawn from the prior")


def _codes(air: AIR, scenes: Images, compute: Compute) -> NDArray[np.floating]:
    """Return z_what, (n, what_dim), of the objects that the model finds."""
    size = min(largest_batch(air), BLOCK)

    def read(start: int) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
        """Return the codes of the objects of a portion of the scenes, and of all first steps."""
        found = air.infer(scenes.images[start : start + size])
        return found.z_what[found.z_pres], found.z_what[:, 0]

    portions = [compute(partial(read, start)) for start in range(0, len(scenes.images), size)]
    present, first = (np.concatenate(codes) for codes in zip(*portions, strict=True))
    # A model that finds next to nothing has codes of what it does not believe in.
    return present if len(present) > NUM_COMPONENTS else first


def directions(codes: NDArray[np.floating], source: str) -> Directions:
    """Return the main directions of codes, (n, what_dim): their principal components.

    A direction's largest number is positive, so that equal codes have equal directions.
    """
    pca = principal_components(codes, NUM_COMPONENTS)
    deviations = pca.singular_values_ / np.sqrt(len(codes))
    return Directions(
        mean=rounded(pca.mean_),
        components=[
            Component(sd=round(float(sd), 6), direction=rounded(direction, 9))
            for sd, direction in zip(deviations, pca.components_, strict=True)
        ],
        source=source,
    )


def _examples(scenes: Images) -> list[Example]:
    """Return scenes that show something, one after the other of each count."""
    chosen: list[int] = []
    numbers = [n for n in np.unique(scenes.counts)[::-1] if n > 0]
    rows = [iter(np.flatnonzero(scenes.counts == n)) for n in numbers]
    while rows and len(chosen) < NUM_EXAMPLES:
        for row in list(rows):
            found = next(row, None)
            if found is None:
                rows.remove(row)
            else:
                chosen.append(int(found))
    return [
        Example(
            name=f"scene {i}: {_objects(int(scenes.counts[row]))}",
            image=data_uri(scenes.images[row]),
        )
        for i, row in enumerate(chosen[:NUM_EXAMPLES], 1)
    ]


def _objects(number: int) -> str:
    return f"{number} object" + ("" if number == 1 else "s")
