"""One image on its way through a model: encoded in tiles, rendered in blocks."""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any

import jax
import numpy as np

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.upscaling import arguments, tiling
from gaussiansr_jax.upscaling.arguments import Scale, Size
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.upscaling.memory import available_bytes, is_out_of_memory

# Encoded tiles that are kept for the next scale, in all.
KEPT_FIELD_BYTES = 2**31
# Calls under way: the device may compute the next blocks while threads of the host copy the last.
# The threads stay: starting them takes as long as copying a photograph.
_IN_FLIGHT = 4
_COPYING = ThreadPoolExecutor(_IN_FLIGHT, "copying")
_Span = tuple[int, int]  # first LR pixel and number of LR pixels along an axis
# First output row and the one after the last, and likewise the columns.
_Place = tuple[tuple[int, int], tuple[int, int]]


class Prepared:
    """An image that is encoded once and rendered at many scales (`Upscaler.prepare`)."""

    def __init__(self, engine: Engine, image: Any, kept_bytes: int = KEPT_FIELD_BYTES):
        """Checks the image; encodes nothing yet. `encode` keeps at most `kept_bytes`."""
        self.image = arguments.check_image(image)
        self._kept_bytes = kept_bytes
        self._engine = engine
        # Smaller after memory ran out, for this image alone.
        self._tile, self._block = engine.tile, engine.block
        self._fields: dict[tuple, Any] = {}
        self._keep = False

    def encode(self) -> "Prepared":
        """Encodes the image now, and keeps the result if it fits the device comfortably."""
        self._keep = True
        self._retry(self._encode_all)
        return self

    def render(self, scale: Scale | None = None, *, size: Size | None = None) -> np.ndarray:
        """The image at one scale or size; arguments, result and errors as `Upscaler.upscale`."""
        lr_size = self.image.shape[:2]
        uniform = scale if isinstance(scale, int | float) else None
        size = arguments.requested_size(lr_size, scale, size)
        check_memory((*size, 3), self.image.itemsize)
        if self._engine.model.tileable:
            return self._retry(partial(self._render, size))
        return self._retry(partial(self._render_whole, size, uniform))

    def _render(self, size: Size) -> np.ndarray:
        out = np.empty((*size, 3), self.image.dtype)
        pending = deque()
        try:
            for places, values in self._blocks(size):
                values.copy_to_host_async()
                pending.append(_COPYING.submit(_store, out, places, values))
                if len(pending) >= _IN_FLIGHT:
                    pending.popleft().result()
            for copied in pending:
                copied.result()
        finally:
            wait(pending)  # after an error, they hold memory of the device
        return out

    def _render_whole(self, size: Size, scale: float | None) -> np.ndarray:
        height, width = self.image.shape[:2]
        field = self._field((0, height), (0, width))
        as_uint8 = self.image.dtype == np.uint8
        return np.array(self._engine.render_whole(field, size, scale, as_uint8))

    def _blocks(self, size: Size) -> Iterator[tuple[list[_Place], jax.Array]]:
        """Places of a few blocks in the output, and their values on the device."""
        engine = self._engine
        scales = [out / lr for out, lr in zip(size, self.image.shape[:2], strict=True)]
        cell = np.array([[1 / s for s in scales]], np.float32)
        as_uint8 = self.image.dtype == np.uint8
        for rows, cols in self._windows(size):
            field = self._field((rows.start, rows.length), (cols.start, cols.length))
            field = engine.at_scale(field, cell)
            vertical = tiling.blocks(rows.out_start, rows.out_stop, self._block)
            horizontal = tiling.blocks(cols.out_start, cols.out_stop, self._block)
            places = list(itertools.product(vertical, horizontal))
            while places:
                # What remains is rendered one by one: two numbers of blocks, two compilations.
                count = engine.blocks_at_once if len(places) >= engine.blocks_at_once else 1
                some, places = places[:count], places[count:]
                ys = [
                    engine.positions(self._block, top, scales[0], rows.start)
                    for (top, _), _ in some
                ]
                xs = [
                    engine.positions(self._block, left, scales[1], cols.start)
                    for _, (left, _) in some
                ]
                yield some, engine.render(field, np.stack(ys), np.stack(xs), cell, as_uint8)

    def _windows(self, size: Size) -> list[tuple[tiling.Window, tiling.Window]]:
        engine, (height, width) = self._engine, self.image.shape[:2]
        rows = tiling.windows(height, size[0], self._tile, engine.halo)
        cols = tiling.windows(width, size[1], self._tile, engine.halo)
        return [(row, col) for row in rows for col in cols]

    def _field(self, rows: _Span, cols: _Span) -> Any:
        """The encoded piece of the image, kept if fields are kept."""
        if (rows, cols) in self._fields:
            return self._fields[rows, cols]
        field = self._engine.encode(*self._piece(rows, cols))
        if self._keep:
            self._fields[rows, cols] = field
        return field

    def _piece(self, rows: _Span, cols: _Span) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels [1, H, W, 3] of a piece, padded to its bucket, and its size [1, 2]."""
        lr = self.image[rows[0] : sum(rows), cols[0] : sum(cols)]
        engine = self._engine
        if not engine.model.tileable:
            return lr[None], None
        height, width = (tiling.bucket(n, engine.smallest, self._tile) for n in lr.shape[:2])
        padded = np.zeros((1, height, width, 3), lr.dtype)
        padded[0, : lr.shape[0], : lr.shape[1]] = lr
        return padded, np.array([lr.shape[:2]], np.int32)

    def _encode_all(self) -> None:
        height, width = self.image.shape[:2]
        pieces = [((0, height), (0, width))]
        if self._engine.model.tileable:
            windows = self._windows((height, width))
            pieces = [(row[:2], col[:2]) for row, col in windows]
        each = self._engine.field_bytes(*self._piece(*pieces[0]))
        self._keep = each * len(pieces) <= self._kept_bytes
        if self._keep:
            for piece in pieces:
                jax.block_until_ready(self._field(*piece))

    def _retry(self, work: Callable[[], Any]) -> Any:
        """Runs `work`; where memory runs out, twice again with smaller pieces."""
        engine = self._engine
        for _ in range(3):
            try:
                return work()
            except (jax.errors.JaxRuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                cause = error
            self._fields.clear()
            self._keep = False
            if not engine.model.tileable:
                break
            self._tile = max(self._tile // 2, min(self._tile, 4 * engine.halo))
            self._block = max(self._block // 2, min(self._block, 32))
        height, width = self.image.shape[:2]
        raise UserError(
            f"too little memory to upscale an image of {width}x{height}; "
            "use a smaller scale, a smaller image or another device"
        ) from cause


def check_memory(shape: tuple[int, ...], bytes_per_value: int) -> None:
    """Checks that the host can hold an output [h, w, C].

    Raises:
      UserError: it cannot.
    """
    needed, free = math.prod(shape) * bytes_per_value, available_bytes()
    if free is not None and needed > free:
        raise UserError(
            f"an output of {shape[1]}x{shape[0]} needs {needed / 2**30:.1f} GiB of memory, "
            f"{free / 2**30:.1f} GiB are free; choose a smaller scale or crop the image"
        )


def _store(out: np.ndarray, places: list[_Place], values: jax.Array) -> None:
    blocks = zip(places, np.asarray(values), strict=True)
    for ((top, bottom), (left, right)), block in blocks:
        out[top:bottom, left:right] = block[: bottom - top, : right - left]
