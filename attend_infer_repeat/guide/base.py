"""The inference network: an image is read object by object.

    for t = 1..T, while present:
        r_t       = x - (y_1 + .. + y_{t-1})        the residual
        h_t       = LSTM(x, z_where_{t-1}, z_what_{t-1}, z_pres_{t-1}; h_{t-1})
        p_t       = where a window holds most of r_t's energy
        a_t       = predict(glimpse of r_t and x around p_t, h_t)
        z_pres_t  ~ Bernoulli(p(a_t))
        z_where_t ~ Normal(p_t + mean(a_t), sd of the prior * sd(a_t))
        z_what_t  ~ Normal(mean(w_t), sd(w_t)),     w_t = image_to_object(z_where_t, x)

z_bg ~ Normal(mean, sd)(x) comes first, and x stands for x - b.

That is the guide pursuit; its LSTM sees a thumbnail of x. A guide is put together from parts
(``recipes.py`` lists four): the memory, the look that proposes p_t, the presence, and the reading
of z_what_t.

    memoryless    as pursuit, without h_t. The residual is all it knows of earlier steps, so it
                  never learns when to expect the last object, and goes on where there are more
                  than it ever saw.
    improved      p_t is the prior's mean, without a glimpse: a_t = predict(h_t).
    basic         as improved, and z_what_t is read from h_t, not from w_t.

Source: Eslami et al. 2016, section 2.1 and figure 3; Pyro's tutorial for the basic and the improved
guide. The sought glimpse is ours, as is the guide without a memory.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pyro
import pyro.distributions as dist
from torch import Tensor, nn

from ..distributions import gaussian, positive, presence
from ..errors import ConfigError
from ..model import Canvas, SceneModel, intensity
from ..nn import MLP
from .background import make_background_reader
from .look import Look
from .memory import Memory
from .presence import Presence, elbo_gain, presence_of
from .read import Reading
from .recipes import RECIPES
from .state import Attention, GuideState

if TYPE_CHECKING:
    from .baseline import Baseline


class SceneGuide(nn.Module):
    """q(z | x): the Pyro program is the call, ``SVI(model, guide, ...)``.

    Args:
        model: p(x, z), of the same sizes; it renders what has been found, and poses are predicted
            relative to its prior. Its parameters are not the guide's.
        encoder: of the reading: windows (batch, channels, h, w) to Normal (batch, what_dim).
        memory, look, presence, reading: parts to use in place of those that the config names.
    Raises: ConfigError if both a reading and its encoder are given, or if no part sees the image
        before it decides.
    """

    model: SceneModel

    def __init__(
        self,
        model: SceneModel,
        *,
        encoder: nn.Module | None = None,
        memory: Memory | None = None,
        look: Look | None = None,
        presence: Presence | None = None,
        reading: Reading | None = None,
    ) -> None:
        super().__init__()
        if encoder is not None and reading is not None:
            raise ConfigError("encoder: belongs to the reading; hand it to the one that you made.")
        object.__setattr__(self, "model", model)  # no submodule
        self.config = config = model.config
        recipe = RECIPES[config.inference.guide]
        # The order of the parts decides which random numbers their weights start from.
        self.memory = recipe.memory(config) if memory is None else memory
        self.look = recipe.look(config, model.z_where_dist()) if look is None else look
        self.presence = presence_of(config.inference) if presence is None else presence
        size, num_outputs = self.memory.state_size, self.presence.num_logits + 2 * 3
        if not self.look.glimpse_size + size:
            raise ConfigError("guide: neither its memory nor its look sees the image; give one.")
        sizes = [self.look.glimpse_size + size, *config.inference.predict_net, num_outputs]
        self.predict = MLP(sizes, config.non_linearity)
        self.reading = recipe.reading(config, encoder, size) if reading is None else reading
        self.background = make_background_reader(config, model.background.latent_size)
        self.sees_residual = self.look.sees_residual or self.presence.sees_residual

    # The inference network, step by step.

    def begin(self, images: Tensor, z_background: Tensor) -> GuideState:
        """Look at the images once; return the state before the first step.

        It is one state for all images, of one row, but for the image, its features, the residual,
        its scores and what was seen. All that follows sees the images without their backgrounds.

        Args:
            images: (batch, channels, height, width), intensity.
            z_background: (batch, latent_size).
        """
        b = self.model.background(z_background)
        residual = self.model.composition.begin((images - b).contiguous(), b)
        foreground = residual.x.detach()
        features, memory = self.memory.begin(foreground)
        z_where, z_what = self.memory.first_latents(foreground)
        present = images.new_ones(1)
        latents = present, z_where, z_what
        scores = self.look.scores(foreground)
        seen = self.look.unseen(scores)
        return GuideState(features, memory, Canvas(foreground), *latents, residual, scores, seen)

    def attend(self, previous: GuideState) -> Attention:
        """Advance the memory; decide whether there is one more object, and where.

        The pose is predicted relative to the proposal, which is of a size that the prior knows: an
        untrained guide starts near both.
        """
        memory = self.memory(previous)
        # What is rendered is data to the look, as the image is: its gradient would flow to earlier
        # samples.
        scores = self.look.inhibited(previous.scores, previous.seen)
        proposal, glimpse = self.look(previous.residual, previous.image, scores)
        logits, z_where_dist = self.decide(proposal, glimpse, memory[0])
        gain = partial(elbo_gain, self.model, self.reading, previous, z_where_dist, memory)
        seen = self.look.seen_at(previous.seen, proposal)
        return Attention(memory, self.presence(logits, gain), z_where_dist, proposal, seen)

    def decide(self, proposal: Tensor, glimpse: Tensor, h: Tensor) -> tuple[Tensor, dist.Normal]:
        """Return what the presence needs, (num, num_logits), and q(z_where), (num, 3).

        Args:
            proposal: (num, 3), p_t.
            glimpse: (num, glimpse_size), taken there.
            h: (num, state_size), of the memory.
        Returns: the law is that of the pose's coordinates: ``poses.py`` of the model.
        """
        outputs = self.predict(glimpse, h)
        logits, loc, scale = outputs.split((self.presence.num_logits, 3, 3), dim=-1)
        mean, unit, sd = self.model.poses.near(proposal, self.look.prior_scale)
        return logits, gaussian(mean + unit * loc, sd * positive(scale))

    # The Pyro program.

    def forward(
        self, images: Tensor, batch_size: int | None = None, baseline: Baseline | None = None
    ) -> list[GuideState]:
        """Sample the latents of a mini-batch of images.

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
            state = self.begin(batch, self.background.sample(batch))
            predict_return = baseline.begin(batch) if baseline is not None else lambda state: None
            states = []
            for t in range(self.model.count_prior.max_count):
                if self.model.count_prior.is_complete(state.z_pres):
                    break
                state = self.guide_step(t, state, predict_return(state))
                states.append(state)
        return states

    def guide_step(self, t: int, previous: GuideState, baseline: Tensor | None) -> GuideState:
        """Find the object of step t (from 0) in each image that is not yet explained."""
        memory, logits, z_where_dist, _, seen = self.attend(previous)
        infer = {} if baseline is None else {"baseline": {"baseline_value": baseline}}
        z_pres = pyro.sample(f"z_pres_{t}", presence(logits, previous.z_pres), infer=infer)
        with self.model.where_present(z_pres):
            z_where = pyro.sample(f"z_where_{t}", self.model.poses.law(z_where_dist))
            z_what_dist = self.reading(previous.image, z_where, memory)
            z_what = pyro.sample(f"z_what_{t}", z_what_dist.to_event(1))
        residual, scores = previous.residual, previous.scores
        if self.sees_residual:
            residual = self.model.take_away(residual, z_where, z_what, z_pres)
            scores = self.look.scores(residual.x.detach())
        found = {"z_pres": z_pres, "z_where": z_where, "z_what": z_what, "residual": residual}
        found["scores"] = scores
        return previous._replace(memory=memory, seen=seen, **found)
