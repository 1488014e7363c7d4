"""Settings: what is refused, and what survives JSON."""

from __future__ import annotations

import copy
import dataclasses
import json
import pickle
from dataclasses import replace
from typing import Any

import pytest

from attend_infer_repeat import PRESETS, ConfigError, ModelConfig, TrainConfig
from attend_infer_repeat.config import (
    PATHS,
    EstimatorConfig,
    PoseConfig,
    differences,
    flat,
    for_images,
    from_dict,
    get_preset,
    to_dict,
)

NAN, INFINITY = float("nan"), float("inf")

BAD_MODEL: list[tuple[str, Any]] = [
    ("canvas_size", (0, 50)),
    ("canvas_size", (50,)),
    ("canvas_size", (50, 50, 3)),
    ("canvas_size", (50, -1)),
    ("channels", 0),
    ("model_steps", 0),
    ("model_steps", -3),
    ("z_pres_prior", 0.0),
    ("z_pres_prior", 1.5),
    ("z_pres_prior", NAN),
    ("scale_prior_mean", 0.0),
    ("scale_prior_mean", -3.0),
    ("scale_prior_mean", NAN),
    ("scale_prior_sd", 0.0),
    ("size_range", 0.5),
    ("size_range", 101.0),
    ("scale_prior_sd", INFINITY),
    ("pos_prior_mean", NAN),
    ("pos_prior_mean", INFINITY),
    ("pos_prior_sd", -1.0),
    ("likelihood_sd", 0.0),
    ("encoder_latent_size", 0),
    ("window_size", 0),
    ("decoder_net", (200, 0)),
    ("decoder_output_bias", NAN),
    ("guide", "bsic"),
    ("resize", "stretch"),
    ("zoom", 0.0),
    ("invert", "maybe"),
    ("boxes", "ikn"),
    ("rnn_hidden_size", 0),
    ("embed_net", (-1,)),
    ("predict_net", (0,)),
    ("encoder_net", (0,)),
    ("non_linearity", "relu"),
]

BAD_TRAIN: list[tuple[str, Any]] = [
    ("canvas", 0),
    ("channels", 0),
    ("max_count", 0),
    ("counts", (0,)),
    ("counts", ()),
    ("background", "blue"),
    ("num_steps", 0),
    ("num_steps", -1),
    ("batch_size", 0),
    ("learning_rate", 0.0),
    ("learning_rate", NAN),
    ("lr_schedule", "cosin"),
    ("objective", "elbo"),
    ("baseline_learning_rate", -1.0),
    ("bl_predict_net", (0,)),
    ("baseline_scalar", NAN),
    ("anneal_prior", "linear"),
    ("explore", -0.1),
    ("explore", 1.0),
    ("explore", NAN),
    ("explore_steps", 0),
    ("composite_weight", -1.0),
    ("composite_weight", NAN),
    ("composite_begin", -1),
    ("anneal_prior_from", 0.0),
    ("anneal_prior_from", NAN),
    ("anneal_prior_to", 0.0),
    ("anneal_prior_to", 2.0),
    ("anneal_prior_begin", -1),
    ("anneal_prior_duration", 0),
    ("seed", -1),
    ("eval_every", -1),
    ("save_every", -1),
    ("progress_every", 0),
]


@pytest.mark.parametrize(("name", "value"), BAD_MODEL)
def test_a_bad_value_of_the_model_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(ModelConfig(), **{name: value})


@pytest.mark.parametrize(("name", "value"), BAD_TRAIN)
def test_a_bad_value_of_the_training_is_refused_by_name(name: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=name):
        replace(TrainConfig(), **{name: value})


def test_a_certain_next_object_is_a_ratio_but_no_probability() -> None:
    assert ModelConfig(z_pres_prior=1.0).count.z_pres_prior == 1
    with pytest.raises(ConfigError, match="z_pres_prior"):
        ModelConfig(z_pres_prior=1.0, z_pres_prior_raw=True)
    with pytest.raises(ConfigError, match="anneal_prior_to"):
        TrainConfig(anneal_prior_to=1.0, model=ModelConfig(z_pres_prior_raw=True))


def test_settings_that_contradict_each_other_are_refused() -> None:
    with pytest.raises(ConfigError, match="baseline_scalar"):
        TrainConfig(baselines=False, baseline_scalar=2.0)
    unmasked = ModelConfig(masking=False)
    with pytest.raises(ConfigError, match="masking"):
        TrainConfig(model=unmasked)
    plain = {"objective": "tracegraph", "explore": 0.0, "composite_weight": 0.0}
    assert TrainConfig(model=unmasked, **plain).model is unmasked
    for setting in ({"explore": 0.5}, {"composite_weight": 1.0}):
        with pytest.raises(ConfigError, match=next(iter(setting))):
            TrainConfig(**(plain | setting))
    for guide in ("basic", "improved"):
        with pytest.raises(ConfigError, match="--guide pursuit or memoryless"):
            ModelConfig(guide=guide, foresight=True)


def test_configs_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        ModelConfig().channels = 3  # type: ignore[misc]


def test_a_misspelt_non_linearity_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'Softplus'"):
        ModelConfig(non_linearity="SoftPlus")


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name: str) -> None:
    config = PRESETS[name]
    assert config.preset == name
    assert get_preset(name) is config
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_settings_far_from_the_defaults_survive_json() -> None:
    model = ModelConfig(
        canvas_size=(30, 44),
        channels=3,
        embed_net=(),
        decoder_net=(5, 6),
        decoder_output_bias=None,
        scale_prior_mean=2,
        guide="pursuit",
        foresight=True,
    )
    estimator = EstimatorConfig(baseline_scalar=2.5, bl_predict_net=(7,))
    config = TrainConfig(model=model, canvas=30, estimator=estimator)
    assert from_dict(TrainConfig, json.loads(json.dumps(to_dict(config)))) == config


def test_missing_keys_take_their_defaults() -> None:
    assert from_dict(TrainConfig, {"seed": 3}) == TrainConfig(seed=3)


def test_an_unknown_preset_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'tutorial'"):
        get_preset("tutorail")


@pytest.mark.parametrize(
    ("values", "suggestion"),
    [({"learning_rat": 1.0}, "learning_rate"), ({"model": {"window_sizes": 3}}, "window_size")],
)
def test_an_unknown_key_suggests_the_nearest(values: dict[str, Any], suggestion: str) -> None:
    with pytest.raises(ConfigError, match=f"Did you mean '{suggestion}'"):
        from_dict(TrainConfig, values)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("num_steps", "many"),
        ("num_steps", 2.5),
        ("num_steps", True),
        ("num_steps", None),
        ("learning_rate", "1e-3"),
        ("learning_rate", True),
        ("baselines", 1),
        ("baselines", "yes"),
        ("objective", "elbo"),
        ("lr_schedule", 3),
        ("data", None),
        ("bl_predict_net", 200),
        ("bl_predict_net", ["200"]),
        ("bl_predict_net", [2.5]),
        ("canvas", 2.5),
        ("model", 3),
        ("model", None),
        ("model", {"channels": "three"}),
        ("model", {"canvas_size": [50.5, 50]}),
    ],
)
def test_values_of_the_wrong_type_are_refused_by_name(name: str, value: Any) -> None:
    expected = next(iter(value)) if isinstance(value, dict) else name
    with pytest.raises(ConfigError, match=expected):
        from_dict(TrainConfig, {name: value})


BASE = TrainConfig(explore=0.0, composite_weight=0.0)
"""Settings of which any single one may change."""

OTHER_TRAIN: dict[str, Any] = {
    "strict": True,
    "chosen": ("canvas 64: because", "window_size 9: because"),
    "fingerprints": ("train: 9 images, SHA-256 0123",),
    "preset": "tutorial", "data": "sprites", "canvas": 64, "channels": 3, "max_count": 2,
    "num_steps": 7, "batch_size": 7, "learning_rate": 0.5, "lr_schedule": "cosine",
    "objective": "tracegraph", "baselines": False, "baseline_learning_rate": 0.5,
    "bl_predict_net": (7,), "baseline_scalar": 2.0, "anneal_prior": "lin", "anneal_prior_to": 0.5,
    "anneal_prior_from": 0.5, "explore": 0.25, "explore_steps": 7,
    "composite_weight": 2.0, "composite_begin": 9, "composite_every": 2,
    "composite_of": "objects", "composite_scattered": 0.5, "composite_rare": 0.2,
    "composite_zoom": 1.2,
    "composite_most": 3,
    "eval_split": "test", "ema_decay": 0.5,
    "counts": (6, 7), "background": "grid",
    "anneal_prior_begin": 7, "anneal_prior_duration": 7, "seed": 7, "eval_every": 7,
    "save_every": 7, "progress_every": 7,
}  # fmt: skip


def test_the_table_of_other_values_covers_every_field() -> None:
    own = {name for name, path in PATHS[TrainConfig].items() if path[0] != "model"}
    assert set(OTHER_TRAIN) == own


@pytest.mark.parametrize(("name", "value"), OTHER_TRAIN.items())
def test_differences_name_what_changed_and_nothing_else(name: str, value: Any) -> None:
    (difference,) = differences(BASE, from_dict(TrainConfig, flat(BASE) | {name: value}))
    assert difference.startswith(f"{name}: ")
    assert difference.endswith(str(value))


def test_differences_reach_into_the_model() -> None:
    changed = TrainConfig(seed=3, model=ModelConfig(window_size=28))
    old_new = differences(TrainConfig(), changed)
    assert len(old_new) == 2
    assert "window_size: 16 -> 28" in old_new
    assert "seed: 0 -> 3" in old_new


def test_equal_configs_do_not_differ() -> None:
    assert differences(TrainConfig(), TrainConfig()) == []


def test_fitting_the_images_changes_canvas_and_channels_only() -> None:
    fitted = for_images(TrainConfig(seed=3), (30, 44), 3)
    assert fitted.model.canvas_size == (30, 44)
    assert fitted.model.channels == 3
    back = for_images(fitted, ModelConfig().canvas_size, ModelConfig().channels)
    assert back == TrainConfig(seed=3)


def test_every_setting_has_a_name_of_its_own() -> None:
    """But for the model's channels, which is no flag: that of the data is."""
    names = [path[-1] for path in PATHS[TrainConfig].values()]
    assert sorted(names) == sorted([*set(names), "channels"])
    assert PATHS[TrainConfig]["channels"] == ("dataset", "channels")
    assert PATHS[TrainConfig]["model.channels"] == ("model", "channels")
    parts = {place for path in PATHS[TrainConfig].values() for place in path[:-1]}
    assert parts & {path[-1] for path in PATHS[ModelConfig].values()} == set()


@pytest.mark.parametrize("kind", [ModelConfig, TrainConfig])
def test_a_setting_is_set_by_its_name_wherever_it_lies(kind: Any) -> None:
    values = flat(kind(**({"model": ModelConfig(guide="pursuit")} if kind is TrainConfig else {})))
    for name, path in PATHS[kind].items():
        *parts, leaf = path
        owner = from_dict(kind, {name: values[name]})
        for part in parts:
            owner = getattr(owner, part)
        assert getattr(owner, leaf) == values[name]


def test_parts_and_single_settings_of_them_may_be_given_together() -> None:
    pose = PoseConfig(scale_prior_mean=4.0, scale_prior_sd=0.5)
    for config in (ModelConfig(pose=pose, scale_prior_sd=0.2), ModelConfig(**to_dict(pose))):
        assert config.pose.scale_prior_mean == 4
    assert ModelConfig(pose=pose, scale_prior_sd=0.2).pose.scale_prior_sd == 0.2
    changed = replace(TrainConfig(seed=3), scale_prior_mean=4.0, num_steps=7)
    assert (changed.seed, changed.optimizer.num_steps) == (3, 7)
    assert changed.model.pose.scale_prior_mean == 4
    assert changed == TrainConfig(seed=3, num_steps=7, model=ModelConfig(scale_prior_mean=4.0))


def test_what_lies_in_a_part_is_not_read_from_the_whole() -> None:
    with pytest.raises(AttributeError, match=r"'window_size': it is appearance\.window_size"):
        getattr(ModelConfig(), "window_size")  # noqa: B009
    with pytest.raises(AttributeError, match=r"'guide': it is model\.inference\.guide"):
        getattr(TrainConfig(), "guide")  # noqa: B009
    assert not hasattr(ModelConfig(), "nothing")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size: expected a number above 0, got 0."),
        ({"num_steps": 2.5}, "num_steps: expected a whole number, got 2.5."),
        ({"learning_rate": "fast"}, "learning_rate: expected a number, got 'fast'."),
        ({"explore": 1.0}, "explore: expected a number below 1, got 1.0."),
        ({"canvas_size": (3, 4, 5)}, "canvas_size: expected 2 values, got (3, 4, 5)."),
        ({"unbounded": "yes"}, "unbounded: expected true or false, got 'yes'."),
        ({"guide": "pursit"}, "guide: unknown 'pursit', known are pursuit, memoryless, improved,"),
        ({"widow_size": 3}, "widow_size: no such setting. Did you mean 'window_size'?"),
        ({"model": 3}, "model: expected a ModelConfig, got 3."),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_name_and_what_came(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        TrainConfig(**settings)
    assert str(refusal.value).startswith(message)
    assert "\n" not in str(refusal.value)


def test_configs_can_be_hashed_copied_and_pickled() -> None:
    for config in PRESETS.values():
        copies = {config, copy.deepcopy(config), pickle.loads(pickle.dumps(config))}
        assert copies == {config}
