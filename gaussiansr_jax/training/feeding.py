"""What the devices draw their samples from: the pool on the devices, or windows from the host."""

import jax
import numpy as np
from ml_collections import ConfigDict

from gaussiansr_jax.data.crops import Table, piece
from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.data.sampling import Share
from gaussiansr_jax.training.config import sample_settings
from gaussiansr_jax.training.placing import gigabytes, local_lanes, put, tiles_in_words
from gaussiansr_jax.training.streaming import Streaming

# The share of a device's memory that its piece of the pool may take.
DEVICE_SHARE = 0.6
# Windows of one dispatch, bytes for each device. Three lie there at a time.
WINDOW_BYTES = 256 * 2**20


class Resident:
    """Every device holds its piece of the pool."""

    def __init__(self, pool: Pool, devices: list[jax.Device]):
        local, lanes = local_lanes(devices)
        count = piece(0, lanes, pool.total)[1]
        firsts = [piece(lane, lanes, pool.total)[0] for lane in local]
        parts = [slice(first - pool.first, first - pool.first + count) for first in firsts]
        share = Share(
            tiles=[pool.tiles[part] for part in parts],
            table=Table([pool.sizes[part] for part in parts], firsts, [pool.total] * len(local)),
            lane=list(local),
        )
        self._share = put(share, devices)
        where = f"on each of {lanes} devices" if lanes > 1 else "on the device"
        self._words = f"{tiles_in_words(pool)}, {gigabytes(pool, count)} {where}"

    def __str__(self) -> str:
        return self._words

    def take(self, step: int, steps: int) -> Share:
        """The pool, whatever the steps."""
        del step, steps
        return self._share

    def close(self) -> None:
        """Nothing is running."""


def feed(
    config: ConfigDict, pool: Pool, devices: list[jax.Device], length: int
) -> tuple[Resident | Streaming, int]:
    """Chooses as the config says, or by what fits.

    Args:
      config: of the training run.
      pool: what this host holds.
      devices: of this host.
      length: steps of a dispatch.

    Returns:
      what feeds the devices, and the steps of a dispatch, fewer if their windows were too large.
    """
    if not streams(config.pool, pool, devices):
        return Resident(pool, devices), length
    share = config.batch_size // (jax.process_count() * len(devices))
    bytes_of_step = share * sample_settings(config).crop_size ** 2 * 3
    length = min(length, max(1, WINDOW_BYTES // bytes_of_step))
    return Streaming(pool, config, devices, length), length


def streams(choice: str, pool: Pool, devices: list[jax.Device]) -> bool:
    """Whether the pool stays on the host: as the choice says, or where it does not fit."""
    if choice != "auto":
        return choice != "device"
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    if limit is None:  # a CPU: the device's memory is the host's
        return isinstance(pool.tiles, np.memmap)
    count = piece(0, jax.process_count() * len(devices), pool.total)[1]
    return count * pool.tiles[0].nbytes > DEVICE_SHARE * limit
