"""Objects that are taken back: those that explain less of the image than they cost.

A guide decides on an object before it is drawn, and never again. Given all the others, object t
explains, and costs,

    gain_t = log p(x | all) - log p(x | all but t)
    cost_t = KL(q(z_where_t) || p(z_where)) + KL(q(z_what_t) || p(z_what)) - log p(n) / p(n - 1).

While one costs more than it explains, the worst is taken back; the gains of those that overlap it
are then larger. Where objects add up, all that is needed are the products of their drawings with
each other and with the residual r: without y_t, its energy is ``|r|^2 + 2 y_t r + |y_t|^2``.

Source: backward elimination, as of regressors; Couvreur and Bresler 2000 for sparse approximations.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ..model import SceneModel
from .rollout import Rollout
from .terms import count_terms


class Left(NamedTuple):
    """What is left of the images of which objects were taken back, those that are left first."""

    rows: Tensor  # (num,), of the batch
    counts: Tensor  # (num,)
    count_probs: Tensor  # (num, steps + 1)
    z_where: Tensor  # (num, steps, 3)
    z_what: Tensor  # (num, steps, what_dim)
    drawn: Tensor  # (num, channels, height, width), the objects' sum


def eliminate(
    model: SceneModel, rollout: Rollout, counts: Tensor, count_probs: Tensor
) -> Left | None:
    """Take objects back that do not pay; None if all do, or if that is not to be done.

    It is done if the config says so, objects add up and the likelihood is one of the energy.

    Args:
        model: p(x, z).
        rollout: the guide's, over images, of means.
        counts: (batch,), how many of its first steps found an object.
        count_probs: (batch, steps + 1), of those numbers.
    """
    known = model.composition.adds_up and model.likelihood.is_of_energy
    if not (model.config.inference.elimination and known):
        return None
    left = objects_that_pay(model, rollout, counts)
    rows = (left.sum(dim=1) < counts).nonzero()[:, 0]
    if not len(rows):
        return None
    left = left[rows]
    probs = counts_of_those(count_probs[rows], left, counts[rows])
    order = left.logical_not().to(torch.uint8).argsort(dim=1, stable=True)[..., None]
    z_where, z_what = (
        values[rows].gather(1, order.expand(-1, -1, values.shape[-1]))
        for values in (rollout.z_where, rollout.z_what)
    )
    counts = probs.argmax(dim=-1)
    there = torch.arange(left.shape[1], device=counts.device) < counts[:, None]
    drawn = (model.draw(z_where, z_what) * there[..., None, None, None]).sum(dim=1)
    return Left(rows, counts, probs, z_where, z_what, drawn)


@torch.no_grad()
def objects_that_pay(model: SceneModel, rollout: Rollout, counts: Tensor) -> Tensor:
    """Return which objects are left, (batch, steps), of those that were found.

    Args:
        model: in which objects add up, and the likelihood is one of the residual's energy.
        rollout: the guide's, over images.
        counts: (batch,), how many of its first steps found an object.
    """
    terms = count_terms(model, rollout)
    costs = (terms.kl_where + terms.kl_what).diff(dim=-1) - model.count_prior.law.log_ratio()
    residuals = rollout.residual(counts)
    steps = torch.arange(rollout.num_steps, device=counts.device)
    left = steps < counts[:, None]
    for row, num in enumerate(counts.tolist()):
        if num:
            latents = rollout.z_where[row, :num], rollout.z_what[row, :num]
            drawn = model.draw(*latents).flatten(1)
            left[row, :num] = _left(model, drawn, residuals[row].flatten(), costs[row, :num])
    return left


def _left(model: SceneModel, drawn: Tensor, residual: Tensor, costs: Tensor) -> Tensor:
    """Return which of the objects in one image are left, (num,).

    Args:
        model: for its likelihood.
        drawn: (num, pixels), of each object.
        residual: (pixels,), after all of them.
        costs: (num,), nats.
    """
    products, overlaps = drawn @ drawn.T, drawn @ residual
    energy, num_pixels = residual.square().sum(), len(residual)
    left = torch.ones_like(costs, dtype=torch.bool)
    while left.any():
        without = energy + 2 * overlaps + products.diagonal()
        gains = model.likelihood.of_energy(energy, num_pixels) - model.likelihood.of_energy(
            without, num_pixels
        )
        worst = (gains - costs).masked_fill(~left, torch.inf).argmin()
        if gains[worst] >= costs[worst]:
            break
        left[worst], energy = False, without[worst]
        overlaps = overlaps + products[worst]
    return left


def counts_of_those(count_probs: Tensor, left: Tensor, counts: Tensor) -> Tensor:
    """Return the distribution of how many objects are left, (batch, T + 1).

    Args:
        count_probs: (batch, T + 1), of how many of the first steps found one.
        left: (batch, T), which of the first ``counts`` are left.
        counts: (batch,).
    """
    steps = torch.arange(left.shape[1], device=counts.device)
    adds = (left | (steps >= counts[:, None])).long()
    num = torch.cat((torch.zeros_like(adds[:, :1]), adds.cumsum(dim=1)), dim=1)
    return torch.zeros_like(count_probs).scatter_add(1, num, count_probs)
