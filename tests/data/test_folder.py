"""Properties of the user's own images, and every mistake one can make with them."""

from __future__ import annotations

import json
import os
import zlib

import numpy as np
import pytest
from PIL import Image

from attend_infer_repeat.data import load_dataset
from attend_infer_repeat.data.pictures.folder import load_path
from attend_infer_repeat.errors import DataError


def picture(value: int = 0, size: tuple[int, int] = (8, 6)) -> Image.Image:
    """Return a gray picture of (width, height) pixels."""
    return Image.new("L", size, value)


@pytest.fixture
def folder(tmp_path):
    """Return a folder of three pictures whose gray value tells them apart."""
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


def test_pictures_are_sorted_by_name_and_unlabeled(folder):
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
    ids=["rgb", "transparent", "opaque", "gray-alpha", "1-bit", "white-16", "gray-16", "palette"],
)
def test_every_kind_of_png_is_read_as_gray_on_black(tmp_path, given, expected):
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


def test_a_file_that_holds_no_pictures_is_refused(folder):
    (folder / "a.txt").write_text("hello")
    assert_refused(folder / "a.txt", "a.txt", "expected a folder")


def test_one_picture_is_a_data_set_of_one(folder):
    assert len(load_path(folder / "a.png")) == 1


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    assert_refused(tmp_path, tmp_path, "no images", ".png")


def test_a_folder_that_holds_an_archive_points_to_it(tmp_path):
    np.savez(tmp_path / "scenes.npz", images=np.zeros((2, 5, 5), np.uint8))
    assert_refused(tmp_path, "no images", tmp_path / "scenes.npz")


def test_pictures_of_several_sizes_come_onto_one_canvas_each_scaled_to_fit(folder):
    half_white = np.zeros((12, 40), np.uint8)
    half_white[:, 20:] = 200
    Image.fromarray(half_white).save(folder / "wide.png")
    data = load_path(folder)
    assert data.images.shape == (4, 12, 40)
    np.testing.assert_array_equal(data.images[3], half_white)  # of the canvas's size: as it is
    small = load_path(folder, canvas_size=20).images[3]  # 20 x 6, in the middle of 20 x 20
    assert (small[:7] == 0).all()
    assert (small[13:] == 0).all()
    np.testing.assert_allclose(small[7:13], half_white[::2, ::2].astype(float), atol=30)


def test_padded_pictures_keep_their_scale_and_large_ones_shrink(folder):
    spot = np.zeros((40, 40), np.uint8)
    spot[18:22, 18:22] = 200
    Image.fromarray(spot).save(folder / "spot.png")
    image = load_path(folder, canvas_size=60, resize="pad").images[3]
    np.testing.assert_array_equal(image[10:50, 10:50], spot)
    assert image.sum() == spot.sum()
    half = load_path(folder, canvas_size=60, resize="pad", zoom=0.5).images[3]
    assert (half > 100).sum() == 4  # 2 x 2
    assert (load_path(folder, canvas_size=20, resize="pad").images[3] > 100).sum() == 4


def test_cropped_pictures_keep_their_scale_and_lose_their_margins(folder):
    numbers = np.arange(100, dtype=np.uint8).reshape(10, 10)
    Image.fromarray(numbers).save(folder / "numbers.png")
    image = load_path(folder, canvas_size=4, resize="crop", invert="no").images[3]
    np.testing.assert_array_equal(image, numbers[3:7, 3:7])


@pytest.mark.parametrize("name", ["a.tif", "a.tiff", "a.bmp", "a.gif", "a.PNG", "a.jpeg"])
def test_every_format_is_read(tmp_path, name):
    picture(100).save(tmp_path / name)
    assert load_path(tmp_path).images[0, 0, 0] == 100


def test_every_frame_of_a_moving_gif_is_taken(tmp_path):
    frames = [picture(value) for value in (40, 90, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    data = load_path(tmp_path)
    assert [image.mean() for image in data.images] == [40, 90, 200]
    assert data.files.tolist() == ["a.gif[0]", "a.gif[1]", "a.gif[2]"]


def test_colors_are_kept_where_pictures_have_some(folder):
    Image.new("RGB", (8, 6), (200, 0, 100)).save(folder / "d.png")
    color = load_path(folder)
    assert color.images.shape == (4, 3, 6, 8)
    assert color.images[3, :, 0, 0].tolist() == [200, 0, 100]
    assert color.images[0, :, 0, 0].tolist() == [10, 10, 10]
    assert load_path(folder, channels=1).images.shape == (4, 6, 8)
    assert load_path(folder, channels=3).channels == 3


def test_cmyk_and_16_bit_colors_are_read(tmp_path):
    Image.new("CMYK", (8, 6), (0, 255, 255, 0)).save(tmp_path / "a.tif")
    assert load_path(tmp_path).images[0, :, 0, 0].tolist() == [255, 0, 0]
    Image.fromarray(np.full((6, 8), 257 * 9, np.uint16)).save(tmp_path / "a.tif")
    assert load_path(tmp_path).images[0, 0, 0] == 9


def scan(value: int = 235, noise: int = 4, seed: int = 0) -> np.ndarray:
    """Return a bright page of (30, 40) pixels with a dark stroke, or blank if noise is 0."""
    page = np.full((30, 40), value, float)
    if noise:
        page[10:20, 15:18] = 20
        page += np.random.default_rng(seed).normal(0, noise, page.shape)
    return page.clip(0, 255).astype(np.uint8)


def test_dark_on_bright_becomes_bright_on_black_also_on_a_blank_page(tmp_path):
    for i in range(3):
        Image.fromarray(scan(seed=i)).save(tmp_path / f"{i}.png")
    Image.fromarray(scan(noise=0)).save(tmp_path / "blank.png")
    images = load_path(tmp_path).images
    assert (images[:3, 10:20, 15:18] > 200).all()
    images[:, 10:20, 15:18] = 0
    assert images.max() < 30
    assert images[3].max() == 0
    assert load_path(tmp_path, invert="no").images[3].min() == 235


def test_dark_things_on_bright_pictures_can_be_demanded_and_denied(tmp_path):
    shown = np.zeros((20, 20), np.uint8)
    shown[:15] = 255  # the border does not agree on a background
    Image.fromarray(shown).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_path(tmp_path).images[0], shown)
    np.testing.assert_array_equal(load_path(tmp_path, invert="yes").images[0], 255 - shown)


def test_a_gray_background_becomes_black(tmp_path):
    shown = np.full((20, 20), 80, np.uint8)
    shown[5:10, 5:10] = 255
    Image.fromarray(shown).save(tmp_path / "a.png")
    np.testing.assert_array_equal(load_path(tmp_path).images[0], np.where(shown == 255, 255, 0))


def test_what_is_dark_on_a_transparent_ground_is_seen(tmp_path):
    drawing = np.zeros((20, 20, 4), np.uint8)
    drawing[5:10, 5:10, 3] = 255  # black on nothing
    Image.fromarray(drawing).save(tmp_path / "a.png")
    image = load_path(tmp_path).images[0]
    assert (image[5:10, 5:10] == 255).all()
    assert image.sum() == 25 * 255


NOISE = np.random.RandomState(0).randint(256, size=(6, 8)).astype(np.uint8)


def damage(folder, name: str, content: bytes | None) -> None:
    """Write a damaged picture; without content, the first half of a sound one."""
    Image.fromarray(NOISE).save(folder / name)
    whole = (folder / name).read_bytes()
    (folder / name).write_bytes(whole[: len(whole) // 2] if content is None else content)


@pytest.mark.parametrize("content", [b"", b"not a picture", None], ids=["empty", "text", "cut"])
def test_a_damaged_picture_is_named_and_skipped_or_stops(folder, content, caplog):
    damage(folder, "bad.png", content)
    data = load_path(folder)
    assert data.images[:, 0, 0].tolist() == [10, 20, 30]
    assert data.files.tolist() == ["a.png", "b.PNG", "c.png"]
    (line,) = [record.getMessage() for record in caplog.records]
    assert str(folder / "bad.png") in line
    assert "cannot be read as an image" in line
    with pytest.raises(DataError, match=r"bad\.png: cannot be read as an image"):
        load_path(folder, strict=True)


def test_a_folder_of_damaged_pictures_is_refused(tmp_path):
    for name in ("a.png", "b.jpg", "c.gif", "d.tif", "e.bmp"):
        damage(tmp_path, name, b"not a picture")
    assert_refused(tmp_path, tmp_path, "none of its 5 images can be read")


@pytest.mark.parametrize(
    ("size", "reason"),
    [((1, 1), "too small"), ((30_000, 2), "too small"), ((9000, 3), "too small")],
)
def test_a_picture_of_senseless_size_is_skipped(folder, size, reason, caplog):
    picture(size=size).save(folder / "odd.png")
    assert len(load_path(folder)) == 3
    assert reason in caplog.text


def test_a_bomb_is_refused_by_the_size_that_it_claims(folder, caplog):
    claimed = (20_000).to_bytes(4, "big")
    whole = bytearray((folder / "a.png").read_bytes())
    whole[16:24] = claimed + claimed  # the header's width and height
    whole[29:33] = zlib.crc32(whole[12:29]).to_bytes(4, "big")
    (folder / "bomb.png").write_bytes(whole)
    assert len(load_path(folder)) == 3
    assert "more than 89,478,485 pixels" in caplog.text


def test_links_to_nowhere_and_to_themselves_and_pipes_are_skipped(folder, caplog):
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "dangling.png").symlink_to(folder / "nowhere.png")
    (folder / "circle").symlink_to(folder, target_is_directory=True)
    (folder / "link.png").symlink_to(folder / "a.png")
    os.mkfifo(folder / "pipe.png")
    assert load_path(folder).files.tolist() == ["a.png", "b.PNG", "c.png", "link.png"]
    for name in ("loop.png", "dangling.png", "pipe.png"):
        assert f"{folder / name}" in caplog.text


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_skipped(folder, caplog):
    (folder / "a.png").chmod(0)
    assert len(load_path(folder)) == 2
    assert "Permission denied" in caplog.text


def test_names_with_newlines_and_bytes_that_are_no_text_are_read_and_shown_in_a_line(
    folder, caplog
):
    for name in (b"two\nlines.png", b"\xff\xfe.png"):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            picture(50).save(file, "png")
        with open(os.path.join(os.fsencode(folder), b"bad" + name), "wb") as file:
            file.write(b"damaged")
    data = load_path(folder)
    assert sorted(data.images[:, 0, 0].tolist()) == [10, 20, 30, 50, 50]
    assert all("\n" not in record.getMessage() for record in caplog.records)
    assert len(caplog.records) == 2


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


def test_counts_of_unknown_pictures_are_named_and_left_out_or_stop(folder, caplog):
    (folder / "counts.csv").write_text("file,count\na.png,1\nb.PNG,2\nd.png,1\nc.png,0\n")
    assert load_path(folder).counts.tolist() == [1, 2, 0]
    for part in ("line 4", "'d.png'", "Did you mean"):
        assert part in caplog.text
    with pytest.raises(DataError, match=r"line 4: there is no image 'd\.png'"):
        load_path(folder, strict=True)


def test_counts_of_some_pictures_are_used(folder):
    (folder / "counts.csv").write_text("file,count\nb.PNG,2\n")
    data = load_path(folder)
    assert data.counts.tolist() == [-1, 2, -1]
    assert data.counted().files.tolist() == ["b.PNG"]


def test_counts_that_are_no_text_are_refused(folder):
    (folder / "counts.csv").write_text("file,count\na.png,1\n", encoding="utf-16")
    assert_refused(folder, folder / "counts.csv", "UTF-8")


# COCO


def coco(folder, annotations, names=("a.png", "b.PNG", "c.png")) -> None:
    content = {
        "images": [{"id": 10 + i, "file_name": name} for i, name in enumerate(names)],
        "annotations": [
            {"id": i, "image_id": image, "category_id": category, "bbox": box}
            for i, (image, category, box) in enumerate(annotations)
        ],
        "categories": [{"id": 7, "name": "cat"}, {"id": 3, "name": "dog"}],
    }
    (folder / "annotations.json").write_text(json.dumps(content))


def test_coco_tells_counts_boxes_and_classes(folder):
    coco(folder, [(10, 7, [1, 2, 3, 4]), (10, 3, [0, 0, 1, 1]), (12, 3, [2, 2, 2, 3])])
    data = load_path(folder)
    assert data.counts.tolist() == [2, 0, 1]
    assert data.boxes[0].tolist() == [[1, 2, 4, 6], [0, 0, 1, 1]]
    assert np.isnan(data.boxes[1]).all()
    assert data.boxes[2, 0].tolist() == [2, 2, 4, 5]
    assert data.labels.tolist() == [[1, 0], [-1, -1], [0, -1]]


def test_boxes_move_with_their_pictures(folder):
    coco(folder, [(10, 7, [1, 2, 3, 4])])
    assert load_path(folder, canvas_size=16).boxes[0, 0].tolist() == [2, 6, 8, 14]


def test_pictures_that_coco_does_not_list_have_unknown_counts(folder, caplog):
    coco(folder, [(10, 7, [1, 2, 3, 4])], names=("a.png", "gone.png"))
    assert load_path(folder).counts.tolist() == [1, -1, -1]
    assert "gone.png" in caplog.text


@pytest.mark.parametrize(
    "content",
    [
        '{"images": [{"id": 1}], "annotations": []}',
        '{"images": [], "annotations": [{"image_id": 3, "bbox": [0, 0, 1, 1]}]}',
        '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": [{"image_id": 1}]}',
        '{"images": 3, "annotations": []}',
        '{"images": [{"id": 1, "file_name": "a.png"}], "annotations": '
        '[{"image_id": 1, "bbox": [0, 0, NaN, 1]}]}',
        '{"images',
    ],
)
def test_a_damaged_coco_file_is_refused(folder, content):
    (folder / "annotations.json").write_text(content)
    assert_refused(folder, folder / "annotations.json")


def test_coco_images_of_equal_names_are_told_apart_by_their_folders_or_left_out(folder, caplog):
    here = f"{folder.name}/a.png"
    names = ("other/a.png", here, "x/b.PNG", "y/b.PNG", "c.png")
    boxes = [(10, 7, [0, 0, 1, 1]), (11, 7, [1, 2, 3, 4]), (12, 7, [0, 0, 1, 1])]
    coco(folder, [*boxes, (14, 7, [0, 0, 2, 2])], names)
    data = load_path(folder)
    assert data.counts.tolist() == [1, -1, 1]
    assert data.boxes[0, 0].tolist() == [1, 2, 4, 6]
    (line,) = caplog.messages
    assert "2 of its images are called b.PNG" in line
    with pytest.raises(DataError, match=r"called b\.PNG"):
        load_path(folder, strict=True)


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
    color = np.repeat(IMAGES[:, None], 3, axis=1)
    assert load_path(save(tmp_path, images=color)).channels == 3


@pytest.mark.parametrize(
    ("arrays", "parts"),
    [
        ({"pictures": IMAGES}, ["'images'", "pictures"]),
        ({"images": IMAGES, "count": np.zeros(2, int)}, ["'count'", "Did you mean 'counts'?"]),
        ({"images": np.where(IMAGES == 30, np.nan, 0.5)}, ["image 1", "NaN"]),
        ({"images": IMAGES.astype(float)}, ["[0, 1]", "image 0 has 0 to 19"]),
        ({"images": IMAGES / 255 - 0.1}, ["[0, 1]", "-0.1"]),
        ({"images": np.where(IMAGES == 30, np.inf, 0.5)}, ["image 1", "infinite"]),
        ({"images": IMAGES.astype(np.int64)}, ["uint8", "int64"]),
        ({"images": IMAGES[0, 0]}, ["(N, height, width)", "(4,)"]),
        ({"images": IMAGES[:0]}, ["no images"]),
        ({"images": np.array([None, "x"])}, ["not a readable .npz"]),
        ({"images": IMAGES, "counts": np.zeros(3, int)}, ["counts", "(3,)"]),
        ({"images": IMAGES, "counts": np.array([0.5, 1])}, ["counts", "float64"]),
        ({"images": IMAGES, "counts": np.array([0, -1])}, ["counts", "image 1 has -1"]),
        ({"images": IMAGES, "boxes": BOXES[:, 0]}, ["boxes", "(2, 4)"]),
        ({"images": IMAGES, "boxes": BOXES + np.float32(np.inf)}, ["image 0", "infinite"]),
        (
            {"images": IMAGES, "boxes": BOXES, "counts": np.array([1, 1])},
            ["image 1", "0 boxes", "count of 1"],
        ),
    ],
)
def test_mistakes_in_an_archive_are_refused(tmp_path, arrays, parts):
    path = save(tmp_path, **arrays)
    assert_refused(path, path, *parts)


@pytest.mark.parametrize("kind", ["cut", "flipped", "empty", "text", "npy"])
def test_a_damaged_archive_is_named(tmp_path, kind):
    path = save(tmp_path, images=IMAGES)
    content = path.read_bytes()
    middle = content.index(IMAGES.tobytes())
    if kind == "npy":
        with open(path, "wb") as file:
            np.save(file, IMAGES)
    else:
        path.write_bytes(
            {
                "cut": content[:-30],
                "flipped": content[:middle] + b"\7" + content[middle + 1 :],
                "empty": b"",
                "text": b"hello",
            }[kind]
        )
    assert_refused(path, path, "not a readable .npz")


def test_a_bare_array_holds_images(tmp_path):
    np.save(tmp_path / "scenes.npy", IMAGES)
    data = load_path(tmp_path / "scenes.npy")
    np.testing.assert_array_equal(data.images, IMAGES)
    (tmp_path / "scenes.npy").write_bytes(b"hello")
    assert_refused(tmp_path / "scenes.npy", "not a readable .npy")
    np.save(tmp_path / "scenes.npy", np.array([None, "x"]), allow_pickle=True)
    assert_refused(tmp_path / "scenes.npy", "not a readable .npy")


def test_16_bits_and_channels_that_come_last_are_understood(tmp_path):
    deep = load_path(save(tmp_path, images=IMAGES.astype(np.uint16) * 257))
    np.testing.assert_array_equal(deep.images, IMAGES)
    color = np.stack([IMAGES, IMAGES // 2, IMAGES * 0], axis=-1)
    last = load_path(save(tmp_path, images=color))
    np.testing.assert_array_equal(last.images, color.transpose(0, 3, 1, 2))


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


# Places that are none


def make(path, kind: str):
    """Make something at a path that is no folder of images and no file of arrays."""
    {
        "nothing": lambda: None,
        "a link to nowhere": lambda: path.symlink_to(path.parent / "nowhere"),
        "a link to itself": lambda: path.symlink_to(path),
        "a pipe": lambda: os.mkfifo(path),
        "a device": lambda: path.symlink_to("/dev/zero"),
        "an empty file": lambda: path.write_bytes(b""),
        "a text": lambda: path.write_text("hello"),
        "an empty folder": lambda: path.mkdir(),
    }[kind]()
    return path


PLACES = pytest.mark.parametrize(
    "kind",
    [
        *("nothing", "a link to nowhere", "a link to itself", "a pipe", "a device"),
        *("an empty file", "a text", "an empty folder"),
    ],
)


@PLACES
@pytest.mark.parametrize("name", ["x", "x.npy", "x.npz", "x.png"])
def test_a_place_that_holds_no_images_is_refused_in_one_line(tmp_path, name, kind):
    assert_refused(make(tmp_path / name, kind), name)
    with pytest.raises(DataError) as refusal:
        load_dataset(str(tmp_path / name))
    assert "\n" not in str(refusal.value)


@PLACES
@pytest.mark.parametrize("name", ["test", "scenes_test.npz"])
def test_a_test_part_that_holds_no_images_is_refused_in_one_line(tmp_path, name, kind):
    picture(10).save(tmp_path / "a.png")
    np.savez(tmp_path / "scenes.npz", images=IMAGES)
    make(tmp_path / name, kind)
    assert_refused(tmp_path if name == "test" else tmp_path / "scenes.npz", name, split="test")


@pytest.mark.parametrize("kind", ["a pipe", "a device", "an empty folder", "a link to nowhere"])
def test_counts_that_are_no_file_are_refused_in_one_line(folder, kind):
    make(folder / "counts.csv", kind)
    assert_refused(folder, folder / "counts.csv")


@pytest.mark.parametrize("name", ["x" * 300, "x" * 5000, "a\0b"])
def test_a_path_that_cannot_be_is_refused_in_one_line(name):
    for load in (load_path, load_dataset):
        with pytest.raises(DataError) as refusal:
            load(name)
        assert "\n" not in str(refusal.value)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
@pytest.mark.parametrize("name", ["pictures", "pictures/a.png", "pictures/x.npz"])
def test_a_place_that_may_not_be_looked_into_is_refused_in_one_line(folder, name):
    folder.chmod(0)
    try:
        assert_refused(folder.parent / name, "ermission")
    finally:
        folder.chmod(0o700)
