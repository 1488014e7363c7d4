"""What a report's sections are made of: figures as numbers, and figures as pictures."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

from matplotlib.figure import Figure

from ..data import Dataset
from .plots import plural


@dataclass(frozen=True)
class Number:
    """A headline figure."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Picture:
    """An image inside the page."""

    src: str
    alt: str
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Images of one kind, each over its reconstruction."""

    title: str
    text: str
    pictures: list[Picture]


def picture(
    figure: Figure, alt: str, title: str = "", caption: str = "", dpi: int = 150
) -> Picture:
    """Return a figure as a PNG inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    src = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(src, alt, title, caption)


def where(data: Dataset) -> str:
    """Say which images figures are of."""
    return f"{data.name}, {data.split} split, {plural(len(data), 'image')}"
