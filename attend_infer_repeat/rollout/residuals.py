"""What is left of images, object by object, and what that says of each count.

An object changes the pixels under its window and no others. So where objects add up and the pixel
noise is Gaussian, log p(x | the first n objects) follows from the energy ``|r_n|^2`` of what is
left, r_n = r_{n-1} - y_n, whose change is a sum over a patch of the canvas,

    |r_n|^2 - |r_{n-1}|^2 = sum over the patch of y_n (y_n - 2 r_{n-1}).

One canvas to an image holds the residual; each object is taken away from it in place. Backward
walks back from the last object, on a copy of it. With g_n the gradient of ``|r_n|^2``,

    d / d y_t = -2 sum_{n>=t} g_n r_n = -2 (Q_t r_t - A_t),
    Q_t = sum_{n>=t} g_n,    A_t = sum_{s>t} Q_s y_s,

on the patch of y_t, where r_t is restored by adding the objects after t back, and A is one canvas
more, changed on patches alone.

Where objects hide one another, the likelihood is another one, or patches cannot be had, every
object has a canvas of its own (``Canvases``), as in the Pyro programs.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..guide import GuideState, SceneGuide
from ..model import Canvas
from ..spatial.places import Addresses, Place, gather, scatter_
from .stopping import Progress


class Residuals(ABC):
    """The residuals of a rollout, from 0 objects on.

    Args:
        guide: whose model renders the objects, and whose look searches the residuals.
        state: the guide's first one.
        progress: of the rollout, which says whose residuals they are.
    """

    def __init__(self, guide: SceneGuide, state: GuideState, progress: Progress) -> None:
        self.model, self.look, self.progress = guide.model, guide.look, progress
        self.first = state.residual

    @property
    @abstractmethod
    def scores(self) -> Tensor:
        """What the look knows of places in the residuals of images still on the rollout."""

    @property
    @abstractmethod
    def now(self) -> Canvas:
        """The residuals of images still on the rollout; data."""

    @abstractmethod
    def select(self, going: Tensor) -> None:
        """Let images leave: ``going`` indexes, among those still on the rollout, who stays."""

    @abstractmethod
    def take_away(self, z_where: Tensor, z_what: Tensor) -> None:
        """Take one object away from each image that is still on the rollout."""

    @abstractmethod
    def take_away_all(self, z_where: Tensor, z_what: Tensor) -> None:
        """Take the objects of all steps away, one by one, if no image leaves.

        Args:
            z_where: (batch, steps, 3).
            z_what: (batch, steps, what_dim).
        """

    @abstractmethod
    def log_likelihood(self) -> Tensor:
        """Return log p(x | the first n objects), (batch, steps + 1); finite after an image left."""

    @abstractmethod
    def after(self, counts: Tensor) -> Tensor:
        """Return the residual of each image after its first ``counts``, (batch,), objects."""


class Canvases(Residuals):
    """Every object on a canvas of its own, for any composition and likelihood."""

    def __init__(self, guide: SceneGuide, state: GuideState, progress: Progress) -> None:
        super().__init__(guide, state, progress)
        self.canvas = self.first
        self._scores: Tensor | None = state.scores
        self.left: list[tuple[Tensor | None, Tensor]] = []  # rows and residuals, after n objects
        self.terms: list[Tensor] = []
        self._leave(self.first)

    @property
    def scores(self) -> Tensor:
        """See ``Residuals.scores``; nobody asks after the last step."""
        if self._scores is None:
            self._scores = self.look.scores(self.canvas.x.detach())
        return self._scores

    @property
    def now(self) -> Canvas:
        """See ``Residuals.now``."""
        return self.canvas

    def select(self, going: Tensor) -> None:
        """See ``Residuals.select``."""
        self._scores = self.scores[going]
        self.canvas = self.canvas.select(going).of_rows()

    def take_away(self, z_where: Tensor, z_what: Tensor) -> None:
        """See ``Residuals.take_away``."""
        self._leave(self.model.take_away(self.canvas, z_where, z_what))
        self._scores = None

    def take_away_all(self, z_where: Tensor, z_what: Tensor) -> None:
        """See ``Residuals.take_away_all``."""
        for layers in self.model.render(z_where, z_what, -1).unbind(dim=1):
            self._leave(self.model.composition.add(self.canvas, layers, -1))

    def _leave(self, canvas: Canvas) -> None:
        # The likelihood of each count is computed at once, while the residual is in the cache.
        self.canvas = canvas
        self.left.append((self.progress.rows, canvas.x))
        self.terms.append(self.progress.spread(self.model.log_likelihood(canvas.x)))

    def log_likelihood(self) -> Tensor:
        """See ``Residuals.log_likelihood``."""
        return torch.stack(self.terms, dim=1)

    def after(self, counts: Tensor) -> Tensor:
        """See ``Residuals.after``."""
        residual = self.first.x
        for n, (rows, left) in enumerate(self.left):
            chosen = (counts if rows is None else counts[rows]) == n
            if rows is None:
                residual = torch.where(chosen[:, None, None, None], left, residual)
            else:
                # Not the chosen rows alone: a GPU would have to tell how many they are.
                kept = residual.index_select(0, rows)
                chosen_ones = torch.where(chosen[:, None, None, None], left, kept)
                residual = residual.index_copy(0, rows, chosen_ones)
        return residual


class Windows(Residuals):
    """Every object on a patch around its window, where objects add up in Gaussian noise."""

    def __init__(self, guide: SceneGuide, state: GuideState, progress: Progress) -> None:
        super().__init__(guide, state, progress)
        self._scores = state.scores
        x = self.first.x.detach().clone(memory_format=torch.contiguous_format)
        self.canvas = Canvas(x)
        # In double precision: the energy that is left may be a small part of that at first.
        self.energy = x.square().sum(dim=(1, 2, 3), dtype=torch.float64)
        self.steps: list[_Step] = []
        self.energies, self.reached = [self.energy], [torch.ones_like(self.energy)]

    @property
    def scores(self) -> Tensor:
        """See ``Residuals.scores``."""
        return self._scores

    @property
    def now(self) -> Canvas:
        """See ``Residuals.now``."""
        return self.canvas

    def select(self, going: Tensor) -> None:
        """See ``Residuals.select``."""
        self.canvas = self.canvas.select(going)
        self.energy, self._scores = self.energy[going], self._scores[going]

    def take_away(self, z_where: Tensor, z_what: Tensor) -> None:
        """See ``Residuals.take_away``."""
        self._step(z_where, self.model.windows(z_what))

    def take_away_all(self, z_where: Tensor, z_what: Tensor) -> None:
        """See ``Residuals.take_away_all``."""
        windows = self.model.windows(z_what)
        for z_where_t, windows_t in zip(z_where.unbind(1), windows.unbind(1), strict=True):
            self._step(z_where_t, windows_t)

    def _step(self, z_where: Tensor, windows: Tensor) -> None:
        for rows, y, place in self.model.paint(z_where, windows):
            self._take_away(rows, y, place)
        self.energies.append(self.progress.spread(self.energy))
        self.reached.append(self.progress.spread(torch.ones_like(self.energy)))

    @torch.no_grad()
    def _take_away(self, rows: Tensor | None, y: Tensor, place: Place) -> None:
        """Take objects away from the images of ``rows``, of those still on the rollout."""
        x, on = self.canvas.x, self.canvas.rows if rows is None else self.canvas.select(rows).rows
        addresses = place.addresses(x, on)
        r = gather(x, addresses)
        change = (y * torch.sub(y, r, alpha=2)).sum(dim=1)
        scatter_(x, addresses, r - y)
        self.steps.append(_Step(len(self.energies), y, addresses, on))
        energy, scores = change.sum(dim=(1, 2), dtype=torch.float64), self._scores
        if rows is None:
            self.energy = self.energy + energy
            self._scores = self.look.rescored(scores, change, place)
        else:
            self.energy = self.energy.index_add(0, rows, energy)
            changed = self.look.rescored(scores[rows], change, place)
            self._scores = scores.index_copy(0, rows, changed)

    def log_likelihood(self) -> Tensor:
        """See ``Residuals.log_likelihood``."""
        x, steps = self.canvas.x, self.steps
        energies = torch.stack(self.energies, dim=1).to(x.dtype)
        places = [(step.n, step.addresses, step.rows) for step in steps]
        objects = [step.y for step in steps]
        energies = _Energies.apply(self.first.x, energies, x, places, *objects)
        terms = self.model.likelihood.of_energy(energies, math.prod(x.shape[1:]))
        return terms * torch.stack(self.reached, dim=1).to(x.dtype)

    def after(self, counts: Tensor) -> Tensor:
        """See ``Residuals.after``."""
        residual = self.first.x.clone(memory_format=torch.contiguous_format)
        for n, y, addresses, rows in self.steps:
            taken = (counts if rows is None else counts[rows]) >= n
            lost = -y * taken[:, None, None, None]
            residual.view(-1).index_add_(0, addresses.pixels.view(-1), lost.reshape(-1))
        return residual


class _Step(NamedTuple):
    """Objects that one step took away, of one size of patch."""

    n: int  # objects that were found with them
    y: Tensor  # (num, channels, h, w)
    addresses: Addresses  # where they lie in the memory of canvases of all images
    rows: Tensor | None  # (num,), whose they are, of all images; None: of all


class _Energies(torch.autograd.Function):
    """``|r_n|^2`` for n = 0..T, as they were computed on the way; backward as at the head."""

    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        energies: Tensor,
        last: Tensor,
        places: list[tuple[int, Addresses, Tensor | None]],
        *objects: Tensor,
    ) -> Tensor:
        """Return the energies, (batch, T + 1).

        Args:
            ctx: PyTorch's.
            first: (batch, channels, height, width), r_0.
            energies: what is returned.
            last: like ``first``, the residual of each image when it left, or in the end.
            places: n, addresses and rows of each ``_Step``.
            objects: y of each.
        """
        ctx.save_for_backward(last, *objects)
        ctx.places = places
        return energies.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Walk back from the last object."""
        last, *objects = ctx.saved_tensors
        r, a = last.clone(), torch.zeros_like(last)
        q = torch.zeros_like(gradient[:, 0])
        gradients: list[Tensor] = []
        for (n, there, rows), y in zip(reversed(ctx.places), reversed(objects), strict=True):
            here = slice(None) if rows is None else rows  # the others have no object here
            q[here] += gradient[here, n]
            q_t = q[here][:, None, None, None]
            r_t, a_t = gather(r, there), gather(a, there)
            gradients.append(-2 * (q_t * r_t - a_t))
            scatter_(r, there, r_t + y)
            scatter_(a, there, a_t + q_t * y)
        to_first = None
        if ctx.needs_input_grad[0]:
            to_first = 2 * ((q + gradient[:, 0])[:, None, None, None] * r - a)
        return to_first, None, None, None, *reversed(gradients)


def make_residuals(guide: SceneGuide, state: GuideState, progress: Progress) -> Residuals:
    """Return the residuals of a rollout: on windows where the model's parts allow it."""
    windows = guide.model.adds_energies(state.residual.x)
    return (Windows if windows else Canvases)(guide, state, progress)
