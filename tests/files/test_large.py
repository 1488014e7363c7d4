"""Pictures that are read in parts: the results of the whole, in one process or in several."""

from __future__ import annotations

import json
import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from PIL import Image

from attend_infer_repeat import AIR
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.data.pictures.canvas import scaled
from attend_infer_repeat.data.pictures.canvas.framing import Framing, Tiles
from attend_infer_repeat.data.pictures.reading import regions, zarrs
from attend_infer_repeat.data.pictures.reading.paths import is_zarr
from attend_infer_repeat.data.pictures.reading.regions import Regions
from attend_infer_repeat.errors import ConfigError, DataError, NotFiniteError
from attend_infer_repeat.files import sources, streaming
from attend_infer_repeat.files.blocks import Work, in_turn, infer_blocks
from attend_infer_repeat.files.sources import find_sources, how_many
from attend_infer_repeat.files.streaming import infer_pictures

zarr = pytest.importorskip("zarr", reason="the extra large is not installed")

TILED = replace(
    TINY,
    **{"canvas_size": (12, 12), "unbounded": True, "resize": "tile", "scale_prior_mean": 3.0},
    **{"step_limit": 6, "subtract": "level", "subtract_level": (0.1,)},
)
V2 = {"zarr_format": 2} if zarr.__version__.startswith("3") else {}
SIZE = (131, 150)  # height, width


@pytest.fixture(autouse=True)
def in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read pictures of more than 60 x 60 pixels in parts, of 40 x 40 pixels."""
    monkeypatch.setattr(regions, "AT_ONCE", 60 * 60)
    monkeypatch.setattr(zarrs, "AT_ONCE", 60 * 60)
    monkeypatch.setattr(scaled, "LARGEST_BLOCK", 40)
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model of tiles, model/, and one picture: x.zarr, and x.png of the same pixels."""
    make_air(TILED, gain=6, seed=14).save(tmp_path / "model")
    pixels = np.random.default_rng(0).integers(0, 255, SIZE, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    save(tmp_path / "x.zarr", pixels)
    return tmp_path


def save(path: Path, pixels: np.ndarray) -> None:
    options = {"shape": pixels.shape, "chunks": (32, 32), "dtype": pixels.dtype}
    zarr.open_array(str(path), mode="w", **V2, **options)[:] = pixels


def work_on(folder: Path) -> Work:
    air = AIR.load(folder / "model")
    (source,) = find_sources([str(folder / "x.zarr")])
    picture, _ = source.read()
    assert isinstance(picture, Regions)
    return Work("x", Tiles(picture, Framing.of_model(air.config)), air)


def infer(folder: Path, *arguments: str) -> int:
    return main(["infer", str(folder / "model"), "--quiet", *arguments])


def test_parts_show_what_the_whole_shows(folder, capsys) -> None:
    records = []
    for name in ("x.png", "x.zarr"):
        assert infer(folder, str(folder / name), "--samples", "2") == 0
        records.append(json.loads(capsys.readouterr().out))
    whole, parts = records
    assert len(work_on(folder).tiles.blocks) > 9
    assert whole["count"] == parts["count"] > 50
    for own, other in zip(whole["objects"], parts["objects"], strict=True):
        for name in own:  # tiles stand in other batches, whose products are rounded otherwise
            np.testing.assert_allclose(own[name], other[name], atol=1e-3 if name == "box" else 2e-6)
    assert whole["count_interval"] == parts["count_interval"]
    probs = [[own["count_probs"], own["importance"].pop("count_probs")] for own in records]
    for one, other in zip(*probs, strict=True):  # of which one may end in a zero more
        length = max(len(one), len(other))
        padded = [np.pad(own, (0, length - len(own))) for own in (one, other)]
        np.testing.assert_allclose(*padded, atol=2e-6)
    assert whole["importance"] == parts["importance"]


def test_tiles_of_all_blocks_are_those_of_the_picture(folder) -> None:
    tiles = work_on(folder).tiles
    numbers = [tile.number for k in range(len(tiles.blocks)) for tile in tiles.of_block(k)]
    assert sorted(numbers) == list(range(len(tiles)))


def test_no_part_is_larger_than_a_block_and_its_margin(folder, monkeypatch) -> None:
    read, sizes = Regions.load, []
    monkeypatch.setattr(Regions, "load", lambda own: (sizes.append(own.size), read(own))[1])
    rows = infer_pictures(AIR.load(folder / "model"), find_sources([str(folder / "x.zarr")]))
    assert "error" not in next(rows)[0].record
    assert len(sizes) > 9
    assert max(max(size) for size in sizes) <= 60 + 2 * 3  # the kernel's radius on both sides


def test_results_are_written_of_a_picture_in_parts(folder, caplog) -> None:
    out = folder / "found"
    options = ["--out", str(out), "--reconstructions", "--codes", "--format", "csv"]
    assert infer(folder, str(folder / "x.zarr"), *options) == 0
    with Image.open(out / "x.png") as shown:
        assert shown.size[0] >= 256
    record = json.loads((out / "scenes.jsonl").read_text())
    assert len(np.load(out / "z_what.npy")) == record["count"]
    assert not list(out.glob("reconstructions/*"))
    (line,) = [own.getMessage() for own in caplog.records if "drawn again" in own.getMessage()]
    assert "too large" in line


def test_pictures_that_are_done_are_not_read_again(folder, monkeypatch) -> None:
    options = [str(folder / "x.zarr"), "--out", str(folder / "found"), "--no-annotate"]
    assert infer(folder, *options) == 0
    monkeypatch.setattr(Regions, "load", lambda own: pytest.fail("read again"))
    assert infer(folder, *options, "--resume") == 0


def test_each_line_is_written_before_the_next_large_picture_is_begun(folder, monkeypatch) -> None:
    """So an inference that is interrupted goes on from picture to picture."""
    names = ["a.png", "b.zarr", "c.zarr", "d.png"]
    for name in names:
        whole = "x.png" if name.endswith("png") else "x.zarr"
        (folder / name).symlink_to(folder / whole)
    out, written = folder / "found", {}

    def lines() -> int:
        return len((out / "scenes.jsonl").read_text().splitlines())

    begin = streaming.infer_blocks

    def observed(work, *others):
        written[Path(work.name).name] = lines()
        return begin(work, *others)

    monkeypatch.setattr(streaming, "infer_blocks", observed)
    paths = [str(folder / name) for name in names]
    assert infer(folder, *paths, "--out", str(out), "--no-annotate") == 0
    assert written == {"b.zarr": 1, "c.zarr": 2}
    assert lines() == 4


def test_a_zarr_that_has_changed_is_read_again(folder) -> None:
    options = [str(folder / "x.zarr"), "--out", str(folder / "found"), "--no-annotate"]
    assert infer(folder, *options) == 0
    before = json.loads((folder / "found" / "scenes.jsonl").read_text())
    zarr.open_array(str(folder / "x.zarr"), mode="r+")[:64, :64] = 0
    assert infer(folder, *options, "--resume") == 0
    assert json.loads((folder / "found" / "scenes.jsonl").read_text()) != before


def test_a_part_that_cannot_be_read_is_the_pictures_error(folder, capsys) -> None:
    (folder / "x.zarr" / "3.3").write_bytes(b"nonsense")
    assert infer(folder, str(folder / "x.png"), str(folder / "x.zarr")) == 1
    sound, broken = map(json.loads, capsys.readouterr().out.splitlines())
    assert "count" in sound
    assert "x.zarr: cannot be read" in broken["error"]


def test_a_pattern_names_zarrs_and_not_what_is_in_them(folder) -> None:
    save(folder / "sub.zarr", np.zeros((20, 20), np.uint8))
    names = [Path(source.name).name for source in find_sources([f"{folder}/**/*"])]
    assert {"sub.zarr", "x.zarr", "x.png"} <= set(names)
    assert not any(name in (".zarray", "0.0") for name in names)
    assert how_many([str(folder / "x.zarr"), str(folder)]) == 1 + 3


def test_a_pattern_asks_of_each_folder_once_whether_it_is_a_zarr(folder, monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(
        sources, "is_zarr", lambda path: (asked.append(os.fspath(path)), is_zarr(path))[1]
    )
    list(find_sources([f"{folder}/**/*"]))
    assert asked.count(str(folder)) == asked.count(str(folder.parent)) == 1


def test_an_observer_sees_a_few_tiles_of_each_block(folder) -> None:
    work, seen = work_on(folder), []
    record = infer_blocks(work, in_turn, lambda *told: seen.append(told))
    assert len(work.tiles.blocks) <= len(seen) <= 4 * len(work.tiles.blocks)
    assert record["count"] > 50
    assert all(len(boxes) == count for _, count, boxes, _ in seen)


# Dask


@pytest.fixture(scope="module")
def cluster():
    """Two processes of one thread."""
    pytest.importorskip("distributed", reason="the extra large is not installed")
    from attend_infer_repeat.files.cluster import Cluster

    with Cluster("2") as cluster:
        yield cluster


@pytest.mark.long
def test_several_processes_find_the_same_to_the_last_bit(folder, cluster) -> None:
    """The same also as without Dask for a part that cannot be read."""
    work = work_on(folder)
    for one, other in zip(in_turn(work), cluster(work), strict=True):
        assert same(one, other)
    (folder / "x.zarr" / "3.3").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"x\.zarr: cannot be read"):
        list(cluster(work_on(folder)))


@dataclass(frozen=True)
class Logged(Work):
    """Work that tells in a file which blocks were begun, and by which process.

    Attributes:
        log: the file.
        error: raised instead of the last block.
        fatal: kills the process that begins this block first.
    """

    log: Path = Path()
    error: Exception | None = None
    fatal: int | None = None

    def __call__(self, number):
        with self.log.open("a") as file:
            file.write(f"{number} {os.getpid()}\n")
        if self.error is not None and number == len(self.tiles.blocks) - 1:
            raise self.error
        if [block for block, _ in self.begun].count(number) == 1 and number == self.fatal:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(number)

    @property
    def begun(self) -> list[tuple[int, int]]:
        """Numbers of blocks and of processes."""
        return [tuple(map(int, line.split())) for line in self.log.read_text().splitlines()]


def logged(folder: Path, **happens: Any) -> Logged:
    work = work_on(folder)
    return Logged(work.name, work.tiles, work.air, log=folder / "log", **happens)


@pytest.mark.long
def test_a_worker_that_is_killed_amid_its_tasks_changes_nothing(folder, cluster) -> None:
    work = logged(folder, fatal=5)
    found = list(cluster(work))
    assert {number for number, _ in work.begun} == set(range(len(work.tiles.blocks)))
    killed, pid = (own for number, own in work.begun if number == 5)
    assert killed != pid
    with pytest.raises(ProcessLookupError):
        os.kill(killed, 0)
    for one, other in zip(in_turn(work_on(folder)), found, strict=True):
        assert same(one, other)


@pytest.mark.long
@pytest.mark.parametrize("error", [MemoryError("short"), DataError("x: no"), NotFiniteError("x")])
def test_an_error_of_a_block_is_raised_as_in_one_process_and_not_tried_again(
    folder, cluster, error
) -> None:
    work = logged(folder, error=error)
    with pytest.raises(type(error), match=str(error)):
        list(cluster(work))
    assert [number for number, _ in work.begun].count(len(work.tiles.blocks) - 1) == 1


@pytest.mark.long
def test_a_scheduler_without_workers_is_told_in_one_line(monkeypatch) -> None:
    distributed = pytest.importorskip("distributed", reason="the extra large is not installed")
    from attend_infer_repeat.files import cluster

    monkeypatch.setattr(cluster, "PATIENCE", "1s")
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty,
        cluster.Cluster(empty.scheduler_address) as own,
        pytest.raises(ConfigError, match=r"dask: tcp.*workers") as told,
    ):
        own.client()
    assert "\n" not in str(told.value)


def test_a_model_on_a_gpu_is_sent_on_the_cpu(monkeypatch) -> None:
    pytest.importorskip("distributed", reason="the extra large is not installed")
    from attend_infer_repeat.files import cluster

    air = make_air(TILED)
    assert cluster._on_cpu(air) is air
    moved = {}
    monkeypatch.setattr(AIR, "device", torch.device("cuda"))
    monkeypatch.setattr(AIR, "to", lambda own, where: moved.setdefault(where, own))
    assert cluster._on_cpu(air) is moved["cpu"] is not air


def same(one: object, other: object) -> bool:
    """Tell whether all arrays and numbers in two results are the same to the last bit."""
    if isinstance(one, np.ndarray):
        return one.dtype == other.dtype and one.tobytes() == other.tobytes()
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(same, one, other))
    if hasattr(one, "__dict__"):
        return same(list(vars(one).values()), list(vars(other).values()))
    return one == other


@pytest.mark.parametrize("where", ["", " ", "0", "tcp://127.0.0.1:9"])
def test_a_cluster_that_is_none_is_told_in_one_line(where, monkeypatch) -> None:
    pytest.importorskip("distributed", reason="the extra large is not installed")
    from attend_infer_repeat.files import cluster

    monkeypatch.setattr(cluster, "PATIENCE", "1s")
    with pytest.raises(ConfigError, match="dask: ") as told, cluster.Cluster(where) as own:
        own.client()
    assert "\n" not in str(told.value)
