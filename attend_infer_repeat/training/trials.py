"""Short trainings that decide how large a typical object is, where the survey is unsure.

Each size that may as well be right has its own canvas, zoom and pixel noise. So trials are compared
by what is the same for all of them, the pictures' foreground, on images that are held out if there
are enough of them:

    evidence = -log(u) / 2 - KL / F, nats per pixel of the foreground,

where u is the share of the foreground's energy that the rendering leaves, at the resolution of the
smallest zoom; KL is what the poses and codes cost, over all images; and F is how many pixels the
foreground has on the canvas of the survey's choice: (sum e)^2 / sum e^2 of the pixels' energies e,
however bright they are. The first term is the log-likelihood of a pixel if the noise has the
standard deviation that explains it best. What the count prior asks for an object is left out: that
cost is set for the training.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from ..air import AIR, largest_batch, reproducible
from ..arrays import as_images
from ..config import TrainConfig, for_images, replace
from ..data import Dataset, hold_out, is_one_part
from ..data.pictures.reading.sampling import spread
from ..model import intensity
from ..objectives.processes import Processes
from ..rollout.terms import count_terms
from .auto import Proposal, propose_settings
from .choices import Choices
from .data import load_training_data
from .progress import say
from .state import TrainingState

NUM_STEPS, MIN_STEPS = 100, 30
"""Steps of a trial, and the fewest on a canvas that is larger than usual."""

USUAL_PIXELS = 128 * 128
"""Pixels of a canvas, from which on a trial has fewer steps, since each takes longer."""

BATCH_SIZE = 32
"""Images in a trial's mini-batch, unless the run has fewer."""

SHORTEST_RUN = 5 * NUM_STEPS
"""Steps of a run below which trials would take most of the time: nothing is tried."""

SETTLING_DIVISOR = 3
"""Exploration and annealing end after a trial's steps divided by this."""

DECAY = 0.9
"""Decay of the moving average of a trial's weights."""

SAMPLE, MEASURED, FEW_MEASURED = 200, 100, 5
"""Pictures that a trial takes; held-out canvases that it is judged by, evenly spread; and how many
are too few, if they are parts of pictures."""

MARGIN, NUM_ERRORS = 0.1, 2.0
"""Evidence, in nats per pixel of the foreground and in standard errors of the difference, by which
a rival must be better than the survey's choice."""


MIN_EXPLAINED = 0.5
"""Share of the foreground that a rival must explain: else the trials were too short to tell."""


class Judgment(NamedTuple):
    """What a trial comes to on the images that it is judged by."""

    explained: float  # share of the foreground's energy
    evidence: float  # nats per pixel of the foreground; -inf if there is none
    error: float  # standard error of the evidence


class Sums(NamedTuple):
    """What a trial leaves of each image, and what that costs; (num_images,) each."""

    energy: Tensor  # sum of the pixels' energies e on the trial's own canvas
    squares: Tensor  # sum of e^2 there
    common: Tensor  # sum of e at the common resolution
    left: Tensor  # of the residual, at the common resolution
    kl: Tensor  # of poses and codes, nats

    @property
    def density(self) -> float:
        """Pixels of the foreground on the trial's own canvas, per energy at the common one."""
        pixels = self.energy.sum() ** 2 / self.squares.sum()
        return float(pixels / self.common.sum())


def settle(
    config: TrainConfig, given: Collection[str], processes: Processes, quiet: bool = False
) -> TrainConfig:
    """Choose a run's settings from its pictures, and try where the survey is unsure.

    Of several processes, the first one tries. Torch's generators are left as they were, and nothing
    is written.

    Args, Raises: as ``choose_settings``.
        processes: that train together.
        quiet: do not say that something is tried.
    """
    proposals = propose_settings(config, given)
    chosen = proposals[0].config
    if len(proposals) == 1 or chosen.optimizer.num_steps < SHORTEST_RUN:
        return chosen
    if processes.is_first:
        sides = " or ".join(f"{own.side:.0f}" for own in proposals)
        say(f"Trying whether a typical object is {sides} pixels large: {len(proposals)} short "
            "trainings", quiet)  # fmt: skip
        chosen = decide(proposals, processes.device)
    return processes.from_first(chosen)


def decide(proposals: tuple[Proposal, ...], device: torch.device) -> TrainConfig:
    """Train with each proposal for a short while; return the settings of the best, and why.

    Args:
        proposals: the first is kept unless another one is clearly better.
        device: to train on.
    """
    resolution = min(own.zoom for own in proposals)
    tried = [_try(own, resolution / own.zoom, device) for own in proposals]
    judgments = [judge(sums, tried[0].density) for sums in tried]
    best = best_of(judgments)
    config = proposals[best].config
    return replace(config, chosen=(*config.chosen, _reason(proposals, judgments, best)))


def judge(sums: Sums, density: float) -> Judgment:
    """Return what a trial's images tell of it.

    Args:
        sums: of each image.
        density: of the survey's choice: pixels of the foreground per energy in ``sums.common``.
    """
    foreground = density * sums.common.sum()
    left = sums.left.sum() / sums.common.sum()
    cost = sums.kl.sum() / foreground
    evidence = float(-left.log() / 2 - cost)
    if not math.isfinite(evidence):
        return Judgment(0.0, -math.inf, 0.0)
    # Each image's influence on the two ratios; one alone does not tell how far images differ.
    num = len(sums.kl)
    influence = (sums.left - left * sums.common) / sums.left.sum() / 2
    influence = influence + (sums.kl - cost * density * sums.common) / foreground
    error = math.sqrt(float(influence.square().sum()) * num / (num - 1)) if num > 1 else math.inf
    return Judgment(1 - float(left), evidence, error)


def best_of(judgments: list[Judgment]) -> int:
    """Return the position of the best: the first, unless another one is clearly better."""
    first = judgments[0]
    best = max(range(len(judgments)), key=lambda i: judgments[i].evidence)
    error = math.hypot(first.error, judgments[best].error)
    clear = judgments[best].evidence > first.evidence + max(MARGIN, NUM_ERRORS * error)
    return best if clear and judgments[best].explained >= MIN_EXPLAINED else 0


def _reason(proposals: tuple[Proposal, ...], judgments: list[Judgment], best: int) -> str:
    found = "; ".join(
        f"with {own.side:.0f} pixels {100 * result.explained:.1f}% ({result.evidence:.2f})"
        for own, result in zip(proposals, judgments, strict=True)
    )
    highest = max(judgment.evidence for judgment in judgments)
    unsure = best == 0 and judgments[0].evidence < highest
    why = ", as first looked at, since no other is clearly better" if unsure else ""
    return (
        f"a typical object of {proposals[best].side:.0f} pixels{why}: of the foreground, short "
        f"trainings explain, with an evidence in nats a pixel, {found}"
    )


def _try(proposal: Proposal, shrink: float, device: torch.device) -> Sums:
    """Train for a short while, and measure on images that are held out.

    Of one picture, hardly any part may be held out; then all parts count, of which there are so
    many that a trial sees few of them twice.
    """
    config = proposal.config
    with _nothing_told_twice():
        data = load_training_data(config, fitted=False, sample=SAMPLE)
    config = _short(for_images(config, data.canvas_size, data.channels))
    training, held_out = (data, data) if is_one_part(data) else hold_out(data)
    if data.parts is not None and len(held_out) < FEW_MEASURED:
        held_out = data
    with reproducible(config.seed, device):
        state = TrainingState.new(Path(), config, training, Processes(device), "plain")
        for _ in range(config.optimizer.num_steps):
            state.take_step()
        return _measure(state.air, held_out[spread(len(held_out), MEASURED)], shrink)


@contextmanager
def _nothing_told_twice() -> Iterator[None]:
    """Load without a word: the run itself loads the same pictures, and says what is to be said."""
    logger = logging.getLogger("attend_infer_repeat.data")
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _short(config: TrainConfig) -> TrainConfig:
    """Return a run's settings for a trial: a few steps, at whose end nothing moves any more."""
    pixels = math.prod(config.model.canvas_size)
    steps = max(round(NUM_STEPS * min(USUAL_PIXELS / pixels, 1)), MIN_STEPS)
    settings: dict[str, Any] = {
        "num_steps": steps,
        "batch_size": min(BATCH_SIZE, config.optimizer.batch_size),
        "lr_schedule": "constant",
        "ema_decay": DECAY,
        "explore_steps": steps // SETTLING_DIVISOR,
        "anneal_prior_duration": steps // SETTLING_DIVISOR,
    }
    choices = Choices(config, ())
    choices.decide("a trial is short", **settings)
    return choices.config


@torch.no_grad()
def _measure(air: AIR, data: Dataset, shrink: float) -> Sums:
    """Return what the means of the guide leave of each image."""
    height, width = data.canvas_size
    small = max(round(shrink * height), 1), max(round(shrink * width), 1)
    batches = []
    for batch in as_images(data.images, air.config).split(largest_batch(air)):
        images = intensity(batch.to(air.device))
        rollout = air.rollout(images)
        counts = rollout.count_probs().argmax(dim=1)
        terms = count_terms(air.model, rollout)
        kl = (terms.kl_where + terms.kl_what).gather(1, counts[:, None])[:, 0]
        own = _energies(images)
        shown, left = (
            _energies(F.adaptive_avg_pool2d(values, small)).sum(dim=1)
            for values in (images, rollout.residual(counts))
        )
        parts = own.sum(dim=1), own.square().sum(dim=1), shown, left, kl
        batches.append(torch.stack(parts).double())
    return Sums(*torch.cat(batches, dim=1).cpu())


def _energies(images: Tensor) -> Tensor:
    """Return the energy of each pixel, its squares summed over the channels, (batch, pixels)."""
    return images.square().sum(dim=1).flatten(1)
