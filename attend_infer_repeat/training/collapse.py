"""Whether a training has collapsed, judged by its evaluations, if need be without labels.

An evaluation is dead (``Evaluation``) if

- objects explain nothing: the ELBO is no larger than that of scenes without any (``elbo_gain``),
  as after a learning rate that was far too large; or the gain is not a finite number;
- or ``elbo_gain`` has fallen below half of its best value so far;
- or every image gets one count, though other counts explain many of them better (``same_count``);
- or the counts are no better than a constant (``confusion``), as with the tutorial's preset without
  the flags that were published with it.

A run has collapsed if all evaluations of the second half of its steps so far are dead: at least two
of them, or one at the end. Sound runs of the exact objective are alive after about 50 steps, but
slow runs may be dead at their first evaluations. So no run is judged before a tenth of its steps,
nor before step ``MIN_STEPS``. Counts may be learned last: they are judged from the middle of the
run on.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from ..config import PRESETS, TrainConfig, for_images

MIN_GAIN = 0.1
"""ELBO gain in nats per image up to which objects explain nothing; empty scenes gain 0.001."""

CLEAR_GAIN = 5.0
"""ELBO gain in nats per image that does not come about by chance."""

KEPT_SHARE = 0.5
"""Share of its best ELBO gain that a sound run keeps while priors are annealed."""

CHANCE_RECALL = 0.02
"""How far the mean recall may exceed that of a constant count by chance."""

MIN_STEPS = 100
"""Steps before which no run is judged."""

PUBLISHED_FLAGS = (
    "-blr 0.1 --z-pres-prior 0.01 --scale-prior-sd 0.2 --predict-net 200 --bl-predict-net 200 "
    "--decoder-output-use-sigmoid --decoder-output-bias -2"
)
"""Flags that Pyro's tutorial was made with, beside the preset ``tutorial``."""


def find_collapse(evaluations: Sequence[Mapping[str, Any]], num_steps: int) -> str | None:
    """Return what shows that a run has collapsed; None if nothing does.

    Args:
        evaluations: the records of ``metrics.jsonl`` of one split, in their order. Those that an
            earlier version of the package wrote, without ``elbo_gain``, are passed over.
        num_steps: the steps that the run is to take.
    """
    known = [record for record in evaluations if "elbo_gain" in record]
    if not known:
        return None
    step = known[-1]["step"]
    finished = step >= num_steps
    if step < MIN_STEPS or (step < num_steps / 10 and not finished):
        return None
    counts_too = step >= num_steps / 2
    best_so_far = list(accumulate((_finite_gain(record) for record in known), max))
    dead: list[str] = []
    # Backward: in most runs the last one is alive, and no other needs to be judged.
    for record, best in zip(reversed(known), reversed(best_so_far), strict=True):
        if record["step"] < step / 2:
            break
        why = _evidence(record, best, counts_too)
        if why is None:
            return None
        dead.append(why)
    return dead[0] if len(dead) > 1 or finished else None


def _finite_gain(evaluation: Mapping[str, Any]) -> float:
    gain = evaluation["elbo_gain"]
    return float(gain) if gain is not None and math.isfinite(gain) else -math.inf


def _evidence(evaluation: Mapping[str, Any], best: float, counts_too: bool) -> str | None:
    """Return why an evaluation is dead; None if it is alive.

    Args:
        evaluation: the record.
        best: the largest gain up to it.
        counts_too: whether the counts are judged.
    """
    gain = evaluation["elbo_gain"]
    if gain is not None:
        if not math.isfinite(gain):
            return f"the ELBO gains {gain} nats by objects, which is not a finite number"
        if gain < MIN_GAIN:
            gained = round(gain, 1) + 0.0  # never -0
            return f"objects explain nothing of the images (the ELBO gains {gained} nats by them)"
        if best > CLEAR_GAIN and gain < KEPT_SHARE * best:
            return f"the ELBO gains {gain:.1f} nats by objects, and had gained {best:.1f}"
    same_count, confusion = evaluation.get("same_count"), evaluation.get("confusion")
    if counts_too and same_count is not None:
        return f"every image gets the count {same_count}, though others explain them better"
    if counts_too and confusion is not None:
        recall = _mean_recall(confusion)
        if recall is not None:
            return f"counts are no better than one and the same count for all images ({recall})"
    return None


def _mean_recall(confusion: Sequence[Sequence[int]]) -> str | None:
    """Return how often the images of a true count get it, if a constant gets as many right."""
    matrix = np.array(confusion)
    true = [n for n in range(len(matrix)) if matrix[n].sum()]
    recall = [matrix[n, n] / matrix[n].sum() if n < matrix.shape[1] else 0.0 for n in true]
    if len(true) < 2 or np.mean(recall) > 1 / len(true) + CHANCE_RECALL:
        return None
    return "right: " + ", ".join(
        f"{share:.0%} of {n}" for n, share in zip(true, recall, strict=True)
    )


def collapse_advice(config: TrainConfig) -> str:
    """Return what to try after a collapse."""
    preset = PRESETS.get(config.preset)
    rate = config.optimizer.learning_rate
    if preset is not None and rate > 2 * preset.optimizer.learning_rate:
        lower = f"{rate:g}, and the preset's is {preset.optimizer.learning_rate:g}"
    else:
        lower = f"{rate:g}"
    tries = [f"a lower --learning-rate (it was {lower})"]
    model = config.model
    bare = for_images(PRESETS["tutorial"], model.canvas_size, model.channels).model
    if config.preset == "tutorial" and model == bare:
        tries.insert(0, f"the flags that were published with the tutorial ({PUBLISHED_FLAGS})")
    if config.preset != "fast":
        tries.append("the preset fast")
    return f"try {', '.join([*tries, 'more steps, or another --seed'])}"
