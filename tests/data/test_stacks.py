"""What a microscope, a camera and a game write is read: stacks, channels, depths, videos.

Every file is written here with a library, from arrays that are known.
"""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from attend_infer_repeat import DataError, load_dataset
from attend_infer_repeat.data.pictures.reading.containers import open_pictures
from attend_infer_repeat.data.pictures.reading.decoding import Need, read_picture
from attend_infer_repeat.data.pictures.reading.ranges import find_values
from attend_infer_repeat.errors import MissingError
from attend_infer_repeat.files.sources import find_sources, how_many

tifffile = pytest.importorskip("tifffile")

HEIGHT, WIDTH = 24, 30


def planes(num: int, dtype: str = "uint8", high: int = 200) -> np.ndarray:
    """Return pictures, each of which is told by its pixels, (num, height, width)."""
    rng = np.random.default_rng(num)
    return rng.integers(0, high, (num, HEIGHT, WIDTH)).astype(dtype)


def pictures_in(path: Path, **need) -> list[np.ndarray]:
    pictures = open_pictures(path)
    return [np.asarray(pictures.read(i, Need(**need)).picture) for i in range(pictures.num)]


@pytest.mark.parametrize(
    ("shape", "options", "is_video"),
    [
        ((5,), {}, False),  # pages
        ((5,), {"imagej": True, "metadata": {"axes": "TYX"}}, True),
        ((2, 3), {"imagej": True, "metadata": {"axes": "TZYX"}}, True),
        ((4,), {"imagej": True, "metadata": {"axes": "ZYX"}}, False),
        ((2, 3), {"ome": True, "metadata": {"axes": "TZYX"}}, True),
        ((1,), {}, False),  # a stack of one page
    ],
)
def test_pages_slices_and_frames_are_pictures(tmp_path, shape, options, is_video) -> None:
    stack = planes(int(np.prod(shape))).reshape(*shape, HEIGHT, WIDTH)
    path = tmp_path / ("x.ome.tif" if options.get("ome") else "x.tif")
    tifffile.imwrite(path, stack, photometric="minisblack", **options)
    found = pictures_in(path)
    assert len(found) == how_many([str(path)]) == np.prod(shape)
    for own, plane in zip(found, stack.reshape(-1, HEIGHT, WIDTH), strict=True):
        assert (own == plane).all()
    assert open_pictures(path).is_video == is_video
    data = load_dataset(path, invert="no")
    assert (data.images == stack.reshape(-1, HEIGHT, WIDTH)).all()


@pytest.mark.parametrize("ome", [True, False])
@pytest.mark.parametrize("num", [2, 3, 5])
def test_channels_are_colors_or_averaged_and_can_be_chosen(tmp_path, num, ome) -> None:
    channels = planes(2 * num).reshape(2, num, HEIGHT, WIDTH)
    path = tmp_path / ("x.ome.tif" if ome else "x.tif")
    kind = {"ome": True} if ome else {"imagej": True}
    tifffile.imwrite(path, channels, **kind, photometric="minisblack", metadata={"axes": "TCYX"})
    found = pictures_in(path)
    assert len(found) == 2
    if num > 3:
        assert np.abs(found[1] - channels[1].mean(axis=0)).max() <= 1
    else:
        assert (found[1][..., :num].transpose(2, 0, 1) == channels[1]).all()
    one = pictures_in(path, channels=(num - 1,))
    assert (one[0] == channels[0, num - 1]).all()
    two = pictures_in(path, channels=(1, 0))
    assert (two[0][..., :2].transpose(2, 0, 1) == channels[0, [1, 0]]).all()
    with pytest.raises(DataError, match=f"{num} channels.*--select asks for {num}"):
        pictures_in(path, channels=(num,))


def test_a_color_of_an_ordinary_picture_can_be_chosen(tmp_path) -> None:
    from PIL import Image

    pixels = planes(3).transpose(1, 2, 0)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    green = read_picture(tmp_path / "x.png", need=Need(channels=(1,)))
    assert (np.asarray(green) == pixels[..., 1]).all()


@pytest.mark.parametrize(
    ("dtype", "low", "high"),
    [
        ("uint16", 100, 4000),
        ("int16", -300, 500),
        ("uint32", 0, 100_000),
        ("int32", -5, 70_000),
        ("float32", -1.5, 40.0),
        ("float64", 0.0, 1e-3),
    ],
)
@pytest.mark.parametrize("pages", [1, 3])
def test_any_depth_is_read_by_the_range_of_its_pixels(tmp_path, dtype, low, high, pages) -> None:
    fraction = np.random.default_rng(0).random((pages, HEIGHT, WIDTH))
    fraction[:, 0, 0], fraction[:, 0, 1] = 0, 1
    values = (low + (high - low) * fraction).astype(dtype)
    tifffile.imwrite(
        tmp_path / "x.tif", values if pages > 1 else values[0], photometric="minisblack"
    )
    found = find_values(tmp_path)
    assert found is not None
    assert found == pytest.approx((low, high), abs=0.02 * (high - low))
    data = load_dataset(tmp_path, range=(float(low), float(high)), invert="no")
    exact = 255 * (values.astype(float) - low) / (high - low)
    assert np.abs(data.images - exact).max() <= 1


def test_a_hot_and_a_dead_pixel_decide_nothing(tmp_path) -> None:
    values = planes(20, "uint16", 1000).repeat(20, axis=1).repeat(20, axis=2)
    values[:, 5, 5], values[:, 7, 7] = 65535, 0
    tifffile.imwrite(tmp_path / "x.tif", values + 50, photometric="minisblack")
    found = find_values(tmp_path)
    assert found is not None
    assert found[1] < 1100


def test_eight_bits_have_the_range_of_their_type(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "x.tif", planes(3), photometric="minisblack")
    assert find_values(tmp_path) is None


def test_the_depths_of_a_folder_may_differ(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", planes(1)[0], photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", planes(2, "uint16", 4000), photometric="minisblack")
    found = find_values(tmp_path)
    assert found is not None
    assert found[1] == pytest.approx(4000, rel=0.02)
    assert len(load_dataset(tmp_path, range=found)) == 3


BAD = {
    "NaN": (np.full((HEIGHT, WIDTH), np.nan, np.float32), "NaN or infinite"),
    "NaN in a stack": (np.full((2, HEIGHT, WIDTH), np.nan, np.float32), "NaN or infinite"),
    "a float that says nothing": (np.full((HEIGHT, WIDTH), -4, np.float32), "--range LOW HIGH"),
    "too small": (np.zeros((2, 2, 3), np.uint8), "too small"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_picture_that_cannot_be_used_is_skipped_with_one_line(tmp_path, kind, caplog) -> None:
    pixels, reason = BAD[kind]
    tifffile.imwrite(tmp_path / "good.tif", planes(1)[0], photometric="minisblack")
    tifffile.imwrite(tmp_path / "bad.tif", pixels, photometric="minisblack")
    assert len(load_dataset(tmp_path)) == 1
    lines = [record.getMessage() for record in caplog.records if "Skipped" in record.getMessage()]
    assert lines
    assert all(reason in line and "\n" not in line for line in lines)


def test_pictures_of_one_value_are_refused_with_the_way_out(tmp_path) -> None:
    tifffile.imwrite(
        tmp_path / "x.tif", np.full((3, HEIGHT, WIDTH), 7, np.uint16), photometric="minisblack"
    )
    with pytest.raises(DataError, match=r"nearly all pixels have the value 7; give --range"):
        find_values(tmp_path)


def test_a_damaged_stack_is_one_line(tmp_path) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, planes(6), photometric="minisblack")
    path.write_bytes(path.read_bytes()[:-3000])
    for source in find_sources([str(path)]):
        error: Exception | None = None
        try:
            source.read()
        except DataError as raised:
            error = raised
        assert "\n" not in str(error)


def test_without_tifffile_a_stack_says_what_to_install(tmp_path, monkeypatch) -> None:
    path = tmp_path / "x.tif"
    tifffile.imwrite(path, planes(3), photometric="minisblack")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(DataError, match=r"needs tifffile.*attend-infer-repeat\[microscopy\]"):
        open_pictures(path)
    assert MissingError  # what others raise


@pytest.fixture
def clip(tmp_path) -> tuple[Path, np.ndarray]:
    av = pytest.importorskip("av")
    frames = np.zeros((12, 64, 80, 3), np.uint8)
    for i, frame in enumerate(frames):
        frame[10:30, 5 * i : 5 * i + 20] = 40 + 15 * i
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 80, 64, "yuv420p"
        stream.bit_rate = 4_000_000
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return path, frames


def test_a_videos_frames_are_pictures_in_any_order(clip) -> None:
    path, frames = clip
    pictures = open_pictures(path)
    assert (pictures.num, pictures.is_video) == (len(frames), True)
    for i in (0, 1, 3, 2, 11, 4, 0):
        own = np.asarray(pictures.read(i).picture.convert("RGB")).astype(int)
        assert np.abs(own - frames[i]).mean() < 6
    assert len(load_dataset(path)) == len(frames)
    sources = list(find_sources([str(path)]))
    assert [source.video for source in sources] == [str(path)] * len(frames)


def test_a_video_without_frames_is_one_line(tmp_path, clip) -> None:
    path, _ = clip
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:200])
    (tmp_path / "empty.avi").write_bytes(b"")
    for bad in (cut, tmp_path / "empty.avi"):
        with pytest.raises(DataError) as refusal:
            open_pictures(bad)
        assert bad.name in str(refusal.value)
        assert "\n" not in str(refusal.value)


def test_a_broken_file_takes_no_other_picture_of_its_folder_with_it(tmp_path) -> None:
    for name in ("a.tif", "c.tif"):
        tifffile.imwrite(tmp_path / name, planes(1)[0], photometric="minisblack")
    (tmp_path / "b.tif").write_bytes(b"II*\0garbage")
    (tmp_path / "d.mp4").write_bytes(b"garbage")
    sources = list(find_sources([str(tmp_path)]))
    assert [Path(source.name).name for source in sources] == ["a.tif", "b.tif", "c.tif", "d.mp4"]
    assert how_many([str(tmp_path)]) == 4
    for source in sources[::2]:
        assert source.read().size == (WIDTH, HEIGHT)
    for source in sources[1::2]:
        with pytest.raises(DataError):
            source.read()
    assert len(load_dataset(tmp_path)) == 2


def test_a_picture_is_read_by_its_content_whatever_it_is_called(tmp_path) -> None:
    from PIL import Image

    for name in ("x.tif", "y.gif"):
        Image.fromarray(planes(1)[0]).save(tmp_path / name, format="PNG")
    assert len(load_dataset(tmp_path)) == 2


def test_eight_bits_beside_deeper_pictures_keep_their_own_range(tmp_path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", planes(1)[0], photometric="minisblack")
    tifffile.imwrite(tmp_path / "b.tif", planes(2, "uint16", 4000), photometric="minisblack")
    data = load_dataset(tmp_path, range=(0.0, 4000.0), invert="no")
    assert (data.images[0] == planes(1)[0]).all()


def test_channels_are_taken_of_arrays_as_of_files(tmp_path) -> None:
    images = planes(12).reshape(4, 3, HEIGHT, WIDTH)
    np.savez(tmp_path / "x.npz", images=images)
    data = load_dataset(tmp_path / "x.npz", select=(1,), invert="no")
    assert (data.images == images[:, 1]).all()
    (first, *_) = find_sources([str(tmp_path / "x.npz")])
    assert (np.asarray(first.read(Need(channels=(1,))).picture) == images[0, 1]).all()


def test_a_color_is_taken_of_a_picture_that_happens_to_be_gray(tmp_path) -> None:
    from PIL import Image

    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[3, 4, 2] = 200
    Image.fromarray(pixels).save(tmp_path / "x.png")
    blue = np.asarray(read_picture(tmp_path / "x.png", need=Need(channels=(2,))))
    assert (blue == pixels[..., 2]).all()


def test_opacity_is_no_channel(tmp_path) -> None:
    rgba = planes(8).reshape(2, 4, HEIGHT, WIDTH).transpose(0, 2, 3, 1)
    tifffile.imwrite(tmp_path / "x.tif", rgba, photometric="rgb", extrasamples=["unassalpha"])
    for own, page in zip(pictures_in(tmp_path / "x.tif"), rgba, strict=True):
        assert (own == page[..., :3]).all()


def test_files_of_stacks_are_closed_once_they_are_read(tmp_path) -> None:
    for i in range(40):
        tifffile.imwrite(tmp_path / f"{i:02}.tif", planes(3), photometric="minisblack")
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert len(load_dataset(tmp_path)) == 120
    after = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    assert after - before < 10
