"""The inference network: an image is read object by object.

    for t = 1..T, while present:
        h_t       = LSTM(x, z_where_{t-1}, z_what_{t-1}, z_pres_{t-1}; h_{t-1})
        z_pres_t  ~ Bernoulli(p(h_t))
        z_where_t ~ Normal(mean(h_t), sd(h_t))
        z_what_t  ~ Normal(mean(w_t), sd(w_t)),    w_t = image_to_object(z_where_t, x)

The basic guide reads z_what_t from h_t instead of the window w_t, and its LSTM sees only x.

Source: Eslami et al. 2016, section 2.1 and figure 3; Pyro's tutorial.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pyro
import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from torch import Tensor, nn

from .config import ModelConfig
from .distributions import gaussian, positive, presence
from .model import intensity
from .networks import Embedding, GaussianNetwork, ImageLSTM, mlp
from .spatial import image_to_object

if TYPE_CHECKING:
    from .baseline import Baseline


class GuideState(NamedTuple):
    """What the guide has found so far."""

    memory: tuple[Tensor, Tensor]  # the LSTM's (h, c), each (batch, rnn_hidden_size)
    z_pres: Tensor  # (batch,), 0 or 1
    z_where: Tensor  # (batch, 3)
    z_what: Tensor  # (batch, what_dim)


class Path(NamedTuple):
    """The guide's walk along 'every object is present', all that q(z | x) needs for any count."""

    z_pres_logits: Tensor  # (batch, steps), log-odds of q(z_pres_t = 1 | z_pres_{t-1} = 1, path)
    z_where_dist: dist.Normal  # (batch, steps, 3)
    z_what_dist: dist.Normal  # (batch, steps, what_dim)
    z_where: Tensor  # (batch, steps, 3)
    z_what: Tensor  # (batch, steps, what_dim)


class SceneGuide(nn.Module):
    """q(z | x), as a Pyro program and as the laws that it is made of."""

    z_where_loc: Tensor
    z_where_scale: Tensor

    def __init__(self, config: ModelConfig, z_where_prior: dist.Normal) -> None:
        super().__init__()
        self.config = config
        self.basic = config.guide == "basic"
        what_dim, activation = config.encoder_latent_size, config.non_linearity
        num_pixels = config.channels * config.canvas_size[0] * config.canvas_size[1]
        window = config.channels * config.window_size**2
        self.embed = Embedding(num_pixels, config.embed_net, activation)
        self.rnn = ImageLSTM(
            self.embed.out_size, 0 if self.basic else 3 + what_dim + 1, config.rnn_hidden_size
        )
        self.predict = mlp([config.rnn_hidden_size, *config.predict_net, 1 + 2 * 3], activation)
        self.encode = GaussianNetwork(
            config.rnn_hidden_size if self.basic else window,
            config.encoder_net,
            what_dim,
            activation,
        )
        if not self.basic:  # whose LSTM reads neither
            self.z_where_init = nn.Parameter(torch.zeros(3))
            self.z_what_init = nn.Parameter(torch.zeros(what_dim))
        self.register_buffer("z_where_loc", z_where_prior.loc.clone())
        self.register_buffer("z_where_scale", z_where_prior.scale.clone())

    # The laws.

    def start(self, images: Tensor) -> tuple[Tensor, GuideState]:
        """Look at the images once; return the image's share of the LSTM's gates and the state."""
        num_images = len(images)
        if self.basic:
            z_where = images.new_zeros(num_images, 3)
            z_what = images.new_zeros(num_images, self.config.encoder_latent_size)
        else:
            z_where = self.z_where_init.expand(num_images, -1)
            z_what = self.z_what_init.expand(num_images, -1)
        return self.rnn.look(self.embed(images.flatten(1))), GuideState(
            memory=self.rnn.start(num_images),
            z_pres=images.new_ones(num_images),
            z_where=z_where,
            z_what=z_what,
        )

    def attend(
        self, gates: Tensor, previous: GuideState
    ) -> tuple[tuple[Tensor, Tensor], Tensor, dist.Normal]:
        """Advance the LSTM; return its state, the logits of z_pres (batch,), and q(z_where).

        The pose is predicted relative to the prior: an untrained guide starts near it.
        """
        features = step_features(previous)
        memory = self.rnn(gates, features[:, :0] if self.basic else features, previous.memory)
        logits, loc, scale = self.predict(memory[0]).split((1, 3, 3), dim=-1)
        z_where_dist = gaussian(self.z_where_loc + loc, self.z_where_scale * positive(scale))
        return memory, logits[:, 0], z_where_dist

    def read(self, images: Tensor, z_where: Tensor, memory: tuple[Tensor, Tensor]) -> dist.Normal:
        """Return q(z_what | window at z_where), or q(z_what | h) of the basic guide."""
        if self.basic:
            return self.encode(memory[0])
        window_size = (self.config.window_size, self.config.window_size)
        return self.encode(image_to_object(z_where, images, window_size).flatten(1))

    def path(self, images: Tensor, sample: bool = True) -> Path:
        """Walk T steps as if every object were present.

        Args:
            images: (batch, channels, height, width), intensity.
            sample: draw z_where and z_what (reparametrised), or take their means.
        """

        def draw(law: dist.Normal) -> Tensor:
            return law.rsample() if sample else law.mean

        gates, state = self.start(images)
        steps = []
        for _ in range(self.config.model_steps):
            memory, logits, z_where_dist = self.attend(gates, state)
            z_where = draw(z_where_dist)
            z_what_dist = self.read(images, z_where, memory)
            z_what = draw(z_what_dist)
            state = GuideState(memory, state.z_pres, z_where, z_what)
            steps.append(
                (logits, *_parameters(z_where_dist), *_parameters(z_what_dist), z_where, z_what)
            )
        logits, where_loc, where_scale, what_loc, what_scale, z_where, z_what = (
            torch.stack(values, dim=1) for values in zip(*steps, strict=True)
        )
        return Path(
            logits,
            gaussian(where_loc, where_scale),
            gaussian(what_loc, what_scale),
            z_where,
            z_what,
        )

    # The Pyro program.

    def guide_step(
        self, t: int, images: Tensor, gates: Tensor, previous: GuideState, baseline: Tensor | None
    ) -> GuideState:
        """Find the object of step t (from 0) in each image that is not yet explained."""
        memory, logits, z_where_dist = self.attend(gates, previous)
        infer = {} if baseline is None else {"baseline": {"baseline_value": baseline}}
        z_pres = pyro.sample(f"z_pres_{t}", presence(logits, previous.z_pres), infer=infer)
        with poutine.mask(mask=z_pres.bool() if self.config.masking else True):
            z_where = pyro.sample(f"z_where_{t}", z_where_dist.to_event(1))
            z_what = pyro.sample(f"z_what_{t}", self.read(images, z_where, memory).to_event(1))
        return GuideState(memory, z_pres, z_where, z_what)

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
