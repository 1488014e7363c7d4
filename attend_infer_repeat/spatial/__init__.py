"""Between window and canvas."""

from __future__ import annotations

from .transformer import (
    FAINT,
    LARGEST_FACTOR,
    MIN_SCALE,
    POINTS,
    Seek,
    Shrink,
    image_to_object,
    ink_boxes,
    object_to_image,
    window_boxes,
)

__all__ = [
    "FAINT",
    "LARGEST_FACTOR",
    "MIN_SCALE",
    "POINTS",
    "Seek",
    "Shrink",
    "image_to_object",
    "ink_boxes",
    "object_to_image",
    "window_boxes",
]
