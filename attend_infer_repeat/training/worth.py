"""What an object explains and costs: the preset ``auto`` chooses the noise and the count prior."""

from __future__ import annotations

import numpy as np

from ..data.pictures.survey.survey import Survey
from .choices import Choices

TYPICAL_GAIN = 500
"""Log-likelihood gain of a typical object, in nats, unless noise leaves less: the pixels' standard
deviation is chosen for it."""

MIN_SD = 0.05
"""Smallest standard deviation of the pixels that is chosen: decoders do not draw more exactly."""

INITIAL_COST_SHARE = 0.14
"""Log prior cost of one more object at the first step, as a share of its log-likelihood gain."""

MIN_INITIAL_COST, MAX_INITIAL_COST = 35, 600
"""Bounds of that cost, in nats: that of the preset fast, and nearly the smallest float64."""

FINAL_COST_SHARE, MIN_FINAL_COST = 0.09, 5
"""The same cost at the end of the annealing, and its bound in nats: above what a rendered object
leaves unexplained."""


def choose_noise(choices: Choices, look: Survey, zoom: float) -> None:
    """Choose the pixel noise and the count prior by an object's log-likelihood gain.

    Rendering an object of energy E, its sum of squares, raises the log-likelihood by E / (2 sd^2)
    nats. Were it thousands, the residual that a first rendering leaves would pay for a second
    object in the same place; were it tens, an object would not pay for its description. The count
    prior starts so low that a faint rendering, which gains little, does not pay either.
    """
    energy, noise = look.energy * zoom**2, float(look.tone(np.array(look.noise)))
    sd = round(max(float(np.sqrt(energy / (2 * TYPICAL_GAIN))), noise, MIN_SD), 3)
    choices.decide(f"a typical object has an energy of {energy:.0f}", likelihood_sd=sd)
    gain = energy / (2 * choices.config.model.likelihood.likelihood_sd**2)
    cost = float(np.clip(INITIAL_COST_SHARE * gain, MIN_INITIAL_COST, MAX_INITIAL_COST))
    last = float(np.clip(FINAL_COST_SHARE * gain, MIN_FINAL_COST, MAX_INITIAL_COST))
    choices.decide(
        f"a new object costs {cost:.0f} nats at first, {last:.0f} at last, of the {gain:.0f} that "
        "a typical one explains",
        anneal_prior_from=float(f"{np.exp(-cost):.0e}"),
        z_pres_prior=float(f"{np.exp(-last):.0e}"),
    )
