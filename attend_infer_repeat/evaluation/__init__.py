"""Measures of a model: counts, boxes, calibration, codes."""

from __future__ import annotations

from .evaluate import Evaluation, confusion_matrix, elbo_per_image, evaluate

__all__ = ["Evaluation", "confusion_matrix", "elbo_per_image", "evaluate"]
