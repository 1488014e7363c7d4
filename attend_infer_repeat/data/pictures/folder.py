"""The user's own images: a folder of pictures, or a ``.npz`` or ``.npy`` file of arrays."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError, ShapeError
from ..dataset import Dataset
from ..sets.parallel import in_parallel
from ..splits import content_digests
from .background.background import Tone, foreground_of
from .background.border import ByBorder
from .canvas.crops import Cropping
from .canvas.framing import Framing
from .canvas.rows import Placed, Rows, place_all
from .options import Options
from .reading.array_files import as_picture, check_truths, read_arrays
from .reading.decoding import WHOLE, Need, shown
from .reading.items import Item, close_all, items_of
from .reading.labels import read_labels
from .reading.paths import is_arrays, is_folder, picture_files, split_path
from .reading.sampling import spread

if TYPE_CHECKING:
    from .survey.look import Look
    from .survey.survey import Survey

logger = logging.getLogger(__name__)

LARGEST_CANVAS = 256
"""The largest side, in pixels, of a canvas that is taken from the pictures."""


def load_path(
    path: str | os.PathLike[str], split: Literal["train", "test"] = "train", **options: Any
) -> Dataset:
    """Load the user's own images.

    A folder holds pictures (PNG, JPEG, TIFF, BMP, GIF) of any sizes, sorted by name; a stack or a
    video in it, or given by itself, is as many as it has pages, slices or frames. Pictures of
    more than one size are brought to one canvas; dark objects on a bright background become bright
    ones on black. ``counts.csv`` beside them, with columns ``file`` and ``count``, tells the number
    of objects in some or all, a COCO file their boxes too. A picture that cannot be read is named
    in the log and left out. Other files, hidden files and sub-folders are left alone.

    An ``.npz`` file holds ``images``, as ``pixels`` has it, and may hold ``counts``, ``boxes`` and
    ``labels`` as in ``Dataset``. An ``.npy`` file holds the images alone.

    A zarr counts as a file. A picture of it that may be larger than memory is read in parts.

    Args:
        path: a folder, a picture, a stack, a video or a zarr, an ``.npz`` or an ``.npy`` file.
        split: ``"train"`` for all images at the path; ``"test"`` for those in the folder's
            sub-folder ``test``, or in ``NAME_test.npz`` beside ``NAME.npz``.
        **options: see ``Options``, and ``FramingConfig`` for those of the framing.
    Raises: DataError if there is nothing at the path that can be used, or what is there
        contradicts itself; the message names the file.
    """
    source = split_path(path, split)
    chosen = Options.of(**options)
    whole = Path(path).resolve()
    name = whole.name if is_folder(whole) else whole.stem
    load = _load_arrays if is_arrays(source) else _load_files
    return load(source, name, split, chosen)


def survey_path(
    path: str | os.PathLike[str],
    strict: bool = False,
    need: Need = WHOLE,
    channels: int | None = None,
    tone: Tone | None = None,
) -> Survey:
    """Look at a sample of the user's own images.

    Args:
        path: as in ``load_path``.
        strict: stop at a picture that cannot be read.
        need: what becomes black and white, and which channels are taken.
        channels: 1 or 3 of the canvas; what the pictures have if None.
        tone: how differences from the background are shown; chosen from them if None.
    Raises: DataError as ``load_path``.
    """
    from .survey.survey import survey

    source = split_path(path, "train")
    if is_arrays(source):
        looks = _look_at_arrays(read_arrays(source, need.values)["images"], need, closely=True)
    else:
        items = items_of(picture_files(source))
        looks = _look_at_items(source, items, strict, need, closely=True)
    return survey(looks, channels, tone)


def _load_files(source: Path, name: str, split: str, options: Options) -> Dataset:
    files = picture_files(source)
    items = items_of(files)
    need = Need(values=options.framing.range, channels=options.framing.select)
    labels = None
    if is_folder(source):
        labels = read_labels(source, [item.name for item in items], options.strict)
    items = [items[i] for i in spread(len(items), options.sample or len(items))]
    looks = _look_at_items(source, items, options.strict, need)
    framing = _framing(looks, options)
    cropping = _cropping(looks, len(items), framing, split)
    rows = Rows()
    last: Item | None = None
    for item, read in zip(items, _read_all(items, need, framing, cropping), strict=True):
        if last is not None and last.pictures is not item.pictures:
            last.pictures.close()
        last = item
        if isinstance(read, DataError):
            _skip(read, options.strict)
            continue
        placed, digest = read
        rows.add(item.name, placed, digest)
    if not rows.frames:
        raise DataError(f"{shown(source)}: none of its {len(items)} images can be read.")
    _log_loaded(source, len(items), rows, framing)
    if labels is not None:
        known = len(labels.counts.keys() & set(rows.sources))
        logger.info(
            "%s: counts are known of %d of %d images", shown(source), known, len(rows.frames)
        )
    return rows.of_files(name, split, labels)


def _read_all(
    items: Sequence[Item], need: Need, framing: Framing, cropping: Cropping | None
) -> Any:
    """Yield (canvases, digest) of each picture, or what is wrong with it.

    With a bar on a terminal.
    """
    from ...console import progress_bar

    def read(item: Item) -> tuple[list[Placed], int] | DataError:
        try:
            return place_all(item.read(need), item.name, framing, cropping), item.digest()
        except DataError as error:
            return error
        except ShapeError as error:
            return DataError(f"{shown(item.path)}: {error}")

    return progress_bar(in_parallel(read, items), len(items), "Reading")


def _look_at_items(
    source: Path, items: Sequence[Item], strict: bool, need: Need, closely: bool = False
) -> list[Look]:
    from .survey.look import Look, look_at

    def look(item: Item) -> Look | DataError:
        try:
            return look_at(item.read(need), closely)
        except DataError as error:
            return error

    chosen = [items[i] for i in spread(len(items))]
    looks = list(in_parallel(look, chosen))
    close_all(chosen)
    wrong = [found for found in looks if isinstance(found, DataError)]
    if wrong and strict:
        raise wrong[0]
    sound = [found for found in looks if isinstance(found, Look)]
    if not sound:
        for error in wrong:
            _skip(error, strict)
        tried = "" if len(looks) == len(items) else f"{len(looks)} of "
        raise DataError(
            f"{shown(source)}: none of {tried}its {len(items)} images can be read."
        ) from wrong[0]
    return sound


def _look_at_arrays(images: NDArray[np.uint8], need: Need, closely: bool = False) -> list[Look]:
    from .survey.look import look_at

    chosen = images[spread(len(images))]
    return [look_at(need.with_channels(as_picture(image)), closely) for image in chosen]


def _skip(error: DataError, strict: bool) -> None:
    if strict:
        raise error
    logger.warning("Skipped %s", error)


def _framing(looks: Sequence[Look], options: Options) -> Framing:
    """Decide on what the options leave open, from what the pictures look like."""
    from .survey.look import channels_of, largest_size

    own = options.framing
    canvas_size = options.canvas_size
    if isinstance(canvas_size, int):
        canvas_size = canvas_size, canvas_size
    if canvas_size is None:
        # Their own size, or the smallest canvas that holds all sizes; not too large to be drawn.
        width, height = largest_size(looks)
        shrink = min(1.0, LARGEST_CANVAS / max(width, height))
        canvas_size = round(height * shrink) or 1, round(width * shrink) or 1
    foreground = foreground_of(own)
    # Without any evidence, pictures that are bright all over are what they are.
    if foreground == ByBorder("auto") and not any(look.is_light for look in looks):
        foreground = ByBorder("no")
    channels = channels_of(looks) if options.channels is None else options.channels
    return Framing(
        canvas_size,
        channels,
        own.resize,
        own.zoom,
        foreground,
        need=Need(values=own.range, channels=own.select),
    )


def _cropping(looks: Sequence[Look], num: int, framing: Framing, split: str) -> Cropping | None:
    """Return how crops are taken of pictures; None if each comes onto one canvas as a whole."""
    if framing.resize != "tile":
        return None
    pixels = float(np.mean([math.prod(look.size) for look in looks])) * framing.zoom**2
    return Cropping.of(framing.canvas_size, num, pixels, random=split == "train")


def _log_loaded(source: Path, num_files: int, rows: Rows, framing: Framing) -> None:
    height, width = framing.canvas_size
    sizes = sorted({frame.size for frame in rows.frames})
    num_read = len(rows.frames)
    how = "as they are"
    if sizes != [(width, height)]:
        how = {
            "fit": "each scaled to fit",
            "pad": f"zoomed by {framing.zoom:.3g}, padded, and shrunk where too large",
            "crop": f"zoomed by {framing.zoom:.3g}, padded or cropped",
            "tile": f"zoomed by {framing.zoom:.3g}, padded, and large ones in parts",
        }[framing.resize]
    logger.info(
        "%s: %d images of %s, on %s of %d x %d %s, %s%s",
        shown(source),
        num_read,
        " to ".join(f"{w} x {h}" for w, h in dict.fromkeys((sizes[0], sizes[-1]))),
        "a canvas" if rows.num == num_read else f"{rows.num} canvases",
        width,
        height,
        "gray" if framing.channels == 1 else "color",
        how,
        "" if num_read == num_files else f"; {num_files - num_read} of {num_files} skipped",
    )


def _load_arrays(path: Path, name: str, split: str, options: Options) -> Dataset:
    arrays: dict[str, Any] = read_arrays(path, options.framing.range)
    try:
        data = replace(Dataset(name, split, **arrays), digests=content_digests(arrays["images"]))
    except DataError as error:
        raise DataError(f"{shown(path)}: {error}") from error
    check_truths(data, path)
    data = data[spread(len(data), options.sample or len(data))]
    need = Need(values=options.framing.range, channels=options.framing.select)
    looks = _look_at_arrays(data.images, need)
    framing = _framing(
        looks,
        replace(
            options,
            canvas_size=data.canvas_size if options.canvas_size is None else options.canvas_size,
            channels=options.channels or (None if need.channels else data.channels),
        ),
    )
    same_size = (framing.canvas_size, framing.channels) == (data.canvas_size, data.channels)
    if same_size and framing.foreground == ByBorder("no") and not need.channels:
        return data
    cropping = _cropping(looks, len(data), framing, split)
    digests = content_digests(data.images) if data.digests is None else data.digests
    names = [f"{digest:016x}" for digest in digests]  # the order of an array does not matter

    def placed(row: int) -> list[Placed]:
        picture = need.with_channels(as_picture(data.images[row]))
        return place_all(picture, names[row], framing, cropping)

    rows = Rows()
    try:
        for row, own in enumerate(in_parallel(placed, range(len(data)))):
            rows.add(row, own, int(digests[row]))
    except ShapeError as error:
        raise DataError(f"{shown(path)}: {error}") from error
    _log_loaded(path, len(data), rows, framing)
    return rows.of_arrays(data)
