"""Frozen, validated settings. A field's text is also its help on the command line.

``ModelConfig`` says what the model and its guide are; ``TrainConfig`` adds how they are
trained. ``PRESETS`` names the complete settings a user starts from. No torch is imported here.
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from ..errors import ConfigError, nearest
from ..seeds import check_seed
from .annotations import Suppress, arg

Config = TypeVar("Config")

NON_LINEARITIES = ("ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Softplus", "Tanh")


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ConfigError(message)


def _require_positive(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        finite = isinstance(value, (int, float)) and math.isfinite(value)
        _require(finite and value > 0, f"{name}: expected a number above 0, got {value!r}.")


def _require_layers(config: object, *names: str) -> None:
    for name in names:
        sizes = getattr(config, name) or ()
        _require(all(size > 0 for size in sizes), f"{name}: layer sizes must be above 0: {sizes}.")


def _require_finite(config: object, *names: str) -> None:
    for name in names:
        value = getattr(config, name)
        finite = value is None or math.isfinite(value)
        _require(finite, f"{name}: expected a finite number, got {value!r}.")


def _require_choices(config: object) -> None:
    """Check every field that is annotated with a ``Literal``."""
    for name, hint in get_type_hints(type(config)).items():
        known, value = get_args(hint), getattr(config, name)
        if get_origin(hint) is Literal and value not in known:
            raise ConfigError(
                f"{name}: unknown '{value}', known are {', '.join(known)}."
                f"{nearest(str(value), known)}"
            )


def _require_success(name: str, success: float, is_probability: bool) -> None:
    if is_probability:
        _require(0 < success < 1, f"{name}: expected a probability in (0, 1), got {success}.")
    _require(0 < success <= 1, f"{name}: expected a ratio in (0, 1], got {success}.")


@dataclass(frozen=True)
class ModelConfig:
    """The generative model and its inference network."""

    canvas_size: Suppress[tuple[int, int]] = (50, 50)
    """Height and width of the images in pixels; training takes it from the data."""
    channels: Suppress[int] = 1
    """Colour channels of the images; training takes it from the data."""
    resize: Literal["fit", "pad", "crop"] = "fit"
    """Bring pictures of other sizes onto the canvas: scale each one to fit; or zoom all of them
    alike and pad small ones, and shrink (pad) or cut (crop) those that are still too large."""
    zoom: float = 1.0
    """Canvas pixels per picture pixel, where pictures are padded or cropped."""
    invert: Literal["auto", "yes", "no"] = "auto"
    """Turn dark objects on a bright background into bright ones on black; auto looks at each
    picture's border. --invert alone means yes."""
    boxes: Literal["window", "ink"] = "window"
    """What an object's box is: the window that was looked at, or the bounds of what it drew."""

    model_steps: Annotated[int, arg(aliases=("-t",))] = 3
    """Number of steps T: the most objects that the model can draw. If it is unbounded, no more than
    the most that figures show."""
    unbounded: bool = False
    """Any number of objects: p(n) = (1 - p) p^n on all n. A walk ends where hardly any probability
    is left for one more."""
    step_limit: int = 50
    """Steps after which an unbounded walk is ended in any case, with a message."""
    z_pres_prior: float = 0.3
    """Success probability of the count prior: k in p(n) ~ k^n, or p with --z-pres-prior-raw."""
    z_pres_prior_raw: bool = False
    """Use --z-pres-prior as the probability of each further object, not as the ratio k."""
    learn_z_pres_prior: bool = False
    """Learn the count prior's success probability, from --z-pres-prior on."""
    scale_prior_mean: float = 2.6
    """Mean of an object's scale s = canvas width / object width."""
    scale_prior_sd: float = 0.1
    """Standard deviation of an object's scale."""
    pos_prior_mean: float = 0.0
    """Mean of an object's x and y shift."""
    pos_prior_sd: float = 1.0
    """Standard deviation of an object's x and y shift."""
    likelihood_sd: float = 0.3
    """Standard deviation of the pixel noise."""
    learn_likelihood_sd: bool = False
    """Learn the pixel noise's standard deviation, from --likelihood-sd on."""
    composition: Literal["sum", "over"] = "sum"
    """Objects add up; or each has an opacity and hides what was drawn after it, front to back."""
    background_model: Literal["none", "constant", "smooth", "learned"] = "none"
    """What is behind the objects of an image: nothing, one intensity, a smooth image of low rank,
    or what a small decoder learns to draw."""
    background_latent_size: int = 8
    """Size of the code of a learned background."""
    background_net: tuple[int, ...] = (200,)
    """Hidden layers between an image and its background's code, and of a learned background."""

    encoder_latent_size: int = 50
    """Size of z_what, the code of an object's appearance."""
    window_size: int = 16
    """Side of the square attention window in pixels."""
    decoder_net: tuple[int, ...] = (200,)
    """Hidden layers of the decoder (z_what to window)."""
    decoder_output_bias: float | None = -2.0
    """Added to the decoder's output before the sigmoid, so that objects start out dark."""
    decoder_output_use_sigmoid: bool = True
    """Squash the decoder's output into [0, 1]."""

    guide: Literal["memoryless", "pursuit", "residual", "improved", "basic"] = "residual"
    """Read z_what from the LSTM's state (basic) or from the attention window (improved); residual
    also looks at what is not yet drawn before it decides on z_pres and z_where, at a place that it
    learns to propose, and pursuit where most of it is. Memoryless looks there, too, beside what
    the image shows there, and has no LSTM: every step is the same."""
    focus: float = 1.0
    """How much narrower than a window the tent is by which pursuit and memoryless seek: it finds
    one of two close objects where a wider one finds their middle."""
    foresight: bool = False
    """Decide on z_pres by what one more object would be worth, log p(x) gained less the KL, and not
    by a network: it takes objects that touch for one. The guide must look at what is left, and
    objects should be dear: --z-pres-prior 1e-8. No gradient passes through that worth: the ELBO's
    is biased."""
    rnn_hidden_size: int = 64
    """Size of the guide's LSTM state (and of the baseline's)."""
    embed_net: tuple[int, ...] | None = None
    """Layers between the image and the LSTM; none feeds it the raw pixels."""
    predict_net: tuple[int, ...] = (100,)
    """Hidden layers between the LSTM's state (and the glimpse) and z_pres, z_where."""
    propose_net: tuple[int, ...] = (100,)
    """Hidden layers that propose where the residual guide takes its glimpse."""
    encoder_net: tuple[int, ...] = (200,)
    """Hidden layers of the encoder (window to z_what)."""
    non_linearity: Annotated[str, arg(metavar="NAME")] = "SiLU"
    """Activation of every hidden layer, by its name in torch.nn."""
    masking: bool = True
    """Leave the costs of unused steps out of the objective."""

    @property
    def looks_at_rest(self) -> bool:
        """Whether the guide looks at what is not yet drawn before it decides."""
        return self.guide in ("residual", "pursuit", "memoryless")

    @property
    def max_steps(self) -> int:
        """The most steps that a walk can take."""
        return self.step_limit if self.unbounded else self.model_steps

    @property
    def shown_steps(self) -> int:
        """The most objects in scenes drawn to be looked at: T, also for want of a bound."""
        return min(self.model_steps, self.max_steps)

    @property
    def has_probability(self) -> bool:
        """Whether the count prior's parameter is the probability of each further object."""
        return self.z_pres_prior_raw or self.unbounded or self.learn_z_pres_prior

    def __post_init__(self) -> None:
        """Check the values: ConfigError if one is out of range or two contradict each other."""
        _require_choices(self)
        _require_finite(self, "pos_prior_mean", "decoder_output_bias")
        _require_positive(
            self,
            *(
                "channels",
                "model_steps",
                "step_limit",
                "window_size",
                "encoder_latent_size",
                "rnn_hidden_size",
            ),
            *("scale_prior_mean", "scale_prior_sd", "pos_prior_sd", "likelihood_sd", "zoom"),
            *("background_latent_size", "focus"),
        )
        _require_layers(
            self,
            *("decoder_net", "embed_net", "predict_net", "propose_net", "encoder_net"),
            "background_net",
        )
        _require(
            len(self.canvas_size) == 2 and min(self.canvas_size) > 0,
            f"canvas_size: expected (height, width) above 0, got {self.canvas_size}.",
        )
        _require_success("z_pres_prior", self.z_pres_prior, self.has_probability)
        _require(
            self.looks_at_rest or not self.foresight,
            f"foresight: the guide '{self.guide}' does not look at what is left; leave --foresight "
            "out, or use --guide residual, pursuit or memoryless.",
        )
        _require(
            self.non_linearity in NON_LINEARITIES,
            f"non_linearity: unknown '{self.non_linearity}', known are "
            f"{', '.join(NON_LINEARITIES)}.{nearest(self.non_linearity, NON_LINEARITIES)}",
        )


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run: data, objective, optimiser, seed, model."""

    preset: str = "fast"
    """Settings to start from: fast (ours, exact objective), tutorial (Pyro's, baselines), many
    (ours, any number of objects), or auto (ours, chosen from a look at the pictures; the default
    for pictures of your own)."""
    data: str = "digits"
    """Data set to train on: digits, multi-mnist, sprites, or the path of a folder, .npz or .npy."""
    canvas: int | None = None
    """Side of the canvas in pixels; the data set's or the pictures' own if not given."""
    channels: int | None = None
    """Colour channels (1 or 3); the data set's or the pictures' own if not given."""
    strict: bool = False
    """Stop at a picture that cannot be read, instead of skipping it."""
    max_count: Annotated[int | None, arg(aliases=("--max-digits",))] = None
    """Most objects in a generated scene; the data set's own if not given."""
    counts: tuple[int, ...] | None = None
    """Numbers of objects in generated scenes, such as 3, or 6 7 8, in place of 0 to the most."""
    background: Literal["black", "noisy", "grid"] = "black"
    """What generated scenes stand in front of."""

    num_steps: Annotated[int, arg(aliases=("-n",))] = 1_250
    """Number of optimisation steps."""
    batch_size: Annotated[int, arg(aliases=("-b",))] = 256
    """Images in a mini-batch."""
    learning_rate: Annotated[float, arg(aliases=("-lr",))] = 3e-3
    """Adam's learning rate."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """Keep the learning rate, or let it fall to zero along a cosine over all steps."""
    ema_decay: float = 0.99
    """Decay of the exponential moving average of the weights, which is evaluated and saved; 0 takes
    the last ones."""
    objective: Literal["exact", "tracegraph"] = "exact"
    """Marginalize the count exactly, or estimate its gradient with Pyro's TraceGraph_ELBO."""

    baselines: Annotated[bool, arg(aliases=("--no-baseline",))] = True
    """Data-dependent baselines for the tracegraph objective."""
    baseline_learning_rate: Annotated[float, arg(aliases=("-blr",))] = 1e-3
    """Adam's learning rate for the baselines."""
    bl_predict_net: tuple[int, ...] = ()
    """Hidden layers between the baseline LSTM's state and the baseline."""
    baseline_scalar: float | None = None
    """Multiply the baseline network's output by this."""

    explore: float = 0.5
    """Probability, at first, with which the exact objective's guide draws a uniform count."""
    explore_steps: int = 150
    """Steps over which that probability falls to 0."""
    composite_weight: float = 20.0
    """Weight of the loss on copy-paste composites (exact objective, T > 1); 0 makes none. They
    teach how to count: with foresight that is not learned, and none are made."""
    composite_begin: int = 50
    """Steps before the first composites are made."""
    composite_every: int = 4
    """Steps between two makings; each step in between counts its portion of them."""
    composite_of: Literal["scenes", "objects"] = "scenes"
    """Make them of scenes with one object, or of objects cut out where they stand alone."""
    composite_scattered: float = 0.0
    """Probability with which an object of theirs goes anywhere, not close to the one before."""
    composite_share: float = 0.5
    """How many composites are made at a time, as a share of the images of a mini-batch."""
    composite_most: int | None = None
    """Most objects in a composite: T if not given, or without a bound one more than the guide
    finds in any image of the mini-batch. Give the most in the images, to train on no more."""
    composite_rare: float = 0.1
    """Added to how often a count is found: composites of a count weigh as often as it is found."""
    anneal_prior: Literal["none", "lin", "exp"] = "exp"
    """Move the count prior during training: not at all, linearly, or exponentially."""
    anneal_prior_from: float | None = 1e-15
    """Value at which the count prior begins to move; none stands for --z-pres-prior."""
    anneal_prior_to: float | None = None
    """Value at which it ends; none stands for --z-pres-prior."""
    anneal_prior_begin: int = 0
    """Steps before it begins to move."""
    anneal_prior_duration: int = 250
    """Steps over which it moves."""

    seed: int = 0
    """Seed of initial weights, mini-batches and noise."""
    eval_every: int = 125
    """Steps between evaluations on held-out scenes; 0 evaluates only at the end."""
    eval_split: Literal["validation", "test"] = "validation"
    """Held-out scenes to evaluate while training; test is for reports, never for choosing."""
    save_every: int = 1_000
    """Steps between checkpoints; 0 saves only at the end."""
    progress_every: int = 50
    """Steps between lines of metrics."""

    chosen: Suppress[tuple[str, ...]] = ()
    """What the preset auto has chosen, and why."""
    fingerprints: Suppress[tuple[str, ...] | None] = None
    """What the user's own images were when the run began: number and SHA-256 of each split."""

    model: ModelConfig = ModelConfig()
    """The model and its guide."""

    def data_options(self) -> dict[str, Any]:
        """The options that were given for a generated data set."""
        own = {
            "canvas_size": self.canvas,
            "channels": self.channels,
            "max_count": self.max_count,
            "counts": self.counts,
            "background": None if self.background == "black" else self.background,
        }
        return {name: value for name, value in own.items() if value is not None}

    def __post_init__(self) -> None:
        """Check the values: ConfigError if one is out of range or two contradict each other."""
        _require_choices(self)
        _require_finite(self, "baseline_scalar")
        given = [n for n in ("canvas", "channels", "max_count") if getattr(self, n) is not None]
        _require(
            self.composite_most is None or self.composite_most >= 2,
            f"composite_most: expected at least 2 objects, got {self.composite_most}; "
            "--composite-weight 0 makes no scenes.",
        )
        _require(
            self.counts is None or (any(self.counts) and min(self.counts) >= 0),
            f"counts: expected numbers of objects, one at least above 0, got {self.counts}.",
        )
        _require_positive(
            self,
            *given,
            *("num_steps", "batch_size", "learning_rate", "baseline_learning_rate"),
            *("explore_steps", "composite_every", "anneal_prior_duration", "progress_every"),
        )
        _require_layers(self, "bl_predict_net")
        _require_finite(self, "composite_weight")
        _require_positive(self, "composite_rare", "composite_share")
        check_seed(self.seed)
        for name in (
            *("eval_every", "save_every", "anneal_prior_begin"),
            *("composite_weight", "composite_begin"),
        ):
            _require(
                getattr(self, name) >= 0, f"{name}: must not be negative: {getattr(self, name)}."
            )
        for name in ("anneal_prior_from", "anneal_prior_to"):
            value = getattr(self, name)
            if value is not None:
                _require_success(name, value, self.model.has_probability)
        _require(0 <= self.explore < 1, f"explore: expected a share in [0, 1), got {self.explore}.")
        _require(0 <= self.ema_decay < 1, f"ema_decay: not in [0, 1): {self.ema_decay}.")
        _require(
            self.objective == "exact" or (self.explore == 0 and self.composite_weight == 0),
            "explore, composite_weight: belong to the exact objective; add --explore 0 "
            f"--composite-weight 0, or use --preset tutorial for --objective {self.objective}.",
        )
        _require(
            self.baseline_scalar is None or self.baselines,
            "baseline_scalar: contradicts no-baselines; leave one of the two out.",
        )
        _require(
            self.composite_weight == 0 or self.model.background_model == "none",
            "composite_weight: scenes are made of objects on black; add --composite-weight 0 to "
            f"--background-model {self.model.background_model}.",
        )
        _require(
            0 <= self.composite_scattered <= 1,
            f"composite_scattered: expected a share in [0, 1], got {self.composite_scattered}.",
        )
        _require(
            self.model.masking or self.objective == "tracegraph",
            "no-masking: the exact objective sums over masked counts; add --objective tracegraph.",
        )


# Ours. A new object at first costs log 1e15 = 35 nats, so that a second window has to find a second
# object: at the final 1.2 nats, copies of one faint object, drawn on top of each other, pay for
# themselves before the decoder has learned to draw it brightly, and training can stay there.
# Exploration keeps step 1 learning while no object is yet worth its 35 nats.
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
    anneal_prior="none",
    anneal_prior_from=None,
    anneal_prior_to=1e-7,
    anneal_prior_duration=100_000,
    eval_every=250,
    model=ModelConfig(
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
    ),
)

# For pictures of any kind, of which there may be few: the place to look at is found, not learned.
# Small mini-batches, since there are few pictures to an epoch. An object of many pixels explains
# hundreds of nats, so even a part of one would pay for itself at FAST's 1.2 nats. Two copies at one
# place, each half as bright, draw an object as well as one does, with shorter codes: a sigmoid
# comes close to full brightness only slowly, so the decoder is linear; and the count goes on
# exploring to the end, so that one object always has to be worth drawing as a whole. The rest is
# chosen from the pictures (``training.auto.choose_settings``).
AUTO = TrainConfig(
    preset="auto",
    batch_size=64,
    explore_steps=3_000,
    model=ModelConfig(
        guide="pursuit",
        z_pres_prior=1e-10,
        boxes="ink",
        decoder_output_use_sigmoid=False,
        decoder_output_bias=None,
    ),
)

# For many objects, and any number of them. What is left to explain is all that a step needs to
# know: the place to look at is found in it, by a tent that holds one object of a crowd, and nothing
# is remembered, so that no step comes to expect the last object. Copies of an object are dearer
# than in FAST, since many objects have many chances of one. Scenes are made of objects that are cut
# out where they stand alone: images of a single one are rare. The scale prior's mean is FAST's, a
# window of 19 of 50 pixels: for other canvases it is to be given.
MANY = TrainConfig(
    preset="many",
    data="multi-mnist",
    num_steps=4_000,
    lr_schedule="cosine",
    eval_every=250,
    composite_of="objects",
    composite_scattered=0.5,
    model=ModelConfig(
        unbounded=True,
        z_pres_prior=1e-3,
        guide="memoryless",
        focus=2.0,
        predict_net=(300,),
        window_size=20,
        decoder_net=(400,),
        encoder_net=(400,),
    ),
)

PRESETS = {config.preset: config for config in (FAST, TUTORIAL, MANY, AUTO)}


def get_preset(name: str) -> TrainConfig:
    """Return the settings of a preset.

    Raises: ConfigError if there is no preset of that name.
    """
    if name not in PRESETS:
        raise ConfigError(
            f"preset: unknown '{name}', known are {', '.join(PRESETS)}.{nearest(name, PRESETS)}"
        )
    return PRESETS[name]


def to_dict(config: Any) -> dict[str, Any]:
    """Return a config as plain values, ready for JSON."""
    return dataclasses.asdict(config)


def from_dict(kind: type[Config], values: Mapping[str, Any]) -> Config:
    """Rebuild a config from plain values, as ``to_dict`` and JSON left them.

    Raises: ConfigError if a key is unknown or a value has the wrong type or range.
    """
    hints = get_type_hints(kind)
    for key in values:
        if key not in hints:
            raise ConfigError(f"config: unknown key '{key}'.{nearest(key, hints)}")
    try:
        return kind(**{key: _convert(hints[key], key, value) for key, value in values.items()})
    except TypeError as error:
        raise ConfigError(f"config: {error}.") from error


def _convert(hint: Any, key: str, value: Any) -> Any:
    """Check ``value`` against its annotation, turning JSON's lists into tuples."""
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for option in options:
        if dataclasses.is_dataclass(option) and isinstance(value, Mapping):
            return from_dict(option, value)  # type: ignore[arg-type]
        if get_origin(option) is Literal:
            return value  # checked by the config itself
        if get_origin(option) is tuple and isinstance(value, (list, tuple)):
            return tuple(_convert(get_args(option)[0], key, element) for element in value)
        if option is float and isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
        if isinstance(option, type) and type(value) is option:
            return value
    raise ConfigError(f"config: {key} has the value {value!r}, which is not {_name(hint)}.")


def _name(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint)


def differences(old: TrainConfig, new: TrainConfig) -> list[str]:
    """List what differs between two configs, as ``name: old -> new`` or ``model.name: ...``."""
    before, after = flat(old), flat(new)
    return [f"{k}: {before[k]} -> {after[k]}" for k in before if before[k] != after[k]]


def flat(config: TrainConfig) -> dict[str, Any]:
    """Return a config as plain values by name, those of the model as ``model.name``."""
    return _flat(to_dict(config))


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in values.items():
        nested = isinstance(value, Mapping)
        flat |= _flat(value, f"{prefix}{name}.") if nested else {prefix + name: value}
    return flat


def for_images(config: TrainConfig, canvas_size: tuple[int, int], channels: int) -> TrainConfig:
    """Fit the model to the images: the same config for another canvas and other channels."""
    return replace(config, model=replace(config.model, canvas_size=canvas_size, channels=channels))
