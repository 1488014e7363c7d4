"""The preset ``auto``: settings chosen from a quick look at the pictures, each with its reason."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..config import FAST, MANY, TrainConfig, fit_auto, flat, replace
from ..data import default_max_count, is_path, require_known
from ..data.pictures.background.background import Level, Smooth, Tone
from ..data.pictures.background.common import Common, encode_common
from ..data.pictures.canvas.framing import Framing, scaled_size
from ..data.pictures.folder import survey_path
from ..data.pictures.reading.decoding import Need
from ..data.pictures.reading.ranges import find_values
from ..data.pictures.survey.look import largest_size
from ..data.pictures.survey.survey import Survey
from .choices import Choices
from .contradictions import OF_SIZE, warn_of_contradictions
from .windows import choose_window, many_sizes, usual_zoom, zoom_for
from .worth import choose_noise

MIN_CANVAS, LARGEST_FITTED = 16, 256
"""Smallest and largest side of a canvas that is chosen, in pixels."""

MAX_SIDE_RATIO = 1.25
"""Largest ratio of the sides of a canvas: windows have its shape."""

LARGEST_WHOLE = 128
"""Largest side of a canvas that shows a picture as a whole, in pixels: larger ones are divided."""

PART, MIN_PART = 5.0, 48
"""Side of the canvas that shows a part of a picture, in sizes of a typical object, and the
smallest, in pixels."""

GLYPH_CANVAS = 50
"""Side in pixels for which the preset fast has its scale prior. Digits keep their size."""

OBJECTS_SHOWN, FEWEST_STEPS = 4.0, 0.5
"""Objects on a canvas for which the steps are set, and the share of them that is taken at least:
where a canvas shows more, fewer steps show as many."""

FEW_OBJECTS = 3
"""Most objects of generated scenes that the preset fast is for."""


class Proposal(NamedTuple):
    """Settings for one size of a typical object."""

    config: TrainConfig
    side: float = 0.0  # the longer one of a typical object, in pixels of its picture
    zoom: float = 1.0  # canvas pixels per picture pixel


def choose_settings(config: TrainConfig, given: Collection[str] = ()) -> TrainConfig:
    """Choose background, canvas, window, scale prior and noise from a look at a run's pictures.

    Args:
        config: the settings to start from.
        given: names of settings to keep, such as ``canvas`` or ``window_size``.
    Returns: the settings; their ``chosen`` says what was chosen, and why.
    Raises: DataError if there is nothing to look at.
    """
    return propose_settings(config, given)[0].config


def propose_settings(config: TrainConfig, given: Collection[str] = ()) -> tuple[Proposal, ...]:
    """Return what ``choose_settings`` does and, where an object's size is unsure, rivals of it.

    Args, Raises: as ``choose_settings``.
    """
    require_known(config.dataset.data)
    if not is_path(config.dataset.data):
        return (Proposal(_for_generated_scenes(config, given)),)
    choices = Choices(fit_auto(config, given), given)
    _choose_range(choices)
    look = _survey(choices.config, given)
    if not look.shows_something:
        seen = f"nothing: none of {len(look.looks)} pictures shows anything on its background"
        return (Proposal(replace(choices.config, chosen=(seen, *choices.reasons))),)
    told = OF_SIZE & set(given) or many_sizes(choices, look) is not None
    rivals = () if told else look.rivals
    sides = look.side, *rivals
    first, *others = (_propose(choices.copy(), look.assuming(side)) for side in sides)
    warn_of_contradictions(first.config, given, look, first.zoom)
    return first, *others


def _propose(choices: Choices, look: Survey) -> Proposal:
    """Choose what follows from a survey and the size of its typical object."""
    _choose_canvas(choices, look)
    zoom = _chosen_zoom(choices.config, look)
    _choose_background(choices, look, zoom)
    choose_window(choices, look, zoom)
    choose_noise(choices, look, zoom)
    _choose_steps(choices, look, zoom)
    seen = (
        f"from a look at {len(look.looks)} pictures, {len(look.gathered.sides)} connected "
        f"components, {look.num_clusters} of them clusters"
    )
    return Proposal(replace(choices.config, chosen=(seen, *choices.reasons)), look.side, zoom)


def _for_generated_scenes(config: TrainConfig, given: Collection[str]) -> TrainConfig:
    """Return the preset that was tuned for scenes of so many objects, on a canvas of any size."""
    own = config.dataset
    most = max(own.counts or (own.max_count or default_max_count(own.data),))
    preset = FAST if most <= FEW_OBJECTS else MANY
    kept: dict[str, Any] = {name: flat(config)[name] for name in given}
    pose, larger = preset.model.pose, (own.canvas or GLYPH_CANVAS) / GLYPH_CANVAS
    kept.setdefault("scale_prior_mean", round(pose.scale_prior_mean * larger, 2))
    kept.setdefault("scale_prior_sd", round(pose.scale_prior_sd * larger, 3))
    why = f"the settings of the preset {preset.preset}, since scenes have at most {most} objects"
    kept |= {"preset": config.preset, "dataset": own, "seed": config.seed, "chosen": (why,)}
    return replace(preset, **kept)


def _choose_range(choices: Choices) -> None:
    """Choose what becomes black and white, of pictures with more than 8 bits."""
    framing = choices.config.model.framing
    if framing.range is None:
        values = find_values(choices.config.dataset.data, framing.select)
        if values is not None:
            choices.decide("nearly all pixels lie between these", range=values)


def _survey(config: TrainConfig, given: Collection[str]) -> Survey:
    own, framing, tone = config.dataset, config.model.framing, None
    if framing.subtract == "border":
        tone = Tone()
    elif {"contrast", "stretch"} & set(given):
        tone = Tone(framing.contrast, framing.stretch)
    need = Need(values=framing.range, channels=framing.select)
    return survey_path(own.data, own.strict, need, own.channels, tone)


def _choose_canvas(choices: Choices, look: Survey) -> None:
    """Choose how pictures come onto the canvas: as a whole, or large ones in parts."""
    sizes, given = {own.size for own in look.looks}, choices.config.model.framing.resize
    grow = len(sizes) > 1 and _relative_spread(look.shares) < _relative_spread(look.gathered.sides)
    if given == "fit" if "resize" in choices.given else grow:
        _choose_fitted_canvas(choices, look)
        return
    sides, (width, height) = many_sizes(choices, look), largest_size(look.looks)
    zoom = usual_zoom(look.side) if sides is None else zoom_for(sides, LARGEST_WHOLE)
    if "zoom" in choices.given:
        zoom = choices.config.model.framing.zoom
    size = look.side if sides is None else sides[1]
    why = f"a {'typical' if sides is None else 'large'} object is {size:.0f} pixels large"
    why += f", {zoom * size:.0f} on the canvas"
    largest = round(zoom * max(width, height))
    tiled = "resize" not in choices.given or given == "tile"
    if tiled and largest > LARGEST_WHOLE:
        side = int(np.clip(round(PART * zoom * size), MIN_PART, LARGEST_WHOLE))
        why += f"; parts of {side / zoom:.0f} pixels of the {width} x {height} are trained on"
        choices.decide(why, resize="tile", zoom=zoom, canvas=side)
    elif (
        zoom == 1 and len(sizes) == 1 and max(width, height) <= MAX_SIDE_RATIO * min(width, height)
    ):
        choices.decide(why, resize="tile", zoom=zoom)
    else:
        side = int(np.clip(largest, MIN_CANVAS, LARGEST_FITTED))
        choices.decide(why, resize="tile", zoom=zoom, canvas=side)


def _choose_fitted_canvas(choices: Choices, look: Survey) -> None:
    """Choose the canvas to which each picture is scaled."""
    share = float(np.median(look.shares))
    side = _usual_side(look)
    wanted = int(np.clip(round(side * usual_zoom(share * side)), MIN_CANVAS, LARGEST_FITTED))
    choices.decide(
        f"a typical object is {100 * share:.0f}% of its picture, {share * wanted:.0f} pixels then",
        resize="fit",
        canvas=wanted,
    )


def _choose_background(choices: Choices, look: Survey, zoom: float) -> None:
    """Choose what is subtracted from pictures, which makes objects bright on black."""
    if "invert" in choices.given:
        return
    background = look.background
    settings: dict[str, Any] = {"subtract": "nothing"}
    if isinstance(background, Level):
        settings = {"subtract": "level", "subtract_level": background.level}
    elif isinstance(background, Smooth):
        settings = {"subtract": "smooth", "subtract_width": round(zoom * background.width, 1)}
    elif isinstance(background, Common):
        settings = {"subtract": "common"}
        image = encode_common(background, _scaled_size(choices.config, look))
        choices.config = replace(choices.config, common_image=image)
    choices.decide(
        f"the background explains {100 * look.explained:.0f}% of the pixels; nearly all of what "
        f"usual objects show differs by less than the contrast, noise by {look.noise:.3f}",
        **settings,
        objects=look.objects,
        contrast=round(look.tone.contrast, 3),
        stretch=round(look.tone.stretch, 1),
    )


def _choose_steps(choices: Choices, look: Survey, zoom: float) -> None:
    """Choose how many steps are taken, by the number of objects that each shows."""
    canvas = choices.config.dataset.canvas
    pixels = float(np.mean([math.prod(own.size) for own in look.looks]))
    if canvas:
        pixels = min(pixels, (canvas / zoom) ** 2)
    shown, steps = look.density * pixels, choices.config.optimizer.num_steps
    share = float(np.clip(OBJECTS_SHOWN / shown, FEWEST_STEPS, 1))
    if share < 1:
        choices.decide(
            f"a canvas shows about {shown:.0f} objects, so that each step shows more of them",
            num_steps=int(round(share * steps, -2)),
        )


def _usual_side(look: Survey) -> float:
    return float(np.median([max(own.size) for own in look.looks]))


def _chosen_zoom(config: TrainConfig, look: Survey) -> float:
    """Return canvas pixels per picture pixel, of a usual picture where each is scaled to fit."""
    if config.model.framing.resize != "fit":
        return config.model.framing.zoom
    side = _usual_side(look)
    return (config.dataset.canvas or side) / side


def _scaled_size(config: TrainConfig, look: Survey) -> tuple[int, int]:
    """Return the (width, height) to which pictures, all of one size, are scaled."""
    (width, height), framing = look.looks[0].size, config.model.framing
    canvas = config.dataset.canvas or 0
    own = (canvas, canvas) if canvas else (height, width)
    return scaled_size((width, height), Framing(own, 1, framing.resize, framing.zoom))


def _relative_spread(values: NDArray[np.float64]) -> float:
    """Return the interquartile range of values over their median."""
    low, middle, high = np.percentile(values, (25, 50, 75))
    return float((high - low) / middle)
