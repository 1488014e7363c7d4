"""Objects that are taken back: those that the others explain.

Beside all the others, object t explains, and costs,

    gain_t = log p(x | all) - log p(x | all but t)
    cost_t = KL(q(z_where_t) || p(z_where)) + KL(q(z_what_t) || p(z_what)) - log p(n) / p(n - 1).

While one costs more than it explains, the worst is taken back; the gains of those that overlap it
are then larger. One that would not pay alone either, being small and dim, is not taken back: then
it is not the others that explain it, and whether it is there is for q(n) to say. Where objects add
up, all that is needed are the products of their drawings with each other and with the residual r:
without y_t, its energy is ``|r|^2 + 2 y_t r + |y_t|^2``.

Source: backward elimination, as of regressors; Couvreur and Bresler 2000 for sparse approximations.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..model import SceneModel


def those_that_pay(model: SceneModel, drawn: Tensor, residual: Tensor, costs: Tensor) -> Tensor:
    """Return which of the objects in one image are left, (num,).

    Args:
        model: in which objects add up, and the likelihood is one of the residual's energy.
        drawn: (num, pixels), of each object.
        residual: (pixels,), after all of them.
        costs: (num,), nats.
    """
    log_prob, num_pixels = model.likelihood.of_energy, len(residual)
    image = residual + drawn.sum(dim=0)
    alone = log_prob((image - drawn).square().sum(dim=1), num_pixels) - log_prob(
        image.square().sum(), num_pixels
    )
    products, overlaps, energy = drawn @ drawn.T, drawn @ residual, residual.square().sum()
    left, would_pay = torch.ones_like(costs, dtype=torch.bool), alone >= costs
    while (left & would_pay).any():
        without = energy + 2 * overlaps + products.diagonal()
        gains = log_prob(energy, num_pixels) - log_prob(without, num_pixels)
        worst = (gains - costs).masked_fill(~(left & would_pay), torch.inf).argmin()
        if gains[worst] >= costs[worst]:
            break
        left[worst], energy = False, without[worst]
        overlaps = overlaps + products[worst]
    return left
