"""Image files in, scenes out: what ``air infer`` reads and writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .air import Scenes
from .config import ModelConfig
from .errors import DataError, ShapeError


def read_picture(path: Path, config: ModelConfig) -> NDArray[np.uint8]:
    """Read an image file of the model's canvas size, as grey or RGB as the model wants it.

    Returns: (channels, height, width), uint8.
    Raises: DataError if the file is missing or not an image; ShapeError if its size differs.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            image = np.asarray(file.convert("L" if config.channels == 1 else "RGB"))
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file.") from error
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise DataError(f"{path}: not an image that can be read, or damaged.") from error
    if image.shape[:2] != config.canvas_size:
        height, width = config.canvas_size
        raise ShapeError(
            f"{path}: {image.shape[1]} x {image.shape[0]} pixels (width x height), but the model "
            f"was trained on {width} x {height}; resize the image or train on images of its size."
        )
    return np.atleast_3d(image).transpose(2, 0, 1)


def scene_record(file: str, scenes: Scenes, index: int) -> dict[str, Any]:
    """Return one image's scene as plain values, ready for JSON.

    ``score`` is q(z_pres_t = 1 | x), the probability that the image has at least t objects; boxes
    are pixels x0, y0, x1, y1.
    """
    count_probs = scenes.count_probs[index]
    count = int(scenes.counts[index])
    return {
        "file": file,
        "count": count,
        "count_probs": _rounded(count_probs),
        "objects": [
            {
                "step": t + 1,
                "score": round(float(count_probs[t + 1 :].sum()), 6),
                "box": _rounded(scenes.boxes[index, t], 3),
                "z_where": _rounded(scenes.z_where[index, t]),
                "z_what": _rounded(scenes.z_what[index, t]),
            }
            for t in range(count)
        ],
    }


def _rounded(values: NDArray[np.float32], digits: int = 6) -> list[float]:
    return [round(float(value), digits) for value in values]
