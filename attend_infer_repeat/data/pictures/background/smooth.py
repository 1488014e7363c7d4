"""The pixel noise, the level and the smooth background of an image, robust against its objects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

NUM_SWEEPS = 4
"""Sweeps in which a smooth background and the pixels that it explains are found in turn."""

OUTLIER = 3.0
"""Noise standard deviations from the background at which a pixel is an object's."""

PRIOR_WEIGHT = 0.02
"""Weight of the quadratic surface, as a share of the pixels under the kernel: it stands in where
objects hide all of them."""

SURFACE_POINTS = 64
"""Points to a side from which the quadratic surface is fitted, at least."""


def level_of(pixels: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the most frequent intensity of each channel, (channels,).

    The median of what lies around the mode of a smoothed histogram: the mode of a noisy picture
    jumps by a standard deviation from picture to picture.
    """
    from scipy import ndimage

    def of_channel(values: NDArray[np.floating]) -> np.float32:
        counts = np.bincount(np.round(255 * values.ravel().clip(0, 1)).astype(np.int64))
        mode = ndimage.gaussian_filter1d(counts.astype(np.float64), 2, mode="constant").argmax()
        return np.float32(np.median(values[np.abs(255 * values - mode) <= 4]))

    return np.array([of_channel(channel) for channel in pixels], np.float32)


def noise_sd(image: NDArray[np.floating]) -> float:
    """Return the standard deviation of an image's pixel noise, robust against what it shows.

    From the second differences along both axes, which vanish on planes: the median of their
    absolute values (Immerkaer 1996 takes the mean, which edges raise).

    Args:
        image: (height, width).
    """
    if min(image.shape) < 3:
        return 0.0
    kernel = image[2:] - 2 * image[1:-1] + image[:-2]
    kernel = kernel[:, 2:] - 2 * kernel[:, 1:-1] + kernel[:, :-2]  # of variance 36 sd^2
    return float(np.median(np.abs(kernel))) / 0.6745 / 6


def smooth_background(image: NDArray[np.floating], width: float) -> NDArray[np.floating]:
    """Return what is smooth in an image, without the objects in front of it.

    A quadratic surface is fitted first, from which pixels that it does not explain are left out,
    sweep by sweep. Then the pixels that are left are averaged by a Gaussian kernel, which follows
    what no quadratic surface does; where objects leave hardly any, the surface stands in.

    Args:
        image: (height, width), intensity.
        width: standard deviation of the kernel in pixels.
    """
    sd = max(noise_sd(image), 1 / 255)
    surface, behind = _quadratic(image, sd)
    for _ in range(NUM_SWEEPS):
        background = surface + _average(image - surface, behind, width)
        background = background.clip(0, 1)  # as the picture was
        behind = _near_zero(image - background, sd)
    return background.astype(np.float32)


def _quadratic(
    image: NDArray[np.floating], sd: float
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Return a quadratic surface behind the objects, and which pixels it explains."""
    height, width = image.shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None]
    step = max(min(height, width) // SURFACE_POINTS, 1)
    v, u = (axis.ravel() for axis in np.broadcast_arrays(y[::step], x[:, ::step]))
    rows = np.stack([np.ones_like(u), u, v, u * u, u * v, v * v], axis=1)
    values = image[::step, ::step].ravel()
    kept, weights = np.ones(len(values), bool), np.zeros(6)
    for _ in range(4 * NUM_SWEEPS):
        weights, *_ = np.linalg.lstsq(rows[kept], values[kept], rcond=None)
        residual = values - rows @ weights
        center = np.median(residual[kept])
        spread = max(1.4826 * float(np.median(np.abs(residual[kept] - center))), sd)
        kept = np.abs(residual - center) <= 2 * spread
    a, b, c, d, e, f = (np.float32(weight) for weight in weights)
    surface = (a + b * x + d * x * x) + (c * y + f * y * y) + e * (x * y)
    surface = surface.clip(0, 1)
    return surface, _near_zero(image - surface, max(sd, spread))


def _near_zero(residual: NDArray[np.floating], sd: float) -> NDArray[np.bool_]:
    """Return which pixels are the background's: near 0, and so are their neighbors."""
    from scipy import ndimage

    blurred = ndimage.uniform_filter(residual, 3)
    near = (np.abs(residual) <= OUTLIER * sd) & (np.abs(blurred) <= OUTLIER * sd / 1.5)
    kept: NDArray[np.bool_] = ndimage.binary_erosion(near, iterations=2, border_value=1)
    return kept


def _average(
    values: NDArray[np.floating], kept: NDArray[np.bool_], width: float
) -> NDArray[np.floating]:
    """Average the kept values by a Gaussian kernel; 0 where hardly any are kept."""
    from scipy import ndimage

    step = max(int(width / 4), 1)  # the kernel is drawn on a coarser grid
    weight = _block_means(kept.astype(np.float32), step)
    total = _block_means(np.where(kept, values, np.float32(0)), step)
    sigma = width / step
    weight, total = (
        ndimage.gaussian_filter(v, sigma, mode="nearest", truncate=3) for v in (weight, total)
    )
    coarse = total / (weight + PRIOR_WEIGHT)
    return _enlarged(coarse, values.shape, step)


def _block_means(values: NDArray[np.floating], step: int) -> NDArray[np.floating]:
    height, width = values.shape
    padded = np.pad(values, ((0, -height % step), (0, -width % step)), mode="edge")
    blocks = padded.reshape(padded.shape[0] // step, step, padded.shape[1] // step, step)
    return np.asarray(blocks.mean(axis=(1, 3)))


def _enlarged(
    coarse: NDArray[np.floating], shape: tuple[int, ...], step: int
) -> NDArray[np.floating]:
    """Interpolate an image of block means to the pixels of ``shape``."""
    from scipy import ndimage

    if step == 1:
        return coarse
    grid = np.meshgrid(*((np.arange(n) + 0.5) / step - 0.5 for n in shape), indexing="ij")
    return np.asarray(ndimage.map_coordinates(coarse, grid, order=1, mode="nearest"))
