"""One image on its way through a model: encoded in tiles, rendered in blocks."""

import itertools
from collections.abc import Callable, Iterator, MutableMapping
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.memory import is_out_of_memory
from gaussiansr_jax.upscaling import arguments, tiling
from gaussiansr_jax.upscaling.arguments import Grid, Scale, Size
from gaussiansr_jax.upscaling.assembling import Call, Place, assemble
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.upscaling.tiling import Axis

# The most device memory that an image's encoded tiles take between two renderings.
KEPT_FIELD_BYTES = 2**31
_Span = tuple[int, int]  # first LR pixel and number of LR pixels along an axis
# Takes the part of the output that is done, 0 to 1; if it raises, the work stops.
Progress = Callable[[float], None]


class Tile(NamedTuple):
    """A piece of the image that is encoded in one call.

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
          kept_bytes: the most device memory that `encode` keeps.
          fields: keeps every tile that is encoded; it may be a cache that several images share and
            that drops tiles. By default only `encode` keeps tiles.
        """
        self.image = arguments.check_image(image)
        self._kept_bytes = kept_bytes
        self.engine = engine
        # They shrink when memory runs out, for this image alone.
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
            0 to 1; if it raises, the work stops.
        """
        lr_size = self.image.shape[:2]
        uniform = arguments.as_scale(scale)
        uniform = None if isinstance(uniform, tuple) else uniform
        size = arguments.requested_size(lr_size, scale, size)
        arguments.check_memory((*size, 3), self.image.itemsize)
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
        arguments.check_memory((height, width, 3), self.image.itemsize)
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
        """The encoded tile, from `fields` if it is kept there; waits until it is computed."""
        return self._retry(lambda: jax.block_until_ready(self._field(*tile)))

    def has(self, tile: Tile) -> bool:
        """Whether the encoded tile is kept."""
        return tile in self._fields

    def padded_size(self, tile: Tile) -> Size:
        """Height and width of the padded array that holds the tile on the device."""
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
        assemble(out, self._calls(grid, progress), self.engine.on_cpu)
        progress(1.0)
        return out

    def _render_whole(self, size: Size, scale: float | None) -> np.ndarray:
        height, width = self.image.shape[:2]
        field = self._field((0, height), (0, width))
        as_uint8 = self.image.dtype == np.uint8
        return np.array(self.engine.render_whole(field, size, scale, as_uint8))

    def _calls(self, grid: Grid, progress: Progress) -> Iterator[Call]:
        """A few blocks of the output at once: their places, and what renders them."""
        engine, done, total = self.engine, 0, grid[0].count * grid[1].count
        (scale_y, top, _), (scale_x, left, _) = grid
        scales, as_uint8 = (scale_y, scale_x), self.image.dtype == np.uint8
        side = engine.part_side(self._block, scales)
        most = engine.blocks_at_once if side is None else 1
        for rows, cols in self._windows(grid):
            progress(done / total)
            field = self._field(rows[:2], cols[:2])
            if side is None:
                field = engine.at_scale(field, scales)
            vertical = tiling.blocks(rows.out_start, rows.out_stop, self._block)
            horizontal = tiling.blocks(cols.out_start, cols.out_stop, self._block)
            places = [Place(*y, *x) for y, x in itertools.product(vertical, horizontal)]
            while places:
                # The remainder is rendered one by one, so that only two programs are compiled.
                count = most if len(places) >= most else 1
                some, places = places[:count], places[count:]
                starts = [(top + place.top, left + place.left) for place in some]
                ys = [engine.positions(self._block, y, scale_y, rows.start) for y, _ in starts]
                xs = [engine.positions(self._block, x, scale_x, cols.start) for _, x in starts]
                progress(done / total)
                if side is None:
                    grids = (np.stack(ys), np.stack(xs), scales, as_uint8)
                    yield some, partial(engine.render, field, *grids)
                else:
                    grids = (ys[0], xs[0], side, scales, as_uint8)
                    yield some, partial(engine.render_part, field, *grids)
                done += sum((p.bottom - p.top) * (p.right - p.left) for p in some)

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
        """Pixels [1, H, W, 3] of a piece, padded, and its size [1, 2]; None if it is not padded."""
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
        """Runs `work`; if memory runs out, again with smaller pieces, at most twice."""
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
    """The progress that nobody asked for."""
