"""A quick look at some of the pictures: what is behind the objects, and how large they look."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..background.background import Background, Objects, Smooth, Tone, directed
from ..background.candidates import MIN_STEP, choose_background
from ..background.smooth import noise_sd
from ..reading.decoding import MAX_PIXELS
from .components import Components, Mode, connected_components, gather, size_modes
from .differences import choose_tone, direction, in_channels, spread_behind
from .look import Look, View, channels_of

SMALL_IN_VIEW = 10
"""Pixels of a typical object below which a closer view is taken, where there is one."""

SIZE_SPREAD = 0.25
"""Largest difference of the logarithms of sides, of objects that are about equally large."""

NOTCHES = 0.03
"""How much less of its convex hull a cluster fills than a single object."""

MOST_AREAS = 4.0
"""Area of a single object, in areas of a typical one, at most."""

LARGE_PERCENTILE = 85
"""Percentile of the sides of objects that is a large one's."""

MIN_RIVAL_HEIGHT, RIVAL_RATIO, MOST_RIVALS = 0.4, 1.25, 2
"""Height of another mode of the sizes, as a share of the highest, that may as well be a typical
object's; how many times larger or smaller it is, at least; and how many there are, at most."""

MANY_SIZES, SIZES_SHARE = 2.0, 0.2
"""How many times larger or smaller than a typical object others are, and their share of all
components, or the larger ones' of their area, from which objects are of many sizes."""

SMALL_AND_LARGE = 5, 95
"""Percentiles of the sides of objects of many sizes, those of small and of large ones."""

AS_DENSE, AS_SOLID, LEAST_IN_VIEW = 0.75, 0.08, 5
"""What tells an object of another size from debris and clusters: the share of a typical object's
energy for each pixel that it has at least, how much less of its convex hull it may fill, and its
longer side at least, in pixels of the view. A small disc of pixels fills 0.9 of its hull."""

CLUSTER = 1.5
"""Area, in areas of a typical object, from which a component is a cluster."""


@dataclass(frozen=True)
class Survey:
    """What a sample of pictures looks like; from the first to the last, evenly spread.

    Attributes:
        looks: one for each picture.
        background: what is behind the objects of all pictures; its width is in pictures' pixels.
        objects: how objects differ from it.
        explained: share of the pixels that the background explains.
        noise: standard deviation of the pixels around the background, intensity.
        tone: how differences from the background are shown.
        components: of the foreground of each picture's view; energies are of differences as they
            are shown.
        area: pixels of the pictures that the views show.
        shrink: picture pixels for each pixel of a view.
        assumed: the longer side of a typical object; None takes the first large mode.
    """

    looks: tuple[Look, ...]
    background: Background
    objects: Objects
    explained: float
    noise: float
    tone: Tone
    components: tuple[Components, ...]
    area: float
    shrink: float = 1.0
    assumed: float | None = None

    @cached_property
    def gathered(self) -> Components:
        """The components of all views, but for those that a border cuts."""
        return gather(list(self.components))

    @property
    def shows_something(self) -> bool:
        """Whether any view shows something in front of the background."""
        return len(self.gathered.sides) > 0

    @cached_property
    def side(self) -> float:
        """The longer side of a typical object, in pixels of its picture."""
        return self._modes[0].side if self.assumed is None else self.assumed

    @cached_property
    def rivals(self) -> tuple[float, ...]:
        """Other sides that may as well be a typical object's, from the likeliest on."""
        high = [mode.side for mode in self._modes if mode.height >= MIN_RIVAL_HEIGHT]
        ratios = [max(side / self.side, self.side / side) for side in high]
        others = [side for side, r in zip(high, ratios, strict=True) if r >= RIVAL_RATIO]
        return tuple(others[:MOST_RIVALS])

    def assuming(self, side: float) -> Survey:
        """Return the same, if a typical object has another longer side."""
        return replace(self, assumed=side)

    @cached_property
    def _modes(self) -> tuple[Mode, ...]:
        return size_modes(self.gathered.sides)

    @cached_property
    def single(self) -> Components:
        """The components that are about as large as a typical object."""
        near = np.abs(np.log(self.gathered.sides / self.side)) <= SIZE_SPREAD
        return self.gathered.of(near)

    @cached_property
    def largest_side(self) -> float:
        """The longer side of large objects: of nearly all components that are no clusters.

        A cluster of several has notches: its area is a smaller share of its convex hull's than that
        of a single object, whatever that share is.
        """
        found, notched = self.gathered, np.median(self.single.solidity) - NOTCHES
        is_object = (found.solidity >= notched) & (found.sides >= self.side / 2)
        is_object &= found.areas <= MOST_AREAS * np.median(self.single.areas)
        return float(np.percentile(found.sides[is_object], LARGE_PERCENTILE))

    @cached_property
    def sizes(self) -> Components | None:
        """Objects of any size, if they are of many; None if of about one.

        They are as bright and as compact as a typical one, and there are many.
        """
        found, single = self.gathered, self.single
        dense = found.energies / found.areas >= AS_DENSE * np.median(single.energies / single.areas)
        solid = found.solidity >= np.median(single.solidity) - AS_SOLID
        is_object = dense & solid & (found.sides >= LEAST_IN_VIEW * self.shrink)
        smaller = is_object & (found.sides <= self.side / MANY_SIZES)
        larger = is_object & (found.sides >= self.side * MANY_SIZES)
        share, covered = (smaller | larger).mean(), found.areas[larger].sum() / found.areas.sum()
        if not max(share, covered) >= SIZES_SHARE:
            return None
        objects = found.of(is_object)
        small, large = np.percentile(objects.sides, SMALL_AND_LARGE)
        return objects if large >= MANY_SIZES * small else None

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """The longer side of every component, as a share of its picture's longer side."""
        return np.concatenate(
            [
                found.sides / max(look.size)
                for look, found in zip(self.looks, self.components, strict=True)
            ]
        )

    @property
    def energy(self) -> float:
        """The median energy of components that are about as large as a typical object."""
        return float(np.median(self.single.energies))

    @property
    def density(self) -> float:
        """Objects for each pixel that was looked at, by the area that they cover if of one size.

        Of a large picture of small objects that is a busy part: crops of it are, too.
        """
        if self.sizes is not None:
            least = LEAST_IN_VIEW * self.shrink
            return sum(int((found.sides >= least).sum()) for found in self.components) / self.area
        covered = sum(float(found.areas.sum()) for found in self.components)
        return covered / float(np.median(self.single.areas)) / self.area

    @property
    def num_clusters(self) -> int:
        """How many components are larger than half a typical object more."""
        return int((self.gathered.areas > CLUSTER * np.median(self.single.areas)).sum())


def survey(looks: Sequence[Look], channels: int | None = None, tone: Tone | None = None) -> Survey:
    """Decide what is behind the objects of pictures, and measure them.

    Where a typical object has less than ``SMALL_IN_VIEW`` pixels, or none is found, parts of large
    pictures are looked at more closely; where those show nothing, the first look stands.

    Args:
        looks: at the pictures.
        channels: 1 or 3 of the canvas; what the pictures have if None.
        tone: how differences are shown; chosen from them if None.
    """
    channels = channels_of(looks) if channels is None else channels
    best: Survey | None = None
    for level in range(max(len(look.views) for look in looks)):
        views = [look.views[min(level, len(look.views) - 1)] for look in looks]
        found = _survey(looks, views, channels, tone)
        if best is None or found.shows_something:
            best = found
        if found.shows_something:
            shrink = float(np.median([view.shrink for view in views]))
            if found.side >= SMALL_IN_VIEW * shrink:
                break
    assert best is not None
    return best


def _survey(
    looks: Sequence[Look], views: Sequence[View], channels: int, tone: Tone | None
) -> Survey:
    images = [in_channels(view.pixels.astype(np.float32) / 255, channels) for view in views]
    sd = float(np.median([max(map(noise_sd, image)) for image in images]))
    shared = all(view.whole for view in views) and len({look.size for look in looks}) == 1
    shared = shared and math.prod(looks[0].size) <= MAX_PIXELS  # or the image itself is too large
    background, explained = choose_background(images, sd, shared)
    differences = [image - background.of(image) for image in images]
    objects = direction(differences, sd)
    noise = max(sd, spread_behind(differences, objects))
    away = [directed(difference, objects) for difference in differences]
    chosen, threshold = choose_tone(away, noise)
    tone = chosen if tone is None else tone
    shown = [tone(difference) for difference in away]
    threshold = float(tone(np.array(threshold)))
    components = tuple(
        connected_components(image, threshold, noise > MIN_STEP).enlarged(view.shrink)
        for image, view in zip(shown, views, strict=True)
    )
    if isinstance(background, Smooth):
        background = Smooth(background.width * views[0].shrink)
    area = sum(math.prod(view.pixels.shape[1:]) * view.shrink**2 for view in views)
    return Survey(
        *(tuple(looks), background, objects, explained, noise, tone, components, area),
        shrink=float(np.median([view.shrink for view in views])),
    )
