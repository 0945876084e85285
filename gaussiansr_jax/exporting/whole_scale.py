"""A model at one whole-number scale, in operations that every exchange format has.

At a whole scale s the s² output pixels of an LR pixel lie at the same places within every LR pixel.
What depends on positions alone then becomes a constant, a window becomes shifted copies of the
array, and no index is computed: there are only convolutions, products, elementwise functions,
slices and reshapes, for any height and width. The result is that of `upscale` at that scale.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from gaussiansr_jax import models
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models.heads import DirectHead, GaussianSRHead
from gaussiansr_jax.models.heads.head import HeadInput
from gaussiansr_jax.ops import splatting
from gaussiansr_jax.ops.resampling import cubic_kernel

MAX_WHOLE_SCALE = 16
_CUBIC_TAPS = 5  # pixels that bicubic interpolation reads, for all places within a pixel
_CUBIC_A = -0.75

Image = Float[Array, "batch height width 3"]
Enlarged = Float[Array, "batch out_height out_width 3"]


def enlarger(params: Any, config: dict, scale: int) -> Callable[[Image], Enlarged]:
    """A function from RGB in [0, 1] to RGB in [0, 1], `scale` times as high and wide.

    Args:
      params: of the model.
      config: what `models.build` takes; everything is computed in float32.
      scale: a whole number.

    Raises:
      UserError: not such a scale, or a head that cannot be exported.
    """
    if scale != int(scale) or not 1 <= scale <= MAX_WHOLE_SCALE:
        raise UserError(
            f"--scale {scale:g}: an exported model has one whole scale from 1 to {MAX_WHOLE_SCALE}"
        )
    model = models.build({**config, "dtype": "float32"})
    renderers = {DirectHead: _render_direct, GaussianSRHead: _render_gaussiansr}
    if type(model.head) not in renderers:
        name = config["head"]["name"]
        raise UserError(
            f"a model with the head {name} ({type(model.head).__name__}) cannot be exported; "
            "those with the heads direct and gaussiansr (splatting 'field') can"
        )
    render, cell = renderers[type(model.head)], float(model.cell_at((scale, scale))[0][0, 0])

    def whole(model: models.SuperResolver, rgb: Image) -> Enlarged:
        lr = 2 * rgb - 1
        size = jnp.zeros((rgb.shape[0], 2), jnp.int32)  # not read: nothing is padded here
        field = model.head.make_field(HeadInput(model.encoder(lr), lr, size))
        return jnp.clip(0.5 * render(model.head, field, int(scale), cell) + 0.5, 0, 1)

    return lambda rgb: model.apply({"params": params}, rgb, method=whole)


def _render_direct(head: DirectHead, field: Any, scale: int, cell: float) -> Enlarged:
    """As `DirectHead.render`: bicubic, and the normalized field of RGB-carrying Gaussians."""
    axis = _axis(scale)
    footprint = jnp.broadcast_to(head.footprint * cell, (2,))
    kernels = splatting.at_footprint(field.gaussians, footprint, normalized=True)
    forms = _quadratic_forms(kernels)
    log_zero = jnp.zeros_like(forms[:1, :1, :1]).at[..., 0].set(splatting.LOG_ZERO)
    radius = head.window // 2
    forms = _surrounded(forms, radius, log_zero)
    values = _surrounded(kernels.value, radius, jnp.zeros_like(kernels.value[:1, :1, :1]))
    largest = total = None
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            logs = _product(_shifted(forms, radius, dy, dx), _monomials(axis, dy, dx))
            value = _shifted(values, radius, dy, dx)
            value = jnp.concatenate([value, jnp.ones_like(value[..., :1])], -1)
            top = jnp.max(logs, axis=3, keepdims=True)  # over the Gaussians of the LR pixel
            # Weights relative to the largest so far, as in a softmax.
            new = top if largest is None else jnp.maximum(largest, top)
            weights = jnp.swapaxes(jnp.exp(logs - new), 3, 4)
            sums = _product(weights, value)
            if largest is not None:
                sums = sums + total * jnp.swapaxes(jnp.exp(largest - new), 3, 4)
            largest, total = new, sums
    residual = total[..., :3] / total[..., 3:]
    return _bicubic(field.lr, axis) + _interleaved(residual, scale)


def _render_gaussiansr(head: GaussianSRHead, field: Any, scale: int, cell: float) -> Enlarged:
    """As `GaussianSRHead.render`: both streams, the convolution, the decoder."""
    if np.isclose(cell, 1 / scale):
        features, stride = _features(head, field, _axis(scale), cell), 1
        # One more on each side, which lies outside the image.
        features = jnp.pad(features, [(0, 0), (1, 1), (1, 1), (0, 0)])
    else:
        grids = [_moved_axis(scale, shift) for shift in (-cell, 0, cell)]
        features, stride = _features(head, field, np.concatenate([x for x, _ in grids]), cell), 3
        for dimension in (1, 2):
            features = _in_threes(features, dimension, scale, [ahead for _, ahead in grids])
    waves, bias = head.waves(features, stride)
    relative = np.asarray(2 * _places(_axis(scale)), np.float32)[None, None, None]
    relative = jnp.zeros((*field.features.shape[:3], scale**2, 2), jnp.float32) + relative
    cells = jnp.full((1, 1, 1, 2), cell, jnp.float32)
    return head.decode_waves(waves, bias, _interleaved(relative, scale), cells)


def _features(head: GaussianSRHead, field: Any, axis: np.ndarray, cell: float) -> Array:
    """Both streams at the same places (`axis` along y and x) of each LR pixel."""
    gaussians = head.gaussians(field)
    kernels = splatting.at_footprint(gaussians, jnp.full((2,), head.footprint * cell))
    radius = head.window // 2
    # Outside the image, values are zero, so weights do not matter.
    forms = _surrounded(_quadratic_forms(kernels), radius)
    values = _surrounded(kernels.value, radius)
    splatted = None
    for dy in range(-radius, radius + 1):
        for dx in range(-radius, radius + 1):
            logs = _product(_shifted(forms, radius, dy, dx), _monomials(axis, dy, dx))
            weights = jnp.swapaxes(jnp.exp(logs), 3, 4)
            term = _product(weights, _shifted(values, radius, dy, dx))
            splatted = term if splatted is None else splatted + term
    interpolated = _bicubic(field.features[..., head.splat_channels :], axis)
    return jnp.concatenate([_interleaved(splatted, len(axis)), interpolated], -1)


def _axis(scale: int) -> np.ndarray:
    """Places of the output pixels within their LR pixel along one axis, from its center."""
    return (np.arange(scale) + 0.5) / scale - 0.5


def _moved_axis(scale: int, shift: float) -> tuple[np.ndarray, int]:
    """Places like `_axis` of a grid that is moved by less than an LR pixel.

    Returns:
      The places of its pixels, each within its own LR pixel, rising; and how many pixels further on
      in that grid the value lies that belongs to an output pixel (negative: back).
    """
    moved = _axis(scale) + shift
    over, under = moved > 0.5 + 1e-6, moved < -0.5 - 1e-6
    return np.sort(moved - over + under), int(over.sum() - under.sum())


def _in_threes(x: Array, axis: int, scale: int, ahead: list[int]) -> Array:
    """Features at three grids, one after the other within each LR pixel, side by side.

    Args:
      x: [B, Y, X, C], `scale` pixels of the first grid, then those of the second and third.
      axis: 1 or 2.
      scale: output pixels per LR pixel.
      ahead: as `_moved_axis` returns it, of each grid.

    Returns:
      The same with the three features of each output pixel beside each other; zero outside.
    """
    before, after = x.shape[:axis], x.shape[axis + 1 :]
    x, grids = x.reshape(*before, -1, 3, scale, *after), []
    for number, steps in enumerate(ahead):
        grid = _sliced(x, axis + 1, number, number + 1).reshape(*before, -1, *after)
        outside = [(0, 0)] * grid.ndim
        outside[axis] = (max(-steps, 0), max(steps, 0))
        span = (steps, None) if steps > 0 else (0, steps or None)
        grids.append(_sliced(jnp.pad(grid, outside), axis, *span))
    return jnp.stack(grids, axis + 1).reshape(*before, -1, *after)


def _places(axis: np.ndarray) -> np.ndarray:
    """The places (y, x) of a square grid within an LR pixel, [n², 2], from its center."""
    return np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)


def _quadratic_forms(kernels: splatting.Kernels) -> Float[Array, "batch height width gaussians 6"]:
    """log w of each Gaussian as a polynomial: coefficients of 1, y, x, y², yx, x².

    y and x are positions from the center of the Gaussian's own LR pixel.
    """
    oy, ox = kernels.offset[..., 0], kernels.offset[..., 1]
    yy, yx, xx = (kernels.precision[..., i] for i in range(3))
    constant = kernels.log_weight - 0.5 * (yy * oy * oy + 2 * yx * oy * ox + xx * ox * ox)
    linear_y, linear_x = yy * oy + yx * ox, yx * oy + xx * ox
    return jnp.stack([constant, linear_y, linear_x, -0.5 * yy, -yx, -0.5 * xx], -1)


def _monomials(axis: np.ndarray, dy: int, dx: int) -> Float[np.ndarray, "6 places"]:
    """1, y, x, y², yx, x² of `_places`, from the center of the LR pixel (dy, dx) away."""
    y, x = (_places(axis) - (dy, dx)).T
    return np.stack([np.ones_like(y), y, x, y * y, y * x, x * x]).astype(np.float32)


def _product(a: Array, b: Array | np.ndarray) -> Array:
    """A matrix product in full precision, also where a device would round its inputs."""
    return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _surrounded(x: Array, radius: int, value: Array | None = None) -> Array:
    """`x` [B, H, W, …] with `radius` pixels of a value (default zero) around it."""
    around = [(0, 0), (radius, radius), (radius, radius)] + [(0, 0)] * (x.ndim - 3)
    padded = jnp.pad(x, around)
    if value is None:
        return padded
    outside = 1 - jnp.pad(jnp.ones_like(x[..., :1]), around)
    return padded + outside * value


def _shifted(x: Array, radius: int, dy: int, dx: int) -> Array:
    """At each pixel the value of the pixel (dy, dx) away, from what `_surrounded` returned."""
    rows = _sliced(x, 1, radius + dy, dy - radius or None)
    return _sliced(rows, 2, radius + dx, dx - radius or None)


def _bicubic(x: Float[Array, "batch height width channels"], axis: np.ndarray) -> Array:
    """As `resampling.bicubic_grid`, with clamped borders."""
    taps = np.arange(_CUBIC_TAPS) - _CUBIC_TAPS // 2
    with jax.ensure_compile_time_eval():
        weights = cubic_kernel(jnp.asarray(axis[:, None] - taps, jnp.float32), _CUBIC_A)
        weights = np.asarray(weights)
    for dimension in (1, 2):
        x = _along(x, weights, dimension)
    return x


def _along(x: Array, weights: Float[np.ndarray, "scale taps"], axis: int) -> Array:
    """Interpolates along one axis of [B, H, W, C], by a convolution."""
    half, (batch, height, width, channels) = _CUBIC_TAPS // 2, x.shape
    first, last = _sliced(x, axis, 0, 1), _sliced(x, axis, -1, None)
    clamped = jnp.concatenate([first] * half + [x] + [last] * half, axis)
    scale = len(weights)
    # A grouped convolution: each channel is one input, with an output for each place.
    kernel = np.tile(np.expand_dims(weights.T, (1, 2) if axis == 1 else (0, 2)), channels)
    y = jax.lax.conv_general_dilated(
        clamped,
        jnp.asarray(kernel),
        (1, 1),
        "VALID",
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=channels,
    )
    y = y.reshape(batch, height, width, channels, scale)
    if axis == 1:
        y = jnp.transpose(y, (0, 1, 4, 2, 3))
        return y.reshape(batch, height * scale, width, channels)
    y = jnp.transpose(y, (0, 1, 2, 4, 3))
    return y.reshape(batch, height, width * scale, channels)


def _sliced(x: Array, axis: int, start: int, stop: int | None) -> Array:
    """`x[start:stop]` along an axis whose length may be unknown."""
    return x[(*(slice(None),) * axis, slice(start, stop))]


def _interleaved(x: Float[Array, "batch height width places channels"], scale: int) -> Array:
    """The output pixels of all LR pixels as one image."""
    batch, height, width, _, channels = x.shape
    x = x.reshape(batch, height, width, scale, scale, channels)
    x = jnp.transpose(x, (0, 1, 3, 2, 4, 5))
    return x.reshape(batch, height * scale, width * scale, channels)
