"""Arrays on the devices of this host, and how many devices there are."""

from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.training.state import AXIS


def put(tree: Any, devices: list[jax.Device]) -> Any:
    """Sends each device its item of every list, as one array with a leading axis of devices.

    On CPUs the result may share memory with the given arrays.

    Args:
      tree: lists of arrays or whole numbers, one for each device.
      devices: of this host.
    """

    def send(parts: list) -> jax.Array:
        arrays = [
            np.asarray(part, np.int32 if isinstance(part, int) else None)[None] for part in parts
        ]
        return join([jax.device_put(x, device) for x, device in zip(arrays, devices, strict=True)])

    return jax.tree.map(send, tree, is_leaf=lambda x: isinstance(x, list))


def join(arrays: list[jax.Array]) -> jax.Array:
    """One array [devices, …] from an array [1, …] on each of this host's devices, in order."""
    devices = np.array([next(iter(array.devices())) for array in arrays])
    sharding = NamedSharding(Mesh(devices, (AXIS,)), PartitionSpec(AXIS))
    shape = (len(arrays), *arrays[0].shape[1:])
    return jax.make_array_from_single_device_arrays(shape, sharding, arrays)


def tiles_in_words(pool: Pool) -> str:
    """How many tiles all hosts have, and their size."""
    return f"{pool.total} tiles ({gigabytes(pool, pool.total)})"


def gigabytes(pool: Pool, tiles: int) -> str:
    """The size of some tiles."""
    return f"{tiles * pool.tiles[0].nbytes / 1e9:.2f} GB"


def device_indices(devices: list[jax.Device]) -> tuple[range, int]:
    """Indices of this host's devices among those of all hosts, and the number of all."""
    first = jax.process_index() * len(devices)
    return range(first, first + len(devices)), jax.process_count() * len(devices)
