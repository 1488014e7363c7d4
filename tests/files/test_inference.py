"""Pictures in, scenes out: whatever they come from, whatever becomes of the run meanwhile."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from PIL import Image
from pycocotools.coco import COCO

from attend_infer_repeat import AIR, DataError
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data.pictures.canvas.framing import Framing, place
from attend_infer_repeat.files.annotate import annotated, as_image
from attend_infer_repeat.files.sources import find_sources, how_many
from attend_infer_repeat.files.streaming import infer_pictures
from attend_infer_repeat.model import intensity
from attend_infer_repeat.posterior import picture_noise
from attend_infer_repeat.rollout.importance import (
    importance_log_weights,
    importance_weighted_count_probs,
)

SEED = 4  # of weights that see different numbers of objects in noise
COLOR = replace(TINY, canvas_size=(12, 10), channels=3, model_steps=4, likelihood_sd=2.0)


def seeing_air(config=TINY) -> AIR:
    """Return an untrained AIR that sees different numbers of objects in noise."""
    return make_air(config, gain=6, seed=SEED)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model, model/, and one of 30 pictures of several sizes, pictures/."""
    folder = tmp_path_factory.mktemp("inference")
    torch.set_default_dtype(torch.float32)
    seeing_air(COLOR).save(folder / "model")
    rng = np.random.default_rng(0)
    (folder / "pictures").mkdir()
    for i in range(30):
        size = (10, 12) if i % 3 else tuple(rng.integers(8, 40, size=2))
        pixels = rng.random((size[1], size[0], 3)) * (40 + 7 * i) * (rng.random() > 0.2)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            folder / "pictures" / f"{i:02d}.png"
        )
    return folder


@pytest.fixture(autouse=True)
def as_users_have_it() -> None:
    torch.set_default_dtype(torch.float32)


def infer(folder: Path, *arguments: object) -> int:
    return main(["infer", f"{folder / 'model'}", *map(str, arguments)])


def printed(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


# What a record says


def test_records_agree_with_the_model_on_the_canvas_and_with_each_other(folder, capsys) -> None:
    assert infer(folder, folder / "pictures") == 0
    records = printed(capsys)
    assert [record["file"] for record in records] == sorted(
        str(path) for path in (folder / "pictures").iterdir()
    )
    air = AIR.load(folder / "model")
    assert len({record["count"] for record in records}) > 2
    for record in records:
        with Image.open(record["file"]) as picture:
            assert (record["width"], record["height"]) == picture.size
            canvas, frame = place(picture, Framing.of_model(air.config))
        scenes = air.infer(canvas[None])
        assert record["count"] == len(record["objects"]) == scenes.counts[0]
        np.testing.assert_allclose(record["count_probs"], scenes.count_probs[0], atol=1e-5)
        scores = [found["score"] for found in record["objects"]]
        assert scores == sorted(scores, reverse=True)
        for t, found in enumerate(record["objects"]):
            assert found["step"] == t + 1
            tail = scenes.count_probs[0, t + 1 :].sum()
            assert found["score"] == pytest.approx(tail, abs=1e-5)
            x0, y0, x1, y1 = found["box"]
            assert 0 <= x0 <= x1 <= record["width"]
            assert 0 <= y0 <= y1 <= record["height"]
            inside = frame.to_canvas(np.array(found["box"]))
            whole = scenes.boxes[0, t]
            corners = frame.to_canvas(np.array([0, 0, *picture.size]))
            expected = whole.clip(np.tile(corners[:2], 2), np.tile(corners[2:], 2))
            np.testing.assert_allclose(inside, expected, atol=1e-2)


def test_the_importance_weighted_counts_are_those_of_the_rollouts_with_the_pictures_noise(
    tmp_path, capsys
) -> None:
    folder = tmp_path
    make_air(COLOR, gain=2, seed=15).save(folder / "model")  # unsure of counts
    air = AIR.load(folder / "model")
    drawn = air.sample(2, counts=[1, 2]).reconstruction  # what the model takes for likely
    arguments = [tmp_path / "one.png", tmp_path / "two.png"]
    for path, canvas in zip(arguments, drawn, strict=True):
        as_image(canvas).save(path)
    assert infer(folder, *arguments, "--samples", "6") == 0
    first = printed(capsys)
    assert infer(folder, *reversed(arguments), "--samples", "6", "-b", "1") == 0
    assert printed(capsys) == first[::-1]  # whatever stands beside it
    for record in first:
        weighted = record["importance"]
        assert sum(weighted["count_probs"]) == pytest.approx(1, abs=1e-5)
        assert weighted["count"] == int(np.argmax(weighted["count_probs"]))
        assert 1 <= weighted["effective_sample_size"] <= 6
    assert infer(folder, arguments[0], "--samples", "6", "--seed", "1") == 0
    assert printed(capsys)[0]["importance"] != first[0]["importance"]
    canvas, _ = place(Image.open(arguments[0]), Framing.of_model(air.config))
    noise = picture_noise(air, canvas, 6, seed=0)[:, None]
    assert abs(float(noise.mean())) < 5 * noise.numel() ** -0.5
    with torch.no_grad():
        images = intensity(torch.as_tensor(canvas[None]))
        weights = importance_log_weights(air.guide, images, 6, noise=noise)
    np.testing.assert_allclose(
        first[0]["importance"]["count_probs"],
        importance_weighted_count_probs(weights)[0],
        atol=1e-4,
    )


@pytest.mark.parametrize(("threads", "sizes"), [(1, (1, 7, 64, 200)), (2, (7, 64))])
def test_results_are_the_same_to_the_last_bit_whatever_the_batch(
    folder, tmp_path, threads, sizes
) -> None:
    air = AIR.load(folder / "model")
    images = np.random.default_rng(1).integers(0, 256, (66, 3, 12, 10), dtype=np.uint8)

    def run(num: int, size: int) -> list[dict]:
        np.save(tmp_path / "images.npy", images[:num])
        sources = find_sources([str(tmp_path / "images.npy")])
        batches = infer_pictures(air, sources, batch_size=size, samples=2)
        return [record for batch in batches for record, _, _ in batch]

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        expected = run(66, 50)
        for size in sizes:
            num = min(2 * size + 1, 66)  # two batches or two blocks, at least
            assert run(num, size) == expected[:num], size
    finally:
        torch.set_num_threads(before)


# Where pictures come from


def test_folders_patterns_arrays_and_files_are_found_in_order(folder, tmp_path) -> None:
    pictures = folder / "pictures"
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True)
    (deep / "x.png").symlink_to(pictures / "00.png")
    (deep / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "odd[1].png").symlink_to(pictures / "01.png")
    np.savez(tmp_path / "some.npz", images=np.zeros((2, 5, 5), np.uint8))
    arguments = [
        *(str(pictures), str(tmp_path / "odd[1].png"), str(tmp_path / "**" / "x.png")),
        *(str(tmp_path / "some.npz"), str(pictures / "0[3-5].png")),
    ]
    names = [os.path.basename(source.name) for source in find_sources(arguments)]
    assert names[:30] == [f"{i:02d}.png" for i in range(30)]
    rest = ["odd[1].png", "x.png", "some.npz[0]", "some.npz[1]", "03.png", "04.png", "05.png"]
    assert names[30:] == rest
    assert how_many(arguments) is None
    assert how_many([arguments[0], arguments[1], arguments[3]]) == 33
    np.save(tmp_path / "one.npy", np.zeros((9, 7), np.uint8))  # (height, width): one image
    assert how_many([str(tmp_path / "one.npy")]) == 1
    for source in find_sources(arguments):
        assert min(source.read().size) > 3


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\0"])
def test_standard_input_is_a_picture_or_names(folder, end) -> None:
    picture = folder / "pictures" / "03.png"
    (one,) = find_sources(["-"], io.BytesIO(picture.read_bytes()))
    assert one.name == "-"
    with Image.open(picture) as same:
        assert one.read().size == same.size
    names = [str(picture), str(folder / "pictures" / "04.png")]
    stream = io.BytesIO(end.join(map(os.fsencode, [*names, ""])))
    assert [source.name for source in find_sources(["-"], stream)] == names
    (nothing,) = find_sources(["-"], io.BytesIO(b""))
    with pytest.raises(DataError, match="standard input: empty"):
        nothing.read()


def test_a_picture_through_a_pipe_is_read(folder) -> None:
    program = [sys.executable, "-m", "attend_infer_repeat.cli", "infer", str(folder / "model"), "-"]
    content = (folder / "pictures" / "07.png").read_bytes()
    done = subprocess.run(program, input=content, capture_output=True, check=True)
    assert json.loads(done.stdout)["file"] == "-"


# Forms


def test_csv_has_a_row_for_each_object_and_one_for_a_picture_without(folder, tmp_path, capsys):
    pictures = folder / "pictures"
    (tmp_path / "bad.png").write_bytes(b"no picture")
    arguments = (pictures, tmp_path / "bad.png")
    assert infer(folder, *arguments) == 1
    records = printed(capsys)
    assert infer(folder, *arguments, "--format", "csv", "--out", tmp_path / "found") == 1
    text = capsys.readouterr().out
    assert (tmp_path / "found" / "scenes.csv").read_text() == text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert len(rows) == sum(max(record.get("count", 0), 1) for record in records)
    by_file = {record["file"]: record for record in records}
    for row in rows:
        record = by_file[row["file"]]
        if "error" in record:
            assert "cannot be read" in row["error"]
            continue
        assert int(row["count"]) == record["count"]
        if record["count"]:
            found = record["objects"][int(row["object"]) - 1]
            assert [float(row[edge]) for edge in ("x0", "y0", "x1", "y1")] == found["box"]
            assert float(row["score"]) == found["score"]
        else:
            assert row["object"] == row["x0"] == ""


def test_coco_is_read_by_pycocotools(folder, tmp_path, capsys) -> None:
    pictures = folder / "pictures"
    assert infer(folder, pictures) == 0
    records = printed(capsys)
    assert infer(folder, pictures, "--format", "coco", "--out", tmp_path / "found") == 0
    capsys.readouterr()
    assert infer(folder, pictures, "--format", "coco") == 0
    text = capsys.readouterr().out
    assert (tmp_path / "found" / "coco.json").read_text() == text[text.index("{") :]
    coco = COCO(str(tmp_path / "found" / "coco.json"))
    assert len(coco.imgs) == 30
    results = coco.loadRes(str(tmp_path / "found" / "coco_results.json"))
    assert len(results.anns) == len(coco.anns) == sum(record["count"] for record in records)
    for image_id, record in enumerate(records, 1):
        assert coco.imgs[image_id]["file_name"] == record["file"]
        for annotation, found in zip(coco.imgToAnns[image_id], record["objects"], strict=True):
            x, y, width, height = annotation["bbox"]
            np.testing.assert_allclose([x, y, x + width, y + height], found["box"], atol=2e-3)
            assert annotation["score"] == found["score"]


def test_coco_takes_the_numbers_that_a_coco_file_beside_the_pictures_has(folder, tmp_path, capsys):
    names = ("b.png", "a.png")
    for name in names:
        (tmp_path / name).write_bytes((folder / "pictures" / "07.png").read_bytes())
    images = [{"id": 70 + i, "file_name": name} for i, name in enumerate(names)]
    (tmp_path / "truth.json").write_text(json.dumps({"images": images, "annotations": []}))
    assert infer(folder, tmp_path, "--format", "coco") == 0
    found = json.loads(capsys.readouterr().out)
    assert {image["id"]: Path(image["file_name"]).name for image in found["images"]} == {
        70: "b.png",
        71: "a.png",
    }


def test_a_folder_gets_annotated_pictures_reconstructions_and_codes(folder, tmp_path, capsys):
    arguments = ("--out", tmp_path / "found", "--reconstructions", "--codes")
    assert infer(folder, folder / "pictures", folder / "pictures" / "03.png", *arguments) == 0
    records = printed(capsys)
    codes = np.load(tmp_path / "found" / "z_what.npy")
    expected = [found["z_what"] for record in records for found in record["objects"]]
    np.testing.assert_allclose(codes, np.array(expected), atol=1e-6)
    names = {f"{i:02d}.png" for i in range(30)} | {"03-2.png"}
    for where in (tmp_path / "found", tmp_path / "found" / "reconstructions"):
        assert {path.name for path in where.glob("*.png")} == names
    with Image.open(tmp_path / "found" / "03.png") as picture:
        assert min(picture.size) > 200
    with Image.open(tmp_path / "found" / "reconstructions" / "03.png") as drawn:
        assert drawn.size == (10, 12)
    again = tmp_path / "found2"
    assert infer(folder, folder / "pictures", "--out", again, "--no-annotate") == 0
    written = [path.name for path in sorted(again.iterdir())]
    assert written == ["infer.json", "scenes.jsonl", "sources.jsonl"]


def test_boxes_are_drawn_where_the_record_has_them() -> None:
    found = {"step": 1, "score": 0.9, "box": [10.0, 20.0, 30.0, 40.0]}
    record = {"count": 1, "count_probs": [0.1, 0.9], "objects": [found]}
    picture = np.asarray(annotated(Image.new("RGB", (300, 300)), record)).astype(int)
    red = (picture == (255, 0, 0)).all(axis=2)[:300]
    rows, columns = np.flatnonzero(red.any(axis=1)), np.flatnonzero(red.any(axis=0))
    assert (rows[0], columns[0]) == (20, 10)
    assert rows[-1] == 39
    assert red[39, 10:30].all()


# Going on


@pytest.mark.long
def test_a_killed_run_goes_on_and_ends_with_the_same_files(folder, tmp_path) -> None:
    np.save(
        folder / "many.npy",
        np.random.default_rng(3).integers(0, 256, (600, 3, 12, 10), dtype=np.uint8),
    )
    arguments = [f"{folder / 'model'}", f"{folder / 'many.npy'}", "--codes", "--no-annotate"]
    command = ["infer", *arguments, "-b", "32", "--samples", "2", "--quiet", "--out"]
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert main([*command, str(whole)]) == 0
    with subprocess.Popen(
        [sys.executable, "-m", "attend_infer_repeat.cli", *command, str(broken)],
        stdout=subprocess.DEVNULL,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    ) as process:
        lines = broken / "scenes.jsonl"
        while not (lines.exists() and lines.stat().st_size > 60_000):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert lines.stat().st_size < (whole / "scenes.jsonl").stat().st_size
    with lines.open("ab") as file:
        file.write(b'{"file": "half a li')
    with (broken / "z_what.part").open("ab") as file:
        file.write(b"more than the lines tell")
    assert main([*command, str(broken), "--resume"]) == 0
    for name in ("scenes.jsonl", "z_what.npy"):
        assert (broken / name).read_bytes() == (whole / name).read_bytes()
    assert not (broken / "z_what.part").exists()
    # A finished one is finished.
    assert main([*command, str(broken), "--resume"]) == 0
    assert (broken / "z_what.npy").read_bytes() == (whole / "z_what.npy").read_bytes()


def test_results_of_something_else_are_not_gone_on_with(folder, tmp_path, capsys) -> None:
    out = tmp_path / "found"
    assert infer(folder, folder / "pictures", "--out", out) == 0
    before = (out / "scenes.jsonl").read_bytes()
    capsys.readouterr()
    for other in (["--samples", "3"], [folder / "pictures" / "03.png"], ["--seed", "2"]):
        assert infer(folder, folder / "pictures", *other, "--out", out, "--resume") == 2
        assert "begun with other settings" in capsys.readouterr().err
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    for extra in ([], ["--resume"]):
        assert infer(folder, folder / "pictures", "--out", tmp_path / "full", *extra) == 2
        assert "already exists" in capsys.readouterr().err
    assert (out / "scenes.jsonl").read_bytes() == before


def test_pictures_that_have_changed_are_noticed(folder, tmp_path, capsys) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for name in ("a.png", "c.png"):
        (pictures / name).write_bytes((folder / "pictures" / "03.png").read_bytes())
    assert infer(folder, pictures, "--out", tmp_path / "found") == 0
    (pictures / "b.png").write_bytes((pictures / "a.png").read_bytes())
    assert infer(folder, pictures, "--out", tmp_path / "found", "--resume") == 2
    assert "the pictures are not those" in capsys.readouterr().err


# What cannot be read


def test_what_cannot_be_read_has_a_line_and_the_rest_is_done(folder, tmp_path, capsys) -> None:
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "text.png").write_text("no picture")
    (bad / "empty.jpg").write_bytes(b"")
    (bad / "loop.png").symlink_to(bad / "loop.png")
    Image.new("L", (1, 1)).save(bad / "dot.png")
    Image.new("L", (30_000, 2)).save(bad / "line.png")
    os.mkfifo(bad / "pipe.png")
    with open(os.path.join(os.fsencode(bad), b"\xff\nname.png"), "wb") as file:
        Image.new("L", (9, 9)).save(file, "png")
    out = tmp_path / "found"
    assert infer(folder, "nowhere.png", bad, "nothing/*.png", "--out", out) == 1
    captured = capsys.readouterr()
    records = [json.loads(line) for line in captured.out.splitlines()]
    assert (out / "scenes.jsonl").read_text() == captured.out
    failed = [record for record in records if "error" in record]
    assert len(records) == 9
    assert len(failed) == 8
    lines = captured.err.splitlines()
    for record in failed:
        assert sum(record["error"] in line for line in lines) == 1
    assert "8 could not be read" in lines[-1]
    assert len(list(out.glob("*.png"))) == 1


def test_nothing_but_failures_is_an_error(folder, tmp_path, capsys) -> None:
    for name in ("a.png", "b.png"):
        (tmp_path / name).write_text("no picture")
    assert infer(folder, tmp_path) == 2
    assert "none of 2 pictures can be read" in capsys.readouterr().err
    assert infer(folder, tmp_path / "a.png") == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert infer(folder, tmp_path, folder / "pictures", "--strict") == 2
    assert capsys.readouterr().err.count("\n") == 1
