"""What may come in through the public door."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import TINY
from PIL import Image

from attend_infer_repeat import DataError, ShapeError
from attend_infer_repeat.arrays import as_images
from attend_infer_repeat.data.pictures.folder import load_path
from attend_infer_repeat.files.sources import find_sources

COLOR = replace(TINY, canvas_size=(9, 7), channels=3)

GOOD = {
    "uint8": np.zeros((2, 8, 8), np.uint8),
    "with channel axis": np.zeros((2, 1, 8, 8), np.uint8),
    "float16": np.ones((2, 8, 8), np.float16),
    "float32": np.ones((2, 8, 8), np.float32),
    "float64": np.ones((2, 8, 8), np.float64),
    "tensor": torch.zeros(2, 8, 8),
    "uint8 tensor": torch.zeros(2, 1, 8, 8, dtype=torch.uint8),
    "flipped view": np.zeros((2, 8, 8), np.uint8)[:, ::-1],
    "strided view": np.zeros((2, 16, 16), np.uint8)[:, ::2, ::2],
    "Fortran order": np.zeros((2, 8, 8), np.uint8, order="F"),
    "broadcast, read-only": np.broadcast_to(np.uint8(3), (2, 8, 8)),
    "big-endian": np.zeros((2, 8, 8), ">f4"),
    "one image": np.zeros((1, 8, 8), np.uint8),
    "long double": np.ones((2, 8, 8), np.longdouble),
    "bfloat16": torch.ones(2, 8, 8, dtype=torch.bfloat16),
    "float8": torch.ones(2, 8, 8).to(torch.float8_e4m3fn),
}

BAD = {
    "wrong size": (np.zeros((2, 9, 8), np.uint8), "resize"),
    "no batch axis": (np.zeros((8, 8), np.uint8), r"images\[None\]"),
    "two channels": (np.zeros((2, 2, 8, 8), np.uint8), "expected"),
    "channels last": (np.zeros((2, 8, 8, 1), np.uint8), "transpose"),
    "five axes": (np.zeros((1, 2, 1, 8, 8), np.uint8), "expected"),
    "a number": (np.array(1, np.uint8), "expected"),
    "int64": (np.zeros((2, 8, 8), np.int64), "int64"),
    "complex": (np.zeros((2, 8, 8), np.complex64), "complex"),
    "objects": (np.zeros((2, 8, 8), object), "object"),
    "text": (np.zeros((2, 8, 8), "U3"), "U3"),
    "NaN": (np.full((2, 8, 8), np.nan), "NaN"),
    "infinite": (np.full((2, 8, 8), np.inf), "infinite"),
    "above 1": (np.full((2, 8, 8), 255.0), "255"),
    "below 0": (np.full((2, 8, 8), -0.1), r"\[0, 1\]"),
    "no images": (np.zeros((0, 8, 8), np.uint8), "at least one"),
    "int16": (np.zeros((2, 8, 8), np.int16), "int16, which does not tell what white is"),
    "big-endian whole numbers": (np.zeros((2, 8, 8), ">i4"), "which does not tell what white is"),
    "whole numbers in a tensor": (torch.zeros(2, 8, 8, dtype=torch.int32), "int32, which does not"),
    "a complex tensor": (torch.zeros(2, 8, 8, dtype=torch.complex64), "complex64"),
    "a sparse tensor": (torch.zeros(2, 8, 8).to_sparse(), "dense"),
    "fields": (np.zeros((2, 8, 8), [("gray", "u1")]), "gray"),
    "dates": (np.zeros((2, 8, 8), "M8[s]"), "datetime64"),
    "bytes": (np.zeros((2, 8, 8), "S3"), "S3"),
    "one axis": (np.zeros(8, np.uint8), "expected"),
    "opacity last": (np.zeros((2, 8, 8, 2), np.uint8), "opacity"),
    "opacity first": (np.zeros((2, 2, 8, 8)), "opacity"),
    "NaN in a tensor": (torch.full((2, 8, 8), torch.nan), "image 0 has NaN"),
    "a list": ([[0.0]], "list"),
    "nothing": (None, "NoneType"),
}


@pytest.mark.parametrize("images", GOOD.values(), ids=GOOD)
def test_images_become_batch_channels_height_width(images: Any) -> None:
    tensor = as_images(images, TINY)
    assert tensor.shape == (len(images), 1, 8, 8)
    assert tensor.dtype in (torch.uint8, torch.get_default_dtype())
    values = images.double().numpy() if isinstance(images, torch.Tensor) else images
    np.testing.assert_array_equal(tensor.numpy().ravel(), values.astype(float).ravel())


@pytest.mark.parametrize(("images", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_with_the_way_out(images: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message) as refusal:
        as_images(images, TINY)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 9, 7, 3), r"transpose\(0, 3, 1, 2\)"),
        ((3, 9, 7), r"images\[None\]"),
        ((2, 9, 7), "expected"),
        ((9, 7), "expected"),
    ],
)
def test_color_images_need_their_channels_in_front(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        as_images(np.zeros(shape, np.uint8), COLOR)


def test_a_batch_of_three_gray_images_is_not_taken_for_one_color_image() -> None:
    images = as_images(np.zeros((3, 9, 7), np.uint8), replace(COLOR, channels=1))
    assert images.shape == (3, 1, 9, 7)


def test_images_are_not_changed() -> None:
    images = np.random.default_rng(0).random((2, 8, 8))
    copy = images.copy()
    as_images(images, TINY).mul_(1.0)
    np.testing.assert_array_equal(images, copy)


def test_bool_images_are_black_and_white() -> None:
    mask = np.eye(8, dtype=bool)[None]
    for images in (mask, torch.from_numpy(mask)):
        np.testing.assert_array_equal(as_images(images, TINY)[:, 0], 255 * mask)


def test_the_first_image_with_a_bad_value_is_named() -> None:
    images = np.full((100, 8, 8), 0.5)
    images[70, 3, 3], images[80, 3, 3] = -1, np.nan
    for given in (images, torch.as_tensor(images)):
        with pytest.raises(ShapeError, match=r"image 70 has -1 to 0.5"):
            as_images(given, TINY)


# One rule for files and for Python

GRAY = np.random.default_rng(0).integers(0, 256, (70, 8, 9), dtype=np.uint8)
GRAY[:, 0] = 0

SAME = {
    "uint8": GRAY,
    "uint16": GRAY.astype(np.uint16) * 257,
    "big-endian uint16": (GRAY.astype(np.uint16) * 257).astype(">u2"),
    "float16": (GRAY / 255).astype(np.float16),
    "float32": (GRAY / 255).astype(np.float32),
    "float64": GRAY / 255,
    "big-endian float32": (GRAY / 255).astype(">f4"),
    "long double": GRAY / np.longdouble(255),
}

SHAPES = {
    "a channel first": GRAY[:, None],
    "a channel last": GRAY[..., None],
    "opacity last": np.stack((GRAY, np.full_like(GRAY, 255)), axis=-1),
    "opacity first": np.stack((GRAY, np.full_like(GRAY, 255)), axis=1),
}

COLORS = {
    "channels first": np.stack((GRAY, GRAY // 2, GRAY * 0), axis=1),
    "channels last": np.stack((GRAY, GRAY // 2, GRAY * 0), axis=-1),
    "opacity last": np.stack((GRAY, GRAY // 2, GRAY * 0, GRAY * 0 + 255), axis=-1),
    "opacity first": np.stack((GRAY, GRAY // 2, GRAY * 0, GRAY * 0 + 255), axis=1),
}

WRONG = {
    "int64": GRAY.astype(np.int64),
    "int16": GRAY.astype(np.int16),
    "uint32": GRAY.astype(np.uint32),
    "big-endian int32": GRAY.astype(">i4"),
    "complex": GRAY.astype(complex),
    "text": GRAY.astype(str),
    "bytes": GRAY.astype(bytes),
    "fields": GRAY.astype([("gray", "u1")]),
    "dates": GRAY.astype("M8[s]"),
    "NaN": np.where(GRAY.max() == GRAY, np.nan, GRAY / 255),
    "infinite": np.where(GRAY.max() == GRAY, np.inf, GRAY / 255),
    "negative": GRAY / 255 - 0.1,
    "above 1": GRAY / 254,
    "no axis": np.array(1.0),
    "one axis": GRAY[0, 0],
    "five axes": GRAY[:, None, None],
    "five channels": np.zeros((2, 8, 8, 5), np.uint8),
    "no images": GRAY[:0],
    "no rows": GRAY[:, :0],
    "no columns": GRAY[:, :, :0],
    "one picture in color": np.zeros((64, 60, 3), np.uint8),
    "one picture with opacity": np.zeros((64, 60, 4), np.uint8),
}


@pytest.fixture(params=[".npy", ".npz"])
def write(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[np.ndarray], Path]:
    """Return what writes an array to a file of either kind."""

    def written(images: np.ndarray) -> Path:
        path = tmp_path / f"images{request.param}"
        if request.param == ".npy":
            np.save(path, images)
        else:
            np.savez(path, images=images)
        return path

    return written


@pytest.mark.parametrize("images", SAME.values(), ids=SAME)
def test_the_type_tells_black_and_white_in_files_and_in_python(images: Any, write: Any) -> None:
    np.testing.assert_array_equal(load_path(write(images), invert="no").images, GRAY)
    config = replace(TINY, canvas_size=(8, 9))
    tensor = as_images(images, config)
    scaled = tensor if tensor.dtype == torch.uint8 else (tensor * 255).round()
    np.testing.assert_array_equal(scaled[:, 0], GRAY)


@pytest.mark.parametrize("images", SHAPES.values(), ids=SHAPES)
def test_gray_files_may_have_their_channels_anywhere(images: Any, write: Any) -> None:
    np.testing.assert_array_equal(load_path(write(images), invert="no").images, GRAY)


@pytest.mark.parametrize("images", COLORS.values(), ids=COLORS)
def test_colored_files_may_have_their_channels_anywhere(images: Any, write: Any) -> None:
    found = load_path(write(images), invert="no").images
    np.testing.assert_array_equal(found, COLORS["channels first"])


def test_a_file_of_two_axes_is_one_gray_picture(write: Any) -> None:
    np.testing.assert_array_equal(load_path(write(GRAY[0]), invert="no").images, GRAY[:1])


@pytest.mark.parametrize("black", [True, False])
def test_transparent_arrays_are_laid_on_the_ground_that_transparent_pictures_are(
    black: bool, write: Any, tmp_path: Path
) -> None:
    drawing = np.zeros((1, 20, 20, 4), np.uint8)
    drawing[0, 5:10, 5:10] = (*((0, 0, 0) if black else (200, 200, 200)), 255)
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(drawing[0]).save(folder / "a.png")
    as_file = load_path(folder, channels=1).images
    for images in (drawing, drawing[..., 2:], drawing.transpose(0, 3, 1, 2), drawing / 255):
        np.testing.assert_array_equal(load_path(write(images), channels=1).images, as_file)


@pytest.mark.parametrize("images", WRONG.values(), ids=WRONG)
def test_what_means_nothing_is_refused_in_one_line_and_takes_no_other_picture_with_it(
    images: Any, write: Any, tmp_path: Path
) -> None:
    path = write(images)
    with pytest.raises(DataError) as refusal:
        load_path(path)
    assert "\n" not in str(refusal.value)
    assert str(path) in str(refusal.value)
    with pytest.raises(ShapeError):
        as_images(images, replace(TINY, canvas_size=(8, 9)))
    Image.fromarray(GRAY[0]).save(tmp_path / "sound.png")
    np.save(tmp_path / "sound.npy", GRAY[:2])
    arguments = [str(tmp_path / "sound.png"), str(path), str(tmp_path / "sound.npy")]
    read = []
    for source in find_sources(arguments):
        try:
            read.append(source.read().size)
        except DataError as error:
            read.append(str(error))
    assert read == [(9, 8), str(refusal.value), (9, 8), (9, 8)]
