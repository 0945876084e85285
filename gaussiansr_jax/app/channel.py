"""One browser tab's connection: the latest view wins, and appears tile by tile.

A tab sends views; it is sent frames, each of which says what it shows. While tiles of the latest
view are not encoded yet, each encoded tile is sent as a separate frame, and each further one as
soon as it is encoded, those in the middle first. A newer view stops the work for an older one.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anyio
from starlette.websockets import WebSocket, WebSocketDisconnect

from gaussiansr_jax.app import drawing
from gaussiansr_jax.app.drawing import View
from gaussiansr_jax.app.pictures import PictureGone
from gaussiansr_jax.app.studio import Studio
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling.prepared import Prepared, TileOfView

_LONGEST_MESSAGE = 4096
_log = logging.getLogger(__name__)


class StaleView(Exception):
    """A newer view has come."""


class Channel:
    """Serves one tab until it goes."""

    def __init__(self, studio: Studio, socket: WebSocket, threads: anyio.CapacityLimiter):
        """An accepted connection; blocking work runs in `threads`."""
        self._studio, self._socket, self._threads = studio, socket, threads
        self._client = f"tab-{id(self)}"
        self._view: View | None = None
        self._drawn: set[tuple] = set()  # tiles of the latest view that were sent
        self._wanted: list[TileOfView] = []  # tiles of the latest view that are not encoded
        self._gone = False
        self._draw, self._encode = asyncio.Event(), asyncio.Event()
        self._sending = asyncio.Lock()

    async def serve(self) -> None:
        """Listens, draws and encodes."""
        tasks = [asyncio.create_task(self._drawing()), asyncio.create_task(self._encoding())]
        try:
            while True:
                text = await self._socket.receive_text()
                if len(text) > _LONGEST_MESSAGE:
                    break
                await self._receive(text)
        except (WebSocketDisconnect, RuntimeError, KeyError):
            pass
        finally:
            self._view, self._gone = None, True
            for task in tasks:
                task.cancel()
            self._studio.drawing.forget(self._client)
            self._studio.working.forget(self._client)

    async def _receive(self, text: str) -> None:
        try:
            message = json.loads(text)
            kind = message["kind"]
        except (ValueError, KeyError, TypeError):
            return
        try:
            if kind == "view":
                view = View.parse(message, self._studio.settings.view_pixels)
                self._view, self._wanted, self._drawn = view, [], set()
                self._draw.set()
            elif kind == "rest":
                self._view, self._wanted = None, []
            elif kind == "gaussians":
                await self._gaussians(message)
        except UserError as error:
            await self._send({"kind": "error", "message": str(error)})

    async def _drawing(self) -> None:
        while True:
            await self._draw.wait()
            self._draw.clear()
            view = self._view
            if view is None:
                continue
            try:
                await self._show(view)
            except StaleView:
                pass
            except PictureGone:
                gone = {"kind": "gone", "number": view.number, "picture": view.picture}
                await self._send(gone)
            except UserError as error:
                await self._send({"kind": "error", "number": view.number, "message": str(error)})
            except Exception:  # one view that fails must not end the others
                _log.exception("a view failed")
                message = "this view could not be drawn; the terminal says why"
                await self._send({"kind": "error", "number": view.number, "message": message})

    async def _show(self, view: View) -> None:
        studio = self._studio
        if not studio.models.is_loaded(view.model):
            await self._send({"kind": "status", "number": view.number, "loading": True})
        opened, prepared = await self._run(studio.prepared, view.picture, view.model)
        parts = prepared.view_tiles(*view.place)
        # Tiles that were drawn may have been dropped from the cache since.
        open_parts = [part for part in parts if part.tile not in self._drawn]
        missing = [part for part in open_parts if not prepared.has(part.tile)]
        if not missing and len(open_parts) == len(parts):
            wanted = [(None, view)]
        else:
            present = [part for part in open_parts if part not in missing]
            wanted = [(part.tile, view.part(part)) for part in _middle_first(present, view)]
        if missing:
            # Before the frames, which take long on a CPU: both go on at the same time.
            self._wanted = _middle_first(missing, view)
            self._encode.set()
        for tile, piece in wanted:
            draw = self._in_turn(
                view, lambda p, piece=piece: drawing.frame(piece, opened, prepared, p)
            )
            await self._send_bytes(await self._run(draw))
            if view is self._view and tile is not None:
                self._drawn.add(tile)
        status = {"number": view.number, "missing": len(missing), "tiles": len(parts)}
        await self._send({"kind": "status", **status})

    def _in_turn(self, view: View, work: Callable[[Callable], Any]) -> Callable[[], Any]:
        """`work` in small pieces among those of others, until the view is stale."""

        def progress(done: float) -> None:
            if view is not self._view:
                raise StaleView
            if 0 < done < 1:
                self._studio.drawing.give_way(self._client)

        def run() -> Any:
            with self._studio.drawing.take(self._client):
                progress(0.0)
                return work(progress)

        return run

    async def _encoding(self) -> None:
        while True:
            await self._encode.wait()
            self._encode.clear()
            while self._wanted and self._view is not None:
                view, part = self._view, self._wanted.pop(0)
                with suppress(UserError):  # drawing raises it again, and reports it
                    _, prepared = await self._run(self._studio.prepared, view.picture, view.model)
                    await self._run(self._encode_tile, view, prepared, part)
                self._draw.set()

    def _encode_tile(self, view: View, prepared: Prepared, part: TileOfView) -> None:
        with self._studio.working.take(self._client):
            # Another tab may have encoded it meanwhile, or the view is stale.
            if view is self._view and not prepared.has(part.tile):
                prepared.encode_tile(part.tile)

    async def _gaussians(self, message: dict) -> None:
        try:
            picture, model = str(message["picture"]), str(message["model"])
            place = [int(message[name]) for name in ("top", "left", "height", "width")]
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise UserError("this region is not valid; reload the page") from error
        if not self._studio.models.is_loaded(model):
            return
        names = {"picture": picture, "model": model}
        _, prepared = await self._run(self._studio.prepared, picture, model)
        found = await self._run(drawing.gaussians, prepared, names, *place)
        if found is not None:
            await self._send_bytes(found)

    async def _run(self, work: Callable, *args: Any) -> Any:
        return await anyio.to_thread.run_sync(work, *args, limiter=self._threads)

    async def _send(self, message: dict) -> None:
        await self._sent(self._socket.send_text, json.dumps(message))

    async def _send_bytes(self, message: bytes) -> None:
        await self._sent(self._socket.send_bytes, message)

    async def _sent(self, send: Callable, message: Any) -> None:
        async with self._sending:
            with suppress(WebSocketDisconnect, RuntimeError):  # `serve` notices, and ends
                await send(message)


def _middle_first(parts: list[TileOfView], view: View) -> list[TileOfView]:
    def distance(part: TileOfView) -> float:
        y = part.top + part.height / 2 - view.height / 2
        x = part.left + part.width / 2 - view.width / 2
        return y * y + x * x

    return sorted(parts, key=distance)
