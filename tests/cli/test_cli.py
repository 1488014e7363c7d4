"""The command line: its contract with users and with scripts."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from attend_infer_repeat.cli.main import COMMANDS, main
from attend_infer_repeat.config import TUTORIAL, TrainConfig, flat, from_dict, to_dict

SMALL = (
    "-n 6 -b 8 --window-size 6 --rnn-hidden-size 8 --encoder-latent-size 4 --encoder-net 8 "
    "--decoder-net 8 --predict-net 8 --lr-schedule constant --eval-every 3 --progress-every 2 "
    "--quiet"
).split()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small data set, data.npz, its first image, image.png, and a run, run/."""
    folder = tmp_path_factory.mktemp("cli")
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 3, size=60)
    images = np.zeros((60, 12, 14), dtype=np.uint8)
    for image, count in zip(images, counts, strict=True):
        for _ in range(count):
            y, x = rng.integers(0, 8), rng.integers(0, 10)
            image[y : y + 4, x : x + 4] = 255
    np.savez(folder / "data.npz", images=images, counts=counts)
    Image.fromarray(images[0]).save(folder / "image.png")
    assert (
        main(["train", *SMALL, "--data", f"{folder / 'data.npz'}", "--out", f"{folder}/run"]) == 0
    )
    return folder


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def only_line(text: str) -> str:
    assert text.count("\n") == 1, text
    return text


def test_train_writes_a_run_folder_with_the_contracts_files_and_keys(folder: Path) -> None:
    run = folder / "run"
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["optimizer"]["num_steps"] == 6
    assert config["model"]["canvas_size"] == [12, 14]
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    training = [line for line in lines if "split" not in line]
    evaluations = [line for line in lines if "split" in line]
    assert [line["step"] for line in training] == [2, 4, 6]
    assert all({"seconds", "images_per_second", "elbo"} <= line.keys() for line in training)
    assert [line["step"] for line in evaluations] == [3, 6]
    assert all({"count_accuracy", "confusion", "elbo"} <= line.keys() for line in evaluations)
    assert list(run.glob("checkpoint/*.safetensors"))
    assert list(run.glob("tensorboard/events*"))
    for name in ("reconstructions", "samples", "elbo", "count_accuracy", "confusion"):
        with Image.open(run / "figures" / f"{name}.png") as figure:
            assert min(figure.size) > 100


def test_evaluate_prints_json_whose_confusion_gives_its_accuracy(folder: Path, capsys) -> None:
    assert main(["evaluate", f"{folder}/run", "--split", "train", "--json"]) == 0
    result = json.loads(only_line(capsys.readouterr().out))
    confusion = np.array(result["confusion"])
    assert confusion.sum() == result["num_images"] == 60
    assert result["count_accuracy"] == np.trace(confusion) / 60
    parts = result["parts"]
    kl = parts["kl_pres"] + parts["kl_where"] + parts["kl_what"]
    assert result["elbo"] == pytest.approx(parts["log_likelihood"] - kl)


def test_evaluate_prints_a_table_for_people(folder: Path, capsys) -> None:
    data = f"{folder / 'data.npz'}"
    assert main(["evaluate", f"{folder}/run", "--data", data, "--split", "train"]) == 0
    assert "count accuracy" in capsys.readouterr().out


def test_infer_prints_a_json_line_per_image_and_writes_annotated_pngs(
    folder: Path, tmp_path: Path, capsys
) -> None:
    image = f"{folder / 'image.png'}"
    assert main(["infer", f"{folder}/run", image, image, "--out", f"{tmp_path}/found"]) == 0
    printed = capsys.readouterr().out
    records = [json.loads(line) for line in printed.splitlines()]
    assert len(records) == 2
    assert records[0] == records[1]
    assert records[0]["file"] == image
    assert len(records[0]["objects"]) == records[0]["count"]
    assert sum(records[0]["count_probs"]) == pytest.approx(1, abs=1e-5)
    assert (tmp_path / "found" / "scenes.jsonl").read_text() == printed
    for name in ("image.png", "image-2.png"):
        with Image.open(tmp_path / "found" / name) as annotated:
            assert min(annotated.size) > 100


def test_sample_writes_a_png_that_the_seed_decides(folder: Path, tmp_path: Path) -> None:
    for name, seed in (("a", "1"), ("b", "1")):
        arguments = ["-n", "4", "--seed", seed, "--out", f"{tmp_path}/{name}.png"]
        assert main(["sample", f"{folder}/run", *arguments]) == 0
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_plot_draws_the_figures_again(folder: Path, capsys) -> None:
    figure = folder / "run" / "figures" / "elbo.png"
    figure.unlink()
    assert main(["plot", f"{folder}/run"]) == 0
    assert figure.is_file()
    assert "reconstructions.png" in capsys.readouterr().out.splitlines()[0]


def test_report_writes_one_html_file(folder: Path, tmp_path: Path, capsys) -> None:
    out = tmp_path / "new" / "page.html"
    assert main(["report", f"{folder}/run", "--out", f"{out}", "--samples", "2"]) == 0
    assert only_line(capsys.readouterr().out) == f"Open {out}\n"
    assert re.search("data, validation split, [0-9]+ images?", out.read_text())


@pytest.mark.usefixtures("no_figures")
def test_resume_takes_the_runs_settings_and_more_steps(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    assert main(["train", "--resume", f"{run}", "-n", "9", "--quiet"]) == 0
    steps = [
        record["step"]
        for record in map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
        if "split" not in record
    ]
    assert steps == [2, 4, 6, 8, 9]


@pytest.mark.usefixtures("no_figures")
def test_the_published_tutorial_command_runs_as_it_stands_after_the_preset(
    folder: Path, tmp_path: Path
) -> None:
    published = (
        "-n 200000 -blr 0.1 --z-pres-prior 0.01 --scale-prior-sd 0.2 --predict-net 200 "
        "--bl-predict-net 200 --decoder-output-use-sigmoid --decoder-output-bias -2 --seed 287710"
    ).split()
    shortened = ["-n", "2", "-b", "4", "--data", f"{folder / 'data.npz'}", "--quiet"]
    arguments = [
        "train",
        "--preset",
        "tutorial",
        *published,
        *shortened,
        "--out",
        f"{tmp_path}/run",
    ]
    assert main(arguments) == 0
    record = json.loads((tmp_path / "run" / "config.json").read_text())
    config = flat(from_dict(TrainConfig, record["config"]))
    assert config["objective"] == "tracegraph"
    assert config["learning_rate"] == 1e-4
    assert config["baseline_learning_rate"] == 0.1
    assert config["bl_predict_net"] == config["predict_net"] == (200,)
    assert config["z_pres_prior"] == 0.01
    assert config["scale_prior_sd"] == 0.2
    assert config["decoder_output_bias"] == -2
    assert config["decoder_output_use_sigmoid"] is True
    assert config["seed"] == 287710


@pytest.mark.usefixtures("no_figures")
def test_every_flag_of_the_tutorial_is_known(folder: Path, tmp_path: Path) -> None:
    flags = (
        "-n 1 -b 4 -lr 1e-4 -blr 1e-3 --progress-every 1 --eval-every 0 --baseline-scalar 1.5 "
        "--encoder-net 9 8 --decoder-net 8 9 --predict-net 7 --embed-net 6 --bl-predict-net 5 "
        "--non-linearity ReLU --save-every 100 -t 2 --rnn-hidden-size 6 --encoder-latent-size 4 "
        "--decoder-output-bias -2 --decoder-output-use-sigmoid --window-size 5 "
        "--z-pres-prior 0.9 --z-pres-prior-raw --anneal-prior exp --anneal-prior-to 1e-7 "
        "--anneal-prior-begin 0 --anneal-prior-duration 100 --pos-prior-mean 0 --pos-prior-sd 1 "
        "--scale-prior-mean 3 --scale-prior-sd 0.1 --no-masking --seed 1 --quiet"
    ).split()
    data = ["--data", f"{folder / 'data.npz'}", "--out", f"{tmp_path}/run"]
    assert main(["train", "--preset", "tutorial", *flags, *data]) == 0
    again = ["--no-baselines", *data[:2], "--out", f"{tmp_path}/run2"]
    flags = [flag for flag in flags if flag not in ("--baseline-scalar", "1.5")]
    assert main(["train", "--preset", "tutorial", *flags, *again]) == 0


def test_the_presets_defaults_show_in_help(capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main(["train", "--preset", "tutorial", "--help"])
    assert end.value.code == 0
    assert f"(default: {TUTORIAL.optimizer.num_steps})" in capsys.readouterr().out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_examples(command: str, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        main([command, "--help"])
    assert end.value.code == 0
    assert f"air {command}" in capsys.readouterr().out.split("Examples:")[1]


MISTAKES = {
    "no command": ("", "train"),
    "unknown command": ("trian", "'train'"),
    "unknown option": ("train --bogus 3", "--bogus"),
    "wrong type": ("train -t x", "'x'"),
    "unknown preset": ("train --preset fats", "'fast'"),
    "unknown data set": ("train --data digit", "'digits'"),
    "option of another data set": ("train --data multi-mnist --channels 3", "channels"),
    "contradiction": ("train --baseline-scalar 2 --no-baselines", "baseline_scalar"),
    "exact without masks": ("train --no-masking", "no-masking"),
    "out of range": ("train --z-pres-prior 2", "z_pres_prior"),
    "no steps": ("train -n 0", "num_steps"),
    "no such device": ("train --device cuda:77", "cuda:77"),
    "resume from nothing": ("train --resume nowhere", "nowhere"),
    "missing checkpoint": ("evaluate nowhere", "nowhere"),
    "missing model argument": ("evaluate", "evaluate"),
    "unknown split": ("evaluate {run} --split tset", "'test'"),
    "no test split": ("evaluate {run}", "test"),
    "option of generated scenes": ("evaluate {run} --split train --max-count 3", "max_count"),
    "negative samples": ("evaluate {run} --split train --importance-samples -1", "importance"),
    "codes of unlabeled scenes": ("codes {run} --split validation", "boxes"),
    "codes of the fitted split": ("codes {run} --split train", "validation or test"),
    "no images for the codes": ("codes {run} --split validation --num-images 0", "num_images"),
    "missing picture": ("infer {run} nowhere.png", "nowhere.png"),
    "no picture": ("infer {run}", "IMAGE is missing"),
    "not a picture": ("infer {run} {folder}/run/config.json", "config.json"),
    "no pictures": ("infer {run} {folder}/run", "no images"),
    "no match": ("infer {run} {folder}/*.bmp", "no file matches"),
    "codes without a folder": ("infer {run} {folder}/image.png --codes", "--out"),
    "batches of none": ("infer {run} {folder}/image.png --batch-size 0", "batch_size"),
    "run in the way": ("train --data {folder}/data.npz --out {run}", "--resume"),
    "file in the way": ("train --data {folder}/data.npz --out {folder}/data.npz", "data.npz"),
    "finished run": ("train --resume {run}", "-n"),
    "other settings on resume": ("train --resume {run} --seed 5", "seed: 0 -> 5"),
    "resume elsewhere": ("train --resume {run} --out {folder}/other -n 9", "--out"),
    "nothing to sample": ("sample {run} -n 0", "num_scenes"),
    "plot of shipped weights": ("plot multi-mnist", "without its run"),
    "plot of a checkpoint": ("plot {run}/checkpoint", "without its run"),
    "report of shipped weights": ("report multi-mnist", "without its run"),
    "report of a checkpoint": ("report {run}/checkpoint", "without its run"),
    "report of no run": ("report nowhere", "nowhere"),
    "report to no page": ("report {run} --out a.txt", ".html"),
    "report of no such data": ("report {run} --data digit", "'digits'"),
    "negative samples of a report": ("report {run} --samples -1", "samples"),
    "sample to no png": ("sample {run} --out a.txt", ".png"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2_and_changes_no_file(
    mistake: str, folder: Path, capsys, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    before = contents(folder)
    command, hint = MISTAKES[mistake]
    assert main(command.format(run=folder / "run", folder=folder).split()) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert hint in only_line(captured.err)
    assert contents(folder) == before


@pytest.mark.usefixtures("no_figures")
def test_a_folder_with_damaged_pictures_trains_on_the_others_and_tells_of_them(
    folder: Path, tmp_path: Path, capsys
) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for i, image in enumerate(np.load(folder / "data.npz")["images"][:30]):
        Image.fromarray(image).save(pictures / f"{i:02d}.png")
    (pictures / "bad.png").write_bytes(b"")
    (pictures / "counts.csv").write_text("file,count\n00.png,1\nnowhere.png,2\n")
    command = ["train", *SMALL[:-1], "--data", str(pictures), "--out"]
    assert main([*command, str(tmp_path / "run")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert sum("bad.png" in line for line in lines) == 1
    assert sum("nowhere.png" in line for line in lines) == 1
    (loaded,) = (line for line in lines if "on a canvas of" in line)
    assert "30 images of 14 x 12" in loaded
    assert "1 of 31 skipped" in loaded
    assert main([*command, str(tmp_path / "strict"), "--strict"]) == 2
    assert "bad.png" in only_line(capsys.readouterr().err)
    assert not (tmp_path / "strict").exists()


def test_infer_refuses_to_overwrite_its_results(folder: Path, tmp_path: Path, capsys) -> None:
    arguments = ["infer", f"{folder}/run", f"{folder / 'image.png'}", "--out", f"{tmp_path}/found"]
    assert main(arguments) == 0
    before = contents(tmp_path)
    assert main(arguments) == 2
    assert "already exists" in only_line(capsys.readouterr().err)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("part", ["state.json", "model", "training"])
def test_a_damaged_checkpoint_is_named(part: str, folder: Path, tmp_path: Path, capsys) -> None:
    run = tmp_path / "run"
    shutil.copytree(folder / "run", run)
    (damaged,) = (run / "checkpoint").glob(f"{part}*")
    damaged.write_bytes(damaged.read_bytes()[:-20])
    assert main(["train", "--resume", f"{run}", "-n", "9", "--quiet"]) == 2
    assert damaged.name in only_line(capsys.readouterr().err)


WITHOUT_TORCH = ["--help", "--version", "train --help", "infer --help", "train --preset fats", "x"]


@pytest.mark.parametrize("arguments", WITHOUT_TORCH)
def test_help_and_usage_errors_do_not_import_torch(arguments: str) -> None:
    program = (
        "import sys; from attend_infer_repeat.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules"
    )
    command = [sys.executable, "-c", program, *arguments.split()]
    subprocess.run(command, check=True, capture_output=True)


@pytest.mark.usefixtures("no_figures")
def test_ctrl_c_exits_130_and_leaves_a_run_that_goes_on(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    small = [*SMALL[2:], "-n", "1000000", "--data", f"{folder / 'data.npz'}", "--out", f"{run}"]
    program = [sys.executable, "-m", "attend_infer_repeat.cli", "train", *small]
    with subprocess.Popen(program) as process:
        metrics = run / "metrics.jsonl"
        while not (metrics.exists() and metrics.read_text().count("\n") > 3):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 130
    step = json.loads((run / "checkpoint" / "state.json").read_text())["step"]
    assert step > 0
    again = ["train", "--resume", f"{run}", "-n", f"{step + 2}", "--quiet"]
    assert main(again) == 0
    assert json.loads((run / "checkpoint" / "state.json").read_text())["step"] == step + 2


def test_config_json_holds_every_setting(folder: Path) -> None:
    config = json.loads((folder / "run" / "config.json").read_text())["config"]
    assert config.keys() == to_dict(TUTORIAL).keys()
    assert config["model"].keys() == to_dict(TUTORIAL.model).keys()
