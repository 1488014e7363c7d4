"""Settings that others make meaningless: they do have no effect, and are refused if given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from exact import TINY
from torch import Tensor

from attend_infer_repeat import AIR, ConfigError, ModelConfig, TrainConfig, train
from attend_infer_repeat.cli.main import main, read_command
from attend_infer_repeat.config import (
    PRESETS,
    AnnealingConfig,
    CompositesConfig,
    CountConfig,
    EstimatorConfig,
    ExplorationConfig,
    OptimizerConfig,
    flat,
    for_images,
    from_dict,
    idle,
    replace,
)

SMALL = TrainConfig(
    optimizer=OptimizerConfig(num_steps=6, batch_size=6),
    exploration=ExplorationConfig(explore_steps=4),
    composites=CompositesConfig(composite_begin=1, composite_every=2),
    annealing=AnnealingConfig(anneal_prior_duration=3),
    model=TINY,
)
TRACEGRAPH = replace(
    SMALL,
    estimator=EstimatorConfig(objective="tracegraph"),
    exploration=ExplorationConfig(explore=0.0),
    composites=CompositesConfig(composite_weight=0.0),
)
CONFIGS = {
    "exact": SMALL,
    "many": replace(SMALL, guide="memoryless", unbounded=True, z_pres_prior=0.4),
    "raw": replace(
        SMALL, model=replace(TINY, count=CountConfig(unbounded=True, z_pres_prior_raw=True))
    ),
    "pursuit": replace(SMALL, guide="pursuit", anneal_prior="none"),
    "foresight": replace(SMALL, foresight=True),
    "one step": replace(SMALL, model_steps=1),
    "no composites": replace(SMALL, composite_weight=0.0, explore=0.0),
    "constant": replace(SMALL, composite_weight=0.0, background_model="constant"),
    "smooth": replace(SMALL, composite_weight=0.0, background_model="smooth"),
    "sizes": replace(SMALL, guide="memoryless", size_range=3.0),
    "no baselines": replace(TRACEGRAPH, baselines=False, guide="basic"),
    "baselines": replace(TRACEGRAPH, guide="memoryless"),
}
OTHER: dict[str, Any] = {
    "step_limit": 2, "z_pres_prior_raw": False, "focus": 3.0, "presence_bound": 3.0,
    "inhibition": 0.5, "refinement": True,
    "scale_prior_sd": 0.5, "pos_prior_mean": 0.5, "pos_prior_sd": 3.0,
    "background_latent_size": 3, "background_net": (3,), "rnn_hidden_size": 3, "embed_net": (3,),
    "baselines": False, "baseline_learning_rate": 0.5, "bl_predict_net": (3,),
    "baseline_scalar": 3.0, "explore_steps": 2, "composite_weight": 3.0, "composite_begin": 0,
    "composite_every": 1, "composite_of": "objects", "composite_scattered": 0.5,
    "composite_most": 2, "composite_rare": 2.0, "composite_zoom": 1.2,
    "anneal_prior_from": 0.1, "anneal_prior_to": 0.2,
    "anneal_prior_begin": 1, "anneal_prior_duration": 2,
}  # fmt: skip
"""Values that nothing above has. Zoom and max_count concern data, not a model."""


def with_other_values(config: TrainConfig) -> TrainConfig:
    """Return a config with other values of all that is idle."""
    useless = {setting.name for setting in idle(config)}
    contradicted = "baselines" if config.model.inference.guide == "pursuit" else "baseline_scalar"
    changed = {n: v for n, v in OTHER.items() if n in useless and n != contradicted}
    return from_dict(TrainConfig, flat(config) | changed)


def trained(config: TrainConfig, folder: Path) -> dict[str, Tensor]:
    """Return the weights of a short run on squares."""
    draws = np.random.RandomState(0)
    images = draws.randint(0, 40, size=(24, *TINY.canvas_size)).astype(np.uint8)
    for n, image in enumerate(images):
        y, x = draws.randint(5, size=2)
        image[y : y + 3, x : x + 3] = 220 * (n % 3 > 0)
    data = folder.parent / "squares.npz"
    np.savez(data, images=images)
    config = replace(config, data=str(data), invert="no")
    run = train(config, folder, quiet=True, figures=False, validate=False)
    return dict(AIR.load(run).state_dict())


@pytest.mark.parametrize("name", CONFIGS)
def test_idle_settings_have_no_effect(name: str, tmp_path: Path) -> None:
    config = CONFIGS[name]
    other = with_other_values(config)
    assert other != config
    weights, same = trained(config, tmp_path / "one"), trained(other, tmp_path / "other")
    assert weights.keys() == same.keys()
    for weight in weights:
        assert (weights[weight] == same[weight]).all(), weight


OF_PICTURES = {
    "zoom",
    "invert",
    "subtract_level",
    "subtract_width",
    "objects",
    "contrast",
    "stretch",
}
"""Settings of how pictures come onto a canvas: a training on generated scenes meets none."""


def test_every_idle_setting_is_shown_to_have_no_effect() -> None:
    seen = {setting.name for config in CONFIGS.values() for setting in idle(config)}
    assert seen - OF_PICTURES == OTHER.keys()


REFUSED = {
    "--guide improved --focus 2": "focus: has no effect with --guide improved",
    "--size-range 8 --focus 2": "focus: has no effect with --size-range",
    "--size-range 8 --pos-prior-sd 2": "pos_prior_sd: has no effect with --size-range",
    "--step-limit 9": "step_limit: has no effect without --unbounded",
    "--unbounded --z-pres-prior-raw": "z_pres_prior_raw: has no effect with --unbounded",
    "--preset many --rnn-hidden-size 9": "rnn_hidden_size: has no effect with --guide memoryless",
    "--background-net 9": "background_net: has no effect with --background-model none",
    "-blr 0.1": "baseline_learning_rate: has no effect with the objective exact",
    "--no-baselines": "baselines: has no effect with the objective exact",
    "--explore 0 --explore-steps 9": "explore_steps: has no effect with --explore 0",
    "--composite-weight 0 --composite-most 3": "has no effect with --composite-weight 0",
    "--preset many --foresight --composite-every 3": "has no effect with --foresight",
    "-t 1 --composite-weight 9": "composite_weight: has no effect with one step at most",
    "--preset tutorial --anneal-prior-to 0.1": "has no effect with --anneal-prior none",
    "--max-count 3 --counts 2": "max_count: has no effect beside --counts",
    "--zoom 2": "zoom: has no effect with --resize fit",
    "--contrast 0.5": "contrast: has no effect with --subtract border",
    "--subtract level --subtract-width 9": "subtract_width: has no effect with --subtract level",
    "--subtract nothing --invert yes": "invert: has no effect with --subtract nothing",
    "--strict": "strict: has no effect on generated scenes",
    "--data . --preset fast --max-count 3": "max_count: has no effect on pictures of your own",
    "--data . --preset fast --counts 3": "counts: has no effect on pictures of your own",
    "--data . --preset fast --background grid": "background: has no effect on pictures",
}


@pytest.mark.parametrize("line", REFUSED)
def test_a_meaningless_option_is_refused_with_one_line(line: str, capsys) -> None:
    assert main(["train", *line.split()]) == 2
    (message,) = capsys.readouterr().err.splitlines()
    assert REFUSED[line] in message
    assert "leave" in message


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_may_hold_what_has_no_effect(preset: str) -> None:
    for line in ([], ["-n", "9"], ["-t", "1"]):
        assert read_command(["train", "--preset", preset, *line]).training.preset == preset
    config = replace(PRESETS[preset], composite_weight=0.0, num_steps=3)
    assert for_images(config, (9, 9), 3).model.channels == 3


@pytest.mark.parametrize(
    "line",
    [
        "-blr 0.1 --bl-predict-net 9 --preset tutorial --objective exact",
        "-blr 0.1 --bl-predict-net 9 --preset tutorial --no-baselines",
    ],
)
def test_what_is_compared_may_be_switched_on_one_command(line: str) -> None:
    assert read_command(["train", *line.split()]).training.estimator.bl_predict_net == (9,)


def test_flat_keywords_are_refused_alike_and_parts_are_not() -> None:
    with pytest.raises(ConfigError, match="focus: has no effect with --guide basic"):
        ModelConfig(guide="basic", focus=2.0)
    with pytest.raises(ConfigError, match="explore_steps: has no effect with --explore 0"):
        replace(TrainConfig(), explore=0.0, explore_steps=3)
    kept = TrainConfig(exploration=ExplorationConfig(explore=0.0, explore_steps=3))
    assert replace(kept, seed=1).exploration.explore_steps == 3
