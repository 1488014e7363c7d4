"""Signs that a model does not fit the pictures that it is shown, told without labels, in a line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..air import AIR
from ..config import ModelConfig
from ..data.pictures.reading.sampling import spread
from ..data.pictures.survey.components import connected_components, gather, size_modes

FEW = 5
"""Pictures below which counts of 0 say nothing: they may be empty."""

MOST = 0.9
"""Share of the pictures, or of the boxes, that is nearly all."""

WHOLE_BOX = 0.9
"""Sides of a box, as shares of the canvas's, of an object that is the picture."""

MIN_EXPLAINED = 0.3
"""Share of the energy in front of the background below which hardly anything is explained."""

SIZE_RATIO = 1.8
"""Ratio of the sizes of objects, in these pictures and trained on, above which they differ."""

BRIGHT = 0.7
"""Median intensity of a picture that is mostly bright."""

WINDOW_MARGIN = 1.25
"""Width of a window in sizes of a typical object, about."""

THRESHOLD = 0.25
"""Intensity on the canvas above which a pixel is foreground."""

COLOR_DIFFERENCE = 0.25
"""Difference of the share of a color, in these pictures and trained on, above which they differ."""

COLORS = ("red", "green", "blue")

LOOKED_AT = 256
"""Canvases that are looked at for sizes of objects."""


class Doubts:
    """Gathers what a model finds, canvas by canvas, and tells what speaks against it.

    Args:
        config: of the model.
    """

    def __init__(self, config: ModelConfig) -> None:
        self._config = config
        self._num = self._none = self._full = self._boxes = self._whole = 0
        self._left = self._white = self._shown = 0.0
        self._energies = np.zeros(config.channels)
        self._canvases: list[NDArray[np.uint8]] = []  # a sample, looked at when all is answered

    def add(
        self,
        canvas: NDArray[np.uint8],
        count: int,
        boxes: NDArray[np.floating] | Sequence[Any],
        reconstruction: NDArray[np.floating],
    ) -> None:
        """Take in what was found on a canvas.

        Args:
            canvas: (channels, height, width).
            count: of its objects.
            boxes: (count, 4), canvas pixels.
            reconstruction: (channels, height, width), intensity.
        """
        image = canvas.astype(np.float32) / 255
        limit = self._config.count.max_steps
        self._num += 1
        self._none += count == 0
        self._full += count == limit
        height, width = self._config.canvas_size
        for x0, y0, x1, y1 in boxes:
            self._boxes += 1
            self._whole += min(x1, width) - max(x0, 0) >= WHOLE_BOX * width and (
                min(y1, height) - max(y0, 0) >= WHOLE_BOX * height
            )
        self._energies += (image**2).sum(axis=(1, 2))
        self._left += float(((image - reconstruction) ** 2).sum())
        self._white += float(np.median(image.max(axis=0)) >= BRIGHT)
        self._shown += float(image.max() > THRESHOLD)
        if len(self._canvases) < LOOKED_AT:
            self._canvases.append(canvas)

    def lines(self) -> list[str]:
        """Return what speaks against the model, a line each with what to do; mostly nothing."""
        found = self._about_counts(), self._about_boxes(), self._about_sizes(), self._about_colors()
        return [line for line in found if line is not None]

    def _about_counts(self) -> str | None:
        if self._num < FEW:
            return None
        if self._none == self._num and self._shown >= MOST * self._num:
            return (
                "every picture is counted as 0, though nearly all show something: the model does "
                "not fit them; see --range, --subtract and --zoom of air train"
            )
        if self._full >= MOST * self._num:
            option = "--step-limit" if self._config.count.unbounded else "-t"
            return (
                f"nearly every picture is counted as {self._config.count.max_steps}, the most that "
                f"the model can count: train with a larger {option}"
            )
        if self._white >= MOST * self._num:
            return (
                "most of nearly every picture is bright, where the model expects objects on black: "
                "the background or the range is another than trained on; see --subtract, --range"
            )
        return None

    def _about_boxes(self) -> str | None:
        window = 1 / self._config.pose.scale_range[0]
        if self._boxes and self._whole >= MOST * self._boxes and window < WHOLE_BOX:
            return (
                "nearly every box is the whole picture: the background was taken for an object; "
                "see --subtract of air train"
            )
        explained = 1 - self._left / max(self._energies.sum(), 1e-9)
        if self._shown and self._none < self._num and explained < MIN_EXPLAINED:
            return (
                f"what was found explains {max(100 * explained, 0):.0f}% of what the pictures "
                "show: do not believe the counts"
            )
        return None

    def _about_sizes(self) -> str | None:
        if self._config.background.background_model != "none" or not self._canvases:
            return None  # what is behind the objects is no object
        side = self._typical_side(noisy=True)
        if side is None:
            return None
        large, small = (self._config.canvas_size[1] / s for s in self._config.pose.scale_range)
        least = small / WINDOW_MARGIN / SIZE_RATIO
        # Noise is filtered out, and thin things with it, of which only pieces are left: what is
        # too small must be so unfiltered, too.
        too_small = side < least and (self._typical_side(noisy=False) or side) < least
        if side > SIZE_RATIO * large or too_small:
            window = f"{small:.0f} to {large:.0f}" if large > small else f"{large:.0f}"
            return (
                f"a typical object is {side:.0f} pixels large on the canvas, where the model's "
                f"window has {window}: zoom the pictures, or train on such as these"
            )
        return None

    def _typical_side(self, noisy: bool) -> float | None:
        """Return the longer side of a typical component of the canvases, if there are enough."""
        joined = gather(
            [
                connected_components(canvas.astype(np.float32) / 255, THRESHOLD, noisy)
                for canvas in self._canvases
            ]
        )
        return size_modes(joined.sides)[0].side if len(joined.sides) >= FEW else None

    def _about_colors(self) -> str | None:
        trained = np.array(self._config.appearance.trained_colors)
        if not len(trained) or self._num < FEW or not self._energies.any():
            return None
        shares = self._energies / self._energies.sum()
        most = int(np.abs(shares - trained).argmax())
        if abs(shares[most] - trained[most]) <= COLOR_DIFFERENCE:
            return None
        return (
            f"{100 * shares[most]:.0f}% of what the pictures show is {COLORS[most]}, and "
            f"{100 * trained[most]:.0f}% of what the model was trained on: train on such as these"
        )


def color_shares(images: NDArray[np.uint8]) -> tuple[float, ...]:
    """Return how much of the energy of images, (N, 3, height, width), each color has.

    Returns: shares of red, green and blue; none of gray images, or of black ones.
    """
    if images.ndim == 3:
        return ()
    energies = (images[spread(len(images), LOOKED_AT)].astype(np.float64) ** 2).sum(axis=(0, 2, 3))
    total = energies.sum()
    return tuple(round(float(energy / total), 3) for energy in energies) if total else ()


def doubts_about(air: AIR, images: NDArray[np.uint8]) -> list[str]:
    """Return what speaks against a model on images, each on one line; mostly nothing.

    Args:
        air: the model.
        images: (N, height, width) or (N, channels, height, width), of which some are looked at.
    """
    seen = images[spread(len(images), LOOKED_AT)]
    doubts = Doubts(air.config)
    scenes = air.infer(seen)
    canvases = seen if seen.ndim == 4 else seen[:, None]
    drawn = scenes.reconstruction.reshape(canvases.shape)
    for canvas, count, boxes, own in zip(canvases, scenes.counts, scenes.boxes, drawn, strict=True):
        doubts.add(canvas, int(count), boxes[: int(count)], own)
    return doubts.lines()
