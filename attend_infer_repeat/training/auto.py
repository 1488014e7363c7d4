"""The preset ``auto``: settings chosen from a quick look at the pictures, each with its reason."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..config import FAST, TrainConfig, idle, replace
from ..data import is_path, load_dataset, require_known
from ..data.pictures.array_files import as_picture
from ..data.pictures.folder import LARGEST_CANVAS, survey_path
from ..data.pictures.survey import Survey, spread, survey

MIN_CANVAS = 16
"""Smallest side of a canvas that is chosen, in pixels."""

OBJECT_SIZE = 16
"""Size to which a typical object is reduced, in canvas pixels: more detail costs more time."""

MAX_USEFUL_ZOOM = 0.8
"""Largest zoom that is applied: between this and 1, the time saved is not worth the blur."""

MAX_SIDE_RATIO = 1.25
"""Largest ratio of the sides of a canvas: windows have its shape."""

WINDOW_MARGIN = 1.25
"""Width of the window on the canvas, in sizes of a typical object: some objects are larger."""

RELATIVE_SCALE_SD = 0.04
"""Standard deviation of the scale prior as a share of its mean, as in the preset fast."""

WINDOW_RESOLUTION = 0.8
"""Window pixels for each canvas pixel that the window covers, as in the preset fast."""

MIN_WINDOW, MAX_WINDOW = 8, 32
"""Bounds of the window size, in pixels."""

MAX_GAIN = 500
"""Bound on the log-likelihood gain of an object, in nats: the pixel noise is raised to keep it."""

INITIAL_COST_SHARE = 0.28
"""Log prior cost of one more object at the first step, as a share of its log-likelihood gain."""

MIN_INITIAL_COST, MAX_INITIAL_COST = 35, 600
"""Bounds of that cost, in nats: that of the preset fast, and nearly the smallest float64."""

FINAL_COST_SHARE, MIN_FINAL_COST = 0.09, 5
"""The same cost at the end of the annealing, and its bound in nats: above what a rendered object
leaves unexplained."""

MAX_STEPS = 12
"""Largest number of steps that is chosen."""


@dataclass
class _Choices:
    """Settings, as they are chosen one by one, and the reason for each."""

    config: TrainConfig
    given: Collection[str]
    reasons: dict[str, str] = field(default_factory=dict)

    def decide(self, name: str, value: Any, why: str) -> None:
        """Set ``name``, such as ``window_size``, unless it was given or has no effect."""
        if name in self.given or name in {setting.name for setting in idle(self.config)}:
            return
        self.config = replace(self.config, **{name: value})
        shown = f"{value:.3g}" if isinstance(value, float) else value
        self.reasons[name] = f"{name} {shown}: {why}"


def choose_settings(config: TrainConfig, given: Collection[str] = ()) -> TrainConfig:
    """Choose canvas, window, scale prior and number of steps from a look at a run's pictures.

    Args:
        config: the settings to start from.
        given: names of settings to keep, such as ``canvas`` or ``window_size``.
    Returns: the settings; their ``chosen`` says what was chosen, and why.
    Raises: DataError if there is nothing to look at.
    """
    look, choices = _survey(config), _Choices(config, given)
    if len(look.sides):
        canvas, size = _choose_canvas(choices, look)
        _choose_model(choices, look, canvas, size)
        _choose_noise(choices, look, size / float(np.median(look.sides)))
    else:
        choices.reasons["nothing"] = "nothing: no picture shows anything on its background"
    seen = f"from a look at {len(look.looks)} pictures, {len(look.sides)} connected components"
    return replace(choices.config, chosen=(seen, *choices.reasons.values()))


def _survey(config: TrainConfig) -> Survey:
    require_known(config.dataset.data)
    if is_path(config.dataset.data):
        return survey_path(config.dataset.data, config.dataset.strict)
    data = load_dataset(config.dataset.data, "train", **config.dataset.options())
    return survey([as_picture(image) for image in data.images[spread(len(data))]])


def _choose_canvas(choices: _Choices, look: Survey) -> tuple[float, float]:
    """Choose how pictures come onto the canvas.

    Returns: the canvas's width, and the size of a typical object on it, both in canvas pixels.
    """
    (commonest, _), *others = look.sizes.most_common()
    config = choices.config
    if not is_path(config.dataset.data):
        return commonest[0], float(np.median(look.sides))
    if others and _relative_spread(look.sides) < _relative_spread(look.shares):
        choices.decide(
            "resize",
            "pad",
            "the pictures differ in size, and what they show is equally large in pixels",
        )
    if choices.config.model.framing.resize == "fit":
        return _choose_fitted_canvas(choices, look)
    return _choose_padded_canvas(choices, look)


def _choose_fitted_canvas(choices: _Choices, look: Survey) -> tuple[float, float]:
    """Choose the canvas to which each picture is scaled; returns as ``_choose_canvas``."""
    (commonest, _), *others = look.sizes.most_common()
    share = float(np.median(look.shares))
    side = round(float(np.median([max(size) for size in look.sizes.elements()])))
    wanted = side * _zoom(share * side)
    stays = not others and wanted == side and side <= MAX_SIDE_RATIO * min(commonest)
    if stays and side <= LARGEST_CANVAS:
        if choices.config.dataset.canvas is None:
            return commonest[0], share * side
    else:
        choices.decide(
            "canvas",
            int(np.clip(round(wanted), MIN_CANVAS, LARGEST_CANVAS)),
            f"what the pictures show is {100 * share:.0f}% of a picture, so about "
            f"{share * np.clip(wanted, MIN_CANVAS, LARGEST_CANVAS):.0f} pixels then",
        )
    canvas = choices.config.dataset.canvas or side
    return canvas, share * canvas


def _choose_padded_canvas(choices: _Choices, look: Survey) -> tuple[float, float]:
    """Choose the zoom of all pictures and a canvas for them; returns as ``_choose_canvas``."""
    size = float(np.median(look.sides))
    largest = max(max(picture) for picture in look.sizes)
    choices.decide(
        "zoom",
        min(_zoom(size), LARGEST_CANVAS / largest),
        f"what the pictures show is {size:.0f} pixels large, so about {OBJECT_SIZE} or less then",
    )
    zoom = choices.config.model.framing.zoom
    choices.decide(
        "canvas",
        int(np.clip(np.ceil(zoom * largest), MIN_CANVAS, LARGEST_CANVAS)),
        f"the largest picture has a side of {largest} pixels",
    )
    return choices.config.dataset.canvas or zoom * largest, zoom * size


def _choose_model(choices: _Choices, look: Survey, canvas: float, size: float) -> None:
    """Choose the model's sizes.

    Args:
        canvas: its width in pixels.
        size: of a typical object, in canvas pixels.
    """
    window = min(WINDOW_MARGIN * size, canvas)
    choices.decide(
        "scale_prior_mean",
        round(canvas / window, 2),
        f"a window of {window:.0f} of the canvas's {canvas:.0f} pixels, {WINDOW_MARGIN} times the "
        "size of what the pictures show",
    )
    mean = choices.config.model.pose.scale_prior_mean
    choices.decide(
        "scale_prior_sd",
        round(RELATIVE_SCALE_SD * mean, 3),
        f"{100 * RELATIVE_SCALE_SD:.0f}% of the mean, so that no window covers two objects",
    )
    choices.decide(
        "window_size",
        int(np.clip(round(WINDOW_RESOLUTION * window), MIN_WINDOW, MAX_WINDOW)),
        f"{WINDOW_RESOLUTION} window pixels for each of those {window:.0f}",
    )
    num_most = int(np.ceil(np.percentile(look.numbers, 99)))
    choices.decide(
        "model_steps",
        int(np.clip(num_most + 1, 2, MAX_STEPS)),
        f"99% of the pictures show at most {num_most} connected components, and one more object "
        "may touch another",
    )


def _choose_noise(choices: _Choices, look: Survey, zoom: float) -> None:
    """Choose the pixel noise and the count prior by an object's log-likelihood gain.

    Rendering an object of energy E, its sum of squares, raises the log-likelihood by E / (2 sd^2)
    nats. For large objects in color that would be thousands, and the residual that a first
    rendering leaves would pay for a second object in the same place. The count prior starts so low
    that a faint rendering, which gains little, does not pay either.

    Args:
        zoom: canvas pixels per picture pixel.
    """
    energy = float(np.median(look.energies)) * zoom**2
    sd = FAST.model.likelihood.likelihood_sd
    choices.decide(
        "likelihood_sd",
        round(max(sd, (energy / (2 * MAX_GAIN)) ** 0.5), 2),
        f"what the pictures show has an energy of {energy:.0f}, which explains at most {MAX_GAIN} "
        "nats then",
    )
    gain = energy / (2 * choices.config.model.likelihood.likelihood_sd**2)
    cost = float(np.clip(INITIAL_COST_SHARE * gain, MIN_INITIAL_COST, MAX_INITIAL_COST))
    choices.decide(
        "anneal_prior_from",
        float(f"{np.exp(-cost):.0e}"),
        f"a new object costs {cost:.0f} nats at first, of the {gain:.0f} that one explains",
    )
    last = float(np.clip(FINAL_COST_SHARE * gain, MIN_FINAL_COST, MAX_INITIAL_COST))
    choices.decide(
        "z_pres_prior",
        float(f"{np.exp(-last):.0e}"),
        f"and {last:.0f} nats at last",
    )


def _zoom(size: float) -> float:
    """Return the zoom that reduces ``size`` pixels to ``OBJECT_SIZE``; 1 rather than enlarge."""
    zoom = OBJECT_SIZE / size
    return 1.0 if zoom > MAX_USEFUL_ZOOM else zoom


def _relative_spread(values: np.ndarray) -> float:
    """Return the interquartile range of values over their median."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)
