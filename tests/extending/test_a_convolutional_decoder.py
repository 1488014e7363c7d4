"""From outside the package: a convolutional decoder and encoder, handed in."""

from __future__ import annotations

from dataclasses import replace

import pyro.distributions as dist
import torch
from exact import drawn_terms
from torch import Tensor, nn

from attend_infer_repeat import AIR, ModelConfig, TrainConfig
from attend_infer_repeat.guide import SceneGuide
from attend_infer_repeat.model import SceneModel
from attend_infer_repeat.objectives import OBJECTIVES

CONFIG = ModelConfig(canvas_size=(16, 16), window_size=8, encoder_latent_size=4)


class ConvDecoder(nn.Sequential):
    """z_what (..., 4) to windows (..., 1, 8, 8)."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(4, 8 * 4 * 4),
            nn.Unflatten(-1, (8, 4, 4)),
            nn.SiLU(),
            nn.ConvTranspose2d(8, 1, kernel_size=2, stride=2),
            nn.Sigmoid(),
        )

    def forward(self, z_what: Tensor) -> Tensor:
        return super().forward(z_what.flatten(0, -2)).unflatten(0, z_what.shape[:-1])


class ConvEncoder(nn.Module):
    """Windows (batch, 1, 8, 8) to q(z_what), (batch, 4)."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 8, kernel_size=2, stride=2), nn.SiLU(), nn.Flatten(), nn.Linear(128, 8)
        )

    def forward(self, windows: Tensor) -> dist.Normal:
        loc, log_scale = self.layers(windows).chunk(2, dim=-1)
        return dist.Normal(loc, log_scale.exp())


def test_a_convolutional_pair_is_trained() -> None:
    model = SceneModel(CONFIG, decoder=ConvDecoder())
    air = AIR(CONFIG, model=model, guide=SceneGuide(model, encoder=ConvEncoder()))
    images = torch.zeros(32, 1, 16, 16, dtype=torch.uint8)
    images[:, :, 4:10, 5:11] = 255
    config = replace(TrainConfig(batch_size=32, learning_rate=1e-2), model=CONFIG)
    objective = OBJECTIVES["exact"](air, images, config)
    before = {name: weight.clone() for name, weight in air.named_parameters()}

    def elbo() -> float:
        with torch.no_grad():
            return drawn_terms(air, images.double() / 255).elbo.mean().item()

    at_first = elbo()
    for step in range(30):
        objective.step(step, 1.0)
    assert elbo() > at_first + 1
    moved = {name for name, weight in air.named_parameters() if not weight.equal(before[name])}
    assert {n for n in before if "decoder" in n or "encoder" in n} <= moved
