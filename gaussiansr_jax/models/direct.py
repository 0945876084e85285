"""Our own head: Gaussians that carry RGB, rendered straight to the output.

Each LR pixel emits a few anisotropic Gaussians that carry a color residual over bicubic
interpolation. The field is normalized and widened by the output pixel's footprint. All learned
layers run on the LR grid; an output pixel costs only the field.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, ArrayLike, Float, Int

from gaussiansr_jax import resampling, splatting
from gaussiansr_jax.models.encoders import ResidualBlock, masked


@struct.dataclass
class DirectField:
    """What depends on the LR images alone.

    Attributes:
      lr: the images, normalized to [-1, 1].
      gaussians: the field of each image, [B, H, W, G].
      size: valid LR size of each image.
    """

    lr: Float[Array, "batch height width 3"]
    gaussians: splatting.Gaussians
    size: Int[Array, "batch 2"]


class DirectHead(nn.Module):
    """RGB-carrying Gaussians.

    Attributes:
      grid: Gaussians per LR pixel along each axis.
      window: side of the window in LR pixels, odd.
      trunk_channels: channels of the convolutions on the LR grid, between encoder and Gaussians.
      trunk_blocks: residual blocks of two such convolutions, after a first one.
      max_offset: largest distance of a center from its place on the sub-grid, in LR pixels.
      dtype: computation type of the convolutions.
    """

    grid: int = 4
    window: int = 3
    trunk_channels: int = 128
    trunk_blocks: int = 4
    max_offset: float = 0.5
    dtype: jnp.dtype = jnp.float32

    @property
    def radius(self) -> int:
        """LR pixels that an output sees in each direction, beyond the encoder's."""
        convolutions = 2 + 2 * self.trunk_blocks
        bicubic = 2
        return convolutions + max(bicubic, self.window // 2 + 1)

    def setup(self) -> None:
        """Declares the convolutions on the LR grid and the footprint."""
        self.trunk_in = nn.Conv(self.trunk_channels, (3, 3), dtype=self.dtype)
        self.trunk = [
            ResidualBlock(self.trunk_channels, 1.0, self.dtype) for _ in range(self.trunk_blocks)
        ]
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        self.out = nn.Conv(8 * self.grid**2, (3, 3), dtype=self.dtype, kernel_init=small)
        self.footprint = self.param("footprint", nn.initializers.constant(0.4), ())

    def prepare(
        self,
        features: Float[Array, "batch height width channels"],
        lr: Float[Array, "batch height width 3"],
        size: Int[Array, "batch 2"],
        mask: Array | None,
        train: bool,
        temperature: ArrayLike,
    ) -> DirectField:
        """The Gaussians of each LR pixel."""
        del train, temperature
        x = masked(self.trunk_in(features), mask)
        for block in self.trunk:
            x = block(x, mask)
        x = self.out(x).astype(jnp.float32)
        x = x.reshape(*x.shape[:3], self.grid**2, 8)
        place = (np.arange(self.grid, dtype=np.float32) + 0.5) / self.grid - 0.5
        place = np.stack(np.meshgrid(place, place, indexing="ij"), -1).reshape(1, 1, 1, -1, 2)
        opacity = jnp.ones(x.shape[:4], jnp.float32)
        gaussians = splatting.Gaussians(
            offset=place + self.max_offset * jnp.tanh(x[..., 0:2]),
            sigma=0.3 * jnp.exp(2 * jnp.tanh(x[..., 2:4] / 2)),
            rho=x[..., 4],
            opacity=opacity if mask is None else jnp.where(mask, opacity, 0.0),
            value=x[..., 5:8],
        )
        return DirectField(lr, gaussians, size)

    def query(
        self,
        field: DirectField,
        coords: Float[Array, "batch queries 2"],
        cell: Float[Array, "batch 2"],
    ) -> Float[Array, "batch queries 3"]:
        """RGB at scattered positions."""
        base = jax.vmap(resampling.bicubic_at)(field.lr, coords, field.size)

        def residual(gaussians, coords, cell, size):
            return splatting.splat(
                gaussians, coords, self.footprint * cell, self.window // 2, True, size
            )

        return base + jax.vmap(residual)(field.gaussians, coords, cell, field.size)

    def render(
        self,
        field: DirectField,
        ys: Float[Array, "batch height"],
        xs: Float[Array, "batch width"],
        cell: Float[Array, "batch 2"],
    ) -> Float[Array, "batch height width 3"]:
        """RGB on the regular grid ys × xs."""
        height, width = field.lr.shape[1:3]
        rows = resampling.cubic_matrix(ys, field.size[:, 0], height)
        cols = resampling.cubic_matrix(xs, field.size[:, 1], width)
        base = resampling.separable(field.lr, rows, cols)

        def residual(gaussians, ys, xs, cell, size):
            return splatting.splat_grid(
                gaussians, ys, xs, self.footprint * cell, self.window // 2, True, size
            )

        return base + jax.vmap(residual)(field.gaussians, ys, xs, cell, field.size)
