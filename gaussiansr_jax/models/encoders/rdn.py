"""The residual dense network encoder (RDN), in the size that LIIF uses."""

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, Float

from gaussiansr_jax.models.layers import Valid, zero_beyond


class ResidualDenseBlock(nn.Module):
    """Convolutions that each see all before them, fused by a 1×1 convolution, plus the input.

    References:
      RDN (arXiv 1802.08797), section 3.2.
    """

    channels: int
    growth: int
    layers: int
    dtype: DTypeLike

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width channels"], valid: Valid | None
    ) -> Float[Array, "batch height width channels"]:
        """The block's output; `valid` as for `zero_beyond`."""
        dense = x
        for j in range(self.layers):
            y = nn.Conv(self.growth, (3, 3), dtype=self.dtype, name=f"dense_{j}")(dense)
            dense = jnp.concatenate([dense, zero_beyond(nn.relu(y), valid)], axis=-1)
        y = nn.Conv(self.channels, (1, 1), dtype=self.dtype, name="fuse")(dense)
        return zero_beyond(x + y, valid)


class RDN(nn.Module):
    """RDN without its upsampler; the defaults are LIIF's, configuration "B".

    Attributes:
      channels: feature channels (G0).
      growth: channels that each dense convolution adds (G).
      blocks: residual dense blocks (D).
      layers: dense convolutions in a block (C).
      dtype: computation type.

    References:
      RDN (arXiv 1802.08797), section 3.1.
    """

    channels: int = 64
    growth: int = 64
    blocks: int = 16
    layers: int = 8
    dtype: DTypeLike = jnp.float32

    @property
    def radius(self) -> int:
        """LR pixels that a feature sees in each direction."""
        return self.blocks * self.layers + 3

    @nn.compact
    def __call__(
        self,
        lr: Float[Array, "batch height width 3"],
        valid: Valid | None = None,
    ) -> Float[Array, "batch height width channels"]:
        """Features of images normalized to [-1, 1] (zero in the padding); see `zero_beyond`."""

        def conv(x, name: str, side: int = 3):
            y = nn.Conv(self.channels, (side, side), dtype=self.dtype, name=name)(x)
            return zero_beyond(y, valid)

        first = conv(lr, "conv_in")
        x = conv(first, "conv_in2")
        outputs = []
        for i in range(self.blocks):
            block = ResidualDenseBlock(
                self.channels, self.growth, self.layers, self.dtype, name=f"block_{i}"
            )
            x = block(x, valid)
            outputs.append(x)
        x = conv(jnp.concatenate(outputs, axis=-1), "fuse_0", side=1)
        return conv(x, "fuse_1") + first
