"""How the objects of a scene make one image, in front of its background b.

    sum     canvas = b + sum_t y_t
    over    canvas = b + sum_t v_t (o_t y_t - o_t b),    v_t = prod_{s<t} (1 - o_s)

``over`` is alpha compositing, front to back: the decoder also gives each object an opacity o_t, and
an object shows by the transmittance v_t of all objects before it.

A residual is a canvas as well: that of the image, of which objects are taken away one by one, by
adding their negative. (The gradient of a difference would pass over the canvas once more.)

Source: Eslami et al. 2016 for the sum; Porter and Duff 1984 for over.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn


class Canvas(NamedTuple):
    """A partial canvas: the scene after some objects; or the residual of an image after them."""

    x: Tensor  # (..., channels, height, width)
    transmittance: Tensor | None = None  # (..., 1, height, width), v_t; of over
    background: Tensor | None = None  # (..., channels, height, width), b; of over
    rows: Tensor | None = None  # (num,), of the batch, the canvases that are meant; None: all

    def select(self, chosen: Tensor) -> Canvas:
        """Return some of the canvases that are meant; nothing is copied."""
        return self._replace(rows=chosen if self.rows is None else self.rows[chosen])

    def of_rows(self) -> Canvas:
        """Return the canvases that are meant, and no others."""
        x, v, b, rows = self
        if rows is None:
            return self
        others = (None if part is None else part.index_select(0, rows) for part in (v, b))
        return Canvas(x.index_select(0, rows), *others)


class Composition(nn.Module, ABC):
    """A rule that puts objects on canvases."""

    has_opacity: bool
    """Whether decoded windows have a last channel with the object's opacity."""

    @property
    def adds_up(self) -> bool:
        """Whether a canvas is the background plus what ``layers`` returns, object by object."""
        return False

    @abstractmethod
    def begin(self, x: Tensor, background: Tensor) -> Canvas:
        """Return canvases without an object.

        Args:
            x: (..., channels, height, width): the backgrounds, or an image minus its background.
            background: likewise, b.
        """

    @abstractmethod
    def layers(self, windows: Tensor) -> Tensor:
        """Return what is rendered of decoded windows.

        Returns: y, (..., channels, h, w); with opacity o, (o y, o), with one channel more.
        """

    @abstractmethod
    def add(self, canvas: Canvas, layers: Tensor, sign: int = 1) -> Canvas:
        """Put one object behind those that are on each canvas.

        Args:
            canvas: the partial canvas; with sign -1 a residual.
            layers: what ``layers`` made, times ``sign``, rendered at the object's pose; 0 for an
                absent object.
            sign: -1 takes the object away from a residual.
        """


class Sum(Composition):
    """Objects add up."""

    has_opacity = False

    @property
    def adds_up(self) -> bool:
        """See ``Composition.adds_up``; a subclass may add in another way."""
        return type(self).add is Sum.add

    def begin(self, x: Tensor, background: Tensor) -> Canvas:
        """See ``Composition.begin``."""
        return Canvas(x)

    def layers(self, windows: Tensor) -> Tensor:
        """See ``Composition.layers``."""
        return windows

    def add(self, canvas: Canvas, layers: Tensor, sign: int = 1) -> Canvas:
        """See ``Composition.add``."""
        return Canvas(canvas.x + layers)


class Over(Composition):
    """Each object has an opacity and occludes those after it."""

    has_opacity = True

    def begin(self, x: Tensor, background: Tensor) -> Canvas:
        """See ``Composition.begin``."""
        return Canvas(x, torch.ones_like(x[..., :1, :, :]), background)

    def layers(self, windows: Tensor) -> Tensor:
        """See ``Composition.layers``."""
        color, opacity = windows[..., :-1, :, :], windows[..., -1:, :, :]
        return torch.cat((opacity * color, opacity), dim=-3)

    def add(self, canvas: Canvas, layers: Tensor, sign: int = 1) -> Canvas:
        """See ``Composition.add``."""
        color, opacity = layers[..., :-1, :, :], layers[..., -1:, :, :]
        assert canvas.transmittance is not None
        assert canvas.background is not None
        change = color - opacity * canvas.background
        transmittance = canvas.transmittance * (1 - sign * opacity)
        return Canvas(canvas.x + canvas.transmittance * change, transmittance, canvas.background)


COMPOSITIONS: dict[str, type[Composition]] = {"sum": Sum, "over": Over}
"""By ``ModelConfig.composition``."""
