"""Fields of 2D Gaussians on the LR grid, evaluated at any position.

Every LR pixel carries G Gaussians with center μ, covariance Σ, opacity α and a value v. With
q(x) = (x - μ)ᵀ Σ⁻¹ (x - μ) the field is

    f(x) = Σ α v exp(-q(x) / 2)                                      (GaussianSR, arXiv 2407.18046)

or, normalized, f(x) = Σ α v exp(-q(x) / 2) / Σ α exp(-q(x) / 2), a partition of unity. Positions
and standard deviations are in LR pixels, so that a field does not depend on a scale. `footprint` is
the standard deviation of the output pixel: every Gaussian is convolved with it (numerator and
denominator of a normalized field), so that no scale aliases.

`field_at` is the definition, a function of one query. `splat_dense` vmaps it over queries with all
Gaussians of the image: the oracle. `splat` does so with the LR pixels around each query.
`splat_grid` is `splat` on a regular grid, without gathers, and on NVIDIA GPUs one kernel
(`ops/pallas/splatting.py`).

Truncation: `splat` with window radius r leaves out the LR pixels whose center is r + 1/2 or more
from the query along some axis. Since q >= (x_y - μ_y)² / Σ_yy, and likewise for x, whatever the
correlation, a Gaussian without offset that is left out contributes at most
|α v| exp(-(r + 1/2)² / (2 Σ_max)), Σ_max the larger of its two variances.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, ArrayLike, Float, Int

from gaussiansr_jax.ops.coordinates import nearest_index
from gaussiansr_jax.ops.pallas import splatting as pallas_splatting
from gaussiansr_jax.ops.pallas.splatting import FIRST_VALUE, LOG_ZERO

# Limits that keep values and gradients finite for every parameter that an optimizer can reach:
# smallest variance in LR pixels², largest standard deviation in LR pixels, largest |correlation|.
MIN_VARIANCE = 1e-4
MAX_SIGMA = 1e3
MAX_RHO = 0.99


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
      log_weight: what is added to -q / 2; 0 in a field that is not normalized.
      value: as `Gaussians.value`, times the height if the field is not normalized.
    """

    offset: Float[Array, "... 2"]
    precision: Float[Array, "... 3"]
    log_weight: Float[Array, "..."]
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
    if not normalized:
        value = (gaussians.opacity * height)[..., None] * gaussians.value
        return Kernels(gaussians.offset, precision, jnp.zeros_like(height), value)
    present = gaussians.opacity > 0
    log_height = jnp.log(height * jnp.where(present, gaussians.opacity, 1.0))
    log_height = jnp.where(present, log_height, LOG_ZERO)
    return Kernels(gaussians.offset, precision, log_height, gaussians.value)


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
    log_weights = kernels.log_weight - 0.5 * (yy * dy * dy + 2 * yx * dy * dx + xx * dx * dx)
    # A softmax is finite however far the nearest Gaussian is.
    weights = jax.nn.softmax(log_weights) if normalized else jnp.exp(log_weights)
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

    Examples:
      One LR pixel that carries the value 2, σ = 1 LR pixel, seen from its center and from 1 away.

      >>> one = Gaussians(
      ...     offset=jnp.zeros((1, 1, 1, 2)),
      ...     sigma=jnp.ones((1, 1, 1, 2)),
      ...     rho=jnp.zeros((1, 1, 1)),
      ...     opacity=jnp.ones((1, 1, 1)),
      ...     value=jnp.full((1, 1, 1, 1), 2.0),
      ... )
      >>> queries = jnp.array([[0.0, 0.0], [0.0, 1.0]])
      >>> field = splat(one, queries, footprint=jnp.zeros(2), radius=1)
      >>> [round(float(value), 3) for value in field[:, 0]]
      [2.0, 1.213]
    """
    size = gaussians.rho.shape[:2] if size is None else size
    side = 2 * radius + 1
    source = _padded(kernel_planes(gaussians, footprint, normalized), radius, normalized)
    count, parameters = source.shape[1:3]
    step = jnp.arange(side, dtype=jnp.int32) - radius

    def one_query(query: Float[Array, "2"]) -> Float[Array, "channels"]:
        y, x = nearest_index(query[0], size[0]), nearest_index(query[1], size[1])
        window = jax.lax.dynamic_slice(source, (y, 0, 0, x), (side, count, parameters, side))
        flat = jnp.moveaxis(window, 2, 3).reshape(side * count * side, parameters)
        kernels = Kernels(flat[:, 0:2], flat[:, 2:5], flat[:, 5], flat[:, FIRST_VALUE:])
        from_y = query[0] - (y + step).astype(query.dtype)
        from_x = query[1] - (x + step).astype(query.dtype)
        shape = (side, count, side)
        delta = jnp.stack(
            [
                jnp.broadcast_to(from_y[:, None, None], shape),
                jnp.broadcast_to(from_x[None, None, :], shape),
            ],
            -1,
        )
        return field_at(delta.reshape(-1, 2) - kernels.offset, kernels, normalized)

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
    """`splat` at every point of the grid ys × xs.

    Except on GPUs, `ys` and `xs` must rise by at most one LR pixel (scale >= 1) along an axis on
    which the LR image is longer than the grid; larger steps give NaN there. It is differentiable
    in all arrays; the gradient in the positions is computed in plain JAX on GPUs, too.
    """
    planes = kernel_planes(gaussians, footprint, normalized)
    return planes_on_grid(planes, ys, xs, radius, normalized, size)


def kernel_planes(
    gaussians: Gaussians, footprint: Float[Array, "2"], normalized: bool = False
) -> Float[Array, "height gaussians parameters width"]:
    """The [H, W, G] Gaussians of an image at one output scale, laid out for grids.

    The parameters are those of `Kernels`, one after the other.
    """
    kernels = at_footprint(gaussians, footprint, normalized)
    parts = kernels.offset, kernels.precision, kernels.log_weight[..., None], kernels.value
    return jnp.moveaxis(jnp.concatenate(parts, -1), 1, 3)


def planes_on_grid(
    planes: Float[Array, "lr_height gaussians parameters lr_width"],
    ys: Float[Array, "height"],
    xs: Float[Array, "width"],
    radius: int,
    normalized: bool = False,
    size: Int[ArrayLike, "2"] | None = None,
) -> Float[Array, "height width channels"]:
    """`splat_grid` of what `kernel_planes` made."""
    size = (planes.shape[0], planes.shape[3]) if size is None else size
    channels = planes.shape[2] - FIRST_VALUE
    if channels == 0:
        return jnp.zeros((len(ys), len(xs), 0), ys.dtype)
    near_y, near_x = nearest_index(ys, size[0]), nearest_index(xs, size[1])
    field = _field_on_grid(planes, ys, xs, near_y, near_x, radius, normalized)
    return jnp.moveaxis(field, 0, -1)


def _padded(planes: Float[Array, "H G P W"], radius: int, normalized: bool) -> Array:
    """`planes` with pixels of no weight around them."""
    around = [(radius, radius), (0, 0), (0, 0), (radius, radius)]
    padded = jnp.pad(planes, around)
    if not normalized:
        return padded
    log_weight = jnp.pad(
        planes[:, :, FIRST_VALUE - 1], [around[0], *around[2:]], constant_values=LOG_ZERO
    )
    return padded.at[:, :, FIRST_VALUE - 1].set(log_weight)


@partial(jax.custom_vjp, nondiff_argnums=(5, 6))
def _field_on_grid(
    planes: Float[Array, "H G P W"],
    ys: Float[Array, "Y"],
    xs: Float[Array, "X"],
    near_y: Int[Array, "Y"],
    near_x: Int[Array, "X"],
    radius: int,
    normalized: bool,
) -> Float[Array, "channels Y X"]:
    """The field on the grid ys × xs, whose nearest LR pixels are `near_y`, `near_x`."""
    return _forward(planes, ys, xs, near_y, near_x, radius, normalized)[0]


def _forward(planes, ys, xs, near_y, near_x, radius, normalized):
    static = {"radius": radius, "normalized": normalized}

    def on_gpu(planes, *grid):
        field, log_sum = pallas_splatting.forward(planes, *grid, **static)
        return field, (planes, *grid, field, log_sum)

    def elsewhere(planes, *grid):
        field = _by_rows(planes, *grid, **static)
        return field, (planes, *grid, field, jnp.zeros(field.shape[1:]))

    return jax.lax.platform_dependent(
        planes, ys, xs, near_y, near_x, cuda=on_gpu, default=elsewhere
    )


def _forward_rule(planes, ys, xs, near_y, near_x, radius, normalized):
    """`_forward`; the arguments also say whether they are differentiated."""
    values = [argument.value for argument in (planes, ys, xs, near_y, near_x)]
    field, residual = _forward(*values, radius, normalized)
    return field, (residual, () if ys.perturbed or xs.perturbed else None)


def _backward(radius, normalized, residuals, gradient):
    static = {"radius": radius, "normalized": normalized}
    residual, by_positions = residuals
    if isinstance(gradient, SymbolicZero):
        gradient = jnp.zeros(gradient.shape, gradient.dtype)

    def on_gpu(residual, gradient):
        return pallas_splatting.backward(*residual, gradient, **static)

    def elsewhere(residual, gradient):
        planes, *grid = residual[:5]
        _, pull_back = jax.vjp(lambda planes: _by_rows(planes, *grid, **static), planes)
        return pull_back(gradient)[0]

    planes = jax.lax.platform_dependent(residual, gradient, cuda=on_gpu, default=elsewhere)
    if by_positions is None:
        return planes, None, None, None, None
    return planes, *_position_gradients(*residual[:5], gradient, **static), None, None


def _position_gradients(planes, ys, xs, near_y, near_x, gradient, *, radius, normalized):
    """Gradients by `ys` and `xs`; the nearest LR pixels are piecewise constant in them."""

    def field(ys, xs):
        return _by_rows(planes, ys, xs, near_y, near_x, radius=radius, normalized=normalized)

    return jax.vjp(field, ys, xs)[1](gradient)


_field_on_grid.defvjp(_forward_rule, _backward, symbolic_zeros=True)


def _by_rows(
    planes: Float[Array, "H G P W"],
    ys: Float[Array, "Y"],
    xs: Float[Array, "X"],
    near_y: Int[Array, "Y"],
    near_x: Int[Array, "X"],
    *,
    radius: int,
    normalized: bool,
) -> Float[Array, "channels Y X"]:
    """The field on a grid in plain JAX, row by row.

    First, the parameters on the LR grid are brought to the columns of the output, by one product
    with a one-hot matrix: gathers are slow on CPUs and TPUs, and so are the scatters of their
    gradients. Then each output row reads the 2 radius + 1 LR rows around it.
    """
    side = 2 * radius + 1
    source = jnp.swapaxes(_padded(planes, radius, normalized), 1, 2)  # [H, P, G, W]
    # The LR pixels that positions at most one LR pixel apart can see, and the first of them.
    height, width = (min(source.shape[axis], len(x) + side) for axis, x in ((0, ys), (3, xs)))
    top = jnp.minimum(jnp.min(near_y), source.shape[0] - height)
    left = jnp.minimum(jnp.min(near_x), source.shape[3] - width)
    near_y, near_x = near_y - top, near_x - left
    seen = (jnp.max(near_y) + side <= height) & (jnp.max(near_x) + side <= width)
    parameters, count = source.shape[1:3]
    source = jax.lax.dynamic_slice(source, (top, 0, 0, left), (height, parameters, count, width))
    window = jnp.add.outer(jnp.arange(side, dtype=jnp.int32), near_x)  # [side, X]
    expand = jax.nn.one_hot(window.ravel(), width, axis=0, dtype=planes.dtype)
    source = jnp.matmul(source.reshape(-1, width), expand, precision=jax.lax.Precision.HIGHEST)
    source = source.reshape(height, parameters, count * side, len(xs))
    step = jnp.arange(side, dtype=jnp.int32) - radius
    from_x = xs[None] - (left + window - radius).astype(xs.dtype)
    from_x = jnp.tile(from_x, (count, 1))[None]
    # Without the barriers, XLA computes each exponential once for every sum that it is part of.
    once = jax.lax.optimization_barrier
    source = once(source)

    def one_row(row: tuple[Float[Array, ""], Int[Array, ""]]) -> Float[Array, "channels X"]:
        y, near = row
        values = jax.lax.dynamic_slice_in_dim(source, near, side)  # [side, P, G side, X]
        center_y, center_x, yy, yx, xx, log_weight = (values[:, i] for i in range(FIRST_VALUE))
        dy = (y - (top + near + step).astype(y.dtype))[:, None, None] - center_y
        dx = from_x - center_x
        log_weights = once(log_weight - 0.5 * (yy * dy * dy + 2 * yx * dy * dx + xx * dx * dx))
        if normalized:
            # A softmax is finite however far the nearest Gaussian is.
            log_weights -= once(jnp.max(log_weights, (0, 1), keepdims=True))
        weights = once(jnp.exp(log_weights))
        field = jnp.sum(weights[:, None] * values[:, FIRST_VALUE:], (0, 2))
        return field / jnp.sum(weights, (0, 1))[None] if normalized else field

    field = jax.lax.map(one_row, (ys, near_y))
    return jnp.where(seen, jnp.moveaxis(field, 0, 1), jnp.nan)
