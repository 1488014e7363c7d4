"""Pictures of a zarr: which they are, and that a part of one is what it is of the whole."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.Image import Resampling

from attend_infer_repeat import load_dataset
from attend_infer_repeat.data import hold_out
from attend_infer_repeat.data.pictures.background.background import (
    Black,
    Difference,
    Level,
    Smooth,
    Tone,
)
from attend_infer_repeat.data.pictures.background.border import ByBorder
from attend_infer_repeat.data.pictures.background.common import Common
from attend_infer_repeat.data.pictures.canvas import crops, scaled
from attend_infer_repeat.data.pictures.canvas.crops import MOST_CELLS, Cropping
from attend_infer_repeat.data.pictures.canvas.framing import Framing, place, place_tiles
from attend_infer_repeat.data.pictures.canvas.scaled import ScaledWhole, scaled_of
from attend_infer_repeat.data.pictures.folder import survey_path
from attend_infer_repeat.data.pictures.reading import regions, zarrs
from attend_infer_repeat.data.pictures.reading.containers import open_pictures
from attend_infer_repeat.data.pictures.reading.decoding import Need
from attend_infer_repeat.data.pictures.reading.items import items_of
from attend_infer_repeat.data.pictures.reading.modes import Values
from attend_infer_repeat.data.pictures.reading.ranges import find_values
from attend_infer_repeat.data.pictures.reading.rasters import Raster
from attend_infer_repeat.data.pictures.reading.regions import Regions
from attend_infer_repeat.data.pictures.survey.look import look_at
from attend_infer_repeat.errors import AirError, DataError, ShapeError

zarr = pytest.importorskip("zarr", reason="the extra large is not installed")

RANGE: Values = (700.0, 9000.0)
V2 = {"zarr_format": 2} if zarr.__version__.startswith("3") else {}


def discs(height: int, width: int, seed: int = 0, level: float = 900) -> np.ndarray:
    """Draw bright discs on a dim noisy background: (height, width) uint16."""
    rng = np.random.default_rng(seed)
    image = rng.normal(level, 40, (height, width))
    y, x = np.mgrid[-7:8, -7:8]
    for cy, cx in rng.uniform(7, (height - 8, width - 8), (height * width // 1500, 2)):
        top, left = int(cy) - 7, int(cx) - 7
        disc = np.hypot(y - cy % 1, x - cx % 1) < 6
        image[top : top + 15, left : left + 15] += 6000 * disc
    return image.clip(0, 65535).astype(np.uint16)


def save(path: Path, pixels: np.ndarray, chunk: int = 64, **attributes: object) -> Path:
    """Write an array as zarr of version 2."""
    chunks = tuple(min(max(n, 1), chunk) for n in pixels.shape)
    options = {"shape": pixels.shape, "chunks": chunks, "dtype": pixels.dtype, "fill_value": 0}
    array = zarr.open_array(str(path), mode="w", **V2, **options)
    array[:] = pixels
    array.attrs.update(attributes)
    return path


@pytest.fixture
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read pictures of more than 60 x 60 pixels in parts: what is large, without large pictures."""
    monkeypatch.setattr(regions, "AT_ONCE", 60 * 60)
    monkeypatch.setattr(zarrs, "AT_ONCE", 60 * 60)
    monkeypatch.setattr(scaled, "LARGEST_BLOCK", 64)


def read(path: Path, index: int = 0, values: Values | None = None) -> Raster:
    return open_pictures(path).read(index, Need(values=values))[0]


# What is in a zarr


@pytest.mark.parametrize(
    ("shape", "num", "picture"),
    [
        ((20, 30), 1, (20, 30)),
        ((5, 20, 30), 5, (20, 30)),
        ((3, 20, 30), 1, (20, 30, 3)),
        ((20, 30, 3), 1, (20, 30, 3)),
        ((20, 30, 4), 1, (20, 30, 3)),
        ((7, 3, 20, 30), 7, (20, 30, 3)),
        ((7, 6, 20, 30), 42, (20, 30)),
    ],
)
def test_lengths_tell_channels_from_pictures(tmp_path, shape, num, picture) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, shape, dtype=np.uint8)
    found = open_pictures(save(tmp_path / "x.zarr", pixels))
    assert found.num == num
    last = np.asarray(found.read(num - 1)[0])
    assert last.shape == picture
    stored = pixels if num == 1 else pixels.reshape(num, *shape[1 + (num == 42) :])[-1]
    if stored.ndim == 3:
        stored = stored[..., :3] if shape[-1] in (3, 4) else stored.transpose(1, 2, 0)
    assert (last == stored).all()


def test_names_of_axes_go_before_their_lengths(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (3, 20, 30), dtype=np.uint8)
    named = save(tmp_path / "x.zarr", pixels, _ARRAY_DIMENSIONS=["t", "y", "x"])
    found = open_pictures(named)
    assert (found.num, found.is_video) == (3, True)
    assert (np.asarray(found.read(2)[0]) == pixels[2]).all()


@pytest.mark.skipif(not V2, reason="zarr 2 reads no version 3")
def test_an_array_of_version_3_names_its_axes(tmp_path) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (2, 20, 30), dtype=np.uint8)
    options = {"shape": pixels.shape, "chunks": (1, 16, 16), "dtype": pixels.dtype}
    names = {"zarr_format": 3, "dimension_names": ["t", "y", "x"]}
    zarr.create_array(str(tmp_path / "x.zarr"), **options, **names)[:] = pixels
    found = open_pictures(tmp_path / "x.zarr")
    assert (found.num, found.is_video) == (2, True)
    assert (np.asarray(found.read(1)[0]) == pixels[1]).all()


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_an_ome_zarr_is_its_largest_level(tmp_path, version) -> None:
    pixels = discs(80, 100)
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w", **V2)
    for key, step in (("small", 4), ("large", 1)):
        own = pixels[None, ::step, ::step]
        save(tmp_path / "x.zarr" / key, own, 32)
    scales = [
        {
            "axes": [{"name": "c", "type": "channel"}, {"name": "y"}, {"name": "x"}],
            "datasets": [{"path": "small"}, {"path": "large"}],
        }
    ]
    group.attrs.update(
        {"multiscales": scales} if version == "0.4" else {"ome": {"multiscales": scales}}
    )
    found = open_pictures(tmp_path / "x.zarr")
    raw = found.raw(0)
    assert raw is not None
    assert (np.sort(raw.ravel()) == np.sort(pixels.ravel())).all()


def test_a_coarser_level_is_looked_at_and_the_largest_one_inferred(tmp_path, in_parts) -> None:
    """The coarser level is black: so it shows which one was read."""
    pixels = discs(400, 400)
    group = zarr.open_group(str(tmp_path / "x.zarr"), mode="w", **V2)
    for key, own in (("0", pixels), ("1", np.zeros((200, 200), np.uint16))):
        save(tmp_path / "x.zarr" / key, own)
    axes = [{"name": "y"}, {"name": "x"}]
    datasets = [{"path": "0"}, {"path": "1"}]
    group.attrs["multiscales"] = [{"axes": axes, "datasets": datasets}]
    picture = read(tmp_path / "x.zarr", values=RANGE)
    assert np.asarray(picture.resize((50, 50), Resampling.BOX)).max() == 0
    assert np.asarray(picture.resize((150, 150), Resampling.BOX)).max() > 0
    tiles = place_tiles(picture, Framing((32, 32), resize="tile", zoom=0.5))
    assert max(tile.canvas.max() for tile in tiles) > 0


def test_a_zarr_is_a_file_in_a_folder_and_no_folder_of_pictures(tmp_path) -> None:
    save(tmp_path / "b.zarr", discs(40, 40))
    Image.fromarray(np.full((40, 40), 9, np.uint8)).save(tmp_path / "a.png")
    data = load_dataset(tmp_path)
    assert data.files is not None
    assert data.files.tolist() == ["a.png", "b.zarr"]
    assert len(load_dataset(tmp_path / "b.zarr")) == 1


def test_missing_chunks_are_told_once_in_one_line(tmp_path, caplog) -> None:
    array = zarr.open_array(
        str(tmp_path / "x.zarr"), mode="w", shape=(64, 96), chunks=(32, 32), dtype="u2"
    )
    array[:32, :64] = 7
    with caplog.at_level(logging.WARNING):
        open_pictures(tmp_path / "x.zarr")
        open_pictures(tmp_path / "x.zarr")
    (line,) = [record.getMessage() for record in caplog.records]
    assert "4 of 6 chunks are missing" in line
    assert "\n" not in line


def test_chunks_are_counted_once_in_a_process(tmp_path, monkeypatch) -> None:
    counted = []
    missing = property(lambda array: counted.append(1) or array.nchunks)
    monkeypatch.setattr(zarr.Array, "nchunks_initialized", missing)
    path = save(tmp_path / "x.zarr", discs(40, 40))
    for _ in range(3):
        open_pictures(path)
    assert counted == [1]


def broken(kind: str, path: Path) -> str:
    """Write a zarr that is of no use, and return what is said about it."""
    path.mkdir()
    if kind == "nothing":
        return "no array or group"
    if kind == "damaged":
        (path / ".zarray").write_text("{")
        return "metadata are damaged"
    if kind == "empty":
        zarr.open_array(str(path), mode="w", shape=(0, 5), chunks=(1, 5), dtype="u1", **V2)
        return "empty array"
    if kind == "line":
        save(path, np.zeros(50, np.uint8))
        return "expected a picture"
    if kind == "complex":
        save(path, np.zeros((9, 9), np.complex64))
        return "expected whole numbers or floats"
    if kind == "thin":
        save(path, np.zeros((3, 90), np.uint8))
        return "too small"
    group = zarr.open_group(str(path), mode="w", **V2)
    if kind == "no array":
        return "without an array"
    if kind == "no level":
        group.attrs["multiscales"] = [{"datasets": [{"path": "0"}]}]
        return "no array or group"
    if kind == "no levels":
        group.attrs["multiscales"] = [{}]
        return "name no arrays"
    for key in "ab":
        save(path / key, np.zeros((9, 9), np.uint8))
    return "give one of them"


KINDS = ("nothing", "damaged", "empty", "line", "complex", "thin", "no array", "no level")


@pytest.mark.parametrize("kind", [*KINDS, "no levels", "two"])
def test_what_is_of_no_use_is_told_in_one_line(tmp_path, kind) -> None:
    said = broken(kind, tmp_path / "x.zarr")
    with pytest.raises(DataError, match=said) as told:
        open_pictures(tmp_path / "x.zarr")
    assert "\n" not in str(told.value)
    assert "x.zarr" in str(told.value)


DAMAGED = (
    {"ome": "x"},
    {"multiscales": [{"datasets": []}]},
    {"multiscales": [{"datasets": [{"path": "line"}]}]},
    {"multiscales": [{"datasets": [{"path": "array"}], "axes": [{"name": None}] * 2}]},
    "{",
)


@pytest.mark.parametrize("attributes", DAMAGED)
def test_damaged_attributes_of_a_group_are_told_in_one_line(tmp_path, attributes) -> None:
    path = tmp_path / "x.zarr"
    zarr.open_group(str(path), mode="w", **V2)
    save(path / "array", discs(40, 40))
    save(path / "line", np.zeros(40))
    text = attributes if isinstance(attributes, str) else json.dumps(attributes)
    (path / ".zattrs").write_text(text)
    with pytest.raises(DataError, match=r"x\.zarr: a zarr whose metadata are damaged") as told:
        open_pictures(path)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("attributes", ['{"_ARRAY_DIMENSIONS": 5}', "{"])
def test_damaged_attributes_of_an_array_are_told_in_one_line(tmp_path, attributes) -> None:
    path = save(tmp_path / "x.zarr", discs(40, 40))
    (path / ".zattrs").write_text(attributes)
    with pytest.raises(DataError, match=r"x\.zarr: a zarr whose metadata are damaged"):
        open_pictures(path)


def test_without_zarr_one_line_tells_what_to_install(tmp_path, monkeypatch) -> None:
    path = save(tmp_path / "x.zarr", discs(40, 40))
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(DataError, match=r"needs zarr.*attend-infer-repeat\[large\]"):
        open_pictures(path)


def test_one_of_two_arrays_can_be_given(tmp_path) -> None:
    broken("two", tmp_path / "x.zarr")
    assert open_pictures(tmp_path / "x.zarr" / "b").num == 1


def test_a_part_that_cannot_be_read_is_told_in_one_line(tmp_path, in_parts) -> None:
    save(tmp_path / "x.zarr", discs(100, 100))
    (tmp_path / "x.zarr" / "1.1").write_bytes(b"nonsense")
    picture = read(tmp_path / "x.zarr", values=RANGE)
    assert np.asarray(picture.crop((0, 0, 50, 50))).size
    with pytest.raises(DataError, match=r"x\.zarr: cannot be read") as told:
        place_tiles(picture, Framing((32, 32), resize="tile"))
    assert "\n" not in str(told.value)


@pytest.mark.parametrize("side", [40, 100])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, "chunk"])
@pytest.mark.parametrize("values", [None, RANGE])
def test_an_error_names_its_picture_once(tmp_path, in_parts, side, value, values) -> None:
    """Of a broken chunk and of a float that says nothing, read as a whole and in parts."""
    pixels = np.full((side, side), 0.5, np.float32)
    pixels[2, 3] = 0.25 if value == "chunk" else value
    save(tmp_path / "x.zarr", pixels)
    if value == "chunk":
        (tmp_path / "x.zarr" / "0.0").write_bytes(b"nonsense")
    said = "cannot be read" if value == "chunk" else "it has NaN or infinite pixels"

    def tiles() -> object:
        return place_tiles(read(tmp_path / "x.zarr", 0, values), Framing((32, 32), resize="tile"))

    with pytest.raises(DataError, match=rf"x\.zarr: {said}") as told:
        tiles()
    assert str(told.value).count("x.zarr") == 1


# A part is what it is of the whole


def both(
    tmp_path: Path, pixels: np.ndarray, values: Values | None = RANGE
) -> tuple[Raster, Raster]:
    """Return a picture in memory, and the same one of which parts are read."""
    from attend_infer_repeat.data.pictures.reading.planes import as_picture

    planes = pixels if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    picture = read(save(tmp_path / "x.zarr", pixels), values=values)
    assert isinstance(picture, Regions)
    return as_picture(planes, values), picture


ZOOMS = (1.0, 0.77, 1.6, 0.5, 0.123, 1 / 6, 1 / 9)


@pytest.mark.parametrize("zoom", ZOOMS)
@pytest.mark.parametrize("size", [(301, 222), (180, 360)])
def test_a_part_is_scaled_as_in_the_whole(tmp_path, in_parts, zoom, size) -> None:
    pixels = discs(*size)
    pixels[:, ::7] *= 3  # sharp edges, where a shift of a tenth of a pixel would show
    framing = Framing((16, 16), resize="tile", zoom=zoom, foreground=Difference(Black()), overlap=5)
    pair = [place_tiles(picture, framing) for picture in both(tmp_path, pixels)]
    assert len(pair[0]) == len(pair[1])
    by_number = {tile.number: tile for tile in pair[1]}
    for tile in pair[0]:
        other = by_number[tile.number]
        assert (tile.frame, tile.core) == (other.frame, other.core)
        away = np.abs(tile.canvas.astype(int) - other.canvas)
        assert away.max() <= 1


BACKGROUNDS = {
    "level": Difference(Level((0.05,)), "brighter"),
    "own level": Difference(Level(), "both"),
    "contrast": Difference(Level(), "brighter", Tone(0.5)),
    "border": ByBorder(),
    "dark objects": ByBorder("yes"),
}


@pytest.mark.parametrize("kind", BACKGROUNDS)
@pytest.mark.parametrize("level", [900, 4000, 7500])
def test_a_part_lies_on_black_as_in_the_whole(tmp_path, in_parts, kind, level) -> None:
    framing = Framing((32, 32), resize="tile", zoom=0.8, foreground=BACKGROUNDS[kind], overlap=9)
    pair = [place_tiles(picture, framing) for picture in both(tmp_path, discs(300, 260, 1, level))]
    by_number = {tile.number: tile for tile in pair[1]}
    # What a foreground makes of one gray level: a contrast of 0.5 doubles it, and a border of the
    # level b stretches it by 255 / b or 255 / (255 - b).
    ground = 255 * (level - RANGE[0]) / (RANGE[1] - RANGE[0])
    stretch = {"contrast": 2, "border": 255 / (255 - ground), "dark objects": 255 / ground}
    if ground > 127:
        stretch["border"] = stretch["dark objects"]
    for tile in pair[0]:
        away = np.abs(tile.canvas.astype(int) - by_number[tile.number].canvas)
        assert away.max() <= np.ceil(stretch.get(kind, 1)) + (kind in stretch)


def test_a_smooth_background_is_that_of_the_whole_up_to_noise(
    tmp_path, in_parts, monkeypatch
) -> None:
    monkeypatch.setattr(scaled, "LARGEST_BLOCK", 150)
    pixels = discs(400, 400)
    y, x = np.mgrid[:400, :400] / 400
    pixels = (pixels + 2000 * (x - y**2 + 1)).astype(np.uint16)
    framing = Framing((32, 32), resize="tile", foreground=Difference(Smooth(20.0)), overlap=9)
    pair = [place_tiles(picture, framing) for picture in both(tmp_path, pixels)]
    by_number = {tile.number: tile for tile in pair[1]}
    away = [
        np.abs(tile.canvas.astype(int) - by_number[tile.number].canvas).ravel() for tile in pair[0]
    ]
    assert np.mean(np.concatenate(away) <= 2) > 0.99  # of 255; the gradient has 120
    without = Framing((32, 32), resize="tile", foreground=Difference(Level()), overlap=9)
    bare = [tile.canvas for tile in place_tiles(both(tmp_path, pixels)[1], without)]
    assert np.median(np.stack(bare)) > 5 > 2 >= np.median(np.stack([t.canvas for t in pair[1]]))


def test_a_part_has_its_part_of_the_background_in_common(tmp_path, in_parts) -> None:
    rng = np.random.default_rng(0)
    image, other = rng.random((2, 1, 160, 160), dtype=np.float32)
    framing = Framing(
        (32, 32), resize="tile", zoom=0.8, foreground=Difference(Common(image, other), "both")
    )
    pair = [place_tiles(picture, framing) for picture in both(tmp_path, discs(200, 200))]
    by_number = {tile.number: tile for tile in pair[1]}
    for tile in pair[0]:
        away = np.abs(tile.canvas.astype(int) - by_number[tile.number].canvas)
        assert away.max() <= 2  # one of what is scaled, and one of rounding


@pytest.mark.parametrize("size", [(160, 150), (150, 160), (20, 20), (400, 400)])
def test_a_background_of_another_size_is_refused_as_of_the_whole(tmp_path, in_parts, size) -> None:
    image = np.zeros((1, *size), np.float32)
    framing = Framing((32, 32), resize="tile", foreground=Difference(Common(image, image), "both"))
    said = []
    for picture in both(tmp_path, discs(160, 160)):
        with pytest.raises(ShapeError, match="160 x 160 pixels once scaled") as told:
            place_tiles(picture, framing)
        said.append(str(told.value))
    assert said[0] == said[1]


@pytest.mark.parametrize("resize", ["fit", "pad", "crop"])
def test_a_picture_in_parts_comes_onto_one_canvas_as_any(tmp_path, in_parts, resize) -> None:
    framing = Framing((50, 60), resize=resize, zoom=0.7, foreground=Difference(Black()))
    whole, part = (place(picture, framing) for picture in both(tmp_path, discs(200, 150)))
    assert whole[1] == part[1]
    assert np.abs(whole[0].astype(int) - part[0]).max() <= 1


def test_colors_of_a_picture_in_parts_are_those_of_the_whole(tmp_path, in_parts) -> None:
    pixels = np.stack([discs(150, 150, seed) for seed in range(3)], axis=-1)
    framing = Framing((32, 32), channels=3, resize="tile", foreground=Difference(Black()))
    whole, part = both(tmp_path, pixels)
    assert whole.mode == part.mode == "RGB"
    pair = [place_tiles(picture, framing) for picture in (whole, part)]
    by_number = {tile.number: tile for tile in pair[1]}
    assert all((tile.canvas == by_number[tile.number].canvas).all() for tile in pair[0])


def test_floats_are_read_in_parts_with_the_black_and_white_of_the_whole(tmp_path, in_parts) -> None:
    pixels = discs(200, 200).astype(np.float32) / 65535 * 200
    pixels[:100] /= 300  # below 1, as if 1 were white
    whole, part = both(tmp_path, pixels, None)
    assert (np.asarray(whole) == np.asarray(part)).all()


def test_a_picture_in_parts_is_pickled_without_its_pixels(tmp_path, in_parts) -> None:
    _, part = both(tmp_path, discs(300, 300))
    sent = pickle.dumps(part)
    assert len(sent) < 2_000
    assert (np.asarray(pickle.loads(sent)) == np.asarray(part)).all()


# Looks, ranges and crops


def test_a_look_at_a_picture_in_parts_is_that_at_the_whole(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(regions, "AT_ONCE", 700 * 700)
    monkeypatch.setattr(zarrs, "AT_ONCE", 700 * 700)
    whole, part = (look_at(picture) for picture in both(tmp_path, discs(1300, 1100)))
    assert (whole.size, whole.colored, whole.is_light) == (part.size, part.colored, part.is_light)
    assert len(whole.views) == len(part.views) > 2
    for one, other in zip(whole.views, part.views, strict=True):
        assert one.shrink == other.shrink
        assert np.abs(one.pixels.astype(int) - other.pixels).max() <= 1


def test_a_survey_of_one_zarr_measures_its_objects(tmp_path, in_parts) -> None:
    path = save(tmp_path / "x.zarr", discs(600, 600), 256)
    values = find_values(path)
    assert values is not None
    assert values[0] == pytest.approx(750, rel=0.05)
    assert values[1] > 6900
    assert survey_path(path, need=Need(values=values)).side == pytest.approx(12, abs=2)


def test_crops_of_a_picture_in_parts_are_those_of_the_whole(tmp_path, in_parts) -> None:
    taken = []
    for picture in both(tmp_path, discs(200, 240)):
        source = scaled_of(picture, (192, 160), 1, Difference(Black()))
        taken.append(list(Cropping((32, 32), 2.0, by_parts=True, random=True).crops(source, "x")))
    assert [(one.start, one.key) for one in taken[0]] == [(one.start, one.key) for one in taken[1]]
    for one, other in zip(*taken, strict=True):
        assert np.abs(one.canvas.astype(int) - other.canvas).max() <= 1


def test_one_zarr_is_enough_to_train_on_and_to_hold_out(tmp_path, in_parts, monkeypatch) -> None:
    monkeypatch.setattr(crops, "MOST_CROPS", 200)
    path = save(tmp_path / "x.zarr", discs(300, 300))
    data = load_dataset(path, canvas_size=32, resize="tile", subtract="nothing", range=RANGE)
    training, held_out = hold_out(data)
    assert len(training) > 50
    assert len(held_out) > 3
    assert data.digests is not None
    again = load_dataset(path, canvas_size=32, resize="tile", subtract="nothing", range=RANGE)
    assert (again.digests == data.digests).all()


def test_few_crops_are_held_out_of_however_large_a_picture(monkeypatch) -> None:
    monkeypatch.setattr(crops, "MOST_CROPS", 300)

    class Endless(ScaledWhole):
        """A picture of 10^12 pixels, all black."""

        def around(self, box):
            return self._pixels, (box[1], box[0])

    picture = Endless(np.zeros((1, 32, 32), np.uint8))
    picture.size = 10**6, 10**6
    cropping = Cropping.of((32, 32), 1, 1e12, random=True)
    keys = np.array([crop.key for crop in cropping.crops(picture, "x")])
    assert 0.05 * MOST_CELLS < (keys == 0).sum() < 0.2 * MOST_CELLS
    assert (keys != 0).sum() > 100


def test_a_digest_changes_with_a_chunk_and_not_with_the_place(tmp_path) -> None:
    first = save(tmp_path / "x.zarr", discs(100, 100))
    digest = zarrs.zarr_digest("x", first)
    assert zarrs.zarr_digest("x", save(tmp_path / "y.zarr", discs(100, 100))) == digest
    zarr.open_array(str(first), mode="r+")[:64, :64] = 1
    assert zarrs.zarr_digest("x", first) != digest


def test_a_data_set_has_another_digest_once_a_chunk_has_changed(tmp_path) -> None:
    """Though the time of the folder stays, as on a disk of coarse times."""
    path = save(tmp_path / "x.zarr", discs(100, 100))
    before, then = path.stat(), items_of([path])[0].digest()
    zarr.open_array(str(path), mode="r+")[:64, :64] = 1
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert items_of([path])[0].digest() != then


def test_whatever_metadata_say_errors_are_our_own(tmp_path) -> None:
    path = save(tmp_path / "x.zarr", discs(40, 40))
    sound = json.loads((path / ".zarray").read_text())
    for key in sound:
        for value in (None, -1, "x", [], {}):
            (path / ".zarray").write_text(json.dumps(sound | {key: value}))
            with contextlib.suppress(AirError):
                read(path, values=RANGE)


def test_whatever_attributes_say_errors_are_our_own(tmp_path) -> None:
    path = tmp_path / "x.zarr"
    zarr.open_group(str(path), mode="w", **V2)
    save(path / "0", discs(40, 40))
    axes: list[object] = [{"name": "y"}, {"name": "x"}]
    scale = {"axes": axes, "datasets": [{"path": "0"}]}
    values = (None, -1, "x", [], {}, [None], [[]], [{}], ["y", "y"], [{"path": "", "name": []}])
    attributes: list[object] = [*values]
    for value in values:
        attributes += [{"ome": value}, {"multiscales": value}, {"ome": {"multiscales": value}}]
        attributes += [{"multiscales": [scale | {key: value}]} for key in scale]
        (path / "0" / ".zattrs").write_text(json.dumps({"_ARRAY_DIMENSIONS": value}))
        with contextlib.suppress(AirError):
            read(path / "0", values=RANGE)
    (path / "0" / ".zattrs").unlink()
    for own in attributes:
        (path / ".zattrs").write_text(json.dumps(own))
        with contextlib.suppress(AirError):
            read(path, values=RANGE)


# Tiled TIFFs


@pytest.mark.parametrize("color", [False, True])
def test_a_tiled_tiff_that_is_too_large_is_read_in_parts(tmp_path, in_parts, color) -> None:
    tifffile = pytest.importorskip("tifffile", reason="the extra microscopy is not installed")
    pixels = np.stack([discs(200, 150, seed) for seed in range(3)], axis=-1)
    pixels = (pixels // 64).astype(np.uint8) if color else pixels[..., 0]
    kind = {"photometric": "rgb"} if color else {}
    tifffile.imwrite(tmp_path / "x.tif", pixels, tile=(64, 64), **kind)
    found = open_pictures(tmp_path / "x.tif", max_pixels=5_000)
    assert found.num == 1
    picture, size = found.read(0, Need(values=RANGE))
    assert size == (150, 200)
    assert isinstance(pickle.loads(pickle.dumps(picture)), Regions)
    whole, _ = open_pictures(tmp_path / "x.tif").read(0, Need(values=RANGE))
    assert (np.asarray(picture) == np.asarray(whole)).all()
    raw = found.raw(0)
    assert raw is None if color else raw.max() == pixels.max()
    found.close()


@pytest.mark.parametrize("color", [False, True])
def test_the_levels_of_a_tiled_tiff_are_its_coarser_versions(tmp_path, in_parts, color) -> None:
    """The coarsest level is black: so it shows which one was read."""
    tifffile = pytest.importorskip("tifffile", reason="the extra microscopy is not installed")
    pixels = (np.stack([discs(400, 320, seed) for seed in range(3)], axis=-1) // 64).astype("u1")
    pixels = pixels if color else pixels[..., 0]
    options = {"tile": (64, 64), "photometric": "rgb" if color else "minisblack"}
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        file.write(pixels, subifds=2, **options)
        file.write(pixels[::2, ::2], subfiletype=1, **options)
        file.write(0 * pixels[::4, ::4], subfiletype=1, **options)
    picture, size = open_pictures(tmp_path / "x.tif", max_pixels=5_000).read(0)
    assert size == (320, 400)
    picture = pickle.loads(pickle.dumps(picture))
    assert (np.asarray(picture) == pixels).all()
    assert np.asarray(picture.resize((40, 50), Resampling.BOX)).max() == 0
    half = np.asarray(picture.resize((80, 100), Resampling.NEAREST))
    assert (half == np.asarray(Image.fromarray(pixels[::2, ::2]).resize((80, 100), 0))).all()


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("big", [False, True])
def test_a_large_tiff_is_refused_at_once_if_it_is_not_tiled(
    tmp_path, monkeypatch, order, big
) -> None:
    """Also without tifffile; of one that is tiled, a line says what to install."""
    tifffile = pytest.importorskip("tifffile", reason="the extra microscopy is not installed")
    options = {"byteorder": order, "bigtiff": big}
    tifffile.imwrite(tmp_path / "x.tif", discs(200, 150), **options)
    tifffile.imwrite(tmp_path / "tiled.tif", discs(200, 150), tile=(64, 64), **options)
    for module in (tifffile, None):
        monkeypatch.setitem(sys.modules, "tifffile", module)
        with pytest.raises(DataError, match=r"x\.tif: 150 x 200 pixels, more than 5,000"):
            open_pictures(tmp_path / "x.tif", max_pixels=5_000)
    with pytest.raises(DataError, match=r"150 x 200 pixels needs tifffile.*\[large,microscopy\]"):
        open_pictures(tmp_path / "tiled.tif", max_pixels=5_000)
