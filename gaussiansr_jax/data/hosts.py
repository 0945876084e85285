"""Which share of the data this process needs, among those that train together."""

from typing import NamedTuple

import jax
import numpy as np

from gaussiansr_jax import distributed
from gaussiansr_jax.data.crops import piece


class Hosts(NamedTuple):
    """One of `count` processes, each with as many devices.

    Attributes:
      index: of this process.
      count: number of processes.
      devices: number of devices of each process.
    """

    index: int = 0
    count: int = 1
    devices: int = 1

    @property
    def device_indices(self) -> range:
        """Indices of this process's devices among those of all."""
        return range(self.index * self.devices, (self.index + 1) * self.devices)

    def piece(self, total: int) -> tuple[int, int]:
        """The tiles that this process's devices draw from: index of the first, and how many."""
        devices = self.count * self.devices
        pieces = [piece(device, devices, total) for device in self.device_indices]
        first = pieces[0][0]
        return first, pieces[-1][0] + pieces[-1][1] - first

    def gather(self, array: np.ndarray) -> np.ndarray:
        """The arrays of all processes, [count, …]; all must call it at the same point."""
        return distributed.gather(array)


def this_host() -> Hosts:
    """What JAX says about this process."""
    return Hosts(jax.process_index(), jax.process_count(), jax.local_device_count())
