"""The frames of a film on the device: one size, so everything is compiled for that size alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from gaussiansr_jax.upscaling import tiling
from gaussiansr_jax.upscaling.arguments import Size
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.video.color import Layout, Planes, from_rgb, to_rgb

# Output pixels that an accelerator renders in one call, which bounds the memory of a head's
# intermediate results. A CPU renders blocks, as for images.
_PIXELS = 2**20
# The longest side in LR pixels that is encoded in one piece on an accelerator: up to it,
# `tiling.positions` are exact.
_ACCELERATOR_TILE = 1024


_to_rgb = jax.jit(to_rgb, static_argnames="layout")


class FrameUpscaler:
    """Enlarges frames of one size.

    Unlike `Prepared`, it pads nothing, because no other size comes; accelerators render strips of
    whole rows; and colors are converted on the device.
    """

    def __init__(
        self,
        engine: Engine,
        lr_size: Size,
        size: Size,
        source: Layout,
        target: Layout,
    ):
        """Plans the work; compiles nothing yet.

        Args:
          engine: the model on the device.
          lr_size: (height, width) of the frames.
          size: (height, width) of the enlarged frames.
          source: how the frames are stored.
          target: how the enlarged frames are to be stored. Where its subsampling does not divide
            `size`, the last row or column is left out.
        """
        cpu = jax.default_backend() == "cpu"
        self._engine, self._lr_size, self._size = engine, lr_size, size
        axes = zip(lr_size, size, strict=True)
        self._axes = [tiling.Axis(out / lr, 0, out) for lr, out in axes]
        self._tile = engine.tile if cpu else max(engine.tile, _ACCELERATOR_TILE)
        self._to_rgb = partial(_to_rgb, layout=source)
        self._from_rgb = partial(_joined_planes, size=kept_size(size, target), layout=target)

    def __call__(self, planes: tuple[np.ndarray, ...]) -> Planes:
        """The planes of the enlarged frame, on the device; it does not wait for them."""
        rgb = self._to_rgb(tuple(jax.device_put(plane) for plane in planes))
        if not self._engine.model.tileable:
            field = self._engine.encode(rgb[None], None)
            whole = self._engine.render_whole(field, self._size, None, as_uint8=False)
            return self._from_rgb([[whole]])
        return self._from_rgb(self._rendered(rgb))

    def _rendered(self, rgb: jax.Array) -> list[list[jax.Array]]:
        """Each tile's part [h, w, 3] of the output, of each row of tiles."""
        halo = self._engine.halo
        rows, cols = (
            tiling.windows(lr, axis, _even_tile(lr, self._tile, halo), halo)
            for lr, axis in zip(self._lr_size, self._axes, strict=True)
        )
        return [[self._of_tile(rgb, row, col) for col in cols] for row in rows]

    def _of_tile(self, rgb: jax.Array, row: tiling.Window, col: tiling.Window) -> jax.Array:
        engine, (down, right) = self._engine, self._axes
        scales = down.scale, right.scale
        piece = rgb
        if (row.length, col.length) != self._lr_size:
            piece = rgb[row.start : row.start + row.length, col.start : col.start + col.length]
        field = engine.encode(piece[None], None)
        height, width = row.out_stop - row.out_start, col.out_stop - col.out_start
        side = engine.part_side(engine.block, scales)
        if side is None:
            field = engine.at_scale(field, scales)
            # Strips of one height, so that one program serves all; the last one is cut.
            rows_at_once, cols_at_once = -(-height // -(-height * width // _PIXELS)), width
        else:
            rows_at_once = cols_at_once = engine.block
        rows = []
        for first in range(0, height, rows_at_once):
            ys = engine.positions(rows_at_once, row.out_start + first, down.scale, row.start)
            blocks = []
            for left in range(0, width, cols_at_once):
                xs = engine.positions(cols_at_once, col.out_start + left, right.scale, col.start)
                if side is None:
                    rgb_of_block = engine.render(field, ys[None], xs[None], scales, as_uint8=False)
                else:
                    rgb_of_block = engine.render_part(field, ys, xs, side, scales, as_uint8=False)
                blocks.append(rgb_of_block[0])
            rows.append(blocks)
        return _joined(rows, (height, width))


@partial(jax.jit, static_argnames="size")
def _joined(rows: list[list[jax.Array]], size: Size) -> jax.Array:
    """The image of this size that rows of blocks begin with."""
    whole = jnp.concatenate([jnp.concatenate(blocks, 1) for blocks in rows])
    return whole[: size[0], : size[1]]


def _even_tile(length: int, largest: int, halo: int) -> int:
    """The shortest tile with which an axis is cut into no more pieces than with the largest."""
    slack = 16  # `tiling.windows` lets pieces begin at multiples of 8
    if length <= largest or largest <= 2 * halo + slack:
        return largest
    count = -(-(length - 2 * halo) // (largest - 2 * halo - slack))
    return min(-(-(length - 2 * halo) // count) + 2 * halo + slack, largest)


def kept_size(size: Size, layout: Layout) -> Size:
    """The largest size within `size` whose sides the layout's subsampling divides."""
    height, width = size
    return height - height % layout.vertical, width - width % layout.horizontal


@partial(jax.jit, static_argnames=("size", "layout"))
def _joined_planes(tiles: list[list[jax.Array]], size: Size, layout: Layout) -> Planes:
    """The planes of the image that these tiles make up."""
    rgb = jnp.concatenate([jnp.concatenate(row, 1) for row in tiles])
    return from_rgb(rgb[: size[0], : size[1]], layout)
