"""From outside the package: pixels with Laplace noise, which forgives outliers."""

from __future__ import annotations

import pyro.distributions as dist
import pyro.poutine as poutine
import torch
from exact import enumerated_elbo, random_images, seeded
from torch import Tensor

from attend_infer_repeat import AIR, ModelConfig
from attend_infer_repeat.model import PixelLikelihood, SceneModel
from attend_infer_repeat.rollout.terms import count_terms

CONFIG = ModelConfig(canvas_size=(10, 10), window_size=5, encoder_latent_size=3)


class LaplacePixels(PixelLikelihood):
    """p(x | canvas), with ``sd`` as the scale of independent Laplace pixels."""

    def forward(self, canvas: Tensor) -> dist.Independent:
        return dist.Laplace(canvas, self.sd).to_event(3)

    def log_prob(self, residual: Tensor) -> Tensor:
        return dist.Laplace(torch.zeros_like(residual), self.sd).to_event(3).log_prob(residual)


def test_the_exact_objective_is_that_of_the_pyro_programs() -> None:
    model = SceneModel(CONFIG, likelihood=LaplacePixels(0.2))
    air, images = AIR(CONFIG, model=model), random_images(4, CONFIG)
    rollout = seeded(1, air.rollout, images)
    assert isinstance(
        poutine.trace(air.model).get_trace(images).nodes["x"]["fn"].base_dist, dist.Laplace
    )
    torch.testing.assert_close(
        count_terms(air.model, rollout).elbo, enumerated_elbo(air, images, rollout)
    )
