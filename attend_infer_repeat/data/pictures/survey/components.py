"""Connected components of the foreground, and the size of a typical object among them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

SPECK = 2
"""Longest side of a speck, in pixels: no object."""

BANDWIDTH = 0.08
"""Bandwidth of the kernel density of the logarithm of components' sides."""

FIRST_MODE = 0.5
"""Density of the first mode that is taken for an object's, as a share of the highest."""

FEWEST_WHOLE = 0.2
"""Share of the components that must lie clear of the border for the others to be left out."""


class Components(NamedTuple):
    """Connected components of the foreground of one view; lengths in pixels of the picture."""

    sides: NDArray[np.float64]  # (n,), the longer one of each
    areas: NDArray[np.float64]  # (n,)
    energies: NDArray[np.float64]  # (n,), the sum of squared intensities, pixels and channels
    cut: NDArray[np.bool_]  # (n,), whether it touches the view's border
    solidity: NDArray[np.float64]  # (n,), the area as a share of its convex hull's

    def enlarged(self, zoom: float) -> Components:
        """Return the same components in a picture that is larger by a factor."""
        return self._replace(
            sides=self.sides * zoom, areas=self.areas * zoom**2, energies=self.energies * zoom**2
        )

    def of(self, chosen: NDArray[np.bool_]) -> Components:
        """Return some of the components."""
        return Components(
            *(self.sides[chosen], self.areas[chosen], self.energies[chosen], self.cut[chosen]),
            self.solidity[chosen],
        )


def connected_components(
    image: NDArray[np.floating], threshold: float, noisy: bool = False
) -> Components:
    """Find the connected components of the foreground, but for specks.

    Args:
        image: (channels, height, width), how far pixels differ from the background.
        threshold: above which a pixel is foreground, in one channel at least.
        noisy: take the median of each pixel's neighborhood first.
    """
    from scipy import ndimage

    foreground = image.max(axis=0) > threshold
    if noisy:
        foreground = ndimage.median_filter(foreground, 3)
    found, num = ndimage.label(foreground, np.ones((3, 3)))
    slices = ndimage.find_objects(found)
    spans = np.array([[(s.start, s.stop) for s in part] for part in slices], np.int64)
    spans = spans.reshape(num, 2, 2)  # axes y, x; first pixel, and one after the last
    sides = (spans[..., 1] - spans[..., 0]).max(axis=1).astype(np.float64)
    large = np.flatnonzero(sides > SPECK)
    energy = (image**2).sum(axis=0)
    masks = [found[slices[i]] == i + 1 for i in large]
    areas = np.array([mask.sum() for mask in masks], np.float64)
    return Components(
        sides[large],
        areas,
        np.array([energy[slices[i]][m].sum() for i, m in zip(large, masks, strict=True)], float),
        ((spans[..., 0] == 0).any(axis=1) | (spans[..., 1] == foreground.shape).any(axis=1))[large],
        np.array([own / hull_area(m) for own, m in zip(areas, masks, strict=True)], float),
    )


def hull_area(mask: NDArray[np.bool_]) -> float:
    """Return the area of the convex hull of a component's pixels, (height, width), corners and all.

    Only the first and the last pixel of each row can be corners of the hull.
    """
    from scipy.spatial import ConvexHull

    rows = np.arange(len(mask))
    first, last = mask.argmax(axis=1), mask.shape[1] - mask[:, ::-1].argmax(axis=1)
    corners = [(y + dy, x) for y, a, b in zip(rows, first, last, strict=True) for dy in (0, 1)
               for x in (a, b)]  # fmt: skip
    return float(ConvexHull(np.array(corners, float)).volume)  # of a polygon, its area


def gather(views: list[Components]) -> Components:
    """Join the components of several views; those that a border cuts are left out.

    Where nearly all touch a border, they stay.
    """
    joined = Components(*map(np.concatenate, zip(*views, strict=True)))
    whole = ~joined.cut
    return joined.of(whole) if whole.sum() >= FEWEST_WHOLE * len(whole) else joined


class Mode(NamedTuple):
    """A mode of the density of the logarithm of components' sides."""

    side: float  # pixels
    height: float  # the density there, as a share of the highest


def size_modes(sides: NDArray[np.float64]) -> tuple[Mode, ...]:
    """Return the modes of the logarithm of the sides; first the side of a typical object.

    That is the first large mode. Debris is smaller than an object, and clusters are larger, by
    factors of their own: they would move a median. A component counts by its side, since one large
    object may leave much debris; since clusters count more then, a smaller mode is taken that is
    nearly as high. The others follow from the highest to the lowest.

    Args:
        sides: (n,), of components, n > 0.
    """
    logs = np.log(sides)
    grid = np.arange(logs.min() - BANDWIDTH, logs.max() + BANDWIDTH, BANDWIDTH / 8)
    density = np.exp(-(((grid[:, None] - logs) / BANDWIDTH) ** 2) / 2) @ sides
    density /= density.max()
    inside = density[1:-1]
    is_mode = (inside > density[:-2]) & (inside >= density[2:])
    modes = [Mode(float(np.exp(grid[1:-1][i])), float(inside[i])) for i in is_mode.nonzero()[0]]
    typical = next(mode for mode in modes if mode.height >= FIRST_MODE)
    others = sorted((mode for mode in modes if mode != typical), key=lambda mode: -mode.height)
    return (typical, *others)
