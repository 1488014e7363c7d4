"""``AIR`` as users hold it: images in, scenes out."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import numpy as np
import pytest
import torch
from exact import TINY, assert_mean, canvases_of, make_air

from attend_infer_repeat import AIR, ModelConfig, Scenes, ShapeError
from attend_infer_repeat.air import largest_batch
from attend_infer_repeat.spatial import window_boxes

COLOR = replace(TINY, canvas_size=(9, 7), channels=3)
ANY_NUMBER = replace(
    TINY,
    guide="memoryless",
    unbounded=True,
    step_limit=12,
    z_pres_prior=0.4,
    background_model="learned",
    composition="over",
)
FIELDS = [field.name for field in dataclasses.fields(Scenes)]


def mixed_air(config: ModelConfig = TINY) -> AIR:
    """Return an AIR that finds different counts in different images."""
    return make_air(config, gain=6, seed=8)


def pictures(num: int, config: ModelConfig = TINY) -> np.ndarray:
    """Return uint8 noise of different brightness, (num, channels, height, width)."""
    rng = np.random.default_rng(0)
    shape = (num, config.channels, *config.canvas_size)
    return (rng.random(shape) * np.linspace(0, 255, num)[:, None, None, None]).astype(np.uint8)


def assert_same(first: Scenes, second: Scenes) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


def assert_close(first: Scenes, second: Scenes) -> None:
    for name in FIELDS:
        np.testing.assert_allclose(
            getattr(first, name), getattr(second, name), rtol=1e-5, atol=1e-5, err_msg=name
        )


@pytest.mark.parametrize("sample", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("config", [TINY, COLOR], ids=["gray", "color"])
def test_scenes_have_the_shapes_and_types_of_the_contract(
    config: ModelConfig, dtype: torch.dtype, sample: bool
) -> None:
    torch.set_default_dtype(dtype)
    images = pictures(20, config)
    scenes = mixed_air(config).infer(images, sample=sample)
    expected = {
        "counts": ((20,), np.int64),
        "count_probs": ((20, 4), np.float32),
        "boxes": ((20, 3, 4), np.float32),
        "z_pres": ((20, 3), np.bool_),
        "z_where": ((20, 3, 3), np.float32),
        "z_what": ((20, 3, 3), np.float32),
        "z_background": ((20, 0), np.float32),
        "reconstruction": (images.shape, np.float32),
    }
    assert set(expected) == set(FIELDS)
    for name, (shape, kind) in expected.items():
        value = getattr(scenes, name)
        assert isinstance(value, np.ndarray), name
        assert value.shape == shape, name
        assert value.dtype == kind, name
    assert len(scenes) == 20


@pytest.mark.parametrize("sample", [False, True])
def test_fields_of_a_scene_agree_with_each_other(sample: bool) -> None:
    air = mixed_air()
    scenes = air.infer(pictures(60), sample=sample)
    assert len(set(scenes.counts)) > 1
    np.testing.assert_allclose(scenes.count_probs.sum(1), 1, atol=1e-6)
    if not sample:
        np.testing.assert_array_equal(scenes.counts, scenes.count_probs.argmax(1))
    np.testing.assert_array_equal(scenes.z_pres.sum(1), scenes.counts)
    assert not (scenes.z_pres[:, 1:] & ~scenes.z_pres[:, :-1]).any()
    np.testing.assert_array_equal(np.isnan(scenes.boxes), ~scenes.z_pres[:, :, None].repeat(4, 2))
    boxes = window_boxes(torch.as_tensor(scenes.z_where), (8, 8)).numpy()
    np.testing.assert_allclose(
        scenes.boxes[scenes.z_pres], boxes[scenes.z_pres], rtol=1e-4, atol=1e-5
    )
    for n, (where, what) in enumerate(zip(scenes.z_where, scenes.z_what, strict=True)):
        count = scenes.counts[n]
        objects = air.model.draw(*(torch.as_tensor(z[:count]).double() for z in (where, what)))
        drawn = objects.sum(0).detach().numpy() if count else np.zeros((1, 8, 8))
        np.testing.assert_allclose(scenes.reconstruction[n], drawn, atol=1e-4)


def test_a_tensor_gives_tensors() -> None:
    air, images = mixed_air(), pictures(5)
    tensors, arrays = air.infer(torch.as_tensor(images)), air.infer(images)
    assert all(isinstance(getattr(tensors, name), torch.Tensor) for name in FIELDS)
    assert not any(getattr(tensors, name).requires_grad for name in FIELDS)
    assert_same(tensors.numpy(), arrays)


def test_uint8_images_are_their_255ths() -> None:
    air, images = mixed_air(), pictures(5)
    assert_close(air.infer(images), air.infer(images / 255))
    assert_close(air.infer(images), air.infer((images / 255).astype(np.float32)))


def test_gray_images_need_no_channel_axis() -> None:
    air, images = mixed_air(), pictures(5)
    flat, full = air.infer(images[:, 0]), air.infer(images)
    assert flat.reconstruction.shape == (5, 8, 8)
    assert_same(replace(flat, reconstruction=flat.reconstruction[:, None]), full)


@pytest.mark.parametrize("batch_size", [1, 7, 10, 1000])
def test_batch_size_changes_no_result(batch_size: int) -> None:
    air, images = mixed_air(), pictures(20)
    assert_close(air.infer(images, batch_size=batch_size), air.infer(images))


@pytest.mark.parametrize("batch_size", [0, -1])
def test_a_batch_without_images_is_refused(batch_size: int) -> None:
    with pytest.raises(ShapeError, match="batch_size"):
        make_air().infer(pictures(2), batch_size=batch_size)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (ModelConfig(), 256),
        (ModelConfig(canvas_size=(256, 256), channels=3, model_steps=12), 52),
        (ModelConfig(canvas_size=(20_000, 20_000)), 1),
    ],
)
def test_a_batch_has_no_more_canvases_than_half_a_gigabyte_holds(config, expected) -> None:
    num = largest_batch(AIR(config))
    assert num == expected
    canvases = num * (config.count.model_steps + 1) * config.channels * np.prod(config.canvas_size)
    assert num == 1 or 4 * canvases <= 2**29


def test_samples_have_the_counts_that_are_asked_for() -> None:
    air, counts = mixed_air(), [0, 1, 2, 3, 3]
    scenes = air.sample(5, counts=counts)
    assert scenes.counts.tolist() == counts
    assert scenes.z_pres.sum(axis=1).tolist() == counts
    assert (scenes.reconstruction[0] == 0).all()
    assert (scenes.reconstruction[1:].max(axis=(1, 2, 3)) > 0).all()
    for wrong in ([1], [0, 1, 2, 3, 4], [0, 1, 2, 3, -1]):
        with pytest.raises(ShapeError, match="counts"):
            air.sample(5, counts=wrong)


def test_inference_is_deterministic_unless_sampled() -> None:
    air, images = mixed_air(), pictures(20)
    assert_same(air.infer(images, seed=1), air.infer(images, seed=2))
    assert_same(air.infer(images, sample=True, seed=1), air.infer(images, sample=True, seed=1))
    one, other = (air.infer(images, sample=True, seed=seed) for seed in (1, 2))
    assert not np.array_equal(one.z_where, other.z_where)
    assert not np.array_equal(one.counts, other.counts)


@pytest.mark.parametrize("sample", [False, True])
def test_inference_and_sampling_leave_random_generators_and_mode_alone(sample: bool) -> None:
    air = mixed_air().train()
    torch_state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    air.infer(pictures(5), sample=sample)
    air.sample(5)
    assert torch.equal(torch.get_rng_state(), torch_state)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_state)  # noqa: NPY002
    assert air.training
    assert all(parameter.grad is None for parameter in air.parameters())


def test_sampled_counts_follow_their_probabilities() -> None:
    # With one step, count_probs is a function of the image alone, not of the sampled path.
    air = make_air(replace(TINY, model_steps=1), gain=2)
    images = np.repeat(pictures(2)[1:], 4_000, axis=0)
    scenes = air.infer(images, sample=True, batch_size=4_000)
    prob = scenes.count_probs[0, 1]
    assert 0.01 < prob < 0.99
    assert_mean(torch.as_tensor(scenes.counts).double(), float(prob))


def test_sampled_scenes_follow_the_prior() -> None:
    air = make_air()
    scenes = air.sample(4_000, seed=3)
    probs = air.model.count_prior.log_prob().exp()
    np.testing.assert_allclose(scenes.count_probs, probs.expand(4_000, 4), rtol=1e-6)
    mean = (probs * torch.arange(4)).sum().item()
    assert_mean(torch.as_tensor(scenes.counts).double(), mean)
    assert_mean(torch.as_tensor(scenes.z_where[:, 0, 0]).double(), TINY.pose.scale_prior_mean)
    assert scenes.reconstruction.shape == (4_000, 1, 8, 8)
    assert (scenes.reconstruction[scenes.counts == 0] == 0).all()
    assert (scenes.reconstruction[scenes.counts > 0] != 0).any()


def test_sampling_repeats_for_the_same_seed_only() -> None:
    air = make_air()
    assert_same(air.sample(10, seed=1), air.sample(10, seed=1))
    assert not np.array_equal(air.sample(10, seed=1).z_what, air.sample(10, seed=2).z_what)


def test_a_sampled_scene_is_the_one_whose_latents_it_shows() -> None:
    air = make_air()
    scenes = air.sample(20)
    with torch.no_grad():
        canvases = canvases_of(
            air, *(torch.as_tensor(z).double() for z in (scenes.z_where, scenes.z_what))
        )
    drawn = canvases[torch.arange(20), torch.as_tensor(scenes.counts)]
    np.testing.assert_allclose(scenes.reconstruction, drawn, atol=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("config", [TINY, ANY_NUMBER], ids=["bounded", "unbounded"])
def test_a_gpu_finds_what_a_cpu_finds(config: ModelConfig) -> None:
    air, images = mixed_air(config), pictures(20)
    on_cpu = air.infer(images)
    assert_close(air.to("cuda").infer(images), on_cpu)


def test_images_that_do_not_fit_are_refused_at_the_door() -> None:
    with pytest.raises(ShapeError, match=r"\(batch, 1, 8, 8\)"):
        make_air().infer(np.zeros((2, 9, 8), dtype=np.uint8))
