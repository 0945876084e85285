"""Which pixels of the pool a sample is made of: a function of (seed, step, index) alone.

Sample i of a batch of B takes its tile from the i-th of B equal parts of the pool (stratified
sampling: over the steps, every tile is equally likely). The part does not depend on the number of
devices, and the samples of one device need only one piece of the pool. So devices and hosts share a
pool without exchanging anything, and no sample depends on their number.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Int, Key, UInt8

from gaussiansr_jax.data.settings import SampleSettings

# A sample's key is split into this many: the first three choose the crop, the others what is done
# with it.
KEYS = 7
# What a sample's keys are for: itself, and the noise in its loss.
SAMPLE, NOISE = 0, 1


class Table(NamedTuple):
    """The tiles of one device or host: a piece of the pool, without its pixels.

    Attributes:
      sizes: [M, 2] valid (height, width) of each tile.
      first: index of the first of them in the pool.
      total: how many tiles the pool has.
    """

    sizes: Int[Array | np.ndarray, "*D M 2"]
    first: Int[Array | np.ndarray, "*D"]
    total: Int[Array | np.ndarray, "*D"]


class Crop(NamedTuple):
    """A square of HR pixels, inside the window of a static size that is read.

    Attributes:
      tile: index of the tile in the `Table`.
      start: [2] where the window begins in the tile (y, x).
      inside: [2] where the crop begins in the window (y, x).
      side: height and width of the crop.
    """

    tile: Int[Array, "*B"]
    start: Int[Array, "*B 2"]
    inside: Int[Array, "*B 2"]
    side: Int[Array, "*B"]


def sample_keys(
    seed: int, step: Int[Array, ""], indices: Int[Array, "B"], use: int
) -> Key[Array, "B"]:
    """One key for each sample: seed, step, global index and use folded in, one after the other."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(lambda index: jax.random.fold_in(jax.random.fold_in(key, index), use))(indices)


def draw_crops(
    table: Table,
    steps: Int[Array, "N"],
    indices: Int[Array, "S"],
    settings: SampleSettings,
    tile_size: int,
) -> Crop:
    """The crops of some samples of some steps, [N, S]; see `draw_crop`."""
    draw = jax.vmap(partial(draw_crop, table, settings=settings, tile_size=tile_size))

    def of_step(step: Int[Array, ""]) -> Crop:
        return draw(sample_keys(settings.seed, step, indices, SAMPLE), indices)

    return jax.vmap(of_step)(steps)


def draw_crop(
    table: Table,
    key: Key[Array, ""],
    index: Int[Array, ""],
    settings: SampleSettings,
    tile_size: int,
) -> Crop:
    """Draws a tile, a scale, and a place in the tile for the crop of side `round(L * scale)`.

    Args:
      table: tiles, among them those of this sample's part of the pool; each valid size is at least
        `settings.crop_size`.
      key: of the sample.
      index: of the sample in the batch.
      settings: the same for all samples.
      tile_size: height and width of a tile with its padding.
    """
    tile_key, scale_key, corner_key = jax.random.split(key, KEYS)[:3]
    tile = draw_tile(tile_key, index, table.total, settings.batch_size) - table.first
    side = draw_side(scale_key, settings)
    corner = jax.random.randint(corner_key, (2,), 0, table.sizes[tile] - side + 1)
    # A slice must have a static size, the largest crop's. Near the tile's end it starts before
    # the crop does.
    start = jnp.minimum(corner, tile_size - settings.crop_size)
    return Crop(tile, start, corner - start, side)


def draw_tile(
    key: Key[Array, ""], index: Int[ArrayLike, ""], total: Int[ArrayLike, ""], parts: int
) -> Int[ArrayLike, ""]:
    """The tile floor((index + u) * total / parts) for a random u in [0, 1), in whole numbers."""
    fine = jax.random.randint(key, (), 0, total)
    return index * (total // parts) + (index * (total % parts) + fine) // parts


def draw_side(key: Key[Array, ""], settings: SampleSettings) -> Int[Array, ""]:
    """The side `round(L * scale)` of a crop for a random scale of the range.

    In whole numbers, because a device and the CPU beside it round fractions differently.
    """
    low, high = (settings.lr_size * scale for scale in settings.scale_range)
    sides = np.arange(round(low), round(high))
    # Of 2**24 random numbers, the first that gives each next larger side.
    limits = np.ceil((sides + 0.5 - low) / max(high - low, 1e-9) * 2**24).astype(np.uint32)
    number = jax.random.bits(key, dtype=jnp.uint32) >> 8
    return round(low) + jnp.sum(number >= limits, dtype=jnp.int32)


def piece(device: int, devices: int, total: int) -> tuple[int, int]:
    """The piece of the pool that holds the tiles of all samples of one device.

    Args:
      device: index of the device among all.
      devices: number of devices.
      total: number of tiles of the pool.

    Returns:
      index of the first tile, and number of tiles; the latter is the same for all devices.
    """
    starts = [index * total // devices for index in range(devices)]
    ends = [-(-(index + 1) * total // devices) for index in range(devices)]
    count = max(end - start for start, end in zip(starts, ends, strict=True))
    return min(starts[device], total - count), count


def read_windows(
    tiles: UInt8[Array, "M T T 3"], crops: Crop, size: int
) -> UInt8[Array, "*B size size 3"]:
    """The window of pixels of each crop, cut out of the tiles; crops have any leading axes."""

    def read(tile: Int[Array, ""], start: Int[Array, "2"]) -> UInt8[Array, "size size 3"]:
        at = (tile, start[0], start[1], 0)
        return jax.lax.dynamic_slice(tiles, at, (1, size, size, 3))[0]

    for _ in crops.tile.shape:
        read = jax.vmap(read)
    return read(crops.tile, crops.start)
