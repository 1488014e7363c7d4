"""What goes wrong while pictures are read and results are written, and that nothing is lost by it.

Kills at random moments: ``benchmarks/trials_infer.py``.
"""

from __future__ import annotations

import csv
import errno
import io
import json
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from PIL import Image

from attend_infer_repeat import AIR, DataError, Scenes, ShapeError
from attend_infer_repeat.cli.echo import Echo
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data.pictures.background.border import ByBorder
from attend_infer_repeat.data.pictures.canvas.framing import Framing, enough, place
from attend_infer_repeat.data.pictures.reading import gif
from attend_infer_repeat.data.pictures.reading.decoding import Decoded, Need, decode, read_picture
from attend_infer_repeat.data.sets import npz
from attend_infer_repeat.files import sources as finding
from attend_infer_repeat.files.canvases import BLOCK
from attend_infer_repeat.files.coco import Truth, _parts, image_ids
from attend_infer_repeat.files.json_lines import parsed
from attend_infer_repeat.files.outputs import UniqueNames
from attend_infer_repeat.files.sources import Source, find_sources
from attend_infer_repeat.files.streaming import infer_pictures
from attend_infer_repeat.files.validation import is_record
from attend_infer_repeat.storage import LOCK_FILE, owned

SMALL = replace(TINY, canvas_size=(12, 10), channels=3, model_steps=4, likelihood_sd=2.0)
FORMS = {"json": (), "csv": ("scenes.csv",), "coco": ("coco.json", "coco_results.json")}


@pytest.fixture(autouse=True)
def as_users_have_it() -> None:
    torch.set_default_dtype(torch.float32)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_default_dtype(torch.float32)
    path = tmp_path_factory.mktemp("model") / "model"
    make_air(SMALL, gain=6, seed=4).save(path)
    return path


def save(path: Path, seed: int, size: tuple[int, int] = (10, 12)) -> Path:
    """Write a picture of noise."""
    rng = np.random.default_rng(seed)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(path)
    return path


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for i in range(8):
        save(tmp_path / "pictures" / f"{i}.png", i)
    return tmp_path / "pictures"


def infer(model: Path, *arguments: object) -> int:
    return main(["infer", str(model), *map(str, arguments), "--quiet"])


def content(folder: Path) -> dict[str, bytes]:
    """Return all files of a folder of results."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def all_of(form: str) -> list[str]:
    return ["--format", form, "--codes", "--reconstructions", "-b", "3"]


# Writing


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A disk that takes no file whose name has a given text in it."""
    if not Path("/proc/self/fd").exists():
        pytest.skip("the system does not tell which file is written")
    refused: list[str] = []
    sync = os.fsync

    def fsync(descriptor: int) -> None:
        name = os.readlink(f"/proc/self/fd/{descriptor}").rsplit("/", 1)[-1]
        if any(text in name for text in refused):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return refused


@pytest.mark.parametrize(
    ("form", "name"),
    [
        *(("json", name) for name in ("scenes.jsonl", "sources.jsonl", "5.png", "z_what.npy")),
        *((form, name) for form, names in FORMS.items() for name in names),
    ],
)
def test_a_full_disk_leaves_whole_files_and_is_gone_on_from(
    model, pictures, tmp_path, capsys, full_disk, form, name
) -> None:
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert infer(model, pictures, *all_of(form), "--out", whole) == 0
    capsys.readouterr()
    full_disk.append(name)
    assert infer(model, pictures, *all_of(form), "--out", cut) == 2
    message = capsys.readouterr().err
    assert message.count("\n") == 1
    assert "No space left on device" in message
    expected = content(whole)
    for file, written in content(cut).items():
        assert expected[file].startswith(written)
        assert written == expected[file] or (file.endswith(".jsonl") and written[-1:] in b"\n")
    full_disk.clear()
    assert infer(model, pictures, *all_of(form), "--out", cut, "--resume") == 0
    assert content(cut) == expected


@pytest.mark.parametrize(("form", "names"), FORMS.items())
def test_what_a_kill_in_the_last_step_leaves_is_gone_on_from(
    model, pictures, tmp_path, form, names
) -> None:
    out = tmp_path / "found"
    assert infer(model, pictures, *all_of(form), "--out", out) == 0
    expected = content(out)
    for name in ("z_what.npy", *names):
        (out / f".{name}.0123abcd.tmp").write_bytes((out / name).read_bytes()[:9])
        (out / name).unlink()
    (out / "reconstructions" / ".7.png.0123abcd.tmp").write_bytes(b"half a picture")
    expected[".notes.tmp"] = b"a user's"
    (out / ".notes.tmp").write_bytes(expected[".notes.tmp"])
    assert infer(model, pictures, *all_of(form), "--out", out, "--resume") == 0
    assert content(out) == expected


@pytest.mark.parametrize("cut_codes", [False, True])
def test_a_folder_of_an_earlier_version_is_gone_on_with(
    model, pictures, tmp_path, cut_codes
) -> None:
    out = tmp_path / "found"
    assert infer(model, pictures, *all_of("json"), "--out", out) == 0
    expected = content(out)
    lines = (out / "scenes.jsonl").read_bytes().splitlines(keepends=True)
    (out / "scenes.jsonl").write_bytes(b"".join(lines[:5]))
    (out / "sources.jsonl").unlink()  # they had none, but codes as they came
    (out / "z_what.part").write_bytes(b"some codes")
    (out / "z_what.npy").unlink()
    if cut_codes:
        (out / "z_what.npy").write_bytes(expected["z_what.npy"][:100])
    assert infer(model, pictures, *all_of("json"), "--out", out, "--resume") == 0
    assert content(out) == expected


@pytest.mark.parametrize(
    "damage",
    [b'{"file": "ha', b"\0\0\0\n", b"5\n", b"{}\n", b"[]\n", b'{"file": "x", "count": 1}\n'],
)
def test_lines_that_mean_nothing_are_done_again(model, pictures, tmp_path, damage) -> None:
    out = tmp_path / "found"
    assert infer(model, pictures, *all_of("csv"), "--out", out) == 0
    expected = content(out)
    lines = expected["scenes.jsonl"].splitlines(keepends=True)
    (out / "scenes.jsonl").write_bytes(b"".join([*lines[:4], damage, *lines[5:]]))
    assert infer(model, pictures, *all_of("csv"), "--out", out, "--resume") == 0
    assert content(out) == expected


def damaged(record: dict, path: tuple[str | int, ...], value: object) -> bytes:
    """Return the line of a record in which a value is another one, or is missing if it is None."""
    record = json.loads(json.dumps(record))
    place = record
    for key in path[:-1]:
        place = place[key]
    if value is None:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(record).encode() + b"\n"


def test_lines_that_parse_but_cannot_be_used_are_done_again(model, pictures, tmp_path) -> None:
    out = tmp_path / "found"
    arguments = [pictures, *all_of("csv"), "--samples", "2", "--out", out]
    assert infer(model, *arguments) == 0
    expected = content(out)
    lines = expected["scenes.jsonl"].splitlines(keepends=True)
    records = list(map(json.loads, lines))
    k = next(k for k, record in enumerate(records) if record["count"])
    keys = [
        *(("width",), ("count",), ("count_probs",), ("objects",), ("objects", 0), ("importance",)),
        *(("objects", 0, name) for name in records[k]["objects"][0]),
        *(("importance", name) for name in ("count", "count_probs", "effective_sample_size")),
    ]
    wrong = [damaged(records[k], key, value) for key in keys for value in (None, "x", [])]
    wrong += [damaged(records[k], ("objects", 0, "z_what", 0), value) for value in (np.nan, "x")]
    wrong += [b"[" * 10**5 + b"\n"]
    assert is_record(records[k], code_size=3, sampled=True)
    for line in wrong:
        assert not is_record(parsed(line), code_size=3, sampled=True), line[:200]
    for line in wrong[::9]:
        (out / "scenes.jsonl").write_bytes(b"".join([*lines[:k], line, *lines[k + 1 :]]))
        assert infer(model, *arguments, "--resume") == 0
        assert content(out) == expected


def test_a_frame_that_lacks_an_identity_is_done_again(tmp_path) -> None:
    digits = np.zeros((5, 50, 50), np.uint8)
    digits[:, 10:30, 15:18] = 255
    frames = [Image.fromarray(image) for image in digits]
    for i, frame in enumerate(frames):
        frame.putpixel((0, i), 9)
    frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:], duration=100)
    out = tmp_path / "found"
    arguments = ["infer", "digits", str(tmp_path / "clip.gif"), "--track", "--quiet"]
    arguments += ["--out", str(out)]
    assert main(arguments) == 0
    expected = content(out)
    lines = expected["scenes.jsonl"].splitlines(keepends=True)
    record = json.loads(lines[2])
    assert record["objects"]
    for value in (None, "x"):
        line = damaged(record, ("objects", 0, "identity"), value)
        (out / "scenes.jsonl").write_bytes(b"".join([*lines[:2], line, *lines[3:]]))
        assert main([*arguments, "--resume"]) == 0
        assert content(out) == expected


@pytest.mark.parametrize("name", ["x" * 251 + ".gif", "字" * 83 + ".gif[0]", "é.png"])
def test_the_png_of_a_picture_with_a_long_name_can_be_written(name: str) -> None:
    names = UniqueNames()
    taken = {names.take(name) for _ in range(12)}
    assert len(taken) == 12
    assert max(len(os.fsencode(own)) for own in taken) <= 200


@pytest.mark.parametrize("resumed", [False, True])
def test_a_second_writer_is_refused_in_one_line(model, pictures, tmp_path, capsys, resumed) -> None:
    out = tmp_path / "found"
    if resumed:
        assert infer(model, pictures, "--out", out) == 0
    expected = content(out)
    capsys.readouterr()
    with owned(out):
        assert infer(model, pictures, "--out", out, *(["--resume"] if resumed else [])) == 2
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert f"process {os.getpid()}" in captured.err
        assert content(out).keys() - {LOCK_FILE} == expected.keys()
    assert infer(model, pictures, "--out", out, *(["--resume"] if resumed else [])) == 0
    assert LOCK_FILE not in content(out)
    assert content(out)["scenes.jsonl"] == expected.get(
        "scenes.jsonl", content(out)["scenes.jsonl"]
    )


@pytest.mark.parametrize("place", ["file", "file/below", "x" * 300])
def test_a_folder_that_cannot_be_made_is_one_line(model, pictures, tmp_path, capsys, place) -> None:
    (tmp_path / "file").write_text("mine")
    assert infer(model, pictures, "--out", tmp_path / place) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.parametrize("settings", [b"", b"[]", b"nothing", b"5"])
def test_settings_that_mean_nothing_are_one_line(
    model, pictures, tmp_path, capsys, settings
) -> None:
    assert infer(model, pictures, "--out", tmp_path / "found") == 0
    (tmp_path / "found" / "infer.json").write_bytes(settings)
    capsys.readouterr()
    assert infer(model, pictures, "--out", tmp_path / "found", "--resume") == 2
    assert "infer.json: damaged" in capsys.readouterr().err


# Pictures that change


CHANGES = {
    "a picture": lambda folder: save(folder / "2.png", 99),
    "the first and the last": lambda folder: [save(folder / f"{i}.png", 99) for i in (0, 7)],
    "one that cannot be read now": lambda folder: (folder / "3.png").write_bytes(b"none"),
    "one that can be read now": lambda folder: save(folder / "broken.png", 50),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("cut", [False, True])
def test_a_picture_that_has_changed_is_read_again_and_no_other(
    model, pictures, tmp_path, monkeypatch, change, cut
) -> None:
    out, other = tmp_path / "found", tmp_path / "other"
    (pictures / "broken.png").write_bytes(b"no picture")
    assert infer(model, pictures, *all_of("coco"), "--out", out) == 1
    before = {path: path.read_bytes() for path in pictures.iterdir()}
    change(pictures)
    changed = {path for path in pictures.iterdir() if path.read_bytes() != before[path]}
    code = infer(model, pictures, *all_of("coco"), "--out", other)
    read: list[Path] = []
    stop = cut

    def watched(source: Path, **options: object) -> Decoded:
        if stop and len(read) == 1:
            raise KeyboardInterrupt
        read.append(source)
        return decode(source, **options)

    monkeypatch.setattr(finding, "decode", watched)
    if cut:
        assert infer(model, pictures, *all_of("coco"), "--out", out, "--resume") in (code, 130)
        stop = False
    read.clear()
    assert infer(model, pictures, *all_of("coco"), "--out", out, "--resume") == code
    # What could not be read is tried again, too.
    assert set(read) <= changed | {pictures / "broken.png"}
    assert content(out) == content(other)


def test_an_array_or_a_video_that_has_changed_is_read_again(model, tmp_path) -> None:
    rng = np.random.default_rng(0)

    def write() -> None:
        images = rng.integers(0, 256, (6, 12, 10), dtype=np.uint8)
        np.save(tmp_path / "some.npy", images)
        frames = [Image.fromarray(image) for image in images]
        frames[0].save(tmp_path / "clip.gif", save_all=True, append_images=frames[1:])

    arguments = [tmp_path / "some.npy", tmp_path / "clip.gif", *all_of("csv")]
    write()
    assert infer(model, *arguments, "--out", tmp_path / "found") == 0
    first = content(tmp_path / "found")
    write()
    assert infer(model, *arguments, "--out", tmp_path / "found", "--resume") == 0
    assert infer(model, *arguments, "--out", tmp_path / "other") == 0
    assert content(tmp_path / "found") == content(tmp_path / "other")
    assert content(tmp_path / "found") != first


def test_a_changed_frame_may_change_all_identities_after_it(tmp_path) -> None:
    digits = np.zeros((6, 50, 50), np.uint8)
    digits[:, 10:30, 15:18] = 255
    folder = tmp_path / "frames"
    folder.mkdir()
    for i, image in enumerate(digits):
        Image.fromarray(image).save(folder / f"{i}.png")
    arguments = ["infer", "digits", str(folder), "--track", "--quiet", "--out"]
    assert main([*arguments, str(tmp_path / "found")]) == 0
    Image.fromarray(np.roll(digits[1], 20, axis=1)).save(folder / "1.png")
    assert main([*arguments, str(tmp_path / "found"), "--resume"]) == 0
    assert main([*arguments, str(tmp_path / "other")]) == 0
    assert content(tmp_path / "found") == content(tmp_path / "other")


# COCO


@pytest.mark.parametrize(
    ("truths", "names", "expected"),
    [
        ({"a.png": 7, "b.png": 5}, ["/d/b.png", "/d/a.png"], {0: 5, 1: 7}),
        ({"train/1.png": 1, "val/1.png": 2}, ["/d/val/1.png", "/d/train/1.png"], {0: 2, 1: 1}),
        ({"train/1.png": 1, "val/1.png": 2}, ["/other/train/1.png"], {0: 1}),
        ({"train/1.png": 1}, ["/d/val/1.png", "/d/train/1.png"], {1: 1}),
        ({"train/1.png": 1, "val/1.png": 2}, ["/d/1.png"], {}),
        ({"images/1.png": 1}, ["/elsewhere/1.png"], {0: 1}),
        ({"images/1.png": 1}, ["/x/1.png", "/y/1.png"], {}),
        ({"1.png": 1}, ["/d/1.png", "/d/sub/1.png"], {0: 1}),
        ({"1.png": 1, "sub/1.png": 2}, ["/d/1.png", "/d/sub/1.png"], {0: 1, 1: 2}),
        ({"x.gif": 3}, ["/d/x.gif[0]", "/d/x.gif[1]"], {}),
        ({"a.png": 4}, ["/d/a.png", "/d/a.png"], {}),
        ({"a.png": 4, "./b.png": 4}, ["/d/a.png", "/d/b.png"], {}),
    ],
)
def test_a_picture_has_the_number_of_its_own_path_or_none(truths, names, expected) -> None:
    known = [Truth(i, _parts(name), _parts(f"/d/{name}")) for name, i in truths.items()]
    assert image_ids(names, known) == expected


def test_no_two_pictures_have_one_number_in_coco(model, tmp_path, capsys) -> None:
    for name in ("train/1.png", "val/1.png", "val/2.png", "1.png"):
        save(tmp_path / "d" / name, len(name))
    frames = [Image.fromarray(np.full((12, 10), 40 * i, np.uint8)) for i in range(3)]
    frames[0].save(tmp_path / "d" / "1.gif", save_all=True, append_images=frames[1:])
    images = [
        {"id": i, "file_name": name}
        for i, name in enumerate(["val/1.png", "train/1.png", "1.gif", "gone.png"], 1)
    ]
    (tmp_path / "d" / "truth.json").write_text(json.dumps({"images": images, "annotations": []}))
    assert infer(model, f"{tmp_path}/d/**/*.*g*", "--format", "coco") == 0
    found = json.loads(capsys.readouterr().out)["images"]
    ids = {os.path.relpath(image["file_name"], tmp_path / "d"): image["id"] for image in found}
    assert len(set(ids.values())) == len(found) == 7
    assert (ids["val/1.png"], ids["train/1.png"]) == (1, 2)
    assert min(set(ids.values()) - {1, 2}) > 4  # numbers that no image of the file has


# Answers that are no numbers


@pytest.mark.parametrize("field", [field.name for field in fields(Scenes)])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_not_finite_is_a_failure_with_a_reason(
    model, pictures, monkeypatch, capsys, field, value
) -> None:
    found = AIR.infer

    def spoiled(self: AIR, *arguments: object, **options: object) -> Scenes:
        scenes = found(self, *arguments, **options)
        wrong = np.array(getattr(scenes, field))
        if wrong.dtype.kind == "f" and wrong.size:
            counts = scenes.counts.copy()
            counts[0] = max(counts[0], 1)  # so that each field is of an object
            scenes = replace(scenes, counts=counts)
            wrong[0] = value
        return replace(scenes, **{field: wrong} if wrong.dtype.kind == "f" else {})

    monkeypatch.setattr(AIR, "infer", spoiled)
    floats = field not in ("counts", "z_pres", "z_background")  # there is no background
    assert infer(model, pictures) == floats
    lines = capsys.readouterr().out.splitlines()
    records = [json.loads(line, parse_constant=pytest.fail) for line in lines]
    assert ["error" in record for record in records] == [floats, *[False] * 7]
    assert "not finite" in records[0].get("error", "not finite")


# Whatever a picture is


@pytest.mark.parametrize(
    "error",
    [
        DataError("x: wrong"),
        ShapeError("x: wrong"),
        OSError(errno.EIO, "Input/output error"),
        MemoryError(),
        TypeError("no such type"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_one_source_raises_is_its_own_record(model, error) -> None:
    air = AIR.load(model)
    good = Image.fromarray(np.full((12, 10), 7, np.uint8))

    def fail(need: Need) -> Decoded:
        raise error

    sources = [Source(str(i), lambda need: Decoded(good, good.size)) for i in range(5)]
    sources[2] = Source("x\n", fail)
    records = [record for batch in infer_pictures(air, sources) for record, _, _ in batch]
    assert ["error" in record for record in records] == [False, False, True, False, False]
    assert "\n" not in records[2]["error"]
    assert records[0]["objects"] == records[4]["objects"]


ODD_ARRAYS = {
    "int64": np.zeros((2, 12, 10), np.int64),
    "complex": np.zeros((2, 12, 10), np.complex128),
    "str": np.full((2, 12, 10), "a"),
    "bytes": np.full((2, 12, 10), b"a"),
    "date": np.zeros((2, 12, 10), "datetime64[s]"),
    "structured": np.zeros((2, 12, 10), [("r", "u1"), ("g", "u1")]),
    "object": np.full((2, 12, 10), None),
    "0-d": np.array(3, np.uint8),
    "1-d": np.zeros(5, np.uint8),
    "5-d": np.zeros((2, 1, 1, 12, 10), np.uint8),
    "none": np.zeros((0, 12, 10), np.uint8),
    "no pixels": np.zeros((2, 0, 10), np.uint8),
    "nan": np.full((2, 12, 10), np.nan),
    "infinite": np.full((2, 12, 10), np.inf),
    "negative": np.full((2, 12, 10), -0.5),
    "too bright": np.full((2, 12, 10), 7.5),
}


@pytest.mark.parametrize("name", ODD_ARRAYS)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_an_odd_array_is_a_line_and_takes_nothing_with_it(
    model, pictures, tmp_path, capsys, name, suffix
) -> None:
    path = tmp_path / f"odd.{suffix}"
    if suffix == "npy":
        np.save(path, ODD_ARRAYS[name])
    else:
        np.savez(path, images=ODD_ARRAYS[name])
    assert infer(model, pictures, path, pictures / "1.png") == 1
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    records = [json.loads(line) for line in captured.out.splitlines()]
    failed = [record for record in records if "error" in record]
    assert 1 <= len(failed) <= 5
    assert all("\n" not in record["error"] and str(path) in record["error"] for record in failed)
    assert len(records) - len(failed) == 9
    assert records[-1] == records[1]


def test_an_archive_is_refused_by_its_headers_before_it_is_read(
    tmp_path, monkeypatch, capsys
) -> None:
    path = tmp_path / "x.npz"

    def write(header: object, num_bytes: int) -> None:
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, header)
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("images.npy", file.getvalue() + bytes(num_bytes))

    def header(*shape: int) -> dict[str, object]:
        return {"descr": "|u1", "fortran_order": False, "shape": shape}

    write(header(2, 12, 10), 240)
    assert npz.read_npz(path)["images"].shape == (2, 12, 10)
    monkeypatch.setattr(np, "load", lambda *_, **__: pytest.fail("it was read"))
    monkeypatch.setattr(npz, "MAX_BYTES", 2**20)
    for shape, num_bytes, reason in (
        ((2**40, 12, 10), 240, "not as long as its header says"),
        ((2, 12, 10), 239, "not as long as its header says"),
        ((2**11, 2**10), 2**21, "its arrays take"),
    ):
        write(header(*shape), num_bytes)
        with pytest.raises(DataError, match=reason) as raised:
            npz.read_npz(path)
        assert "\n" not in str(raised.value)


# Memory


def test_bytes_of_pictures_under_way_are_bounded(model) -> None:
    air, limit, size = AIR.load(model), 100, 30
    lock, held, most = threading.Lock(), 0, 0

    def read(number: int, need: Need) -> Decoded:
        nonlocal held, most
        own = 1000 if number == 33 else size  # one is larger than all that may be held
        need.reserve(own)
        with lock:
            held += own
            most = max(most, held if number != 33 else 0)
        picture = Image.new("L", (10, 12), number)
        with lock:
            held -= own
        return Decoded(picture, picture.size)

    sources = [Source(str(i), lambda need, i=i: read(i, need)) for i in range(90)]
    batches = infer_pictures(air, sources, max_held=limit, batch_size=50)
    records = [record for batch in batches for record, _, _ in batch]
    assert [record["file"] for record in records] == [str(i) for i in range(90)]
    assert most <= limit + size


def test_a_batch_ends_early_where_its_pictures_are_large(model) -> None:
    air = AIR.load(model)
    picture = Image.new("RGB", (40, 30))
    sources = [Source(str(i), lambda need: Decoded(picture, picture.size)) for i in range(20)]
    own = 4 * 40 * 30
    batches = list(infer_pictures(air, sources, keep_shrunk=True, max_held=6 * own))
    assert [len(batch) for batch in batches] == [3] * 6 + [2]
    assert [len(batch) for batch in infer_pictures(air, sources, max_held=6 * own)] == [20]


def test_of_a_picture_only_what_is_drawn_on_is_kept(model, tmp_path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (4000, 500)).save(path)
    for keep, kept in ((True, (1600, 200)), (False, None)):
        ((_, _, placed),) = next(
            infer_pictures(AIR.load(model), find_sources([str(path)]), keep_shrunk=keep)
        )
        assert (placed.shrunk and placed.shrunk.size) == kept
        assert placed.size == (4000, 500)


def test_frames_are_decoded_when_they_are_asked_for(tmp_path, monkeypatch) -> None:
    frames = [Image.fromarray(np.full((12, 10), i, np.uint8)) for i in range(30)]
    path = tmp_path / "clip.gif"
    frames[0].save(path, save_all=True, append_images=frames[1:])
    decoded: list[object] = []
    plain = gif.as_gray_or_rgb
    monkeypatch.setattr(gif, "as_gray_or_rgb", lambda p: decoded.append(p) or plain(p))
    sources = list(find_sources([str(path)]))
    assert not decoded
    for number, i in enumerate([0, 1, 3, 2, 4, 20, 14, 29], 1):  # as threads may ask
        assert np.asarray(sources[i].read().picture).mean() == pytest.approx(i, abs=1)
        assert number <= len(decoded) <= 30
    assert len(decoded) == 30  # each once


@pytest.mark.parametrize("turned", [1, 3, 6, 8])
@pytest.mark.parametrize("resize", ["fit", "crop"])
def test_a_jpeg_decoded_at_less_is_the_same_on_the_canvas(tmp_path, turned, resize) -> None:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (15, 20, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = turned
    path = tmp_path / "photo.jpg"
    small.resize((2000, 1504)).save(path, exif=exif)
    framing = Framing((60, 50), 3, resize, zoom=0.05, foreground=ByBorder("no"))
    own = read_picture(path)
    picture, size = decode(path, need=Need(lambda size: enough(size, framing)))
    assert size == own.size
    assert picture.width * picture.height < own.width * own.height / 15
    canvas, frame = place(own, framing)
    less, same = place(picture, framing, size)
    assert frame == same
    difference = np.abs(canvas.astype(int) - less)
    assert difference.mean() < 0.5
    assert difference.max() <= 4
    # A canvas that needs all of it gets all of it.
    whole = Framing((1000, 1000), 3)
    assert decode(path, need=Need(lambda size: enough(size, whole))).picture.size == own.size


def test_annotating_changes_no_result(model, tmp_path) -> None:
    rng = np.random.default_rng(0)
    path = tmp_path / "photo.jpg"
    Image.fromarray(rng.integers(0, 256, (1500, 4000, 3), dtype=np.uint8)).save(path)
    assert infer(model, path, "--out", tmp_path / "with") == 0
    assert infer(model, path, "--out", tmp_path / "without", "--no-annotate") == 0
    results = [(tmp_path / name / "scenes.jsonl").read_bytes() for name in ("with", "without")]
    assert results[0] == results[1]


@pytest.mark.slow
def test_photographs_of_twelve_megapixels_fit_into_little_memory(model, tmp_path) -> None:
    rng = np.random.default_rng(0)
    photo = Image.fromarray(rng.integers(0, 256, (3000, 4000, 3), dtype=np.uint8))
    folder = tmp_path / "photos"
    folder.mkdir()
    photo.save(folder / "0.jpg")
    for i in range(1, 40):
        os.link(folder / "0.jpg", folder / f"{i}.jpg")
    program = (
        "import resource, sys; from attend_infer_repeat.cli.main import main\n"
        f"assert main(['infer', {str(model)!r}, {str(folder)!r}, '--quiet', '--no-annotate',"
        f" '--out', {str(tmp_path / 'found')!r}]) == 0\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, check=True, text=True
    )
    unit = 1 if sys.platform == "darwin" else 1024
    assert int(done.stderr) * unit < 1024 * 2**20  # 40 such photographs take 1.8 GiB


# What is printed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("form", [None, "json", "csv"])
def test_a_terminal_gets_a_line_a_picture_unless_a_form_is_asked_for(
    model, pictures, monkeypatch, form
) -> None:
    save(pictures / "es\x1b[31mc.png", 3)
    (pictures / "bad.png").write_bytes(b"no picture")
    arguments = [pictures] + (["--format", form] if form else [])
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert infer(model, *arguments) == 1
    text = sys.stdout.getvalue()
    assert "\x1b" not in text
    lines = text.splitlines()
    if form == "json":
        assert len([json.loads(line) for line in lines]) == 10
    elif form == "csv":
        assert lines[0].startswith("file,")
    else:
        monkeypatch.setattr(sys, "stdout", io.StringIO())
        assert infer(model, *arguments) == 1
        records = [json.loads(line) for line in sys.stdout.getvalue().splitlines()]
        records = [record for record in records if "error" not in record]
        assert len(lines) == len(records) == 9
        for line, record in zip(lines, records, strict=True):
            noun = "object" if record["count"] == 1 else "objects"
            probability = record["count_probs"][record["count"]]
            assert line.endswith(f".png: {record['count']} {noun} ({probability:.2f})")
            assert len(line.splitlines()) == 1


def test_lines_go_where_standard_output_was_sent_whatever_a_bar_does(monkeypatch, capsys) -> None:
    echo = Echo(None, sampled=False)
    monkeypatch.setattr(sys, "stdout", io.StringIO())  # as a bar does
    echo.write([{"file": "a", "count": 0, "count_probs": [1.0], "objects": []}])
    assert sys.stdout.getvalue() == ""
    monkeypatch.undo()
    assert json.loads(capsys.readouterr().out)["file"] == "a"


@pytest.mark.parametrize(
    ("arguments", "code"),
    [((), 0), (("nowhere.png",), 1), (("broken.png",), 1), (("nowhere.png", "--strict"), 2)],
)
def test_the_exit_code_tells_whether_all_could_be_read(
    model, pictures, monkeypatch, arguments, code
) -> None:
    monkeypatch.chdir(pictures.parent)
    Path("broken.png").write_bytes(b"no picture")
    assert infer(model, pictures, *arguments) == code


def test_csv_and_coco_have_what_the_samples_found(model, pictures, capsys) -> None:
    (pictures / "bad.png").write_bytes(b"no picture")
    arguments = [pictures, "--samples", "3"]
    assert infer(model, *arguments) == 1
    records = {r["file"]: r for r in map(json.loads, capsys.readouterr().out.splitlines())}
    assert infer(model, *arguments, "--format", "csv") == 1
    for row in csv.DictReader(io.StringIO(capsys.readouterr().out)):
        found = records[row["file"]].get("importance")
        cells = [row[name] for name in ("importance_count", "importance_probability")]
        cells.append(row["effective_sample_size"])
        if found is None:
            assert cells == ["", "", ""]
        else:
            probability = found["count_probs"][found["count"]]
            expected = (found["count"], probability, found["effective_sample_size"])
            assert tuple(map(float, cells)) == expected
    assert infer(model, *arguments, "--format", "coco") == 1
    for image in json.loads(capsys.readouterr().out)["images"]:
        assert image["importance"] == records[image["file_name"]]["importance"]


@pytest.mark.parametrize("start", ["=1+1", "+1", "-1", "@x", "\t=1", "\r=1", "＝1"])
@pytest.mark.parametrize("bad", [False, True])
def test_csv_holds_nothing_that_a_spreadsheet_or_a_terminal_runs(
    model, tmp_path, monkeypatch, capsys, start, bad
) -> None:
    monkeypatch.chdir(tmp_path)
    name = f"{start}\x1b[31m\x07\n.png"
    save(tmp_path / "good.png", 1)
    save(tmp_path / "picture.png", 2).rename(name)
    if bad:
        Path(name).write_bytes(b"no picture")
    Path("names").write_bytes(b"good.png\0" + os.fsencode(name) + b"\0")
    with Path("names").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        assert infer(model, "-", "--format", "csv", "--out", "found") == bad
    captured = capsys.readouterr()
    text = (tmp_path / "found" / "scenes.csv").read_text()
    assert captured.out == text
    for shown in (text, captured.err):
        assert not set(shown) & (set(map(chr, range(32))) - {"\n"})
    for row in csv.DictReader(io.StringIO(text)):
        for column in ("file", "error"):
            assert not row[column].startswith(("=", "+", "-", "@", "＝"))
    assert any("1b[31m" in row["file"] for row in csv.DictReader(io.StringIO(text)))


def test_an_unbounded_model_has_a_row_a_picture_whatever_its_steps(pictures) -> None:
    config = replace(SMALL, unbounded=True, step_limit=6, z_pres_prior=0.4)
    air = make_air(config, gain=6, seed=4)
    rows = [
        record
        for batch in infer_pictures(air, find_sources([str(pictures)] * 9), samples=2)
        for record, _, _ in batch
    ]
    assert len(rows) == 72
    assert rows[:8] == rows[BLOCK:]  # in another block, which may take other steps
