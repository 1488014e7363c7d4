"""Large pictures in tiles: each object is counted once, wherever tiles begin."""

from __future__ import annotations

import itertools
import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from PIL import Image

from attend_infer_repeat import AIR, load_dataset
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data.pictures.canvas.framing import Framing, Tile, place_tiles
from attend_infer_repeat.data.pictures.canvas.tiles import spans
from attend_infer_repeat.files.counts import count_interval, shifted, sum_of
from attend_infer_repeat.files.mosaic import (
    TileScene,
    claims_of,
    drawn,
    joined,
    mosaic_record,
    part_of,
)
from attend_infer_repeat.files.records import to_text
from attend_infer_repeat.files.sources import find_sources
from attend_infer_repeat.files.streaming import infer_pictures
from attend_infer_repeat.scenes import Scene, SceneObject
from attend_infer_repeat.spatial import window_boxes

SIDE = 64


def tiles_of(width: int, height: int, overlap: int, zoom: float = 1.0) -> list[Tile]:
    framing = Framing((SIDE, SIDE), resize="tile", zoom=zoom, overlap=overlap)
    return place_tiles(Image.fromarray(np.zeros((height, width), np.uint8)), framing)


def seen(tile: Tile, centers: np.ndarray, size: float, rng: np.random.Generator) -> TileScene:
    """Return what a good model finds on a tile: all whose centers it shows, a pixel off."""
    here = centers + tile.frame.offset
    here = here[((here >= 0) & (here < SIDE)).all(axis=1)] + rng.normal(0, 0.7, (1, 2))
    boxes = np.concatenate((here - size / 2, here + size / 2), axis=1).reshape(-1, 4)
    things = tuple(SceneObject(0.99, box, np.array([4.0, 0, 0]), np.zeros(2)) for box in boxes)
    probs = np.eye(len(things) + 1)[len(things)]
    return TileScene(
        Scene(len(things), probs, things, np.zeros((1, SIDE, SIDE)), np.zeros(0)), boxes
    )


@pytest.mark.parametrize("overlap", [0, 16, 24, 40])
@pytest.mark.parametrize("length", [1, 63, 64, 65, 100, 128, 200, 1001])
def test_cores_cover_a_length_without_overlap_and_tiles_lie_inside(length, overlap) -> None:
    found = spans(length, SIDE, overlap)
    edges = [(span.start + span.core[0], span.start + span.core[1]) for span in found]
    assert (edges[0][0], edges[-1][1]) == (-math.inf, math.inf)
    assert all(a[1] == b[0] for a, b in pairwise(edges))
    if length >= SIDE:
        assert found[0].start == 0
        assert found[-1].start == length - SIDE
        shared = [a.start + SIDE - b.start for a, b in pairwise(found)]
        assert all(n >= overlap for n in shared)
        for span in found:  # half of what is shared is beyond each core's edge, at least
            assert span.core[0] == -math.inf or span.core[0] >= (overlap - 1) / 2
            assert span.core[1] == math.inf or SIDE - span.core[1] >= (overlap - 1) / 2
    else:
        assert len(found) == 1


def test_a_picture_that_fits_is_one_tile_as_without_tiles() -> None:
    picture = Image.fromarray(np.arange(40 * 60, dtype=np.uint8).reshape(40, 60))
    (tile,) = place_tiles(picture, Framing((SIDE, SIDE), resize="tile", overlap=20))
    (same,) = place_tiles(picture, Framing((SIDE, SIDE), resize="crop"))
    assert (tile.canvas == same.canvas).all()
    assert tile.frame == same.frame


def test_tiles_are_parts_of_the_picture() -> None:
    pixels = np.random.default_rng(0).integers(0, 20, (150, 90), dtype=np.uint8)
    framing = Framing((SIDE, SIDE), resize="tile", overlap=20)
    found = place_tiles(Image.fromarray(pixels), framing)
    assert len(found) == 3 * 2
    for tile in found:
        x, y = (-int(offset) for offset in tile.frame.offset)
        assert (tile.canvas[0] == pixels[y : y + SIDE, x : x + SIDE]).all()


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("overlap", [20, 31])
def test_every_object_is_counted_once_wherever_tiles_begin(seed: int, overlap: int) -> None:
    """Objects 16 pixels large, at distances of 16 at least, found by each tile a pixel off."""
    rng, size = np.random.default_rng(seed), 16.0
    width, height = rng.integers(150, 400, 2).tolist()
    centers = np.zeros((0, 2))
    for point in rng.uniform(0, (width, height), (2_000, 2)):
        if not len(centers) or np.hypot(*(centers - point).T).min() > size:
            centers = np.concatenate((centers, point[None]))
    tiles = tiles_of(width, height, overlap)
    scenes = [seen(tile, centers, size, rng) for tile in tiles]
    whole = joined([claims_of(tiles, scenes, [scene.count_probs for scene, _ in scenes])])
    found = np.stack([own.center for own in whole.found])
    assert len(found) == len(centers)
    distances = np.hypot(*(found[:, None] - centers[None]).transpose(2, 0, 1))
    assert distances.min(axis=0).max() < 5  # each is one of them
    assert whole.count_probs.argmax() == len(centers)


def test_without_mending_doubles_some_would_be_counted_twice_or_never() -> None:
    """The test above can fail: what each core alone claims is off in most of its cases."""
    rng, off = np.random.default_rng(0), 0
    for _ in range(20):
        centers = rng.uniform(0, 300, (60, 2))
        tiles = tiles_of(300, 300, 20)
        claimed = 0
        for tile in tiles:
            _, boxes = seen(tile, centers, 16.0, rng)
            middle = (boxes[:, :2] + boxes[:, 2:]) / 2
            x0, x1, y0, y1 = tile.core
            claimed += int(((middle >= (x0, y0)) & (middle < (x1, y1))).all(axis=1).sum())
        off += claimed != len(centers)
    assert off > 10


def test_a_tile_answers_for_its_core_alone() -> None:
    """Of three objects the second is beyond the core: P(k in the core) is a sum over n."""
    tile = Tile(np.zeros((1, SIDE, SIDE), np.uint8), tiles_of(64, 64, 0)[0].frame, (0, 32, 0, 64))
    boxes = np.array([[10, 10, 20, 20], [50, 10, 60, 20], [10, 40, 20, 50]], np.float64)
    things = tuple(SceneObject(0.9, box, np.array([4.0, 0, 0]), np.zeros(2)) for box in boxes)
    probs = np.array([0.1, 0.2, 0.3, 0.4])
    scene = Scene(3, probs, things, np.zeros((1, SIDE, SIDE)), np.zeros(0))
    whole = joined([claims_of([tile], [TileScene(scene, boxes)], [probs])])
    np.testing.assert_allclose(whole.count_probs, [0.1, 0.5, 0.4], rtol=1e-6)
    assert [own.step for own in whole.found] == [1, 3]


def test_a_sum_of_counts_has_the_distribution_of_independent_draws() -> None:
    rng = np.random.default_rng(0)
    parts = [rng.dirichlet(np.ones(n)) for n in (2, 4, 3, 5, 1)]
    exact = np.zeros(sum(len(p) - 1 for p in parts) + 1)
    for draws in np.ndindex(*map(len, parts)):
        exact[sum(draws)] += math.prod(p[n] for p, n in zip(parts, draws, strict=True))
    np.testing.assert_allclose(sum_of(parts), exact, atol=1e-7)
    many = sum_of([np.array([0.5, 0.5])] * 1000)
    assert many.sum() == pytest.approx(1)
    assert (np.arange(len(many)) * many).sum() == pytest.approx(500)
    assert count_interval(many, 0.9) == (474, 526)  # 500 +- 1.645 * 15.8


def test_an_interval_is_the_shortest_that_holds_enough() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        probs = rng.dirichlet(np.ones(rng.integers(1, 9)) * 0.5)
        low, high = count_interval(probs, 0.9)
        assert probs[low : high + 1].sum() >= 0.9 - 1e-9
        shorter = [probs[a : a + high - low].sum() for a in range(len(probs))]
        assert max(shorter) < 0.9


def test_a_shifted_distribution_keeps_its_weight() -> None:
    probs = np.array([0.2, 0.5, 0.3])
    np.testing.assert_allclose(shifted(probs, 2), [0, 0, 0.2, 0.5, 0.3])
    np.testing.assert_allclose(shifted(probs, -1), [0.7, 0.3])
    np.testing.assert_allclose(shifted(probs, -9), [1.0])


TILED = replace(
    TINY, canvas_size=(12, 12), unbounded=True, resize="tile", scale_prior_mean=3.0, step_limit=6
)


@pytest.fixture
def picture(tmp_path):
    """A model of tiles, model/, and a picture that takes several, x.png, of 40 x 31 pixels."""
    torch.set_default_dtype(torch.float32)
    make_air(TILED, gain=6, seed=14).save(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 255, (31, 40), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    return tmp_path


def test_a_large_picture_is_read_tile_by_tile(picture, capsys) -> None:
    assert main(["infer", str(picture / "model"), str(picture / "x.png"), "--samples", "3"]) == 0
    record = json.loads(capsys.readouterr().out)
    air = AIR.load(picture / "model")
    framing = Framing.of_model(air.config)
    tiles = place_tiles(Image.open(picture / "x.png"), framing)
    assert len(tiles) > 8
    assert (record["width"], record["height"]) == (40, 31)
    assert record["count"] == len(record["objects"]) > 4
    assert [own["step"] for own in record["objects"]] == list(range(1, record["count"] + 1))
    low, high = record["count_interval"]
    assert sum(record["count_probs"][low : high + 1]) >= 0.9 - 1e-6
    assert sum(record["importance"]["count_probs"]) == pytest.approx(1, abs=1e-4)
    things = [(thing, tile) for tile in tiles for thing in air.infer(tile.canvas[None])[0].objects]
    for own in record["objects"]:
        far = [np.abs(thing.z_what - np.array(own["z_what"])).max() for thing, _ in things]
        assert min(far) < 1e-3
        thing, tile = things[int(np.argmin(far))]
        window = window_boxes(torch.as_tensor(thing.z_where), (12, 12)).numpy()
        center = (window[:2] + window[2:]) / 2 - tile.frame.offset
        scale, *shifts = own["z_where"]  # relative to the picture
        expected = (1 - np.array(shifts) / scale) * np.array([40, 31]) / 2
        np.testing.assert_allclose(center, expected, atol=0.02)
        x0, y0, x1, y1 = own["box"]
        assert 0 <= x0 < x1 <= 40
        assert 0 <= y0 < y1 <= 31


def test_an_object_keeps_its_identity_across_tiles(picture, capsys) -> None:
    """A video of one picture: all objects stand still, whatever tile they are of."""
    (picture / "frames").mkdir()
    for i in range(3):
        (picture / "frames" / f"{i}.png").write_bytes((picture / "x.png").read_bytes())
    assert main(["infer", str(picture / "model"), str(picture / "frames"), "--track"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    identities = [[own["identity"] for own in record["objects"]] for record in records]
    assert len(set(identities[0])) == len(identities[0]) > 4
    assert identities[0] == identities[1] == identities[2]


@pytest.mark.parametrize("form", ["csv", "coco"])
def test_tiled_pictures_have_every_form_of_results(picture, form, capsys) -> None:
    assert main(["infer", str(picture / "model"), str(picture / "x.png"), "--format", form]) == 0
    assert len(capsys.readouterr().out) > 100


def test_many_barely_probable_objects_are_all_listed_and_counted() -> None:
    tiles = tiles_of(SIDE * 20, SIDE * 20, 0)
    box = np.array([[24.0, 24, 40, 40]])
    thing = SceneObject(0.6, box[0], np.array([4.0, 0, 0]), np.zeros(2))
    probs = np.array([0.4, 0.6])
    scene = Scene(1, probs, (thing,), np.zeros((1, SIDE, SIDE)), np.zeros(0))
    part = part_of("x", tiles, [(TileScene(scene, box), {}) for _ in tiles])
    record = mosaic_record("x", tiles[0].frame, [part])
    assert record["count"] == len(record["objects"]) == 400
    assert len(record["count_probs"]) > 400
    low, high = record["count_interval"]
    assert low < 240 < high
    assert "400 objects" in to_text(record)


def test_the_scene_drawn_again_is_as_large_as_the_picture(picture) -> None:
    out = picture / "found"
    arguments = ["infer", str(picture / "model"), str(picture / "x.png"), "--out", str(out)]
    assert main([*arguments, "--reconstructions", "--codes", "--quiet"]) == 0
    with Image.open(out / "reconstructions" / "x.png") as drawn:
        assert drawn.size == (40, 31)
        assert np.asarray(drawn).std() > 0
    record = json.loads((out / "scenes.jsonl").read_text())
    assert len(np.load(out / "z_what.npy")) == record["count"]
    assert main([*arguments, "--reconstructions", "--codes", "--quiet", "--resume"]) == 0
    assert json.loads((out / "scenes.jsonl").read_text()) == record


def test_every_part_of_the_picture_is_drawn_by_one_tile() -> None:
    """Each tile draws its own number: the cores of all fill the picture."""
    tiles = tiles_of(200, 150, 20)
    none = np.zeros(0)
    scenes = [
        TileScene(
            Scene(0, np.ones(1), (), np.full((1, SIDE, SIDE), i + 1.0), none), np.zeros((0, 4))
        )
        for i in range(len(tiles))
    ]
    part = part_of("x", tiles, [(scene, {}) for scene in scenes])
    record, whole = mosaic_record("x", tiles[0].frame, [part]), drawn(tiles, scenes)
    assert whole.shape == (1, 150, 200)
    assert set(np.unique(whole)) == set(range(1, len(tiles) + 1))
    assert (record["count"], record["count_interval"]) == (0, [0, 0])


def test_the_total_does_not_depend_on_where_tiles_begin(tmp_path: Path) -> None:
    air, rng = AIR.load("digits"), np.random.default_rng(0)
    data = load_dataset("digits", "test")
    singles = data.images[data.counts == 1]
    whole, num = np.zeros((300, 340), np.uint8), 0
    for y, x in itertools.product(range(0, 256, 44), range(0, 296, 44)):
        if rng.random() < 0.6:
            rows, columns = np.nonzero(singles[num] > 30)
            digit = singles[num][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            y, x = y + rng.integers(10), x + rng.integers(10)
            whole[y : y + digit.shape[0], x : x + digit.shape[1]] = digit
            num += 1
    for above, before in ((0, 0), (5, 13), (17, 2), (23, 21)):
        path = tmp_path / f"{above}.png"
        Image.fromarray(np.pad(whole, ((above, 0), (before, 0)))).save(path)
    framing = replace(Framing.of_model(air.config), resize="tile")
    batches = infer_pictures(air, find_sources([str(tmp_path)]), framing=framing)
    assert [row.record["count"] for batch in batches for row in batch] == [num] * 4


@pytest.mark.parametrize(("more", "total"), [(0.03, 900), (0.3, 1170)])
def test_what_is_improbable_in_each_tile_does_not_add_up(more: float, total: int) -> None:
    tiles = tiles_of(SIDE * 30, SIDE * 30, 0)
    box = np.array([[24.0, 24, 40, 40], [2.0, 2, 18, 18]])
    thing = SceneObject(1.0, box[0], np.array([4.0, 0, 0]), np.zeros(2))
    probs = np.array([0.0, 1 - more, more])
    scene = Scene(1, probs, (thing,), np.zeros((1, SIDE, SIDE)), np.zeros(0))
    part = part_of("x", tiles, [(TileScene(scene, box), {}) for _ in tiles])
    record = mosaic_record("x", tiles[0].frame, [part])
    assert record["count"] == 900
    low, high = record["count_interval"]
    assert low <= total <= high <= low + 60
    wider = mosaic_record("x", tiles[0].frame, [part], 0.2)["count_interval"]
    assert wider[1] - wider[0] > high - low + 20


def test_a_tile_of_very_many_objects_has_a_distribution() -> None:
    tiles = tiles_of(SIDE * 2, SIDE, 0)
    most = 150
    boxes = np.tile([24.0, 24, 40, 40], (most, 1))
    things = tuple(SceneObject(1.0, box, np.array([4.0, 0, 0]), np.zeros(2)) for box in boxes)
    goes_on = np.append(np.full(most, 0.98), 0.0)
    probs = np.append(1.0, goes_on[:-1].cumprod()) * (1 - goes_on)
    scene = Scene(most, probs, things, np.zeros((1, SIDE, SIDE)), np.zeros(0))
    part = part_of("x", tiles, [(TileScene(scene, boxes), {}) for _ in tiles])
    assert part.claims.count_probs.sum() == pytest.approx(1)
    assert np.isfinite(part.claims.count_probs).all()
