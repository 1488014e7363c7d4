"""An exported program reads images as the model itself does."""

from __future__ import annotations

import io
from pathlib import Path
from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

import attend_infer_repeat as air
from attend_infer_repeat import AIR, ModelConfig
from attend_infer_repeat.config import InferenceConfig, replace
from attend_infer_repeat.files.export import FIELDS, Reader, export_program
from attend_infer_repeat.guide.presence import FORESIGHT_TEMPERATURE

GUIDES = get_args(get_type_hints(InferenceConfig)["guide"])
SIZES = {
    "canvas_size": (12, 10),
    "model_steps": 2,
    "window_size": 4,
    "encoder_latent_size": 3,
    "decoder_net": (8,),
    "encoder_net": (8,),
    "predict_net": (8,),
    "rnn_hidden_size": 8,
}


def make(**changes: object) -> AIR:
    """Make a small model whose guide finds 0, 1 and 2 objects in random images."""
    torch.manual_seed(0)
    model = AIR(replace(ModelConfig(**SIZES), **changes))
    with torch.no_grad():
        for parameter in model.guide.predict.parameters():
            parameter.mul_(1 if model.config.inference.foresight else 20)
        logits = model.rollout(draw(64, model), sample=False).z_pres_logits
        middle = logits[:, 0].quantile(0.5)  # between the two middle ones
        if model.config.inference.foresight:
            model.model.count_prior.success *= (-FORESIGHT_TEMPERATURE * middle).exp()
        else:
            model.guide.predict[-1].bias[0] -= middle
    return model


def draw(num: int, model: AIR) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    size = num, model.config.channels, *model.config.canvas_size
    return torch.rand(size, generator=generator, dtype=torch.get_default_dtype())


def loaded(model: AIR) -> torch.nn.Module:
    """Export, write, read again."""
    file = io.BytesIO()
    torch.export.save(export_program(model), file)
    file.seek(0)
    return torch.export.load(file).module()


def assert_reads_as(model: AIR, read: torch.nn.Module, num: int) -> None:
    images = draw(num, model)
    found, scenes = read(images), model.infer(images, batch_size=num)
    behind = model.config.background.background_model != "none"
    assert tuple(found) == (FIELDS if behind else FIELDS[:-1])
    for name in found:
        expected = getattr(scenes, name)
        torch.testing.assert_close(found[name], expected, rtol=1e-4, atol=1e-4, equal_nan=True)


@pytest.mark.parametrize(
    "guide",
    [g if g == "pursuit" else pytest.param(g, marks=pytest.mark.long) for g in GUIDES],
)
def test_an_exported_program_equals_infer_for_every_batch_size(guide: str) -> None:
    model = make(guide=guide)
    assert len(model.infer(draw(64, model)).counts.unique()) > 1  # boxes that are and are not there
    read = loaded(model)
    for num in (1, 2, 3, 64):
        assert_reads_as(model, read, num)


@pytest.mark.long
def test_objects_of_many_sizes_are_exported() -> None:
    model = make(guide="memoryless", size_range=4.0, inhibition=0.8)
    read = loaded(model)
    for num in (1, 3):
        assert_reads_as(model, read, num)


@pytest.mark.long
def test_color_ink_boxes_backgrounds_and_single_precision_are_exported() -> None:
    torch.set_default_dtype(torch.float32)
    model = make(guide="pursuit", channels=3, boxes="ink", background_model="learned")
    read = loaded(model)
    assert_reads_as(model, read, 5)
    assert read(draw(1, model))["z_where"].dtype == torch.float32


def test_training_further_changes_nothing_in_a_program_and_other_sizes_are_refused() -> None:
    model = make(guide="memoryless", model_steps=1)
    read = export_program(model).module()
    before = read(draw(3, model))
    assert all(parameter.requires_grad for parameter in model.parameters())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    after = read(draw(3, model))
    assert all(torch.equal(before[n].nan_to_num(-1), after[n].nan_to_num(-1)) for n in before)
    assert not any(value.requires_grad for value in after.values())
    with pytest.raises(AssertionError, match=r"size\(\)\[3\] == 10"):
        read(torch.zeros(2, 1, 12, 11))


def test_a_reader_reads_as_infer_does_without_being_exported() -> None:
    model = make()
    with torch.no_grad():
        assert_reads_as(model, Reader(model), 4)


def test_it_is_public() -> None:
    assert air.export_program is export_program


@pytest.mark.long
@pytest.mark.filterwarnings("default")  # of the exporter and its libraries
def test_an_exported_program_with_foresight_equals_infer() -> None:
    model = make(guide="pursuit", foresight=True)
    assert len(model.infer(draw(64, model)).counts.unique()) > 1
    assert_reads_as(model, loaded(model), 64)


@pytest.mark.parametrize("guide", GUIDES)
def test_onnx_runtime_reads_as_infer_does_to_rounding(guide: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="no dependency of the package")
    onnxruntime = pytest.importorskip("onnxruntime", reason="no dependency of the package")
    torch.set_default_dtype(torch.float32)
    model = make(guide=guide)
    path = tmp_path / "reader.onnx"
    torch.onnx.export(
        export_program(model), f=str(path), input_names=["images"], output_names=list(FIELDS[:-1])
    )
    session = onnxruntime.InferenceSession(path)
    for num in (1, 2, 64):
        images = draw(num, model)
        scenes = model.infer(images).numpy()
        found = dict(zip(FIELDS[:-1], session.run(None, {"images": images.numpy()}), strict=True))
        for name in found:
            np.testing.assert_allclose(
                found[name], getattr(scenes, name), rtol=1e-4, atol=1e-4, err_msg=name
            )


def test_a_program_finds_what_the_guide_finds_unrefined(caplog: pytest.LogCaptureFixture) -> None:
    plain, refining = (make(guide="memoryless", refinement=on) for on in (False, True))
    assert_reads_as(plain, loaded(refining), 5)
    assert "without its refinement" in caplog.text
