"""Scenes made from scenes: their counts are what they say, and nothing else is made up."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from exact import TINY, make_air
from scipy import ndimage
from torch import Tensor

from attend_infer_repeat.air import AIR
from attend_infer_repeat.config import TrainConfig
from attend_infer_repeat.objectives.augmentation import (
    Composites,
    compose,
    cut_out,
    place,
    single_objects,
)
from attend_infer_repeat.objectives.exact import Exact, Found

CANVAS = (30, 40)


def blocks(num: int, channels: int = 1) -> Tensor:
    """Return images with one bright block each, of different sizes, places and brightness."""
    images = torch.zeros(num, channels, *CANVAS)
    for i, image in enumerate(images):
        h, w = 3 + i % 5, 3 + i % 4
        y, x = (7 * i) % (CANVAS[0] - h), (11 * i) % (CANVAS[1] - w)
        image[:, y : y + h, x : x + w] = 0.5 + 0.5 * torch.rand(channels, 1, 1)
    return images


def sure_of(counts: list[int], steps: int = 3) -> Tensor:
    """Return q(n | x) of a guide that is sure of these counts."""
    log_q = torch.full((len(counts), steps + 1), -20.0)
    log_q[torch.arange(len(counts)), torch.tensor(counts)] = 0.0
    return log_q.softmax(-1)


def composed(images: Tensor, count_probs: Tensor, **options: int) -> Composites:
    return compose(*single_objects(images, count_probs), count_probs, **options)


def composite_loss(air: AIR, images: Tensor, count_probs: Tensor) -> Tensor:
    made = composed(images, count_probs)
    return made.loss(air.rollout(made.images).log_q())


def num_blobs(image: Tensor) -> int:
    return ndimage.label((image.amax(0) > 0.02).numpy(), structure=torch.ones(3, 3).numpy())[1]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_moved_object_is_the_same_object_elsewhere(channels: int) -> None:
    images = blocks(12, channels)
    centers = torch.rand(12, 2) * torch.tensor(CANVAS)
    moved = place(images, centers, torch.ones(12))
    for before, after in zip(images, moved, strict=True):
        ink = before[before > 0].sort().values
        torch.testing.assert_close(after[after > 1e-9].sort().values, ink)
    assert not torch.equal(moved, images)


def test_objects_go_where_they_are_sent_unless_the_canvas_ends() -> None:
    images = blocks(12)
    inside = torch.tensor(CANVAS) / 2 + torch.randint(-5, 6, (12, 2))
    for image, target in zip(place(images, inside, torch.ones(12)), inside, strict=True):
        y, x = (image[0] > 1e-9).nonzero().double().mean(0) + 0.5
        # Whole pixels: half a pixel off at most on each axis.
        assert abs(y - target[0]) <= 0.5 + 1e-9
        assert abs(x - target[1]) <= 0.5 + 1e-9
    beyond = place(images, torch.full((12, 2), 1_000.0), torch.ones(12))
    torch.testing.assert_close(beyond.sum((1, 2, 3)), images.sum((1, 2, 3)))
    assert (beyond[:, 0, -1].amax(1) > 0.4).all()  # touches the lower edge


@pytest.mark.parametrize("zoom", [1.2, 1.7])
def test_an_enlarged_object_grows_by_the_square_of_the_zoom(zoom: float) -> None:
    images = blocks(12)
    centers = torch.tensor(CANVAS).double() / 2
    larger = place(images, centers.expand(12, 2), torch.full((12,), zoom))
    growth = larger.sum((1, 2, 3)) / images.sum((1, 2, 3))
    # Interpolation keeps the mass of a smooth object; blocks of 3 pixels are not smooth.
    torch.testing.assert_close(growth.mean(), torch.tensor(zoom**2), rtol=0.02, atol=0)


def test_objects_are_not_enlarged_beyond_half_the_canvas() -> None:
    image = torch.zeros(1, 1, *CANVAS)
    image[..., 5:17, 5:10] = 1.0  # 12 of 30 rows: may grow by a quarter
    larger = place(image, torch.tensor([[15.0, 20.0]]), torch.tensor([2.0]))
    # Half the canvas is 15 rows; interpolation may round one of them off.
    assert 14 <= (larger[0, 0] > 0.5).any(1).sum() <= 15


@pytest.mark.parametrize("steps", [2, 3, 5])
def test_counts_are_the_numbers_of_objects(steps: int) -> None:
    scenes = composed(blocks(90), sure_of([1] * 90, steps))
    num = 45 // steps
    assert scenes.counts.tolist() == [n for n in range(1, steps + 1) for _ in range(num)]
    assert len(scenes.images) == len(scenes.weights) == len(scenes.counts)
    usable = scenes.weights > 0
    assert usable[:num].all()
    assert usable[num : 2 * num].sum() >= num / 3
    apart = 0
    for image, count in zip(scenes.images[usable], scenes.counts[usable], strict=True):
        assert 1 <= num_blobs(image) <= count  # two that touch are one blob, and still two
        apart += num_blobs(image) == count
    assert apart > 0.3 * usable.sum()


def test_every_scene_adds_one_object_to_the_last_one() -> None:
    images = blocks(90)
    scenes = composed(images, sure_of([1] * 90)).images.unflatten(0, (3, 15))
    before = torch.zeros_like(scenes[0])
    for scene in scenes:
        added = scene - before
        assert all(num_blobs(image) == 1 for image in added)
        before = scene


def test_neighbors_are_close_and_never_brighter_than_white() -> None:
    scenes = composed(blocks(90), sure_of([1] * 90))
    usable = scenes.images[scenes.weights > 0]
    assert usable.amax() <= 1
    pairs = scenes.images[(scenes.weights > 0) & (scenes.counts == 2)]
    extents = [(image[0] > 0.02).nonzero() for image in pairs]
    spans = torch.stack([(e.amax(0) - e.amin(0)).max() for e in extents]).double()
    # Sizes are 3 to 7, enlarged to 12 at most, centers at most 1.3 sizes apart: 16 + 12 pixels.
    assert spans.max() <= 28
    assert spans.mean() < 15


def test_most_objects_find_a_place() -> None:
    scenes = composed(blocks(90), sure_of([1] * 90))
    assert ((scenes.weights > 0) & (scenes.counts == 2)).sum() >= 0.8 * 15


def test_counts_weigh_as_often_as_the_guide_finds_them_and_none_weighs_nothing() -> None:
    count_probs = torch.tensor([[0.0, 1.0, 0.0, 0.0]] * 60 + [[0.0, 0.0, 1.0, 0.0]] * 30)
    scenes = composed(blocks(90), count_probs)
    sums = torch.stack([scenes.weights[scenes.counts == n].sum() for n in (1, 2, 3)])
    expected = torch.tensor([2 / 3, 1 / 3, 0.0]) + 0.1  # so that no count is unheard of
    torch.testing.assert_close(sums, expected / expected.sum())


def test_portions_hold_every_scene_once_and_weigh_like_all_of_them() -> None:
    made = composed(blocks(90), sure_of([1] * 90), num_portions=4)
    portions = [made.portion(index, 4) for index in range(4)]
    assert [portion.counts.tolist() for portion in portions] == [[1] * 3 + [2] * 3 + [3] * 3] * 4
    images = torch.cat([portion.images for portion in portions])
    for image in made.images:
        assert (images == image).flatten(1).all(dim=1).any()
    log_q = torch.randn(len(made.images), 4).log_softmax(dim=1)
    losses = [portion.loss(log_q[index::4]) for index, portion in enumerate(portions)]
    torch.testing.assert_close(torch.stack(losses).mean(), made.loss(log_q))


def test_a_batch_of_fewer_images_than_portions_still_makes_scenes() -> None:
    made = composed(blocks(3), sure_of([1] * 3), num_portions=4)
    assert made.counts.tolist() == [1] * 3 + [2] * 3 + [3] * 3
    assert sum(len(made.portion(index, 4).counts) for index in range(4)) == 9


def test_without_pairs_there_are_no_scenes() -> None:
    """Otherwise it would be taught that there is one object in every image."""
    images = torch.ones(30, 1, *CANVAS)  # whose objects fill the canvas: no two fit
    assert (composed(images, sure_of([1] * 30)).weights == 0).all()


def test_as_many_objects_are_used_as_the_canvas_holds() -> None:
    images = torch.zeros(60, 1, 30, 12)
    images[..., 10:20, 1:11] = 1.0  # three of them at most, above each other
    scenes = composed(images, sure_of([1] * 60, steps=5))
    usable = scenes.weights > 0
    assert 2 <= scenes.counts[usable].max() <= 3
    torch.testing.assert_close(scenes.weights.sum(), torch.tensor(1.0))


@pytest.mark.parametrize("unbounded", [True, False])
@pytest.mark.parametrize("most", [2, 3, None])
def test_no_scene_has_more_objects_than_is_allowed(unbounded: bool, most: int | None) -> None:
    """What a model is said never to have seen, it has not seen in made scenes either."""
    config = replace(TINY, unbounded=unbounded, model_steps=4)
    train = TrainConfig(model=config, batch_size=30, composite_most=most)
    exact = Exact(AIR(config), (255 * blocks(30)[..., :8, :8]).byte(), train)
    found = Found(sure_of([1, 3] * 15, steps=4), torch.zeros(30, 4, 3), None)
    made = exact._compose(blocks(30), found)
    assert made.counts.max() == (most or 4)  # without a bound one more than the 3 that are found


def test_only_images_that_surely_hold_one_object_are_used() -> None:
    images = blocks(60)
    images[::2] = torch.rand(30, 1, *CANVAS)  # the guide does not know what these are
    count_probs = sure_of([1] * 60)
    count_probs[::2] = torch.tensor([0.01, 0.97, 0.01, 0.01])
    scenes = composed(images, count_probs)
    for image in scenes.images[scenes.weights > 0]:
        assert num_blobs(image) <= 3
    nothing = composed(images, sure_of([0, 2] * 30))
    assert (nothing.weights == 0).all()


def test_without_sure_images_there_is_no_loss_and_no_gradient() -> None:
    air = make_air()
    images = torch.rand(9, 1, *TINY.canvas_size)
    loss = composite_loss(air, images, sure_of([2] * 9))
    assert loss.item() == 0
    loss.backward()
    assert all(p.grad is None or (p.grad == 0).all() for p in air.parameters())


def test_the_loss_teaches_the_guide_to_count_what_was_made() -> None:
    air = make_air()
    images = torch.zeros(30, 1, 8, 8)
    images[torch.arange(30), 0, torch.arange(30) % 8, torch.arange(30) % 7] = 1.0
    count_probs = sure_of([1] * 30)
    optimizer = torch.optim.Adam(air.guide.parameters(), lr=0.01)
    losses = []
    for _ in range(150):
        loss = composite_loss(air, images, count_probs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert all(p.grad is None for p in air.model.parameters())


# Objects cut out of scenes


def scene_with(*boxes: tuple[int, int, int, int]) -> Tensor:
    """Return (1, 1, height, width) with bright blocks at x0, y0, x1, y1."""
    image = torch.zeros(1, 1, *CANVAS)
    for x0, y0, x1, y1 in boxes:
        image[0, 0, y0:y1, x0:x1] = 0.9
    return image


def pose_of(x0: float, y0: float, x1: float, y1: float) -> list[float]:
    """Return the pose whose window is as wide as a box, around the box's middle."""
    height, width = CANVAS
    scale = width / (x1 - x0)
    return [scale, scale * (1 - (x0 + x1) / width), scale * (1 - (y0 + y1) / height)]


def cut(image: Tensor, boxes: list[tuple[int, int, int, int]], error: float = 0.0) -> Tensor:
    """Cut objects out of one scene, again and again; return those that can be used."""
    num, steps = 40, len(boxes) + 1
    images = image.expand(num, -1, -1, -1)
    z_where = torch.tensor([pose_of(*box) for box in boxes] + [[3.0, 0.0, 0.0]])
    count_probs = sure_of([len(boxes)] * num, steps)
    poses, uniform = z_where.expand(num, -1, -1), torch.rand(num)
    objects, usable = cut_out(images, error * images, count_probs, poses, uniform)
    return objects[usable > 0]


APART = [(2, 2, 10, 8), (24, 18, 32, 24)]
CLOSE = [(2, 2, 10, 8), (11, 3, 19, 9)]


def test_an_object_that_stands_alone_is_cut_out_and_nothing_else_is() -> None:
    objects = cut(scene_with(*APART), APART)
    assert len(objects) == 40
    alone = [scene_with(box)[0] for box in APART]
    chosen = [next(i for i, one in enumerate(alone) if torch.equal(one, o)) for o in objects]
    assert set(chosen) == {0, 1}  # either, at random


def test_objects_that_stand_close_are_left() -> None:
    assert not len(cut(scene_with(*CLOSE), CLOSE))
    both = cut(scene_with(*CLOSE, APART[1]), [*CLOSE, APART[1]])
    assert 0 < len(both) < 40
    assert all(torch.equal(one, scene_with(APART[1])[0]) for one in both)


def test_the_only_object_is_taken_whole_however_small_its_window() -> None:
    image = scene_with((2, 2, 20, 20))
    for one in cut(image, [(8, 8, 12, 12)]):
        assert torch.equal(one, image[0])


@pytest.mark.parametrize(("error", "used"), [(0.3, True), (0.5, False)])
def test_what_is_drawn_badly_is_left(error: float, used: bool) -> None:
    """Two objects that were read as one are: 0.3 squared of the energy is left, or 0.5."""
    assert bool(len(cut(scene_with(*APART), APART, error))) == used


def test_scenes_without_objects_and_unsure_ones_are_left() -> None:
    images = scene_with(*APART).expand(3, -1, -1, -1)
    count_probs = torch.tensor([[1.0, 0, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0.999, 0.001]])
    z_where = torch.tensor([pose_of(*box) for box in APART] + [[3.0, 0, 0]]).expand(3, -1, -1)
    _, usable = cut_out(images, 0 * images, count_probs, z_where, torch.rand(len(images)))
    assert usable.tolist() == [0, 0, 1]


def test_scattered_objects_go_anywhere() -> None:
    def distances(scattered: float) -> Tensor:
        torch.manual_seed(0)
        objects, usable = single_objects(blocks(90), sure_of([1] * 90))
        made = compose(objects, usable, sure_of([1] * 90), scattered=scattered)
        first, pair = made.images.unflatten(0, (3, -1))[:2]
        ys, xs = torch.meshgrid(*(torch.arange(side) + 0.5 for side in CANVAS), indexing="ij")

        def middles(images: Tensor) -> Tensor:
            mass = images[:, 0] / images[:, 0].sum(dim=(1, 2), keepdim=True)
            return torch.stack(((mass * ys).sum((1, 2)), (mass * xs).sum((1, 2))), dim=1)

        return (middles(pair - first) - middles(first)).norm(dim=1)

    assert distances(1.0).mean() > 1.5 * distances(0.0).mean()
