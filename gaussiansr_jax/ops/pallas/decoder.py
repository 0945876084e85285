"""The decoder of the GaussianSR head as one kernel for NVIDIA GPUs, in Pallas (Triton).

Between the convolutions and RGB nothing goes through the device's memory. The maths is that of
`decoder.decode`; its plain JAX version is what this kernel is tested against. Products take
bfloat16, everything else is float32.
"""

import math
from collections.abc import Sequence
from functools import partial, reduce

import jax
import jax.numpy as jnp
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton
from jaxtyping import Array, Float

from gaussiansr_jax.ops.pallas.instructions import PLAIN, PTX, Instructions

# Output pixels of one program, its warps, and the outputs of a layer that it computes at once. On
# an H100 they take 96 KB of shared memory, and the registers just suffice.
_ROWS, _WARPS, _COLUMNS = 128, 8, 128
# Triton's products have 16 columns at least.
_RGB_COLUMNS = 16


def supports(waves: Float[Array, "batch *positions channels"], phase: Array) -> bool:
    """Whether the kernel computes `decoder.decode` of arguments like these."""
    hidden = waves.shape[-1] // 2
    return (
        waves.dtype == jnp.bfloat16
        and hidden in (32, 64, 128, 256)  # powers of two that fit a program's registers
        and math.prod(phase.shape[1:-1]) == 1
        and waves.size < 2**31
    )


def decode(
    waves: Float[Array, "batch *positions channels"],
    bias: Float[Array, "channels"],
    relative: Float[Array, "batch *positions 2"],
    phase: Float[Array, "#batch *#positions half"],
    layers: Sequence[tuple[Float[Array, "_ _"], Float[Array, "_"]]],
    *,
    interpret: bool = False,
) -> Float[Array, "batch *positions 3"]:
    """RGB, as `decoder.decode`."""
    batch, *positions, channels = waves.shape
    count, hidden = math.prod(positions), channels // 2
    phase = jnp.broadcast_to(phase.reshape(-1, hidden // 2), (batch, hidden // 2))
    *inner, (last, last_bias) = layers
    unused = [(0, _RGB_COLUMNS - last.shape[1])]
    call = pl.pallas_call(
        partial(_kernel, columns=min(_COLUMNS, hidden), ops=PLAIN if interpret else PTX),
        out_shape=jax.ShapeDtypeStruct((batch, count, last.shape[1]), jnp.float32),
        grid=(pl.cdiv(count, _ROWS), batch),
        compiler_params=triton.CompilerParams(num_warps=_WARPS, num_stages=1),
        interpret=interpret,
        name="decode",
    )
    rgb = call(
        waves.reshape(batch, count, channels),
        bias,
        relative.reshape(batch, count, 2),
        phase,
        jnp.stack([kernel.astype(jnp.bfloat16) for kernel, _ in inner]),
        jnp.stack([bias for _, bias in inner]),
        jnp.pad(last.astype(jnp.bfloat16), [(0, 0), *unused]),
        jnp.pad(last_bias, unused),
    )
    return rgb.reshape(batch, *positions, last.shape[1])


def _kernel(
    waves,
    bias,
    relative,
    phase,
    kernels,
    biases,
    last,
    last_bias,
    rgb,
    *,
    columns: int,
    ops: Instructions,
):
    """RGB of `_ROWS` output pixels; their features are a list of blocks of `columns` channels."""
    hidden = kernels.shape[-1]
    wave_columns = min(columns, hidden // 2)
    image = pl.program_id(1)
    row = pl.program_id(0) * _ROWS + jnp.arange(_ROWS, dtype=jnp.int32)
    inside = row < waves.shape[1]

    def wide(mask, width):
        return jnp.broadcast_to(mask[:, None], (_ROWS, width))

    def wave(start):
        """Channels from `start` on of the convolutions' output."""
        channel = start + jnp.arange(wave_columns, dtype=jnp.int32)
        at = waves.at[image, row[:, None], channel[None]]
        loaded = triton.load(at, mask=wide(inside, wave_columns), other=0.0)
        return loaded.astype(jnp.float32) + bias[pl.ds(start, wave_columns)][None]

    relative_y, relative_x = (
        triton.load(relative.at[image, row, axis], mask=inside, other=0.0)[:, None]
        for axis in range(2)
    )
    cosines, sines = [], []
    for k in range(0, hidden // 2, wave_columns):
        z = wave(hidden + k) * relative_y + wave(hidden + hidden // 2 + k) * relative_x
        cos, sin = _cos_sin(z + phase[image, pl.ds(k, wave_columns)][None], ops)
        cosines.append((wave(k) * cos).astype(jnp.bfloat16))
        sines.append((wave(hidden // 2 + k) * sin).astype(jnp.bfloat16))

    def product(x, weights):
        """The product of the blocks of `x` and the rows of the weights."""
        total, k = None, 0
        for block in x:
            rows = weights(pl.ds(k, block.shape[1]))
            term = jnp.dot(block, rows, preferred_element_type=jnp.float32)
            total = term if total is None else total + term
            k += block.shape[1]
        return total

    def one_layer(layer, x):
        outputs = []
        for k in range(0, hidden, columns):
            part = pl.ds(k, columns)
            y = product(x, lambda rows, part=part: kernels[layer, rows, part])
            outputs.append(_gelu(y + biases[layer, part][None], ops).astype(jnp.bfloat16))
        return outputs

    x, start = cosines + sines, 0
    if wave_columns != columns:  # a loop keeps the shapes of what it carries
        x, start = one_layer(0, x), 1
    x = jax.lax.fori_loop(start, kernels.shape[0], one_layer, x)
    y = product(x, lambda rows: last[rows, :]) + last_bias[:][None]
    channel = jnp.arange(_RGB_COLUMNS, dtype=jnp.int32)
    stored = wide(inside, _RGB_COLUMNS) & (channel < rgb.shape[-1])[None]
    triton.store(rgb.at[image, row[:, None], channel[None]], y, mask=stored)


def _cos_sin(
    t: Float[Array, "..."], ops: Instructions
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """cos πt and sin πt, to 1e-5.

    With n the integer nearest to t and r = t - n, they are (-1)ⁿ cos πr and (-1)ⁿ sin πr; |r| is
    1/2 at most, where short polynomials do. CUDA's own functions take several times as long.
    """
    n = jnp.floor(t + 0.5)
    r = t - n
    sign = 1 - 2 * (n - 2 * jnp.floor(0.5 * n))
    square = r * r
    return sign * _polynomial(square, _COS, ops), sign * r * _polynomial(square, _SIN, ops)


def _gelu(x: Float[Array, "..."], ops: Instructions) -> Float[Array, "..."]:
    """x Φ(x), Φ the normal distribution, to 3e-5.

    x Φ(x) = max(x, 0) - |x| Φ(-|x|), and Φ(-a) is q(a)⁻¹⁶ with a polynomial q, the form of
    Abramowitz & Stegun 7.1.28. Fitted to the error of x Φ(x), degree 4 is enough.
    """
    size = jnp.abs(x)
    tail = ops.reciprocal(_polynomial(size, _TAIL, ops))
    for _ in range(4):
        tail *= tail
    return ops.fma(-size, tail, jnp.maximum(x, 0.0))


def _polynomial(
    x: Float[Array, "..."], coefficients: tuple[float, ...], ops: Instructions
) -> Float[Array, "..."]:
    """Σ c_i xⁱ, by Horner's rule."""
    *lower, last = (jnp.full(x.shape, c) for c in coefficients)
    return reduce(lambda value, c: ops.fma(value, x, c), reversed(lower), last)


# Fitted for the smallest maximal error: cos πr and sin πr / r as polynomials in r², and `_gelu`.
_COS = (0.99999330, -4.9339380, 4.0412838, -1.2221271)
_SIN = (3.1415820, -5.1671428, 2.5418990, -0.55463618)
_TAIL = (1.0443534, 0.051461647, 0.023501755, 0.002089101, 0.00054762153)
