"""The yardstick: one training step of AIR as Pyro's tutorial writes it.

Pyro SVI with TraceGraph_ELBO; at every step an LSTMCell over the concatenation of image, z_where,
z_what and z_pres; affine_grid and grid_sample between window and canvas; a baseline network with an
LSTM of its own; one Adam per parameter. Sizes: canvas 50 x 50, three steps, LSTM 256 on the raw
pixels, window 28, z_what 50, hidden layers of 200.

It shares nothing with the package: it is what the package is compared with. It must not become
quicker. Source: Pyro's tutorial "Attend, Infer, Repeat" and its example's published command.
"""

from __future__ import annotations

import pyro
import pyro.distributions as dist
import torch
from pyro.infer import SVI, TraceGraph_ELBO
from torch import Tensor, nn
from torch.nn import functional as F

CANVAS, WINDOW, STEPS, WHAT, HIDDEN, LSTM = 50, 28, 3, 50, 200, 256
PRIOR_SUCCESS, SCALE, LIKELIHOOD_SD = 0.01, (3.0, 0.2), 0.3
LEARNING_RATE, BASELINE_LEARNING_RATE = 1e-4, 1e-1


def two_layers(size_in: int, size_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(size_in, HIDDEN), nn.ReLU(), nn.Linear(HIDDEN, size_out))


def affine(z_where: Tensor) -> Tensor:
    """Return the matrices [[s, 0, x], [0, s, y]], (batch, 2, 3), of poses (batch, 3)."""
    s, x, y = z_where.unbind(-1)
    zero = torch.zeros_like(s)
    return torch.stack((s, zero, x, zero, s, y), dim=-1).view(-1, 2, 3)


def inverse(z_where: Tensor) -> Tensor:
    """Return the poses that undo poses: (1 / s, -x / s, -y / s)."""
    s, place = z_where[:, :1], z_where[:, 1:]
    return torch.cat((torch.ones_like(s), -place), dim=1) / s


def transform(z_where: Tensor, images: Tensor, size: int) -> Tensor:
    """Resample square images (batch, pixels) at poses: (batch, size * size)."""
    batch, side = len(images), int(images.shape[1] ** 0.5)
    grid = F.affine_grid(affine(z_where), [batch, 1, size, size], align_corners=False)
    return F.grid_sample(images.view(batch, 1, side, side), grid, align_corners=False).view(
        batch, -1
    )


class Reference(nn.Module):
    """Model and guide of the tutorial, and the step that trains them.

    Args:
        images: (num_images, 50, 50), floats in [0, 1].
        batch_size: images in a mini-batch.
    """

    def __init__(self, images: Tensor, batch_size: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        recurrent = CANVAS**2 + 3 + WHAT + 1
        self.decoder = two_layers(WHAT, WINDOW**2)
        self.encoder = two_layers(WINDOW**2, 2 * WHAT)
        self.rnn, self.bl_rnn = nn.LSTMCell(recurrent, LSTM), nn.LSTMCell(recurrent, LSTM)
        self.predict, self.bl_predict = two_layers(LSTM, 7), two_layers(LSTM, 1)
        for name, size in (("h", LSTM), ("c", LSTM), ("bl_h", LSTM), ("bl_c", LSTM)):
            setattr(self, f"{name}_init", nn.Parameter(torch.zeros(1, size)))
        self.z_where_init = nn.Parameter(torch.zeros(1, 3))
        self.z_what_init = nn.Parameter(torch.zeros(1, WHAT))
        self.register_buffer("images", images)
        self.register_buffer("where_loc", torch.tensor([SCALE[0], 0.0, 0.0]))
        self.register_buffer("where_scale", torch.tensor([SCALE[1], 1.0, 1.0]))
        # The count's prior is k^n on 0..3; z_pres_t follows with P(n > t) / P(n >= t).
        ratio = PRIOR_SUCCESS ** torch.arange(STEPS + 1, dtype=torch.float64)
        at_least = ratio.flip(0).cumsum(0).flip(0)
        self.register_buffer("continue_prob", (at_least[1:] / at_least[:-1]).float())
        self.to(images.device)

        def learning_rate(name: str) -> dict[str, float]:
            return {"lr": BASELINE_LEARNING_RATE if "bl_" in name else LEARNING_RATE}

        self.svi = SVI(self.model, self.guide, pyro.optim.Adam(learning_rate), TraceGraph_ELBO())

    def step(self) -> float:
        """Take one optimization step; return the loss."""
        return self.svi.step() / len(self.images)

    def model(self) -> None:
        """The generative story."""
        pyro.module("air", self)
        with pyro.plate("data", len(self.images), subsample_size=self.batch_size) as indices:
            batch = self.images[indices].flatten(1)
            size = len(batch)
            x, z_pres = torch.zeros_like(batch), batch.new_ones(size, 1)
            for t in range(STEPS):
                law = dist.Bernoulli(self.continue_prob[t] * z_pres)
                z_pres = pyro.sample(f"z_pres_{t}", law.to_event(1))
                where = dist.Normal(self.where_loc, self.where_scale).expand([size, 3])
                z_where = pyro.sample(f"z_where_{t}", where.mask(z_pres).to_event(1))
                what = dist.Normal(batch.new_zeros(size, WHAT), batch.new_ones(size, WHAT))
                z_what = pyro.sample(f"z_what_{t}", what.mask(z_pres).to_event(1))
                window = torch.sigmoid(self.decoder(z_what) - 2.0)
                x = x + z_pres * transform(z_where, window, CANVAS)
            pyro.sample("x", dist.Normal(x, LIKELIHOOD_SD).to_event(1), obs=batch)

    def guide(self) -> None:
        """The inference network, with the baselines."""
        pyro.module("air", self)
        with pyro.plate("data", len(self.images), subsample_size=self.batch_size) as indices:
            batch = self.images[indices].flatten(1)
            size = len(batch)
            memory = self.h_init.expand(size, -1), self.c_init.expand(size, -1)
            bl_memory = self.bl_h_init.expand(size, -1), self.bl_c_init.expand(size, -1)
            z_where, z_what = self.z_where_init.expand(size, -1), self.z_what_init.expand(size, -1)
            z_pres = batch.new_ones(size, 1)
            for t in range(STEPS):
                seen = torch.cat((batch, z_where, z_what, z_pres), dim=1)
                memory = self.rnn(seen, memory)
                bl_memory = self.bl_rnn(seen.detach(), bl_memory)
                logits, loc, scale = self.predict(memory[0]).split((1, 3, 3), dim=1)
                baseline = (self.bl_predict(bl_memory[0]) * z_pres)[:, 0]
                z_pres = pyro.sample(
                    f"z_pres_{t}",
                    dist.Bernoulli(torch.sigmoid(logits) * z_pres).to_event(1),
                    infer={"baseline": {"baseline_value": baseline}},
                )
                where = dist.Normal(loc + self.where_loc, F.softplus(scale) * self.where_scale)
                z_where = pyro.sample(f"z_where_{t}", where.mask(z_pres).to_event(1))
                window = transform(inverse(z_where), batch, WINDOW)
                what_loc, what_scale = self.encoder(window).chunk(2, dim=1)
                what = dist.Normal(what_loc, F.softplus(what_scale))
                z_what = pyro.sample(f"z_what_{t}", what.mask(z_pres).to_event(1))
