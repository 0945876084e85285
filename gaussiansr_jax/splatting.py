"""Fields of 2D Gaussians on the LR grid, evaluated at any position.

Every LR pixel carries G Gaussians with center μ, covariance Σ, opacity α and a value v. With
q(x) = (x - μ)ᵀ Σ⁻¹ (x - μ) the field is

    f(x) = Σ α v exp(-q(x) / 2)                                      (GaussianSR, arXiv 2407.18046)

or, normalized, f(x) = Σ α v exp(-q(x) / 2) / Σ α exp(-q(x) / 2), a partition of unity. Positions
and standard deviations are in LR pixels, so that a field has no scale of its own. `footprint` is
the standard deviation of the output pixel: every Gaussian is convolved with it (numerator and
denominator of a normalized field), so that no scale aliases.

`field_at` is the definition, a function of one query. `splat_dense` vmaps it over queries with all
Gaussians of the image: the oracle. `splat` does so with the LR pixels around each query.

Truncation: `splat` with window radius r leaves out the LR pixels whose center is r + 1/2 or more
from the query along some axis. Since q >= (x_y - μ_y)² / Σ_yy, and likewise for x, whatever the
correlation, a Gaussian without offset that is left out contributes at most
|α v| exp(-(r + 1/2)² / (2 Σ_max)), Σ_max the larger of its two variances.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from gaussiansr_jax.coordinates import nearest_index
from gaussiansr_jax.resampling import take

# Limits that keep values and gradients finite for every parameter that an optimizer can reach:
# smallest variance in LR pixels², largest standard deviation in LR pixels, largest |correlation|.
MIN_VARIANCE = 1e-4
MAX_SIGMA = 1e3
MAX_RHO = 0.99
_LOG_ZERO = -1e30


class Gaussians(NamedTuple):
    """A set of Gaussians; `...` is [H, W, G] for the field of an image.

    Attributes:
      offset: center relative to the LR pixel that carries it, (y, x), in LR pixels.
      sigma: standard deviations (y, x) in LR pixels.
      rho: correlation before `bounded_rho`.
      opacity: α; 0 for a Gaussian that is not there; not negative in a normalized field.
      value: what the Gaussian carries.
    """

    offset: Float[Array, "... 2"]
    sigma: Float[Array, "... 2"]
    rho: Float[Array, "..."]
    opacity: Float[Array, "..."]
    value: Float[Array, "... channels"]


def bounded_rho(rho: Float[Array, "..."]) -> Float[Array, "..."]:
    """A correlation in (-0.99, 0.99), equal to `rho` to first order at 0."""
    return MAX_RHO * jnp.tanh(rho / MAX_RHO)


class Kernels(NamedTuple):
    """Gaussians at one output scale, ready to be evaluated: all that does not depend on a query.

    Attributes:
      offset: as `Gaussians.offset`.
      precision: Σ'⁻¹ as (yy, yx, xx), Σ' = Σ + diag(footprint²).
      height: what multiplies exp(-q / 2); in a normalized field its logarithm.
      value: as `Gaussians.value`.
    """

    offset: Float[Array, "... 2"]
    precision: Float[Array, "... 3"]
    height: Float[Array, "..."]
    value: Float[Array, "... channels"]


def at_footprint(
    gaussians: Gaussians, footprint: Float[Array, "2"], normalized: bool = False
) -> Kernels:
    """The Gaussians convolved with the output pixel.

    The convolution of a Gaussian of height α has covariance Σ' = Σ + diag(footprint²) and height
    α sqrt(|Σ| / |Σ'|). Both are computed from standard deviations and correlations, so that nothing
    overflows or cancels.

    Args:
      gaussians: any number of Gaussians.
      footprint: standard deviation of the output pixel (y, x), in LR pixels.
      normalized: whether they belong to a normalized field.
    """
    sigma = jnp.clip(gaussians.sigma, -MAX_SIGMA, MAX_SIGMA)
    variance = jnp.square(sigma) + MIN_VARIANCE
    pixel = jax.lax.expand_dims(jnp.square(footprint), range(sigma.ndim - 1))
    inverse = jax.lax.rsqrt(variance + pixel)  # 1 / standard deviations of Σ'
    shrink = variance * jnp.square(inverse)  # variances of Σ / those of Σ'
    area = shrink[..., 0] * shrink[..., 1]
    r = bounded_rho(gaussians.rho) * jnp.prod(sigma * jax.lax.rsqrt(variance), -1)
    wide_r = r * jnp.sqrt(area)
    remaining = 1 - jnp.square(wide_r)
    iy, ix = inverse[..., 0], inverse[..., 1]
    precision = jnp.stack([iy * iy, -wide_r * iy * ix, ix * ix], -1) / remaining[..., None]
    height = jnp.sqrt(area * (1 - jnp.square(r)) / remaining)
    if normalized:
        present = gaussians.opacity > 0
        log_height = jnp.log(height * jnp.where(present, gaussians.opacity, 1.0))
        height = jnp.where(present, log_height, _LOG_ZERO)
    else:
        height = gaussians.opacity * height
    return Kernels(gaussians.offset, precision, height, gaussians.value)


def field_at(
    delta: Float[Array, "gaussians 2"], kernels: Kernels, normalized: bool
) -> Float[Array, "channels"]:
    """The field at one query.

    Args:
      delta: the query minus each Gaussian's center, (y, x), in LR pixels.
      kernels: N Gaussians.
      normalized: whether to divide by the sum of the weights.
    """
    yy, yx, xx = (kernels.precision[:, i] for i in range(3))
    dy, dx = delta[:, 0], delta[:, 1]
    q = yy * dy * dy + 2 * yx * dy * dx + xx * dx * dx
    if normalized:  # finite however far the nearest Gaussian is
        weights = jax.nn.softmax(kernels.height - 0.5 * q)
    else:
        weights = kernels.height * jnp.exp(-0.5 * q)
    return jnp.sum(weights[:, None] * kernels.value, axis=0)


def splat_dense(
    gaussians: Gaussians,
    queries: Float[Array, "queries 2"],
    footprint: Float[Array, "2"],
    normalized: bool = False,
) -> Float[Array, "queries channels"]:
    """The field of all [H, W, G] Gaussians at each query; slow, any float dtype. The oracle."""
    height, width, count = gaussians.rho.shape
    pixel = jnp.stack(jnp.meshgrid(jnp.arange(height), jnp.arange(width), indexing="ij"), -1)
    center = pixel[:, :, None].astype(queries.dtype) + gaussians.offset
    center = center.reshape(height * width * count, 2)
    kernels = at_footprint(gaussians, footprint, normalized)
    flat = jax.tree.map(lambda x: x.reshape(height * width * count, *x.shape[3:]), kernels)
    return jax.vmap(lambda query: field_at(query[None] - center, flat, normalized))(queries)


def splat(
    gaussians: Gaussians,
    queries: Float[Array, "queries 2"],
    footprint: Float[Array, "2"],
    radius: int,
    normalized: bool = False,
    size: Int[ArrayLike, "2"] | None = None,
) -> Float[Array, "queries channels"]:
    """The field at each query, of the (2 radius + 1)² LR pixels around the nearest one.

    Args:
      gaussians: the [H, W, G] Gaussians of an image. Those outside the valid size, if any, must
        have opacity 0.
      queries: positions (y, x) in LR pixels; any that are outside see the nearest LR pixels.
      footprint: standard deviation of the output pixel (y, x), in LR pixels.
      radius: window radius in LR pixels.
      normalized: whether to divide by the sum of the weights.
      size: valid height and width; default all.

    Returns:
      `splat_dense` up to the truncation stated at the top of this module.
    """
    count = gaussians.rho.shape[2]
    size = gaussians.rho.shape[:2] if size is None else size
    side = 2 * radius + 1
    source = _windows_source(gaussians, footprint, radius, normalized)

    def one_query(query: Float[Array, "2"]) -> Float[Array, "channels"]:
        y, x = nearest_index(query[0], size[0]), nearest_index(query[1], size[1])
        window = jax.lax.dynamic_slice(source, (y, x, 0, 0), (side, side, count, source.shape[-1]))
        return _field_in_window(query, y, x, window, normalized)

    return jax.vmap(one_query)(queries)


def splat_grid(
    gaussians: Gaussians,
    ys: Float[Array, "height"],
    xs: Float[Array, "width"],
    footprint: Float[Array, "2"],
    radius: int,
    normalized: bool = False,
    size: Int[ArrayLike, "2"] | None = None,
) -> Float[Array, "height width channels"]:
    """`splat` at every point of the regular grid ys × xs.

    The windows are read by rows, then by columns, so that the gradient is two matrix products
    instead of a scatter (see `resampling.take`).
    """
    count = gaussians.rho.shape[2]
    size = gaussians.rho.shape[:2] if size is None else size
    side = 2 * radius + 1
    source = _windows_source(gaussians, footprint, radius, normalized)
    parameters = source.shape[-1]
    y, x = nearest_index(ys, size[0]), nearest_index(xs, size[1])
    shift = jnp.arange(side, dtype=jnp.int32)
    windows = take(source.reshape(*source.shape[:2], -1), jnp.add.outer(y, shift))
    windows = windows.reshape(-1, *windows.shape[2:])  # [height side, width, parameters]
    windows = jax.vmap(take, (0, None))(windows, jnp.add.outer(x, shift))
    windows = windows.reshape(len(ys), side, len(xs), side, count, parameters)

    def one_query(y_at, x_at, y, x, window):
        return _field_in_window(jnp.stack([y_at, x_at]), y, x, window, normalized)

    one_row = jax.vmap(one_query, (None, 0, None, 0, 1))
    return jax.vmap(one_row, (0, None, 0, None, 0))(ys, xs, y, x, windows)


def _windows_source(
    gaussians: Gaussians, footprint: Float[Array, "2"], radius: int, normalized: bool
) -> Float[Array, "height width gaussians parameters"]:
    """The kernels with pixels of no weight around them, in one array: a window is one read."""
    kernels = at_footprint(gaussians, footprint, normalized)

    def padded(x: Float[Array, "height width ..."], value: float = 0.0) -> Array:
        rest = [(0, 0)] * (x.ndim - 2)
        return jnp.pad(x, [(radius, radius)] * 2 + rest, constant_values=value)

    height = padded(kernels.height, _LOG_ZERO if normalized else 0.0)
    parts = padded(kernels.offset), padded(kernels.precision), height[..., None]
    return jnp.concatenate([*parts, padded(kernels.value)], -1)


def _field_in_window(
    query: Float[Array, "2"],
    y: Int[Array, ""],
    x: Int[Array, ""],
    window: Float[Array, "side side gaussians parameters"],
    normalized: bool,
) -> Float[Array, "channels"]:
    """The field of the window around the LR pixel (y, x)."""
    side, _, count, _ = window.shape
    number = side * side * count
    step = jnp.arange(side, dtype=jnp.int32) - side // 2
    from_y = (query[0] - (y + step).astype(query.dtype))[:, None, None]
    from_x = (query[1] - (x + step).astype(query.dtype))[None, :, None]
    delta = jnp.stack([from_y - window[..., 0], from_x - window[..., 1]], -1)
    flat = window.reshape(number, -1)
    kernels = Kernels(flat[:, 0:2], flat[:, 2:5], flat[:, 5], flat[:, 6:])
    return field_at(delta.reshape(number, 2), kernels, normalized)
