"""What an object explains and costs: the preset ``auto`` chooses the noise and the count prior."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..data.pictures.survey.survey import Survey
from .choices import Choices


class Worth(NamedTuple):
    """What objects of a kind explain, in nats, and the log prior cost of one more as a share of it.

    The cost falls while it is annealed; at last it is above what a rendered object leaves
    unexplained. The gain is had unless noise leaves less: the pixels' deviation is chosen for it.
    """

    of: str
    gain: float
    first: float
    last: float


TYPICAL = Worth("typical", gain=500, first=0.14, last=0.09)
"""Of objects of about one size."""

SMALL, SMALL_PERCENTILE = Worth("small", gain=100, first=0.7, last=0.45), 10
"""Of small ones among objects of many sizes, and the percentile of their energies: large ones
explain so much more that a cost by their worth would leave out the small ones."""

MIN_SD = 0.05
"""Smallest standard deviation of the pixels that is chosen: decoders do not draw more exactly."""

MIN_INITIAL_COST, MAX_INITIAL_COST = 35, 600
"""Bounds of the cost at first, in nats: the preset fast's, and nearly the smallest float64."""

MIN_FINAL_COST = 5
"""Bound of the cost at last, in nats."""


def choose_noise(choices: Choices, look: Survey, zoom: float) -> None:
    """Choose the pixel noise and the count prior by an object's log-likelihood gain.

    Rendering an object of energy E, its sum of squares, raises the log-likelihood by E / (2 sd^2)
    nats. Were it thousands, the residual that a first rendering leaves would pay for a second
    object in the same place; were it tens, an object would not pay for its description. The count
    prior starts so low that a faint rendering, which gains little, does not pay either.
    """
    worth, energy = TYPICAL, look.energy
    pose = choices.config.model.pose
    if pose.has_sizes and look.sizes is not None:
        worth, energy = SMALL, float(np.percentile(look.sizes.energies, SMALL_PERCENTILE))
    elif pose.has_sizes:  # around a typical one, and energies are as areas
        worth, energy = SMALL, energy / pose.size_range
    energy, noise = energy * zoom**2, float(look.tone(np.array(look.noise)))
    sd = round(max(float(np.sqrt(energy / (2 * worth.gain))), noise, MIN_SD), 3)
    choices.decide(f"a {worth.of} object has an energy of {energy:.0f}", likelihood_sd=sd)
    gain = energy / (2 * choices.config.model.likelihood.likelihood_sd**2)
    cost = float(np.clip(worth.first * gain, MIN_INITIAL_COST, MAX_INITIAL_COST))
    last = float(np.clip(worth.last * gain, MIN_FINAL_COST, MAX_INITIAL_COST))
    choices.decide(
        f"a new object costs {cost:.0f} nats at first, {last:.0f} at last, of the {gain:.0f} that "
        f"a {worth.of} one explains",
        anneal_prior_from=float(f"{np.exp(-cost):.0e}"),
        z_pres_prior=float(f"{np.exp(-last):.0e}"),
    )
