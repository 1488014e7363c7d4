"""Pictures as they travel: base64 in, PNG data URIs out."""

from __future__ import annotations

import base64
import binascii
import io
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..data.pictures.background.border import ByBorder
from ..data.pictures.canvas.framing import Frame, Framing, place, place_canvas
from ..data.pictures.reading.decoding import read_picture
from ..data.pictures.reading.pixels import from_intensity
from ..errors import DataError, ShapeError
from ..files.records import check_finite
from .limits import MAX_PIXELS
from .schemas import InferRequest, SampleRequest

COMPRESSION = 1  # of 9: a tenth larger than the best, in half the time


class Picture(NamedTuple):
    """A picture on the model's canvas."""

    canvas: NDArray[np.uint8]  # (channels, height, width)
    frame: Frame


def has_picture(ask: InferRequest | SampleRequest) -> bool:
    """Tell whether a picture was sent. Raises: ShapeError if two were."""
    if ask.image is not None and ask.pixels is not None:
        raise ShapeError("image, pixels: got both; send one of them.")
    return ask.image is not None or ask.pixels is not None


def read_sent(ask: InferRequest | SampleRequest, framing: Framing) -> Picture:
    """Bring the picture that was sent to the canvas.

    Raises: DataError if there is none or it cannot be read; ShapeError if its pixels are not those
        of a canvas.
    """
    if not has_picture(ask):
        raise ShapeError("image, pixels: got neither; send one of them.")
    if ask.invert is not None:
        framing = replace(framing, foreground=ByBorder(ask.invert))
    if ask.image is not None:
        picture = read_picture(io.BytesIO(_decoded(ask.image)), "image", MAX_PIXELS, framing.need)
        if framing.resize == "tile":  # the page has one canvas: a larger picture is shrunk to it
            framing = replace(framing, resize="pad")
        return Picture(*place(picture, framing))
    return Picture(*place_canvas(_as_canvas(ask.pixels, framing), framing))


def _decoded(text: str) -> bytes:
    """Return the bytes of base64, bare or in a data URI."""
    if text.startswith("data:"):
        head, comma, text = text.partition(",")
        if not comma or not head.endswith(";base64"):
            raise DataError("image: a data URI without base64; expected data:image/png;base64,...")
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise DataError(
            "image: not base64; send the file's bytes in base64, bare or as a data URI."
        ) from error


def _as_canvas(pixels: object, framing: Framing) -> NDArray[np.uint8]:
    """Return (channels, height, width) uint8 of intensities in lists."""
    try:
        array = np.array(pixels, dtype=np.float64)
    except ValueError as error:
        raise ShapeError("pixels: rows of unlike lengths; send all pixels.") from error
    if array.ndim == 2:
        array = array[None]
    expected = (framing.channels, *framing.canvas_size)
    if array.shape != expected:
        raise ShapeError(
            f"pixels: expected (channels, height, width) = {expected}, got {array.shape}; "
            "send a picture of another size as image."
        )
    return np.round(255 * array).astype(np.uint8)


def data_uri(image: NDArray[np.floating] | NDArray[np.uint8]) -> str:
    """Return a picture, (channels, height, width), as a PNG in a data URI.

    Args:
        image: of 1 (gray), 3 (colors) or 4 channels (colors and opacity); uint8 or intensity,
            which is cut off at 0 and 1.
    Raises: NotFiniteError if an intensity is not finite.
    """
    if image.dtype != np.uint8:
        check_finite("image", image)
        image = from_intensity(image)
    pixels = image[0] if len(image) == 1 else np.ascontiguousarray(image.transpose(1, 2, 0))
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=COMPRESSION)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def transparent(layers: NDArray[np.floating], hides: bool) -> NDArray[np.floating]:
    """Return an object, of ``SceneModel.layers``, as colors and opacity: (4, height, width).

    Opacity is its own where objects hide one another, else the intensity, the brightest channel's;
    laid on black it looks as the object does.
    """
    layers = layers.clip(0, 1)
    image, opacity = (layers[:-1], layers[-1]) if hides else (layers, layers.max(axis=0))
    colors = np.divide(image, opacity, out=np.ones_like(image), where=opacity > 0)
    return np.concatenate((np.broadcast_to(colors, (3, *opacity.shape)), opacity[None]))
