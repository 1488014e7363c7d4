"""The JSON that the page and the server exchange: what is asked, and what is answered.

What is asked is checked strictly: no field that is not known, no text for a number, no NaN and no
infinity, no list longer than it may be. What depends on the model, such as how many numbers a code
has, is checked by ``explain.py``. Pictures in answers are PNG files as data URIs.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .limits import (
    MAX_BODY,
    MAX_IMPORTANCE_SAMPLES,
    MAX_OBJECTS,
    MAX_PIXELS,
    MAX_SCENES,
    MAX_SEED,
    MAX_SIDE,
    MAX_SIZE,
    Box,
    Code,
    Image,
    Invert,
    Plane,
    Planes,
    Pose,
    Seed,
)


class Request(BaseModel):
    """What all requests share."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Answer(BaseModel):
    """What all answers share: no number in them is NaN or infinite, which JSON cannot say."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)


# Asked


class InferRequest(Request):
    """A picture to read: ``image`` or ``pixels``."""

    image: Annotated[
        str | None,
        Field(
            max_length=MAX_BODY,
            description="a PNG, JPEG, TIFF, BMP or GIF in base64, bare or as a data URI; of any "
            "size, brought to the canvas as `air infer` brings it",
        ),
    ] = None
    pixels: Annotated[
        Plane | Planes | None,
        Field(
            description="the canvas itself: rows of intensities, or three such planes; read with 8 "
            "bits each, as a PNG of them would be",
        ),
    ] = None
    invert: Annotated[
        Invert | None,
        Field(
            description="dark objects on a bright background: look, yes or no; null is the "
            "model's own way",
        ),
    ] = None
    name: Annotated[
        str, Field(max_length=255, description="what the scene's record calls the picture")
    ] = "picture"
    samples: Annotated[
        int,
        Field(ge=0, le=MAX_IMPORTANCE_SAMPLES, description="importance samples for `posterior`"),
    ] = 0
    seed: Annotated[Seed, Field(description="of the samples")] = 0


class ObjectToDraw(Request):
    """An object's place and look."""

    z_where: Annotated[Pose, Field(description="s, x, y")]
    z_what: Annotated[Code, Field(description="as many numbers as the model's codes have")]


class RenderRequest(Request):
    """A scene to draw."""

    objects: Annotated[list[ObjectToDraw], Field(max_length=MAX_OBJECTS)]
    z_background: Annotated[
        Code | None, Field(description="what is behind the objects; black where it is null")
    ] = None
    noise: Annotated[bool, Field(description="add the model's pixel noise, always the same")] = (
        False
    )


class SampleRequest(Request):
    """How many scenes to draw: from the prior or, with a picture, from the posterior given it."""

    num: Annotated[int, Field(ge=1, le=MAX_SCENES)]
    count: Annotated[
        int | None,
        Field(ge=0, le=MAX_SIDE, description="objects in each scene; drawn where it is null"),
    ] = None
    seed: Seed = 0
    image: Annotated[str | None, Field(max_length=MAX_BODY, description="as of infer")] = None
    pixels: Annotated[Plane | Planes | None, Field(description="as of infer")] = None
    invert: Annotated[Invert | None, Field(description="as of infer")] = None


# Answered


class FoundObject(Answer):
    """An object as `air infer` records it."""

    step: int
    score: Annotated[float, Field(description="q(z_pres_t = 1 | x)")]
    box: Annotated[Box, Field(description="x0, y0, x1, y1 in the picture's pixels")]
    z_where: list[float]
    z_what: list[float]


class Scene(Answer):
    """A scene as `air infer` records it."""

    file: str
    width: int
    height: int
    count: int
    count_probs: Annotated[list[float], Field(description="q(n | x) for n = 0..T")]
    count_interval: Annotated[list[int], Field(description="holds the count at 90%")]
    objects: list[FoundObject]
    z_background: Annotated[
        list[float] | None, Field(description="only where the model has a background")
    ] = None


class StepAnswer(Answer):
    """What a step of the guide saw, decided and drew."""

    step: Annotated[int, Field(description="from 1")]
    present: bool
    presence: Annotated[float, Field(description="q(z_pres_t = 1 | x)")]
    seen: Annotated[Image, Field(description="what is left before the step")]
    glimpse: Annotated[Box | None, Field(description="where it looked first, canvas pixels")]
    box: Annotated[Box, Field(description="the window, canvas pixels")]
    z_where: list[float]
    z_what: list[float]
    window: Annotated[Image | None, Field(description="what the code was read from")]
    redrawn: Annotated[Image, Field(description="the decoded window")]
    sum: Annotated[Image, Field(description="what is drawn after the step")]


class Posterior(Answer):
    """The importance-weighted posterior over the count."""

    count_probs: list[float]
    effective_sample_size: float
    samples: int


class InferAnswer(Answer):
    """What AIR found, and how."""

    scene: Scene
    canvas: Annotated[Image, Field(description="what the model saw")]
    reconstruction: Image
    steps: Annotated[
        list[StepAnswer],
        Field(description="the present steps, then the one that decides to stop, unless T are"),
    ]
    posterior: Posterior | None
    milliseconds: Annotated[float, Field(description="from the request to this answer")]


class RenderAnswer(Answer):
    """A scene, drawn."""

    image: Image
    boxes: Annotated[list[Box], Field(description="canvas pixels")]
    objects: Annotated[
        list[Image],
        Field(description="each alone; transparent where dark, or by its opacity if it has one"),
    ]
    background: Annotated[Image | None, Field(description="what is behind them")]


class SampledObject(Answer):
    """An object of a sampled scene."""

    z_where: list[float]
    z_what: list[float]
    box: Annotated[Box, Field(description="canvas pixels")]


class SampledScene(Answer):
    """A scene from the prior, or an explanation of a picture with its weight."""

    count: int
    objects: list[SampledObject]
    z_background: list[float] | None
    image: Image
    weight: Annotated[float | None, Field(description="its share of the sum of all weights")]
    log_weight: Annotated[float | None, Field(description="log p(x, z) / q(z | x), nats")]


class SampleAnswer(Answer):
    """Scenes; explanations begin with the one of the largest weight."""

    scenes: list[SampledScene]


class Component(Answer):
    """A main direction of the codes."""

    sd: Annotated[float, Field(description="the codes' standard deviation along it")]
    direction: Annotated[list[float], Field(description="of length 1")]


class Directions(Answer):
    """How the codes of objects vary."""

    mean: list[float]
    components: Annotated[list[Component], Field(description="the main ones, largest first")]
    source: Annotated[str, Field(description="the scenes that the codes were read from")]


class Example(Answer):
    """A scene to begin with."""

    name: str
    image: Image


class Canvas(Answer):
    """The size of the model's images, in pixels."""

    width: int
    height: int


class PosePrior(Answer):
    """The law of z_where: the pose (s, x, y) at the mean, and the deviations of coordinates."""

    mean: list[float]
    sd: list[float]


class Limits(Answer):
    """What is refused if it is exceeded."""

    max_objects_render: int = MAX_OBJECTS
    max_upload_bytes: Annotated[int, Field(description="of a whole request")] = MAX_BODY
    max_picture_pixels: int = MAX_PIXELS
    max_samples: Annotated[int, Field(description="scenes of sample")] = MAX_SCENES
    max_importance_samples: int = MAX_IMPORTANCE_SAMPLES
    max_number: Annotated[float, Field(description="of poses and codes, by size")] = MAX_SIZE
    max_seed: int = MAX_SEED


class ModelAnswer(Answer):
    """What the model is."""

    name: str
    version: str
    canvas: Canvas
    channels: int
    max_objects: Annotated[int, Field(description="T, or the limit of an unbounded walk")]
    unbounded: Annotated[bool, Field(description="whether the prior has every number of objects")]
    window_size: int
    what_dim: int
    background_size: Annotated[int, Field(description="of z_background; 0 where there is none")]
    composition: Annotated[
        Literal["sum", "over"], Field(description="objects add up, or the first is in front")
    ]
    guide: str
    invert: Invert
    prior: Annotated[list[float], Field(description="p(n) for n = 0..max_objects")]
    z_where: PosePrior
    limits: Limits
    code: Directions | None
    examples: list[Example]
    missing: Annotated[
        dict[str, str], Field(description="parts that could not be made (code, examples), and why")
    ]


class Refusal(Answer):
    """Why a request was refused."""

    detail: Annotated[str, Field(description="one sentence, with what to do")]
