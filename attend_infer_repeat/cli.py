"""The command ``air``. Torch is imported only once a command needs it, so help is instant."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Union

import tyro
from tyro import MISSING_NONPROP as MISSING
from tyro.conf import OmitArgPrefixes, Positional, Suppress, arg, subcommand

from . import __version__
from .config import TrainConfig, differences, get_preset
from .errors import AirError, ConfigError, nearest
from .seeds import check_seed

if TYPE_CHECKING:
    from .air import AIR
    from .data import Dataset


@dataclass(frozen=True)
class Train:
    """Train a model on images, without labels.

    Writes a run's folder: config.json, metrics.jsonl, checkpoint/, figures/, TensorBoard events.
    Ctrl-C saves a checkpoint first. The defaults below are those of the preset.

    Examples:
      air train                                             digits, in under a minute
      air train --data multi-mnist --out runs/mnist         the tutorial's data
      air train --data sprites --canvas 64 -t 5             other sizes
      air train --preset tutorial -n 20000 -blr 0.1         the tutorial's estimator
      air train --data pictures/                            your own: settings chosen by a look
      air train --data scans/ --invert --canvas 64 -t 6     and what you know better
      air train --resume runs/mnist                         go on after an interruption
      torchrun --nproc-per-node 2 --no-python air train     two processes, one model
    """

    training: OmitArgPrefixes[TrainConfig]
    out: Path | None = None
    """Folder of the new run; runs/<data>-<preset>-<seed> if not given."""
    resume: Path | None = None
    """Go on with the run in this folder, with its settings."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""
    compile: bool = False
    """Compile the exact objective: CUDA graphs on a GPU; a C++ compiler is needed on a CPU."""
    quiet: bool = False
    """Show no progress."""
    given: Suppress[tuple[str, ...]] = ()
    """Settings that the user gave, which the preset auto keeps."""

    def run(self) -> None:
        """Run the command."""
        from .progress import show_log
        from .training import train

        show_log(self.quiet)
        training = self.training
        if training.preset == "auto" and self.resume is None:
            from .auto import choose

            training = choose(training, self.given)
        train(
            training,
            self.out,
            resume=self.resume,
            device=self.device,
            compiled=self.compile,
            quiet=self.quiet,
        )


@dataclass(frozen=True)
class Evaluate:
    """Measure count accuracy and ELBO of a model on held-out scenes.

    Examples:
      air evaluate runs/mnist
      air evaluate runs/mnist --split validation --json
      air evaluate runs/mnist --data digits
      air evaluate runs/mnist --counts 3                  scenes of three objects
      air evaluate runs/mnist --importance-samples 100
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    data: str | None = None
    """Data set or path; the one that the model was trained on if not given."""
    split: str = "test"
    """Part of the data set: train, validation or test."""
    max_count: Annotated[int | None, arg(aliases=("--max-digits",))] = None
    """Most objects in a generated scene, to test on more than was trained on."""
    counts: tuple[int, ...] | None = None
    """Numbers of objects in generated scenes, in place of 0 to the most."""
    importance_samples: int = 0
    """Samples per image for the importance-weighted bound and counts; 0 leaves them out."""
    json: bool = False
    """Print one JSON object instead of a table."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from .evaluation import evaluate

        _require_at_least(0, importance_samples=self.importance_samples)
        air = load_model(self.model, self.device)
        asked = {"max_count": self.max_count, "counts": self.counts}
        given = {name: value for name, value in asked.items() if value is not None}
        data = _load_data(self.model, air, self.data, self.split, **given)
        evaluation = evaluate(air, data, importance_samples=self.importance_samples)
        print(json.dumps(evaluation.to_dict()) if self.json else evaluation.table())


@dataclass(frozen=True)
class Codes:
    """Measure what the codes z_what tell of the objects' classes, which no training has seen.

    A linear probe reads the class from the codes of found objects, and k-means groups them; both
    also from the same windows' pixels. The data must have boxes and labels. Probes are fitted on
    the training part, without the scenes that are held out for validation.

    Examples:
      air codes runs/mnist
      air codes runs/mnist --split validation --json
      air codes runs/mnist --data digits --num-images 2000
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    data: str | None = None
    """Data set or path; the one that the model was trained on if not given."""
    split: str = "test"
    """Part of the data set to test the probes on, and to cluster: validation or test."""
    num_images: int = 10_000
    """Training images to fit the probes on, or all if there are fewer."""
    json: bool = False
    """Print one JSON object instead of a table."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from .codes import evaluate_codes
        from .data import hold_out

        if self.split == "train":
            raise ConfigError("split: the probes are fitted on train; take validation or test.")
        _require_at_least(1, num_images=self.num_images)
        air = load_model(self.model, self.device)
        test = _load_data(self.model, air, self.data, self.split)
        data = hold_out(_load_data(self.model, air, self.data, "train"))[0][: self.num_images]
        evaluation = evaluate_codes(air, data, test=test)
        print(json.dumps(evaluation.to_dict()) if self.json else evaluation.table())


@dataclass(frozen=True)
class Infer:
    """Count, locate and describe the objects in pictures.

    Pictures are files (PNG, JPEG, TIFF, BMP, GIF), folders, patterns ('scans/**/*.png', in quotes),
    .npy and .npz arrays, or - for standard input: a picture, or names of pictures, one a line. Of
    any size; they are brought to the model's canvas as those were that it was trained on.

    An animated GIF is read frame by frame, and with --track the pictures of a folder are the frames
    of a video, too: its objects then have an identity, which they keep from frame to frame.

    Prints one JSON object a line: file, width, height, count, count_probs = q(n | x), and objects
    with score = q(z_pres), box (x0, y0, x1, y1 in the picture's pixels), z_where and z_what; or
    CSV, a row an object; or COCO. A picture that cannot be read has a line with its error.

    With --out, the folder gets scenes.jsonl, scenes.csv or coco.json (and coco_results.json, for
    pycocotools' loadRes), and each picture with its boxes as a PNG. What was interrupted goes on
    with --resume.

    Examples:
      air infer runs/mnist picture.png
      air infer multi-mnist scans/ --out found            shipped weights, a folder
      air infer runs/mnist 'a/**/*.jpg' --format csv > found.csv
      air infer runs/mnist big/ --out found --no-annotate --resume
      find . -name '*.png' -print0 | air infer runs/mnist - --samples 50
      air infer runs/mnist frames/ --track --out tracked  a video, as numbered pictures
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE [IMAGE ...]")]]
    """Picture files, folders, patterns, arrays, or - for standard input."""
    out: Path | None = None
    """Folder for the results, new or empty."""
    format: Literal["json", "csv", "coco"] = "json"
    """Form of the results."""
    annotate: bool = True
    """Write each picture with its boxes to --out."""
    reconstructions: bool = False
    """Write each scene drawn again to --out, in reconstructions/."""
    codes: bool = False
    """Write the z_what of all objects, in the order of the lines, to --out as z_what.npy."""
    samples: int = 0
    """Importance samples per picture: a better posterior over the count, and its effective sample
    size; 0 leaves them out."""
    seed: int = 0
    """Seed of the samples."""
    track: bool = False
    """Take the pictures of each argument for the frames of a video, in the order of the numbers in
    their names; animated GIFs always are."""
    invert: Literal["auto", "yes", "no"] | None = None
    """Dark objects on a bright background: look, yes or no; the model's own way if not given."""
    batch_size: Annotated[int, arg(aliases=("-b",))] = 64
    """Pictures read and written at a time; it changes no result."""
    resume: bool = False
    """Go on with the results in --out."""
    strict: bool = False
    """Stop at a picture that cannot be read."""
    quiet: bool = False
    """Show no progress."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from .inference import run_inference
        from .progress import show_log

        show_log(self.quiet)
        if not self.images:
            raise ConfigError("images: none given; name at least one picture, folder or pattern.")
        _require_at_least(0, samples=self.samples)
        check_seed(self.seed)
        _require_at_least(1, batch_size=self.batch_size)
        if self.out is None and (self.resume or self.reconstructions or self.codes):
            raise ConfigError("resume, reconstructions, codes: need a folder; add --out.")
        run_inference(load_model(self.model, self.device), self)


@dataclass(frozen=True)
class Sample:
    """Draw scenes from a model's prior: what it has learned that images look like.

    The numbers of objects are 1 to T in equal shares, since a prior that makes objects costly
    draws hardly any; --from-prior draws them from p(n).

    Examples:
      air sample runs/mnist
      air sample runs/mnist -n 64 --out prior.png --seed 1
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]]
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    num_scenes: Annotated[int, arg(aliases=("-n",))] = 16
    """Number of scenes."""
    out: Path = Path("samples.png")
    """PNG file to write."""
    seed: int = 0
    """Seed of the draws."""
    from_prior: bool = False
    """Draw the number of objects from the count prior, too."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from .plots import samples_figure, save_figure

        _require_at_least(1, num_scenes=self.num_scenes)
        if self.out.suffix.lower() != ".png":
            raise ConfigError(f"out: expected a file that ends in .png, got {self.out}.")
        air = load_model(self.model, self.device)
        figure = samples_figure(air, self.num_scenes, self.seed, self.from_prior)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        save_figure(figure, self.out)
        print(f"Open {self.out}")


@dataclass(frozen=True)
class Plot:
    """Draw a run's figures again: reconstructions, samples, curves, confusion matrix.

    Examples:
      air plot runs/mnist
    """

    folder: Positional[Path]
    """A run's folder."""

    def run(self) -> None:
        """Run the command."""
        from .plots import plot_run

        for path in plot_run(self.folder):
            print(path)


@dataclass(frozen=True)
class Report:
    """Write a run's report: one HTML file with figures, errors, reliability, codes, settings.

    It needs no network to be read. Where the run's images are gone, it is written without them.

    Examples:
      air report runs/mnist
      air report runs/mnist --out mnist.html --samples 0      without importance weighting
      air report runs/mnist --data scans/ --split train       what it makes of other images
    """

    folder: Positional[Path]
    """A run's folder."""
    out: Path | None = None
    """HTML file to write; report.html in the run's folder if not given."""
    samples: int = 20
    """Samples per image for the importance-weighted count probabilities; 0 leaves them out."""
    data: str | None = None
    """Data set or path; the one that the model was trained on if not given."""
    split: str | None = None
    """Part of the data set; test if not given, or validation where there is no test."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from rich.console import Console

        from .devices import tune_process
        from .report import write_report

        tune_process()
        with Console(stderr=True).status("looking at the images ..."):
            path = write_report(
                self.folder,
                self.out,
                num_samples=self.samples,
                data=self.data,
                split=self.split,
                device=self.device,
            )
        print(f"Open {path}")


@dataclass(frozen=True)
class Serve:
    """Open a page on which to draw, and to watch, edit and sample scenes; it works offline.

    Draw or drop a picture: the model answers as you draw, and shows how it came to its answer. The
    page's JSON interface is described at /api/docs. Ctrl-C ends it.

    Examples:
      air serve                              multi-mnist, at http://127.0.0.1:8000
      air serve runs/mine --open             your own model, in your browser at once
      air serve digits --port 0              any port that is free
      air serve --host 0.0.0.0               for everyone who reaches this machine
    """

    model: Positional[Annotated[str, arg(metavar="[MODEL]")]] = "multi-mnist"
    """A run's folder, a checkpoint's, or the name of shipped weights."""
    host: str = "127.0.0.1"
    """Address to listen on; others than the default let other machines in."""
    port: int = 8000
    """Port to listen on; 0 takes any that is free."""
    open: bool = False
    """Open the page in the browser."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from .web.serve import serve

        serve(self)


@dataclass(frozen=True)
class Benchmark:
    """Measure how fast this machine trains and infers; the scripts come with a checkout.

    throughput sets training and inference beside one step of Pyro's tutorial, latency times the
    first answer and those after it, scaling varies batch, canvas and steps, objects the number of
    objects in an image, breakdown shows where the time goes, streaming infers 100,000 files, serve
    asks the page's server from 50 clients at once. What follows the name goes to the script:
    air benchmark throughput --help.

    Examples:
      air benchmark throughput
      air benchmark throughput --table      the last result, as a table
      air benchmark scaling --threads 1
    """

    name: Positional[str]
    """throughput, latency, scaling, objects, breakdown, streaming or serve."""
    options: Positional[tuple[str, ...]] = ()
    """Options of the benchmark."""

    def run(self) -> None:
        """Run the command."""
        if self.name not in BENCHMARKS:
            raise ConfigError(
                f"unknown benchmark '{self.name}', known are {', '.join(BENCHMARKS)}."
                f"{nearest(self.name, BENCHMARKS)}"
            )
        script = Path(__file__).parents[1] / "benchmarks" / f"{self.name}.py"
        if not script.is_file():
            raise ConfigError(
                f"{script}: not there; benchmarks are run from a checkout of the code."
            )
        code = subprocess.run([sys.executable, str(script), *self.options]).returncode
        if code:
            raise SystemExit(code)


BENCHMARKS = (*("throughput", "latency", "scaling", "objects", "breakdown", "streaming", "serve"),)
COMMANDS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "codes": Codes,
    "infer": Infer,
    "sample": Sample,
    "plot": Plot,
    "report": Report,
    "serve": Serve,
    "benchmark": Benchmark,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 after a user's mistake, or 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        command = _parse(arguments)
        _prepare_messages()
        command.run()
    except AirError as error:
        print(f"air: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def _prepare_messages() -> None:
    """Show what the package warns of as plain lines; Pillow's own warnings tell users nothing."""
    from .progress import show_log

    show_log(quiet=True)
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("error", message="Image size .* exceeds limit")  # a bomb: refused


def _parse(arguments: list[str]) -> Any:
    """Turn arguments into a command; usage errors become a ConfigError of one line."""
    name = arguments[0] if arguments else ""
    if name == "--version":
        print(f"air {__version__}")
        raise SystemExit(0)
    if name == "benchmark" and arguments[1:] and not arguments[1].startswith("-"):
        return Benchmark(arguments[1], tuple(arguments[2:]))
    messages = io.StringIO()
    try:
        with contextlib.redirect_stderr(messages):
            if name not in COMMANDS:
                return _parse_without_command(arguments)
            rest = _with_values(arguments[1:])
            return _parse_train(rest) if name == "train" else _parse_command(name, rest)
    except SystemExit as end:
        if not end.code:
            raise
        command = f"air {name}" if name in COMMANDS else "air"
        raise ConfigError(f"{_gist(messages.getvalue())}; see {command} --help.") from end


def _parse_command(name: str, arguments: list[str], default: Any = MISSING) -> Any:
    return tyro.cli(
        COMMANDS[name],
        prog=f"air {name}",
        description=inspect.getdoc(COMMANDS[name]),
        default=default,
        args=arguments,
    )


def _parse_train(arguments: list[str]) -> Train:
    """Parse ``air train``; note what the user gave, where the rest is to be chosen."""
    base = _base_config(arguments)
    command: Train = _parse_command("train", arguments, Train(base))
    if command.training.preset != "auto" or command.resume is not None:
        return command
    # What does not follow the default was given.
    other: Train = _parse_command("train", arguments, Train(_with_other_defaults(base)))
    same = set(CHOOSABLE) - {
        change.split(":")[0] for change in differences(command.training, other.training)
    }
    return replace(command, given=tuple(sorted(same)))


# What the preset auto chooses, and other values than its defaults.
CHOOSABLE: dict[str, Any] = {
    "canvas": 1,
    "anneal_prior_from": 0.5,
    "model.resize": "crop",
    "model.zoom": 0.5,
    "model.model_steps": 1,
    "model.scale_prior_mean": 1.0,
    "model.scale_prior_sd": 1.0,
    "model.window_size": 1,
    "model.likelihood_sd": 1.0,
    "model.z_pres_prior": 0.5,
}


def _with_other_defaults(config: TrainConfig) -> TrainConfig:
    model = {k.removeprefix("model."): v for k, v in CHOOSABLE.items() if k.startswith("model.")}
    top = {k: v for k, v in CHOOSABLE.items() if not k.startswith("model.")}
    return replace(config, **top, model=replace(config.model, **model))


def _with_values(arguments: list[str]) -> list[str]:
    """Complete ``--invert`` to ``--invert yes``, and ``--no-invert`` to ``--invert no``."""
    complete = []
    for argument, after in pairwise([*arguments, "-"]):
        complete += ["--invert", "no"] if argument == "--no-invert" else [argument]
        if argument == "--invert" and after.startswith("-"):
            complete.append("yes")
    return complete


def _parse_without_command(arguments: list[str]) -> Any:
    """Print the list of commands, or fail for want of one."""
    if arguments and not arguments[0].startswith("-"):
        raise ConfigError(
            f"unknown command '{arguments[0]}', known are {', '.join(COMMANDS)}."
            f"{nearest(arguments[0], COMMANDS)}"
        )
    commands: Any = Union[  # noqa: UP007
        tuple(
            Annotated[kind, subcommand(name, description=(kind.__doc__ or "").split("\n")[0])]
            for name, kind in COMMANDS.items()
        )
    ]
    return tyro.cli(
        commands,
        prog="air",
        description="Attend, Infer, Repeat: count, locate and describe the objects in images, "
        "without labels.\n\nTry: air train, then air infer. Each command has its own --help.",
        args=arguments,
    )


def _base_config(arguments: Sequence[str]) -> TrainConfig:
    """Return the settings that `air train`'s options change: a preset's or a resumed run's."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--preset")
    parser.add_argument("--data", default=TrainConfig.data)
    parser.add_argument("--resume")
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            given, _ = parser.parse_known_args(arguments)
        except SystemExit:  # an option without its value: the full parser says so
            return get_preset("fast")
    if given.resume is not None:
        from .runs import resumable

        return resumable(Path(given.resume))[0]
    if given.preset is None:
        from .data import is_path

        return get_preset("auto" if is_path(given.data) else "fast")
    return get_preset(given.preset)


def _gist(message: str) -> str:
    """Return the gist of tyro's boxed message: the text above its first rule."""
    text: list[str] = []
    for line in message.splitlines():
        content = line.strip("│ ")
        if text and content.startswith(("─", "╰")):
            break
        if not content.startswith("╭"):
            text.append(content)
    return " ".join(" ".join(text).split()).rstrip(".") or message.strip()


def _require_at_least(least: int, **options: int) -> None:
    for name, value in options.items():
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}.")


def load_model(path: str | Path, device: str) -> AIR:
    """Load a model onto a device, in a process that is set up to compute quickly."""
    from .air import AIR
    from .devices import find_device, tune_process

    tune_process()
    return AIR.load(path).to(find_device(device))


def _load_data(path: str, air: AIR, name: str | None, split: str, **options: Any) -> Dataset:
    """Load a split of the named data or, without a name, of those that a run was trained on.

    Pictures are brought to the model's canvas.
    """
    from .checkpoints import read_checkpoint
    from .data import is_path, load_dataset
    from .training import load_training_data, path_options

    if name is not None:
        own = path_options(air.config) if is_path(name) else {}
        return load_dataset(name, split, **(own | options))
    config = read_checkpoint(path).train_config
    if config is None:
        raise ConfigError(f"{path}: not a run, so name the data with --data.")
    return load_training_data(config, split, **options)


if __name__ == "__main__":
    sys.exit(main())
