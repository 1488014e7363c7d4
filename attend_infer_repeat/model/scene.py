"""The generative model: a scene is drawn object by object.

    for t = 1..T, while present:
        z_pres_t  ~ Bernoulli(P(n >= t | n >= t - 1))      so that n = sum_t z_pres_t ~ p(n)
        z_where_t ~ Normal(mean, sd)                       (s, x, y), or of any size: ``poses.py``
        z_what_t  ~ Normal(0, I)
        y_t       = object_to_image(z_where_t, decoder(z_what_t))
    x ~ Normal(composition of the y_t in front of b, likelihood_sd)

z_bg ~ Normal(0, I) comes first, and b = background(z_bg): see ``background.py``, and
``composition.py`` for the two ways to compose objects.

Source: Eslami et al. 2016, section 2; the order and names of the sites follow Pyro's tutorial.
"""

from __future__ import annotations

from typing import NamedTuple

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from torch import Tensor, nn

from ..config import ModelConfig
from ..distributions import gaussian, presence, standard_gaussian
from ..nn import Decoder
from ..spatial import object_to_image
from ..spatial.patches import Patches, paint
from ..spatial.places import gather, patches_pay, usual_size
from .background import Background, make_background
from .composition import COMPOSITIONS, Canvas, Composition
from .count_prior import CountPrior, make_count_prior
from .likelihood import PixelLikelihood, make_likelihood
from .poses import Poses, make_poses


def intensity(images: Tensor) -> Tensor:
    """Return images as floats in [0, 1]; uint8 is divided by 255, floats stay as they are."""
    return images.to(torch.get_default_dtype()) / 255 if images.dtype == torch.uint8 else images


class SceneState(NamedTuple):
    """What the model has drawn so far."""

    canvas: Canvas  # (batch, channels, height, width)
    z_pres: Tensor  # (batch,), 0 or 1
    z_where: Tensor | None = None  # (batch, 3); None before the first step
    z_what: Tensor | None = None  # (batch, what_dim)
    z_background: Tensor | None = None  # (batch, latent_size), of the first state

    @property
    def x(self) -> Tensor:
        """The image without noise, (batch, channels, height, width)."""
        return self.canvas.x


class SceneModel(nn.Module):
    """p(x, z): the Pyro program is the call, ``SVI(model, guide, ...)``.

    Args:
        config: sizes and hyper-parameters. Each part is what it says, unless one is handed in:
        decoder: z_what (..., what_dim) to windows (..., channels, h, w) of ``window_size``; with
            one channel more, the opacity in (0, 1), if the composition has opacities.
        composition, background, likelihood, count_prior, poses: see there.
    """

    z_where_loc: Tensor
    z_where_scale: Tensor

    def __init__(
        self,
        config: ModelConfig,
        *,
        decoder: nn.Module | None = None,
        composition: Composition | None = None,
        background: Background | None = None,
        likelihood: PixelLikelihood | None = None,
        count_prior: CountPrior | None = None,
        poses: Poses | None = None,
    ) -> None:
        super().__init__()
        self.config = config
        self.composition = (
            COMPOSITIONS[config.composition]() if composition is None else composition
        )
        self.likelihood = make_likelihood(config) if likelihood is None else likelihood
        self.count_prior = make_count_prior(config) if count_prior is None else count_prior
        # The order of these two decides which random numbers their weights start from.
        opacity = self.composition.has_opacity
        self.decoder = make_decoder(config, opacity) if decoder is None else decoder
        self.background = make_background(config) if background is None else background
        self.poses = make_poses(config.pose) if poses is None else poses
        mean, sd = self.poses.prior()
        self.register_buffer("z_where_loc", torch.tensor(mean))
        self.register_buffer("z_where_scale", torch.tensor(sd))

    # The generative story, a Pyro program.

    def forward(self, images: Tensor, batch_size: int | None = None) -> None:
        """Condition the prior on a mini-batch of images.

        Args:
            images: (num_images, channels, height, width), uint8 or floats in [0, 1].
            batch_size: images in the mini-batch; the guide's plate draws it. All if None.
        """
        pyro.module("model", self)
        with pyro.plate("data", len(images), subsample_size=batch_size) as indices:
            batch = intensity(images[indices])
            scene = self.prior(len(batch))[-1]
            pyro.sample("x", self.likelihood(scene.x), obs=batch)

    def prior(self, num_scenes: int) -> list[SceneState]:
        """Sample scenes; return the state before the first step and after each of the T steps.

        Without a bound, after each step until all scenes are complete.
        """
        z_background = self.background.sample(num_scenes)
        b = self.background(z_background)
        z_pres = self.z_where_loc.new_ones(num_scenes)
        states = [SceneState(self.composition.begin(b, b), z_pres, z_background=z_background)]
        continue_logits = self.count_prior.law.continue_logits().to(z_pres)
        for t in range(self.count_prior.max_count):
            if self.count_prior.is_complete(states[-1].z_pres):
                break
            states.append(self.prior_step(t, states[-1], continue_logits[t]))
        return states

    def prior_step(self, t: int, previous: SceneState, continue_logits: Tensor) -> SceneState:
        """Draw the object of step t (from 0) on each canvas whose scene is not yet complete."""
        z_pres = pyro.sample(f"z_pres_{t}", presence(continue_logits, previous.z_pres))

        # A complete scene has no further objects. The program draws their latents all the
        # same, for the sake of the batch, so their log-probabilities are masked out.
        with self.where_present(z_pres):
            z_where, z_what = self.sample_object(t, len(z_pres))
        layers = z_pres[:, None, None, None] * self.render(z_where, z_what)
        canvas = self.composition.add(previous.canvas, layers)
        return SceneState(canvas, z_pres, z_where, z_what)

    def sample_object(self, t: int, num: int) -> tuple[Tensor, Tensor]:
        """Sample the pose and the code of step t (from 0): (num, 3) and (num, what_dim)."""
        where, what = self.z_where_dist().expand([num, 3]), self.z_what_dist()
        z_where = pyro.sample(f"z_where_{t}", self.poses.law(where))
        z_what = pyro.sample(f"z_what_{t}", what.expand([num, *what.batch_shape]).to_event(1))
        return z_where, z_what

    def where_present(self, z_pres: Tensor) -> poutine.mask:
        """Return the context in which log-probabilities count for present objects alone."""
        return poutine.mask(mask=z_pres.bool() if self.config.masking else True)

    # What it is made of: the laws and the renderer.

    def z_where_dist(self) -> dist.Normal:
        """p(z_where_t), of its coordinates, batch shape (3,): ``poses.py``."""
        return gaussian(self.z_where_loc, self.z_where_scale)

    def z_what_dist(self) -> dist.Normal:
        """p(z_what_t), batch shape (what_dim,)."""
        return standard_gaussian(self.config.appearance.encoder_latent_size, self.z_where_loc)

    def x_dist(self, canvas: Tensor) -> dist.Distribution:
        """p(x | canvas), batch shape (...) for a canvas of (..., channels, height, width)."""
        return self.likelihood(canvas)

    def log_likelihood(self, residual: Tensor) -> Tensor:
        """Return log p(x | canvas), (...), for x - canvas: (..., channels, height, width)."""
        return self.likelihood.log_prob(residual)

    def render(self, z_where: Tensor, z_what: Tensor, sign: int = 1) -> Tensor:
        """Render one object per pose and code, each by itself, for ``composition.add``.

        Args:
            z_where: (..., 3), rows (s, x, y).
            z_what: (..., what_dim).
            sign: -1 renders the negative, which takes the object away from a residual.
        Returns: sign * y, (..., channels, height, width); of objects with opacity sign * (o y, o),
            with one channel more.
        """
        windows = self.windows(z_what)
        windows = windows if sign == 1 else -windows
        return object_to_image(z_where, windows, self.config.canvas_size)

    def take_away(
        self, residual: Canvas, z_where: Tensor, z_what: Tensor, z_pres: Tensor | None = None
    ) -> Canvas:
        """Take one object away from each residual; none where z_pres, (batch,), is 0."""
        layers = self.render(z_where, z_what, -1)
        layers = layers if z_pres is None else z_pres[:, None, None, None] * layers
        return self.composition.add(residual, layers, -1)

    def gain(self, residual: Canvas, z_where: Tensor, z_what: Tensor) -> Tensor:
        """Return what one more object adds to log p(x | objects): (num,), nats.

        Args:
            residual: of the images, without it.
            z_where: (num, 3).
            z_what: (num, what_dim).
        """
        if self.adds_energies(z_where):
            energy = z_where.new_zeros(len(z_where))
            for rows, y, place in self.paint(z_where, self.windows(z_what)):
                on = residual.rows if rows is None else residual.select(rows).rows
                r = gather(residual.x, place.addresses(residual.x, on))
                change = (y * (y - 2 * r)).sum(dim=(1, 2, 3))
                energy = change if rows is None else energy.index_copy(0, rows, change)
            return self.likelihood.of_energy(energy, 0)
        residual = residual.of_rows()
        after = self.take_away(residual, z_where, z_what)
        return self.log_likelihood(after.x) - self.log_likelihood(residual.x)

    def adds_energies(self, like: Tensor) -> bool:
        """Whether objects are painted on patches, and their energies added up.

        So it is where objects add up, log p(x | canvas) is known by the energy of x - canvas, and
        patches pay on the device of a tensor ``like``.
        """
        canvas_size, window = self.config.canvas_size, self.config.appearance.window_size
        usual = usual_size(canvas_size, (1 + 1 / window,) * 2, self.config.pose.usual_scale)
        return self.is_of_energy and patches_pay(like, canvas_size, usual)

    @property
    def is_of_energy(self) -> bool:
        """Whether objects add up, and log p(x | canvas) is known by the energy of x - canvas."""
        return self.composition.adds_up and self.likelihood.is_of_energy

    def windows(self, z_what: Tensor) -> Tensor:
        """Return what is rendered of codes (..., what_dim): (..., channels, h, w)."""
        return self.composition.layers(self.decoder(z_what))

    def paint(self, z_where: Tensor, windows: Tensor) -> list[Patches]:
        """Render windows, one per pose (num, 3), on patches of the canvas: ``patches.paint``."""
        return paint(z_where, windows, self.config.canvas_size, self.config.pose.usual_scale)

    def draw(self, z_where: Tensor, z_what: Tensor) -> Tensor:
        """Draw one object per pose and code on a black canvas of its own.

        Args:
            z_where: (..., 3), rows (s, x, y).
            z_what: (..., what_dim).
        Returns: y, (..., channels, height, width); o y of objects with opacity.
        """
        return self.render(z_where, z_what)[..., : self.config.channels, :, :]

    def partial_canvases(
        self, z_where: Tensor, z_what: Tensor, z_background: Tensor | None = None
    ) -> Tensor:
        """Draw scenes object by object.

        Args:
            z_where: (..., T, 3), rows (s, x, y).
            z_what: (..., T, what_dim).
            z_background: (..., latent_size), of what is behind them; black if None.
        Returns: the canvases after n = 0..T objects, (..., T + 1, channels, height, width).
        """
        layers = self.render(z_where, z_what)
        if z_background is None:
            b = layers.new_zeros(*z_where.shape[:-2], *self.background.shape)
        else:
            b = self.background(z_background)
        canvases = [self.composition.begin(b, b)]
        for layer in layers.unbind(dim=-4):
            canvases.append(self.composition.add(canvases[-1], layer))
        return torch.stack([canvas.x for canvas in canvases], dim=-4)


def make_decoder(config: ModelConfig, opacity: bool) -> Decoder:
    """Return the decoder of a config, with an opacity beside the channels if need be."""
    return Decoder(
        config.appearance.encoder_latent_size,
        config.appearance.decoder_net,
        (config.channels + opacity, config.appearance.window_size, config.appearance.window_size),
        config.non_linearity,
        config.appearance.decoder_output_bias,
        config.appearance.decoder_output_use_sigmoid,
        opacity=opacity,
    )
