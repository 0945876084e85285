"""Layers on the LR grid that give a padded image exactly the features of the unpadded one.

A module that takes padded images calls `zero_beyond` after each convolution that a later 3×3
convolution reads. That convolution then finds zeros right outside the valid part, as in its own
padding at the border of an unpadded image. Values farther out are never used.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int

# What of padded images is valid: their sizes (height, width), or a mask of their pixels.
Valid = Int[Array, "batch 2"] | Bool[Array, "batch height width 1"]


def validity_mask(
    shape: tuple[int, ...], size: Int[Array, "batch 2"]
) -> Bool[Array, "batch height width 1"]:
    """Whether a pixel lies inside the valid size (height, width) of its image.

    Args:
      shape: [B, H, W, …] of the padded images.
      size: valid sizes.
    """
    rows = jnp.arange(shape[1])[None, :] < size[:, :1]
    cols = jnp.arange(shape[2])[None, :] < size[:, 1:]
    return (rows[:, :, None] & cols[:, None, :])[..., None]


def zero_beyond(
    x: Float[Array, "batch height width channels"], valid: Valid | None
) -> Float[Array, "batch height width channels"]:
    """Zeros in the row below and the column right of each valid size; `x` itself without sizes.

    A 3×3 convolution at valid pixels reads nothing else of the padding. Writing these few in place
    is faster than masking the whole array.

    Args:
      x: features.
      valid: the valid sizes; or, where several images lie in one array at least one pixel apart, a
        mask of their pixels: then everything else becomes zero.
    """
    if valid is None:
        return x
    if valid.ndim == 4:
        return jnp.where(valid, x, jnp.zeros((), x.dtype))
    return _zero_beyond(x, valid)


@jax.jit  # traced once for all calls of one shape
def _zero_beyond(x, size):
    return jax.lax.platform_dependent(x, size, cuda=_in_one_write, default=_in_slices)


def _in_one_write(x, size):
    """As one scatter, one launch on a GPU; CPUs would go through a loop."""
    batch, height, width, _ = x.shape
    bottom, right = size[:, :1], size[:, 1:]
    # First a row, then a column without the pixel that they share. What lies outside is dropped.
    n = jnp.arange(width + height, dtype=size.dtype)[None]
    row = jnp.where(n < width, bottom, n - width)
    row = jnp.where((n >= width) & (row == bottom), height, row)
    column = jnp.where(n < width, n, right)
    image = jnp.arange(batch, dtype=size.dtype)[:, None]
    return x.at[image, row, column].set(0, mode="drop", unique_indices=True)


def _in_slices(x, size):
    """As two slices of each image."""
    for image in range(x.shape[0]):
        for axis in (1, 2):
            valid = size[image, axis - 1]
            start, shape = [image, 0, 0, 0], [1, *x.shape[1:]]
            start[axis], shape[axis] = valid, 1
            line = jax.lax.dynamic_slice(x, start, shape)
            # Where there is no padding, the last row is written back as it is.
            line = jnp.where(valid < x.shape[axis], jnp.zeros((), x.dtype), line)
            x = jax.lax.dynamic_update_slice(x, line, start)
    return x


class ResidualBlock(nn.Module):
    """x + res_scale · conv(ReLU(conv(x)))."""

    channels: int
    res_scale: float
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], valid: Valid | None
    ) -> Float[Array, "batch height width channels"]:
        """The block's output; `valid` as for `zero_beyond`."""
        y = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_0")(x)
        y = zero_beyond(nn.relu(y), valid)
        # Small at first, so that the features do not grow from block to block.
        small = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")
        y = nn.Conv(self.channels, (3, 3), dtype=self.dtype, kernel_init=small, name="conv_1")(y)
        return zero_beyond(x + y * jnp.asarray(self.res_scale, y.dtype), valid)
