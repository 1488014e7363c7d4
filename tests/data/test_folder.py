"""Properties of the user's own images, and every mistake one can make with them."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from attend_infer_repeat.data.folder import load_path
from attend_infer_repeat.errors import DataError


def picture(value: int = 0, size: tuple[int, int] = (8, 6)) -> Image.Image:
    """Return a grey picture of (width, height) pixels."""
    return Image.new("L", size, value)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three pictures whose grey value tells them apart."""
    path = tmp_path / "pictures"
    path.mkdir()
    for name, value in (("c.png", 30), ("a.png", 10), ("b.PNG", 20)):
        picture(value).save(path / name)
    return path


def assert_refused(path, *parts: str, split="train") -> None:
    with pytest.raises(DataError) as caught:
        load_path(path, split)
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert str(part) in message


# Folders of pictures


def test_pictures_are_sorted_by_name_and_unlabelled(folder):
    data = load_path(folder)
    assert (data.name, data.split) == ("pictures", "train")
    assert data.images.shape == (3, 6, 8)
    assert data.images[:, 0, 0].tolist() == [10, 20, 30]
    assert (data.counts, data.boxes, data.labels) == (None, None, None)


def test_other_files_hidden_files_and_sub_folders_are_left_alone(folder):
    (folder / "README.txt").write_text("hello")
    (folder / "._a.png").write_bytes(b"a shadow that some systems leave")
    (folder / "test").mkdir()
    (folder / "d.png").mkdir()
    assert len(load_path(str(folder))) == 3


def test_jpeg_and_png_may_be_mixed(folder):
    picture(40).save(folder / "d.jpg")
    picture(50).save(folder / "e.JPEG")
    assert load_path(folder).images[:, 0, 0].tolist() == [10, 20, 30, 40, 50]


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (Image.new("RGB", (8, 6), (255, 255, 255)), 255),
        (Image.new("RGBA", (8, 6), (255, 255, 255, 0)), 0),
        (Image.new("RGBA", (8, 6), (255, 255, 255, 255)), 255),
        (Image.new("LA", (8, 6), (200, 0)), 0),
        (Image.new("1", (8, 6), 1), 255),
        (Image.fromarray(np.full((6, 8), 65535, np.uint16)), 255),
        (Image.fromarray(np.full((6, 8), 257 * 100, np.uint16)), 100),
        (Image.new("RGB", (8, 6), (9, 9, 9)).quantize(4), 9),
    ],
    ids=["rgb", "transparent", "opaque", "grey-alpha", "1-bit", "white-16", "grey-16", "palette"],
)
def test_every_kind_of_png_is_read_as_grey_on_black(tmp_path, given, expected):
    given.save(tmp_path / "a.png")
    images = load_path(tmp_path).images
    assert images.dtype == np.uint8
    assert np.unique(images).tolist() == [expected]


def test_a_photo_is_turned_upright(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6  # the camera was held on its side
    picture(size=(8, 6)).save(tmp_path / "a.jpg", exif=turned)
    assert load_path(tmp_path).canvas_size == (8, 6)


def test_no_such_path_is_refused(tmp_path):
    assert_refused(tmp_path / "nowhere", tmp_path / "nowhere", "no such file or folder")


def test_a_file_that_is_no_archive_is_refused(folder):
    assert_refused(folder / "a.png", "a.png", "expected a folder")


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert_refused(tmp_path, tmp_path, "no images", ".png")


def test_a_folder_that_holds_an_archive_points_to_it(tmp_path):
    np.savez(tmp_path / "scenes.npz", images=np.zeros((2, 5, 5), np.uint8))
    assert_refused(tmp_path, "no images", tmp_path / "scenes.npz")


def test_a_picture_of_another_size_is_named(folder):
    picture(size=(9, 6)).save(folder / "odd.png")
    assert_refused(folder, folder / "odd.png", "expected 8 x 6", "got 9 x 6")


@pytest.mark.parametrize("content", [b"", b"not a picture", None], ids=["empty", "text", "cut"])
def test_a_damaged_picture_is_named(folder, content):
    noise = np.random.RandomState(0).randint(256, size=(6, 8)).astype(np.uint8)
    Image.fromarray(noise).save(folder / "bad.png")
    whole = (folder / "bad.png").read_bytes()
    (folder / "bad.png").write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert_refused(folder, folder / "bad.png", "cannot be read as an image")


# counts.csv


def test_counts_are_matched_by_file_name(folder):
    (folder / "counts.csv").write_text("file,count\nc.png,3\na.png,1\nb.PNG,0\n")
    counts = load_path(folder).counts
    assert counts.dtype == np.int64
    assert counts.tolist() == [1, 0, 3]


def test_counts_may_come_from_a_spreadsheet(folder):
    table = "count, note, file \r\n3,x,c.png\r\n\r\n1,,a.png\r\n0,,b.PNG\r\n"
    (folder / "counts.csv").write_bytes(b"\xef\xbb\xbf" + table.encode())
    assert load_path(folder).counts.tolist() == [1, 0, 3]


@pytest.mark.parametrize(
    ("table", "parts"),
    [
        ("file,count\na.png,1\nb.PNG,1\nd.png,1\n", ["line 4", "'d.png'", "Did you mean"]),
        ("file,count\na.png,1\n", ["2 missing", "'b.PNG'"]),
        ("file,count\n", ["3 missing"]),
        ("file,count\na.png,1\na.png,1\n", ["line 3", "comes twice"]),
        ("file,count\na.png,-1\n", ["line 2", "'-1'"]),
        ("file,count\na.png,1.5\n", ["line 2", "'1.5'"]),
        ("file,count\na.png\n", ["line 2", "''"]),
        ("name,count\na.png,1\n", ["columns file and count", "got name, count"]),
        ("file;count\na.png;1\n", ["columns file and count", "comma"]),
        ("", ["columns file and count", "got nothing"]),
    ],
)
def test_mistakes_in_the_counts_are_refused_with_their_line(folder, table, parts):
    (folder / "counts.csv").write_text(table)
    assert_refused(folder, folder / "counts.csv", *parts)


def test_counts_that_are_no_text_are_refused(folder):
    (folder / "counts.csv").write_bytes(b"file,count\n\xff\xfe\xfa,1\n")
    assert_refused(folder, folder / "counts.csv", "UTF-8")


# .npz files

IMAGES = np.arange(2 * 5 * 4, dtype=np.uint8).reshape(2, 5, 4)
BOXES = np.array([[[0, 0, 2, 2]], [[np.nan] * 4]], np.float32)


def save(tmp_path, **arrays):
    np.savez(tmp_path / "scenes.npz", **arrays)
    return tmp_path / "scenes.npz"


def test_an_archive_gives_back_its_arrays(tmp_path):
    counts, labels = np.array([1, 0], np.uint8), np.array([[4], [-1]], np.int32)
    data = load_path(
        save(tmp_path, images=IMAGES, counts=counts, boxes=BOXES.astype(float), labels=labels)
    )
    assert (data.name, data.split) == ("scenes", "train")
    np.testing.assert_array_equal(data.images, IMAGES)
    np.testing.assert_array_equal(data.counts, counts)
    np.testing.assert_array_equal(data.boxes, BOXES)
    np.testing.assert_array_equal(data.labels, labels)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_from_zero_to_one_become_bytes(tmp_path, dtype):
    images = (IMAGES / 255).astype(dtype)
    np.testing.assert_array_equal(load_path(save(tmp_path, images=images)).images, IMAGES)


def test_masks_become_black_and_white(tmp_path):
    images = load_path(save(tmp_path, images=IMAGES > 9)).images
    np.testing.assert_array_equal(images, np.where(IMAGES > 9, 255, 0))


def test_a_channel_axis_of_one_is_dropped_and_of_three_is_kept(tmp_path):
    assert load_path(save(tmp_path, images=IMAGES[:, None])).images.shape == (2, 5, 4)
    colour = np.repeat(IMAGES[:, None], 3, axis=1)
    assert load_path(save(tmp_path, images=colour)).channels == 3


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"pictures": IMAGES}, ["'images'", "pictures"]),
        ({"images": IMAGES, "count": np.zeros(2, int)}, ["'count'", "Did you mean 'counts'?"]),
        ({"images": np.where(IMAGES == 30, np.nan, 0.5)}, ["image 1", "NaN"]),
        ({"images": IMAGES.astype(float)}, ["from 0 to 1", "got 0 to 39"]),
        ({"images": IMAGES / 255 - 0.1}, ["from 0 to 1", "-0.1"]),
        ({"images": np.where(IMAGES == 30, np.inf, 0.5)}, ["from 0 to 1", "inf"]),
        ({"images": IMAGES.astype(np.int64)}, ["uint8", "int64"]),
        ({"images": IMAGES[0]}, ["(N, height, width)", "(5, 4)"]),
        ({"images": IMAGES[:0]}, ["no images"]),
        ({"images": np.array([None, "x"])}, ["not a readable .npz"]),
        ({"images": IMAGES, "counts": np.zeros(3, int)}, ["counts", "(3,)"]),
        ({"images": IMAGES, "counts": np.array([0.5, 1])}, ["counts", "float64"]),
        ({"images": IMAGES, "counts": np.array([0, -1])}, ["counts", "image 1 has -1"]),
        ({"images": IMAGES, "boxes": BOXES[:, 0]}, ["boxes", "(2, 4)"]),
        (
            {"images": IMAGES, "boxes": BOXES, "counts": np.array([1, 1])},
            ["image 1", "0 boxes", "count of 1"],
        ),
    ],
)
def test_mistakes_in_an_archive_are_refused(tmp_path, arrays, parts):
    path = save(tmp_path, **arrays)
    assert_refused(path, path, *parts)


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "text", "npy"])
def test_a_damaged_archive_is_named(tmp_path, damage):
    path = save(tmp_path, images=IMAGES)
    content = path.read_bytes()
    middle = content.index(IMAGES.tobytes())
    if damage == "npy":
        with open(path, "wb") as file:
            np.save(file, IMAGES)
    else:
        path.write_bytes(
            {
                "cut": content[:-30],
                "flipped": content[:middle] + b"\7" + content[middle + 1 :],
                "empty": b"",
                "text": b"hello",
            }[damage]
        )
    assert_refused(path, path, "not a readable .npz")


# The test split


def test_test_images_of_a_folder_lie_in_its_sub_folder(folder):
    (folder / "test").mkdir()
    picture(99).save(folder / "test" / "x.png")
    data = load_path(folder, "test")
    assert (data.name, data.split) == ("pictures", "test")
    assert data.images[:, 0, 0].tolist() == [99]


def test_test_images_of_an_archive_lie_beside_it(tmp_path):
    path = save(tmp_path, images=IMAGES)
    np.savez(tmp_path / "scenes_test.npz", images=IMAGES[:1])
    data = load_path(path, "test")
    assert (data.name, data.split, len(data)) == ("scenes", "test", 1)


def test_absent_test_images_are_refused_with_their_place(folder, tmp_path):
    assert_refused(folder, "no test images", folder / "test", split="test")
    path = save(tmp_path, images=IMAGES)
    assert_refused(path, "no test images", tmp_path / "scenes_test.npz", split="test")
