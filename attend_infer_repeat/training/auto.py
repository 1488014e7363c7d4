"""The preset ``auto``: settings chosen from a quick look at the pictures, each with its reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ..config import FAST, TrainConfig
from ..data import is_path, load_dataset, require_known
from ..data.pictures.array_files import as_picture
from ..data.pictures.folder import LARGEST_CANVAS, survey_path
from ..data.pictures.survey import Survey, spread, survey

SMALLEST_CANVAS = 16
"""The smallest side of a canvas that is chosen, in pixels."""

OBJECT = 16
"""The size that a usual object is brought to, in canvas pixels: more detail costs more time."""

NEARLY = 0.8
"""The smallest zoom that is not worth its blur: pictures that it would shrink stay as they are."""

NEARLY_SQUARE = 1.25
"""The largest ratio of the sides of a canvas: windows have its shape."""

MARGIN = 1.25
"""The width of the painted window, in sizes of a usual object: some are larger."""

SPREAD = 0.04
"""Standard deviation of the scale as a share of its mean, as in the preset fast."""

FINENESS = 0.8
"""Window pixels for each canvas pixel that the window is painted on, as in the preset fast."""

SMALLEST_WINDOW, LARGEST_WINDOW = 8, 32

MOST_NATS = 500
"""What an object explains at most, in nats: the pixel noise is raised where it would be more."""

FIRST_COST = 0.28
"""What a new object costs at first, as a share of that."""

LAST_COST, SMALLEST_LAST_COST = 0.09, 5
"""What it costs in the end, likewise, and at least in nats: more than a drawing leaves over."""

SMALLEST_COST, LARGEST_COST = 35, 600
"""Bounds of that cost, in nats: that of the preset fast, and nearly the end of a float64."""

MOST_STEPS = 12


@dataclass
class _Choices:
    """Settings on their way: what was given stays."""

    config: TrainConfig
    given: Collection[str]
    reasons: dict[str, str] = field(default_factory=dict)

    def decide(self, name: str, value: Any, why: str) -> None:
        """Set ``name``, such as ``canvas`` or ``model.window_size``, unless it was given."""
        if name in self.given:
            return
        owner, _, leaf = name.rpartition(".")
        change = {leaf: value}
        if owner:
            change = {owner: replace(self.config.model, **change)}
        self.config = replace(self.config, **change)
        shown = f"{value:.3g}" if isinstance(value, float) else value
        self.reasons[name] = f"{leaf} {shown}: {why}"


def choose(config: TrainConfig, given: Collection[str] = ()) -> TrainConfig:
    """Choose canvas, window, scale prior and number of steps from a look at a run's pictures.

    Args:
        config: the settings to start from.
        given: names of settings to keep, such as ``canvas`` or ``model.window_size``.
    Returns: the settings; their ``chosen`` says what was chosen, and why.
    Raises: DataError if there is nothing to look at.
    """
    look, choices = _look(config), _Choices(config, given)
    if len(look.sides):
        canvas, size = _choose_canvas(choices, look)
        _choose_model(choices, look, canvas, size)
        _choose_noise(choices, look, size / float(np.median(look.sides)))
    else:
        choices.reasons["nothing"] = "nothing: no picture shows anything on its background"
    seen = f"from a look at {len(look.looks)} pictures, {len(look.sides)} patches of ink"
    return replace(choices.config, chosen=(seen, *choices.reasons.values()))


def _look(config: TrainConfig) -> Survey:
    require_known(config.data)
    if is_path(config.data):
        return survey_path(config.data, config.strict)
    data = load_dataset(config.data, "train", **config.data_options())
    return survey([as_picture(image) for image in data.images[spread(len(data))]])


def _choose_canvas(choices: _Choices, look: Survey) -> tuple[float, float]:
    """Choose how pictures come onto the canvas.

    Returns: the canvas's width, and the size of a usual object on it, both in canvas pixels.
    """
    (usual, _), *others = look.sizes.most_common()
    config = choices.config
    if not is_path(config.data):
        return usual[0], float(np.median(look.sides))
    if others and _relative_spread(look.sides) < _relative_spread(look.shares):
        choices.decide(
            "model.resize",
            "pad",
            "the pictures differ in size, and what they show is equally large in pixels",
        )
    if choices.config.model.resize == "fit":
        return _fit(choices, look)
    return _pad(choices, look)


def _fit(choices: _Choices, look: Survey) -> tuple[float, float]:
    """Choose the canvas that each picture is scaled to fit."""
    (usual, _), *others = look.sizes.most_common()
    share = float(np.median(look.shares))
    side = round(float(np.median([max(size) for size in look.sizes.elements()])))
    wanted = side * _zoom(share * side)
    stays = not others and wanted == side and side <= NEARLY_SQUARE * min(usual)
    if stays and side <= LARGEST_CANVAS:
        if choices.config.canvas is None:
            return usual[0], share * side
    else:
        choices.decide(
            "canvas",
            int(np.clip(round(wanted), SMALLEST_CANVAS, LARGEST_CANVAS)),
            f"what the pictures show is {100 * share:.0f}% of a picture, so about "
            f"{share * np.clip(wanted, SMALLEST_CANVAS, LARGEST_CANVAS):.0f} pixels then",
        )
    canvas = choices.config.canvas or side
    return canvas, share * canvas


def _pad(choices: _Choices, look: Survey) -> tuple[float, float]:
    """Choose the zoom of all pictures, and the canvas that holds them."""
    size = float(np.median(look.sides))
    largest = max(max(picture) for picture in look.sizes)
    choices.decide(
        "model.zoom",
        min(_zoom(size), LARGEST_CANVAS / largest),
        f"what the pictures show is {size:.0f} pixels large, so about {OBJECT} or less then",
    )
    zoom = choices.config.model.zoom
    choices.decide(
        "canvas",
        int(np.clip(np.ceil(zoom * largest), SMALLEST_CANVAS, LARGEST_CANVAS)),
        f"the largest picture has a side of {largest} pixels",
    )
    return choices.config.canvas or zoom * largest, zoom * size


def _choose_model(choices: _Choices, look: Survey, canvas: float, size: float) -> None:
    """Choose the model's sizes.

    Args:
        canvas: its width in pixels.
        size: of a usual object, in canvas pixels.
    """
    window = min(MARGIN * size, canvas)
    choices.decide(
        "model.scale_prior_mean",
        round(canvas / window, 2),
        f"a window of {window:.0f} of the canvas's {canvas:.0f} pixels, {MARGIN} times the "
        "size of what the pictures show",
    )
    mean = choices.config.model.scale_prior_mean
    choices.decide(
        "model.scale_prior_sd",
        round(SPREAD * mean, 3),
        f"{100 * SPREAD:.0f}% of the mean, so that no window covers two objects",
    )
    choices.decide(
        "model.window_size",
        int(np.clip(round(FINENESS * window), SMALLEST_WINDOW, LARGEST_WINDOW)),
        f"{FINENESS} window pixels for each of those {window:.0f}",
    )
    most = int(np.ceil(np.percentile(look.numbers, 99)))
    choices.decide(
        "model.model_steps",
        int(np.clip(most + 1, 2, MOST_STEPS)),
        f"99% of the pictures show at most {most} patches of ink, and one more may touch another",
    )


def _choose_noise(choices: _Choices, look: Survey, zoom: float) -> None:
    """Choose what an object is worth, and what it costs at first.

    Drawing an object of energy E explains E / (2 sd^2) nats. In colour, and of many pixels, that
    would be thousands: whatever a first drawing leaves over would pay for a second object. And the
    annealing of the count prior has to begin where one faint copy of many would not pay.

    Args:
        zoom: canvas pixels per picture pixel.
    """
    energy = float(np.median(look.energies)) * zoom**2
    sd = FAST.model.likelihood_sd
    choices.decide(
        "model.likelihood_sd",
        round(max(sd, (energy / (2 * MOST_NATS)) ** 0.5), 2),
        f"what the pictures show has an energy of {energy:.0f}, which explains at most {MOST_NATS} "
        "nats then",
    )
    worth = energy / (2 * choices.config.model.likelihood_sd**2)
    cost = float(np.clip(FIRST_COST * worth, SMALLEST_COST, LARGEST_COST))
    choices.decide(
        "anneal_prior_from",
        float(f"{np.exp(-cost):.0e}"),
        f"a new object costs {cost:.0f} nats at first, of the {worth:.0f} that one explains",
    )
    last = float(np.clip(LAST_COST * worth, SMALLEST_LAST_COST, LARGEST_COST))
    choices.decide(
        "model.z_pres_prior",
        float(f"{np.exp(-last):.0e}"),
        f"and {last:.0f} nats at last",
    )


def _zoom(size: float) -> float:
    """Return the zoom that brings an object of ``size`` pixels to ``OBJECT``; never enlarging."""
    zoom = OBJECT / size
    return 1.0 if zoom > NEARLY else zoom


def _relative_spread(values: np.ndarray) -> float:
    """Return the width of the middle half of values beside their median."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)
