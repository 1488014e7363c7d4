"""The command ``air``. Torch is imported only once a command needs it, so help is instant."""

from __future__ import annotations

import argparse
import contextlib
import inspect
import io
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Union

import tyro
from tyro import MISSING_NONPROP as MISSING
from tyro.conf import OmitArgPrefixes, Positional, arg, subcommand

from . import __version__
from .config import TrainConfig, get_preset
from .errors import AirError, ConfigError, nearest

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

    def run(self) -> None:
        """Run the command."""
        from .training import train

        train(
            self.training,
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
      air evaluate runs/mnist --max-count 3
      air evaluate runs/mnist --importance-samples 100
    """

    model: Positional[Path]
    """A run's folder or a checkpoint's."""
    data: str | None = None
    """Data set or path; the one that the model was trained on if not given."""
    split: str = "test"
    """Part of the data set: train, validation or test."""
    max_count: int | None = None
    """Most objects in a generated scene, to test on more than was trained on."""
    importance_samples: int = 0
    """Samples per image for the importance-weighted bound and counts; 0 leaves them out."""
    json: bool = False
    """Print one JSON object instead of a table."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        from .evaluation import evaluate

        air = _load(self.model, self.device)
        given = {} if self.max_count is None else {"max_count": self.max_count}
        data = _load_data(self.model, self.data, self.split, **given)
        evaluation = evaluate(air, data, importance_samples=self.importance_samples)
        print(json.dumps(evaluation.to_dict()) if self.json else evaluation.table())


@dataclass(frozen=True)
class Codes:
    """Measure what the codes z_what tell of the objects' classes, which no training has seen.

    A linear probe reads the class from the codes of found objects, and k-means groups them; both
    also from the same windows' pixels. The data must have boxes and labels. Probes are fitted on
    the training part, without its last scenes, those of the validation part.

    Examples:
      air codes runs/mnist
      air codes runs/mnist --split validation --json
      air codes runs/mnist --data digits --num-images 2000
    """

    model: Positional[Path]
    """A run's folder or a checkpoint's."""
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
        if self.num_images < 1:
            raise ConfigError(f"num_images: expected at least 1, got {self.num_images}.")
        air = _load(self.model, self.device)
        test = _load_data(self.model, self.data, self.split)
        data = hold_out(_load_data(self.model, self.data, "train"))[0][: self.num_images]
        evaluation = evaluate_codes(air, data, test=test)
        print(json.dumps(evaluation.to_dict()) if self.json else evaluation.table())


@dataclass(frozen=True)
class Infer:
    """Count, locate and describe the objects in image files.

    Prints one JSON object a line: file, count, count_probs, and objects with box (pixels x0, y0,
    x1, y1), score, z_where and z_what. With --out it also writes the lines to scenes.jsonl and
    each image, with the boxes drawn on it, as a PNG. Images must have the model's canvas size.

    Examples:
      air infer runs/mnist picture.png
      air infer runs/mnist scans/*.png --out found
    """

    model: Positional[Path]
    """A run's folder or a checkpoint's."""
    images: Positional[Annotated[tuple[Path, ...], arg(metavar="IMAGE [IMAGE ...]")]]
    """Image files (PNG, JPEG, ...)."""
    out: Path | None = None
    """Folder for scenes.jsonl and annotated PNGs."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        import numpy as np

        from .pictures import read_picture, scene_record

        if not self.images:
            raise ConfigError("images: none given; name at least one image file.")
        air = _load(self.model, self.device)
        pictures = np.stack([read_picture(path, air.config) for path in self.images])
        scenes = air.infer(pictures)
        lines = [
            json.dumps(scene_record(str(path), scenes, i)) for i, path in enumerate(self.images)
        ]
        if self.out is not None:
            from .plots import annotated_figure  # matplotlib: not needed without --out

            names = _unique_names(self.images)
            _claim(self.out, ["scenes.jsonl", *names])
            (self.out / "scenes.jsonl").write_text("\n".join(lines) + "\n")
            for i, name in enumerate(names):
                annotated_figure(pictures[i], scenes, i).savefig(self.out / name, dpi=120)
        print("\n".join(lines))


@dataclass(frozen=True)
class Sample:
    """Draw scenes from a model's prior: what it has learned that images look like.

    The numbers of objects are 1 to T in equal shares, since a prior that makes objects costly
    draws hardly any; --from-prior draws them from p(n).

    Examples:
      air sample runs/mnist
      air sample runs/mnist -n 64 --out prior.png --seed 1
    """

    model: Positional[Path]
    """A run's folder or a checkpoint's."""
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
        from .plots import samples_figure

        if self.num_scenes < 1:
            raise ConfigError(f"num_scenes: expected at least 1, got {self.num_scenes}.")
        if self.out.suffix.lower() != ".png":
            raise ConfigError(f"out: expected a file that ends in .png, got {self.out}.")
        air = _load(self.model, self.device)
        figure = samples_figure(air, self.num_scenes, self.seed, self.from_prior)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.out, dpi=120)
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
class Benchmark:
    """Measure how fast this machine trains and infers; the scripts come with a checkout.

    throughput sets training and inference beside one step of Pyro's tutorial, latency times the
    first answer and those after it, scaling varies batch, canvas and steps, breakdown shows where
    the time goes. What follows the name goes to the script: air benchmark throughput --help.

    Examples:
      air benchmark throughput
      air benchmark throughput --table      the last result, as a table
      air benchmark scaling --threads 1
    """

    name: Positional[str]
    """throughput, latency, scaling or breakdown."""
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


BENCHMARKS = ("throughput", "latency", "scaling", "breakdown")
COMMANDS: dict[str, type] = {
    "train": Train,
    "evaluate": Evaluate,
    "codes": Codes,
    "infer": Infer,
    "sample": Sample,
    "plot": Plot,
    "benchmark": Benchmark,
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return 0, 2 after a user's mistake, or 130 after Ctrl-C."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _parse(arguments).run()
    except AirError as error:
        print(f"air: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


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
            return tyro.cli(
                COMMANDS[name],
                prog=f"air {name}",
                description=inspect.getdoc(COMMANDS[name]),
                default=Train(_base_config(arguments[1:])) if name == "train" else MISSING,
                args=arguments[1:],
            )
    except SystemExit as end:
        if not end.code:
            raise
        command = f"air {name}" if name in COMMANDS else "air"
        raise ConfigError(f"{_gist(messages.getvalue())}; see {command} --help.") from end


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
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--resume")
    with contextlib.redirect_stderr(io.StringIO()):
        try:
            given, _ = parser.parse_known_args(arguments)
        except SystemExit:  # an option without its value: the full parser says so
            return get_preset("fast")
    if given.resume is not None:
        from .checkpoints import read_checkpoint

        config = read_checkpoint(given.resume).train_config
        if config is None:
            raise ConfigError(f"resume: {given.resume} is a model without a run.")
        return config
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


def _load(path: Path, device: str) -> AIR:
    from .air import AIR
    from .devices import find_device, tune_process

    tune_process()
    return AIR.load(path).to(find_device(device))


def _load_data(model: Path, name: str | None, split: str, **options: int) -> Dataset:
    """Load a split of the named data or, without a name, of those that a run was trained on."""
    from .checkpoints import read_checkpoint
    from .data import load_dataset
    from .training import load_training_data

    if name is not None:
        return load_dataset(name, split, **options)
    config = read_checkpoint(model).train_config
    if config is None:
        raise ConfigError(f"{model}: not a run, so name the data with --data.")
    return load_training_data(config, split, **options)


def _unique_names(paths: Sequence[Path]) -> list[str]:
    """Return a PNG's name for each path; equal stems get a number."""
    names: dict[str, int] = {}
    unique = []
    for path in paths:
        names[path.stem] = names.get(path.stem, 0) + 1
        suffix = f"-{names[path.stem]}" if names[path.stem] > 1 else ""
        unique.append(f"{path.stem}{suffix}.png")
    return unique


def _claim(folder: Path, names: Sequence[str]) -> None:
    """Make an output folder, and refuse to overwrite what lies in it."""
    for name in names:
        if (folder / name).exists():
            raise ConfigError(f"{folder / name}: already exists; give another --out.")
    folder.mkdir(parents=True, exist_ok=True)


if __name__ == "__main__":
    sys.exit(main())
