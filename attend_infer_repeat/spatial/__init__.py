"""Between window and canvas: resampling, search over positions, boxes."""

from __future__ import annotations

from .boxes import foreground_boxes, window_boxes
from .search import EnergySearch
from .transformer import MIN_SCALE, Thumbnail, image_to_object, object_to_image

__all__ = [
    "MIN_SCALE",
    "EnergySearch",
    "Thumbnail",
    "foreground_boxes",
    "image_to_object",
    "object_to_image",
    "window_boxes",
]
