"""What the model and its guide are: ``ModelConfig`` and its parts. A field's text is its help."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Literal

from ..errors import ConfigError
from .annotations import Suppress, arg
from .base import Idle, Settings
from .constraints import (
    CanvasSize,
    Layers,
    Numbers,
    Positive,
    PositiveInt,
    Probabilities,
    Probability,
    Range,
    Ratio,
    UpToHundred,
    Weight,
)
from .inference import InferenceConfig

NonLinearity = Literal["ReLU", "LeakyReLU", "ELU", "SELU", "GELU", "SiLU", "Softplus", "Tanh"]


class FramingConfig(Settings):
    """How pictures come onto the canvas, and what is told of objects on them."""

    resize: Literal["fit", "pad", "crop", "tile"] = "fit"
    """Bring pictures of other sizes onto the canvas: scale each one to fit; or zoom all of them
    alike, pad small ones, and shrink (pad), cut (crop) or divide into tiles (tile) those that are
    still too large. With tile, random parts of them are trained on."""
    zoom: Positive = 1.0
    """Canvas pixels per picture pixel, unless pictures are scaled to fit."""
    range: Range | None = None
    """Intensities that become black and white, such as 0 4095; if not given, 0 and the most that
    8 or 16 bits hold, or 0 and 1 of floats. The preset auto takes percentiles of the pictures."""
    select: Numbers = ()
    """Channels of the pictures to take, counted from 0, such as 1 or 0 2; all if not given. One is
    gray, two or three are colors, more are averaged."""
    subtract: Literal["border", "nothing", "level", "smooth", "common"] = "border"
    """What is subtracted from pictures: what each one's border shows; nothing; one intensity; a
    smooth image, of each picture; or the image that all have in common."""
    invert: Literal["auto", "yes", "no"] = "auto"
    """Turn dark objects on a bright background into bright ones on black; auto looks at each
    picture's border. --invert alone means yes."""
    subtract_level: Probabilities = ()
    """The intensity that is subtracted, of each channel; each picture's own if not given."""
    subtract_width: Positive = 20.0
    """Width of the kernel that draws the smooth image that is subtracted, in canvas pixels."""
    objects: Literal["brighter", "darker", "both"] = "brighter"
    """Whether objects are brighter than what is subtracted, darker, or either."""
    contrast: Ratio = 1.0
    """The difference from what is subtracted that is shown as white."""
    stretch: Weight = 0.0
    """Show what is bright with less contrast, and what is dim with more: a difference d, as a share
    of white, becomes asinh(X d) / asinh(X). 0 shows it as it is."""
    common_image: Suppress[str] = ""
    """The image that all pictures have in common, as a PNG in base64."""
    boxes: Literal["window", "ink"] = "window"
    """What an object's box is: the window that was looked at, or the bounds of what it drew."""

    def __post_init__(self) -> None:
        """Check the range."""
        if self.range is not None and not self.range[0] < self.range[1]:
            raise ConfigError(f"range: expected LOW below HIGH, got {self.range}.")

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect where pictures are scaled to fit, or with such a background."""
        if self.resize == "fit":
            yield Idle("zoom", "with --resize fit; leave it out, or use another --resize")
        which = f"with --subtract {self.subtract}"
        if self.subtract == "border":
            for name in ("objects", "contrast", "stretch"):
                yield Idle(name, f"{which}; leave it out, or use another --subtract")
        else:
            yield Idle("invert", f"{which}; leave it out, or use --subtract border")
        for name, kind in (("subtract_level", "level"), ("subtract_width", "smooth")):
            if self.subtract != kind:
                yield Idle(name, f"{which}; leave it out")


class CountConfig(Settings):
    """How many objects there can be, and p(n)."""

    model_steps: Annotated[PositiveInt, arg(aliases=("-t",))] = 3
    """Number of steps T: the most objects that the model can draw. If it is unbounded, the most
    that figures show."""
    unbounded: bool = False
    """Any number of objects: p(n) = (1 - p) p^n on all n. A rollout ends when one more object is
    improbable in every image."""
    step_limit: PositiveInt = 50
    """Most steps of an unbounded rollout; a message tells if it ends there."""
    z_pres_prior: Ratio = 0.3
    """Success probability of the count prior: k in p(n) ~ k^n, or p with --z-pres-prior-raw."""
    z_pres_prior_raw: bool = False
    """Use --z-pres-prior as the probability of each further object, not as the ratio k."""
    learn_z_pres_prior: bool = False
    """Learn the count prior's success probability, from --z-pres-prior on."""
    count_spread: Suppress[Probability] = 0.0
    """Variance of counts for each object, beside that of q(n | x): measured after training."""

    @property
    def max_steps(self) -> int:
        """The most steps that a rollout can take."""
        return self.step_limit if self.unbounded else self.model_steps

    @property
    def shown_steps(self) -> int:
        """Upper limit on objects in sampled scenes for figures: T, also for unbounded models."""
        return min(self.model_steps, self.max_steps)

    @property
    def has_probability(self) -> bool:
        """Whether the count prior's parameter is the probability of each further object."""
        return self.z_pres_prior_raw or self.unbounded or self.learn_z_pres_prior

    def check_success(self, name: str, success: float) -> None:
        """Check that a number can be the count prior's parameter.

        Raises: ConfigError if it is 1 where it must be a probability.
        """
        if self.has_probability and success >= 1:
            raise ConfigError(f"{name}: expected a probability in (0, 1), got {success}.")

    def __post_init__(self) -> None:
        """Check the prior's parameter."""
        self.check_success("z_pres_prior", self.z_pres_prior)

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect with a bound, or without one."""
        if not self.unbounded:
            yield Idle("step_limit", "without --unbounded; leave it out, or add that")
        elif self.z_pres_prior_raw:
            yield Idle("z_pres_prior_raw", "with --unbounded, where it holds anyway; leave it out")


class PoseConfig(Settings):
    """The prior of z_where."""

    scale_prior_mean: Positive = 2.6
    """Mean of an object's scale s = canvas width / object width."""
    scale_prior_sd: Positive = 0.1
    """Standard deviation of an object's scale."""
    size_range: UpToHundred = 1.0
    """Side of the largest objects, in sides of the smallest, such as 8, around the scale's mean:
    the scale's logarithm and the center are Gaussian then, and the guide seeks sizes, too. 1: all
    are of about one size, and scale and shift are Gaussian, as in the paper."""
    pos_prior_mean: float = 0.0
    """Mean of an object's x and y shift."""
    pos_prior_sd: Positive = 1.0
    """Standard deviation of an object's x and y shift."""

    @property
    def has_sizes(self) -> bool:
        """Whether objects are of many sizes."""
        return self.size_range > 1

    @property
    def usual_scale(self) -> float:
        """That of most objects, or three standard deviations below the mean: few are larger."""
        if self.has_sizes:
            return self.scale_prior_mean
        return self.scale_prior_mean - 3 * self.scale_prior_sd

    @property
    def scale_range(self) -> tuple[float, float]:
        """Mean scales of the largest and of the smallest objects."""
        ratio = math.sqrt(self.size_range)
        return self.scale_prior_mean / ratio, self.scale_prior_mean * ratio

    def idle(self) -> Iterator[Idle]:
        """Yield what objects of many sizes do not have."""
        if self.has_sizes:
            for name in ("scale_prior_sd", "pos_prior_mean", "pos_prior_sd"):
                yield Idle(name, "with --size-range; leave it out")


class LikelihoodConfig(Settings):
    """The law of the pixels."""

    likelihood_sd: Positive = 0.3
    """Standard deviation of the pixel noise."""
    learn_likelihood_sd: bool = False
    """Learn the pixel noise's standard deviation, from --likelihood-sd on."""


class BackgroundConfig(Settings):
    """What is behind the objects."""

    background_model: Literal["none", "constant", "smooth", "learned"] = "none"
    """What is behind the objects of an image: nothing, one intensity, a smooth image of low rank,
    or what a small decoder learns to draw."""
    background_latent_size: PositiveInt = 8
    """Numbers in the code of a learned background."""
    background_net: Layers = (200,)
    """Hidden layers between an image and its background's code, and of a learned background."""

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect on such a background."""
        which = f"with --background-model {self.background_model}"
        if self.background_model != "learned":
            instead = "leave it out, or use --background-model learned"
            yield Idle("background_latent_size", f"{which}; {instead}")
        if self.background_model == "none":
            yield Idle("background_net", f"{which}; leave it out, or use another one")


class AppearanceConfig(Settings):
    """What an object looks like: its code and the decoder."""

    encoder_latent_size: PositiveInt = 50
    """Numbers in z_what, the code of an object's appearance."""
    window_size: PositiveInt = 16
    """Side of the square attention window in pixels."""
    decoder_net: Layers = (200,)
    """Hidden layers of the decoder (z_what to window)."""
    decoder_output_bias: float | None = -2.0
    """Added to the decoder's output before the sigmoid, so that objects start out dark."""
    decoder_output_use_sigmoid: bool = True
    """Squash the decoder's output into [0, 1]."""
    trained_colors: Suppress[Probabilities] = ()
    """Red, green and blue, as shares, of the pictures trained on: measured after training."""


class ModelConfig(Settings):
    """The generative model and its inference network."""

    canvas_size: Suppress[CanvasSize] = (50, 50)
    """Height and width of the images in pixels; training takes it from the data."""
    channels: Suppress[PositiveInt] = 1
    """Color channels of the images; training takes it from the data."""
    framing: FramingConfig = FramingConfig()
    """How pictures come onto the canvas, and what is told of objects on them."""
    count: CountConfig = CountConfig()
    """How many objects there can be, and p(n)."""
    pose: PoseConfig = PoseConfig()
    """The prior of z_where."""
    likelihood: LikelihoodConfig = LikelihoodConfig()
    """The law of the pixels."""
    composition: Literal["sum", "over"] = "sum"
    """Objects add up; or each has an opacity and occludes those after it, front to back."""
    background: BackgroundConfig = BackgroundConfig()
    """What is behind the objects."""
    appearance: AppearanceConfig = AppearanceConfig()
    """What an object looks like: its code and the decoder."""
    inference: InferenceConfig = InferenceConfig()
    """The guide, which infers an image's objects one by one."""
    non_linearity: Annotated[NonLinearity, arg(metavar="NAME")] = "SiLU"
    """Activation of every hidden layer, by its name in torch.nn."""
    masking: bool = True
    """Leave the costs of unused steps out of the objective."""

    def __post_init__(self) -> None:
        """Check that sizes are sought where there are many."""
        if self.pose.has_sizes and not self.inference.sees_residual:
            raise ConfigError(
                f"size_range: the guide '{self.inference.guide}' does not look for sizes; leave "
                "--size-range out, or use --guide memoryless or pursuit."
            )

    def idle(self) -> Iterator[Idle]:
        """Yield what has no effect where objects do not add up, or are of many sizes."""
        if self.composition != "sum":
            instead = "leave it out, or use --composition sum"
            yield Idle("refinement", f"with --composition {self.composition}; {instead}")
        if self.pose.has_sizes:
            yield Idle("focus", "with --size-range; leave it out")
