"""Feeds windows to the training step, from a pool that is on the devices or on the host."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, UInt8

from gaussiansr_jax.data.crops import Table, draw_crops, piece, read_windows
from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.data.sampling import Windows
from gaussiansr_jax.data.settings import SampleSettings
from gaussiansr_jax.training.placing import device_indices, gigabytes, join, tiles_in_words
from gaussiansr_jax.training.streaming import Streaming

# The share of a device's memory that its piece of the pool may take.
DEVICE_SHARE = 0.6
# The most bytes of windows in one dispatch, for each device. Streaming keeps three of these there.
WINDOW_BYTES = 512 * 2**20


class Share(NamedTuple):
    """What one device holds of the pool.

    Attributes:
      tiles: [M, T, T, 3].
      table: what these tiles are.
      device: index of the device among all.
    """

    tiles: UInt8[Array, "M T T 3"]
    table: Table
    device: Int[Array, ""]


class Resident:
    """Every device holds its piece of the pool, and reads it itself.

    Args:
      pool: what this host holds.
      settings: of all samples.
      devices: of this host.
    """

    def __init__(self, pool: Pool, settings: SampleSettings, devices: list[jax.Device]):
        indices, total = device_indices(devices)
        self._shares, count = [], 0
        for index, device in zip(indices, devices, strict=True):
            first, count = piece(index, total, pool.total)
            part = slice(first - pool.first, first - pool.first + count)
            table = Table(pool.sizes[part], np.int32(first), np.int32(pool.total))
            share = Share(pool.tiles[part], table, np.int32(index))
            self._shares.append(jax.device_put(share, device))
        where = f"on each of {total} devices" if total > 1 else "on the device"
        self._words = f"{tiles_in_words(pool)}, {gigabytes(pool, count)} {where}"
        self._settings, self._samples = settings, settings.batch_size // total

    def __str__(self) -> str:
        return self._words

    def take(self, step: int, steps: int) -> Windows:
        """The windows of `steps` steps from `step` on."""
        windows = [
            _read(share, np.int32(step), steps, self._samples, self._settings)
            for share in self._shares
        ]
        return jax.tree.map(lambda *arrays: join(list(arrays)), *windows)

    def close(self) -> None:
        """Does nothing: there are no threads."""


@partial(jax.jit, static_argnums=(2, 3, 4))
def _read(
    share: Share, step: Int[Array, ""], steps: int, samples: int, settings: SampleSettings
) -> Windows:
    """The windows of one device, `samples` for each step, with a leading axis of 1."""
    indices = share.device * samples + jnp.arange(samples)
    numbers = step + jnp.arange(steps)
    crops = draw_crops(share.table, numbers, indices, settings, share.tiles.shape[1])
    pixels = read_windows(share.tiles, crops, settings.crop_size)
    return jax.tree.map(lambda x: x[None], Windows(pixels, crops, step, share.device))


def feed(
    choice: str,
    pool: Pool,
    settings: SampleSettings,
    devices: list[jax.Device],
    length: int,
    end: int,
) -> tuple[Resident | Streaming, int]:
    """Keeps the pool on the devices or streams it, see `streams`.

    Args:
      choice: one of `config.POOLS`.
      pool: what this host holds.
      settings: of all samples.
      devices: of this host.
      length: steps of a dispatch.
      end: the number of steps of the run.

    Returns:
      what feeds the devices, and the steps of a dispatch, fewer if their windows were too large.
    """
    share = settings.batch_size // (jax.process_count() * len(devices))
    bytes_of_step = share * settings.crop_size**2 * 3
    length = min(length, max(1, WINDOW_BYTES // bytes_of_step))
    if streams(choice, pool, devices):
        return Streaming(pool, settings, devices, length, end), length
    return Resident(pool, settings, devices), length


def streams(choice: str, pool: Pool, devices: list[jax.Device]) -> bool:
    """Whether the pool stays on the host: as the choice says, or where it does not fit."""
    if choice != "auto":
        return choice != "device"
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    if limit is None:  # a CPU: the device's memory is the host's
        return isinstance(pool.tiles, np.memmap)
    count = piece(0, jax.process_count() * len(devices), pool.total)[1]
    return count * pool.tiles[0].nbytes > DEVICE_SHARE * limit
