"""Large pictures are trained on in parts: what is held out is in no part that is trained on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attend_infer_repeat import load_dataset
from attend_infer_repeat.data import Dataset, hold_out, is_one_part
from attend_infer_repeat.data.pictures.canvas.crops import (
    FEW_PICTURES,
    LARGEST_GRID,
    SHOWS,
    Cropping,
)
from attend_infer_repeat.data.pictures.canvas.scaled import ScaledWhole

SIDE = 20


def ramp(height: int, width: int) -> np.ndarray:
    """Return a picture in which every place is told by its pixels, (height, width, 3)."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, (y + x) % 251], axis=-1).astype(np.uint8)


def place_of(crop: np.ndarray) -> tuple[int, int]:
    return int(crop[0, 0, 0]), int(crop[1, 0, 0])


def load(folder: Path, **options):
    return load_dataset(folder, canvas_size=SIDE, resize="tile", invert="no", **options)


@pytest.fixture
def one(tmp_path: Path) -> Path:
    Image.fromarray(ramp(200, 160)).save(tmp_path / "a.png")
    return tmp_path


def test_crops_are_parts_of_the_picture_wherever_they_lie(one: Path) -> None:
    data, pixels = load(one), ramp(200, 160).transpose(2, 0, 1)
    assert data.images.shape[1:] == (3, SIDE, SIDE)
    places = {place_of(image) for image in data.images}
    assert len(places) > 0.8 * len(data)
    for image in data.images:
        y, x = place_of(image)
        assert (image == pixels[:, y : y + SIDE, x : x + SIDE]).all()
    assert {y % SIDE for y, _ in places} == set(range(SIDE))


def test_no_crop_that_is_trained_on_shows_a_pixel_of_what_is_held_out(one: Path) -> None:
    training, held_out = hold_out(load(one))
    assert 1 <= len(held_out) <= 20  # of 80 cells, about a tenth
    for image in held_out.images:
        y, x = place_of(image)
        for other in training.images:
            b, a = place_of(other)
            assert abs(b - y) >= SIDE or abs(a - x) >= SIDE


def test_of_a_small_picture_nothing_is_held_out(tmp_path: Path) -> None:
    Image.fromarray(ramp(30, 35)).save(tmp_path / "a.png")
    data = load(tmp_path)
    assert len(data) > 50
    assert is_one_part(data)


def held_out_of(folder: Path, num: int, size: tuple[int, int]) -> tuple[Dataset, list[set[int]]]:
    """Return what is held out of numbered pictures, and the numbers of both parts."""
    for i in range(num):
        pixels = ramp(*size)
        pixels[..., 2] = i
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
    training, held_out = hold_out(load(folder))
    numbers = [{int(image[2, 0, 0]) for image in part.images} for part in (training, held_out)]
    return held_out, numbers


def test_of_many_pictures_whole_ones_are_held_out(tmp_path: Path) -> None:
    held_out, of = held_out_of(tmp_path, 3 * FEW_PICTURES, (60, 60))
    assert of[0] & of[1] == set()
    assert len(of[0] | of[1]) == 3 * FEW_PICTURES
    assert len(held_out) == 9 * len(of[1])  # the grid, without overlap


def test_the_same_crops_come_again_whatever_stands_beside_a_picture(one: Path) -> None:
    first = load(one)
    Image.fromarray(ramp(200, 160)).save(one / "b.png")
    again = load(one)
    own = again.images[again.files == "a.png"]
    num = min(len(own), len(first))
    assert num > 100
    places = [[place_of(image) for image in images[:num]] for images in (first.images, own)]
    assert places[0] == places[1]


def test_a_picture_that_fits_comes_onto_one_canvas(tmp_path: Path) -> None:
    for i, size in enumerate([(20, 20), (15, 20), (9, 11)]):
        Image.fromarray(ramp(*size)).save(tmp_path / f"{i}.png")
    assert len(load(tmp_path)) == 3


def test_at_least_half_of_the_crops_show_something_where_anything_does() -> None:
    pixels = np.zeros((1, 1000, 1000), np.uint8)
    pixels[0, 400:430, 700:730] = 255
    cropping = Cropping((SIDE, SIDE), 0.2, by_parts=False, random=True)
    crops = [crop.canvas for crop in cropping.crops(ScaledWhole(pixels), "sparse.png")]
    assert len(crops) == 500
    shows = np.mean([canvas.max() >= SHOWS for canvas in crops])
    uniform = (30 + SIDE) ** 2 / 1000**2
    assert shows > 10 * uniform


def test_an_objects_box_belongs_to_the_crops_that_show_its_center(tmp_path: Path) -> None:
    Image.fromarray(ramp(100, 100)).save(tmp_path / "a.png")
    boxes = [[10, 12, 6, 8], [50, 50, 10, 4], [95, 3, 5, 5]]
    coco = {
        "images": [{"id": 1, "file_name": "a.png", "height": 100, "width": 100}],
        "categories": [{"id": 1, "name": "x"}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 1, "bbox": box} for i, box in enumerate(boxes)
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(coco))
    data = load(tmp_path)
    assert data.counts is not None
    assert data.boxes is not None
    for image, count, found in zip(data.images, data.counts, data.boxes, strict=True):
        y, x = place_of(image)
        inside = [
            [left - x, top - y, left - x + width, top - y + height]
            for left, top, width, height in boxes
            if x <= left + width / 2 < x + SIDE and y <= top + height / 2 < y + SIDE
        ]
        assert count == len(inside)
        assert found[: len(inside)].tolist() == inside


def test_counts_of_whole_pictures_say_nothing_of_their_parts(one: Path) -> None:
    (one / "counts.csv").write_text("file,count\na.png,7\n")
    counts = load(one).counts
    assert counts is not None
    assert (counts == -1).all()


def test_an_array_of_large_images_is_cut_as_files_are(tmp_path: Path) -> None:
    images = np.stack([ramp(60, 60)] * 2).transpose(0, 3, 1, 2)
    images[1, 2] = 9
    boxes = np.array([[[3, 3, 9, 9]], [[40, 40, 50, 50]]], np.float32)
    np.savez(tmp_path / "x.npz", images=images, boxes=boxes, counts=np.array([1, 1]))
    data = load(tmp_path / "x.npz")
    assert len(data) > 2
    assert data.counts is not None
    assert set(data.counts.tolist()) == {0, 1}
    training, held_out = hold_out(data)
    assert len(training) + len(held_out) == len(data)


def test_of_a_few_small_pictures_a_whole_one_is_held_out(tmp_path: Path) -> None:
    _, of = held_out_of(tmp_path, 5, (30, 35))
    assert of[0] & of[1] == set()
    assert len(of[0] | of[1]) == 5


def test_the_grid_of_a_large_picture_is_a_sample_of_it() -> None:
    cropping = Cropping((SIDE, SIDE), 1, by_parts=False, random=False)
    crops = list(cropping.crops(ScaledWhole(np.zeros((1, 1000, 1000), np.uint8)), "x"))
    assert len(crops) == LARGEST_GRID
    assert len({crop.start for crop in crops}) == LARGEST_GRID
