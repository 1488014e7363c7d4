"""Functions that Pyro tracks as one operation."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from pyro.ops.provenance import ProvenanceTensor, get_provenance
from torch import Tensor

import attend_infer_repeat
from attend_infer_repeat.nn import MLP, Decoder, ImageLSTM
from attend_infer_repeat.provenance import one_operation
from attend_infer_repeat.spatial import image_to_object, object_to_image

POSE = torch.tensor([[2.0, 0.1, -0.2]])


def tracked(value: Tensor, name: str) -> Tensor:
    return ProvenanceTensor(value, frozenset({name}))


def lstm_step(features: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    lstm = ImageLSTM(2, 3, 4).double()
    return lstm(torch.ones(1, 16).double(), features, (h, torch.ones(1, 4).double()))


def mlp(features: Tensor) -> Tensor:
    torch.manual_seed(0)
    return MLP([3, 5, 2], "SiLU")(features)


def decode(z_what: Tensor) -> Tensor:
    torch.manual_seed(0)
    return Decoder(3, [4], (1, 2, 2), "ReLU", -2.0, True)(z_what)


FUNCTIONS: dict[str, tuple[Callable[..., object], tuple[Tensor, ...]]] = {
    "LSTM": (lstm_step, (torch.ones(1, 3), torch.ones(1, 4))),
    "MLP": (mlp, (torch.ones(1, 3),)),
    "decoder": (decode, (torch.ones(1, 3),)),
    "paint": (lambda z, y: object_to_image(z, y, (8, 8)), (POSE, torch.rand(1, 1, 4, 4))),
    "cut": (lambda z, x: image_to_object(z, x, (4, 4)), (POSE, torch.rand(1, 1, 8, 8))),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_outputs_depend_on_all_inputs_and_have_the_same_values(name: str) -> None:
    function, values = FUNCTIONS[name]
    inputs = [tracked(value.double(), f"input {i}") for i, value in enumerate(values)]
    expected = function(*(value.double() for value in values))
    outputs = function(*inputs)
    for output, value in zip(
        outputs if isinstance(outputs, tuple) else (outputs,),
        expected if isinstance(expected, tuple) else (expected,),
        strict=True,
    ):
        assert get_provenance(output) == get_provenance(inputs)
        assert torch.equal(output, value)


def test_gradients_pass() -> None:
    value = torch.ones(2, requires_grad=True)
    (gradient,) = torch.autograd.grad(one_operation(torch.exp)(tracked(value, "z")).sum(), value)
    torch.testing.assert_close(gradient, value.exp())


def test_without_provenance_nothing_is_tracked() -> None:
    assert type(one_operation(torch.exp)(torch.ones(2))) is Tensor


def test_the_function_sees_plain_tensors() -> None:
    seen = []
    one_operation(lambda x: (seen.append(type(x)), x)[1])(tracked(torch.ones(2), "z"))
    assert seen == [Tensor]


def test_keyword_arguments_are_taken_and_tracked_as_others() -> None:
    windows = torch.rand(1, 1, 4, 4).double()
    pose = POSE.double()
    expected = object_to_image(pose, windows, (8, 8))
    named = object_to_image(z_where=pose, windows=windows, canvas_size=(8, 8))
    assert torch.equal(named, expected)
    inputs = {"z_where": tracked(pose, "pose"), "windows": tracked(windows, "window")}
    mixed = object_to_image(**inputs, canvas_size=(8, 8))
    assert get_provenance(mixed) == {"pose", "window"}
    assert torch.equal(mixed, expected)


def wrapped_functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Yield every function and method of the package that a decorator stands in for."""
    for info in pkgutil.walk_packages(attend_infer_repeat.__path__, "attend_infer_repeat."):
        if info.name.endswith("__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, value in vars(module).items():
            members = vars(value).items() if inspect.isclass(value) else [(None, value)]
            if getattr(value, "__module__", None) != module.__name__:
                continue
            for member, function in members:
                function = getattr(function, "__func__", function)  # of a class method
                if inspect.isfunction(function) and hasattr(function, "__wrapped__"):
                    yield ".".join(filter(None, (module.__name__, name, member))), function


def test_every_decorated_function_takes_the_keywords_of_its_signature() -> None:
    seen = dict(wrapped_functions())
    assert "attend_infer_repeat.spatial.transformer.object_to_image" in seen
    assert "attend_infer_repeat.nn.lstm.ImageLSTM.forward" in seen
    assert "attend_infer_repeat.air.AIR.infer" in seen
    for name, function in seen.items():
        documented = inspect.signature(function).parameters.values()
        named = {
            p.name: None for p in documented if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        }
        try:
            inspect.signature(function, follow_wrapped=False).bind(**named)
        except TypeError as error:
            raise AssertionError(f"{name} refuses its own keywords: {error}") from error
