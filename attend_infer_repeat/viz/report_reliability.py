"""What a report says of count probabilities: whether they are right, and a temperature for them."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..air import AIR
from ..arrays import as_images
from ..config import TrainConfig
from ..data import Dataset
from ..errors import DataError
from ..evaluation.calibration import EDGES, Reliability, fit_temperature, reliability, temper
from ..posterior import count_posterior
from ..training.data import load_training_data
from .report_figures import effective_samples_figure, reliability_figure
from .report_parts import Picture, picture, where

MAX_JUDGED = 2_000
"""Images at most whose count probabilities are judged, and as many to fit a temperature to."""
MIN_FITTED = 100
"""Images at least to fit a temperature to."""


def reliability_section(
    air: AIR, data: Dataset, config: TrainConfig, num_samples: int
) -> dict[str, Any]:
    """Return what the template needs to know of the count probabilities of held-out images.

    Args: as those of ``report_images.image_sections``.
    """
    judged, fitted = _judged_and_fitted(data, config)
    kinds, sizes = _count_probs(air, judged, num_samples)
    fitted_kinds = {} if fitted is None else _count_probs(air, fitted, num_samples)[0]
    rows: list[tuple[str, Reliability]] = []
    pictures = []
    if judged.counts is not None:
        for name, probs in kinds.items():
            results = {"as it is": reliability(probs, judged.counts)}
            if fitted is not None and fitted.counts is not None:
                temperature = fit_temperature(fitted_kinds[name], fitted.counts)
                tempered = reliability(temper(probs, temperature), judged.counts)
                results[f"temperature {temperature:.2f}"] = tempered
            rows += [(f"{name}, {state}", result) for state, result in results.items()]
            errors = "; ".join(f"{state}, ECE {r.ece:.4f}" for state, r in results.items())
            pictures.append(picture(reliability_figure(results), f"{name}: {errors}", name))
    return {
        "edges": ", ".join(f"{edge:g}" for edge in EDGES),
        "where": where(judged),
        "fitted": None if fitted is None else where(fitted),
        "rows": rows,
        "pictures": pictures,
        "effective": None if sizes is None else _effective_samples(sizes, num_samples),
        "num_samples": num_samples,
    }


def _judged_and_fitted(data: Dataset, config: TrainConfig) -> tuple[Dataset, Dataset | None]:
    """Return images to judge probabilities on, and other ones to fit a temperature to.

    The latter are always validation images, every second one if the others are, too. There are none
    if their counts are unknown, if they are few, or if the report is about the training split,
    which holds them.
    """
    judged, fitted = data, None
    if data.counts is not None and data.split == "validation":
        judged, fitted = data[1::2], data[::2]
    elif data.counts is not None and data.split == "test":
        with contextlib.suppress(DataError):  # a single training image leaves none to validate with
            fitted = load_training_data(config, "validation")
    if fitted is None or fitted.counts is None or len(fitted) < MIN_FITTED:
        return data[:MAX_JUDGED], None
    return judged[:MAX_JUDGED], fitted[:MAX_JUDGED]


def _count_probs(
    air: AIR, data: Dataset, num_samples: int
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.floating] | None]:
    """Return each kind of count probabilities, and the effective sample sizes if there are any."""
    kinds = {"q(n | x)": air.infer(data.images).count_probs}
    if num_samples == 0:
        return kinds, None
    posterior = count_posterior(air, as_images(data.images, air.config), num_samples)
    kinds[f"importance-weighted, K = {num_samples}"] = posterior.count_probs.numpy()
    return kinds, posterior.effective_sample_size.numpy()


def _effective_samples(sizes: NDArray[np.floating], num_samples: int) -> Picture:
    text = f"median {np.median(sizes):.1f}, at least 2 in {np.mean(sizes >= 2):.0%} of images"
    figure = effective_samples_figure(sizes, num_samples)
    return picture(figure, f"Histogram of the effective sample size: {text}", caption=text)
