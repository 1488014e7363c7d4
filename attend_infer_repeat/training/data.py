"""The images of a run: what it trains on, what it holds out, and whether they have changed."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ..config import DatasetConfig, ModelConfig, TrainConfig, for_images, replace
from ..data import (
    Dataset,
    find_change,
    fingerprint,
    has_test_part,
    hold_out,
    is_one_part,
    is_path,
    load_dataset,
)
from ..errors import ConfigError, DataError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunData:
    """The images of a run, and its settings once the images are known."""

    config: TrainConfig
    train: Dataset
    validation: Dataset | None
    """Training images that are held out; None if all are trained on."""
    has_test: bool

    @cached_property
    def test(self) -> Dataset:
        """The test split, loaded when it is first asked for."""
        return load_training_data(self.config, "test")

    @property
    def held_out(self) -> Dataset | None:
        """What ``output.eval_split`` says to evaluate on; None if nothing is held out."""
        if self.validation is None or self.config.output.eval_split == "validation":
            return self.validation
        return self.test


def load_run_data(
    config: TrainConfig, *, resumed: bool = False, fitted: bool = False, validate: bool = True
) -> RunData:
    """Load what a run trains on, and complete its settings by the sizes of the images.

    Args:
        config: the run's settings.
        resumed: whether the run has begun before: its images must be the same then.
        fitted: see ``load_training_data``.
        validate: hold images out.
    Raises: DataError if the images cannot be used, or have changed since the run began; ConfigError
        if a new run has an option that its kind of images does not know.
    """
    if not resumed:
        _refuse_options_of_others(config.dataset)
    config = _with_absolute_path(config)
    data = _load(config, "train", fitted)
    has_test = has_test_split(config)
    config = for_images(config, data.canvas_size, data.channels)
    config = _with_fingerprints(config, data, has_test, resumed)
    if validate and is_path(config.dataset.data) and is_one_part(data):
        logger.warning(
            "%s: one picture, of which nothing can be held out: there is nothing to validate with.",
            config.dataset.data,
        )
        validate = False
    training, validation = hold_out(data) if validate else (data, None)
    return RunData(config, training, validation, has_test)


def load_training_data(
    config: TrainConfig, split: str = "train", *, fitted: bool = True, **options: Any
) -> Dataset:
    """Load a split of a run's data set, with the options that the run was given, or with others.

    Args:
        config: the run's settings.
        split: of the data set.
        fitted: whether the model has its sizes from the pictures, and other pictures take theirs
            from the model.
        **options: of a generated set.
    """
    if split == "validation":
        whole = _load(config, "train", fitted, options)
        _warn_of_change(config, whole)
        if is_path(config.dataset.data) and config.fingerprints is None:
            logger.warning(
                "%s: the run does not tell which of these images it was trained on; the validation "
                "split may hold some of them.",
                config.dataset.data,
            )
        return hold_out(whole)[1]
    data = _load(config, split, fitted, options)
    _warn_of_change(config, data)
    return data


def load_held_out(config: TrainConfig) -> Dataset:
    """Load the test split of a run's data set, or the validation split where there is no test.

    Raises: DataError if there is neither: the data is gone.
    """
    return load_training_data(config, "test" if has_test_split(config) else "validation")


def has_test_split(config: TrainConfig) -> bool:
    """Tell whether a run's data set has a test split; the user's own images need not have one.

    A warning tells of a folder ``test`` that holds no images.
    """
    return not is_path(config.dataset.data) or has_test_part(config.dataset.data)


def path_options(model: ModelConfig, strict: bool = False) -> dict[str, Any]:
    """Return the options with which pictures are loaded for a model."""
    return {
        "canvas_size": model.canvas_size,
        "channels": model.channels,
        "framing": model.framing,
        "strict": strict,
    }


def _load(
    config: TrainConfig, split: str, fitted: bool = True, options: Mapping[str, Any] | None = None
) -> Dataset:
    given = dict(options or {})
    if not is_path(config.dataset.data):
        return load_dataset(config.dataset.data, split, **(config.dataset.options() | given))
    canvas = config.model.canvas_size if fitted else config.dataset.canvas
    channels = config.model.channels if fitted else config.dataset.channels
    own = path_options(config.model, config.dataset.strict)
    own |= {"canvas_size": canvas, "channels": channels}
    return load_dataset(config.dataset.data, split, **(own | given))


def _refuse_options_of_others(dataset: DatasetConfig) -> None:
    """Refuse what only generated scenes, or only pictures, know: ConfigError."""
    is_own, default = is_path(dataset.data), DatasetConfig()
    kind = "pictures of your own" if is_own else "generated scenes"
    for name in ("max_count", "counts", "background") if is_own else ("strict",):
        if getattr(dataset, name) != getattr(default, name):
            raise ConfigError(f"{name}: has no effect on {kind}; leave it out.")


def _with_absolute_path(config: TrainConfig) -> TrainConfig:
    """Make the path of the user's own images absolute, to be found from other folders."""
    data = config.dataset.data
    return replace(config, data=os.path.abspath(data)) if is_path(data) else config


def _with_fingerprints(
    config: TrainConfig, data: Dataset, has_test: bool, resumed: bool
) -> TrainConfig:
    """Note the fingerprints of the user's own images or, of a resumed run, compare them.

    Raises: DataError if they are no longer the same.
    """
    if not is_path(config.dataset.data):
        return config
    if not resumed:
        parts = [data, _load(config, "test")] if has_test else [data]
        return replace(config, fingerprints=tuple(fingerprint(part) for part in parts))
    if config.fingerprints is None:
        logger.warning(
            "%s: the run does not tell what these images were when it began; it goes on with what "
            "they are now, and may hold out others.",
            config.dataset.data,
        )
    change = find_change(data, config.fingerprints or ())
    if change is not None:
        raise DataError(
            f"resume: the images in {config.dataset.data} have changed since the run began "
            f"({change}); bring those back, or start a new run with --out."
        )
    return config


def _warn_of_change(config: TrainConfig, data: Dataset) -> None:
    change = find_change(data, config.fingerprints or ())
    if change is not None:
        logger.warning(
            "%s: the %s images have changed since the run was trained (%s).",
            *(config.dataset.data, data.split, change),
        )
