"""The output of one rendering, put together from blocks while further ones are computed."""

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple

import jax
import numpy as np

# Calls under way: the device may compute the next blocks while threads of the host copy the last.
_IN_FLIGHT = 4
# These threads are kept: starting them takes as long as copying a photograph.
_COPYING = ThreadPoolExecutor(_IN_FLIGHT, "copying")
# A CPU renders one block on each core, as most of the work on a block uses a single core.
_CORES_IN_FLIGHT = min(_IN_FLIGHT, os.cpu_count() or 1)


class Place(NamedTuple):
    """Where a block belongs: the output's rows [top, bottom) and columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


# A few blocks, and what renders them: [blocks, block, block, 3], on the device.
Call = tuple[list[Place], Callable[[], jax.Array]]


def assemble(out: np.ndarray, calls: Iterable[Call], on_cpu: bool) -> None:
    """Renders blocks and copies them to their places, several calls at the same time.

    Args:
      out: [h, w, 3], to be filled.
      calls: what is to be rendered; taken one after the other, as earlier ones are done.
      on_cpu: whether the device is a CPU, where the host's threads render, too.
    """
    pending: deque = deque()
    most = _CORES_IN_FLIGHT if on_cpu else _IN_FLIGHT
    # On a CPU each output has its own threads, so that it never waits for blocks of another one.
    name = threading.current_thread().name
    pool = ThreadPoolExecutor(most, f"{name}-rendering") if on_cpu else _COPYING
    try:
        for places, render in calls:
            if on_cpu:
                pending.append(pool.submit(_render_and_store, out, places, render))
            else:
                values = render()
                values.copy_to_host_async()
                pending.append(pool.submit(_store, out, places, values))
            if len(pending) >= most:
                pending.popleft().result()
        for stored in pending:
            stored.result()
    finally:
        wait(pending)  # after an error, they hold memory of the device
        if on_cpu:
            pool.shutdown()


def _render_and_store(
    out: np.ndarray, places: list[Place], render: Callable[[], jax.Array]
) -> None:
    _store(out, places, render())


def _store(out: np.ndarray, places: list[Place], values: jax.Array) -> None:
    for place, block in zip(places, np.asarray(values), strict=True):
        top, bottom, left, right = place
        out[top:bottom, left:right] = block[: bottom - top, : right - left]
