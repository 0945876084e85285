"""Encoders: LR image -> features on the LR grid.

Every encoder takes the validity mask of a padded image and multiplies by it after each convolution
that a later one reads: outside is zero, as the convolution's own padding would be, so that the
result is exactly that of the unpadded image.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def validity_mask(
    shape: tuple[int, ...], size: Int[Array, "batch 2"]
) -> Float[Array, "batch height width 1"]:
    """1 inside the valid size (height, width) of each image, 0 in its padding.

    Args:
      shape: [B, H, W, …] of the padded images.
      size: valid sizes.
    """
    rows = jnp.arange(shape[1])[None, :] < size[:, :1]
    cols = jnp.arange(shape[2])[None, :] < size[:, 1:]
    return (rows[:, :, None] & cols[:, None, :])[..., None]


def masked(x: Float[Array, "..."], mask: Array | None) -> Float[Array, "..."]:
    """`x` where `mask`, else 0; `x` itself where there is no mask."""
    return x if mask is None else jnp.where(mask, x, jnp.zeros((), x.dtype))


class ResidualBlock(nn.Module):
    """x + res_scale · conv(ReLU(conv(x)))."""

    channels: int
    res_scale: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], mask: Array | None
    ) -> Float[Array, "batch height width channels"]:
        """The block's output, zero outside `mask`."""
        y = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_0")(x)
        y = masked(nn.relu(y), mask)
        # Small at first, so that the features do not grow from block to block.
        small = nn.initializers.variance_scaling(0.1, "fan_in", "truncated_normal")
        y = nn.Conv(self.channels, (3, 3), dtype=self.dtype, kernel_init=small, name="conv_1")(y)
        return masked(x + y * jnp.asarray(self.res_scale, y.dtype), mask)


class EDSR(nn.Module):
    """EDSR without mean shift and upsampler (arXiv 1707.02921), as LIIF uses it.

    Attributes:
      channels: feature channels.
      blocks: residual blocks.
      res_scale: factor of each residual.
      dtype: computation type.
    """

    channels: int = 64
    blocks: int = 16
    res_scale: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @property
    def radius(self) -> int:
        """LR pixels that a feature sees in each direction."""
        return 2 * self.blocks + 2

    @nn.compact
    def __call__(
        self, lr: Float[Array, "batch height width 3"], mask: Array | None = None
    ) -> Float[Array, "batch height width channels"]:
        """Features of images normalized to [-1, 1] (zero in the padding)."""
        first = masked(nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_in")(lr), mask)
        x = first
        for i in range(self.blocks):
            x = ResidualBlock(self.channels, self.res_scale, self.dtype, name=f"block_{i}")(x, mask)
        x = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_out")(x)
        return masked(x + first, mask)
