"""The documentation's diagrams: the committed files are those that their script draws."""

from __future__ import annotations

import re
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
import torch

import attend_infer_repeat as air

DOCS = Path(__file__).parents[2] / "docs"
NAMES = ("guide", "loop", "vae")
SVG = "{http://www.w3.org/2000/svg}"
LARGEST = 150_000


def committed(name: str) -> str:
    return (DOCS / "images" / f"{name}.svg").read_text(encoding="utf-8")


def without_images(svg: str) -> str:
    return re.sub(r'href="[^"]*"', 'href=""', svg)


def blank(diagrams: ModuleType):
    """Return pictures of nothing."""
    one_each = {"image": ""}
    fields = diagrams.Pictures._fields
    return diagrams.Pictures(**{f: one_each.get(f, [""] * diagrams.STEPS) for f in fields})


def test_the_script_draws_the_diagrams_that_are_there(diagrams: ModuleType) -> None:
    assert tuple(diagrams.DIAGRAMS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_committed_diagrams_are_those_of_the_script(diagrams: ModuleType, name: str) -> None:
    drawn = diagrams.DIAGRAMS[name](blank(diagrams))
    assert without_images(committed(name)) == without_images(drawn)


def test_the_committed_house_is_that_of_the_table(diagrams: ModuleType) -> None:
    assert committed("house") == diagrams.house(diagrams.read_parts())


@pytest.mark.parametrize("name", NAMES)
def test_diagrams_are_small_and_tell_what_they_show(name: str) -> None:
    svg = committed(name)
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert all(root.find(f"{SVG}{part}").text for part in ("title", "desc"))
    assert root.get("viewBox").startswith("0 0 760 ")
    pictures = [image.get("href") for image in root.iter(f"{SVG}image")]
    assert pictures
    assert all(uri.startswith("data:image/png;base64,") for uri in pictures)
    assert len(svg.encode()) < LARGEST


def test_subscripts_drop_and_what_follows_rises_again(diagrams: ModuleType) -> None:
    root = ElementTree.fromstring(f"<text>{diagrams.typeset('r_{1} = {x}')}</text>")
    assert "".join(root.itertext()) == "r1 = x"
    assert [span.get("dy") for span in root] == [None, "4", "-4", None]


def test_pictures_are_the_same_each_time(diagrams: ModuleType) -> None:
    torch.set_default_dtype(torch.float32)  # the weights' own
    image = air.load_dataset("digits", split="test", max_count=3).images[diagrams.SCENE]
    model = air.AIR.load("digits")
    first, second = (diagrams.pictures_of(model, image) for _ in range(2))
    assert first == second
    assert len(first.residual) == diagrams.STEPS
