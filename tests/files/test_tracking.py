"""Objects keep their identity from frame to frame, as far as pose and code tell them apart."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from attend_infer_repeat import DataError, load_dataset
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data.pictures.reading.containers import open_pictures
from attend_infer_repeat.data.pictures.reading.gif import GifFrames
from attend_infer_repeat.files.sources import find_sources, how_many
from attend_infer_repeat.files.tracking import PATIENCE, Tracker

SIDE, FRAMES = 50, 12


@pytest.fixture(autouse=True)
def as_users_have_it() -> None:
    torch.set_default_dtype(torch.float32)


def thing(x: float, y: float, code: float) -> dict:
    """An object with its center at (x, y), in -1..1, and a code that is its own."""
    scale = 2.5
    return {"z_where": [scale, -scale * x, -scale * y], "z_what": [code] * 20}


def identified(frames: list[list[dict]], video: str | None = "v") -> list[list[int | None]]:
    tracker = Tracker()
    found = []
    for frame in frames:
        record = {"objects": [dict(thing) for thing in frame]}
        tracker.identify(video, record)
        found.append([thing.get("identity") for thing in record["objects"]])
    return found


def test_objects_that_move_a_little_keep_their_identity_in_whatever_order_they_are_found() -> None:
    frames = []
    for t in range(8):
        left, right = thing(-0.6 + 0.05 * t, 0.1, 0.0), thing(0.6 - 0.05 * t, -0.1, 0.0)
        frames.append([left, right] if t % 2 == 0 else [right, left])
    assert identified(frames) == [[1, 2] if t % 2 == 0 else [2, 1] for t in range(8)]


def test_codes_tell_objects_apart_that_cross() -> None:
    frames = [[thing(-0.25 + 0.1 * t, 0, 1.0), thing(0.25 - 0.1 * t, 0, -1.0)] for t in range(6)]
    assert identified(frames) == [[1, 2]] * 6
    alike = [[{**one, "z_what": [0.0] * 20} for one in frame] for frame in frames]
    assert identified(alike) != [[1, 2]] * 6  # by their places alone, they are exchanged


def test_the_total_cost_decides_not_the_nearest_pair() -> None:
    before = [thing(-0.1, 0, 0), thing(0.2, 0, 0)]
    after = [thing(0.1, 0, 0), thing(0.4, 0, 0)]  # both moved right; the first is near the second
    assert identified([before, after]) == [[1, 2], [1, 2]]


def test_what_is_far_away_or_different_is_new() -> None:
    assert identified([[thing(-0.8, 0, 0)], [thing(0.8, 0, 0)]]) == [[1], [2]]
    assert identified([[thing(0, 0, 1.2)], [thing(0, 0, -1.2)]]) == [[1], [2]]


@pytest.mark.parametrize(("missed", "recognized"), [(PATIENCE, True), (PATIENCE + 1, False)])
def test_an_object_may_be_missed_for_a_while(missed: int, recognized: bool) -> None:
    found = identified([[thing(0, 0, 0)], *[[]] * missed, [thing(0.05, 0, 0)]])
    assert found[-1] == ([1] if recognized else [2])


def test_every_video_counts_anew_and_a_single_picture_has_no_identities() -> None:
    tracker = Tracker()
    records = [{"objects": [thing(0, 0, 0)]} for _ in range(4)]
    for video, record in zip(["a", "a", "b", None], records, strict=True):
        tracker.identify(video, record)
    assert [r["objects"][0].get("identity") for r in records] == [1, 1, 1, None]


def test_a_tracker_goes_on_from_records_that_were_written() -> None:
    frames = [[thing(0.05 * t, 0, 0), thing(-0.5, 0.05 * t, 1)] for t in range(6)]
    records = [{"objects": [dict(o) for o in frame]} for frame in frames]
    whole, resumed = Tracker(), Tracker()
    for record in records:
        whole.identify("v", record)
    again = [{"objects": [dict(o) for o in frame]} for frame in frames]
    for record in records[:3]:
        resumed.follow("v", json.loads(json.dumps(record)))
    for record in again[3:]:
        resumed.identify("v", record)
    assert again[3:] == records[3:]


def test_a_picture_that_cannot_be_read_is_a_frame_without_objects() -> None:
    tracker, record = Tracker(), {"file": "x", "error": "x: damaged"}
    tracker.identify("v", record)
    tracker.follow("v", record)
    assert record == {"file": "x", "error": "x: damaged"}


# Videos


@pytest.fixture(scope="module")
def frames() -> list[Image.Image]:
    """Two digits that move towards each other's side, one above the other."""
    torch.set_default_dtype(torch.float32)
    data = load_dataset("digits", "test", max_count=1)
    singles = np.flatnonzero(data.counts == 1)[:2]
    boxes = data.boxes[singles, 0].astype(int)
    glyphs = [
        data.images[n, y0:y1, x0:x1] for n, (x0, y0, x1, y1) in zip(singles, boxes, strict=True)
    ]
    video = []
    for t in range(FRAMES):
        canvas = np.zeros((SIDE, SIDE), np.uint8)
        for glyph, (y, x) in zip(glyphs, ((2, 2 + 2 * t), (28, 28 - 2 * t)), strict=True):
            canvas[y : y + glyph.shape[0], x : x + glyph.shape[1]] = glyph
        video.append(Image.fromarray(canvas))
    return video


@pytest.fixture(scope="module")
def folder(frames: list[Image.Image], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    frames[0].save(folder / "clip.gif", save_all=True, append_images=frames[1:], duration=80)
    (folder / "frames").mkdir()
    for t, frame in enumerate(frames):
        frame.save(folder / "frames" / f"f{t}.png")  # f10 stands before f2 by its letters
    return folder


def printed(capsys: pytest.CaptureFixture[str]) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def paths(records: list[dict]) -> dict[int, list[float]]:
    """Return each identity's horizontal centers, frame by frame."""
    found: dict[int, list[float]] = {}
    for record in records:
        for one in record["objects"]:
            found.setdefault(one["identity"], []).append((one["box"][0] + one["box"][2]) / 2)
    return found


@pytest.mark.parametrize("what", ["clip.gif", "frames"])
def test_each_frame_has_its_scene_and_each_digit_one_identity(
    what: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    track = [] if what == "clip.gif" else ["--track"]
    assert main(["infer", "digits", str(folder / what), *track]) == 0
    records = printed(capsys)
    assert [record["count"] for record in records] == [2] * FRAMES
    found = paths(records)
    assert set(found) == {1, 2}
    steps = sorted(np.diff(centers).mean() for centers in found.values())
    assert steps == pytest.approx([-2, 2], abs=0.5)  # each goes its own way, to the end


def test_frames_are_those_of_the_file_in_order(folder: Path, frames: list[Image.Image]) -> None:
    path = str(folder / "clip.gif")
    assert open_pictures(path).num == how_many([path]) == FRAMES
    sources = list(find_sources([path]))
    assert [s.name for s in sources] == [f"{path}[{t}]" for t in range(FRAMES)]
    assert {s.video for s in sources} == {path}
    for source, frame in zip(sources, frames, strict=True):
        difference = np.asarray(source.read().picture).astype(int) - np.asarray(frame)
        assert np.abs(difference).max() <= 8  # a palette of 256


def test_a_gif_of_one_frame_is_a_picture(tmp_path: Path) -> None:
    path = tmp_path / "still.gif"
    Image.new("L", (20, 20), 30).save(path)
    (source,) = find_sources([str(path)])
    assert (source.name, source.video) == (str(path), None)


def test_numbered_frames_are_taken_by_their_numbers(folder: Path) -> None:
    pattern = str(folder / "frames" / "*.png")
    sources = list(find_sources([pattern], track=True))
    names = [Path(source.name).name for source in sources]
    assert names == [f"f{t}.png" for t in range(FRAMES)]
    assert {source.video for source in sources} == {pattern}
    assert {source.video for source in find_sources([pattern])} == {None}


def test_a_cut_gif_is_read_as_far_as_it_goes(folder: Path, tmp_path: Path) -> None:
    whole = (folder / "clip.gif").read_bytes()
    path = tmp_path / "cut.gif"
    path.write_bytes(whole[: 2 * len(whole) // 3])
    frames, errors = GifFrames(path), []
    for i in range(FRAMES):
        try:
            assert frames.read(i).picture.size == frames.read(0).picture.size
            assert not errors
        except DataError as error:
            errors.append(error)
    assert 0 < len(errors) < FRAMES
    assert all("\n" not in str(error) and "cut.gif" in str(error) for error in errors)


def test_a_cut_run_goes_on_with_the_same_identities(folder: Path, tmp_path: Path) -> None:
    def infer(out: str, *options: str) -> list[str]:
        arguments = ["infer", "digits", str(folder / "clip.gif"), "-b", "3", "--no-annotate"]
        assert main([*arguments, "--quiet", "--out", str(tmp_path / out), *options]) == 0
        return (tmp_path / out / "scenes.jsonl").read_text().splitlines()

    whole = infer("whole")
    infer("cut")
    lines = tmp_path / "cut" / "scenes.jsonl"
    lines.write_text("\n".join(whole[:5]) + "\n" + whole[5][:40])
    assert infer("cut", "--resume") == whole


def test_identities_are_in_every_form_of_the_results(folder: Path, tmp_path: Path) -> None:
    def infer(form: str) -> Path:
        out = tmp_path / form
        arguments = ["infer", "digits", str(folder / "clip.gif"), "--format", form, "--quiet"]
        assert main([*arguments, "--out", str(out)]) == 0
        return out

    with (infer("csv") / "scenes.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["identity"] for row in rows} == {"1", "2"}
    coco = json.loads((infer("coco") / "coco.json").read_text())
    assert {found["track_id"] for found in coco["annotations"]} == {1, 2}
    assert len(list((tmp_path / "coco").glob("*.png"))) == FRAMES


@pytest.mark.parametrize("scale", [0.0, 1e-300])
def test_a_window_of_no_place_is_an_object_of_its_own(scale: float) -> None:
    tracker, identities = Tracker(), []
    for _ in range(2):
        found = {"z_where": [scale, 0.0, 0.1], "z_what": [0.0, 1.0]}
        tracker.identify("video", {"objects": [found]})
        identities.append(found["identity"])
    assert identities[0] == 1
    assert identities[1] in (1, 2)
