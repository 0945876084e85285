"""The field on a regular grid as kernels for NVIDIA GPUs, in Pallas (Triton).

Nothing but the parameters, the field and their gradients goes through the device's memory. The
maths is that of `splatting`; its plain JAX version is what these kernels are tested against.

Layouts: parameters [H, G, P, W], P = offset (y, x), precision (yy, yx, xx), log weight, values;
fields [C, Y, X].
"""

import math
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float, Int

from gaussiansr_jax.ops.pallas.instructions import PLAIN, PTX, Instructions

# Output columns and rows that one program of the forward pass computes; its rows share what it
# loads. Outputs of fewer than _MANY pixels get one row a program, to use all processors.
_COLUMNS, _ROWS, _MANY = 64, 4, 2**16
# The most Gaussians that the forward pass unrolls: Triton's compile time grows faster than the
# square of their number.
_GROUP = 4
_LOG2_E = math.log2(math.e)
# Threads of a program of the backward pass, and the most LR pixels that it takes.
_LANES, _LR_PIXELS = 32, 2
# The most channels of a program, of the forward pass times its rows: more would take so many
# registers that too few programs run at once.
_FORWARD_SUMS, _CHANNELS = 64, 16
# Index of the first value among the parameters, and the log weight of a Gaussian that is not there.
FIRST_VALUE = 6
LOG_ZERO = -1e30


def forward(
    planes: Float[Array, "H G P W"],
    ys: Float[Array, "Y"],
    xs: Float[Array, "X"],
    near_y: Int[Array, "Y"],
    near_x: Int[Array, "X"],
    *,
    radius: int,
    normalized: bool,
    interpret: bool = False,
) -> tuple[Float[Array, "C Y X"], Float[Array, "Y X"]]:
    """The field, and the logarithm of the sum of the weights (0 if not normalized)."""
    channels = planes.shape[2] - FIRST_VALUE
    shape = (len(ys), len(xs))
    field = jax.ShapeDtypeStruct((channels, *shape), jnp.float32)
    log_sum = jax.ShapeDtypeStruct(shape, jnp.float32)
    rows, ops = _ROWS if math.prod(shape) >= _MANY else 1, PLAIN if interpret else PTX
    some_channels = _divisor(channels, _FORWARD_SUMS // rows)
    static = {"rows": rows, "radius": radius, "normalized": normalized, "ops": ops}
    call = pl.pallas_call(
        partial(_forward_kernel, channels=some_channels, **static),
        out_shape=(field, log_sum),
        grid=(
            pl.cdiv(shape[0], rows),
            pl.cdiv(shape[1], _COLUMNS),
            channels // some_channels,
        ),
        compiler_params=triton.CompilerParams(num_warps=_COLUMNS // 32),
        interpret=interpret,
        name="splat",
    )
    return call(planes, ys, xs, near_y, near_x)


def _forward_kernel(
    source,
    ys,
    xs,
    near_y,
    near_x,
    field,
    log_sum,
    *,
    rows: int,
    channels: int,
    radius: int,
    normalized: bool,
    ops: Instructions,
):
    """A few channels of `_COLUMNS` output pixels of a few rows, each with its own window.

    The threads are columns. In one of them, log2 w = (A dy + B) dy + C, where A, B, C are the same
    for all rows, as `splatting._by_rows` has it with rows and columns exchanged.
    """
    height, count, _, width = source.shape
    first_channel = pl.program_id(2) * channels
    side = 2 * radius + 1
    group = math.gcd(count, _GROUP)
    # Beyond the last row it is computed, and stored, again.
    some = [jnp.minimum(pl.program_id(0) * rows + r, ys.shape[0] - 1) for r in range(rows)]
    column = pl.program_id(1) * _COLUMNS + jnp.arange(_COLUMNS)
    inside = column < xs.shape[0]
    x = triton.load(xs.at[column], mask=inside, other=0.0)
    nearest_x = triton.load(near_x.at[column], mask=inside, other=0)
    y, nearest_y = [ys[row] for row in some], [near_y[row] for row in some]
    top = jnp.maximum(reduce(jnp.minimum, nearest_y) - radius, 0)
    bottom = jnp.minimum(reduce(jnp.maximum, nearest_y) + radius + 1, height)

    def one_pixel(index, carry):
        """Adds the Gaussians of one LR pixel to each row whose windows hold it."""
        i = top + jax.lax.div(index, jnp.int32(side))
        j = nearest_x - radius + jax.lax.rem(index, jnp.int32(side))
        # Beyond the border it loads Gaussians of the border, with a weight of 0.
        at, there = jnp.clip(j, 0, width - 1), (0 <= j) & (j < width)
        from_x = x - j.astype(x.dtype)
        from_y = [y_r - i.astype(x.dtype) for y_r in y]
        seen = [there & (jnp.abs(i - nearest) <= radius) for nearest in nearest_y]

        def load(k, p):
            return triton.load(source.at[i, k, p, at])

        def one_group(index, carry):
            ks = [index * group + g for g in range(group)]
            log_weights = [[] for _ in some]
            for k in ks:
                oy, ox, yy, yx, xx, log_weight = (load(k, p) for p in range(FIRST_VALUE))
                dx = from_x - ox
                a, b = -0.5 * _LOG2_E * yy, -_LOG2_E * yx * dx
                c = ops.fma(-0.5 * _LOG2_E * xx * dx, dx, _LOG2_E * log_weight)
                for r in range(rows):
                    dy = from_y[r] - oy
                    exponent = ops.fma(ops.fma(a, dy, b), dy, c)
                    log_weights[r].append(jnp.where(seen[r], exponent, LOG_ZERO))
            largest, total, sums = (list(part) for part in carry)
            if normalized:  # all weights relative to the largest so far
                for r in range(rows):
                    before = largest[r]
                    largest[r] = reduce(jnp.maximum, log_weights[r], before)
                    shrink = ops.exp2(before - largest[r])
                    total[r], sums[r] = total[r] * shrink, [s * shrink for s in sums[r]]
            for g, k in enumerate(ks):
                values = [load(k, FIRST_VALUE + first_channel + c) for c in range(channels)]
                for r in range(rows):
                    exponent = log_weights[r][g]
                    weight = ops.exp2(exponent - largest[r] if normalized else exponent)
                    total[r] += weight
                    sums[r] = [ops.fma(weight, v, s) for v, s in zip(values, sums[r], strict=True)]
            return largest, total, sums

        return jax.lax.fori_loop(jnp.int32(0), jnp.int32(count // group), one_group, carry)

    zeros = jnp.zeros(_COLUMNS, jnp.float32)
    carry = (
        [jnp.full(_COLUMNS, 2 * LOG_ZERO)] * rows,
        [zeros] * rows,
        [[zeros] * channels] * rows,
    )
    steps = (bottom - top) * side
    largest, total, sums = jax.lax.fori_loop(jnp.int32(0), steps, one_pixel, carry)
    for r, row in enumerate(some):
        for c in range(channels):
            value = sums[r][c] / total[r] if normalized else sums[r][c]
            triton.store(field.at[first_channel + c, row, column], value, mask=inside)
        log_total = (largest[r] + jnp.log2(total[r])) / _LOG2_E if normalized else zeros
        triton.store(log_sum.at[row, column], log_total, mask=inside)


def backward(
    planes: Float[Array, "H G P W"],
    ys: Float[Array, "Y"],
    xs: Float[Array, "X"],
    near_y: Int[Array, "Y"],
    near_x: Int[Array, "X"],
    field: Float[Array, "C Y X"],
    log_sum: Float[Array, "Y X"],
    gradient: Float[Array, "C Y X"],
    *,
    radius: int,
    normalized: bool,
    interpret: bool = False,
) -> Float[Array, "H G P W"]:
    """The gradient with respect to the parameters."""
    height, count, parameters, width = planes.shape
    channels = parameters - FIRST_VALUE
    some_channels = _divisor(channels, _CHANNELS)
    groups = channels // some_channels
    gaussians = pl.next_power_of_2(count)
    pixels = min(_LR_PIXELS, max(1, _LANES // (2 * gaussians)))
    splits = max(1, _LANES // (gaussians * pixels))
    call = pl.pallas_call(
        partial(
            _backward_kernel,
            shape=(splits, pixels, gaussians),
            channels=some_channels,
            radius=radius,
            normalized=normalized,
        ),
        out_shape=jax.ShapeDtypeStruct(
            (groups, height, count, FIRST_VALUE + some_channels, width), jnp.float32
        ),
        grid=(height, pl.cdiv(width, pixels), groups),
        compiler_params=triton.CompilerParams(num_warps=1),
        interpret=interpret,
        name="splat_gradient",
    )
    rows, columns = _reached_by(near_y, height, radius), _reached_by(near_x, width, radius)
    # Each group of channels subtracts its share, and gives its share of the shapes' gradient.
    inner = jnp.sum(field * gradient, axis=0) / groups if normalized else log_sum  # not read
    parts = call(planes, ys, xs, near_y, near_x, *rows, *columns, log_sum, inner, gradient)
    if groups == 1:
        return parts[0]
    shapes, values = jnp.sum(parts[..., :FIRST_VALUE, :], axis=0), parts[..., FIRST_VALUE:, :]
    values = jnp.moveaxis(values, 0, 2).reshape(height, count, channels, width)
    return jnp.concatenate([shapes, values], axis=2)


def _divisor(channels: int, most: int) -> int:
    """How many channels each program takes: all, or a divisor of their number."""
    return channels if channels <= most else math.gcd(channels, most)


def _reached_by(
    nearest: Int[Array, "Q"], length: int, radius: int
) -> tuple[Int[Array, "length"], Int[Array, "length"]]:
    """The first output and the one after the last whose windows hold each LR pixel."""
    count, lr = len(nearest), jnp.arange(length, dtype=jnp.int32)[:, None]
    holds, index = jnp.abs(nearest[None] - lr) <= radius, jnp.arange(count, dtype=jnp.int32)[None]
    first = jnp.min(jnp.where(holds, index, count), axis=1)
    return first, jnp.max(jnp.where(holds, index + 1, 0), axis=1)


def _backward_kernel(
    source,
    ys,
    xs,
    near_y,
    near_x,
    first_row,
    end_row,
    first_column,
    end_column,
    log_sum,
    inner,
    gradient,
    out,
    *,
    shape: tuple[int, int, int],
    channels: int,
    radius: int,
    normalized: bool,
):
    """The gradient of the Gaussians of a few LR pixels of a row: sums over what sees them.

    Every thread has one Gaussian and goes through the output pixels row by row. If there are fewer
    Gaussians than threads, each of `splits` groups of threads takes every `splits`-th output
    column, so that together they read neighbors.
    """
    splits, pixels, gaussians = shape
    _, count, _, width = source.shape
    group = pl.program_id(2)
    first_channel = group * channels
    lane = jnp.arange(pixels * gaussians, dtype=jnp.int32)
    i, first_j = pl.program_id(0), pl.program_id(1) * pixels
    j, k = first_j + jax.lax.div(lane, jnp.int32(gaussians)), lane & (gaussians - 1)
    there = (j < width) & (k < count)

    def load(p):
        return triton.load(source.at[i, k, p, j], mask=there, other=0.0)[None]

    oy, ox, yy, yx, xx, log_weight = (load(p) for p in range(FIRST_VALUE))
    value = [load(FIRST_VALUE + first_channel + c) for c in range(channels)]
    center_y, center_x = i.astype(jnp.float32) + oy, j.astype(jnp.float32)[None] + ox
    start = jnp.min(triton.load(first_column.at[j], mask=there, other=xs.shape[0]))
    stop = jnp.max(triton.load(end_column.at[j], mask=there, other=0))
    top, bottom = first_row[i], end_row[i]

    def some_columns(index, sums):
        column = start + index * splits + jnp.arange(splits, dtype=jnp.int32)
        inside = column < stop
        nearest_x = triton.load(near_x.at[column], mask=inside, other=0)[:, None]
        beside = inside[:, None] & (jnp.abs(nearest_x - j[None]) <= radius)
        dx = triton.load(xs.at[column], mask=inside, other=0.0)[:, None] - center_x

        def one_row(row, sums):
            seen = beside & (jnp.abs(near_y[row] - i) <= radius)
            dy = ys[row] - center_y
            by_y, by_x = yy * dy + yx * dx, yx * dy + xx * dx
            log_weights = log_weight - 0.5 * (by_y * dy + by_x * dx)

            def at_columns(ref, *channel):
                at = ref.at[*channel, row, column]
                return triton.load(at, mask=inside, other=0.0)[:, None]

            if normalized:
                log_weights -= at_columns(log_sum)
            weight = jnp.where(seen, jnp.exp(log_weights), 0.0)
            gradients = [at_columns(gradient, first_channel + c) for c in range(channels)]
            along = sum(g * v for g, v in zip(gradients, value, strict=True))
            if normalized:
                along -= at_columns(inner)
            along *= weight  # the gradient with respect to the logarithm of the weight
            parts = [along * by_y, along * by_x]
            parts += [-0.5 * along * dy * dy, -along * dy * dx, -0.5 * along * dx * dx, along]
            parts += [weight * g for g in gradients]
            return tuple(s + part for s, part in zip(sums, parts, strict=True))

        return jax.lax.fori_loop(top, bottom, one_row, sums)

    steps = jax.lax.div(stop - start + jnp.int32(splits - 1), jnp.int32(splits))
    zeros = (jnp.zeros((splits, pixels * gaussians), jnp.float32),) * (FIRST_VALUE + channels)
    for p, total in enumerate(jax.lax.fori_loop(jnp.int32(0), steps, some_columns, zeros)):
        triton.store(out.at[group, i, k, p, j], jnp.sum(total, axis=0), mask=there)
