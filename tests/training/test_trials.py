"""Where the survey is unsure how large an object is, short trainings without labels decide."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from attend_infer_repeat.cli.main import main
from attend_infer_repeat.config import AUTO, TrainConfig, replace
from attend_infer_repeat.data import load_dataset
from attend_infer_repeat.objectives.processes import Processes
from attend_infer_repeat.training import trials
from attend_infer_repeat.training.auto import choose_settings, propose_settings
from attend_infer_repeat.training.trials import Judgment, Sums, best_of, decide, judge, settle

CPU = torch.device("cpu")


def pairs(num: int, canvas: int = 44) -> np.ndarray:
    """Return scenes of a disc of 9 pixels, two fifths of them beside another one: they touch."""
    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(canvas) + 0.5, np.arange(canvas) + 0.5)
    images = np.zeros((num, canvas, canvas))
    for i, image in enumerate(images):
        (x, y), angle = rng.uniform(14, canvas - 14, 2), rng.uniform(0, 2 * np.pi)
        centers = [(x, y), (x + 8.5 * np.cos(angle), y + 8.5 * np.sin(angle))]
        for x, y in centers[: 1 + (i % 5 < 2)]:
            image += (5 - np.hypot(across - x, down - y)).clip(0, 1)
    return (255 * images.clip(0, 1)).astype(np.uint8)


def small(data: str, **changes: object) -> TrainConfig:
    nets = {"decoder_net": (32,), "encoder_net": (32,), "predict_net": (32,)}
    return replace(AUTO, data=data, encoder_latent_size=8, **nets, **changes)


@pytest.fixture
def data(tmp_path: Path) -> str:
    np.savez(tmp_path / "x.npz", images=pairs(90))
    return str(tmp_path / "x.npz")


def sums(energy: float, left: float, kl: float, num: int = 50, seed: int = 0) -> Sums:
    """Return images whose foregrounds differ by a tenth, with what a trial leaves of them."""
    noise = 1 + 0.1 * torch.randn(3, num, generator=torch.Generator().manual_seed(seed))
    common, own, cost = energy * noise[0], left * noise[1], kl * noise[2]
    return Sums(4 * common, common, common, own, cost)


def test_evidence_is_a_pixels_log_likelihood_at_the_best_noise_less_what_objects_cost() -> None:
    images = sums(100, 5, 30)
    share, cost = (values.sum() / images.common.sum() for values in (images.left, images.kl))
    judged = judge(images, density=4.0)
    assert judged.explained == pytest.approx(1 - float(share))
    assert judged.evidence == pytest.approx(-math.log(share) / 2 - float(cost) / 4)


def test_the_error_of_the_evidence_is_how_far_other_images_move_it() -> None:
    """The sd of 400 draws is itself known to 1 / sqrt(800) = 3.5%: five of these are 18%."""
    judged = [judge(sums(100, 5, 30, seed=seed), 4.0) for seed in range(400)]
    spread = np.std([result.evidence for result in judged])
    assert np.mean([result.error for result in judged]) == pytest.approx(spread, rel=0.18)


def test_one_image_does_not_tell_how_far_images_differ() -> None:
    better = judge(sums(100, 1, 30, num=1), 4.0)
    assert better.error == math.inf
    assert best_of([judge(sums(100, 20, 30), 4.0), better]) == 0


@pytest.mark.parametrize("brightness", [1.0, 0.2])
def test_pixels_of_the_foreground_are_counted_however_bright_they_are(brightness: float) -> None:
    energies = torch.full((10, 30), brightness**2, dtype=torch.float64)  # of 30 pixels each
    energy, squares = energies.sum(dim=1), energies.square().sum(dim=1)
    common = energy / 4
    density = Sums(energy, squares, common, common, common).density
    assert density * float(common.sum()) == pytest.approx(300)


@pytest.mark.parametrize("energy", [0.0, math.nan])
def test_a_trial_that_diverges_or_sees_nothing_has_no_evidence(energy: float) -> None:
    judged = judge(sums(energy, energy, 1), 1.0)
    assert judged.evidence == -math.inf
    assert best_of([judged, judged]) == 0
    assert best_of([judged, Judgment(0.9, 1.0, 0.0)]) == 1


@pytest.mark.parametrize(
    ("explained", "rival", "error", "best"),
    [
        (0.9, 0.9, 0.0, 0),
        (0.9, 1.05, 0.0, 0),
        (0.9, 1.15, 0.0, 1),
        (0.9, 1.15, 0.06, 0),
        (0.9, 1.5, 0.06, 1),
        (0.4, 1.5, 0.06, 0),  # nothing is learned yet
    ],
)
def test_the_survey_is_overruled_by_more_than_chance_alone(explained, rival, error, best) -> None:
    assert best_of([Judgment(0.9, 1.0, error), Judgment(explained, rival, error)]) == best


def test_sizes_are_proposed_from_the_surveys_choice_on_and_each_has_its_own_settings(data) -> None:
    first, rival = propose_settings(small(data))
    assert first.side == pytest.approx(9, rel=0.12)
    assert rival.side == pytest.approx(17, rel=0.12)
    assert first.config == choose_settings(small(data))
    for own in (first, rival):
        window = 44 / own.config.model.pose.scale_prior_mean
        assert window == pytest.approx(1.15 * own.side, rel=0.1)


@pytest.mark.parametrize("name", ["scale_prior_mean", "window_size", "canvas", "zoom"])
def test_nothing_is_tried_where_somebody_says_how_large_objects_are(name, data) -> None:
    assert len(propose_settings(small(data), (name,))) == 1


def test_a_survey_that_is_sure_and_a_short_run_try_nothing(data, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(trials, "decide", None)
    np.savez(tmp_path / "y.npz", images=pairs(90)[2::5])
    for config in (small(str(tmp_path / "y.npz")), small(data, num_steps=499)):
        assert settle(config, (), Processes(CPU)) == choose_settings(config)


def test_a_sample_of_pictures_is_spread_over_all(data) -> None:
    whole = load_dataset(data)
    sample = load_dataset(data, sample=10)
    assert len(sample) == 10
    np.testing.assert_array_equal(sample.images[[0, -1]], whole.images[[0, -1]])


def test_a_trial_finds_the_size_that_the_survey_gets_wrong(data, monkeypatch, tmp_path) -> None:
    """One disc is soon drawn, and two of them beside each other at any angle are not."""
    monkeypatch.setattr(trials, "NUM_STEPS", 60)
    monkeypatch.setattr(trials, "BATCH_SIZE", 16)
    monkeypatch.chdir(tmp_path)
    before = torch.get_rng_state()
    first, rival = propose_settings(small(data))
    config = decide((rival, first), CPU)  # as if the survey had taken the pairs
    assert replace(config, chosen=()) == replace(first.config, chosen=())
    assert config.chosen[:-1] == first.config.chosen
    assert f"with {rival.side:.0f} pixels" in config.chosen[-1]
    assert config.chosen[-1].startswith(f"a typical object of {first.side:.0f} pixels: ")
    assert torch.equal(torch.get_rng_state(), before)
    assert [path.name for path in tmp_path.iterdir()] == [Path(data).name]  # nothing is written


def test_a_trial_is_a_function_of_the_seed(data, monkeypatch) -> None:
    monkeypatch.setattr(trials, "NUM_STEPS", 30)
    monkeypatch.setattr(trials, "BATCH_SIZE", 8)
    first = propose_settings(small(data))[0]
    seeds = [first._replace(config=replace(first.config, seed=seed)) for seed in (0, 0, 1)]
    lines = [decide((own,), CPU).chosen[-1] for own in seeds]
    assert lines[0] == lines[1] != lines[2]


def test_only_the_first_of_several_processes_tries_and_the_others_follow(data, monkeypatch) -> None:
    class Second(Processes):
        is_first = False

        def from_first(self, value):
            return replace(value, chosen=("as the first one says",))

    monkeypatch.setattr(trials, "decide", None)
    assert settle(small(data), (), Second(CPU)).chosen == ("as the first one says",)


def test_a_stop_in_a_trial_leaves_the_generators_as_they_were(data, monkeypatch) -> None:
    def stop(state) -> None:
        torch.randn(1)
        raise KeyboardInterrupt

    monkeypatch.setattr(trials.TrainingState, "take_step", stop)
    before = torch.get_rng_state()
    with pytest.raises(KeyboardInterrupt):
        decide(propose_settings(small(data)), CPU)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(("flags", "tries"), [("", True), ("--window-size 8", False)])
def test_a_run_says_that_it_tries_and_keeps_what_came_of_it(
    flags, tries, data, tmp_path, capsys, monkeypatch
) -> None:
    for name in ("NUM_STEPS", "MIN_STEPS", "SHORTEST_RUN"):
        monkeypatch.setattr(trials, name, 3)
    command = f"train --data {data} --out {tmp_path / 'run'} -n 3 -b 8 {flags}".split()
    small_nets = "--encoder-net 8 --decoder-net 8 --predict-net 8".split()
    assert main(command + small_nets) == 0
    printed = capsys.readouterr().err
    lines = json.loads((tmp_path / "run" / "config.json").read_text())["config"]["chosen"]
    assert any("short trainings explain" in line for line in lines) == tries
    assert ("Trying whether a typical object is 9 or 17 pixels large" in printed) == tries
    assert all(line in printed for line in lines)
