"""MNIST's own four files: found on this machine, else downloaded, and always verified."""

from __future__ import annotations

import gzip
import hashlib
import logging
import os
import tempfile
import zlib
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import DataError
from .cache import cache_dir, warn_unwritable

logger = logging.getLogger(__name__)

MIRRORS: tuple[str, ...] = (
    "https://ossci-datasets.s3.amazonaws.com/mnist/",
    "https://storage.googleapis.com/cvdf-datasets/mnist/",
)
"""Addresses that serve ``<file name>.gz``, tried in this order."""

RETRIES = 2
"""Further tries at each mirror, with pauses of 1 and 2 seconds, before turning to the next."""


class _File(NamedTuple):
    name: str
    md5: str  # of the unpacked file: a gz packed anew by someone else is as good as the original
    gz_sha256: str  # of the packed file, as the mirrors serve it


_IMAGES = {
    "train": _File(
        "train-images-idx3-ubyte",
        "6bbc9ace898e44ae57da46a324031adb",
        "db8f937d487057fb14a9f0fbe97f0bc8d311ab41b750d41e1ff37c43b9e55e19",
    ),
    "test": _File(
        "t10k-images-idx3-ubyte",
        "2646ac647ad5339dbf082846283269ea",
        "cfeddb84311ecf044fc6a5b0f6ee8a24d265d4e83e388400186eb114082f4209",
    ),
}
_LABELS = {
    "train": _File(
        "train-labels-idx1-ubyte",
        "a25bea736e30d166cdddb491f175f624",
        "51fc562b6747b666fbf6e84ce29d43c3cb5f9c388c664d43b33f02095313405a",
    ),
    "test": _File(
        "t10k-labels-idx1-ubyte",
        "27ae3e4e09519cfbb04c329615203637",
        "e41c74e484045d39b462a7790a4af51301bd9b0b24f0154798d713ec68c45920",
    ),
}
# An idx file starts with its type and number of axes (4 bytes) and each axis' length (4 bytes).
_IMAGES_HEADER, _LABELS_HEADER = 16, 8


def load_mnist(split: str) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Return MNIST's digits and their classes.

    Each file is looked for in ``$AIR_DATA_DIR/mnist``, then in ``mnist`` in the cache folder,
    packed (``.gz``) or not, and is otherwise downloaded into the latter.

    Args:
        split: ``"train"`` (60,000 digits) or ``"test"`` (10,000).
    Returns: digits, (N, 28, 28) uint8, and classes, (N,) uint8, 0 to 9.
    Raises: DataError if a file that was found is damaged, or if none was found and none of the
        mirrors delivers.
    """
    # The checksums vouch for the headers, so these need no parsing.
    images = np.frombuffer(_content(_IMAGES[split]), np.uint8, offset=_IMAGES_HEADER)
    labels = np.frombuffer(_content(_LABELS[split]), np.uint8, offset=_LABELS_HEADER)
    return images.reshape(-1, 28, 28), labels


def mnist_folders() -> list[Path]:
    """Return the folders in which MNIST is looked for, in order; the last one is the cache."""
    given = os.environ.get("AIR_DATA_DIR")
    roots = [Path(given).expanduser()] if given else []
    return [root / "mnist" for root in (*roots, cache_dir())]


def _content(file: _File) -> bytes:
    """Return the unpacked bytes of a file, whose checksum is right."""
    found = _find(file)
    if found is not None:
        return _verified(found, file)
    folder = mnist_folders()[-1]
    if _is_writable(folder):
        return _verified(_download(file, folder), file)
    with tempfile.TemporaryDirectory() as temporary:
        return _verified(_download(file, Path(temporary)), file)


def _is_writable(folder: Path) -> bool:
    """Make the folder if need be, and tell whether files can be kept in it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError as error:
        warn_unwritable(folder, error.strerror or str(error))
        return False


def _find(file: _File) -> Path | None:
    for folder in mnist_folders():
        for path in (folder / file.name, folder / f"{file.name}.gz"):
            if path.exists():
                return path
    return None


def _verified(path: Path, file: _File) -> bytes:
    try:
        content = path.read_bytes()
        if path.suffix == ".gz":
            content = gzip.decompress(content)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path}: cannot be read as MNIST's {file.name} ({error}). "
            "Replace the file, or delete it to have it downloaded."
        ) from error
    md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if md5 != file.md5:
        raise DataError(
            f"{path}: expected MNIST's {file.name} with MD5 {file.md5} (unpacked), got {md5}. "
            "Replace the file, or delete it to have it downloaded."
        )
    return content


def _download(file: _File, folder: Path) -> Path:
    """Fetch the packed file from the first mirror that delivers it whole."""
    import pooch

    pooch.get_logger().setLevel("WARNING")  # its retries would otherwise talk on the user's screen
    packed = f"{file.name}.gz"
    failures = []
    for mirror in MIRRORS:
        logger.info("Downloading %s from %s", packed, mirror)
        fetcher = pooch.create(
            path=folder,
            base_url=mirror,
            registry={packed: f"sha256:{file.gz_sha256}"},
            retry_if_failed=RETRIES,
        )
        try:
            # pooch writes under a temporary name and renames once the checksum is right.
            return Path(fetcher.fetch(packed))
        except (OSError, ValueError) as error:  # no network or a bad answer; a wrong checksum
            logger.info("%s failed: %s", mirror, error)
            failures.append(f"{mirror}: {type(error).__name__}")
    raise DataError(
        f"MNIST's {packed} is neither on this machine nor to be had from the network "
        f"({'; '.join(failures)}). Put {_all_names()} into {_places()}."
    )


def _all_names() -> str:
    names = [f"{file.name}.gz" for file in (*_IMAGES.values(), *_LABELS.values())]
    return f"{', '.join(names[:-1])} and {names[-1]}"


def _places() -> str:
    return f"$AIR_DATA_DIR/mnist or {mnist_folders()[-1]}"
