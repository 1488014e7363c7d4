"""The user's own images: a folder of pictures, or a ``.npz`` or ``.npy`` file of arrays."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from ..dataset import Dataset
from ..sets.parallel import in_parallel
from ..sets.scenes import check_memory
from ..splits import content_digests, file_digest
from .array_files import as_picture, check_truths, read_arrays
from .framing import Frame, Framing, Invert, Resize, place
from .labels import UNKNOWN, arrange, read_labels
from .paths import picture_names, split_path
from .reading import read_picture, shown

if TYPE_CHECKING:
    from .survey import Survey

logger = logging.getLogger(__name__)

LARGEST_CANVAS = 256
"""The largest side, in pixels, of a canvas that is taken from the pictures."""


@dataclass(frozen=True)
class Options:
    """How pictures become a data set.

    Attributes:
        canvas_size: (height, width) in pixels, or the side of a square; the pictures' own if None.
        channels: 1 or 3; what the pictures have if None.
        resize, zoom, invert: as in ``ModelConfig``.
        strict: stop at a picture that cannot be read.
    """

    canvas_size: int | tuple[int, int] | None = None
    channels: int | None = None
    resize: Resize = "fit"
    zoom: float = 1.0
    invert: Invert = "auto"
    strict: bool = False


def load_path(
    path: str | os.PathLike[str], split: Literal["train", "test"] = "train", **options: Any
) -> Dataset:
    """Load the user's own images.

    A folder holds pictures (PNG, JPEG, TIFF, BMP, GIF) of any sizes, sorted by name. Pictures of
    more than one size are brought to one canvas; dark objects on a bright background become bright
    ones on black. ``counts.csv`` beside them, with columns ``file`` and ``count``, tells the number
    of objects in some or all, a COCO file their boxes too. A picture that cannot be read is named
    in the log and left out. Other files, hidden files and sub-folders are left alone.

    An ``.npz`` file holds ``images``, as ``pixels`` has it, and may hold ``counts``, ``boxes`` and
    ``labels`` as in ``Dataset``. An ``.npy`` file holds the images alone.

    Args:
        path: a folder, an ``.npz`` or an ``.npy`` file.
        split: ``"train"`` for all images at the path; ``"test"`` for those in the folder's
            sub-folder ``test``, or in ``NAME_test.npz`` beside ``NAME.npz``.
        **options: see ``Options``.
    Raises: DataError if there is nothing at the path that can be used, or what is there
        contradicts itself; the message names the file.
    """
    source = split_path(path, split)
    chosen = Options(**options)
    whole = Path(path).resolve()
    name = whole.stem if whole.is_file() else whole.name
    load = _load_folder if source.is_dir() else _load_arrays
    return load(source, name, split, chosen)


def survey_path(path: str | os.PathLike[str], strict: bool = False) -> Survey:
    """Look at a sample of the user's own images.

    Raises: DataError as ``load_path``.
    """
    from .survey import spread, survey

    source = split_path(path, "train")
    if source.is_dir():
        return _survey_files([source / name for name in picture_names(source)], strict)
    images = read_arrays(source)["images"]
    return survey([as_picture(image) for image in images[spread(len(images))]])


# Folders


def _load_folder(folder: Path, name: str, split: str, options: Options) -> Dataset:
    names = picture_names(folder)
    labels = read_labels(folder, names, options.strict)
    look = _survey_files([folder / name for name in names], options.strict)
    framing = _framing(look, options)
    check_memory(len(names), framing.canvas_size, framing.channels)
    images = np.empty((len(names), framing.channels, *framing.canvas_size), np.uint8)
    frames: list[Frame] = []
    kept: list[str] = []
    digests: list[int] = []
    for file, read in zip(names, _read_all(folder, names, framing), strict=True):
        if isinstance(read, DataError):
            _skip(read, options.strict)
            continue
        (images[len(kept)], frame), digest = read
        kept.append(file)
        frames.append(frame)
        digests.append(digest)
    if not kept:
        raise DataError(f"{shown(folder)}: none of its {len(names)} images can be read.")
    _log_loaded(folder, len(names), len(kept), frames, framing)
    arrays = {} if labels is None else arrange(labels, kept)
    if "boxes" in arrays:
        arrays["boxes"] = np.stack(
            [frame.to_canvas(boxes) for frame, boxes in zip(frames, arrays["boxes"], strict=True)]
        )
    if labels is not None:
        known = int((arrays["counts"] != UNKNOWN).sum())
        logger.info("%s: counts are known of %d of %d images", shown(folder), known, len(kept))
    return Dataset(
        name,
        split,
        _without_single_channel(images[: len(kept)]),
        files=np.array(kept),
        digests=np.array(digests, np.uint64),
        **arrays,
    )


def _read_all(folder: Path, names: Sequence[str], framing: Framing) -> Any:
    """Yield ((canvas, frame), digest) of each picture, or what is wrong with it.

    With a bar on a terminal.
    """
    from ...console import progress_bar

    def read(name: str) -> tuple[tuple[NDArray[np.uint8], Frame], int] | DataError:
        path = folder / name
        try:
            placed = place(read_picture(path), framing)
            with path.open("rb") as file:
                return placed, file_digest(name, file)
        except DataError as error:
            return error
        except OSError as error:  # it went away meanwhile
            return DataError(f"{shown(path)}: cannot be read ({error.strerror}).")

    return progress_bar(in_parallel(read, names), len(names), "Reading")


def _survey_files(files: Sequence[Path], strict: bool) -> Survey:
    from .survey import Look, Survey, look_at, spread

    def look(file: Path) -> Look | DataError:
        try:
            return look_at(read_picture(file))
        except DataError as error:
            return error

    looks = list(in_parallel(look, [files[i] for i in spread(len(files))]))
    wrong = [found for found in looks if isinstance(found, DataError)]
    if wrong and strict:
        raise wrong[0]
    sound = tuple(found for found in looks if isinstance(found, Look))
    if not sound and len(files) == len(looks):
        for error in wrong:
            _skip(error, strict)
        raise DataError(
            f"{shown(files[0].parent)}: none of its {len(files)} images can be read."
        ) from wrong[0]
    return Survey(sound)


def _skip(error: DataError, strict: bool) -> None:
    if strict:
        raise error
    logger.warning("Skipped %s", error)


def _framing(look: Survey, options: Options) -> Framing:
    """Decide on what the options leave open, from what the pictures look like."""
    canvas_size = options.canvas_size
    if isinstance(canvas_size, int):
        canvas_size = canvas_size, canvas_size
    if canvas_size is None:
        # Their own size, or the smallest canvas that holds all sizes; not too large to be drawn.
        widths, heights = zip(*look.sizes, strict=True)
        largest = max(*widths, *heights)
        shrink = min(1.0, LARGEST_CANVAS / largest)
        canvas_size = round(max(heights) * shrink) or 1, round(max(widths) * shrink) or 1
    # Without any evidence, pictures that are bright all over are what they are.
    invert = "no" if options.invert == "auto" and not look.any_light_background else options.invert
    channels = look.channels if options.channels is None else options.channels
    return Framing(canvas_size, channels, options.resize, options.zoom, invert)


def _log_loaded(
    folder: Path, num_files: int, num_read: int, frames: Sequence[Frame], framing: Framing
) -> None:
    height, width = framing.canvas_size
    sizes = sorted({frame.size for frame in frames})
    how = "as they are"
    if sizes != [(width, height)]:
        how = {
            "fit": "each scaled to fit",
            "pad": f"zoomed by {framing.zoom:.3g}, padded, and shrunk where too large",
            "crop": f"zoomed by {framing.zoom:.3g}, padded or cropped",
        }[framing.resize]
    logger.info(
        "%s: %d images of %s, on a canvas of %d x %d %s, %s%s",
        shown(folder),
        num_read,
        " to ".join(f"{w} x {h}" for w, h in dict.fromkeys((sizes[0], sizes[-1]))),
        width,
        height,
        "gray" if framing.channels == 1 else "color",
        how,
        "" if num_read == num_files else f"; {num_files - num_read} of {num_files} skipped",
    )


def _without_single_channel(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return images[:, 0] if images.shape[1] == 1 else images


# Arrays


def _load_arrays(path: Path, name: str, split: str, options: Options) -> Dataset:
    from .survey import spread, survey

    arrays: dict[str, Any] = read_arrays(path)
    try:
        data = replace(Dataset(name, split, **arrays), digests=content_digests(arrays["images"]))
    except DataError as error:
        raise DataError(f"{shown(path)}: {error}") from error
    check_truths(data, path)
    look = survey([as_picture(image) for image in data.images[spread(len(data))]])
    own = data.canvas_size if options.canvas_size is None else options.canvas_size
    channels = data.channels if options.channels is None else options.channels
    framing = _framing(look, Options(own, channels, options.resize, options.zoom, options.invert))
    if framing == Framing(data.canvas_size, data.channels, options.resize, options.zoom, "no"):
        return data
    check_memory(len(data), framing.canvas_size, framing.channels)
    placed = list(in_parallel(lambda image: place(as_picture(image), framing), data.images))
    frames = [frame for _, frame in placed]
    _log_loaded(path, len(data), len(data), frames, framing)
    images = _without_single_channel(np.stack([image for image, _ in placed]))
    boxes = None if data.boxes is None else frames[0].to_canvas(data.boxes)
    return replace(data, images=images, boxes=boxes)
