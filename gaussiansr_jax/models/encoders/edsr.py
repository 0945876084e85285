"""The EDSR encoder (arXiv 1707.02921)."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gaussiansr_jax.models.layers import ResidualBlock, Valid, zero_beyond


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
    dtype: DTypeLike = jnp.float32

    @property
    def radius(self) -> int:
        """LR pixels that a feature sees in each direction."""
        return 2 * self.blocks + 2

    @nn.compact
    def __call__(
        self,
        lr: Float[Array, "batch height width 3"],
        valid: Valid | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Features of images normalized to [-1, 1] (zero in the padding); see `zero_beyond`."""
        first = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_in")(lr)
        first = zero_beyond(first, valid)
        x = first
        for i in range(self.blocks):
            x = ResidualBlock(self.channels, self.res_scale, self.dtype, name=f"block_{i}")(
                x, valid
            )
        x = nn.Conv(self.channels, (3, 3), dtype=self.dtype, name="conv_out")(x)
        return zero_beyond(x + first, valid)
