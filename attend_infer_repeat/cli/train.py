"""`air train`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, ClassVar

from ..config import TrainConfig, fit_auto, get_preset, refuse_idle
from ..config.annotations import Suppress, arg
from .command import Command
from .options import Given, build
from .process import prepare_messages, tune_process


@dataclass(frozen=True)
class Train(Command):
    """Train a model on images, without labels.

    Writes a run's folder: config.json, metrics.jsonl, checkpoint/, figures/ and a log for
    TensorBoard. Ctrl-C saves a checkpoint and stops. The defaults below are those of the preset.

    Examples:
      air train                                             digits, in a minute
      air train --data multi-mnist --out runs/mnist         the tutorial's data
      air train --data sprites --canvas 64 -t 5             other sizes
      air train --preset tutorial -n 20000 -blr 0.1         the tutorial's estimator
      air train --data pictures/                            your own; it chooses the settings
      air train --data slide.zarr                           one picture, larger than memory
      air train --data scans/ --invert --canvas 64 -t 6     your own; you choose some of them
      air train --resume runs/mnist                         go on after an interruption
      torchrun --nproc-per-node 2 --no-python air train     two processes, one model
    """

    essential: ClassVar = (
        *("data", "preset", "canvas", "invert", "model_steps", "num_steps", "batch_size"),
        *("learning_rate", "seed", "device", "out", "resume"),
    )
    headings: ClassVar = {
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

    training: TrainConfig
    out: Annotated[Path | None, arg(metavar="DIR")] = None
    """Folder of the new run; runs/<data>-<preset>-<seed> if not given."""
    resume: Annotated[Path | None, arg(metavar="DIR")] = None
    """Go on with the run in this folder, with its settings."""
    device: str = "auto"
    """Where to compute: auto, cpu, cuda, cuda:1, ..."""
    compile: bool = False
    """Compile the exact objective: CUDA graphs on a GPU; a C++ compiler is needed on a CPU."""
    graphs: bool = True
    """Record steps as CUDA graphs on a GPU: of the exact objective, with a bound, one process."""
    tensorboard: bool = True
    """Write TensorBoard's events, where its package is installed."""
    quiet: bool = False
    """Show no progress."""
    given: Suppress[tuple[str, ...]] = ()
    """Names of the settings that the user gave; the preset auto keeps them."""

    @classmethod
    def base(cls, given: Given) -> Train:
        """Return the settings that options change: those of a preset, or of a run to resume."""
        values = {path[-1]: value for path, value in given.items()}
        config = base_config(values.get("preset"), values.get("data"), values.get("resume"))
        if config.preset == "auto" and values.get("resume") is None:
            config = fit_auto(config, values)
        return cls(config)

    @classmethod
    def of(cls, given: Given, base: Command | None) -> Train:
        """Make the command, which knows the names of the settings that were given."""
        own = {path[-1] for path in given if path[0] == "training"}
        command = replace(build(cls, given, base), given=tuple(sorted(own - {"preset", "data"})))
        refuse_idle(command.training, own)
        return command

    def run(self) -> None:
        """Run the command."""
        from ..trainer import train

        tune_process(shapes_repeat=not self.training.model.count.unbounded)
        prepare_messages(self.quiet)
        train(
            self.training,
            self.out,
            resume=self.resume,
            device=self.device,
            compiled=self.compile,
            graphs=self.graphs,
            quiet=self.quiet,
            tensorboard=self.tensorboard,
            given=self.given,
        )


def base_config(preset: str | None, data: str | None, resume: Path | None) -> TrainConfig:
    """Return the settings of a run to resume, or of a preset, or those that the data stand for."""
    if resume is not None:
        from ..training.run import resumable

        return resumable(resume)[0]
    if preset is not None:
        return get_preset(preset)
    if data is None:
        return TrainConfig()
    from ..data import default_config

    return default_config(data)


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
