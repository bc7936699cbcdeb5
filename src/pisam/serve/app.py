"""The server: its addresses, and what each answers. docs/serving.md is its manual."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from importlib import resources
from typing import Any

import anyio
import numpy as np
from PIL import Image
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pisam.core.locality import iou
from pisam.data.generated.sets import NAMES, sample
from pisam.predictor import formats
from pisam.predictor.engine import Engine
from pisam.serve.pictures import Limits, Refused, decode_image, decode_mask
from pisam.serve.requests import Gate, anylabeling_error, read_body, read_json
from pisam.serve.sessions import VERBS, Open, Store, call_of
from pisam.serve.tools import VERSION, Backend, health

POST = ["POST"]
WAITING = 64  # requests that may wait for a thread
BODIES = 8  # longest uploads that may be on their way at a time
PAGE = {
    "/": ("page.html", "text/html"),
    "/page.js": ("page.js", "text/javascript"),
    "/page.css": ("page.css", "text/css"),
}
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; frame-ancestors 'none'; base-uri 'none'; "
    "form-action 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


@dataclass(frozen=True)
class Settings:
    """Who may ask for what."""

    token: str | None = None  # that everybody must send; None = nobody
    hosts: tuple[str, ...] = ()  # names of the server; empty = any
    cors: str | None = None  # `origin` of pages of another site that may ask; None = none
    label_studio: str | None = None  # `origin` of the host whose pictures may be fetched
    label_studio_key: str | None = None  # its API key
    threads: int = 2  # requests that are worked on at a time
    limits: Limits = field(default_factory=Limits)  # of uploads
    sessions: int = 64  # the most at a time
    seconds: float = 1800  # after which an unused session is forgotten
    memory: int = 2**30  # bytes of all sessions


class Server:
    """Answers requests; heavy work goes to a few threads."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        limits = settings.limits
        self.store = Store(
            engine, limits, most=settings.sessions, seconds=settings.seconds, memory=settings.memory
        )
        self.backend = Backend(self.store, settings.label_studio, settings.label_studio_key)
        self.limits, self.settings = limits, settings
        self._threads = anyio.CapacityLimiter(settings.threads)

    async def work(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """The result of a function, from a thread; raises Refused: too many requests wait already."""
        if self._threads.statistics().tasks_waiting >= WAITING:
            raise Refused(503, "busy: too many requests wait; try again in a moment")
        return await anyio.to_thread.run_sync(partial(function, *arguments), limiter=self._threads)

    async def page(self, request: Request) -> Response:
        name, kind = PAGE[request.url.path]
        return Response(_page(name), media_type=kind, headers=HEADERS)

    async def health(self, _: Request) -> Response:
        return JSONResponse(health(self.store.sessions))

    async def samples(self, _: Request) -> Response:
        return JSONResponse({"samples": list(NAMES)})

    async def begin(self, request: Request) -> Response:
        contents = await read_body(request, self.limits.upload)
        return JSONResponse(await self.work(self._begin, contents), 201)

    async def begin_sample(self, request: Request) -> Response:
        number = request.path_params["number"]
        if number not in map(str, range(len(NAMES))):  # as text: int() fails on thousands of digits
            raise Refused(404, f"sample: expected 0 to {len(NAMES) - 1}")
        return JSONResponse(await self.work(self._begin_sample, int(number)), 201)

    def _begin(self, contents: bytes) -> dict[str, Any]:
        image = self.store.encode(contents)
        return {"session": self.store.begin(image), "width": image.size[1], "height": image.size[0]}

    def _begin_sample(self, number: int) -> dict[str, Any]:
        pixels, mask = sample(number)
        begun = self._begin(_png(Image.fromarray(pixels)))
        self.store.find(begun["session"]).truth = mask
        return {**begun, "truth": _as_uri(mask)}

    async def image(self, request: Request) -> Response:
        session = self.store.find(request.path_params["session"])
        pixels = await self.work(decode_image, session.image.contents, self.limits)
        return Response(
            await self.work(_png, Image.fromarray(pixels)), media_type="image/png", headers=HEADERS
        )

    async def ask(self, request: Request) -> Response:
        name, verb = request.path_params["session"], request.path_params["verb"]
        session = self.store.find(name)
        if verb in ("mask", "truth"):
            action = partial(self._take, name, verb, await read_body(request, self.limits.upload))
        elif verb in VERBS:
            action = partial(self.store.change, name, call_of(verb, await read_json(request)))
        else:
            raise Refused(404, f"verb: expected mask, truth, {', '.join(VERBS)}")
        async with session.lock:
            # Together: who waits for one thread after the other may be refused between the two.
            return JSONResponse(await self.work(self._act, name, verb, action))

    def _act(self, name: str, verb: str, action: Callable[[], object]) -> dict[str, Any]:
        action()
        state, truth = self._state(name), self.store.find(name).truth
        return state if verb != "truth" or truth is None else {**state, "truth": _as_uri(truth)}

    def _take(self, name: str, verb: str, contents: bytes) -> None:
        """A mask to repair, or one to compare with."""
        session = self.store.find(name)
        mask = decode_mask(contents, self.limits)
        if mask.shape != session.image.size:
            height, width = session.image.size
            raise Refused(400, f"{verb}: expected {width}x{height} pixels, as the picture has")
        if verb == "truth":
            session.truth = mask
        else:
            self.store.change(name, lambda predictor: predictor.set_mask(mask))

    def _state(self, name: str) -> dict[str, Any]:
        session = self.store.find(name)
        predictor = session.predictor
        undo, redo = predictor.history
        if not undo:
            return {"mask": None, "clicks": [], "undo": 0, "redo": 0, "iou": None}
        mask = predictor.mask
        predictor.forget_pixels()
        return {
            "mask": _as_uri(mask),
            "clicks": [list(click) for click in predictor.clicks],
            "undo": undo - 1,
            "redo": redo,
            "iou": None if session.truth is None else iou(mask, session.truth),
        }

    async def download(self, request: Request) -> Response:
        name, kind = request.path_params["session"], request.path_params["format"]
        if kind not in formats.MEDIA_TYPES:
            raise Refused(404, f"format: expected one of {', '.join(formats.MEDIA_TYPES)}")
        session = self.store.find(name)
        async with session.lock:
            contents = await self.work(self._download, name, kind)
        file = f"{kind}.{formats.suffix_of(kind)}"
        named = {"Content-Disposition": f'attachment; filename="{file}"', **HEADERS}
        if isinstance(contents, bytes):
            return Response(contents, media_type=formats.MEDIA_TYPES[kind], headers=named)
        return JSONResponse(contents, headers=named)

    def _download(self, name: str, kind: str) -> Any:
        session = self.store.find(name)
        predictor = session.predictor
        if not predictor.history[0]:
            raise Refused(400, "download: there is no mask yet; give a box first")
        try:
            return self._written(session, kind)
        finally:
            predictor.forget_pixels()

    def _written(self, session: Open, kind: str) -> Any:
        predictor, (height, width) = session.predictor, session.image.size
        match kind:
            case "mask":
                return formats.mask_png(predictor.mask)
            case "soft":
                return formats.soft_png(predictor.soft_mask)
            case "rgba":
                return formats.rgba_png(
                    decode_image(session.image.contents, self.limits), predictor.soft_mask
                )
            case "polygons":
                return {"width": width, "height": height, "polygons": formats.polygons(predictor.mask)}
        picture = {"file_name": "image", "width": width, "height": height}
        annotations = [formats.coco_annotation(predictor.mask)]
        return formats.coco_file([{**picture, "annotations": annotations}], {1: "object"})

    async def end(self, request: Request) -> Response:
        self.store.end(request.path_params["session"])
        return Response(status_code=204)

    async def setup(self, request: Request) -> Response:
        await read_json(request, 2**20)
        return JSONResponse({"model_version": VERSION})

    async def label_studio(self, request: Request) -> Response:
        asked = await read_json(request, 2 * self.limits.upload)
        return JSONResponse(await self.work(self.backend.label_studio, asked))

    async def models(self, _: Request) -> Response:
        return JSONResponse(self.backend.models())

    async def model(self, request: Request) -> Response:
        if request.path_params["model"] not in self.backend.models()["data"]:
            return JSONResponse(anylabeling_error("MODEL_NOT_FOUND", "no such model"))
        return JSONResponse({"success": True, "data": self.backend.model()})

    async def anylabeling(self, request: Request) -> Response:
        asked = await read_json(request, 2 * self.limits.upload)
        try:
            return JSONResponse(await self.work(self.backend.anylabeling, asked))
        except Refused as error:
            if error.status >= 500:
                raise
            code = "MODEL_NOT_FOUND" if error.status == 404 else "INFERENCE_ERROR"
            return JSONResponse(
                anylabeling_error("INVALID_IMAGE" if "image" in str(error) else code, str(error))
            )


def build_app(engine: Engine, settings: Settings) -> Starlette:
    """The ASGI application on an engine."""
    server = Server(engine, settings)
    gate = partial(Gate, token=settings.token, hosts=settings.hosts, origin=settings.cors)
    middleware = [Middleware(gate, bodies=BODIES * settings.limits.upload)]
    if settings.cors:
        middleware.append(
            Middleware(
                CORSMiddleware, allow_origins=[settings.cors], allow_methods=["*"], allow_headers=["*"]
            )
        )
    session = "/api/sessions/{session}"
    return Starlette(
        routes=[
            *(Route(path, server.page) for path in PAGE),
            Route("/health", server.health),
            Route("/api/samples", server.samples),
            Route("/api/samples/{number}", server.begin_sample, methods=POST),
            Route("/api/images", server.begin, methods=POST),
            Route(session, server.end, methods=["DELETE"]),
            Route(f"{session}/image", server.image),
            Route(f"{session}/download/{{format}}", server.download),
            Route(f"{session}/{{verb}}", server.ask, methods=POST),
            Route("/setup", server.setup, methods=POST),
            Route("/predict", server.label_studio, methods=POST),
            Route("/v1/models", server.models),
            Route("/v1/models/{model}/info", server.model),
            Route("/v1/predict", server.anylabeling, methods=POST),
        ],
        middleware=middleware,
        exception_handlers={Refused: _refused, HTTPException: _no_route},
    )


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    # What is left of a body that is too long or too slow is not waited for.
    return JSONResponse({"error": str(error)}, error.status, headers={"Connection": "close"})


async def _no_route(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, headers=error.headers)


@cache
def _page(name: str) -> bytes:
    return resources.files("pisam.serve").joinpath(name).read_bytes()


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    return buffer.getvalue()


def _as_uri(mask: np.ndarray) -> str:
    """A mask as a data URI: PNG of one bit."""
    return f"data:image/png;base64,{base64.b64encode(_png(Image.fromarray(mask))).decode()}"
