"""Search over positions: where would a window hold most of an image's energy?"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..provenance import one_operation
from .places import Place
from .transformer import pixel_centers, triangular_weights

POINTS_PER_KERNEL = 4  # grid points to a kernel's width
POINTS_PER_PIXEL = 2  # at most: what lies closer shows the same
TIE = 1e-5  # of the best score: less is rounding, and shall not decide


class EnergySearch(nn.Module):
    """Propose, for each image, the pose whose window holds most of its energy.

    The squared intensities are weighted with a triangular kernel, as wide as the window or
    narrower, around each point of a grid with ``POINTS_PER_KERNEL`` points to a kernel's width; the
    first of the best points is taken.

    Args:
        canvas_size: (height, width) of the images in pixels.
        scale: the window's, canvas width / window width.
        focus: window width / kernel width.
        num: points of the grid along an axis; as many as the kernel needs if None.
        whole: round the kernel's radius to whole pixels, for which its sum is exactly 1.
    """

    rows: Tensor
    columns: Tensor
    poses: Tensor

    def __init__(
        self,
        canvas_size: tuple[int, int],
        scale: float,
        focus: float = 1.0,
        num: int | None = None,
        whole: bool = True,
    ) -> None:
        super().__init__()
        kernel = focus * scale
        one, zero = torch.ones(1), torch.zeros(1)

        def radius(pixels: float) -> float:
            return max(round(pixels) if whole else pixels, 1)

        # Along each axis: windows have the canvas's shape.
        if num is None:
            finest = POINTS_PER_PIXEL * max(canvas_size)
            num = math.ceil(min(POINTS_PER_KERNEL * max(kernel, 1.0), finest))
        rows, columns = (
            triangular_weights(one, zero, num, pixels, radius(pixels / (2 * kernel)))
            for pixels in canvas_size
        )
        centers = pixel_centers(num, one)
        y, x = torch.meshgrid(centers, centers, indexing="ij")
        # The window's middle, 0, is read by canvas point u where scale u + (x, y) = 0.
        poses = torch.stack((torch.full_like(x, scale), -scale * x, -scale * y), dim=-1)
        # Constants of the sizes: no part of the weights that are saved.
        self.register_buffer("rows", rows.t().contiguous(), persistent=False)
        self.register_buffer("columns", columns.t().contiguous(), persistent=False)
        self.register_buffer("poses", poses.flatten(0, 1), persistent=False)

    def averaging(self) -> EnergySearch:
        """Let the kernel have the sum 1 on the canvas, also at its borders; return itself."""
        for weights in (self.rows, self.columns):
            weights /= weights.sum(dim=0)
        return self

    @one_operation
    def scores(self, images: Tensor) -> Tensor:
        """Return the energy at each grid point, (batch, num, num).

        Args:
            images: (batch, channels, height, width), intensity.
        """
        return self.rows.t() @ (images.square().sum(dim=-3) @ self.columns)

    def changes(self, energy: Tensor, place: Place) -> Tensor:
        """Return how the scores change, (batch, num, num), with the energy on patches.

        Args:
            energy: (batch, h, w), how it changes, summed over the channels.
            place: of the patches.
        """
        (h, w), num = place.size, self.num
        # The weights of a patch's rows of pixels lie one after the other in memory.
        top, left = place.corner.unbind(dim=1)
        rows = self.rows.view(-1).unfold(0, h * num, num).index_select(0, top)
        columns = self.columns.view(-1).unfold(0, w * num, num).index_select(0, left)
        across = torch.bmm(energy, columns.view(-1, w, num))
        return torch.bmm(rows.view(-1, h, num).transpose(1, 2), across)

    def nearness(self, poses: Tensor) -> Tensor:
        """Return how near each grid point is to windows, (batch, num, num).

        Along each axis it is 1 - d^2, with d = 0 in the middle of the window and 1 at its edges.

        Args:
            poses: (batch, 3), rows (s, x, y).
        """
        scale, shifts = poses[:, :1], poses[:, 1:]
        at = pixel_centers(self.num, poses)  # read by window point s u + (x, y)
        x, y = ((1 - (scale * at + shifts[:, i : i + 1]).square()).clamp(min=0) for i in (0, 1))
        return y[:, :, None] * x[:, None, :]

    @property
    def num(self) -> int:
        """Points of the grid along an axis."""
        return self.rows.shape[1]


@one_operation
def first_best(scores: Tensor) -> Tensor:
    """Return the first of the best scores, (batch,), of (batch, num)."""
    best = scores.amax(dim=-1, keepdim=True)
    return (scores >= best - TIE * best.abs()).to(torch.uint8).argmax(dim=-1)
