"""The command ``air``. Torch is imported only once a command needs it, so help is instant."""

from __future__ import annotations

import contextlib
import inspect
import subprocess
import sys
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from .. import __version__
from ..config import TrainConfig, get_preset
from ..errors import AirError, ConfigError, Stopped, nearest
from ..seeds import check_seed
from .options import Positional, Suppress, arg, build, options_of, parse, show_commands, show_help
from .streams import explain, is_interrupt, standard_streams

if TYPE_CHECKING:
    from ..air import AIR
    from ..data import Dataset


@dataclass(frozen=True)
class Train:
    """Train a model on images, without labels.

    Writes a run's folder: config.json, metrics.jsonl, checkpoint/, figures/, TensorBoard events.
    Ctrl-C saves a checkpoint first. The defaults below are those of the preset.

    Examples:
      air train                                             digits, in a minute
      air train --data multi-mnist --out runs/mnist         the tutorial's data
      air train --data sprites --canvas 64 -t 5             other sizes
      air train --preset tutorial -n 20000 -blr 0.1         the tutorial's estimator
      air train --data pictures/                            your own: settings chosen by a look
      air train --data scans/ --invert --canvas 64 -t 6     and what you know better
      air train --resume runs/mnist                         go on after an interruption
      torchrun --nproc-per-node 2 --no-python air train     two processes, one model
    """

    training: TrainConfig
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the new run; runs/<data>-<preset>-<seed> if not given."""
    resume: Annotated[Path | None, arg(metavar="DIR")] = None
    """Go on with the run in this folder, with its settings."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""
    compile: bool = False
    """Compile the exact objective: CUDA graphs on a GPU; a C++ compiler is needed on a CPU."""
    tensorboard: bool = True
    """Write TensorBoard's events, where its package is installed."""
    quiet: bool = False
    """Show no progress."""
    given: Suppress[tuple[str, ...]] = ()
    """Settings that the user gave, which the preset auto keeps."""

    def run(self) -> None:
        """Run the command."""
        from ..console import show_log
        from ..trainer import train
        from ..training.devices import tune_process

        show_log(self.quiet)
        tune_process()
        training = self.training
        if training.preset == "auto" and self.resume is None:
            from ..training.auto import choose_settings

            training = choose_settings(training, self.given)
        train(
            training,
            self.out,
            resume=self.resume,
            device=self.device,
            compiled=self.compile,
            quiet=self.quiet,
            tensorboard=self.tensorboard,
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
        from ..evaluation import evaluate
        from ..files.records import to_json

        _require_at_least(0, importance_samples=self.importance_samples)
        air = load_model(self.model, self.device)
        asked = {"max_count": self.max_count, "counts": self.counts}
        given = {name: value for name, value in asked.items() if value is not None}
        data = _load_data(self.model, air, self.data, self.split, **given)
        evaluation = evaluate(air, data, importance_samples=self.importance_samples)
        print(to_json(evaluation.to_dict()) if self.json else evaluation.table())


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
        from ..data import hold_out
        from ..evaluation.codes import evaluate_codes
        from ..files.records import to_json

        if self.split == "train":
            raise ConfigError("split: the probes are fitted on train; take validation or test.")
        _require_at_least(1, num_images=self.num_images)
        air = load_model(self.model, self.device)
        test = _load_data(self.model, air, self.data, self.split)
        data = hold_out(_load_data(self.model, air, self.data, "train"))[0][: self.num_images]
        evaluation = evaluate_codes(air, data, test=test)
        print(to_json(evaluation.to_dict()) if self.json else evaluation.table())


@dataclass(frozen=True)
class Infer:
    """Count, locate and describe the objects in pictures.

    Pictures are files (PNG, JPEG, TIFF, BMP, GIF), folders, patterns ('scans/**/*.png', in quotes),
    .npy and .npz arrays, or - for standard input: a picture, or names of pictures, one a line. Of
    any size; they are brought to the model's canvas as those were that it was trained on.

    An animated GIF is read frame by frame, and with --track the pictures of a folder are the frames
    of a video, too: its objects then have an identity, which they keep from frame to frame.

    In a terminal, prints a line a picture: its name, its count, and the probability of that. Into a
    file or a pipe, or with --format json, one JSON object a line: file, width, height, count,
    count_probs = q(n | x), and objects with score = q(z_pres), box (x0, y0, x1, y1 in the picture's
    pixels), z_where and z_what; or CSV, a row an object; or COCO. A picture that cannot be read has
    a line with its error, and the exit code is 1.

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
    images: Positional[Annotated[tuple[str, ...], arg(metavar="IMAGE...")]]
    """Picture files, folders, patterns, arrays, or - for standard input."""
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder for the results, new or empty."""
    format: Literal["json", "csv", "coco"] | None = None
    """Form of the results; if not given, lines for people in a terminal, and JSON elsewhere."""
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
    """Go on with the results in --out; pictures that have changed since, or could not be read, are
    read again."""
    strict: bool = False
    """Stop at a picture that cannot be read."""
    quiet: bool = False
    """Show no progress."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> int:
        """Run the command; return the exit code."""
        if not self.images:
            raise ConfigError("IMAGE is missing: name at least one picture, folder or pattern.")
        _require_at_least(0, samples=self.samples)
        check_seed(self.seed)
        _require_at_least(1, batch_size=self.batch_size)
        if self.out is None and (self.resume or self.reconstructions or self.codes):
            raise ConfigError("resume, reconstructions, codes: need a folder; add --out.")
        from ..console import show_log
        from ..files.inference import run_inference

        show_log(self.quiet)
        return run_inference(load_model(self.model, self.device), self)


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
    out: Annotated[Path, arg(metavar="FILE")] = Path("samples.png")
    """PNG file to write."""
    seed: int = 0
    """Seed of the draws."""
    from_prior: bool = False
    """Draw the number of objects from the count prior, too."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""

    def run(self) -> None:
        """Run the command."""
        _require_at_least(1, num_scenes=self.num_scenes)
        if self.out.suffix.lower() != ".png":
            raise ConfigError(f"out: expected a file that ends in .png, got {self.out}.")
        from ..viz.plots import samples_figure, save_figure

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

    folder: Positional[Annotated[Path, arg(metavar="RUN")]]
    """A run's folder."""

    def run(self) -> None:
        """Run the command."""
        from ..viz.plots import plot_run

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

    folder: Positional[Annotated[Path, arg(metavar="RUN")]]
    """A run's folder."""
    out: Annotated[Path | None, arg(metavar="FILE")] = None
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

        from ..training.devices import tune_process
        from ..viz.report import write_report

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
    """Serve a page on which to draw, and to watch, edit and sample scenes; it works offline.

    Prints the page's address; --open opens it in the browser. Draw or drop a picture: the model
    answers as you draw, and shows how it came to its answer. The page's JSON interface is described
    at /api/docs. Ctrl-C ends it.

    Examples:
      air serve                              multi-mnist, at http://127.0.0.1:8000
      air serve runs/mine --open             your own model, in your browser at once
      air serve digits --port 0              any port that is free
      air serve --host 0.0.0.0               for everyone who reaches this machine
    """

    model: Positional[Annotated[str, arg(metavar="MODEL")]] = "multi-mnist"
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
        from ..web.serve import serve

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
    options: Positional[Annotated[tuple[str, ...], arg(metavar="OPTIONS...")]] = ()
    """Options of the benchmark."""

    def run(self) -> None:
        """Run the command."""
        if self.name not in BENCHMARKS:
            raise ConfigError(
                f"unknown benchmark '{self.name}', known are {', '.join(BENCHMARKS)}."
                f"{nearest(self.name, BENCHMARKS)}"
            )
        script = Path(__file__).parents[2] / "benchmarks" / f"{self.name}.py"
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
    """Run the command line; return 0, 2 after a user's mistake, or 130 after Ctrl-C.

    `air infer` returns 1 if a picture could not be read. A disk, a file or a stream that fails is
    one line and 2, too.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    with standard_streams():
        try:
            return _run(arguments)
        except BaseException as error:
            if not is_interrupt(error):
                raise
            if not isinstance(error, Stopped):
                print("air: interrupted", file=sys.stderr)
            return 130


def _run(arguments: list[str]) -> int:
    try:
        try:
            command = _parse(arguments)
            _prepare_messages()
            code: int = command.run() or 0
        except SystemExit:  # what was printed before may not have been written yet
            sys.stdout.flush()
            raise
        sys.stdout.flush()
        return code
    except AirError as error:
        print(f"air: {error}", file=sys.stderr)
    except BrokenPipeError:  # whoever read the output has seen enough
        return 0
    except OSError as error:
        print(f"air: {explain(error)}", file=sys.stderr)
    return 2


def _prepare_messages() -> None:
    """Show what the package warns of as plain lines; Pillow's own warnings tell users nothing."""
    from ..console import show_log

    show_log(quiet=True)
    warnings.filterwarnings("ignore", category=UserWarning, module="PIL")
    warnings.filterwarnings("error", message="Image size .* exceeds limit")  # a bomb: refused


VERSION, SHORT_HELP, HELP = ("-V", "--version"), "-h", "--help"

# The headings of help, by the first setting below each one: those that follow it stand there, too.
HEADINGS = {
    "preset": "Data",
    "num_steps": "Training",
    "objective": "Objective",
    "seed": "Training",
    "eval_every": "Output",
    "resize": "Pictures",
    "model_steps": "Model",
    "guide": "Guide",
    "out": "Output",
    "device": "Training",
    "quiet": "Output",
}

# What -h shows, for commands that have more options than most people need.
ESSENTIAL = {
    "train": (
        *("data", "preset", "canvas", "invert", "model_steps", "num_steps", "batch_size"),
        *("learning_rate", "seed", "device", "out", "resume"),
    ),
    "infer": (
        *("model", "images", "out", "format", "samples", "track", "invert", "resume", "quiet"),
    ),
    "evaluate": ("model", "data", "split", "importance_samples", "json"),
}

# What to do in place of the options of Pyro's example that are none here.
OF_PYRO = {
    "--cuda": "use --device cuda.",
    "--jit": "use --compile.",
    "--viz": "see the run's figures/, `air plot RUN` and TensorBoard (RUN/tensorboard).",
    "--viz-every": "use --eval-every; TensorBoard (RUN/tensorboard) shows what it writes.",
    "--visdom-env": "leave it out; TensorBoard (RUN/tensorboard) takes visdom's place.",
    "--save": "use --out DIR; the run's folder holds the checkpoint.",
    "--load": "use --resume DIR to go on with a run; `air.AIR.load(DIR)` loads it in Python.",
    "--verbose": "leave it out; the settings are in the run's config.json.",
    "-v": "leave it out; the settings are in the run's config.json (-V prints the version).",
}


def _parse(arguments: list[str]) -> Any:
    """Turn arguments into a command.

    Raises: ConfigError of one line for a usage error; SystemExit once help is printed.
    """
    name, *rest = arguments or [""]
    if name in VERSION:
        _print_and_exit(f"air {__version__}")
    if name == "help":
        name, *rest = [*rest, HELP] if rest else [HELP]
    if name in (SHORT_HELP, HELP):
        _print_and_exit(_help_of_all())
    if name not in COMMANDS:
        raise ConfigError(_no_command(name))
    if name == "benchmark" and rest and not rest[0].startswith("-"):
        return Benchmark(rest[0], tuple(rest[1:]))
    words = rest[: rest.index("--")] if "--" in rest else rest
    if SHORT_HELP in words or HELP in words:
        _print_and_exit(_help_of(name, words))
    try:
        return _command(name, rest)
    except ConfigError as error:
        raise ConfigError(_with_advice(str(error), f"air {name}")) from error


def _print_and_exit(text: str) -> NoReturn:
    print(text)
    raise SystemExit(0)


def _with_advice(message: str, command: str) -> str:
    """Say where to read on, unless the message is a sentence that says what to do."""
    return message if message.endswith((".", "?")) else f"{message}; see {command} --help."


def _no_command(name: str) -> str:
    if not name or name.startswith("-"):
        what = "no command" if not name else f"unknown option {name}"
        return f"{what}; the commands are {', '.join(COMMANDS)}. Try: air train."
    known = f"unknown command '{name}', known are {', '.join(COMMANDS)}."
    return known + nearest(name, COMMANDS)


def _command(name: str, arguments: list[str]) -> Any:
    kind = COMMANDS[name]
    given = parse(options_of(kind), _with_values(arguments), _explain)
    if kind is not Train:
        return build(kind, given)
    settings = {path[1]: value for path, value in given.items() if path[0] == "training"}
    base = _base_config(settings | {"resume": given.get(("resume",))})
    chosen = {".".join(path[1:]) for path in given if path[0] == "training"}
    own = tuple(sorted(chosen - {"preset", "data"}))
    return build(Train, given, Train(base, given=own))


def _explain(flag: str) -> str | None:
    """Say what to do in place of an option that a command lacks, or which commands have it."""
    owners = [
        f"air {name}"
        for name, kind in COMMANDS.items()
        if any(flag in option.flags for option in options_of(kind))
    ]
    return OF_PYRO.get(flag) or (f"it belongs to {', '.join(owners)}" if owners else None)


def _with_values(arguments: list[str]) -> list[str]:
    """Complete ``--invert`` to ``--invert yes``, and ``--no-invert`` to ``--invert no``."""
    complete = []
    for argument, after in pairwise([*arguments, ""]):
        complete += ["--invert", "no"] if argument == "--no-invert" else [argument]
        if argument == "--invert" and after not in ("auto", "yes", "no"):
            complete.append("yes")
    return complete


def _base_config(given: Mapping[str, Any]) -> TrainConfig:
    """Return the settings that `air train`'s options change: a preset's or a resumed run's."""
    if given.get("resume") is not None:
        from ..training.run import resumable

        return resumable(Path(given["resume"]))[0]
    if "preset" in given:
        return get_preset(given["preset"])
    from ..data import default_config

    return default_config(given.get("data", TrainConfig.data))


def _help_of_all() -> str:
    text = (
        "Attend, Infer, Repeat: count, locate and describe the objects in images, without labels."
        "\n\nTry: air train, then air infer."
    )
    options = {
        "-h, --help": "Show this. `air COMMAND -h` shows what most people need of a command, "
        "`air COMMAND --help` or `air help COMMAND` all of it.",
        "-V, --version": "Show the version.",
    }
    commands = {
        name: (inspect.getdoc(kind) or "").split("\n")[0] for name, kind in COMMANDS.items()
    }
    return show_commands(text, options, commands)


def _help_of(name: str, words: Sequence[str]) -> str:
    """Return the help of a command: all of it, or the options that most people need."""
    kind = COMMANDS[name]
    command: Any = kind
    if kind is Train:
        rest = [word for word in words if word not in (SHORT_HELP, HELP)]
        with contextlib.suppress(AirError):  # its defaults are those of the preset that is given
            command = _command(name, rest)
    options = options_of(command)
    groups, heading = {}, "Options"
    for option in options:
        heading = HEADINGS.get(option.path[-1], heading) if kind is Train else heading
        groups[option] = heading if option.flags else "Arguments"
    text = inspect.getdoc(kind) or ""
    if HELP in words:
        return show_help(name, text, options, groups)
    essential = ESSENTIAL.get(name, [option.path[-1] for option in options])
    shown = [option for option in options if option.path[-1] in essential]
    summary, *_, examples = text.split("\n\n")
    note = f"This is the short help; air {name} --help shows all {len(options)} options."
    return show_help(name, f"{summary}\n\n{examples}", shown, groups, note)


def _require_at_least(least: int, **options: int) -> None:
    for name, value in options.items():
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}.")


def load_model(path: str | Path, device: str) -> AIR:
    """Load a model onto a device, in a process that is set up to compute quickly."""
    from ..air import AIR
    from ..training.devices import find_device, tune_process

    tune_process()
    return AIR.load(path).to(find_device(device))


def _load_data(path: str, air: AIR, name: str | None, split: str, **options: Any) -> Dataset:
    """Load a split of the named data or, without a name, of those that a run was trained on.

    Pictures are brought to the model's canvas.
    """
    from ..data import is_path, load_dataset
    from ..files.checkpoints import read_checkpoint
    from ..training.data import load_training_data, path_options

    if name is not None:
        own = path_options(air.config) if is_path(name) else {}
        return load_dataset(name, split, **(own | options))
    config = read_checkpoint(path).train_config
    if config is None:
        raise ConfigError(f"{path}: not a run, so name the data with --data.")
    return load_training_data(config, split, **options)
