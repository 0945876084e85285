"""The splat alone, on random Gaussians, and the least time that it could take."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from figures import median_time

from gaussiansr_jax.memory import is_out_of_memory
from gaussiansr_jax.ops import splatting

# Multiply-adds outside the matrix units, FLOP/s, NVIDIA's data sheets.
FLOAT32_PEAK = {"H100": 67e12, "H200": 67e12}


class Stream(NamedTuple):
    """A splat stream: Gaussians per LR pixel, channels, side of the window, normalization."""

    name: str
    count: int
    channels: int
    side: int
    normalized: bool


class Grid(NamedTuple):
    """Where a stream is evaluated.

    Attributes:
      chain: evaluations in one call.
      strips: into how many strips of rows a grid may be cut, where memory is too small.
    """

    name: str
    batch: int
    lr_size: tuple[int, int]
    size: tuple[int, int]
    scale: float
    chain: int
    strips: tuple[int, ...]


STREAMS = {
    "8": Stream("splat stream, 8 channels", 1, 8, 7, False),
    "64": Stream("splat stream, 64 channels", 1, 64, 7, False),
    "direct": Stream("field of the direct head", 16, 3, 3, True),
}


def splat_row(stream: Stream, grid: Grid, gradient: bool, rate: float) -> dict:
    """A line of the table; `rate` is that of a large copy, in bytes per second."""
    work = f"{stream.name}, forward{' and backward' if gradient else ''}, {grid.name}"
    floor = splat_floor(stream, grid, gradient, rate)
    for strips in grid.strips:
        try:
            call = splat_call(stream, grid, gradient, strips)
            repeats = 10 if grid.chain == 1 else 5
            seconds = median_time(call, repeats) / grid.chain
        except jax.errors.JaxRuntimeError as error:
            if not is_out_of_memory(error):
                raise
            continue
        note = f"in {strips} strips" if strips > 1 else ""
        return {"work": work, "seconds": seconds, "floor": floor, "note": note}
    return {"work": work, "seconds": None, "floor": floor, "note": "out of memory"}


def splat_floor(stream: Stream, grid: Grid, gradient: bool, rate: float) -> float:
    """Seconds; the backward pass reads parameters and gradient, and writes that of parameters."""
    lr_pixels, queries = (grid.batch * h * w for h, w in (grid.lr_size, grid.size))
    parameters = 4 * lr_pixels * stream.count * (6 + stream.channels)
    output = 4 * queries * stream.channels
    bytes_moved = parameters + output + gradient * (2 * parameters + output)
    kind = jax.local_devices()[0].device_kind
    peak = next((peak for name, peak in FLOAT32_PEAK.items() if name in kind), np.inf)
    # Difference 2, quadratic form 8, factor -1/2 and height 2, exponential 1, and for each channel
    # 2; as much again for each of the two factors of a product in the backward pass.
    pair = 13 + 2 * stream.channels + 2 * stream.normalized
    pairs = queries * stream.side**2 * stream.count
    return max(bytes_moved / rate, pairs * pair * (3 if gradient else 1) / peak)


def splat_call(stream: Stream, grid: Grid, gradient: bool, strips: int) -> Callable[[], Any]:
    """A call that evaluates the stream `grid.chain` times, the grid cut into strips of rows."""
    gaussians = _random_gaussians(stream, (grid.batch, *grid.lr_size, stream.count))
    ys, xs = (jnp.arange(0.5, n) / grid.scale - 0.5 for n in grid.size)
    ys = jnp.tile(ys.reshape(strips, 1, -1), (1, grid.batch, 1))
    xs = jnp.tile(xs, (grid.batch, 1))
    footprint = jnp.full((grid.batch, 2), 0.4 / grid.scale)
    shape = (strips, grid.batch, stream.channels, ys.shape[2], grid.size[1])
    cotangent = jax.random.normal(jax.random.key(1), shape) if gradient else jnp.zeros(strips)

    def field(gaussians: splatting.Gaussians, ys: jax.Array) -> jax.Array:
        def one(gaussians, ys, xs, footprint):
            radius = stream.side // 2
            return splatting.splat_grid(gaussians, ys, xs, footprint, radius, stream.normalized)

        # Channels first, as it is computed; exchanging the axes is no part of the splat.
        return jnp.moveaxis(jax.vmap(one)(gaussians, ys, xs, footprint), -1, 1)

    def strip(gaussians, ys, cotangent):
        if not gradient:
            return (), field(gaussians, ys)
        out, pull = jax.vjp(lambda gaussians: field(gaussians, ys), gaussians)
        return pull(cotangent)[0], out

    def once(gaussians):
        if strips == 1:
            return strip(gaussians, ys[0], cotangent[0])

        def add(total, piece):
            part, out = strip(gaussians, *piece)
            return jax.tree.map(jnp.add, total, part), out

        start = jax.tree.map(jnp.zeros_like, gaussians) if gradient else ()
        return jax.lax.scan(add, start, (ys, cotangent))

    def again(_, state):
        gaussians, (_, out) = state
        # Each evaluation depends on the last, or the compiler would do all of them at once.
        gaussians = jax.tree.map(lambda x: x + 1e-30 * out.ravel()[0], gaussians)
        return gaussians, once(gaussians)

    def chain(gaussians):
        return jax.lax.fori_loop(1, grid.chain, again, (gaussians, once(gaussians)))[1]

    many = jax.jit(chain)
    return lambda: many(gaussians)


def _random_gaussians(stream: Stream, shape: tuple[int, ...]) -> splatting.Gaussians:
    keys = jax.random.split(jax.random.key(0), 5)
    return splatting.Gaussians(
        offset=jax.random.uniform(keys[0], (*shape, 2), minval=-0.5, maxval=0.5),
        sigma=jax.random.uniform(keys[1], (*shape, 2), minval=0.2, maxval=1.2),
        rho=jax.random.uniform(keys[2], shape, minval=-0.5, maxval=0.5),
        opacity=jax.random.uniform(keys[3], shape, minval=0.5),
        value=jax.random.normal(keys[4], (*shape, stream.channels)),
    )
