"""Arrays sent from one process to all, and gathered from all, bit for bit."""

from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils

from gaussiansr_jax.distributed.group import Group


def broadcast(tree: Any) -> Any:
    """Process 0's arrays, in every process.

    Args:
      tree: arrays, of the same shapes and types in all processes.
    """
    if jax.process_count() == 1:
        return tree
    leaves, structure = jax.tree.flatten(tree)
    leaves = [np.asarray(leaf) for leaf in leaves]
    # As bytes: a sum over the processes would make 0.0 of -0.0.
    flat = np.frombuffer(b"".join(leaf.tobytes() for leaf in leaves), np.uint8)
    flat = np.asarray(multihost_utils.broadcast_one_to_all(flat), np.uint8)
    parts = np.split(flat, np.cumsum([leaf.nbytes for leaf in leaves])[:-1])
    pairs = zip(parts, leaves, strict=True)
    received = [np.frombuffer(p.tobytes(), x.dtype).reshape(x.shape).copy() for p, x in pairs]
    return jax.tree.unflatten(structure, received)


def gather(array: np.ndarray) -> np.ndarray:
    """The arrays of all processes, [processes, …]; of the same shape and type in all."""
    if jax.process_count() == 1:
        return array[None]
    # As bytes, because JAX makes float32 of float64.
    flat = np.frombuffer(array.tobytes(), np.uint8)
    flat = np.asarray(multihost_utils.process_allgather(flat), np.uint8)
    return np.frombuffer(flat.tobytes(), array.dtype).reshape(-1, *array.shape).copy()


def connect_devices(group: Group) -> None:
    """Lets the devices of all processes connect to each other now, while none is busy.

    At the first collective of some devices each waits 30 s for the others on CPUs, but one process
    may compile, or read its images, for longer than another. Later ones wait as long as it takes.

    Args:
      group: the processes; all have the same number of devices.
    """
    if group.count == 1:
        return
    ones = np.ones(jax.local_device_count(), np.float32)
    group.gather("devices", None)
    jax.block_until_ready(jax.pmap(lambda x: jax.lax.psum(x, "all"), "all")(ones))
    gather(broadcast(ones))
