"""What the golden test looks at: small models of every kind, and all that they compute.

A value stands as two numbers, so that the record stays small: its sum and its sum with weights.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pyro
import pyro.poutine as poutine
import torch
from torch import Tensor

from attend_infer_repeat.air import AIR
from attend_infer_repeat.checkpoints.names import current_name, current_names
from attend_infer_repeat.config import (
    PRESETS,
    BackgroundConfig,
    CountConfig,
    ModelConfig,
    TrainConfig,
)
from attend_infer_repeat.objectives import OBJECTIVES
from attend_infer_repeat.rollout.terms import count_terms

Fingerprint = tuple[list[int], float, float, float]  # shape, sum, weighted sum, sum of magnitudes
Record = dict[str, Any]

LOOKING = ("pursuit", "memoryless")
GUIDES = [(guide, False) for guide in (*LOOKING, "improved", "basic")]
GUIDES += [(guide, True) for guide in LOOKING]
BACKGROUNDS = ("none", "constant", "smooth", "learned")
NUM_IMAGES = 8

SMALL = ModelConfig(
    canvas_size=(12, 10),
    count=CountConfig(model_steps=3, step_limit=5, z_pres_prior=0.3),
    scale_prior_mean=2.0,
    scale_prior_sd=0.3,
    pos_prior_sd=0.5,
    encoder_latent_size=3,
    window_size=5,
    focus=1.0,
    decoder_net=(7,),
    predict_net=(6,),
    encoder_net=(7,),
    rnn_hidden_size=6,
    background=BackgroundConfig(background_latent_size=2, background_net=(5,)),
)
TRAINING = TrainConfig(batch_size=6, composite_begin=0, composite_every=2, explore_steps=4)


def cases() -> Iterator[tuple[str, TrainConfig]]:
    """Yield every kind of model by name, and the presets, each with how it is trained."""
    for (guide, foresight), composition, background, unbounded in product(
        GUIDES, ("sum", "over"), BACKGROUNDS, (False, True)
    ):
        words = guide, "foresight" * foresight, composition, background, "unbounded" * unbounded
        model = replace(
            SMALL,
            guide=guide,
            foresight=foresight,
            composition=composition,
            background_model=background,
            unbounded=unbounded,
            channels=2 if composition == "over" else 1,
        )
        weight = 20.0 if background == "none" else 0.0
        composites = replace(TRAINING.composites, composite_weight=weight)
        name = " ".join(filter(None, words))
        yield name, replace(TRAINING, model=model, composites=composites)
    model = replace(SMALL, learn_likelihood_sd=True, learn_z_pres_prior=True, boxes="ink")
    yield "learned laws", replace(TRAINING, model=model, composite_of="objects")
    model = replace(SMALL, z_pres_prior_raw=True, embed_net=(9, 8), decoder_output_bias=None)
    yield "raw prior, embedding", replace(TRAINING, model=model, composite_scattered=0.5)
    for guide in ("pursuit", "improved", "basic"):
        model = replace(SMALL, guide=guide)
        yield (
            f"tracegraph {guide}",
            replace(
                TRAINING, model=model, objective="tracegraph", explore=0.0, composite_weight=0.0
            ),
        )
    for name, preset in PRESETS.items():
        yield f"preset {name}", replace(preset, batch_size=6)


def images_for(model: ModelConfig) -> Tensor:
    """Return images of no to three bright rectangles: uint8, (8, channels, height, width)."""
    draws = np.random.RandomState(0)
    height, width = model.canvas_size
    images = np.zeros((NUM_IMAGES, model.channels, height, width), dtype=np.uint8)
    for n, image in enumerate(images):
        for _ in range(n % 4):
            y, x = draws.randint(height - 3), draws.randint(width - 3)
            image[:, y : y + 3, x : x + 3] = draws.randint(120, 256, size=(model.channels, 1, 1))
    return torch.from_numpy(images)


def record_of_a_new(config: TrainConfig) -> tuple[AIR, Record]:
    """Return a model of seed 0, and the names and fingerprints of its weights."""
    torch.manual_seed(0)
    air = AIR(config.model)
    weights = air.state_dict()
    return air, {"names": list(weights), "initial": _fingerprints(weights)}


def record_of(config: TrainConfig) -> Record:
    """Return all that is compared: names, and a fingerprint of every value."""
    images = images_for(config.model)
    air, record = record_of_a_new(config)
    record |= {
        "rollout": _fingerprints(rollout_values(air, images)),
        "infer": _fingerprints(infer_values(air, images)),
        "sites": _fingerprints(site_values(air, images)),
    }
    torch.manual_seed(1)
    objective = OBJECTIVES[config.estimator.objective](air, images, config)
    for step in range(5):
        objective.step(step, 1.0)
    record["trained"] = _fingerprints(dict(air.named_parameters()))
    return record


def rollout_values(air: AIR, images: Tensor) -> dict[str, Tensor]:
    """Return what a rollout by means, one of samples and one with roulette compute."""
    intensity = images.to(torch.get_default_dtype()) / 255
    values: dict[str, Tensor] = {}
    with torch.no_grad(), pyro.validation_enabled(False):
        for name, options in (
            ("means", {"sample": False}),
            ("samples", {}),
            ("explored", {"roulette": True, "explore": 0.3}),
        ):
            torch.manual_seed(2)
            rollout = air.rollout(intensity, **options)
            terms = count_terms(air.model, rollout)
            values |= {
                f"{name} z_pres_logits": rollout.z_pres_logits,
                f"{name} z_where_loc": rollout.z_where_dist.loc,
                f"{name} z_where_scale": rollout.z_where_dist.scale,
                f"{name} z_what_loc": rollout.z_what_dist.loc,
                f"{name} z_what_scale": rollout.z_what_dist.scale,
                f"{name} z_where": rollout.z_where,
                f"{name} z_what": rollout.z_what,
                f"{name} proposals": rollout.proposals,
                f"{name} log_likelihood": rollout.log_likelihood,
                f"{name} residual": rollout.residual(rollout.count_probs().argmax(dim=1)),
                f"{name} log_q": rollout.log_q(0.2),
                f"{name} elbo": terms.elbo,
            }
            values |= {f"{name} {part}": value for part, value in terms.parts.items()}
    return values


def infer_values(air: AIR, images: Tensor) -> dict[str, Tensor]:
    """Return the scenes that are inferred, by means and by samples."""
    values = {}
    for name, sample in (("means", False), ("samples", True)):
        scenes = vars(air.infer(images, sample=sample, batch_size=3))
        values |= {f"{name} {field}": value for field, value in scenes.items()}
    return values


def site_values(air: AIR, images: Tensor) -> dict[str, Tensor]:
    """Return every site's values and log-probabilities in both Pyro programs."""
    pyro.set_rng_seed(3)
    with torch.no_grad(), pyro.validation_enabled(False):
        guide = poutine.trace(air.guide).get_trace(images)
        model = poutine.trace(poutine.replay(air.model, trace=guide)).get_trace(images)
        prior = poutine.trace(air.model.prior).get_trace(NUM_IMAGES)
        values = {}
        for program, trace in (("guide", guide), ("model", model), ("prior", prior)):
            trace.compute_log_prob()
            for name, site in trace.nodes.items():
                if site["type"] == "sample" and not _is_plate(name):
                    values[f"{program} {name}"] = torch.as_tensor(site["value"])
                    values[f"{program} log {name}"] = site["log_prob"]
    return values


def _is_plate(name: str) -> bool:
    return name.startswith("data")


def _fingerprints(tensors: Mapping[str, Any]) -> dict[str, Fingerprint]:
    return {name: fingerprint(torch.as_tensor(value)) for name, value in tensors.items()}


def fingerprint(tensor: Tensor) -> Fingerprint:
    """Return a tensor's shape, its sum, a weighted sum, and the sum of its magnitudes."""
    values = torch.nan_to_num(tensor.detach().double().flatten(), nan=0.125)
    weights = torch.cos(0.7368 * torch.arange(len(values), dtype=torch.float64) + 0.3)
    sums = values.sum(), (values * weights).sum(), values.abs().sum()
    return list(tensor.shape), *(float(f"{float(value):.17g}") for value in sums)


def assert_equal(new: Record, old: Record, tolerance: float, case: str = "") -> None:
    """Compare two records: names, shapes and, relative to the sum of magnitudes, the sums.

    What the new one does not have is not compared. Names are compared as a file of then is read
    today. Their order matters where weights are drawn.
    """
    assert drawn(new["names"]) == drawn(map(current_name, old["names"])), case
    for part in new.keys() - {"names"}:
        renamed = {
            name.replace("guide place_", "guide proposal_"): v for name, v in old[part].items()
        }
        renamed = {
            name.replace("guide log place_", "guide log proposal_"): v
            for name, v in current_names(renamed).items()
        }
        assert sorted(new[part]) == sorted(renamed), f"{case} {part}"
        for name, (shape, *sums) in renamed.items():
            got_shape, *got = new[part][name]
            assert got_shape == shape, f"{case} {part}: {name}"
            errors = [abs(a - b) for a, b in zip(got, sums, strict=True)]
            limit = tolerance * max(sums[-1], 1.0)
            assert max(errors) <= limit, (
                f"{case} {part}: {name} is off by {max(errors)}, above {limit}"
            )


def drawn(names: Iterable[str]) -> list[str]:
    """Return the names of weights that are drawn at random, in their order."""
    return [name for name in names if name.endswith(("weight", "bias"))]
