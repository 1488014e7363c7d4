"""What a report shows of held-out images: how well they were counted, located and described."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..air import AIR
from ..config import TrainConfig
from ..data import Dataset
from ..errors import extra
from ..evaluation import Evaluation, elbo_per_image, evaluate
from ..evaluation.windows import cut_windows
from ..scenes import Scenes
from .colors import step_color
from .plots import confusion_figure, first_not_blank, plural, show_boxes, show_image
from .report_figures import (
    code_map_figure,
    code_positions,
    places_figure,
    sizes_figure,
)
from .report_parts import Gallery, Number, Picture, picture, where
from .report_reliability import reliability_section

with extra("report", "a report"):
    from matplotlib.figure import Figure

CARDS = 12
"""Images in a gallery."""
MAX_MAPPED = 3_000
"""Objects at most in the map of codes."""
NO_BREAK = "\N{NO-BREAK SPACE}"


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
        "where": where(data),
        "headline": [*quality_numbers(figures), *_numbers_without_truth(found)],
        "confusion": confusion_picture(figures | {"step": step}),
        "images": {
            "counts": _found_counts(found),
            "galleries": _galleries(found),
            "colors": [step_color(t) for t in range(found.scenes.z_pres.shape[1])],
            "reliability": reliability_section(air, data, config, num_samples),
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


# Objects


def _codes(air: AIR, found: Found) -> dict[str, Any] | None:
    """Return the map of z_what; None if nothing was found."""
    image, step = np.nonzero(found.scenes.z_pres)
    image, step = image[:MAX_MAPPED], step[:MAX_MAPPED]
    if not len(image):
        return None
    positions, share = code_positions(found.scenes.z_what[image, step])
    objects = cut_windows(air, found.data.images, image, found.scenes.z_where[image, step])
    alt = f"{plural(len(image), 'object')} arranged by the first two components of their codes"
    return {
        "picture": picture(code_map_figure(positions, objects), alt),
        "num": plural(len(image), "object"),
        "share": f"{share:.0%}",
    }


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
        picture(places_figure(boxes, canvas_size), f"Where the centers of {number} lie", "Places"),
    ]


def _speed(air: AIR, found: Found) -> str:
    machine = f"{plural(os.cpu_count() or 1, 'CPU')}, {plural(torch.get_num_threads(), 'thread')}"
    return (
        f"{found.images_per_second:,.0f} images/s: {plural(len(found.data), 'image')} of the "
        f"{found.data.split} split, 256 at a time, measured for this report on {air.device} "
        f"({machine})"
    )
