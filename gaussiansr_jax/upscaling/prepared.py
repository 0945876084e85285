"""One image on its way through a model: encoded in tiles, rendered in blocks."""

import itertools
import math
import os
import threading
from collections import deque
from collections.abc import Callable, Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor, wait
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.memory import available_bytes, is_out_of_memory
from gaussiansr_jax.upscaling import arguments, tiling
from gaussiansr_jax.upscaling.arguments import Grid, Scale, Size
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.upscaling.tiling import Axis

# Encoded tiles that are kept for the next scale, in all.
KEPT_FIELD_BYTES = 2**31
# Calls under way: the device may compute the next blocks while threads of the host copy the last.
# The threads stay: starting them takes as long as copying a photograph.
_IN_FLIGHT = 4
_COPYING = ThreadPoolExecutor(_IN_FLIGHT, "copying")
# A CPU renders a block on each core at once: most of the work on a block is one core's.
_CORES_IN_FLIGHT = min(_IN_FLIGHT, os.cpu_count() or 1)
_Span = tuple[int, int]  # first LR pixel and number of LR pixels along an axis
# First output row and the one after the last, and likewise the columns.
_Place = tuple[tuple[int, int], tuple[int, int]]
# Told the part of the output that is done, 0 to 1; what it raises stops the work.
Progress = Callable[[float], None]


class Tile(NamedTuple):
    """A piece of the image that is encoded by itself.

    Attributes:
      rows: its first LR row and the number of its rows.
      cols: likewise the columns.
    """

    rows: _Span
    cols: _Span


class TileOfView(NamedTuple):
    """What a view shows of one tile, in output pixels from the view's corner."""

    tile: Tile
    top: int
    left: int
    height: int
    width: int


class Prepared:
    """An image that is encoded once and rendered at many scales (`Upscaler.prepare`).

    Attributes:
      image: as it was given, checked.
      engine: the model.
    """

    def __init__(
        self,
        engine: Engine,
        image: Any,
        kept_bytes: int = KEPT_FIELD_BYTES,
        fields: MutableMapping[Tile, Any] | None = None,
    ):
        """Checks the image; encodes nothing yet.

        Args:
          engine: the model.
          image: as `Upscaler.upscale` takes it.
          kept_bytes: of device memory, what `encode` keeps at most.
          fields: where encoded tiles are kept as they come, such as a cache that several images
            share and that forgets some of them; by default only `encode` keeps any.
        """
        self.image = arguments.check_image(image)
        self._kept_bytes = kept_bytes
        self.engine = engine
        # Smaller after memory ran out, for this image alone.
        self._tile, self._block = engine.tile, engine.block
        self._fields = {} if fields is None else fields
        self._keep = fields is not None

    def encode(self) -> "Prepared":
        """Encodes the image now, and keeps the result if it fits the device comfortably."""
        self._keep = True
        self._retry(self._encode_all)
        return self

    def render(
        self,
        scale: Scale | None = None,
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """The image at one scale or size.

        Args:
          scale: as for `Upscaler.upscale`, and so are `size`, the result and the errors.
          size: in place of `scale`.
          progress: called before each piece of work with the part of the output that is done, from
            0 to 1; what it raises stops the work.
        """
        lr_size = self.image.shape[:2]
        uniform = arguments.as_scale(scale)
        uniform = None if isinstance(uniform, tuple) else uniform
        size = arguments.requested_size(lr_size, scale, size)
        check_memory((*size, 3), self.image.itemsize)
        if not self.engine.model.tileable:
            return self._retry(partial(self._render_whole, size, uniform))
        axes = zip(lr_size, size, strict=True)
        grid = tuple(Axis(out / lr, 0, out) for lr, out in axes)
        return self._retry(partial(self._render, grid, progress or _silent))

    def render_view(
        self,
        top: float,
        left: float,
        height: int,
        width: int,
        scale: Scale | None = None,
        *,
        size: Size | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """A part of the image at one scale or size; only the tiles in view are encoded.

        With `size` it is exactly `render(size=size)[top : top + height, left : left + width]`.
        `render(scale)` rounds the output's size and so, slightly, the scale; here the scale is
        taken as it is, and output pixel (Y, X) lies at ((Y, X) + 0.5) / scale - 0.5.

        Args:
          top: first row, in output pixels; a fraction shifts the grid.
          left: first column, likewise.
          height: output pixels.
          width: output pixels.
          scale: as for `render`.
          size: of the whole output, in place of `scale`.
          progress: as for `render`.

        Returns:
          [height, width, 3] of the image's kind.

        Raises:
          UserError: the view is not inside the image, the model can only render whole images, or as
            `render`.
        """
        grid = self._grid(top, left, height, width, scale, size)
        check_memory((height, width, 3), self.image.itemsize)
        return self._retry(partial(self._render, grid, progress or _silent))

    def view_tiles(
        self,
        top: float,
        left: float,
        height: int,
        width: int,
        scale: Scale | None = None,
        *,
        size: Size | None = None,
    ) -> list[TileOfView]:
        """The tiles that `render_view` with these arguments needs, and what it shows of each."""
        grid = self._grid(top, left, height, width, scale, size)
        return [
            TileOfView(
                Tile(row[:2], col[:2]),
                row.out_start,
                col.out_start,
                row.out_stop - row.out_start,
                col.out_stop - col.out_start,
            )
            for row, col in self._windows(grid)
        ]

    def encode_tile(self, tile: Tile) -> Any:
        """The encoded tile, once it is computed, from or for `fields`."""
        return self._retry(lambda: jax.block_until_ready(self._field(*tile)))

    def has(self, tile: Tile) -> bool:
        """Whether the encoded tile is kept."""
        return tile in self._fields

    def padded_size(self, tile: Tile) -> Size:
        """Height and width of the array that stands for the tile on the device."""
        lengths = (tile.rows[1], tile.cols[1])
        return tuple(tiling.bucket(n, self.engine.smallest, self._tile) for n in lengths)

    def _grid(self, top, left, height, width, scale, size) -> Grid:
        if not self.engine.model.tileable:
            raise UserError("this model renders whole images only; choose another one for views")
        lr_size = self.image.shape[:2]
        return arguments.requested_view(lr_size, (top, left), (height, width), scale, size)

    def _render(self, grid: Grid, progress: Progress) -> np.ndarray:
        rows, cols = grid
        out = np.empty((rows.count, cols.count, 3), self.image.dtype)
        on_cpu, pending = self.engine.on_cpu, deque()
        most = _CORES_IN_FLIGHT if on_cpu else _IN_FLIGHT
        # Each rendering on a CPU has threads of its own, so that none waits for another's blocks.
        name = threading.current_thread().name
        pool = ThreadPoolExecutor(most, f"{name}-rendering") if on_cpu else _COPYING
        try:
            for places, render in self._blocks(grid, progress):
                if on_cpu:
                    pending.append(pool.submit(_render_and_store, out, places, render))
                else:
                    values = render()
                    values.copy_to_host_async()
                    pending.append(pool.submit(_store, out, places, values))
                if len(pending) >= most:
                    pending.popleft().result()
            for copied in pending:
                copied.result()
        finally:
            wait(pending)  # after an error, they hold memory of the device
            if on_cpu:
                pool.shutdown()
        progress(1.0)
        return out

    def _render_whole(self, size: Size, scale: float | None) -> np.ndarray:
        height, width = self.image.shape[:2]
        field = self._field((0, height), (0, width))
        as_uint8 = self.image.dtype == np.uint8
        return np.array(self.engine.render_whole(field, size, scale, as_uint8))

    def _blocks(self, grid: Grid, progress: Progress) -> Iterator[tuple[list[_Place], jax.Array]]:
        """Places of a few blocks in the output, and their values on the device."""
        engine, done, total = self.engine, 0, grid[0].count * grid[1].count
        (scale_y, top, _), (scale_x, left, _) = grid
        cell = np.array([[1 / scale_y, 1 / scale_x]], np.float32)
        as_uint8 = self.image.dtype == np.uint8
        side = engine.part_side(self._block, (scale_y, scale_x))
        most = engine.blocks_at_once if side is None else 1
        for rows, cols in self._windows(grid):
            progress(done / total)
            field = self._field(rows[:2], cols[:2])
            if side is None:
                field = engine.at_scale(field, cell)
            vertical = tiling.blocks(rows.out_start, rows.out_stop, self._block)
            horizontal = tiling.blocks(cols.out_start, cols.out_stop, self._block)
            places = list(itertools.product(vertical, horizontal))
            while places:
                # What remains is rendered one by one: two numbers of blocks, two compilations.
                count = most if len(places) >= most else 1
                some, places = places[:count], places[count:]
                starts = [(top + y, left + x) for (y, _), (x, _) in some]
                ys = [engine.positions(self._block, y, scale_y, rows.start) for y, _ in starts]
                xs = [engine.positions(self._block, x, scale_x, cols.start) for _, x in starts]
                progress(done / total)
                if side is None:
                    place = (np.stack(ys), np.stack(xs), cell, as_uint8)
                    yield some, partial(engine.render, field, *place)
                else:
                    place = (ys[0], xs[0], side, cell, as_uint8)
                    yield some, partial(engine.render_part, field, *place)
                done += sum((y1 - y0) * (x1 - x0) for (y0, y1), (x0, x1) in some)

    def _windows(self, grid: Grid) -> list[tuple[tiling.Window, tiling.Window]]:
        engine, (height, width) = self.engine, self.image.shape[:2]
        rows = tiling.windows(height, grid[0], self._tile, engine.halo)
        cols = tiling.windows(width, grid[1], self._tile, engine.halo)
        return [(row, col) for row in rows for col in cols]

    def _field(self, rows: _Span, cols: _Span) -> Any:
        """The encoded piece of the image, kept if fields are kept."""
        tile = Tile(rows, cols)
        field = self._fields.get(tile)
        if field is None:
            field = self.engine.encode(*self._piece(rows, cols))
            if self._keep:
                self._fields[tile] = field
        return field

    def _piece(self, rows: _Span, cols: _Span) -> tuple[np.ndarray, np.ndarray | None]:
        """Pixels [1, H, W, 3] of a piece, padded to its bucket, and its size [1, 2]."""
        lr = self.image[rows[0] : sum(rows), cols[0] : sum(cols)]
        engine = self.engine
        if not engine.model.tileable:
            return lr[None], None
        padded = np.zeros((1, *self.padded_size(Tile(rows, cols)), 3), lr.dtype)
        padded[0, : lr.shape[0], : lr.shape[1]] = lr
        return padded, np.array([lr.shape[:2]], np.int32)

    def _encode_all(self) -> None:
        height, width = self.image.shape[:2]
        pieces = [((0, height), (0, width))]
        if self.engine.model.tileable:
            windows = self._windows((Axis(1, 0, height), Axis(1, 0, width)))
            pieces = [(row[:2], col[:2]) for row, col in windows]
        each = self.engine.field_bytes(*self._piece(*pieces[0]))
        self._keep = each * len(pieces) <= self._kept_bytes
        if self._keep:
            for piece in pieces:
                jax.block_until_ready(self._field(*piece))

    def _retry(self, work: Callable[[], Any]) -> Any:
        """Runs `work`; where memory runs out, twice again with smaller pieces."""
        engine = self.engine
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


def _silent(_: float) -> None:
    """Nobody wants to know the progress."""


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


def _render_and_store(
    out: np.ndarray, places: list[_Place], render: Callable[[], jax.Array]
) -> None:
    _store(out, places, render())


def _store(out: np.ndarray, places: list[_Place], values: jax.Array) -> None:
    blocks = zip(places, np.asarray(values), strict=True)
    for ((top, bottom), (left, right)), block in blocks:
        out[top:bottom, left:right] = block[: bottom - top, : right - left]
