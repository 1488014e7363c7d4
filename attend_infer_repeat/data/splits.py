"""Which scenes are trained on, which are held out, and which are the test."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterable
from typing import IO

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError
from .dataset import Dataset

SPLITS = ("train", "validation", "test")

VALIDATION_SIZE = 2_000
"""Scenes held out of a generated training split, or a tenth of it where that is less."""

HELD_OUT = 0.1
"""Share of the user's own pictures that is held out."""

CHUNK = 2**20


def hold_out(data: Dataset) -> tuple[Dataset, Dataset]:
    """Divide a training split into the part to train on and the part to validate with.

    Of generated scenes, which come in no order, the last min(2000, N // 10) are held out, and at
    least one: both parts share memory with the whole.

    Of the user's own pictures, each has a hash: of the name of its file or, in an array, of its
    pixels. Those with hashes in the lowest tenth of the range are held out. So a picture stays in
    its part when others are added or removed, the order of an array does not matter, and copies of
    one image in an array are in the same part. If no hash is that low, the picture with the lowest
    hash is held out. If all are, the picture with the highest hash is trained on.

    Raises: DataError if there are not two scenes, or no two that differ.
    """
    if len(data) < 2:
        raise DataError(
            f"{data.name}: expected at least 2 images, one to train on and one to hold out, "
            f"got {len(data)}. Add more images."
        )
    if data.generated:
        num_held_out = max(1, min(VALIDATION_SIZE, len(data) // 10))
        rest, held_out = data[:-num_held_out], data[-num_held_out:]
    else:
        held = _held_out(data)
        rest, held_out = data[~held], data[held]
    return rest, dataclasses.replace(held_out, split="validation")


def is_one_part(data: Dataset) -> bool:
    """Tell whether nothing can be held out, since all is one picture, or one part of it."""
    return len(data) == 1 or (data.parts is not None and bool((data.parts == data.parts[0]).all()))


def _held_out(data: Dataset) -> NDArray[np.bool_]:
    """Return which pictures are held out, (N,)."""
    if data.parts is not None:
        keys = data.parts
    else:
        keys = _digests(data) if data.files is None else name_digests(data.files)
    low, high = keys.min(), keys.max()
    if low == high:
        raise DataError(
            f"{data.name}: all of its {len(data)} images are the same; expected one to train on "
            "and another one to hold out. Add other images."
        )
    held = is_held_out(keys)
    if not held.any():
        held = keys == low
    return keys != high if held.all() else held


def is_held_out(keys: NDArray[np.uint64]) -> NDArray[np.bool_]:
    """Return whether hashes are in the lowest tenth of their range."""
    held: NDArray[np.bool_] = keys < np.uint64(HELD_OUT * 2**64)
    return held


def fingerprint(data: Dataset) -> str:
    """Return a split's name, the number of its images, and a SHA-256 of them in their order."""
    digest = hashlib.sha256(_digests(data).astype("<u8").tobytes()).hexdigest()
    return f"{data.split}: {len(data)} images, SHA-256 {digest}"


def find_change(data: Dataset, fingerprints: tuple[str, ...]) -> str | None:
    """Tell how a split differs from what it was when its fingerprint was taken.

    Returns: a few words, or None if it does not, or there is no fingerprint of it.
    """
    old = next((f for f in fingerprints if f.startswith(f"{data.split}: ")), None)
    if old is None or old == fingerprint(data):
        return None
    num = old.removeprefix(f"{data.split}: ").partition(",")[0]
    now = "others now" if num == f"{len(data)} images" else f"{len(data)} now"
    return f"{num} then, {now}"


def _digests(data: Dataset) -> NDArray[np.uint64]:
    return content_digests(data.images) if data.digests is None else data.digests


def content_digests(images: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a digest of each image's pixels, (N,)."""
    return _first_words(hashlib.sha256(np.ascontiguousarray(image).data) for image in images)


def name_digests(names: Iterable[str]) -> NDArray[np.uint64]:
    """Return a digest of each name, (N,)."""
    return _first_words(hashlib.sha256(_as_bytes(name)) for name in names)


def file_digest(name: str, file: IO[bytes]) -> int:
    """Return a digest of a file's name and content."""
    digest = hashlib.sha256(_as_bytes(name) + b"\0")
    while chunk := file.read(CHUNK):
        digest.update(chunk)
    return int(_first_words([digest])[0])


def _as_bytes(name: str) -> bytes:
    return str(name).encode("utf-8", "surrogateescape")


def _first_words(digests: Iterable[hashlib._Hash]) -> NDArray[np.uint64]:
    return np.frombuffer(b"".join(digest.digest()[:8] for digest in digests), "<u8").astype(
        np.uint64
    )
