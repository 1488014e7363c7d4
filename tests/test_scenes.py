"""``Scenes``: what is indexed, cut, joined and padded is what the arrays say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from attend_infer_repeat.scenes import Scene, Scenes, presence_scores

COUNTS = (0, 2, 3, 1)
STEPS = 3


def make_scenes(steps: int = STEPS, counts: tuple[int, ...] = COUNTS, seed: int = 0) -> Scenes:
    """Return scenes of tensors with room for ``steps`` objects, all of whose numbers differ."""
    generator = torch.Generator().manual_seed(seed)
    num = len(counts)

    def random(*shape: int) -> torch.Tensor:
        return torch.rand(num, *shape, generator=generator)

    z_pres = torch.arange(steps) < torch.tensor(counts)[:, None]
    return Scenes(
        counts=torch.tensor(counts),
        count_probs=random(steps + 1).softmax(dim=1),
        boxes=random(steps, 4).masked_fill(~z_pres[..., None], torch.nan),
        z_pres=z_pres,
        z_where=random(steps, 3),
        z_what=random(steps, 5),
        reconstruction=random(1, 8, 8),
        z_background=random(2),
    )


def assert_equal(one: Scenes, other: Scenes) -> None:
    for first, second in zip(one.fields(), other.fields(), strict=True):
        assert type(first) is type(second)
        np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


@pytest.fixture(params=["tensors", "arrays"])
def scenes(request: pytest.FixtureRequest) -> Scenes:
    return make_scenes() if request.param == "tensors" else make_scenes().numpy()


def test_a_scene_has_the_objects_of_its_row_and_their_values(scenes: Scenes) -> None:
    assert [scene.count for scene in scenes] == [len(s.objects) for s in scenes] == list(COUNTS)
    for i, scene in enumerate(scenes):
        for field in ("count_probs", "reconstruction", "z_background"):
            np.testing.assert_array_equal(getattr(scene, field), getattr(scenes, field)[i])
        for t, thing in enumerate(scene.objects):
            for field in ("box", "z_where", "z_what"):
                whole = scenes.boxes if field == "box" else getattr(scenes, field)
                np.testing.assert_array_equal(getattr(thing, field), whole[i, t])
            assert thing.score == pytest.approx(float(scene.count_probs[t + 1 :].sum()))
            assert thing.score == scenes.scores[i, t]


def test_scores_are_the_probabilities_of_so_many_objects_and_never_rise() -> None:
    probs = np.array([[0.1, 0.2, 0.7], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(presence_scores(probs), [[0.9, 0.7], [0, 0]])
    scenes = make_scenes()
    scores = scenes.scores
    assert (scores.diff(dim=1) <= 0).all()
    np.testing.assert_allclose(scores, scenes.numpy().scores, rtol=1e-15)


def test_indices_are_those_of_a_list(scenes: Scenes) -> None:
    assert isinstance(scenes[np.int64(2)], Scene)
    assert scenes[-1].objects[0].score == scenes[3].objects[0].score
    for index in (4, -5):
        with pytest.raises(IndexError):
            scenes[index]
    assert [scene.count for scene in scenes[1:3]] == [2, 3]
    assert_equal(Scenes.cat([scenes[:1], scenes[1:]]), scenes)


def test_joined_scenes_have_room_for_the_most_steps_and_the_same_objects() -> None:
    few, many = make_scenes(1, (1, 0)), make_scenes(4, (4, 0, 2), seed=1)
    joined = Scenes.cat([few, many])
    assert_equal(joined[2:], many)
    assert joined.boxes[:2, 1:].isnan().all()
    for values in (joined.z_pres, joined.z_where, joined.z_what):
        assert (values[:2, 1:] == 0).all()
    np.testing.assert_allclose(joined.count_probs.sum(dim=1), 1)
    assert [s.count for s in joined] == [1, 0, 4, 0, 2]
    assert joined[0].objects[0].score == few[0].objects[0].score
    assert_equal(Scenes.cat([few.numpy(), many.numpy()]), joined.numpy())


def test_padding_leaves_objects_and_probabilities_as_they_are() -> None:
    scenes = make_scenes()
    wide = scenes.padded(6)
    assert wide.boxes.shape == (4, 6, 4)
    assert wide.count_probs.shape == (4, 7)
    assert_equal(wide, Scenes.cat([wide]))
    for one, other in zip(scenes, wide, strict=True):
        assert repr(one.objects) == repr(other.objects)
    assert_equal(scenes.padded(2), scenes)  # there are as many already


def test_scenes_say_in_a_line_what_they_are(scenes: Scenes) -> None:
    assert repr(scenes) == "Scenes(4 of up to 3 objects, counts=[0, 2, 3, 1])"
    assert repr(scenes[1]).startswith("Scene(count=2, probability=0.")
    assert repr(scenes[1].objects[0]).startswith("SceneObject(score=0.")
    many = make_scenes(1, (1,) * 1000)
    assert len(repr(many)) < 80
