"""Presets: the complete settings that a user starts from, by name."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from ..errors import ConfigError, nearest
from .base import replace
from .training import AnnealingConfig, TrainConfig

# Ours. A new object at first costs log 1e15 = 35 nats, so that a second window has to find a second
# object: at the final 1.2 nats, copies of one faint object, drawn on top of each other, pay for
# themselves before the decoder has learned to draw it brightly, and training can stay there.
# Exploration keeps step 1 learning while no object yet gains 35 nats of log-likelihood.
# The scale prior is tight, so that one window large enough for two objects costs more: 13 sd or
# 84 nats at half the mean scale. The mean is a window of 19 pixels on a canvas of 50.
FAST = TrainConfig()

# The flags' defaults of Pyro's AIR example, whose command line is published with the tutorial.
TUTORIAL = TrainConfig(
    preset="tutorial",
    data="multi-mnist",
    num_steps=200_000,
    batch_size=64,
    learning_rate=1e-4,
    ema_decay=0.0,
    objective="tracegraph",
    explore=0.0,
    composite_weight=0.0,
    annealing=AnnealingConfig(
        anneal_prior="none",
        anneal_prior_from=None,
        anneal_prior_to=1e-7,
        anneal_prior_duration=100_000,
    ),
    eval_every=250,
    z_pres_prior=0.5,
    scale_prior_mean=3.0,
    scale_prior_sd=0.1,
    window_size=28,
    decoder_net=(200,),
    decoder_output_bias=None,
    decoder_output_use_sigmoid=False,
    guide="improved",
    rnn_hidden_size=256,
    predict_net=(),
    encoder_net=(200,),
    non_linearity="ReLU",
)

# For pictures of any kind, of which there may be few: small mini-batches, since there are few
# pictures to an epoch; any number of objects, and a guide that cannot learn a number. The rest is
# chosen from the pictures (``training.auto.choose_settings``): above all, what an object explains
# and costs. It explains hundreds of nats, so the guide becomes certain of its absence within a few
# steps, before anything is rendered well: its log-odds are bounded, so that it comes back.
AUTO = TrainConfig(
    preset="auto",
    num_steps=3_000,
    batch_size=64,
    lr_schedule="cosine",
    eval_every=250,
    explore_steps=400,
    composite_of="objects",
    composite_scattered=0.5,
    unbounded=True,
    z_pres_prior=1e-10,
    guide="memoryless",
    inhibition=0.8,
    refinement=True,
    presence_bound=8.0,
    predict_net=(300,),
    boxes="ink",
    resize="tile",
    subtract="level",
)

# For many objects, and any number of them. The residual is all that a step needs to know: nothing
# is remembered, so that no step learns to expect the last object. Copies of an object cost more
# than in FAST, since many objects have many chances of one. Composites are made of objects that
# are cut out where they stand alone: images of a single one are rare. The scale prior's mean is
# FAST's, a window of 19 of 50 pixels: for other canvases it is to be given.
MANY = TrainConfig(
    preset="many",
    data="multi-mnist",
    num_steps=4_000,
    lr_schedule="cosine",
    eval_every=250,
    composite_of="objects",
    composite_scattered=0.5,
    unbounded=True,
    z_pres_prior=1e-3,
    guide="memoryless",
    predict_net=(300,),
    window_size=20,
    decoder_net=(400,),
    encoder_net=(400,),
)

PRESETS = {config.preset: config for config in (FAST, TUTORIAL, MANY, AUTO)}


def fit_auto(config: TrainConfig, given: Collection[str]) -> TrainConfig:
    """Let what somebody gives choose the part that it is of, such as a guide with an LSTM.

    Args:
        config: the preset auto's, and what was given.
        given: names of the settings that were given.
    """
    parts: dict[str, Any] = {}
    if "model_steps" in given:
        parts["unbounded"] = False
    if "invert" in given:
        parts["subtract"] = "border"
    if {"rnn_hidden_size", "embed_net"} & set(given):
        parts["guide"] = "pursuit"
    return replace(config, **{name: part for name, part in parts.items() if name not in given})


def get_preset(name: str) -> TrainConfig:
    """Return the settings of a preset.

    Raises: ConfigError if there is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"preset: unknown '{name}', known are {', '.join(PRESETS)}.{nearest(name, PRESETS)}"
        )
    return PRESETS[name]
