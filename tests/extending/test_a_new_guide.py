"""From outside the package: a guide that looks at the brightest pixel of the residual."""

from __future__ import annotations

import pytest
import torch
from exact import conditioned_trace, enumerated_elbo, on_path, random_images
from torch import Tensor, nn

from attend_infer_repeat import AIR, ConfigError, ModelConfig
from attend_infer_repeat.config import replace
from attend_infer_repeat.distributions import TruncatedGeometricCount, count_log_prob
from attend_infer_repeat.guide import Look, SceneGuide
from attend_infer_repeat.guide.memory import NoMemory
from attend_infer_repeat.guide.presence import Foresight
from attend_infer_repeat.model import Canvas, CountPrior, SceneModel
from attend_infer_repeat.rollout.terms import count_terms
from attend_infer_repeat.spatial import window_boxes

CONFIG = ModelConfig(canvas_size=(16, 16), window_size=8, encoder_latent_size=4)


class BrightestPixel(Look):
    """Propose the window around the brightest pixel."""

    def forward(self, residual: Canvas, image: Canvas, scores: Tensor) -> tuple[Tensor, Tensor]:
        left = residual.of_rows().x
        height, width = left.shape[-2:]
        brightest = left.amax(dim=1).flatten(1).argmax(dim=1)
        y, x = brightest // width, brightest % width
        scale = self.prior_loc[0].expand(len(left))
        u = torch.stack(((x + 0.5) * 2 / width - 1, (y + 0.5) * 2 / height - 1), dim=1)
        proposal = torch.cat((scale[:, None], -scale[:, None] * u), dim=1)
        return proposal, self.glimpse(proposal, residual, image)


def brightest_guide() -> AIR:
    model = SceneModel(CONFIG)
    look = BrightestPixel(CONFIG, model.z_where_dist())
    return AIR(CONFIG, model=model, guide=SceneGuide(model, look=look))


def test_it_proposes_what_it_looks_for() -> None:
    images = torch.zeros(2, 1, 16, 16)
    images[0, 0, 3, 10] = images[1, 0, 12, 5] = 1.0
    boxes = window_boxes(brightest_guide().rollout(images).proposals[:, 0], (16, 16))
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    torch.testing.assert_close(centers, torch.tensor([[10.5, 3.5], [5.5, 12.5]]))


def test_its_rollout_and_its_pyro_program_are_one_guide() -> None:
    air, images = brightest_guide(), random_images(3, CONFIG)
    rollout = air.rollout(images)
    trace = conditioned_trace(air.guide, on_path(rollout, torch.ones(3)), images)
    log_q = sum(trace.nodes[f"z_pres_{t}"]["log_prob"] for t in range(3))
    torch.testing.assert_close(log_q, count_log_prob(rollout.z_pres_logits)[:, 3])


def test_parts_that_do_not_belong_together_are_refused() -> None:
    model = SceneModel(CONFIG)
    look = BrightestPixel(CONFIG, model.z_where_dist())
    guide = SceneGuide(model, look=look)
    assert AIR(CONFIG, guide=guide).model is model
    with pytest.raises(ConfigError, match="belong to each other"):
        AIR(CONFIG, model=SceneModel(CONFIG), guide=guide)
    with pytest.raises(ConfigError, match="encoder"):
        SceneGuide(model, encoder=nn.Identity(), reading=guide.reading)
    with pytest.raises(ConfigError, match="sees the image"):
        SceneGuide(SceneModel(replace(CONFIG, guide="improved")), memory=NoMemory(CONFIG))


@pytest.mark.parametrize("guide", ["pursuit", "improved"])
def test_parts_of_other_recipes_make_one_guide(guide: str) -> None:
    """Parts and a count prior in place of the recipe's; rollout and program agree."""
    config = replace(CONFIG, guide=guide)
    count_prior = CountPrior(TruncatedGeometricCount, 0.5, max_count=2)
    model = SceneModel(config, count_prior=count_prior)
    parts = {"look": BrightestPixel(config, model.z_where_dist()), "presence": Foresight()}
    if guide == "pursuit":
        parts["memory"] = NoMemory(config)
    air = AIR(config, model=model, guide=SceneGuide(model, **parts))
    images = random_images(3, config)
    rollout = air.rollout(images)
    trace = conditioned_trace(air.guide, on_path(rollout, torch.ones(2)), images)
    log_q = sum(trace.nodes[f"z_pres_{t}"]["log_prob"] for t in range(2))
    torch.testing.assert_close(log_q, count_log_prob(rollout.z_pres_logits)[:, 2])
    assert air.infer(images).count_probs.shape == air.sample(3).count_probs.shape == (3, 3)
    torch.testing.assert_close(
        count_terms(model, rollout).elbo, enumerated_elbo(air, images, rollout)
    )
