"""The server: which address answers what."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from os import PathLike
from pathlib import Path
from typing import Any, TypeVar

from fastapi import Depends, FastAPI, Request
from fastapi.responses import Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException

from ..air import AIR
from ..checkpoints.find import shipped
from ..data.pictures.canvas.framing import Framing
from ..files.records import rounded
from ..version import __version__
from ..web import docs, explain, refusals
from .exhibits import Exhibits, make_exhibits
from .explain import Reading
from .guards import LOOPBACK, Guards
from .pictures import Picture, data_uri, has_picture, read_sent
from .schemas import (
    Canvas,
    InferAnswer,
    InferRequest,
    Limits,
    ModelAnswer,
    PosePrior,
    RenderAnswer,
    RenderRequest,
    SampleAnswer,
    SampleRequest,
)
from .worker import LAST_SECONDS, Worker

logger = logging.getLogger(__name__)

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".json": "application/json",
    ".webmanifest": "application/manifest+json",
}
"""Of the page's files; others are not served."""

READERS = 2
"""Threads that decode pictures: a large one may hold up to half a gigabyte while it is read."""

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])


def make_app(air: AIR, model: str | PathLike[str], host: str = LOOPBACK[0]) -> FastAPI:
    """Return the server of a model, as an ASGI application.

    It has threads, which its end (lifespan) closes, or ``app.state.service.close()``.

    Args:
        air: the model, on the device where it is to compute.
        model: what it was loaded from: a name of shipped weights, or a path.
        host: the address that the server will listen on.
    Raises: CheckpointError if the model's parameters or answers are not finite numbers.
    """
    explain.check(air)
    service = Service(air, str(model))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        service.close()

    app = FastAPI(
        title="Attend, Infer, Repeat",
        version=__version__,
        description="Count, locate and describe the objects in pictures; draw and sample scenes.",
        openapi_url="/api/openapi.json",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        lifespan=lifespan,
    )
    app.state.service = service
    app.add_middleware(Guards, host=host)
    _add_interface(app, service)
    docs.add_to(app)
    _add_page(app)
    refusals.add_to(app)
    return app


class Service:
    """What answers: a model, the thread that it computes in, and those that decode pictures."""

    def __init__(self, air: AIR, model: str) -> None:
        self.air, self.model = air, model
        self.framing = Framing.of_model(air.config)
        self.worker = Worker(air)
        self.readers = ThreadPoolExecutor(READERS, thread_name_prefix="reader")
        self._exhibits: Future[Exhibits] = Future()
        self._exhibitor = threading.Thread(target=self._make_exhibits, name="exhibits")
        self._exhibitor.start()

    def close(self) -> None:
        """End all threads; wait a while for what is under way."""
        self.readers.shutdown(wait=False, cancel_futures=True)
        self.worker.close()
        self._exhibitor.join(LAST_SECONDS)

    def _make_exhibits(self) -> None:
        def compute(work: Callable[[], Any]) -> Any:
            return self.worker.submit(work).result()

        try:
            self._exhibits.set_result(make_exhibits(self.air, self.model, compute))
        except CancelledError as error:  # closed
            self._exhibits.set_exception(error)

    async def describe(self) -> ModelAnswer:
        """Answer ``GET /api/model``."""
        exhibits = await asyncio.shield(asyncio.wrap_future(self._exhibits))
        config, model = self.air.config, self.air.model
        height, width = config.canvas_size
        return ModelAnswer(
            name=self.model if self.model in shipped() else Path(self.model).resolve().name,
            version=__version__,
            canvas=Canvas(width=width, height=height),
            channels=config.channels,
            max_objects=config.count.max_steps,
            unbounded=config.count.unbounded,
            window_size=config.appearance.window_size,
            what_dim=config.appearance.encoder_latent_size,
            background_size=model.background.latent_size,
            composition=config.composition,
            guide=config.inference.guide,
            invert=config.framing.invert,
            prior=model.count_prior.law.probs().tolist(),
            z_where=PosePrior(
                mean=rounded(model.poses.pose(model.z_where_loc).cpu().numpy()),
                sd=rounded(model.z_where_scale.cpu().numpy()),
            ),
            limits=Limits(),
            code=exhibits.code,
            examples=exhibits.examples,
            missing=exhibits.missing,
        )

    async def infer(self, ask: InferRequest) -> str:
        """Answer ``POST /api/infer``, as JSON."""
        began = time.perf_counter()
        picture = await self._read_sent(ask)

        def answer(reading: Reading, row: int) -> str:
            wanted = ask.samples > 0
            return InferAnswer(
                scene=explain.scene_of(self.air, reading, row, ask.name, picture),
                canvas=data_uri(picture.canvas),
                reconstruction=data_uri(reading.found.reconstruction[row]),
                steps=explain.steps_to(self.air, reading, row),
                posterior=explain.posterior_of(self.air, picture.canvas, ask.samples, ask.seed)
                if wanted
                else None,
                milliseconds=round(1e3 * (time.perf_counter() - began), 3),
            ).model_dump_json(exclude_unset=True)  # a record has no more than it was given

        return await self.worker.read(picture.canvas, answer)

    async def render(self, ask: RenderRequest) -> str:
        """Answer ``POST /api/render``, as JSON."""
        return await self.worker.run(lambda: explain.render(self.air, ask).model_dump_json())

    async def sample(self, ask: SampleRequest) -> str:
        """Answer ``POST /api/sample``, as JSON."""
        explain.check_count(self.air, ask)
        if not has_picture(ask):
            return await self.worker.run(
                lambda: explain.sample_prior(self.air, ask).model_dump_json()
            )
        canvas = (await self._read_sent(ask)).canvas
        return await self.worker.run(
            lambda: explain.sample_posterior(self.air, canvas, ask).model_dump_json()
        )

    async def _read_sent(self, ask: InferRequest | SampleRequest) -> Picture:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self.readers, read_sent, ask, self.framing)


def _add_interface(app: FastAPI, service: Service) -> None:
    """Add what answers in JSON. It is written where it is made: the loop only hands it on."""

    @app.get("/api/model", summary="What the model is", responses={403: refusals.REFUSALS[403]})
    async def model() -> ModelAnswer:
        return await service.describe()

    def post(path: str, summary: str, answer: type[BaseModel]) -> Callable[[Endpoint], Endpoint]:
        return app.post(
            path,
            summary=summary,
            response_model=answer,
            responses=refusals.REFUSALS,
            dependencies=[Depends(_require_json)],
        )

    @post("/api/infer", "Count, locate and describe the objects in a picture", InferAnswer)
    async def infer(ask: InferRequest) -> Response:
        return _json(await service.infer(ask))

    @post("/api/render", "Draw a scene", RenderAnswer)
    async def render(ask: RenderRequest) -> Response:
        return _json(await service.render(ask))

    @post("/api/sample", "Draw scenes from the prior, or explanations of a picture", SampleAnswer)
    async def sample(ask: SampleRequest) -> Response:
        return _json(await service.sample(ask))


async def _require_json(request: Request) -> None:
    """Refuse what a form of another site could send."""
    kind = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(415, "the body must be JSON; send Content-Type: application/json.")


def _json(text: str) -> Response:
    return Response(text, media_type="application/json")


def _add_page(app: FastAPI) -> None:
    """Add the page's files as they are now; they are few, and cost no descriptor when asked for."""
    files = {
        path.relative_to(STATIC).as_posix(): (path.read_bytes(), MEDIA_TYPES[path.suffix])
        for path in STATIC.rglob("*")
        if path.suffix in MEDIA_TYPES
    }

    @app.get("/", include_in_schema=False)
    async def page() -> Response:
        return file("index.html")

    @app.get("/static/{name:path}", include_in_schema=False)
    async def static(name: str) -> Response:
        return file(name)

    def file(name: str) -> Response:
        if name not in files:
            raise HTTPException(404)
        content, media_type = files[name]
        return Response(content, media_type=media_type)
