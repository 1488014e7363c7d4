"""Going on with a run: what it goes on from, and which settings may have changed."""

from __future__ import annotations

import os
from pathlib import Path

from ..config import TrainConfig, differences, flat, replace
from ..data import is_path
from ..errors import ConfigError
from .run import is_finished

MEASURED = ("count_spread", "trained_colors")
"""Settings that are measured after training, for those who use the model."""

CHANGEABLE = ("num_steps", "eval_every", "eval_split", "save_every", "progress_every")
"""Settings that a resumed run may change: they decide its end and its reports alone."""


def check_resumable(
    run: Path, settings: TrainConfig, config: TrainConfig, step: int
) -> TrainConfig:
    """Check that a run can go on after ``step`` with other settings.

    The user's own images may have moved: their fingerprints tell whether they are the same.

    Args:
        run: the run's folder.
        settings: the run's own.
        config: those to go on with.
        step: the steps that were taken.
    Returns: the settings to go on with, with what was measured of the run's own.
    Raises: ConfigError if a setting contradicts the run's, or if nothing is left to do.
    """
    measured = {name: flat(settings)[name] for name in MEASURED}
    config = replace(config, fingerprints=settings.fingerprints, **measured)
    if is_path(settings.dataset.data) and is_path(config.dataset.data):
        same_place = os.path.realpath(settings.dataset.data) == os.path.realpath(
            config.dataset.data
        )
        if same_place or settings.fingerprints:
            settings = replace(settings, data=config.dataset.data)
    changes = differences(settings, config)
    changed = [change for change in changes if change.split(":")[0] not in CHANGEABLE]
    if changed:
        raise ConfigError(
            f"resume: the run was made with other settings ({'; '.join(changed)}); "
            "leave those options out, or start a new run with --out."
        )
    last = config.optimizer.num_steps
    if step > last or (step == last and is_finished(run, step)):
        raise ConfigError(
            f"resume: the run has taken all of its {step} steps; ask for more with -n {2 * step}."
        )
    return config
