"""Refinement: no move lowers what the scene is worth, and each kind of move is made."""

from __future__ import annotations

import pytest
import torch
from exact import TINY, make_air, random_images
from torch import Tensor
from torch.distributions import Normal, kl_divergence

from attend_infer_repeat import AIR
from attend_infer_repeat.config import ModelConfig, replace
from attend_infer_repeat.errors import ConfigError
from attend_infer_repeat.rollout import Rollout
from attend_infer_repeat.rollout.refinement import Refined, _Scenes, refine

# Objects are grey at first, and cost little: so many a guess pays, and many do not.
BOUNDED = replace(
    TINY,
    guide="memoryless",
    refinement=True,
    decoder_output_bias=0.0,
    likelihood_sd=0.5,
    z_pres_prior=0.2,
)
UNBOUNDED = replace(BOUNDED, unbounded=True, step_limit=5, inhibition=0.8)
CONFIGS = {
    "bounded": BOUNDED,
    "unbounded": UNBOUNDED,
    "channels": replace(UNBOUNDED, channels=3),
    "background": replace(UNBOUNDED, background_model="constant"),
    "sizes": replace(UNBOUNDED, canvas_size=(16, 16), scale_prior_mean=3.0, size_range=4.0),
    "patches": replace(UNBOUNDED, canvas_size=(40, 40), scale_prior_mean=8.0, z_pres_prior=0.5),
}


@pytest.fixture(params=CONFIGS)
def config(request: pytest.FixtureRequest) -> ModelConfig:
    """Return a config of each kind."""
    return CONFIGS[request.param]


def images_of(air: AIR, num: int = 40) -> Tensor:
    """Return images of three objects, on noise."""
    model, config = air.model, air.config
    with torch.no_grad():
        z_where = model.poses.pose(model.z_where_dist().sample((num, 3)))
        drawn = model.draw(z_where, model.z_what_dist().sample((num, 3))).sum(dim=1)
    return (drawn + 0.2 * random_images(num, config)).clamp(max=1)


def two_steps(air: AIR, num: int) -> tuple[Tensor, Rollout, Tensor]:
    """Return images, a rollout that takes two steps over each, and what is behind the objects."""
    images = images_of(air, num)
    rollout = air.rollout(images, sample=False, counts=torch.full((num,), 2))
    return images, rollout, air.model.background(rollout.z_background).expand_as(images)


def worth(scenes: _Scenes, images: Tensor, background: Tensor) -> Tensor:
    """Return L of each scene, (batch,), from drawings made anew and torch's divergences."""
    model, values = scenes.model, []
    for row, num in enumerate(scenes.counts.tolist()):
        means, sds = scenes.laws[row, :num].unbind(dim=1)
        q_where, q_what = Normal(means[:, :3], sds[:, :3]), Normal(means[:, 3:], sds[:, 3:])
        kl = kl_divergence(q_where, model.z_where_dist()).sum()
        kl = kl + kl_divergence(q_what, model.z_what_dist()).sum()
        drawn = model.draw(model.poses.pose(means[:, :3]), means[:, 3:])
        residual = images[row] - background[row] - drawn.sum(dim=0)
        torch.testing.assert_close(scenes.residual[row], residual, atol=1e-4, rtol=1e-4)
        log_prior = num * model.count_prior.law.log_ratio()
        values.append(model.log_likelihood(residual[None])[0] - kl + log_prior)
    return torch.stack(values)


@torch.no_grad()
def test_no_move_lowers_the_worth_of_a_scene(config: ModelConfig) -> None:
    air = make_air(config, gain=2)
    images, rollout, background = two_steps(air, 200)
    counts = 1 + torch.arange(200) % 2  # of three
    scenes = _Scenes(air.guide, images, rollout, counts)
    values = [worth(scenes, images, background)]
    every = torch.arange(200)
    changed = {}

    def made(move: str) -> None:
        values.append(worth(scenes, images, background))
        assert (values[-1] >= values[-2] - 1e-3).all(), move
        changed[move] = int((values[-1] > values[-2] + 1e-3).sum())

    scenes.read_again(every)
    made("read again")
    rows = scenes.add(every)
    made("add")
    assert changed["add"] == len(rows)
    scenes.read_again(rows)
    made("read again, after one was added")
    assert scenes.counts.max() <= air.model.count_prior.max_count
    assert all(changed.values())


@torch.no_grad()
def test_one_object_is_taken_for_two_that_explain_less(config: ModelConfig) -> None:
    air = make_air(config, gain=2)
    images, rollout, background = two_steps(air, 60)
    scenes = _Scenes(air.guide, images, rollout, torch.full((60,), 2))
    # Two that were put anywhere.
    scenes.laws[:, :2, 0, :3] = air.model.z_where_dist().sample((60, 2))
    scenes.laws[:, :2, 0, 3:] = 0
    where = air.model.poses.pose(scenes.laws[:, :2, 0, :3])
    drawn = air.model.draw(where, scenes.laws[:, :2, 0, 3:]).sum(dim=1)
    scenes.residual = images - background - drawn
    before, unexplained = worth(scenes, images, background), scenes.residual.square().sum((1, 2, 3))
    scenes.join()
    after, one = worth(scenes, images, background), scenes.counts == 1
    assert 0 < one.sum() < 60
    assert (after[one] > before[one]).all()
    assert (scenes.residual[one].square().sum((1, 2, 3)) <= unexplained[one] + 1e-6).all()
    torch.testing.assert_close(after[~one], before[~one])
    assert (scenes.logits[one, -1] == -torch.inf).all()


def refined(air: AIR, images: Tensor) -> tuple[Tensor, Refined]:
    """Return the counts along the rollout, and what is made of them."""
    with torch.no_grad():
        rollout = air.rollout(images, sample=False)
        counts = rollout.count_probs().argmax(dim=1)
        found = refine(air.guide, images, rollout, counts)
    assert found is not None
    return counts, found


def test_counts_are_the_most_probable_ones(config: ModelConfig) -> None:
    air = make_air(config, gain=2)
    counts, found = refined(air, images_of(air, 60))
    assert torch.equal(found.counts, found.count_probs.argmax(dim=1))
    assert not torch.equal(found.counts, counts)
    torch.testing.assert_close(found.count_probs.sum(dim=1), torch.ones(60))


@pytest.mark.parametrize("steps", [1, 2])
@torch.no_grad()
def test_an_object_that_is_added_is_probable_whatever_the_guide_was_unsure_of(steps: int) -> None:
    config = replace(UNBOUNDED, z_pres_prior=0.9)
    air = make_air(config, gain=2)
    images = images_of(air)
    counts = torch.full((40,), steps)
    rollout = air.rollout(images, sample=False, counts=counts)
    for _ in range(20):
        odds = torch.randn(rollout.z_pres_logits.shape)
        unsure = rollout._replace(z_pres_logits=odds)
        likely = unsure.count_probs().argmax(dim=1) == counts
        scenes = _Scenes(air.guide, images, unsure, counts)
        rows = scenes.add(torch.arange(40))
        assert len(rows)
        found = scenes.take_back()
        assert torch.equal(found.counts[likely], found.count_probs.argmax(dim=1)[likely])


@torch.no_grad()
def test_steps_that_are_taken_back_count_as_never_taken() -> None:
    air = make_air(BOUNDED, gain=2)
    images = images_of(air)
    rollout = air.rollout(images, sample=False)
    scenes = _Scenes(air.guide, images, rollout, torch.full((40,), 3))
    before, p = scenes.laws.clone(), rollout.z_pres_logits.sigmoid()
    found = scenes.take_back()
    seen = set()
    for row in range(40):
        num = int(found.counts[row])
        # Which of the steps are left is told by their poses.
        left = [
            int((before[row, :, 0, :3] - found.z_where[row, k]).abs().sum(dim=1).argmin())
            for k in range(num)
        ]
        seen.add(num)
        chain, reached = [], 1.0
        for t in left:
            chain.append(reached * (1 - p[row, t]))
            reached = reached * p[row, t]
        expected = torch.tensor([*chain, reached, *[0.0] * (3 - num)])
        torch.testing.assert_close(found.count_probs[row], expected)
    assert len(seen) > 1


def test_scenes_show_what_was_refined(config: ModelConfig) -> None:
    air = make_air(config, gain=2)
    images = images_of(air)
    with torch.no_grad():
        rollout = air.rollout(images, sample=False)
        scenes = air.scenes_of(images, rollout)
        behind = air.model.background(rollout.z_background).expand_as(images)
        for row, num in enumerate(scenes.counts.tolist()):
            z_where, z_what = (z[row, :num].double() for z in (scenes.z_where, scenes.z_what))
            drawn = behind[row] + air.model.draw(z_where, z_what).sum(dim=0)
            torch.testing.assert_close(
                scenes.reconstruction[row], drawn.float(), atol=1e-4, rtol=1e-4
            )
    there = torch.arange(scenes.z_pres.shape[1]) < scenes.counts[:, None]
    assert torch.equal(scenes.z_pres, there)
    assert torch.equal(~scenes.boxes.isnan().any(dim=2), there)
    assert scenes.count_probs.shape[1] == scenes.z_pres.shape[1] + 1


def test_an_image_is_refined_as_if_it_were_alone(config: ModelConfig) -> None:
    air = make_air(config, gain=2)
    images = images_of(air, 12)
    together = air.infer(images)
    for row in range(12):
        alone = air.infer(images[row : row + 1])
        num = int(alone.counts[0])
        assert num == together.counts[row]
        torch.testing.assert_close(
            alone.z_where[0, :num], together.z_where[row, :num], atol=1e-5, rtol=1e-5
        )


@pytest.mark.parametrize("change", [{"composition": "over"}, {"guide": "pursuit"}])
def test_elsewhere_nothing_is_refined(change: dict[str, object]) -> None:
    refining, plain = (
        make_air(replace(config, **change), gain=2)
        for config in (BOUNDED, replace(BOUNDED, refinement=False))
    )
    images = random_images(20, BOUNDED)
    for own, other in zip(
        refining.infer(images).fields(), plain.infer(images).fields(), strict=True
    ):
        torch.testing.assert_close(own, other, rtol=0, atol=0, equal_nan=True)


def test_a_guide_that_remembers_is_not_asked_to_refine() -> None:
    with pytest.raises(ConfigError, match="refinement"):
        ModelConfig(guide="pursuit", refinement=True)
    with pytest.raises(ConfigError, match="refinement"):
        ModelConfig(guide="memoryless", composition="over", refinement=True)


def test_no_image_has_more_objects_than_the_prior_allows() -> None:
    config = replace(CONFIGS["patches"], unbounded=False, model_steps=1, z_pres_prior=0.9)
    air = make_air(config, gain=2)
    assert (air.infer(images_of(air, 5)).counts <= 1).all()
