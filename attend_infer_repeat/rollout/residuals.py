"""What is left of images, object by object, and what that says of each count.

An object changes the pixels under its window and no others. So where objects add up and the pixel
noise is Gaussian, log p(x | the first n objects) follows from the energy |r_n|^2 of the residual
r_n = r_{n-1} - y_n, whose change is a sum over a patch of the canvas,

    |r_n|^2 - |r_{n-1}|^2 = sum over the patch of y_n (y_n - 2 r_{n-1}).

One canvas to an image holds the residual; each object is taken away from it in place. Backward
walks back from the last object and needs no other canvas. With g_n the gradient of |r_n|^2,

    d / d y_t = -2 sum_{n>=t} g_n r_n = -2 (Q_t r_t - A_t),
    Q_t = sum_{n>=t} g_n,    A_t = sum_{s>t} Q_s y_s,

on the patch of y_t, where r_t is restored by adding the objects after t back, and A is a second
canvas, changed on patches alone.

Where objects hide one another, or the likelihood is another one, every object has a canvas of its
own (``Canvases``), as in the Pyro programs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from ..guide import GuideState, SceneGuide
from ..model import Canvas
from ..spatial.patches import Place, gather, scatter_
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
        self.first, self.scores = state.residual, state.scores

    scores: Tensor
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
        """Return log p(x | the first n objects), (batch, steps + 1); 0 where an image had left."""

    @abstractmethod
    def after(self, counts: Tensor) -> Tensor:
        """Return the residual of each image after its first ``counts``, (batch,), objects."""


class Canvases(Residuals):
    """Every object on a canvas of its own, for any composition and likelihood."""

    def __init__(self, guide: SceneGuide, state: GuideState, progress: Progress) -> None:
        super().__init__(guide, state, progress)
        self.canvas = self.first
        self.left: list[tuple[Tensor | None, Tensor]] = []  # rows and residuals, after n objects
        self.terms: list[Tensor] = []
        self._leave(self.first)

    @property
    def now(self) -> Canvas:
        """See ``Residuals.now``."""
        return self.canvas

    def select(self, going: Tensor) -> None:
        """See ``Residuals.select``."""
        self.canvas = self.canvas.select(going).copied()
        self.scores = self.scores[going]

    def take_away(self, z_where: Tensor, z_what: Tensor) -> None:
        """See ``Residuals.take_away``."""
        self._leave(self.model.take_away(self.canvas, z_where, z_what))
        self.scores = self.look.scores(self.canvas.x.detach())

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
                residual = residual.index_copy(0, rows[chosen], left[chosen])
        return residual


class Windows(Residuals):
    """Every object on a patch around its window, where objects add up in Gaussian noise."""

    def __init__(self, guide: SceneGuide, state: GuideState, progress: Progress) -> None:
        super().__init__(guide, state, progress)
        x = self.first.x.detach().clone(memory_format=torch.contiguous_format)
        self.canvas = Canvas(x)
        self.energy = x.square().sum(dim=(1, 2, 3))
        self.steps: list[_Step] = []
        self.energies, self.reached = [self.energy], [torch.ones_like(self.energy)]

    @property
    def now(self) -> Canvas:
        """See ``Residuals.now``."""
        return self.canvas

    def select(self, going: Tensor) -> None:
        """See ``Residuals.select``."""
        self.canvas = self.canvas.select(going)
        self.energy, self.scores = self.energy[going], self.scores[going]

    def take_away(self, z_where: Tensor, z_what: Tensor) -> None:
        """See ``Residuals.take_away``."""
        self._add(*self.model.paint(z_where, z_what))

    def take_away_all(self, z_where: Tensor, z_what: Tensor) -> None:
        """See ``Residuals.take_away_all``."""
        num, steps = z_where.shape[:2]
        patches, place = self.model.paint(z_where.flatten(0, 1), z_what.flatten(0, 1))
        for t, patch in enumerate(patches.unflatten(0, (num, steps)).unbind(1)):
            self._add(patch, place.select(slice(t, None, steps)))

    def _add(self, patch: Tensor, place: Place) -> None:
        x, on = self.canvas.x, self.canvas.on
        with torch.no_grad():
            index = place.pixels(x, on)
            before = gather(x, index)
            change = (patch * (patch - 2 * before)).sum(dim=1)
            scatter_(x, index, before - patch)
            self.energy = self.energy + change.sum(dim=(1, 2))
            self.scores = self.look.rescored(self.scores, change, place)
        self.steps.append(_Step(patch, index, on))
        self.energies.append(self.progress.spread(self.energy))
        self.reached.append(self.progress.spread(torch.ones_like(self.energy)))

    def log_likelihood(self) -> Tensor:
        """See ``Residuals.log_likelihood``."""
        patches = [step.patch for step in self.steps]
        energies = torch.stack(self.energies, dim=1)
        energies = _Energies.apply(self.first.x, energies, self.canvas.x, self.steps, *patches)
        num_pixels = self.canvas.x[0].numel()
        terms = self.model.likelihood.of_energy(energies, num_pixels)
        return terms * torch.stack(self.reached, dim=1)

    def after(self, counts: Tensor) -> Tensor:
        """See ``Residuals.after``."""
        residual = self.first.x.clone(memory_format=torch.contiguous_format)
        for t, (patch, index, on) in enumerate(self.steps):
            taken = (counts if on is None else counts[on]) > t
            lost = -patch * taken[:, None, None, None]
            residual.view(-1).index_add_(0, index.view(-1), lost.reshape(-1))
        return residual


class _Step(NamedTuple):
    """The objects of one step."""

    patch: Tensor  # (num, channels, h, w)
    index: Tensor  # likewise, where its pixels lie in the memory of canvases of all images
    on: Tensor | None  # (num,), their images in the batch; None: all


class _Energies(torch.autograd.Function):
    """|r_n|^2 for n = 0..T, as they were computed on the way; backward as at the head."""

    @staticmethod
    def forward(
        ctx: Any,
        first: Tensor,
        energies: Tensor,
        last: Tensor,
        steps: list[_Step],
        *patches: Tensor,
    ) -> Tensor:
        """Return the energies, (batch, T + 1).

        Args:
            ctx: PyTorch's.
            first: (batch, channels, height, width), r_0.
            energies: what is returned.
            last: like ``first``, the residual of each image when it left, or in the end.
            steps: where the patches lie; these are given once more, to be differentiated in.
            patches: of every step, (num, channels, h, w).
        """
        ctx.save_for_backward(last, *patches)
        ctx.places = [(step.index, step.on) for step in steps]
        return energies.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Walk back from the last object."""
        last, *patches = ctx.saved_tensors
        r, a = last.clone(), torch.zeros_like(last)
        q = torch.zeros_like(gradient[:, 0])
        gradients: list[Tensor] = []
        for t in reversed(range(len(patches))):
            (index, on), y = ctx.places[t], patches[t]
            here = slice(None) if on is None else on  # the others had left
            q[here] += gradient[here, t + 1]
            q_t = q[here][:, None, None, None]
            r_t, a_t = gather(r, index), gather(a, index)
            gradients.append(-2 * (q_t * r_t - a_t))
            scatter_(r, index, r_t + y)
            scatter_(a, index, a_t + q_t * y)
        to_first = None
        if ctx.needs_input_grad[0]:
            to_first = 2 * ((q + gradient[:, 0])[:, None, None, None] * r - a)
        return to_first, None, None, None, *reversed(gradients)


def make_residuals(guide: SceneGuide, state: GuideState, progress: Progress) -> Residuals:
    """Return the residuals of a rollout: on windows where the model's parts allow it."""
    # Patches have the sizes of the data, which a compiler does not know.
    windows = guide.model.adds_energies and not torch.compiler.is_compiling()
    return (Windows if windows else Canvases)(guide, state, progress)
