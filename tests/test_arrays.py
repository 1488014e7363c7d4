"""What may come in through the public door."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from exact import TINY

from attend_infer_repeat import ShapeError
from attend_infer_repeat.arrays import as_images

COLOUR = replace(TINY, canvas_size=(9, 7), channels=3)

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
    "a list": ([[0.0]], "list"),
    "nothing": (None, "NoneType"),
}


@pytest.mark.parametrize("images", GOOD.values(), ids=GOOD)
def test_images_become_batch_channels_height_width(images: Any) -> None:
    tensor = as_images(images, TINY)
    assert tensor.shape == (len(images), 1, 8, 8)
    assert tensor.dtype in (torch.uint8, torch.get_default_dtype())
    values = images.numpy() if isinstance(images, torch.Tensor) else images
    np.testing.assert_array_equal(tensor.numpy().ravel(), values.astype(float).ravel())


@pytest.mark.parametrize(("images", "message"), BAD.values(), ids=BAD)
def test_what_does_not_fit_is_refused_with_the_way_out(images: Any, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        as_images(images, TINY)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((2, 9, 7, 3), r"transpose\(0, 3, 1, 2\)"),
        ((3, 9, 7), r"images\[None\]"),
        ((2, 9, 7), "expected"),
        ((9, 7), "expected"),
    ],
)
def test_colour_images_need_their_channels_in_front(shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        as_images(np.zeros(shape, np.uint8), COLOUR)


def test_a_batch_of_three_grey_images_is_not_taken_for_one_colour_image() -> None:
    images = as_images(np.zeros((3, 9, 7), np.uint8), replace(COLOUR, channels=1))
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
