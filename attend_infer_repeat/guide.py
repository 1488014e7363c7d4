"""The inference network: an image is read object by object.

    for t = 1..T, while present:
        r_t       = x - (y_1 + .. + y_{t-1})        what is not yet drawn
        h_t       = LSTM(x, z_where_{t-1}, z_what_{t-1}, z_pres_{t-1}; h_{t-1})
        p_t       = propose(r_t, h_t)               a place to look at
        a_t       = predict(glimpse of r_t around p_t, h_t)
        z_pres_t  ~ Bernoulli(p(a_t))
        z_where_t ~ Normal(p_t + mean(a_t), sd(a_t))
        z_what_t  ~ Normal(mean(w_t), sd(w_t)),     w_t = image_to_object(z_where_t, x)

That is the residual guide; its LSTM sees x, and ``propose`` sees r_t, shrunk to a window's size.
The pursuit guide does not learn where to look: p_t is where a window of the prior's mean size holds
most of r_t's energy, as in matching pursuit (Mallat and Zhang 1993). The improved guide looks
nowhere before it decides: a_t = predict(h_t), and p_t is the prior's mean. The basic guide moreover
reads z_what_t from h_t, not from w_t, and its LSTM sees only x.

A proposed place p_t is learned apart from the ELBO: it is data to all that follows, and is moved to
where the object was then found, the mean of z_where_t. Were it moved by the ELBO, or the LSTM
through it, windows would drift off their objects.

Source: Eslami et al. 2016, section 2.1 and figure 3; Pyro's tutorial for the basic and the improved
guide. The glimpse of the residual, proposed or pursued, is ours.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from torch import Tensor, nn

from .config import ModelConfig
from .distributions import gaussian, positive, presence
from .model import intensity
from .networks import MLP, Embedding, GaussianNetwork, ImageLSTM
from .spatial import Seek, Shrink, image_to_object

if TYPE_CHECKING:
    from .baseline import Baseline

GLIMPSE = 2  # width of the glimpse in widths of the proposed window
# The place is learned at a fifth of the pace of what is decided there (Adam's steps have one size).
# Each is relative to the other: at one pace the place chases the decision's errors, without end.
PACE = 0.2


class GuideState(NamedTuple):
    """What the guide has found so far; at the start one row may stand for all images."""

    memory: tuple[Tensor, Tensor]  # the LSTM's (h, c), each (batch, rnn_hidden_size)
    z_pres: Tensor  # (batch,), 0 or 1
    z_where: Tensor  # (batch, 3)
    z_what: Tensor  # (batch, what_dim)
    residual: Tensor  # (batch, channels, height, width), r_t: the image minus what is drawn


class Attention(NamedTuple):
    """What a step decides before it looks at the window."""

    memory: tuple[Tensor, Tensor]  # the LSTM's (h, c), each (batch, rnn_hidden_size)
    z_pres_logits: Tensor  # (batch,)
    z_where_dist: dist.Normal  # (batch, 3)
    place: Tensor  # (batch, 3), the proposed pose p_t


class Path(NamedTuple):
    """The guide's walk along 'every object is present', all that q(z | x) needs for any count."""

    z_pres_logits: Tensor  # (batch, steps), log-odds of q(z_pres_t = 1 | z_pres_{t-1} = 1, path)
    z_where_dist: dist.Normal  # (batch, steps, 3)
    z_what_dist: dist.Normal  # (batch, steps, what_dim)
    z_where: Tensor  # (batch, steps, 3)
    z_what: Tensor  # (batch, steps, what_dim)
    places: Tensor  # (batch, steps, 3), the proposed poses p_t
    residuals: tuple[Tensor, ...]  # T + 1 of (batch, channels, height, width), after n objects
    log_likelihood: Tensor  # (batch, T + 1), log p(x | the first n objects)


class SceneGuide(nn.Module):
    """q(z | x), as a Pyro program and as the laws that it is made of.

    Args:
        config: sizes, and which guide it is.
        z_where_prior: p(z_where_t), batch shape (3,); poses are predicted relative to it.
        draw: ``SceneModel.draw``, which draws the objects that have been found.
        log_likelihood: ``SceneModel.log_likelihood``, of what is not yet drawn.
    """

    z_where_loc: Tensor
    z_where_scale: Tensor

    def __init__(
        self,
        config: ModelConfig,
        z_where_prior: dist.Normal,
        draw: Callable[..., Tensor],
        log_likelihood: Callable[[Tensor], Tensor],
    ) -> None:
        super().__init__()
        self.config = config
        self.draw = draw
        self.log_likelihood = log_likelihood
        self.basic = config.guide == "basic"
        self.residual = config.guide in ("residual", "pursuit")
        self.proposes = config.guide == "residual"
        self.window_size = (config.window_size, config.window_size)
        self.what_dim, activation = config.encoder_latent_size, config.non_linearity
        window = config.channels * config.window_size**2
        seen = window if self.residual else config.channels * math.prod(config.canvas_size)
        self.embed = Embedding(seen, config.embed_net, activation)
        self.rnn = ImageLSTM(
            self.embed.out_size, 0 if self.basic else 3 + self.what_dim + 1, config.rnn_hidden_size
        )
        num_features = config.rnn_hidden_size + (window if self.residual else 0)
        if self.residual:
            self.shrink = Shrink(config.canvas_size, self.window_size)
        if self.proposes:
            self.propose = MLP([num_features, *config.propose_net, 3], activation)
        elif self.residual:
            self.seek = Seek(config.canvas_size, config.scale_prior_mean)
        self.predict = MLP([num_features, *config.predict_net, 1 + 2 * 3], activation)
        self.encode = GaussianNetwork(
            config.rnn_hidden_size if self.basic else window,
            config.encoder_net,
            self.what_dim,
            activation,
        )
        if not self.basic:  # whose LSTM reads neither
            self.z_where_init = nn.Parameter(torch.zeros(3))
            self.z_what_init = nn.Parameter(torch.zeros(self.what_dim))
        self.register_buffer("z_where_loc", z_where_prior.loc.clone())
        self.register_buffer("z_where_scale", z_where_prior.scale.clone())

    # The laws.

    def start(self, images: Tensor) -> tuple[Tensor, GuideState]:
        """Look at the images once; return the image's share of the LSTM's gates and the state.

        Before the first step that is one state for all images, but for the residual: one row.
        """
        if self.basic:
            z_where, z_what = images.new_zeros(1, 3), images.new_zeros(1, self.what_dim)
        else:
            z_where, z_what = self.z_where_init[None], self.z_what_init[None]
        seen = self._shrunk(images) if self.residual else images.flatten(1)
        return self.rnn.look(self.embed(seen)), GuideState(
            memory=self.rnn.start(),
            z_pres=images.new_ones(1),
            z_where=z_where,
            z_what=z_what,
            residual=images,
        )

    def attend(self, gates: Tensor, previous: GuideState) -> Attention:
        """Advance the LSTM; decide whether there is one more object, and where.

        The pose is predicted relative to the place, the place relative to the prior: an untrained
        guide starts near the prior.
        """
        features = step_features(previous)
        memory = self.rnn(gates, features[:, :0] if self.basic else features, previous.memory)
        seen, place = memory[0], self.z_where_loc.expand(len(gates), -1)
        if self.residual:
            # What is drawn is data, as the image is: its gradient would flow to earlier samples.
            place, glimpse = self._look(previous.residual.detach(), memory[0])
            seen = torch.cat((glimpse, memory[0]), dim=-1)
        logits, loc, scale = self.predict(seen).split((1, 3, 3), dim=-1)
        z_where_dist = gaussian(place.detach() + loc, self.z_where_scale * positive(scale))
        return Attention(memory, logits[:, 0], z_where_dist, place)

    def _look(self, residual: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Find a place, (batch, 3), and take a glimpse there, (batch, channels * window**2)."""
        if self.proposes:
            offset = self.propose(torch.cat((self._shrunk(residual), h.detach()), dim=-1))
            place = self.z_where_loc + PACE * self.z_where_scale * offset
        else:
            place = self.seek(residual)
        # Divided as a whole, (s, x, y) keeps its centre -(x, y) / s and looks further around.
        return place, self._window(place.detach() / GLIMPSE, residual, GLIMPSE)

    def place_error(self, place: Tensor, z_where_dist: dist.Normal) -> Tensor:
        """Return the squared distance of a place to where the object was found.

        Args:
            place: (..., 3), p_t.
            z_where_dist: (..., 3), q(z_where_t); its mean is the target, not moved by this.
        Returns: (...), in squared standard deviations of the prior.
        """
        return ((place - z_where_dist.mean.detach()) / self.z_where_scale).square().sum(dim=-1)

    def read(self, images: Tensor, z_where: Tensor, memory: tuple[Tensor, Tensor]) -> dist.Normal:
        """Return q(z_what | window at z_where), or q(z_what | h) of the basic guide."""
        if self.basic:
            return self.encode(memory[0])
        return self.encode(self._window(z_where, images))

    def _shrunk(self, images: Tensor) -> Tensor:
        """Show the whole canvas in a window, flat: (batch, channels * window_size**2)."""
        return self.shrink(images).flatten(1)

    def _window(self, z_where: Tensor, images: Tensor, reach: int = 1) -> Tensor:
        """Cut the windows out, flat: (batch, channels * window_size**2)."""
        return image_to_object(z_where, images, self.window_size, reach).flatten(1)

    def noise(self, num_images: int) -> Tensor:
        """Draw what a walk needs, at once: (num_images, steps, 3 + what_dim), from N(0, 1)."""
        shape = num_images, self.config.model_steps, 3 + self.what_dim
        return torch.randn(shape, dtype=self.z_where_loc.dtype, device=self.z_where_loc.device)

    def path(self, images: Tensor, sample: bool = True, noise: Tensor | None = None) -> Path:
        """Walk T steps as if every object were present.

        Args:
            images: (batch, channels, height, width), intensity.
            sample: draw z_where and z_what, or take their means.
            noise: what ``noise`` drew for these images; drawn now if None. The draws are
                reparametrised: mean + sd * noise.
        """
        if sample and noise is None:
            noise = self.noise(len(images))

        def draw(law: dist.Normal, t: int, latents: slice) -> Tensor:
            if noise is None:
                return law.mean
            return torch.addcmul(law.loc, law.scale, noise[:, t, latents])

        gates, state = self.start(images)
        present = images.new_ones(len(images))
        steps, residuals, log_likelihood = [], [images], [self.log_likelihood(images)]

        def take_away(negative: Tensor) -> None:
            # Added, since a difference's gradient would pass over the canvas once more. And the
            # likelihood of each count is read at once, while the residual is in the cache.
            residuals.append(residuals[-1] + negative)
            log_likelihood.append(self.log_likelihood(residuals[-1]))

        for t in range(self.config.model_steps):
            memory, logits, z_where_dist, place = self.attend(gates, state)
            z_where = draw(z_where_dist, t, slice(3))
            z_what_dist = self.read(images, z_where, memory)
            z_what = draw(z_what_dist, t, slice(3, None))
            if self.residual:
                take_away(self.draw(z_where, z_what, -1))
            state = GuideState(memory, present, z_where, z_what, residuals[-1])
            laws = (*_parameters(z_where_dist), *_parameters(z_what_dist))
            steps.append((logits, *laws, z_where, z_what, place))
        logits, where_loc, where_scale, what_loc, what_scale, z_where, z_what, places = (
            torch.stack(values, dim=1) for values in zip(*steps, strict=True)
        )
        if not self.residual:  # no step looks at them: all objects at once
            for negative in self.draw(z_where, z_what, -1).unbind(dim=1):
                take_away(negative)
        return Path(
            logits,
            gaussian(where_loc, where_scale),
            gaussian(what_loc, what_scale),
            z_where,
            z_what,
            places,
            tuple(residuals),
            torch.stack(log_likelihood, dim=1),
        )

    # The Pyro program.

    def guide_step(
        self, t: int, images: Tensor, gates: Tensor, previous: GuideState, baseline: Tensor | None
    ) -> GuideState:
        """Find the object of step t (from 0) in each image that is not yet explained."""
        memory, logits, z_where_dist, place = self.attend(gates, previous)
        infer = {} if baseline is None else {"baseline": {"baseline_value": baseline}}
        z_pres = pyro.sample(f"z_pres_{t}", presence(logits, previous.z_pres), infer=infer)
        with poutine.mask(mask=z_pres.bool() if self.config.masking else True):
            z_where = pyro.sample(f"z_where_{t}", z_where_dist.to_event(1))
            z_what = pyro.sample(f"z_what_{t}", self.read(images, z_where, memory).to_event(1))
            if self.proposes:
                # Zero, so that it is no part of the ELBO, with the gradient that moves the place.
                error = self.place_error(place, z_where_dist)
                pyro.factor(f"place_{t}", error - error.detach(), has_rsample=True)
        residual = previous.residual
        if self.residual:  # the others never look at it
            residual = residual - z_pres[:, None, None, None] * self.draw(z_where, z_what)
        return GuideState(memory, z_pres, z_where, z_what, residual)

    def guide(
        self, images: Tensor, batch_size: int | None = None, baseline: Baseline | None = None
    ) -> list[GuideState]:
        """Sample the latents of a mini-batch of images, as ``pyro.infer.SVI`` wants it.

        Args:
            images: (num_images, channels, height, width), uint8 or floats in [0, 1].
            batch_size: images in the mini-batch, drawn without replacement. All if None.
            baseline: reduces the variance of the gradient of the discrete choices z_pres.
        Returns: the state after each of the T steps.
        """
        pyro.module("guide", self)
        if baseline is not None:
            pyro.module("baseline", baseline)
        with pyro.plate("data", len(images), subsample_size=batch_size) as indices:
            batch = intensity(images[indices])
            gates, state = self.start(batch)
            predict_rest = baseline.begin(batch) if baseline is not None else lambda state: None
            states = []
            for t in range(self.config.model_steps):
                state = self.guide_step(t, batch, gates, state, predict_rest(state))
                states.append(state)
        return states


def step_features(state: GuideState) -> Tensor:
    """Return what a step tells the next one: (batch, 3 + what_dim + 1)."""
    return torch.cat((state.z_where, state.z_what, state.z_pres[:, None]), dim=-1)


def _parameters(law: dist.Normal) -> tuple[Tensor, Tensor]:
    return law.loc, law.scale
