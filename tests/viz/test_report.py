"""The report: one sound HTML file, whatever the run and its data are like."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import dataclass, replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import TINY, make_air
from PIL import Image

from attend_infer_repeat import AIR, Dataset, TrainConfig, load_dataset
from attend_infer_repeat.checkpoints.checkpoint import save_checkpoint
from attend_infer_repeat.config import ModelConfig
from attend_infer_repeat.errors import CheckpointError, ConfigError, DataError
from attend_infer_repeat.training.run import write_config
from attend_infer_repeat.viz.report import write_report

SECTIONS = (
    "figures curves counts examples reliability codes objects timing config reproduce"
).split()
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """A page's text, ids, links and images; its tags must be balanced."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.source = path.read_text(encoding="utf-8")
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.images: list[dict[str, str | None]] = []
        self.text = ""
        self._open: list[str] = []
        self.feed(self.source)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag, attrs) -> None:
        values = dict(attrs)
        self.tags.add(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("src", "href") if name in values]
        if tag == "img":
            self.images.append(values)
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag) -> None:
        assert self._open.pop() == tag, (tag, self.getpos())

    def handle_data(self, data) -> None:
        if "style" not in self._open:
            self.text += data

    def alts(self, start: str) -> list[str]:
        return [image["alt"] for image in self.images if image["alt"].startswith(start)]


def read_page(path: Path) -> Page:
    """Read a report and check what must hold for every one."""
    page = Page(path)
    assert page.ids == SECTIONS
    assert page.tags.isdisjoint({"script", "iframe", "object", "link"})
    assert all(link.startswith(("#", "data:image/png;base64,")) for link in page.links)
    assert {link[1:] for link in page.links if link[0] == "#"} == set(SECTIONS)
    assert "http://" not in page.source
    assert "https://" not in page.source
    for image in page.images:
        assert image["alt"]
        content = base64.b64decode(image["src"].split(",")[1], validate=True)
        with Image.open(io.BytesIO(content)) as picture:
            picture.load()
            assert min(picture.size) > 50
    return page


def scenes(
    num: int, config: ModelConfig = TINY, counts: bool = True, boxes: bool = False
) -> dict[str, np.ndarray]:
    """Return the arrays of an .npz: noise of different brightness, and truths that mean nothing."""
    rng = np.random.default_rng(0)
    shape = (num, 3, *config.canvas_size) if config.channels == 3 else (num, *config.canvas_size)
    light = np.linspace(0, 255, num).reshape(-1, *[1] * (len(shape) - 1))
    arrays = {"images": (rng.random(shape) * light).astype(np.uint8)}
    if counts:
        arrays["counts"] = rng.integers(0, 3, num)
    if boxes:
        absent = np.arange(2) >= arrays["counts"][:, None]
        arrays["boxes"] = np.tile(np.float32([1, 2, 6, 7]), (num, 2, 1))
        arrays["boxes"][absent] = np.nan
    return arrays


EVALUATION = {
    "step": 4,
    "seconds": 1.5,
    "split": "validation",
    "num_images": 6,
    "elbo": 12.5,
    "count_accuracy": 0.5,
    "confusion": [[2, 1], [2, 1]],
    "box_iou": None,
}
METRICS = [
    {"step": 2, "seconds": 0.7, "images_per_second": 100.0, "elbo": 3.0},
    {"step": 4, "seconds": 1.5, "images_per_second": 300.0, "elbo": 9.0},
    EVALUATION,
]


def seeing(config: ModelConfig = TINY, log_odds: float = 2.0) -> AIR:
    """Return an untrained AIR that finds different counts, more of them the larger log_odds."""
    air = make_air(config, gain=4, seed=2)
    with torch.no_grad():
        air.guide.predict[-1].bias[0] += log_odds
    return air


def held_out(run: Path) -> int:
    """Return how many images of a run's archive are held out: hashes decide."""
    return len(load_dataset(str(run.parent / "noise.npz"), "validation"))


CARDS = 3


@pytest.fixture(autouse=True)
def short_galleries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw fewer images than people want to see: drawing takes the longest."""
    monkeypatch.setattr("attend_infer_repeat.viz.report_images.CARDS", CARDS)


@pytest.fixture
def make_run(tmp_path: Path):
    """Return a function that writes a run's folder, of given images and metrics."""

    def make(
        train: dict[str, np.ndarray],
        test: dict[str, np.ndarray] | None = None,
        *,
        air: AIR | None = None,
        metrics: list[dict[str, object]] = METRICS,
        name: str = "noise",
        **settings,
    ) -> Path:
        air = air or seeing()
        np.savez(tmp_path / f"{name}.npz", **train)
        if test is not None:
            np.savez(tmp_path / f"{name}_test.npz", **test)
        data = str(tmp_path / f"{name}.npz")
        config = replace(TrainConfig(), data=data, num_steps=4, model=air.config, **settings)
        run = tmp_path / "run"
        save_checkpoint(run / "checkpoint", air, train_config=config, step=4, seconds=75.0)
        write_config(run, config)
        lines = "".join(json.dumps(record) + "\n" for record in metrics)
        (run / "metrics.jsonl").write_text(lines)
        return run

    return make


def test_a_run_with_all_there_is_to_know_shows_it_all(make_run) -> None:
    run = make_run(scenes(2_000), scenes(150, boxes=True))
    path = write_report(run, num_samples=3)
    assert path == run / "report.html"
    page = read_page(path)
    assert "noise, test split, 150 images" in page.text
    fitted = f"noise, validation split, {held_out(run)} images"
    assert f"temperatures fitted on other images: {fitted}" in page.text
    assert "1 min 15 s" in page.text
    assert "200 images/s, median over the run" in page.text
    for start in ("ELBO", "count accuracy", "Images by inferred count", "q(n | x)"):
        assert len(page.alts(start)) == 1, start
    assert len(page.alts("importance-weighted, K = 3")) == 1
    assert len(page.alts("Histogram")) == 2
    assert len(page.alts("image ")) == 3 * CARDS
    assert "num_steps" in page.text
    commands = json.loads((run / "config.json").read_text())["commands"]
    assert all(command in page.text for command in commands)


def test_its_figures_are_those_of_the_evaluation(make_run) -> None:
    from attend_infer_repeat import evaluate

    run = make_run(scenes(50), scenes(60, boxes=True))
    page = read_page(write_report(run, num_samples=0))
    data = load_dataset(str(run.parent / "noise.npz"), "test")
    evaluation = evaluate(AIR.load(run), data)
    assert f"{evaluation.count_accuracy:.2%}" in page.text
    assert f"{evaluation.elbo:.1f}" in page.text
    assert f"{evaluation.box_iou:.3f}" in page.text
    scenes_found = AIR.load(run).infer(data.images)
    wrong = np.flatnonzero(scenes_found.counts != data.counts)
    worst = wrong[scenes_found.count_probs[wrong].max(axis=1).argmax()]
    after = page.text.split("Wrong counts")[1]
    assert after.split("first.")[1].split()[:2] == ["image", str(worst)]
    assert f"{len(wrong)} counts of 60 wrong" in page.text


def test_the_same_run_gives_the_same_page_but_for_the_time(make_run) -> None:
    run = make_run(scenes(40))
    pages = [
        write_report(run, run.parent / name, num_samples=2).read_text()
        for name in ("a.html", "b.html")
    ]
    first, second = (
        [line for line in page.splitlines() if "measured for this report" not in line]
        for page in pages
    )
    assert first == second
    assert len(first) == len(pages[0].splitlines()) - 1


def test_without_counts_the_report_says_what_can_be_said(make_run) -> None:
    run = make_run(scenes(100, counts=False), metrics=METRICS[:2])
    page = read_page(write_report(run, num_samples=2))
    assert f"noise, validation split, {held_out(run)} images" in page.text
    assert "The true counts are unknown" in page.text
    assert "cannot be judged" in page.text
    assert "Least certain counts" in page.text
    assert "Worst explained" in page.text
    assert "objects per image" in page.text
    assert "Wrong counts" not in page.text
    assert len(page.alts("Histogram of the effective sample size")) == 1


def test_temperatures_are_never_fitted_to_images_that_they_are_judged_on(make_run) -> None:
    run = make_run(scenes(2_400))
    page = read_page(write_report(run, num_samples=0))
    found = re.search(
        r"validation split, (\d+) images; temperatures fitted on other images: noise, "
        r"validation split, (\d+) images",
        page.text,
    )
    assert found is not None
    judged, fitted = map(int, found.groups())
    assert judged + fitted == held_out(run)
    assert abs(judged - fitted) <= 1
    page = read_page(write_report(run, num_samples=0, split="train"))
    assert "train split, 2,400 images" in page.text
    assert "fitted" not in page.text


def test_few_images_fit_no_temperature(make_run) -> None:
    page = read_page(write_report(make_run(scenes(200)), num_samples=0))
    assert "temperature" not in page.text
    assert "q(n | x), as it is" in page.text


CONFIGS = {
    "one step, one code": replace(TINY, model_steps=1, encoder_latent_size=1),
    "color, wide": replace(TINY, channels=3, canvas_size=(8, 14)),
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_models_of_any_size_are_reported(config: ModelConfig, make_run) -> None:
    air = seeing(config)
    page = read_page(write_report(make_run(scenes(40, config), air=air), num_samples=2))
    assert "arranged by" in "".join(page.alts(""))


def test_a_model_that_finds_nothing_is_reported(make_run) -> None:
    run = make_run(scenes(40), air=seeing(log_odds=-500.0))
    page = read_page(write_report(run, num_samples=2))
    assert page.text.count("No object was found.") == 2
    assert "Wrong counts" in page.text


def test_a_model_without_a_wrong_count_is_reported(make_run) -> None:
    arrays = scenes(40) | {"counts": np.zeros(40, int)}
    run = make_run(arrays, air=seeing(log_odds=-500.0))
    page = read_page(write_report(run, num_samples=2))
    assert f"0 counts of {held_out(run)} wrong" in page.text
    assert "100.00%" in page.text


def test_a_run_that_was_interrupted_before_any_metrics_is_reported(make_run) -> None:
    run = make_run(scenes(40), metrics=[])
    (run / "config.json").unlink()
    with (run / "metrics.jsonl").open("w") as file:
        file.write('{"step": 2, "sec')  # half a line
    page = read_page(write_report(run, num_samples=0))
    assert "before it wrote any metrics" in page.text
    assert "does not tell how it was started" in page.text
    assert "not recorded" in page.text


@pytest.mark.parametrize(("metrics", "shown"), [(METRICS, "50.00%"), ([], "came to no evaluation")])
def test_without_its_data_the_folder_is_reported(metrics, shown: str, make_run) -> None:
    run = make_run(scenes(40), metrics=metrics)
    (run.parent / "noise.npz").unlink()
    page = read_page(write_report(run))
    assert "images are gone" in page.text
    assert "noise.npz" in page.text
    assert shown in page.text
    assert bool(page.alts("Images by inferred count")) == bool(metrics)
    assert "not at hand" in page.text
    assert "num_steps" in page.text


def test_other_data_can_be_asked_for_even_of_a_run_with_options_of_its_own(make_run) -> None:
    run = make_run(scenes(40), max_count=2)
    np.savez(run.parent / "other.npz", **scenes(30, counts=False))
    other = str(run.parent / "other.npz")
    page = read_page(write_report(run, num_samples=0, data=other, split="train"))
    assert "other, train split, 30 images" in page.text


def test_pictures_of_another_size_come_onto_the_models_canvas(make_run) -> None:
    run = make_run(scenes(40))
    np.savez(run.parent / "wide.npz", **scenes(5, replace(TINY, canvas_size=(8, 14))))
    wide = str(run.parent / "wide.npz")
    page = read_page(write_report(run, num_samples=0, data=wide, split="train"))
    assert "wide, train split, 5 images" in page.text


HOSTILE = "<img src=x onerror=alert(1)>&amp;\"'$x_$ {{ 7 * 7 }}"


def test_names_are_shown_as_they_are_written(make_run, monkeypatch: pytest.MonkeyPatch) -> None:
    @dataclass(frozen=True, eq=False)
    class Named(Dataset):
        files: tuple[str, ...] = ()

    run = make_run(scenes(40), name=HOSTILE)
    images = scenes(5)["images"]
    files = tuple(f"<b>{i}</b>\udcff.png" for i in range(5))  # a name that is not Unicode
    data = Named(HOSTILE, "test", images, files=files)
    monkeypatch.setattr("attend_infer_repeat.viz.report.load_held_out", lambda config: data)
    page = read_page(write_report(run, num_samples=0))
    assert f"{HOSTILE}, test split, 5 images" in page.text
    assert "<b>3</b>?.png" in page.text
    assert "b" not in page.tags
    assert not [image for image in page.images if "onerror" in image]


def test_mistakes_are_named_and_write_nothing(make_run) -> None:
    run = make_run(scenes(40))
    before = {path: path.read_bytes() for path in run.parent.rglob("*") if path.is_file()}
    for error, match, options in (
        (ConfigError, "samples", {"num_samples": -1}),
        (ConfigError, r"\.html", {"out": run / "report.pdf"}),
        (ConfigError, "cannot be written", {"out": run / "config.json" / "report.html"}),
        (ConfigError, "device", {"device": "cuda:77"}),
        (DataError, "test", {"split": "test"}),
        (DataError, "nowhere", {"data": "nowhere"}),
    ):
        with pytest.raises(error, match=match):
            write_report(run, **options)
    with pytest.raises(CheckpointError, match="no such run"):
        write_report(run.parent / "nowhere")
    with pytest.raises(CheckpointError, match="give the folder of a run"):
        write_report(run / "checkpoint")
    make_air().save(run.parent / "model")
    with pytest.raises(CheckpointError, match="a model without its run"):
        write_report(run.parent / "model")
    after = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    assert after == {path: content for path, content in before.items() if run in path.parents}


def test_a_damaged_config_file_is_named(make_run) -> None:
    run = make_run(scenes(40))
    (run / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"config\.json: damaged"):
        write_report(run, num_samples=0)
