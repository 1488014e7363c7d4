"""The generative model: a scene is drawn object by object.

    for t = 1..T, while present:
        z_pres_t  ~ Bernoulli(P(n >= t | n >= t - 1))      so that n = sum_t z_pres_t ~ p(n)
        z_where_t ~ Normal(mean, sd)                       (s, x, y)
        z_what_t  ~ Normal(0, I)
        y_t       = object_to_image(z_where_t, decoder(z_what_t))
    x ~ Normal(sum_t z_pres_t y_t, likelihood_sd)

Where images have a background, z_bg ~ Normal(0, I) comes first and b = background(z_bg) is added.
Where objects hide one another (``composition`` over), the decoder also gives each object an opacity
o_t; they are painted front to back, and an object is seen through all that was painted before it:

    mean of x = b + sum_t z_pres_t v_t (o_t y_t - o_t b),     v_t = prod_{s<t} (1 - z_pres_s o_s)

Source: Eslami et al. 2016, section 2; the order and names of the sites follow Pyro's tutorial.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..distributions import (
    BernoulliCount,
    CountPrior,
    GeometricCount,
    PixelNoise,
    TruncatedGeometricCount,
    gaussian,
    pixel_noise_log_prob,
    presence,
)
from ..nn import Decoder
from ..spatial import object_to_image
from .background import Background, background_size

MIN_LIKELIHOOD_SD = 0.01  # of a learned one: on images that are drawn exactly it would go to 0


def intensity(images: Tensor) -> Tensor:
    """Return images as floats in [0, 1]; uint8 is divided by 255, floats stay as they are."""
    return images.to(torch.get_default_dtype()) / 255 if images.dtype == torch.uint8 else images


class Canvas(NamedTuple):
    """What is painted so far; or, of an image, what that leaves of it."""

    x: Tensor  # (..., channels, height, width)
    # Where objects hide one another:
    seen: Tensor | None = (
        None  # (..., 1, height, width), v_t: the share of what is behind that shows
    )
    background: Tensor | None = None  # (..., channels, height, width), b; None: black

    def of_rows(self, rows: Tensor) -> Canvas:
        """Return some images' canvases."""
        x, *others = self
        return Canvas(x[rows], *(None if part is None else part[rows] for part in others))


class SceneState(NamedTuple):
    """What the model has drawn so far."""

    canvas: Canvas  # (batch, channels, height, width)
    z_pres: Tensor  # (batch,), 0 or 1
    z_where: Tensor | None = None  # (batch, 3)
    z_what: Tensor | None = None  # (batch, what_dim)
    z_background: Tensor | None = None  # (batch, latent_size), of the first state

    @property
    def x(self) -> Tensor:
        """The image without noise, (batch, channels, height, width)."""
        return self.canvas.x


class SceneModel(nn.Module):
    """p(x, z), as a Pyro program and as the laws that it is made of."""

    z_where_loc: Tensor
    z_where_scale: Tensor
    success: Tensor

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.hides = config.composition == "over"
        self.decoder = Decoder(
            config.encoder_latent_size,
            config.decoder_net,
            (config.channels + self.hides, config.window_size, config.window_size),
            config.non_linearity,
            config.decoder_output_bias,
            config.decoder_output_use_sigmoid,
            opacity=self.hides,
        )
        if config.background_model != "none":
            self.background = Background(config)
        if config.learn_likelihood_sd:
            self.log_likelihood_sd = nn.Parameter(torch.tensor(math.log(config.likelihood_sd)))
        position = config.pos_prior_mean, config.pos_prior_sd
        mean, sd = zip(
            (config.scale_prior_mean, config.scale_prior_sd), position, position, strict=True
        )
        self.register_buffer("z_where_loc", torch.tensor(mean))
        self.register_buffer("z_where_scale", torch.tensor(sd))
        # A buffer, since annealing changes it. In float64: 1 - 1e-10 must not become 1.
        self.register_buffer("success", torch.tensor(config.z_pres_prior, dtype=torch.float64))
        if config.learn_z_pres_prior:  # log-odds, added to those that annealing has come to
            self.success_shift = nn.Parameter(torch.zeros(()))

    # The laws.

    @property
    def count_prior(self) -> CountPrior:
        """p(n), on n = 0..T; of an unbounded model on all n, written down up to its limit."""
        success = self.success
        if self.config.learn_z_pres_prior:
            success = torch.sigmoid(torch.logit(success) + self.success_shift)
        if self.config.unbounded:
            return GeometricCount(success, self.config.step_limit)
        law = BernoulliCount if self.config.z_pres_prior_raw else TruncatedGeometricCount
        return law(success, self.config.model_steps)

    def count_probs(self) -> Tensor:
        """Return p(n) as ``prior`` draws it, n = 0..T: it sums to 1.

        Without a bound, T is the step limit, at which the program stops: the last probability is
        that of as many objects or more.
        """
        law = self.count_prior
        if isinstance(law, GeometricCount):
            law = BernoulliCount(law.success, law.max_count)
        return law.log_prob().exp()

    def z_where_dist(self) -> dist.Normal:
        """p(z_where_t), batch shape (3,)."""
        return gaussian(self.z_where_loc, self.z_where_scale)

    def z_what_dist(self) -> dist.Normal:
        """p(z_what_t), batch shape (what_dim,)."""
        zeros = self.z_where_loc.new_zeros(self.config.encoder_latent_size)
        return gaussian(zeros, torch.ones_like(zeros))

    def z_background_dist(self) -> dist.Normal:
        """p(z_bg), batch shape (latent_size,)."""
        zeros = self.z_where_loc.new_zeros(background_size(self.config))
        return gaussian(zeros, torch.ones_like(zeros))

    @property
    def likelihood_sd(self) -> float | Tensor:
        """Standard deviation of the pixel noise, known or learned, ()."""
        if self.config.learn_likelihood_sd:
            return self.log_likelihood_sd.exp().clamp(min=MIN_LIKELIHOOD_SD)
        return self.config.likelihood_sd

    def x_dist(self, canvas: Tensor) -> PixelNoise:
        """p(x | canvas), batch shape (...) for a canvas of (..., channels, height, width)."""
        return PixelNoise(canvas, self.likelihood_sd)

    def log_likelihood(self, residual: Tensor) -> Tensor:
        """Return log p(x | canvas), (...), for x - canvas: (..., channels, height, width)."""
        return pixel_noise_log_prob(residual, self.likelihood_sd)

    # The picture.

    def empty(self, x: Tensor, background: Tensor | None = None) -> Canvas:
        """Return canvases without an object.

        Args:
            x: (..., channels, height, width): the backgrounds, or what they leave of an image.
            background: likewise, b; None where there is none.
        """
        if not self.hides:
            return Canvas(x)
        return Canvas(x, torch.ones_like(x[..., :1, :, :]), background)

    def layers(self, z_where: Tensor, z_what: Tensor, sign: int = 1) -> Tensor:
        """Draw one object per pose and code, each by itself: what ``paint`` puts on canvases.

        Args:
            z_where: (..., 3), rows (s, x, y).
            z_what: (..., what_dim).
            sign: -1 draws the negative, to take an object away by adding it.
        Returns: sign * y, (..., channels, height, width); where objects hide one another
            sign * (o y, o), with one channel more.
        """
        windows = self.decoder(z_what)
        if self.hides:
            colour, opacity = windows[..., :-1, :, :], windows[..., -1:, :, :]
            windows = torch.cat((opacity * colour, opacity), dim=-3)
        windows = windows if sign == 1 else -windows
        return object_to_image(z_where, windows, self.config.canvas_size)

    def paint(self, canvas: Canvas, layers: Tensor, sign: int = 1) -> Canvas:
        """Put an object's layers on canvases: behind what is there, or added to it.

        Args:
            canvas: what is painted so far; with sign -1 what it leaves of an image.
            layers: of ``layers``, with the same sign; 0 for an absent object.
            sign: see ``layers``.
        """
        if canvas.seen is None:
            return Canvas(canvas.x + layers)
        colour, opacity = layers[..., :-1, :, :], layers[..., -1:, :, :]
        change = colour if canvas.background is None else colour - opacity * canvas.background
        seen = canvas.seen * (1 - sign * opacity)
        return Canvas(canvas.x + canvas.seen * change, seen, canvas.background)

    def pictures(
        self, z_where: Tensor, z_what: Tensor, z_background: Tensor | None = None
    ) -> Tensor:
        """Paint objects one after the other.

        Args:
            z_where: (..., T, 3), rows (s, x, y).
            z_what: (..., T, what_dim).
            z_background: (..., latent_size), of what is behind them; None: black.
        Returns: the canvases after n = 0..T objects, (..., T + 1, channels, height, width).
        """
        layers = self.layers(z_where, z_what)
        if z_background is None:
            size = *z_where.shape[:-2], self.config.channels, *self.config.canvas_size
            canvases = [self.empty(layers.new_zeros(size))]
        else:
            b = self.background(z_background)
            canvases = [self.empty(b, b)]
        for layer in layers.unbind(dim=-4):
            canvases.append(self.paint(canvases[-1], layer))
        return torch.stack([canvas.x for canvas in canvases], dim=-4)

    def draw(self, z_where: Tensor, z_what: Tensor) -> Tensor:
        """Draw one object per pose and code on a black canvas of its own.

        Args:
            z_where: (..., 3), rows (s, x, y).
            z_what: (..., what_dim).
        Returns: y, (..., channels, height, width); o y where objects hide one another.
        """
        return self.layers(z_where, z_what)[..., : self.config.channels, :, :]

    # The Pyro program.

    def sample_object(self, t: int, num: int) -> tuple[Tensor, Tensor]:
        """Sample the pose and the code of step t (from 0): (num, 3) and (num, what_dim)."""
        z_where, z_what = (
            pyro.sample(f"{name}_{t}", law.expand(torch.Size([num]) + law.batch_shape).to_event(1))
            for name, law in (("z_where", self.z_where_dist()), ("z_what", self.z_what_dist()))
        )
        return z_where, z_what

    def prior_step(self, t: int, previous: SceneState, continue_logits: Tensor) -> SceneState:
        """Draw the object of step t (from 0) on each canvas whose scene is not yet complete."""
        z_pres = pyro.sample(f"z_pres_{t}", presence(continue_logits, previous.z_pres))

        # A complete scene has no further objects. The program draws their latents all the
        # same, for the sake of the batch, so their log-probabilities are masked out.
        with poutine.mask(mask=z_pres.bool() if self.config.masking else True):
            z_where, z_what = self.sample_object(t, len(z_pres))
        layers = z_pres[:, None, None, None] * self.layers(z_where, z_what)
        return SceneState(self.paint(previous.canvas, layers), z_pres, z_where, z_what)

    def prior(self, num_scenes: int) -> list[SceneState]:
        """Sample scenes; return the state before the first step and after each of the T steps.

        Without a bound, after each until all scenes are complete.
        """
        size = (num_scenes, self.config.channels, *self.config.canvas_size)
        z_background, b = None, self.z_where_loc.new_zeros(size)
        if self.config.background_model != "none":
            law = self.z_background_dist().expand(
                torch.Size([num_scenes, self.background.latent_size])
            )
            z_background = pyro.sample("z_background", law.to_event(1))
            b = self.background(z_background)
        present = self.z_where_loc.new_ones(num_scenes)
        empty = self.empty(b, None if z_background is None else b)
        states = [SceneState(empty, present, z_background=z_background)]
        continue_logits = self.count_prior.continue_logits().to(self.z_where_loc)
        for t in range(self.config.max_steps):
            if self.config.unbounded and not states[-1].z_pres.any():
                break
            states.append(self.prior_step(t, states[-1], continue_logits[t]))
        return states

    def model(self, images: Tensor, batch_size: int | None = None) -> None:
        """Condition the prior on a mini-batch of images, as ``pyro.infer.SVI`` wants it.

        Args:
            images: (num_images, channels, height, width), uint8 or floats in [0, 1].
            batch_size: images in the mini-batch; the guide's plate draws it. All if None.
        """
        pyro.module("model", self)
        with pyro.plate("data", len(images), subsample_size=batch_size) as indices:
            batch = intensity(images[indices])
            canvas = self.prior(len(batch))[-1].x
            pyro.sample("x", self.x_dist(canvas), obs=batch)

    # Scenes one by one, without a bound on the number of objects (the tutorial's first prior).

    def prior_step_sketch(self, t: int) -> Tensor:
        """Sample one object and draw it: y, (1, channels, height, width)."""
        return self.draw(*self.sample_object(t, 1))

    def geom_prior(self, x: Tensor, stop_prob: float = 0.5, t: int = 0) -> Tensor:
        """Add a geometric number of objects to the canvas x, by recursion."""
        stop = pyro.sample(f"i_{t}", dist.Bernoulli(torch.tensor(stop_prob)))
        if stop:
            return x
        return self.geom_prior(x + self.prior_step_sketch(t), stop_prob, t + 1)


def geom(stop_prob: float = 0.5, num_trials: int = 0) -> int:
    """Sample the number of failures before the first success of Bernoulli trials."""
    if pyro.sample(f"x_{num_trials}", dist.Bernoulli(torch.tensor(stop_prob))):
        return num_trials
    return geom(stop_prob, num_trials + 1)
