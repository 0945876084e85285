"""A pool on the host; each window is sent to the devices before the step that uses it."""

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from gaussiansr_jax.data.crops import Crop, Table, draw_crops
from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.data.sampling import Windows
from gaussiansr_jax.data.settings import SampleSettings
from gaussiansr_jax.training.placing import device_indices, put, tiles_in_words

AHEAD = 2  # dispatches that are prepared in advance


class Streaming:
    """The pool stays on the host, and the windows of the next steps are sent in advance.

    The host draws the same crops as the devices would, so the samples are those of `Resident`. Any
    step can come first: nothing of this is saved for a resumed run.

    Args:
      pool: what this host holds.
      settings: of all samples.
      devices: of this host.
      length: steps of a dispatch.
      end: the number of steps of the run; nothing is prefetched beyond it.
    """

    def __init__(
        self,
        pool: Pool,
        settings: SampleSettings,
        devices: list[jax.Device],
        length: int,
        end: int,
    ):
        self._pool, self._settings, self._devices = pool, settings, devices
        self._length, self._end = length, end
        self._indices, total = device_indices(devices)
        self._samples = settings.batch_size // total
        self._draw = _crop_drawer(pool, settings, self._indices, self._samples)
        self._loader = ThreadPoolExecutor(1, "windows")
        self._readers = ThreadPoolExecutor(min(8, os.cpu_count() or 1), "reader")
        self._buffers: dict[int, np.ndarray] = {}
        self._pending: deque[tuple[int, int, Future]] = deque()

    def __str__(self) -> str:
        place = "disk" if isinstance(self._pool.tiles, np.memmap) else "host"
        return f"{tiles_in_words(self._pool)}, streaming from the {place}"

    def take(self, step: int, steps: int) -> Windows:
        """The windows of `steps` steps from `step` on; starts preparing those that follow."""
        if not self._pending or self._pending[0][:2] != (step, steps):
            self._pending.clear()
            self._submit(step, steps)
        while len(self._pending) <= AHEAD:
            before, count, _ = self._pending[-1]
            if before + count >= self._end:
                break
            self._submit(before + count, min(self._length, self._end - before - count))
        return self._pending.popleft()[2].result()

    def close(self) -> None:
        """Ends the threads."""
        self._pending.clear()
        self._loader.shutdown(cancel_futures=True)
        self._readers.shutdown(cancel_futures=True)

    def _submit(self, step: int, steps: int) -> None:
        self._pending.append((step, steps, self._loader.submit(self.load, step, steps)))

    def load(self, step: int, steps: int) -> Windows:
        """Draws, reads and sends the windows of some steps; no two threads may call it at once."""
        crops = self._draw(step, steps)
        pixels = self._buffer(steps)
        list(self._readers.map(partial(self._read, crops, pixels), range(steps)))
        windows = Windows(
            pixels=list(pixels),
            crops=Crop(*map(list, crops)),
            first_step=[step] * len(self._devices),
            device=list(self._indices),
        )
        # Sent when this returns, so that the buffer can be used again.
        return jax.block_until_ready(put(windows, self._devices))

    def _read(self, crops: Crop, pixels: np.ndarray, step: int) -> None:
        """Copies the windows of one step."""
        size = self._settings.crop_size
        for device, sample in np.ndindex(len(self._devices), self._samples):
            at = device, step, sample
            y, x = crops.start[at]
            pixels[at] = self._pool.tiles[crops.tile[at], y : y + size, x : x + size]

    def _buffer(self, steps: int) -> np.ndarray:
        """Memory that is reused: taking new pages would cost as much as the copies."""
        size = self._settings.crop_size
        shape = (len(self._devices), steps, self._samples, size, size, 3)
        if self._devices[0].platform == "cpu":
            # There the device's array shares this memory (in jax 0.10 even with may_alias=False),
            # so it must not be written to again.
            return np.empty(shape, np.uint8)
        if steps not in self._buffers:
            self._buffers[steps] = np.empty(shape, np.uint8)
        return self._buffers[steps]


def _crop_drawer(
    pool: Pool, settings: SampleSettings, devices: range, samples: int
) -> Callable[[int, int], Crop]:
    """(first step, steps) -> the crops of this host's devices, [devices, steps, samples].

    They are drawn on the CPU during training, if JAX has the CPU as a device.

    Args:
      pool: what this host holds.
      settings: of all samples.
      devices: indices of this host's devices among all.
      samples: of a step on each device.
    """
    try:
        device = jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        device = jax.local_devices()[0]
    table = Table(pool.sizes, np.int32(pool.first), np.int32(pool.total))
    table = jax.device_put(table, device)
    indices = np.arange(devices.start * samples, devices.stop * samples, dtype=np.int32)

    @partial(jax.jit, static_argnums=2)
    def draw(table: Table, step: jax.Array, steps: int) -> Crop:
        steps = step + jnp.arange(steps)
        return draw_crops(table, steps, indices, settings, pool.tiles.shape[1])

    def call(step: int, steps: int) -> Crop:
        crops = jax.device_get(draw(table, np.int32(step), steps))
        shape = (steps, len(devices), samples)
        return jax.tree.map(lambda x: x.reshape(shape + x.shape[2:]).swapaxes(0, 1), crops)

    return call
