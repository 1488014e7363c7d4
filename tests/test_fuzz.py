"""Thousands of damaged files: each is read or refused in one line; none crashes or hangs."""

from __future__ import annotations

import io
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from PIL import Image

from attend_infer_repeat import AIR, AirError, DataError
from attend_infer_repeat.checkpoints.checkpoint import read_checkpoint
from attend_infer_repeat.data.pictures.canvas.framing import Framing, place
from attend_infer_repeat.data.pictures.folder import load_path
from attend_infer_repeat.data.pictures.reading.decoding import read_picture

PICTURES = 2_000
CHECKPOINTS = 400
LONGEST = 10.0
"""Seconds that one file may take: a hang, on any machine."""


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """Return a file with something wrong: bits, bytes, runs, lengths, order."""
    data = bytearray(content)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(data))) if data else 0
        kind = rng.integers(7)
        if kind == 0 and data:
            data[at] ^= 1 << int(rng.integers(8))
        elif kind == 1 and data:
            data[at] = int(rng.choice([0, 1, 127, 128, 254, 255]))
        elif kind == 2:
            del data[at : at + int(rng.integers(1, 64))]
        elif kind == 3:
            data[at:at] = rng.bytes(int(rng.integers(1, 64)))
        elif kind == 4:
            del data[at:]
        elif kind == 5:
            other = int(rng.integers(len(data))) if data else 0
            data[at : at + 16] = data[other : other + 16]
        else:
            data[at : at + 4] = int(rng.choice([0, 2**31 - 1, 2**32 - 1, 65_536])).to_bytes(
                4, "big"
            )
    return bytes(data)


def sound_pictures() -> list[bytes]:
    """Return a file of each format and mode that is read."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 20, 4), dtype=np.uint8)
    gray, color = Image.fromarray(noise[..., 0]), Image.fromarray(noise[..., :3])
    deep = Image.fromarray(noise[..., 0].astype(np.uint16) * 257)
    files = []
    for image, kind, options in (
        (gray, "PNG", {}),
        (color, "PNG", {}),
        (Image.fromarray(noise), "PNG", {}),
        (deep, "PNG", {}),
        (color.quantize(16), "PNG", {"transparency": 3}),
        (gray, "JPEG", {}),
        (color, "JPEG", {"progressive": True}),
        (color.convert("CMYK"), "JPEG", {}),
        (gray, "TIFF", {}),
        (color, "TIFF", {"compression": "tiff_lzw"}),
        (color, "TIFF", {"compression": "jpeg"}),
        (deep, "TIFF", {"compression": "tiff_adobe_deflate"}),
        (gray.convert("1"), "TIFF", {"compression": "group4"}),
        (color, "BMP", {}),
        (gray, "BMP", {}),
        (color.quantize(64), "GIF", {"save_all": True, "append_images": [color.quantize(8)]}),
    ):
        stream = io.BytesIO()
        image.save(stream, kind, **options)
        files.append(stream.getvalue())
    return files


def survives(use: Callable[[], object]) -> bool:
    """Tell whether a file was read; fail unless that, or an error of one line, came soon."""
    began, message = time.monotonic(), None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, about what it could still make of a file
            use()
    except AirError as error:
        message = str(error)
    assert time.monotonic() - began < LONGEST
    assert message is None or len(message.splitlines()) == 1
    return message is None


@pytest.mark.parametrize("seed", range(4))
def test_mutated_pictures_are_read_or_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    framing = Framing((16, 16), channels=3)
    files = sound_pictures()
    for content in files:
        assert survives(lambda content=content: read_picture(io.BytesIO(content), "sound"))
    read = 0
    for i in range(PICTURES // 4):
        content = mutate(files[i % len(files)], rng)

        def use(content: bytes = content) -> None:
            canvas, _ = place(read_picture(io.BytesIO(content), "mutated"), framing)
            assert canvas.shape == (3, 16, 16)

        read += survives(use)
    assert 0 < read < PICTURES // 4


def test_mutated_checkpoints_are_read_or_refused(tmp_path: Path) -> None:
    torch.set_default_dtype(torch.float32)
    rng = np.random.default_rng(1)
    make_air().save(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    sound = {name: (tmp_path / name).read_bytes() for name in names}
    image = np.zeros((1, *TINY.canvas_size), np.uint8)
    for i in range(CHECKPOINTS):
        name = names[i % 2]
        changed = mutate(sound[name], rng)
        if name.startswith("model") and i % 4 < 2:  # with a digest that agrees
            import hashlib

            digest = hashlib.sha256(changed).hexdigest()
            state = json.loads(sound["state.json"])
            state["sha256"]["model"] = digest
            (tmp_path / "state.json").write_text(json.dumps(state))
            name = f"model-{digest[:16]}.safetensors"
        (tmp_path / name).write_bytes(changed)
        survives(lambda: AIR.load(tmp_path).infer(image))
        for path in tmp_path.iterdir():
            path.unlink()
        for original, content in sound.items():
            (tmp_path / original).write_bytes(content)
    assert read_checkpoint(tmp_path)


def test_mutated_arrays_and_tables_are_read_or_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (3, 8, 8), dtype=np.uint8)
    np.savez_compressed(tmp_path / "x.npz", images=images, counts=np.array([0, 1, 2]))
    np.save(tmp_path / "x.npy", images)
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i in range(3):
        Image.fromarray(images[i]).save(pictures / f"{i}.png")
    table = b"file,count\n0.png,1\n1.png,0\n2.png,2\n"
    coco = {
        "images": [{"id": i, "file_name": f"{i}.png"} for i in range(3)],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 1, 2, 3]}],
        "categories": [{"id": 1, "name": "x"}],
    }
    for path, content in (
        (tmp_path / "x.npz", (tmp_path / "x.npz").read_bytes()),
        (tmp_path / "x.npy", (tmp_path / "x.npy").read_bytes()),
        (pictures / "counts.csv", table),
        (pictures / "annotations.json", json.dumps(coco).encode()),
    ):
        for _ in range(60):
            path.write_bytes(mutate(content, rng))
            survives(lambda path=path: load_path(path if path.parent == tmp_path else pictures))
        path.unlink()


def test_the_number_of_mutations_is_what_is_promised() -> None:
    assert PICTURES + CHECKPOINTS >= 2_000
    with pytest.raises(DataError):
        read_picture(io.BytesIO(b""), "empty")
