"""The inference network: an image is read object by object.

    for t = 1..T, while present:
        r_t       = x - (y_1 + .. + y_{t-1})        what is not yet drawn
        h_t       = LSTM(x, z_where_{t-1}, z_what_{t-1}, z_pres_{t-1}; h_{t-1})
        p_t       = propose(r_t, h_t)               a place to look at
        a_t       = predict(glimpse of r_t around p_t, h_t)
        z_pres_t  ~ Bernoulli(p(a_t))
        z_where_t ~ Normal(p_t + mean(a_t), sd(a_t))
        z_what_t  ~ Normal(mean(w_t), sd(w_t)),     w_t = image_to_object(z_where_t, x)

Where images have a background, z_bg ~ Normal(mean, sd)(x) comes first, and x stands for x - b.

That is the residual guide; its LSTM sees x, and ``propose`` sees r_t, shrunk to a window's size.
The pursuit guide does not learn where to look: p_t is where a window of the prior's mean size holds
most of r_t's energy, as in matching pursuit (Mallat and Zhang 1993). The memoryless guide does so,
too, and in place of h_t it sees x: a_t = predict(glimpses of r_t and of x around p_t). What is left
is all that it knows of earlier steps, so that it does not learn when to expect the last object, and
goes on where there are more than it ever saw. The improved guide looks nowhere before it decides:
a_t = predict(h_t), and p_t is the prior's mean. The basic guide moreover
reads z_what_t from h_t, not from w_t.

With foresight, a guide that looks at r_t leaves z_pres_t to what an object would be worth there:

        z_pres_t ~ Bernoulli(sigmoid((worth_t + log p(n + 1) / p(n)) / 5))
        worth_t  = log p(x | y_1, .., y_{t-1}, y') - log p(x | y_1, .., y_{t-1})
                   - KL(q(z_where_t) || p(z_where)) - KL(q(z_what_t) || p(z_what)),

y' being the object at the means of z_where_t and z_what_t. Of the last object, the ELBO is largest
at E[worth_t] + log p(n + 1) / p(n); the 5 is how far to trust one value of worth_t, and nothing is
learned. A network decides before it has seen the object, and takes two digits that touch for one,
where the second would be worth a hundred nats. worth_t is of x and of earlier latents, so that
q(z | x) is a guide as before. Gradients take it for data, as they do r_t: a stop-gradient. So the
gradient of the ELBO is biased: it lacks what flows through worth_t to the decoder, to the encoder
and to the pose, and poses and codes serve the image alone, not the decision.

A proposed place p_t is learned apart from the ELBO: it is data to all that follows, and is moved to
where the object was then found, the mean of z_where_t. Were it moved by the ELBO, or the LSTM
through it, windows would drift off their objects.

Source: Eslami et al. 2016, section 2.1 and figure 3; Pyro's tutorial for the basic and the improved
guide. The glimpse of the residual, proposed or pursued, is ours, as is the guide without a memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from torch import Tensor, nn

from ..distributions import (
    gaussian,
    gaussian_kl,
    positive,
    presence,
)
from ..model import Canvas, SceneModel, intensity
from ..model.background import background_size
from ..nn import MLP, Embedding, GaussianNetwork, ImageLSTM
from ..rollout import Path, Remainder, Walk
from ..spatial import Seek, Shrink, image_to_object

if TYPE_CHECKING:
    from .baseline import Baseline

GLIMPSE = 2  # width of the glimpse in widths of the proposed window
# The place is learned at a fifth of the pace of what is decided there (Adam's steps have one size).
# Each is relative to the other: at one pace the place chases the decision's errors, without end.
PACE = 0.2
DOUBT = 5.0  # nats; worth_t is of the means and of one object: about so far it is not to be trusted


class GuideState(NamedTuple):
    """What the guide has found so far; at the start one row may stand for all images."""

    memory: tuple[Tensor, Tensor]  # the LSTM's (h, c), each (batch, rnn_hidden_size), 0 without it
    image: Tensor  # (batch, channels, height, width), x
    z_pres: Tensor  # (batch,), 0 or 1
    z_where: Tensor  # (batch, 3)
    z_what: Tensor  # (batch, what_dim)
    left: Canvas  # (batch, channels, height, width), r_t: the image minus what is drawn


class Attention(NamedTuple):
    """What a step decides before it looks at the window."""

    memory: tuple[Tensor, Tensor]  # the LSTM's (h, c), each (batch, rnn_hidden_size)
    z_pres_logits: Tensor  # (batch,)
    z_where_dist: dist.Normal  # (batch, 3)
    place: Tensor  # (batch, 3), the proposed pose p_t


class SceneGuide(nn.Module):
    """q(z | x), as a Pyro program and as the laws that it is made of.

    Args:
        model: p(x, z), of the same sizes; it draws what has been found, and poses are predicted
            relative to its prior. Its parameters are not the guide's.
    """

    model: SceneModel

    z_where_loc: Tensor
    z_where_scale: Tensor

    def __init__(self, model: SceneModel) -> None:
        super().__init__()
        object.__setattr__(self, "model", model)  # no submodule
        self.config = config = model.config
        self.basic = config.guide == "basic"
        self.remembers = config.guide != "memoryless"
        self.residual = config.looks_at_rest
        self.proposes = config.guide == "residual"
        self.window_size = (config.window_size, config.window_size)
        self.what_dim, activation = config.encoder_latent_size, config.non_linearity
        window = config.channels * config.window_size**2
        num_features = window if self.residual else 0
        if self.remembers:
            seen = window if self.residual else config.channels * math.prod(config.canvas_size)
            self.embed = Embedding(seen, config.embed_net, activation)
            step_size = 3 + self.what_dim + 1
            self.rnn = ImageLSTM(self.embed.out_size, step_size, config.rnn_hidden_size)
            num_features += config.rnn_hidden_size
        else:
            num_features += window
        if self.residual and self.remembers:
            self.shrink = Shrink(config.canvas_size, self.window_size)
        if self.proposes:
            self.propose = MLP([num_features, *config.propose_net, 3], activation)
        elif self.residual:
            self.seek = Seek(config.canvas_size, config.scale_prior_mean, config.focus)
        self.num_logits = 0 if config.foresight else 1
        self.predict = MLP([num_features, *config.predict_net, self.num_logits + 2 * 3], activation)
        self.encode = GaussianNetwork(
            config.rnn_hidden_size if self.basic else window,
            config.encoder_net,
            self.what_dim,
            activation,
        )
        if config.background_model != "none":
            pixels = config.channels * math.prod(config.canvas_size)
            size = background_size(config)
            self.look_behind = GaussianNetwork(pixels, config.background_net, size, activation)
        if self.remembers:
            self.z_where_init = nn.Parameter(torch.zeros(3))
            self.z_what_init = nn.Parameter(torch.zeros(self.what_dim))
        z_where_prior = model.z_where_dist()
        self.register_buffer("z_where_loc", z_where_prior.loc.clone())
        self.register_buffer("z_where_scale", z_where_prior.scale.clone())

    # The laws.

    def behind(self, images: Tensor) -> dist.Normal:
        """Return q(z_bg | x), (batch, latent_size), of a model with backgrounds."""
        return self.look_behind(images.flatten(1))

    def start(
        self, images: Tensor, z_background: Tensor | None = None
    ) -> tuple[Tensor, GuideState]:
        """Look at the images once; return the image's share of the LSTM's gates and the state.

        Before the first step that is one state for all images, but for what is left: one row. Where
        there is a background, all that follows sees the image without it.
        """
        canvas = self.model.empty(images)
        if z_background is not None:
            background = self.model.background(z_background)
            canvas = self.model.empty(images - background, background)
            images = canvas.x.detach()
        if not self.remembers:
            z_where, z_what = images.new_zeros(1, 3), images.new_zeros(1, self.what_dim)
        else:
            z_where, z_what = self.z_where_init[None], self.z_what_init[None]
        if self.remembers:
            seen = self._shrunk(images) if self.residual else images.flatten(1)
            gates, memory = self.rnn.look(self.embed(seen)), self.rnn.start()
        else:
            gates = images.new_zeros(len(images), 0)
            memory = gates[:1], gates[:1]
        return gates, GuideState(
            memory=memory,
            image=images,
            z_pres=images.new_ones(1),
            z_where=z_where,
            z_what=z_what,
            left=canvas,
        )

    def attend(self, gates: Tensor, previous: GuideState) -> Attention:
        """Advance the LSTM; decide whether there is one more object, and where.

        The pose is predicted relative to the place, the place relative to the prior: an untrained
        guide starts near the prior.
        """
        if self.remembers:
            memory = self.rnn(gates, step_features(previous), previous.memory)
        else:
            memory = gates, gates
        seen, place = memory[0], self.z_where_loc.expand(len(gates), -1)
        if self.residual:
            # What is drawn is data, as the image is: its gradient would flow to earlier samples.
            place, glimpse = self._look(previous.left.x.detach(), memory[0])
            beside = memory[0] if self.remembers else self._glimpse(place, previous.image)
            seen = torch.cat((glimpse, beside), dim=-1)
        logits, loc, scale = self.predict(seen).split((self.num_logits, 3, 3), dim=-1)
        z_where_dist = gaussian(place.detach() + loc, self.z_where_scale * positive(scale))
        if self.config.foresight:
            # log p(n + 1) / p(n); at the bound of the raw prior that is -log(1 - p) more.
            price = self.model.count_prior.success.detach().log()
            worth = self.worth(previous, z_where_dist, memory)
            z_pres_logits = (worth + price.to(worth)) / DOUBT
        else:
            z_pres_logits = logits[:, 0]
        return Attention(memory, z_pres_logits, z_where_dist, place)

    @torch.no_grad()
    def worth(
        self, previous: GuideState, z_where_dist: dist.Normal, memory: tuple[Tensor, Tensor]
    ) -> Tensor:
        """Return what one more object would add to the ELBO but for p(n): worth_t, (batch,), nats.

        No gradient passes through it, so that the ELBO's is biased: see the head of this file.

        Args:
            previous: what is found so far.
            z_where_dist: (batch, 3), q(z_where_t); the object is put at its mean.
            memory: the LSTM's.
        """
        z_what_dist = self.read(previous.image, z_where_dist.loc, memory)
        layers = self.model.layers(z_where_dist.loc, z_what_dist.loc, -1)
        left = self.model.paint(previous.left, layers, -1)
        before, after = (self.model.log_likelihood(c.x) for c in (previous.left, left))
        kl_where = gaussian_kl(z_where_dist, self.model.z_where_dist()).sum(dim=-1)
        kl_what = gaussian_kl(z_what_dist, self.model.z_what_dist()).sum(dim=-1)
        return after - before - kl_where - kl_what

    def _look(self, residual: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        """Find a place, (batch, 3), and take a glimpse there, (batch, channels * window**2)."""
        if self.proposes:
            offset = self.propose(torch.cat((self._shrunk(residual), h.detach()), dim=-1))
            place = self.z_where_loc + PACE * self.z_where_scale * offset
        else:
            place = self.seek(residual)
        return place, self._glimpse(place, residual)

    def _glimpse(self, place: Tensor, images: Tensor) -> Tensor:
        """Look at images around a place, further than a window: (batch, channels * window**2)."""
        # Divided as a whole, (s, x, y) keeps its centre -(x, y) / s and looks further around.
        return self._window(place.detach() / GLIMPSE, images, GLIMPSE)

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
        """Draw what a walk needs, at once: (num_images,) + noise_shape, from N(0, 1)."""
        return self._draws(num_images, *self.noise_shape)

    @property
    def noise_shape(self) -> tuple[int, int]:
        """(rows, numbers): a row for each step, with the numbers of z_where and z_what.

        An unbounded walk has one more number in each, by which it is decided who goes on; and where
        there are backgrounds, the rows after the steps' are those of z_bg.
        """
        numbers = 3 + self.what_dim + self.config.unbounded
        behind = math.ceil(background_size(self.config) / numbers)
        return self.config.max_steps + behind, numbers

    def _noise_behind(self, images: Tensor, noise: Tensor | None) -> Tensor:
        size = background_size(self.config)
        if noise is None:
            return self._draws(len(images), size)
        return noise[:, self.config.max_steps :].flatten(1)[:, :size]

    def _draws(self, *shape: int) -> Tensor:
        like = self.z_where_loc
        return torch.randn(shape, dtype=like.dtype, device=like.device)

    def path(
        self,
        images: Tensor,
        sample: bool = True,
        noise: Tensor | None = None,
        *,
        counts: Tensor | None = None,
        explore: float = 0.0,
        roulette: bool = False,
    ) -> Path:
        """Walk as if every object were present: T steps, or without a bound as many as it takes.

        Without a bound an image leaves the walk once hardly any probability is left for one more
        object: see ``rollout/rollout.py``.

        Args:
            images: (batch, channels, height, width), intensity.
            sample: draw z_where and z_what, or take their means.
            noise: what ``noise`` drew for these images; drawn now if None. The draws are
                reparametrised: mean + sd * noise.
            counts: (batch,), the steps to take with an image whose count is known, -1 elsewhere;
                without a bound only.
            explore: see ``Path.log_q``; it decides who goes on.
            roulette: leave the walk by chance, so that sums over n keep their means; else for
                certain. It needs ``sample``.
        """
        if sample and noise is None and not self.config.unbounded:
            noise = self.noise(len(images))
        behind = z_background = None
        if self.config.background_model != "none":
            behind = self.behind(images)
            draws = self._noise_behind(images, noise) if sample else None
            z_background = _draw(behind, draws, slice(None))
        gates, state = self.start(images, z_background)
        walk = Walk(len(images), counts, explore, roulette)
        left, foreground = state.left, state.image
        residuals = [Remainder(None, left.x)]
        log_likelihood = [self.model.log_likelihood(left.x)]
        choices, steps = [], []

        def take_away(negative: Tensor) -> None:
            # Added, since a difference's gradient would pass over the canvas once more. And the
            # likelihood of each count is read at once, while the residual is in the cache.
            nonlocal left
            left = self.model.paint(left, negative, -1)
            residuals.append(Remainder(walk.rows, left.x))
            log_likelihood.append(walk.spread(self.model.log_likelihood(left.x)))

        for t in range(self.config.max_steps):
            memory, logits, z_where_dist, place = self.attend(gates, state)
            choices.append(walk.spread(logits))
            draws = None
            if sample:
                draws = (
                    self._draws(walk.size, self.noise_shape[1])
                    if noise is None
                    else walk.of_rows(noise[:, t])
                )
            if self.config.unbounded:
                going = walk.choose(t, logits, draws)
                if walk.size == 0:
                    break
                if going is not None:
                    h, c = memory
                    memory = h[going], c[going]
                    z_where_dist = gaussian(z_where_dist.loc[going], z_where_dist.scale[going])
                    gates, place, foreground = gates[going], place[going], foreground[going]
                    left = left.of_rows(going)
                    draws = None if draws is None else draws[going]
            z_where = _draw(z_where_dist, draws, slice(3))
            z_what_dist = self.read(foreground, z_where, memory)
            z_what = _draw(z_what_dist, draws, slice(3, 3 + self.what_dim))
            if self.residual or self.config.unbounded:
                take_away(self.model.layers(z_where, z_what, -1))
            present = z_where.new_ones(walk.size)
            state = GuideState(memory, foreground, present, z_where, z_what, left)
            means = walk.spread(torch.cat((z_where_dist.loc, z_what_dist.loc), dim=-1))
            sds = walk.spread(torch.cat((z_where_dist.scale, z_what_dist.scale), dim=-1), fill=1.0)
            values = walk.spread(torch.cat((z_where, z_what, place), dim=-1))
            steps.append((means, sds, values))
        else:
            if self.config.unbounded:
                walk.cut_off(self.config.step_limit)
        means, sds, values = (torch.stack(parts, dim=1) for parts in zip(*steps, strict=True))
        z_where, z_what, places = values.split((3, self.what_dim, 3), dim=-1)
        if not (self.residual or self.config.unbounded):  # no step looks: all objects at once
            for negative in self.model.layers(z_where, z_what, -1).unbind(dim=1):
                take_away(negative)
        return Path(
            torch.stack(choices, dim=1),
            gaussian(means[..., :3], sds[..., :3]),
            gaussian(means[..., 3:], sds[..., 3:]),
            z_where,
            z_what,
            places,
            tuple(residuals),
            torch.stack(log_likelihood, dim=1),
            walk.weights() if self.config.unbounded else None,
            behind,
            z_background,
        )

    # The Pyro program.

    def guide_step(
        self, t: int, gates: Tensor, previous: GuideState, baseline: Tensor | None
    ) -> GuideState:
        """Find the object of step t (from 0) in each image that is not yet explained."""
        memory, logits, z_where_dist, place = self.attend(gates, previous)
        infer = {} if baseline is None else {"baseline": {"baseline_value": baseline}}
        z_pres = pyro.sample(f"z_pres_{t}", presence(logits, previous.z_pres), infer=infer)
        with poutine.mask(mask=z_pres.bool() if self.config.masking else True):
            z_where = pyro.sample(f"z_where_{t}", z_where_dist.to_event(1))
            z_what = pyro.sample(
                f"z_what_{t}", self.read(previous.image, z_where, memory).to_event(1)
            )
            if self.proposes:
                # Zero, so that it is no part of the ELBO, with the gradient that moves the place.
                error = self.place_error(place, z_where_dist)
                pyro.factor(f"place_{t}", error - error.detach(), has_rsample=True)
        left = previous.left
        if self.residual:  # the others never look at it
            negative = z_pres[:, None, None, None] * self.model.layers(z_where, z_what, -1)
            left = self.model.paint(left, negative, -1)
        return GuideState(memory, previous.image, z_pres, z_where, z_what, left)

    def guide(
        self, images: Tensor, batch_size: int | None = None, baseline: Baseline | None = None
    ) -> list[GuideState]:
        """Sample the latents of a mini-batch of images, as ``pyro.infer.SVI`` wants it.

        Args:
            images: (num_images, channels, height, width), uint8 or floats in [0, 1].
            batch_size: images in the mini-batch, drawn without replacement. All if None.
            baseline: reduces the variance of the gradient of the discrete choices z_pres.
        Returns: the state after each of the T steps; without a bound, until no object is found.
        """
        pyro.module("guide", self)
        if baseline is not None:
            pyro.module("baseline", baseline)
        with pyro.plate("data", len(images), subsample_size=batch_size) as indices:
            batch = intensity(images[indices])
            z_background = None
            if self.config.background_model != "none":
                z_background = pyro.sample("z_background", self.behind(batch).to_event(1))
            gates, state = self.start(batch, z_background)
            predict_rest = baseline.begin(batch) if baseline is not None else lambda state: None
            states = []
            for t in range(self.config.max_steps):
                if self.config.unbounded and not state.z_pres.any():
                    break
                state = self.guide_step(t, gates, state, predict_rest(state))
                states.append(state)
        return states


def _draw(law: dist.Normal, draws: Tensor | None, latents: slice) -> Tensor:
    return law.mean if draws is None else torch.addcmul(law.loc, law.scale, draws[:, latents])


def step_features(state: GuideState) -> Tensor:
    """Return what a step tells the next one: (batch, 3 + what_dim + 1)."""
    return torch.cat((state.z_where, state.z_what, state.z_pres[:, None]), dim=-1)
