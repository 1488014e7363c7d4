"""What is behind the objects, how they differ from it and how large they are: found, on any ground.

Every test draws its own pictures, with known background, noise and sizes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from attend_infer_repeat.data.pictures.background.background import Black, Level, Smooth
from attend_infer_repeat.data.pictures.background.common import Common
from attend_infer_repeat.data.pictures.background.smooth import (
    level_of,
    noise_sd,
    smooth_background,
)
from attend_infer_repeat.data.pictures.reading.sampling import spread
from attend_infer_repeat.data.pictures.survey.components import size_modes
from attend_infer_repeat.data.pictures.survey.look import look_at
from attend_infer_repeat.data.pictures.survey.survey import Survey, survey

Draw = Callable[[np.random.Generator], np.ndarray]


def discs(
    rng: np.random.Generator, side: int, radii: tuple[float, float], most: int, apart: float = 2.0
) -> np.ndarray:
    """Return discs, 1 on 0, smoothed at their edges, with a gap of ``apart`` pixels."""
    y, x = np.mgrid[:side, :side] + 0.5
    placed: list[tuple[float, float, float]] = []
    for _ in range(rng.integers(1, most + 1)):
        for _ in range(200):
            r = rng.uniform(*radii)
            cy, cx = rng.uniform(r, side - r, 2)
            if all(np.hypot(cy - a, cx - b) > r + q + apart for a, b, q in placed):
                placed.append((cy, cx, r))
                break
    image = np.zeros((side, side))
    for cy, cx, r in placed:
        image = np.maximum(image, (r + 0.5 - np.hypot(y - cy, x - cx)).clip(0, 1))
    return image


def look(draw: Draw, num: int = 24, seed: int = 0) -> Survey:
    rng = np.random.default_rng(seed)
    return survey([look_at(Image.fromarray(as_bytes(draw(rng)))) for _ in range(num)])


def as_bytes(image: np.ndarray) -> np.ndarray:
    return image.clip(0, 255).round().astype(np.uint8)


def slope(side: int, angle: float, strength: float) -> np.ndarray:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]
    return strength * (x * np.cos(angle) + y * np.sin(angle)) - strength / 2 * (x**2 + y**2)


def black(rng):
    return 200 * discs(rng, 96, (7, 9), 5)


def dim_level(rng):
    return 23 + 60 * discs(rng, 96, (7, 9), 5) + rng.normal(0, 1, (96, 96))


def noisy_level(rng):
    return 26 + 80 * discs(rng, 96, (7, 9), 5) + rng.normal(0, 4, (96, 96))


def any_level(rng):
    return rng.uniform(30, 150) + 80 * discs(rng, 96, (7, 9), 5)


def paper(rng):
    return 240 - 180 * discs(rng, 96, (7, 9), 5) + rng.normal(0, 3, (96, 96))


def both(rng):
    darker = 70 * discs(rng, 96, (7, 9), 2)
    return 110 + np.where(darker > 0, -darker, 100 * discs(rng, 96, (7, 9), 3))


def uneven(rng):
    ground = 80 + slope(96, rng.uniform(0, 6), 50)
    return ground + 90 * discs(rng, 96, (7, 9), 5) + rng.normal(0, 3, (96, 96))


def frame(rng):
    image = 200 * discs(rng, 96, (7, 9), 5)
    image[:2] = image[-2:] = image[:, :2] = image[:, -2:] = 255
    return image


def screen(rng):
    fixed = 60 * (np.indices((96, 96)).sum(axis=0) // 16 % 2) + 40.0
    return fixed + 120 * discs(rng, 96, (7, 9), 3)


@pytest.mark.parametrize(
    ("draw", "background", "objects"),
    [
        (black, Black, "brighter"),
        (dim_level, Level, "brighter"),
        (noisy_level, Level, "brighter"),
        (any_level, Level, "brighter"),
        (paper, Level, "darker"),
        (both, Level, "both"),
        (uneven, Smooth, "brighter"),
        (frame, Common, "brighter"),
        (screen, Common, "brighter"),
    ],
)
@pytest.mark.parametrize("seed", [0, 1])
def test_background_direction_and_size_are_found_whatever_is_behind(
    draw: Draw, background: type, objects: str, seed: int
) -> None:
    found = look(draw, seed=seed)
    assert isinstance(found.background, background)
    assert found.objects == objects
    assert found.side == pytest.approx(16.5, rel=0.12)
    assert len(found.single.sides) > 0.7 * len(found.gathered.sides)


def test_the_level_of_all_pictures_is_one_setting_and_their_own_level_is_none() -> None:
    same, own = look(dim_level).background, look(any_level).background
    assert isinstance(same, Level)
    assert isinstance(own, Level)
    assert same.level == pytest.approx((23 / 255,), abs=1 / 255)
    assert own.level == ()


def test_clusters_are_seen_as_clusters() -> None:
    """Where most objects touch, a median is a cluster's size, and the mode is not."""

    def touching(rng):
        pairs = 200 * discs(rng, 128, (8, 8), 2, apart=24)
        return np.maximum(pairs, np.roll(pairs, 15, axis=rng.integers(2)))  # each touches its copy

    found = look(
        lambda rng: touching(rng) if rng.random() < 0.6 else 200 * discs(rng, 128, (8, 8), 4, 2), 40
    )
    assert found.side == pytest.approx(16, rel=0.1)
    assert found.num_clusters > 0.2 * len(found.gathered.sides)
    assert np.percentile(found.gathered.sides, 75) > 1.5 * found.side


def test_a_closer_look_is_taken_at_large_pictures_of_small_objects() -> None:
    y, x = np.mgrid[:2048, :2048]
    image = as_bytes(200.0 * (np.hypot(y % 64 - 32, x % 64 - 32) < 8))
    found = survey([look_at(Image.fromarray(image))])
    assert found.side == pytest.approx(15, abs=1)


def test_large_objects_are_measured_in_the_pictures_own_pixels() -> None:
    image = as_bytes(255 * discs(np.random.default_rng(0), 1500, (150, 150), 1))
    found = survey([look_at(Image.fromarray(image))])
    assert found.side == pytest.approx(300, abs=8)
    assert found.energy == pytest.approx(np.pi * 150**2, rel=0.05)


@pytest.mark.parametrize("level", [0, 30])
def test_a_few_very_bright_objects_are_shown_with_less_contrast(level: int) -> None:
    def draw(rng: np.random.Generator, share: float) -> np.ndarray:
        image, (first_y, first_x) = np.full((160, 160), float(level)), rng.integers(2, 24, 2)
        for y in range(first_y, 140, 24):
            for x in range(first_x, 140, 24):
                brightness = 220 if rng.random() < share else rng.uniform(35, 55)
                image[y : y + 12, x : x + 12] += brightness
        return image + rng.normal(0, 1.5, image.shape)

    some, none = look(lambda rng: draw(rng, 0.06)), look(lambda rng: draw(rng, 0.0))
    assert none.tone.stretch == 0
    assert some.tone.stretch == pytest.approx(220 / 45 / 1.5, rel=0.1)
    assert some.tone.contrast == pytest.approx(220 / 255, rel=0.1)
    assert some.side == pytest.approx(12, abs=1)
    brightest, typical = np.percentile(some.gathered.energies, (99, 50))
    assert brightest < (220 / 45) ** 2 / 2 * typical


def test_noise_alone_shows_nothing() -> None:
    found = look(lambda rng: 120 + rng.normal(0, 5, (100, 100)))
    assert not found.shows_something


@pytest.mark.parametrize("sd", [0.5, 3.0, 12.0])
def test_the_noise_is_measured_whatever_the_picture_shows(sd: float) -> None:
    rng = np.random.default_rng(0)
    image = (
        60 + slope(128, 1, 40) + 90 * discs(rng, 128, (6, 12), 8) + rng.normal(0, sd, (128, 128))
    )
    assert noise_sd(image.astype(np.float32)) == pytest.approx(sd, rel=0.15)


def test_a_level_is_where_most_pixels_are() -> None:
    rng = np.random.default_rng(0)
    image = np.where(discs(rng, 100, (10, 15), 5) > 0.5, 0.9, 0.2) + rng.normal(0, 0.02, (100, 100))
    assert level_of(image[None].astype(np.float32)) == pytest.approx([0.2], abs=0.004)


@pytest.mark.parametrize("share", [0.05, 0.3])
def test_a_smooth_background_goes_on_behind_objects(share: float) -> None:
    rng = np.random.default_rng(0)
    ground = (90 + slope(128, 2, 50)).clip(0, 255) / 255
    objects = np.zeros((128, 128))
    while objects.mean() < share:
        objects = np.maximum(objects, discs(rng, 128, (6, 9), 1))
    image = ground + 0.3 * objects + rng.normal(0, 0.01, (128, 128))
    found = smooth_background(image.astype(np.float32), 20)
    assert np.abs(found - ground).max() < 0.05
    assert np.sqrt(((found - ground) ** 2).mean()) < 0.01


def test_the_first_large_mode_is_an_objects_size() -> None:
    rng = np.random.default_rng(0)
    singles, pairs = rng.normal(18, 0.8, 60), rng.normal(34, 2, 60)
    debris = rng.uniform(3, 6, 200)
    for sides in ((singles, pairs), (singles, debris)):
        assert size_modes(np.concatenate(sides))[0].side == pytest.approx(18, rel=0.05)
    assert size_modes(np.array([7.0]))[0].side == pytest.approx(7, rel=0.02)


def test_other_modes_follow_by_their_heights() -> None:
    """Of equal shapes, a mode is as high as it has components, times their side."""
    logs = np.linspace(-0.1, 0.1, 21)
    parts = [np.repeat(side * np.exp(logs), num) for side, num in ((10, 9), (20, 6), (40, 2))]
    modes = size_modes(np.concatenate(parts))
    assert [mode.side for mode in modes] == pytest.approx([10, 20, 40], rel=0.02)
    assert [mode.height for mode in modes] == pytest.approx([90 / 120, 1, 80 / 120], rel=0.02)


@pytest.mark.parametrize(("num", "sample"), [(3, 400), (400, 400), (10_001, 400), (1, 1)])
def test_a_sample_is_spread_from_the_first_to_the_last(num: int, sample: int) -> None:
    rows = spread(num, sample)
    assert len(set(rows)) == min(num, sample)
    assert (rows[0], rows[-1]) == (0, num - 1)
    assert len(np.unique(np.diff(rows))) <= 2


def test_a_finding_outlives_a_closer_look_at_nothing() -> None:
    image = np.zeros((3000, 3000), np.uint8)
    for i in range(10):
        for j in range(10):
            image[60 * i + 10 : 60 * i + 50, 60 * j + 10 : 60 * j + 50] = 200  # in one corner
    found = survey([look_at(Image.fromarray(image))])
    assert found.shows_something
    assert found.side == pytest.approx(40, abs=3)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_background_has_the_channels_of_the_canvas(channels: int) -> None:
    rng = np.random.default_rng(0)
    looks = []
    for _ in range(12):
        scene = discs(rng, 96, (7, 9), 4)[..., None] * np.array([150.0, 20, 60])
        looks.append(look_at(Image.fromarray(as_bytes(60 + scene))))
    found = survey(looks, channels)
    assert isinstance(found.background, Level)
    assert len(found.background.level) == channels
    assert found.side == pytest.approx(16.5, rel=0.12)


def test_pictures_that_are_all_the_same_are_not_their_own_background() -> None:
    image = as_bytes(200 * discs(np.random.default_rng(1), 96, (7, 9), 3))
    found = survey([look_at(Image.fromarray(image)) for _ in range(20)])
    assert not isinstance(found.background, Common)
    assert found.shows_something


def test_a_score_board_is_behind_the_objects_whatever_it_shows() -> None:
    """Of a pixel that is one of two values in many pictures, either is background."""
    rng = np.random.default_rng(0)

    def board(rng):
        image = 50 + 120 * discs(rng, 96, (7, 9), 3, 2)
        image[:14] = 50
        for digit in range(3):  # each on in half of the pictures
            image[2:12, 20 * digit + 4 : 20 * digit + 18] = 200 if rng.random() < 0.5 else 90
        return image

    found = look(board, 60)
    assert isinstance(found.background, Common)
    assert found.side == pytest.approx(16.5, rel=0.12)
    left = found.background.of(as_bytes(board(rng))[None].astype(np.float32) / 255)
    assert set(np.round(255 * left[0, 4, [6, 26, 46]])) <= {90, 200}
    whole = [own.sides[~own.cut] for own in found.components]
    assert all((np.abs(sides - 16.5) < 3).all() for sides in whole)  # no part of the board is one


def test_objects_that_are_often_somewhere_are_no_background() -> None:
    crowd = look(lambda rng: frame(rng) * 0 + 255 * discs(rng, 96, (9, 10), 12, 1), 60)
    assert not isinstance(crowd.background, Common)
    framed_crowd = look(
        lambda rng: np.maximum(frame(rng), 255 * discs(rng, 96, (9, 10), 12, 1)), 60
    )
    assert framed_crowd.side == pytest.approx(19, rel=0.12)
    assert framed_crowd.shows_something


@pytest.mark.parametrize(
    ("nums", "rivals"),
    [
        ({18: 30}, ()),
        ({18: 30, 22: 25}, ()),  # nearly the same size
        ({18: 30, 30: 5}, ()),  # too few
        ({18: 30, 27: 18}, (27,)),
        ({18: 30, 27: 10, 40: 10, 60: 8}, (60, 40)),  # two at most
    ],
)
def test_a_survey_names_other_sizes_that_may_be_an_objects(nums, rivals) -> None:
    rng = np.random.default_rng(0)
    images = np.zeros((sum(nums.values()), 90, 90), np.uint8)
    for image, side in zip(images, np.repeat(list(nums), list(nums.values())), strict=True):
        y, x = rng.integers(1, 89 - side, 2)
        image[y : y + side, x : x + side] = 200
    found = survey([look_at(Image.fromarray(image)) for image in images])
    assert found.side == pytest.approx(18, rel=0.05)
    assert found.rivals == pytest.approx(rivals, rel=0.03)
    for side in rivals:
        assert np.median(found.assuming(side).single.sides) == pytest.approx(side, rel=0.03)


# Sizes


def of_sizes(kinds: dict[tuple[float, float], int]) -> Draw:
    """Return pictures of up to so many discs of each of some ranges of radii, on noise."""

    def draw(rng: np.random.Generator) -> np.ndarray:
        image = np.zeros((128, 128))
        for radii, most in kinds.items():
            own = discs(rng, 128, radii, most, apart=4)
            near = ndimage.maximum_filter(image, 7)
            image = np.where((own * near).any(), image, image + own)
        return 20 + 150 * image + rng.normal(0, 3, image.shape)

    return draw


@pytest.mark.parametrize(
    ("kinds", "sides"),
    [
        ({(18, 22): 1, (3, 4): 5}, (7, 42)),
        ({(18, 22): 1, (3, 4): 12}, (7, 42)),
        ({(14, 16): 2, (5, 6): 2}, (11, 31)),
    ],
)
def test_objects_of_many_sizes_are_told_with_the_smallest_and_the_largest(kinds, sides) -> None:
    found = look(of_sizes(kinds), num=60).sizes
    assert found is not None
    assert np.percentile(found.sides, (5, 95)) == pytest.approx(sides, rel=0.25)


def debris(rng: np.random.Generator) -> np.ndarray:
    """Return discs among which there are many specks, which are dim."""
    image = discs(rng, 128, (8, 10), 4)
    for y, x in rng.integers(0, 124, (12, 2)):
        image[y : y + 4, x : x + rng.integers(3, 5)] += 0.4
    return 20 + 150 * image


def clusters(rng: np.random.Generator) -> np.ndarray:
    """Return discs in rows that touch."""
    image = np.zeros((128, 128))
    y, x = np.mgrid[:128, :128] + 0.5
    for top in (20, 60, 100):
        left, num = rng.uniform(12, 60), rng.integers(1, 4)
        for k in range(num):
            image = np.maximum(image, np.hypot(y - top, x - left - 17 * k) < 9)
    return 20 + 150 * image


@pytest.mark.parametrize("draw", [black, noisy_level, any_level, debris, clusters])
def test_debris_and_clusters_are_no_objects_of_other_sizes(draw: Draw) -> None:
    assert look(draw).sizes is None
