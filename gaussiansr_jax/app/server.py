"""The page's HTTP server."""

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from importlib import resources
from pathlib import PurePath
from urllib.parse import unquote

import anyio
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles
from starlette.websockets import WebSocket

from gaussiansr_jax import __version__
from gaussiansr_jax.app import catalogue
from gaussiansr_jax.app.channel import Channel
from gaussiansr_jax.app.guard import Guard
from gaussiansr_jax.app.jobs import FORMATS, Jobs
from gaussiansr_jax.app.pictures import PictureGone
from gaussiansr_jax.app.settings import Settings
from gaussiansr_jax.app.studio import Studio
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling.arguments import MAX_SCALE

_TIDY_SECONDS = 20
_THREADS_OF_A_TAB = 4


def build(settings: Settings) -> Starlette:
    """The ASGI application; when it stops, all pictures and results are deleted."""
    static = resources.files("gaussiansr_jax.app") / "static"
    routes = [
        Route("/", lambda _: FileResponse(str(static / "index.html"))),
        Route("/api/start", _start),
        Route("/api/pictures", _open, methods=["POST"]),
        Route("/api/pictures/{key}", _close, methods=["DELETE"]),
        Route("/api/pictures/{key}/preview.png", _preview),
        Route("/api/jobs", _enlarge, methods=["POST"]),
        Route("/api/jobs/{key}", _job, methods=["GET", "DELETE"]),
        Route("/api/jobs/{key}/file", _result),
        WebSocketRoute("/api/views", _views),
        Mount("/static", StaticFiles(directory=str(static))),
    ]
    allowed = {"listening_on": settings.host, "allowed": settings.allowed_hosts}
    app = Starlette(
        routes=routes,
        middleware=[Middleware(Guard, **allowed)],
        exception_handlers={UserError: _refused},
        lifespan=_lifespan,
    )
    app.state.settings = settings
    return app


@asynccontextmanager
async def _lifespan(app: Starlette) -> AsyncIterator[None]:
    studio = Studio(app.state.settings)
    jobs = Jobs(studio)
    app.state.studio, app.state.jobs, app.state.tabs = studio, jobs, 0
    app.state.threads = anyio.CapacityLimiter(studio.settings.connections * _THREADS_OF_A_TAB)
    tidying = asyncio.create_task(_tidy(studio, jobs))
    try:
        yield
    finally:
        tidying.cancel()
        await run_in_threadpool(jobs.close)
        studio.close()


async def _tidy(studio: Studio, jobs: Jobs) -> None:
    while True:
        await asyncio.sleep(_TIDY_SECONDS)
        await run_in_threadpool(studio.pictures.tidy)
        await run_in_threadpool(jobs.tidy)


async def _refused(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, 410 if isinstance(error, PictureGone) else 422)


async def _start(request: Request) -> Response:
    """What the page needs to know when it begins."""
    studio: Studio = request.app.state.studio
    samples = [
        (await run_in_threadpool(studio.pictures.get, f"sample-{name}")).describe()
        for name in catalogue.SAMPLES
    ]
    limits = {"maxScale": MAX_SCALE, "viewPixels": studio.settings.view_pixels}
    return JSONResponse(
        {
            "version": __version__,
            "models": studio.models.describe(),
            "samples": samples,
            "formats": list(FORMATS),
            "limits": limits,
        }
    )


async def _open(request: Request) -> Response:
    """Takes a picture: the body is the file, the header X-File-Name its name, percent-encoded."""
    studio: Studio = request.app.state.studio
    # Forms of other sites cannot send this header.
    given = request.headers.get("x-file-name")
    if given is None:
        raise UserError("the header X-File-Name with the picture's name is missing")
    name = PurePath(unquote(given).replace("\\", "/")).name[:200] or "picture"
    name = "".join(c for c in name if c.isprintable())
    limit = studio.settings.upload_bytes
    too_large = UserError(
        f"{name} is larger than {limit / 2**20:.0f} MiB, which is what this page takes; "
        "use `python -m gaussiansr_jax upscale` for it"
    )
    with suppress(ValueError):
        if int(request.headers.get("content-length", 0)) > limit:
            raise too_large
    file = studio.folder / f"upload-{secrets.token_hex(8)}{PurePath(name).suffix[:10]}"
    try:
        size = 0
        async with await anyio.open_file(file, "wb") as target:
            async for piece in request.stream():
                size += len(piece)
                if size > limit:
                    raise too_large
                await target.write(piece)
        opened = await run_in_threadpool(studio.pictures.open, file, name)
    except ClientDisconnect:
        return Response(status_code=400)
    finally:
        file.unlink(missing_ok=True)
    return JSONResponse(opened.describe(), 201)


async def _close(request: Request) -> Response:
    request.app.state.studio.pictures.close(request.path_params["key"])
    return Response(status_code=204)


async def _preview(request: Request) -> Response:
    opened = request.app.state.studio.pictures.get(request.path_params["key"])
    headers = {"Cache-Control": "private, max-age=600"}
    return Response(opened.preview, media_type="image/png", headers=headers)


async def _enlarge(request: Request) -> Response:
    try:
        wish = await request.json()
        picture, model = str(wish["picture"]), str(wish["model"])
        size = int(wish["height"]), int(wish["width"])
        kind, client = str(wish["format"]), str(wish["client"])[:64]
    except (ValueError, KeyError, TypeError, OverflowError, UnicodeDecodeError) as error:
        raise UserError("this request is not valid; reload the page") from error
    job = request.app.state.jobs.start(picture, model, size, kind, client)
    return JSONResponse(job.describe(), 201)


async def _job(request: Request) -> Response:
    job = request.app.state.jobs.get(request.path_params["key"])
    if request.method == "DELETE":
        job.stop.set()
    return JSONResponse(job.describe())


async def _result(request: Request) -> Response:
    job = request.app.state.jobs.get(request.path_params["key"])
    if job.state != "done":
        raise UserError("this picture is not finished")
    return FileResponse(job.file, filename=job.name)


async def _views(socket: WebSocket) -> None:
    state = socket.app.state
    if state.tabs >= state.settings.connections:
        await socket.close(1013, "too many people are here; try again later")
        return
    state.tabs += 1
    try:
        await socket.accept()
        await Channel(state.studio, socket, state.threads).serve()
    finally:
        state.tabs -= 1
