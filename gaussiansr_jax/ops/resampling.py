"""Cubic resampling as weight matrices: antialiased downsampling and bicubic interpolation.

Three flavors of "bicubic" meet in this field, and all of them are separable and linear:

* PyTorch `interpolate(mode="bicubic", align_corners=False)`: a = -0.75, not antialiased,
  indices clamped at the border: `cubic_matrix`.
* Pillow `resize(BICUBIC)`: a = -0.5, antialiased, weights renormalized at the border:
  `antialiased_matrix(boundary="renormalize")`.
* MATLAB `imresize`: a = -0.5, antialiased, image mirrored at the border:
  `antialiased_matrix(boundary="symmetric")`.

The last two interpolate when enlarging. Each matrix may depend on a traced scale, so that one
compilation serves all scales, and its gradient needs no scatter.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int


def cubic_kernel(x: Float[Array, "..."], a: float) -> Float[Array, "..."]:
    """Keys' cubic convolution kernel with parameter `a`, support (-2, 2).

    Examples:
      It interpolates: 1 at 0, and 0 at all other integers.

      >>> cubic_kernel(jnp.array([0.0, 0.5, 1.0, 2.0]), -0.5).tolist()
      [1.0, 0.5625, 0.0, 0.0]

    References:
      R. Keys, "Cubic convolution interpolation for digital image processing", 1981.
    """
    x = jnp.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = ((x - 5) * x + 8) * x * a - 4 * a
    return jnp.where(x < 1, near, jnp.where(x < 2, far, 0.0))


def cubic_taps(
    positions: Float[Array, "..."], size: ArrayLike, a: float = -0.75
) -> tuple[Int[Array, "... 4"], Float[Array, "... 4"]]:
    """The four pixels that bicubic interpolation reads at each position, and their weights.

    Args:
      positions: positions in pixels of the source, center of pixel i at i.
      size: number of valid source pixels, broadcastable against `positions`; may be traced.
      a: the kernel's parameter; -0.75 is PyTorch's.

    Returns:
      Indices clamped into [0, size), and weights that sum to 1. The four pixels are those around a
      position 2⁻¹⁰ pixels further on, which changes no weight by more than 1e-6: many positions are
      whole numbers up to rounding, and within one program a compiler may round the same expression
      in two ways, so that the four would not be neighbors.

    Examples:
      >>> index, weight = cubic_taps(jnp.array([0.5]), 4)
      >>> index.tolist(), weight.tolist()
      ([[0, 0, 1, 2]], [[-0.09375, 0.59375, 0.59375, -0.09375]])
    """
    first = jnp.floor(positions + 2.0**-10)
    taps = jnp.stack([first - 1, first, first + 1, first + 2], -1)
    weights = cubic_kernel(positions[..., None] - taps, a)
    last = jnp.broadcast_to(jnp.asarray(size, jnp.int32), positions.shape)[..., None] - 1
    return jnp.clip(taps.astype(jnp.int32), 0, last), weights


def cubic_matrix(
    positions: Float[Array, "... queries"], size: ArrayLike, length: int, a: float = -0.75
) -> Float[Array, "... queries length"]:
    """PyTorch's bicubic interpolation at any positions along one axis, as a matrix.

    Args:
      positions: positions in pixels of the source.
      size: number of valid source pixels, at most `length`; broadcastable against `positions`
        without its last axis; may be traced.
      length: number of source pixels in the array, padding included, static.
      a: the kernel's parameter.
    """
    index, weight = cubic_taps(positions, jnp.asarray(size)[..., None], a)
    taps = jax.nn.one_hot(index, length, dtype=weight.dtype)
    return jnp.sum(taps * weight[..., None], axis=-2)


def antialiased_matrix(
    out_length: int,
    in_length: int,
    scale: ArrayLike,
    offset: ArrayLike = 0,
    in_size: ArrayLike | None = None,
    boundary: str = "renormalize",
    a: float = -0.5,
) -> Float[Array, "out_length in_length"]:
    """Resampling along one axis by the cubic kernel, widened by `scale` when reducing.

    Args:
      out_length: number of output pixels, static.
      in_length: number of source pixels in the array, static.
      scale: source pixels per output pixel; may be traced. Above 1 reduces, below 1 enlarges.
      offset: index of the first valid source pixel; may be traced.
      in_size: number of valid source pixels from `offset`; default `in_length`; may be traced.
      boundary: "renormalize" (Pillow) or "symmetric" (MATLAB).
      a: the kernel's parameter.

    Returns:
      Rows that sum to 1 and are zero outside the valid pixels.

    Raises:
      ValueError: unknown boundary.

    Examples:
      >>> matrix = antialiased_matrix(out_length=2, in_length=8, scale=4.0)
      >>> matrix.shape, jnp.sum(matrix, axis=1).round(5).tolist()
      ((2, 8), [1.0, 1.0])
    """
    scale = jnp.asarray(scale, jnp.float32)
    size = jnp.asarray(in_length if in_size is None else in_size, jnp.float32)
    width = jnp.maximum(scale, 1.0)
    center = (jnp.arange(out_length, dtype=jnp.float32)[:, None] + 0.5) * scale - 0.5
    source = jnp.arange(in_length, dtype=jnp.float32)[None, :] - jnp.asarray(offset, jnp.float32)
    weights = cubic_kernel((center - source) / width, a)
    if boundary == "symmetric":
        weights += cubic_kernel((center + 1 + source) / width, a)
        weights += cubic_kernel((center - 2 * size + 1 + source) / width, a)
    elif boundary != "renormalize":
        raise ValueError(f"boundary {boundary!r} is neither 'renormalize' nor 'symmetric'")
    weights = jnp.where((source >= 0) & (source < size), weights, 0.0)
    return weights / jnp.sum(weights, axis=1, keepdims=True)


def separable(
    image: Float[Array, "*batch height width channels"],
    rows: Float[Array, "*batch out_height height"],
    cols: Float[Array, "*batch out_width width"],
) -> Float[Array, "*batch out_height out_width channels"]:
    """Applies one weight matrix along the rows and one along the columns, in full precision.

    The weights get the type of the image. As bfloat16 their rows sum to 1 ± 0.4%, which is the
    rounding of the features themselves: with exact weights the PSNR is the same within 0.003 dB.
    """
    precision = jax.lax.Precision.HIGHEST
    image = jnp.einsum("...qh,...hwc->...qwc", rows.astype(image.dtype), image, precision=precision)
    return jnp.einsum("...rw,...qwc->...qrc", cols.astype(image.dtype), image, precision=precision)


@jax.custom_vjp
def take(image: Float[Array, "length *rest"], index: Int[Array, "*indices"]) -> Float[Array, "..."]:
    """`image[index]` along the first axis; its gradient is a matrix product, not a scatter.

    On accelerators a scatter-add with many repeated indices is slow and adds in random order; the
    product with the one-hot matrix of the indices is neither.
    """
    return image[index]


def _take_forward(image, index):
    return image[index], (index, image.shape[0])


def _take_backward(residual, gradient):
    index, length = residual
    one_hot = jax.nn.one_hot(index.ravel(), length, dtype=gradient.dtype)
    flat = gradient.reshape(index.size, -1)
    image = jnp.matmul(one_hot.T, flat).reshape(length, *gradient.shape[index.ndim :])
    return image, None


take.defvjp(_take_forward, _take_backward)


def resize(
    image: Float[Array, "height width channels"],
    size: tuple[int, int],
    boundary: str = "symmetric",
) -> Float[Array, "out_height out_width channels"]:
    """Resizes a whole image as MATLAB's `imresize` ("symmetric") or Pillow ("renormalize") does.

    Up or down, antialiased when reducing. The result is neither rounded nor clipped.

    Examples:
      >>> resize(jnp.full((6, 9, 3), 0.25), (2, 3)).shape
      (2, 3, 3)
    """
    height, width = image.shape[:2]
    rows = antialiased_matrix(size[0], height, height / size[0], boundary=boundary)
    cols = antialiased_matrix(size[1], width, width / size[1], boundary=boundary)
    return separable(image, rows, cols)


def bicubic_at(
    image: Float[Array, "height width channels"],
    queries: Float[Array, "*queries 2"],
    size: Int[Array, "2"],
    a: float = -0.75,
) -> Float[Array, "*queries channels"]:
    """PyTorch's bicubic interpolation at scattered positions (y, x).

    Args:
      image: an image of which `size` (height, width) is valid, from the top left corner.
      queries: positions in pixels.
      size: the valid size; may be traced.
      a: the kernel's parameter.
    """
    y, wy = cubic_taps(queries[..., 0], size[0], a)
    x, wx = cubic_taps(queries[..., 1], size[1], a)
    taps = image[y[..., :, None], x[..., None, :]]
    weights = (wy[..., :, None] * wx[..., None, :]).astype(image.dtype)
    return jnp.einsum("...ij,...ijc->...c", weights, taps, precision=jax.lax.Precision.HIGHEST)


def bicubic_grid(
    image: Float[Array, "height width channels"],
    ys: Float[Array, "out_height"],
    xs: Float[Array, "out_width"],
    size: Int[Array, "2"],
    a: float = -0.75,
) -> Float[Array, "out_height out_width channels"]:
    """`bicubic_at` every point of the grid ys × xs; for few channels, and no gradient needed.

    On CPUs it is `cubic_matrix` with `separable`. Elsewhere it reads four rows, then four columns,
    which is less work, but its gradient would need scatters.
    """

    def by_products(image, ys, xs, size):
        rows = cubic_matrix(ys, size[0], image.shape[0], a)
        return separable(image, rows, cubic_matrix(xs, size[1], image.shape[1], a))

    def by_taps(image, ys, xs, size):
        y, wy = cubic_taps(ys, size[0], a)
        x, wx = cubic_taps(xs, size[1], a)
        rows = jnp.sum(image[y] * wy[:, :, None, None].astype(image.dtype), axis=1)
        return jnp.sum(rows[:, x] * wx[None, :, :, None].astype(image.dtype), axis=2)

    return jax.lax.platform_dependent(image, ys, xs, size, cpu=by_products, default=by_taps)
