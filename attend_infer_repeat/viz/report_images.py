"""What a report shows of held-out images: how well they were counted, located and described."""

from __future__ import annotations

import base64
import contextlib
import io
import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ..air import AIR
from ..arrays import as_images
from ..config import TrainConfig
from ..data import Dataset
from ..errors import DataError
from ..evaluation import Evaluation, elbo_per_image, evaluate
from ..evaluation.calibration import EDGES, Reliability, fit_temperature, reliability, temper
from ..model import intensity
from ..posterior import count_posterior
from ..scenes import Scenes
from ..spatial import image_to_object
from ..training.loop import load_training_data
from .colors import step_color
from .plots import confusion_figure, first_not_blank, plural, show_boxes, show_image
from .report_figures import (
    code_map_figure,
    code_positions,
    effective_samples_figure,
    places_figure,
    reliability_figure,
    sizes_figure,
)

CARDS = 12
"""Images in a gallery."""
MAX_JUDGED = 2_000
"""Images at most whose count probabilities are judged, and as many to fit a temperature to."""
MIN_FITTED = 100
"""Images at least to fit a temperature to."""
MAX_MAPPED = 3_000
"""Objects at most in the map of codes."""
NO_BREAK = "\N{NO-BREAK SPACE}"


@dataclass(frozen=True)
class Number:
    """A headline figure."""

    label: str
    value: str
    note: str


@dataclass(frozen=True)
class Picture:
    """An image inside the page."""

    src: str
    alt: str
    title: str = ""
    caption: str = ""


@dataclass(frozen=True)
class Gallery:
    """Images of one kind, each over its reconstruction."""

    title: str
    text: str
    pictures: list[Picture]


@dataclass(frozen=True)
class Found:
    """What a model found in the images of a split."""

    data: Dataset
    scenes: Scenes
    evaluation: Evaluation
    elbo: NDArray[np.float64]  # (N,), nats
    images_per_second: float

    @property
    def confidence(self) -> NDArray[np.float32]:
        """The probability of the most probable count, (N,)."""
        return self.scenes.count_probs.max(axis=1)

    @property
    def boxes(self) -> NDArray[np.float32]:
        """The boxes of all the objects found, (M, 4), pixels."""
        return self.scenes.boxes[self.scenes.z_pres]


def image_sections(
    air: AIR, data: Dataset, config: TrainConfig, num_samples: int, step: int
) -> dict[str, Any]:
    """Return what the template needs to know of a split's images.

    Args:
        air: the model.
        data: held-out images.
        config: names the data, for validation images to fit a temperature to.
        num_samples: K of the importance-weighted count probabilities; 0 leaves them out.
        step: after which the model was saved.
    Raises: ShapeError if the images do not fit the model.
    """
    found = _find(air, data)
    figures = found.evaluation.to_dict()
    return {
        "where": _where(data),
        "headline": [*quality_numbers(figures), *_numbers_without_truth(found)],
        "confusion": confusion_picture(figures | {"step": step}),
        "images": {
            "counts": _found_counts(found),
            "galleries": _galleries(found),
            "colors": [step_color(t) for t in range(found.scenes.z_pres.shape[1])],
            "reliability": _reliability(air, data, config, num_samples),
            "codes": _codes(air, found),
            "objects": _objects(found, air.config.canvas_size),
            "speed": _speed(air, found),
        },
    }


def quality_numbers(figures: dict[str, Any]) -> list[Number]:
    """Return headline figures from an evaluation, or from a record of one in a run's metrics."""
    where = f"{figures['split']} split"
    if figures.get("num_images") is not None:
        where += f", {plural(figures['num_images'], 'image')}"
    numbers = []
    if figures.get("count_accuracy") is not None:
        numbers.append(Number("counts right", f"{figures['count_accuracy']:.2%}", where))
    if figures.get("elbo") is not None:
        numbers.append(Number("ELBO", f"{figures['elbo']:.1f}", f"nats per image, {where}"))
    if figures.get("box_iou") is not None:
        note = f"median overlap (IoU) with the true boxes, {figures['split']} split"
        numbers.append(Number("box IoU", f"{figures['box_iou']:.3f}", note))
    return numbers


def confusion_picture(figures: dict[str, Any]) -> Picture | None:
    """Return true against inferred counts; None if the true counts are unknown."""
    figure = confusion_figure([figures])
    if figure is None:
        return None
    rows = "; ".join(f"{n}: {row}" for n, row in enumerate(figures["confusion"]))
    return picture(figure, f"Images by inferred count, for each true count: {rows}")


def picture(
    figure: Figure, alt: str, title: str = "", caption: str = "", dpi: int = 150
) -> Picture:
    """Return a figure as a PNG inside the page."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi, metadata={"Software": None})
    src = f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
    return Picture(src, alt, title, caption)


def _where(data: Dataset) -> str:
    return f"{data.name}, {data.split} split, {plural(len(data), 'image')}"


def _find(air: AIR, data: Dataset) -> Found:
    """Look at all the images, and time it."""
    air.infer(data.images[:256])  # the first call takes longer
    began = time.perf_counter()
    scenes = air.infer(data.images)
    seconds = time.perf_counter() - began
    elbo = elbo_per_image(air, data)["elbo"]
    return Found(data, scenes, evaluate(air, data), elbo, len(data) / seconds)


def _numbers_without_truth(found: Found) -> list[Number]:
    """Return what can be said of counts when nobody knows the right ones."""
    if found.data.counts is not None:
        return []
    where = f"{found.data.split} split"
    return [
        Number("objects per image", f"{found.scenes.counts.mean():.2f}", f"found, {where}"),
        Number(
            "confidence",
            f"{found.confidence.mean():.1%}",
            f"mean probability of the most probable count, {where}",
        ),
    ]


def _found_counts(found: Found) -> list[tuple[int, str, str]]:
    """Return each count, the number of images in which it was found, and their share."""
    steps = found.scenes.count_probs.shape[1] - 1
    numbers = np.bincount(found.scenes.counts, minlength=steps + 1)
    return [(n, f"{k:,}", f"{k / len(found.data):.1%}") for n, k in enumerate(numbers)]


# Galleries


def _galleries(found: Found) -> list[Gallery]:
    data, scenes = found.data, found.scenes
    galleries = [Gallery("Examples", "The first images that are not blank.", [])]
    chosen = [first_not_blank(data, CARDS)]
    if data.counts is not None:
        wrong = np.flatnonzero(scenes.counts != data.counts)
        text = f"{plural(len(wrong), 'count')} of {len(data):,} wrong; the most confident first."
        galleries.append(Gallery("Wrong counts", text, []))
        chosen.append(_lowest(-found.confidence[wrong], wrong))
    else:
        text = "The images whose most probable count is the least probable."
        galleries.append(Gallery("Least certain counts", text, []))
        chosen.append(_lowest(found.confidence))
    text = "The images with the lowest ELBO: those that the model explains worst."
    galleries.append(Gallery("Worst explained", text, []))
    chosen.append(_lowest(found.elbo))
    for gallery, indices in zip(galleries, chosen, strict=True):
        gallery.pictures.extend(_card(found, int(i)) for i in indices)
    return galleries


def _lowest(
    values: NDArray[np.floating], indices: NDArray[np.intp] | None = None
) -> NDArray[np.intp]:
    """Return the indices (by default positions) of the lowest values, the lowest first."""
    order = np.argsort(values, kind="stable")[:CARDS]
    return order if indices is None else indices[order]


def _card(found: Found, i: int) -> Picture:
    """Show image ``i`` over its reconstruction, with the boxes of what was found."""
    data, scenes = found.data, found.scenes
    height, width = data.canvas_size
    figure = Figure(figsize=(1.5, 1.5 * (2 * height / width + 0.04)), facecolor="0.5")
    axes = figure.subplots(2, 1, gridspec_kw={"hspace": 0.04})
    figure.subplots_adjust(0, 0, 1, 1)
    for ax, image in zip(axes, (data.images[i], scenes.reconstruction[i]), strict=True):
        show_image(ax, image)
        show_boxes(ax, scenes.boxes[i])
    name = f"image {i}" if data.files is None else str(data.files[i])
    count = int(scenes.counts[i])
    facts = [f"found {count} ({found.confidence[i]:.4f})", f"ELBO {found.elbo[i]:.1f}"]
    if data.counts is not None:
        facts.insert(1, f"true {data.counts[i]}")
    alt = f"{name} over its reconstruction: {', '.join(facts)}"
    caption = ", ".join(fact.replace(" ", NO_BREAK) for fact in facts)
    return picture(figure, alt, name, caption)


# Reliability


def _reliability(air: AIR, data: Dataset, config: TrainConfig, num_samples: int) -> dict[str, Any]:
    judged, fitted = _judged_and_fitted(data, config)
    kinds, sizes = _count_probs(air, judged, num_samples)
    fitted_kinds = {} if fitted is None else _count_probs(air, fitted, num_samples)[0]
    rows: list[tuple[str, Reliability]] = []
    pictures = []
    if judged.counts is not None:
        for name, probs in kinds.items():
            results = {"as it is": reliability(probs, judged.counts)}
            if fitted is not None and fitted.counts is not None:
                temperature = fit_temperature(fitted_kinds[name], fitted.counts)
                tempered = reliability(temper(probs, temperature), judged.counts)
                results[f"temperature {temperature:.2f}"] = tempered
            rows += [(f"{name}, {state}", result) for state, result in results.items()]
            errors = "; ".join(f"{state}, ECE {r.ece:.4f}" for state, r in results.items())
            pictures.append(picture(reliability_figure(results), f"{name}: {errors}", name))
    return {
        "edges": ", ".join(f"{edge:g}" for edge in EDGES),
        "where": _where(judged),
        "fitted": None if fitted is None else _where(fitted),
        "rows": rows,
        "pictures": pictures,
        "effective": None if sizes is None else _effective_samples(sizes, num_samples),
        "num_samples": num_samples,
    }


def _judged_and_fitted(data: Dataset, config: TrainConfig) -> tuple[Dataset, Dataset | None]:
    """Return images to judge probabilities on, and other ones to fit a temperature to.

    The latter are always validation images, every second one if the others are, too. There are none
    if their counts are unknown, if they are few, or if the report is about the training split,
    which holds them.
    """
    judged, fitted = data, None
    if data.counts is not None and data.split == "validation":
        judged, fitted = data[1::2], data[::2]
    elif data.counts is not None and data.split == "test":
        with contextlib.suppress(DataError):  # a single training image leaves none to validate with
            fitted = load_training_data(config, "validation")
    if fitted is None or fitted.counts is None or len(fitted) < MIN_FITTED:
        return data[:MAX_JUDGED], None
    return judged[:MAX_JUDGED], fitted[:MAX_JUDGED]


def _count_probs(
    air: AIR, data: Dataset, num_samples: int
) -> tuple[dict[str, NDArray[np.float32]], NDArray[np.floating] | None]:
    """Return each kind of count probabilities, and the effective sample sizes if there are any."""
    kinds = {"q(n | x)": air.infer(data.images).count_probs}
    if num_samples == 0:
        return kinds, None
    posterior = count_posterior(air, as_images(data.images, air.config), num_samples)
    kinds[f"importance-weighted, K = {num_samples}"] = posterior.count_probs.numpy()
    return kinds, posterior.effective_sample_size.numpy()


def _effective_samples(sizes: NDArray[np.floating], num_samples: int) -> Picture:
    text = f"median {np.median(sizes):.1f}, at least 2 in {np.mean(sizes >= 2):.0%} of images"
    figure = effective_samples_figure(sizes, num_samples)
    return picture(figure, f"Histogram of the effective sample size: {text}", caption=text)


# Objects


def _codes(air: AIR, found: Found) -> dict[str, Any] | None:
    """Return the map of z_what; None if nothing was found."""
    image, step = np.nonzero(found.scenes.z_pres)
    image, step = image[:MAX_MAPPED], step[:MAX_MAPPED]
    if not len(image):
        return None
    positions, share = code_positions(found.scenes.z_what[image, step])
    objects = _cut_out(air, found, image, step)
    alt = f"{plural(len(image), 'object')} arranged by the first two components of their codes"
    return {
        "picture": picture(code_map_figure(positions, objects), alt),
        "num": plural(len(image), "object"),
        "share": f"{share:.0%}",
    }


def _cut_out(
    air: AIR, found: Found, image: NDArray[np.intp], step: NDArray[np.intp]
) -> NDArray[np.floating]:
    """Return the window of each object, (M, channels, window_size, window_size), intensity."""
    canvases: Tensor = intensity(as_images(found.data.images[image], air.config))
    z_where = torch.from_numpy(found.scenes.z_where[image, step]).to(canvases)
    return image_to_object(z_where, canvases, (air.config.window_size,) * 2).numpy()


def _objects(found: Found, canvas_size: tuple[int, int]) -> list[Picture]:
    """Return sizes and places; none if nothing was found."""
    boxes = found.boxes
    if not len(boxes):
        return []
    true = None
    if found.data.boxes is not None:
        true = found.data.boxes[~np.isnan(found.data.boxes).any(axis=-1)]
    number = plural(len(boxes), "object")
    return [
        picture(sizes_figure(boxes, true), f"Histogram of the sizes of {number} found", "Sizes"),
        picture(places_figure(boxes, canvas_size), f"Where the centres of {number} lie", "Places"),
    ]


def _speed(air: AIR, found: Found) -> str:
    machine = f"{plural(os.cpu_count() or 1, 'CPU')}, {plural(torch.get_num_threads(), 'thread')}"
    return (
        f"{found.images_per_second:,.0f} images/s: {plural(len(found.data), 'image')} of the "
        f"{found.data.split} split, 256 at a time, measured for this report on {air.device} "
        f"({machine})"
    )
