"""Data: generated scenes with known truth, and the user's own images.

``load_dataset`` is the door; ``DATASETS`` lists what it knows by name.
"""

from __future__ import annotations

from .dataset import Dataset
from .pictures.reading.paths import has_test_part
from .registry import (
    DATASETS,
    Source,
    default_config,
    default_max_count,
    is_path,
    load_dataset,
    require_known,
)
from .sets.cache import cache_dir
from .splits import (
    SPLITS,
    VALIDATION_SIZE,
    find_change,
    fingerprint,
    hold_out,
    is_one_part,
)

__all__ = [
    "DATASETS",
    "SPLITS",
    "VALIDATION_SIZE",
    "Dataset",
    "Source",
    "cache_dir",
    "default_config",
    "default_max_count",
    "find_change",
    "fingerprint",
    "has_test_part",
    "hold_out",
    "is_one_part",
    "is_path",
    "load_dataset",
    "require_known",
]
