"""What the codes know: probes and clusters of constructed codes, whose answers are known."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from exact import TINY, make_air

from attend_infer_repeat import (
    AIR,
    ConfigError,
    DataError,
    Dataset,
    Scenes,
    ShapeError,
    evaluate_codes,
    load_dataset,
)
from attend_infer_repeat.cli.main import main
from attend_infer_repeat.evaluation.codes import _read_objects
from attend_infer_repeat.evaluation.probes import cluster

BOXES = np.array([[0, 2, 3, 5], [4, 4, 8, 8]], dtype=np.float32)
ABSENT = np.full(4, np.nan, dtype=np.float32)


@dataclass
class Reader:
    """Stands for an AIR: finds given boxes with given codes, whatever else the images show."""

    boxes: np.ndarray  # (N, T, 4)
    codes: np.ndarray  # (N, T, what_dim)
    config = TINY

    def infer(self, images: np.ndarray, *, batch_size: int) -> Scenes:
        rows = number(images)
        boxes = self.boxes[rows]
        z_pres = ~np.isnan(boxes[..., 0])
        z_where = np.tile(np.float32([2, 0, 0]), (*z_pres.shape, 1))
        return Scenes(z_pres.sum(1), None, boxes, z_pres, z_where, self.codes[rows], None, None)


def number(images: np.ndarray) -> np.ndarray:
    """Return the images' numbers, which their first two pixels hold."""
    return images[:, 0, 0].astype(int) * 256 + images[:, 0, 1]


def labeled(num: int = 200, num_classes: int = 3) -> Dataset:
    """Return numbered noise with two boxes per image, of random classes."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (num, 8, 8), dtype=np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.divmod(np.arange(num), 256)
    labels = rng.integers(0, num_classes, (num, 2))
    return Dataset("noise", "test", images, np.full(num, 2), np.tile(BOXES, (num, 1, 1)), labels)


def one_hot(values: np.ndarray) -> np.ndarray:
    """Return (..., max + 1) float32."""
    return np.eye(values.max() + 1, dtype=np.float32)[values]


def telling(data: Dataset) -> Reader:
    """Return what finds each object, with its class as its code."""
    return Reader(data.boxes, one_hot(data.labels))


def finding_air() -> AIR:
    """Return an AIR that finds three objects in every image, in different places."""
    air = make_air(gain=3)
    with torch.no_grad():
        air.guide.predict[-1].bias[0] += 20
    return air


def test_codes_that_tell_the_class_are_read_and_clustered_without_error() -> None:
    data = labeled()
    evaluation = evaluate_codes(telling(data), data)
    codes = evaluation.features["z_what"]
    assert codes.size == 3
    assert codes.accuracy == 1
    assert codes.standard_error == 0
    assert (codes.purity, codes.mutual_information) == (1, pytest.approx(1))
    assert codes.rand_index == 1
    assert evaluation.num_clusters == 3


def test_objects_found_in_another_order_get_their_own_labels() -> None:
    data, rng = labeled(), np.random.default_rng(1)
    order = rng.permuted(np.tile(np.arange(2), (len(data), 1)), axis=1)[..., None]
    shuffled = Reader(
        np.take_along_axis(data.boxes, order, 1),
        np.take_along_axis(one_hot(data.labels), order, 1),
    )
    assert evaluate_codes(shuffled, data).features["z_what"].accuracy == 1


@pytest.mark.parametrize("num_classes", [2, 5])
def test_codes_and_pixels_that_know_nothing_are_at_chance(num_classes: int) -> None:
    data = labeled(1_000, num_classes)
    codes = np.random.default_rng(1).normal(size=(1_000, 2, 4)).astype(np.float32)
    evaluation = evaluate_codes(Reader(data.boxes, codes), data)
    chance = 1 / num_classes
    error = math.sqrt(chance * (1 - chance) / evaluation.num_tested)
    assert evaluation.num_tested == 1_000
    assert abs(evaluation.chance - chance) < 5 * error
    for features in evaluation.features.values():
        assert abs(features.accuracy - chance) < 5 * error
        assert features.standard_error == pytest.approx(error, rel=0.2)
        assert abs(features.rand_index) < 0.02
        assert features.mutual_information < 0.05


def test_scenes_are_never_divided_between_fit_and_test() -> None:
    # Both objects of an image have its class, and a code that tells the image and nothing else.
    data = labeled(120, num_classes=2)
    data = replace(data, labels=np.repeat(data.labels[:, :1], 2, axis=1))
    codes = one_hot(np.repeat(np.arange(120)[:, None], 2, axis=1))
    evaluation = evaluate_codes(Reader(data.boxes, codes), data)
    codes = evaluation.features["z_what"]
    error = math.sqrt(0.25 / (evaluation.num_tested / 2))  # objects come in pairs
    assert abs(codes.accuracy - 0.5) < 5 * error  # it would be 1 if one object told of the other


def test_only_found_objects_with_a_matching_label_count() -> None:
    data = labeled()
    labels, boxes, found = data.labels.copy(), data.boxes.copy(), data.boxes.copy()
    labels[0, 0] = -1  # of unknown class
    labels[1, 1], boxes[1, 1] = -1, ABSENT  # no such object
    found[2, 0] = ABSENT  # overlooked
    found[3, 0] += 4  # elsewhere
    elsewhere = np.tile(np.float32([0, 6, 2, 8]), (len(data), 1, 1))  # one too many, everywhere
    reader = Reader(
        np.concatenate((elsewhere, found), axis=1),
        np.concatenate((np.zeros((200, 1, 3)), one_hot(data.labels)), axis=1),
    )
    truth = replace(data, labels=labels, boxes=boxes, counts=None)
    objects = _read_objects(reader, truth, min_iou=0.5, batch_size=7)
    assert objects.num_found == 3 * 200 - 1
    assert objects.num_true == 2 * 200 - 2
    assert len(objects.labels) == 2 * 200 - 4
    np.testing.assert_array_equal(objects.z_what, one_hot(objects.labels))
    assert set(range(200)) == set(objects.images)


def test_min_iou_decides_what_matches() -> None:
    data = labeled()
    reader = Reader(data.boxes + np.float32([0, 0, 3, 0]), one_hot(data.labels))
    # Boxes of 3 x 3 and 4 x 4 pixels, found 3 pixels too wide: IoU 3/6 and 4/7.
    for min_iou, matched in ((0.4, 400), (0.55, 200)):
        objects = _read_objects(reader, data, min_iou, batch_size=256)
        assert len(objects.labels) == matched


def test_pixels_are_those_that_the_codes_are_read_from() -> None:
    air, data = finding_air(), labeled(60)
    scenes = air.infer(data.images)
    truth = replace(data, boxes=scenes.boxes, labels=np.ones((60, 3), dtype=np.int64))
    objects = _read_objects(air, truth, min_iou=0.99, batch_size=16)
    assert len(objects.labels) == scenes.counts.sum() == 180
    assert objects.pixels.shape[1] == TINY.appearance.window_size**2
    side = TINY.appearance.window_size
    windows = torch.from_numpy(objects.pixels).unflatten(1, (TINY.channels, side, side))
    with torch.no_grad():
        codes = air.guide.reading.encoder(windows).mean
    np.testing.assert_allclose(objects.z_what, codes, rtol=1e-3, atol=1e-3)


def test_clusters_are_judged_as_by_hand() -> None:
    rows, labels = np.array([[0.0]] * 4 + [[9.0]] * 2), np.array([0, 0, 0, 1, 1, 1])
    information = math.log(1.5) / 2 + math.log(2) / 6
    entropies = math.log(2), 2 / 3 * math.log(1.5) + math.log(3) / 3
    assert cluster(rows, labels, num_clusters=2, seed=0) == {
        "purity": pytest.approx(5 / 6),
        "mutual_information": pytest.approx(2 * information / sum(entropies)),
        # 4 pairs together in both; 6 by class and 7 by cluster, of 15.
        "rand_index": pytest.approx((4 - 6 * 7 / 15) / ((6 + 7) / 2 - 6 * 7 / 15)),
    }


def test_a_test_set_of_its_own_is_what_is_tested() -> None:
    data = labeled(300)
    fit, test = data[:200], replace(data[200:], name="other", split="validation")
    evaluation = evaluate_codes(telling(data), fit, test=test)
    assert (evaluation.data, evaluation.split) == ("other", "validation")
    assert (evaluation.num_fitted, evaluation.num_tested) == (400, 200)
    counts = np.bincount(fit.labels.ravel())
    assert evaluation.chance == (test.labels == counts.argmax()).mean()


def test_a_class_that_no_probe_has_seen_is_misread() -> None:
    data = labeled(300)
    data = replace(data, labels=np.where(np.arange(300)[:, None] < 200, data.labels % 2, 2))
    evaluation = evaluate_codes(telling(data), data[:200], test=data[200:])
    assert evaluation.features["z_what"].accuracy == 0


def test_figures_are_reproducible_plain_values_and_the_seed_divides() -> None:
    data = labeled()
    codes = np.random.default_rng(1).normal(size=(200, 2, 4)).astype(np.float32)
    reader = Reader(data.boxes, codes)
    evaluation = evaluate_codes(reader, data)
    assert evaluate_codes(reader, data) == evaluation
    assert evaluate_codes(reader, data, seed=1) != evaluation
    figures = evaluation.to_dict()
    assert json.loads(json.dumps(figures)) == figures
    assert list(figures["features"]) == ["z_what", "pixels", "pca"]
    assert [f["size"] for f in figures["features"].values()] == [4, 16, 4]
    assert all(name in evaluation.table() for name in (*figures["features"], "chance", "matched"))


def mistakes(data: Dataset) -> dict[str, tuple[type[Exception], str, Dataset, dict[str, object]]]:
    """Return what cannot be evaluated: the error, its hint, the data, and the options."""
    far = data.boxes + np.float32(100)
    one_class, one_image = np.zeros_like(data.labels), data.labels.copy()
    one_image[1:] = 0
    large = np.zeros((len(data), 9, 9), dtype=np.uint8)
    return {
        "no boxes": (DataError, "boxes are unknown", replace(data, boxes=None), {}),
        "no labels": (DataError, "labels are unknown", replace(data, labels=None), {}),
        "nothing matches": (DataError, "none of", replace(data, boxes=far), {}),
        "one class": (DataError, "several classes", replace(data, labels=one_class), {}),
        "a class in one image": (DataError, "several", replace(data, labels=one_image), {}),
        "two images": (DataError, "give more scenes", data[:2], {}),
        "no clusters": (ConfigError, "num_clusters", data, {"num_clusters": 0}),
        "too many clusters": (ConfigError, "num_clusters", data, {"num_clusters": 999}),
        "IoU of 0": (ConfigError, "min_iou", data, {"min_iou": 0}),
        "IoU above 1": (ConfigError, "min_iou", data, {"min_iou": 1.5}),
        "tested on what it was fitted on": (ConfigError, "shares", data, {"test": data[5:9]}),
        "another size": (ShapeError, "images", replace(data, images=large), {}),
    }


@pytest.mark.parametrize("mistake", mistakes(labeled()))
def test_a_mistake_is_named_on_one_line(mistake: str) -> None:
    error, hint, data, options = mistakes(labeled())[mistake]
    air = make_air() if mistake == "another size" else telling(labeled())
    with pytest.raises(error, match=hint) as raised:
        evaluate_codes(air, data, **options)
    assert "\n" not in str(raised.value)


def test_the_command_fits_on_train_and_tests_on_the_split(tmp_path: Path, capsys) -> None:
    torch.set_default_dtype(torch.float32)
    air, data = finding_air(), labeled(300)
    labels = np.random.default_rng(0).integers(0, 2, (300, 3))
    boxes = air.infer(data.images).boxes
    np.savez(tmp_path / "data.npz", images=data.images, boxes=boxes, labels=labels)
    air.save(tmp_path / "model")
    command = f"codes {tmp_path}/model --data {tmp_path}/data.npz --split validation".split()
    assert main([*command, "--num-images", "100", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["split"] == "validation"
    held_out = len(load_dataset(f"{tmp_path}/data.npz", "validation"))
    assert figures["num_tested"] == figures["num_true"] == 3 * held_out
    assert figures["num_fitted"] == 3 * 100
    assert main(command) == 0
    assert "z_what" in capsys.readouterr().out
