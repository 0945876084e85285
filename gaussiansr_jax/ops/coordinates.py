"""Where things are: positions in LR pixels, (y, x), the center of LR pixel i at i.

The coordinates in [-1, 1] of LIIF and GaussianSR relate to positions by
`coordinate = (2 * position + 1) / size - 1`.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int


def output_size(lr_size: tuple[int, int], scale: tuple[float, float]) -> tuple[int, int]:
    """The output size (height, width) of an LR image enlarged by `scale` (y, x), rounded.

    Examples:
      >>> output_size((48, 64), (2.5, 3.3))
      (120, 211)
    """
    return round(lr_size[0] * scale[0]), round(lr_size[1] * scale[1])


def grid_positions(
    length: int, scale: ArrayLike, start: ArrayLike = 0
) -> Float[Array, "... length"]:
    """Positions in LR pixels of the output pixels `start … start + length - 1` along one axis.

    Args:
      length: number of output pixels, static.
      scale: output pixels per LR pixel, scalar or [...]; may be traced.
      start: index of the first output pixel, scalar or [...]; may be traced.

    Returns:
      (Y + 0.5) / scale - 0.5 for each output pixel Y: pixel centers, as in `align_corners=False`.

    Examples:
      At ×2, two output pixels lie a quarter LR pixel to either side of each LR pixel's center.

      >>> grid_positions(4, 2.0).tolist()
      [-0.25, 0.25, 0.75, 1.25]
    """
    scale, start = jnp.asarray(scale, jnp.float32), jnp.asarray(start, jnp.float32)
    scale, start = jnp.broadcast_arrays(scale, start)
    index = jnp.add.outer(start, jnp.arange(length, dtype=jnp.float32))
    return (index + 0.5) / scale[..., None] - 0.5


def nearest_index(positions: Float[Array, "..."], size: ArrayLike) -> Int[Array, "..."]:
    """Index of the LR pixel nearest to each position, inside [0, size); halves round up.

    Positions up to 2⁻¹⁰ LR pixels below a half count as halves: at many scales output pixels lie
    exactly between two LR pixels, and rounding must not decide differently from one compilation, or
    one tile, to the next.

    Examples:
      >>> nearest_index(jnp.array([-0.4, 0.5, 1.2, 7.0]), 3).tolist()
      [0, 1, 1, 2]
    """
    index = jnp.floor(positions + (0.5 + 2.0**-10)).astype(jnp.int32)
    return jnp.clip(index, 0, jnp.asarray(size, jnp.int32) - 1)


def grid_queries(
    ys: Float[Array, "... height"], xs: Float[Array, "... width"]
) -> Float[Array, "... height width 2"]:
    """The positions (y, x) of every point of the regular grid ys × xs.

    Examples:
      >>> grid_queries(jnp.array([0.0, 1.0]), jnp.array([5.0])).tolist()
      [[[0.0, 5.0]], [[1.0, 5.0]]]
    """
    shape = (*ys.shape, xs.shape[-1])
    return jnp.stack(
        [jnp.broadcast_to(ys[..., :, None], shape), jnp.broadcast_to(xs[..., None, :], shape)], -1
    )
