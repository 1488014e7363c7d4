"""How a model is trained: ``TrainConfig`` and its parts. A field's text is its help."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from ..errors import ConfigError
from .annotations import Suppress, arg
from .base import PATHS, Idle, Settings, replace
from .constraints import (
    AtLeastOne,
    BelowOne,
    Layers,
    Numbers,
    Positive,
    PositiveInt,
    Probability,
    Ratio,
    Seed,
    Steps,
    Texts,
    Weight,
)
from .model import ModelConfig


class DatasetConfig(Settings):
    """The images to train on."""

    data: str = "digits"
    """Data set to train on: digits, multi-mnist, sprites, or the path of a folder, .npz or .npy."""
    canvas: PositiveInt | None = None
    """Side of the canvas in pixels; the data set's or the pictures' own if not given."""
    channels: PositiveInt | None = None
    """Color channels (1 or 3); the data set's or the pictures' own if not given."""
    strict: bool = False
    """Stop at a picture that cannot be read, instead of skipping it."""
    max_count: Annotated[PositiveInt | None, arg(aliases=("--max-digits",))] = None
    """Most objects in a generated scene; the data set's own if not given."""
    counts: Numbers | None = None
    """Numbers of objects in generated scenes, such as 3, or 6 7 8, in place of 0 to the most."""
    background: Literal["black", "noisy", "grid"] = "black"
    """What generated scenes stand in front of."""

    def __post_init__(self) -> None:
        """Check that some scene has an object."""
        if self.counts is not None and not any(self.counts):
            raise ConfigError(
                f"counts: expected numbers of objects, one at least above 0, got {self.counts}."
            )

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect beside given numbers of objects."""
        if self.counts is not None and self.max_count is not None:
            yield Idle("max_count", "beside --counts; leave one of the two out")

    def options(self) -> dict[str, Any]:
        """The options that were given for a generated data set."""
        own = {
            "canvas_size": self.canvas,
            "channels": self.channels,
            "max_count": self.max_count,
            "counts": self.counts,
            "background": None if self.background == "black" else self.background,
        }
        return {name: value for name, value in own.items() if value is not None}


class OptimizerConfig(Settings):
    """Mini-batches, learning rate and averaging."""

    num_steps: Annotated[PositiveInt, arg(aliases=("-n",))] = 1_250
    """Number of optimization steps."""
    batch_size: Annotated[PositiveInt, arg(aliases=("-b",))] = 256
    """Images in a mini-batch."""
    learning_rate: Annotated[Positive, arg(aliases=("-lr",))] = 3e-3
    """Adam's learning rate."""
    lr_schedule: Literal["constant", "cosine"] = "constant"
    """Keep the learning rate, or let it fall to zero along a cosine over all steps."""
    ema_decay: BelowOne = 0.99
    """Decay of the exponential moving average of the weights, which is evaluated and saved; 0 takes
    the last ones."""


OF_BASELINES = ("baseline_learning_rate", "bl_predict_net", "baseline_scalar")


class EstimatorConfig(Settings):
    """The estimator of the ELBO's gradient, and its baselines."""

    objective: Literal["exact", "tracegraph"] = "exact"
    """Marginalize the count exactly, or estimate its gradient with Pyro's TraceGraph_ELBO."""

    baselines: Annotated[bool, arg(aliases=("--no-baseline",))] = True
    """Data-dependent baselines for the tracegraph objective."""
    baseline_learning_rate: Annotated[Positive, arg(aliases=("-blr",))] = 1e-3
    """Adam's learning rate for the baselines."""
    bl_predict_net: Layers = ()
    """Hidden layers between the baseline LSTM's state and the baseline."""
    baseline_scalar: float | None = None
    """Multiply the baseline network's output by this."""

    def __post_init__(self) -> None:
        """Check that there is a baseline to scale."""
        if self.baseline_scalar is not None and not self.baselines:
            raise ConfigError(
                "baseline_scalar: contradicts no-baselines; leave one of the two out."
            )

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect without baselines, but may be given so as to compare."""
        if self.objective == "exact":
            why = "with the objective exact; leave it out, or add --objective tracegraph"
            for name in ("baselines", *OF_BASELINES):
                yield Idle(name, why, switch="objective")
        elif not self.baselines:
            for name in OF_BASELINES:
                yield Idle(name, "with --no-baselines; leave it out", switch="baselines")


class ExplorationConfig(Settings):
    """How the guide tries counts at first."""

    explore: BelowOne = 0.5
    """Probability, at first, with which the exact objective's guide draws a uniform count."""
    explore_steps: PositiveInt = 150
    """Steps over which that probability falls to 0."""

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect without exploration."""
        if self.explore == 0:
            yield Idle("explore_steps", "with --explore 0; leave it out, or raise that")


class CompositesConfig(Settings):
    """Copy-paste composites of the images' own objects, which teach how to count."""

    composite_weight: Weight = 20.0
    """Weight of the loss on copy-paste composites (exact objective, T > 1); 0 makes none. They
    teach how to count: with foresight that is not learned, and none are made."""
    composite_begin: Steps = 50
    """Steps before the first composites are made."""
    composite_every: PositiveInt = 4
    """Steps between two sets of composites; each step counts its portion of a set."""
    composite_of: Literal["scenes", "objects"] = "scenes"
    """Make them of whole scenes with one object, or of objects that are cut out."""
    composite_scattered: Probability = 0.0
    """Probability that an object is pasted anywhere, not close to the one before."""
    composite_most: int | None = None
    """Most objects in a composite: T if not given, or without a bound one more than the guide
    finds in any image of the mini-batch. Give the most in the images, to train on no more."""
    composite_zoom: AtLeastOne = 1.7
    """Largest factor by which every other object is enlarged: a large object, which takes two
    windows, is one all the same. 1 where all have one size, so that a large one is two."""
    composite_rare: Positive = 0.1
    """Composites of a count weigh as much as the count is frequent in the images, plus this."""

    def __post_init__(self) -> None:
        """Check that a composite is composed."""
        if self.composite_most is not None and self.composite_most < 2:
            raise ConfigError(
                f"composite_most: expected at least 2 objects, got {self.composite_most}; "
                "--composite-weight 0 makes none."
            )

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect where no composites are made."""
        if self.composite_weight == 0:
            for name in PATHS[CompositesConfig]:
                if name != "composite_weight":
                    yield Idle(name, "with --composite-weight 0; leave it out, or raise that")


class AnnealingConfig(Settings):
    """How the count prior moves during training."""

    anneal_prior: Literal["none", "lin", "exp"] = "exp"
    """Move the count prior during training: not at all, linearly, or exponentially."""
    anneal_prior_from: Ratio | None = 1e-15
    """Value at which the count prior begins to move; none stands for --z-pres-prior."""
    anneal_prior_to: Ratio | None = None
    """Value at which it ends; none stands for --z-pres-prior."""
    anneal_prior_begin: Steps = 0
    """Steps before it begins to move."""
    anneal_prior_duration: PositiveInt = 250
    """Steps over which it moves."""

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect on a prior that does not move."""
        if self.anneal_prior == "none":
            for name in PATHS[AnnealingConfig]:
                if name != "anneal_prior":
                    yield Idle(name, "with --anneal-prior none; leave it out, or use lin or exp")


class OutputConfig(Settings):
    """When to evaluate, save and report."""

    eval_every: Steps = 125
    """Steps between evaluations on held-out scenes; 0 evaluates only at the end."""
    eval_split: Literal["validation", "test"] = "validation"
    """Held-out scenes to evaluate while training; test is for reports, never for choosing."""
    save_every: Steps = 1_000
    """Steps between checkpoints; 0 saves only at the end."""
    progress_every: PositiveInt = 50
    """Steps between lines of metrics."""


class TrainConfig(Settings):
    """Everything that decides a training run: data, objective, optimizer, seed, model."""

    preset: str = "fast"
    """Settings to start from: fast (ours, exact objective), tutorial (Pyro's, baselines), many
    (ours, any number of objects), or auto (ours, chosen from a look at the pictures; the default
    for pictures of your own)."""
    dataset: DatasetConfig = DatasetConfig()
    """The images to train on."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """Mini-batches, learning rate and averaging."""
    estimator: EstimatorConfig = EstimatorConfig()
    """The estimator of the ELBO's gradient, and its baselines."""
    exploration: ExplorationConfig = ExplorationConfig()
    """How the guide tries counts at first."""
    composites: CompositesConfig = CompositesConfig()
    """Copy-paste composites of the images' own objects, which teach how to count."""
    annealing: AnnealingConfig = AnnealingConfig()
    """How the count prior moves during training."""
    seed: Seed = 0
    """Seed of initial weights, mini-batches and noise."""
    output: OutputConfig = OutputConfig()
    """When to evaluate, save and report."""

    chosen: Suppress[Texts] = ()
    """What the preset auto has chosen, and why."""
    fingerprints: Suppress[Texts | None] = None
    """What the user's own images were when the run began: number and SHA-256 of each split."""

    model: ModelConfig = ModelConfig()
    """The model and its guide."""

    def __post_init__(self) -> None:
        """Check that the parts do not contradict each other: ConfigError if two do."""
        for name in ("anneal_prior_from", "anneal_prior_to"):
            if (success := getattr(self.annealing, name)) is not None:
                self.model.count.check_success(name, success)
        exact, weight = self.estimator.objective == "exact", self.composites.composite_weight
        if not exact and (self.exploration.explore or weight):
            raise ConfigError(
                "explore, composite_weight: belong to the exact objective; add --explore 0 "
                "--composite-weight 0, or use --preset tutorial for --objective "
                f"{self.estimator.objective}."
            )
        background = self.model.background.background_model
        if weight and background != "none":
            raise ConfigError(
                "composite_weight: composites are made of objects on black; add "
                f"--composite-weight 0 to --background-model {background}."
            )
        if exact and not self.model.masking:
            raise ConfigError(
                "no-masking: the exact objective sums over masked counts; add --objective "
                "tracegraph."
            )

    def idle(self) -> Iterator[Idle]:
        """Yield what one part makes useless in another."""
        has_baselines = self.estimator.objective == "tracegraph" and self.estimator.baselines
        if self.model.inference.guide == "memoryless" and not has_baselines:
            for name in ("rnn_hidden_size", "embed_net"):
                yield Idle(name, "with --guide memoryless; leave it out, or use another guide")
        why = "with --foresight" if self.model.inference.foresight else "with one step at most"
        if self.model.inference.foresight or self.model.count.max_steps == 1:
            for name in PATHS[CompositesConfig]:
                if name != "composite_weight" or self.composites.composite_weight:
                    yield Idle(name, f"{why}, where no composites are made; leave it out")


def for_images(config: TrainConfig, canvas_size: tuple[int, int], channels: int) -> TrainConfig:
    """Fit the model to the images: the same config for another canvas and other channels."""
    model = replace(config.model, canvas_size=canvas_size, channels=channels)
    return replace(config, model=model)
