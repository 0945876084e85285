"""Our own head: Gaussians that carry RGB, rendered straight to the output.

Each LR pixel emits a few anisotropic Gaussians that carry a color residual over bicubic
interpolation. The field is normalized and widened by the output pixel's footprint. All learned
layers run on the LR grid; an output pixel costs only the field.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, Float, Int

from gaussiansr_jax.models.heads.head import HeadInput, kernel_weights
from gaussiansr_jax.models.layers import ResidualBlock, zero_beyond
from gaussiansr_jax.ops import resampling, selection, splatting


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


@struct.dataclass
class ScaledDirectField:
    """A `DirectField` at one output scale.

    Attributes:
      lr: as `DirectField.lr`.
      planes: the Gaussians of each image, as `splatting.kernel_planes` lays them out.
      size: as `DirectField.size`.
    """

    lr: Float[Array, "batch height width 3"]
    planes: Float[Array, "batch height gaussians parameters width"]
    size: Int[Array, "batch 2"]


class DirectHead(nn.Module):
    """RGB-carrying Gaussians.

    Attributes:
      grid: Gaussians per LR pixel along each axis.
      window: side of the window in LR pixels, odd.
      trunk_channels: channels of the convolutions on the LR grid, between encoder and Gaussians.
      trunk_blocks: residual blocks of two such convolutions, after a first one.
      max_offset: largest distance of a center from its place on the sub-grid, in LR pixels.
      bank: if not 0, size K of a bank of learned sets of G shapes (σ_y, σ_x, ρ), of which each LR
        pixel selects one as in the paper's head; if 0, every Gaussian has its own shape.
      selection: mode of the selection in training, see `selection.class_weights`.
      evaluation: mode in evaluation, "expectation" or "argmax".
      opacity: whether each Gaussian has its own weight, from e⁻³ to e³; if not, all weights are 1.
      dtype: computation type of the convolutions.
    """

    grid: int = 4
    window: int = 3
    trunk_channels: int = 128
    trunk_blocks: int = 8
    max_offset: float = 0.5
    bank: int = 0
    selection: str = "soft"
    evaluation: str = "expectation"
    opacity: bool = True
    dtype: DTypeLike = jnp.float32

    pointwise = tileable = True
    # `setup` declares these two, so every method needs them. The parameters of the convolutions are
    # left out: passing them to each call of `at_scale` and `render` would cost host time.
    rendering_names = ("footprint", "shapes")

    @property
    def radius(self) -> int:
        """LR pixels that an output sees in each direction, beyond the encoder's."""
        convolutions = 2 + 2 * self.trunk_blocks
        return convolutions + self.field_radius

    @property
    def field_radius(self) -> int:
        """LR pixels of the field that an output sees in each direction."""
        bicubic = 2
        return max(bicubic, self.window // 2 + 1)

    def setup(self) -> None:
        """Declares the convolutions on the LR grid and the footprint."""
        self.trunk_in = nn.Conv(self.trunk_channels, (3, 3), dtype=self.dtype)
        self.trunk = [
            ResidualBlock(self.trunk_channels, 1.0, self.dtype) for _ in range(self.trunk_blocks)
        ]
        small = nn.initializers.variance_scaling(0.01, "fan_in", "truncated_normal")
        parameters = (5 if self.bank else 8) + self.opacity
        self.out = nn.Conv(parameters * self.grid**2, (3, 3), dtype=self.dtype, kernel_init=small)
        if self.bank:
            self.classifier = nn.Conv(self.bank, (3, 3), dtype=self.dtype)
            shape = (self.bank, self.grid**2 * 3)
            self.shapes = self.param("shapes", nn.initializers.normal(1.0), shape)
        self.footprint = self.param("footprint", nn.initializers.constant(0.4), ())

    def make_field(self, inputs: HeadInput) -> DirectField:
        """The Gaussians of each LR pixel."""
        valid, mask = inputs.valid, inputs.mask
        x = zero_beyond(self.trunk_in(inputs.features), valid)
        for block in self.trunk:
            x = block(x, valid)
        own = self.out(x).astype(jnp.float32)
        own = own.reshape(*x.shape[:3], self.grid**2, -1)
        if self.bank:
            shape, rest = self._selected(x, inputs), own[..., 2:]
        else:
            shape, rest = own[..., 2:5], own[..., 5:]
        place = (np.arange(self.grid, dtype=np.float32) + 0.5) / self.grid - 0.5
        place = np.stack(np.meshgrid(place, place, indexing="ij"), -1).reshape(1, 1, 1, -1, 2)
        log_opacity = 3 * jnp.tanh(rest[..., 3] / 3) if self.opacity else jnp.zeros(own.shape[:4])
        opacity = jnp.exp(log_opacity)
        gaussians = splatting.Gaussians(
            offset=place + self.max_offset * jnp.tanh(own[..., 0:2]),
            sigma=0.3 * jnp.exp(2 * jnp.tanh(shape[..., 0:2] / 2)),
            rho=shape[..., 2],
            opacity=opacity if mask is None else jnp.where(mask, opacity, 0.0),
            value=rest[..., 0:3],
        )
        return DirectField(inputs.lr, gaussians, inputs.size)

    def _selected(
        self, x: Float[Array, "batch height width channels"], inputs: HeadInput
    ) -> Float[Array, "batch height width gaussians 3"]:
        """The shapes that each LR pixel selects from the bank."""
        logits = self.classifier(x).astype(jnp.float32)
        weights = kernel_weights(self, logits, inputs)
        return selection.select(weights, self.shapes).reshape(*x.shape[:3], self.grid**2, 3)

    def gaussians(self, field: DirectField) -> splatting.Gaussians:
        """The Gaussians of each LR pixel."""
        return field.gaussians

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

    def at_scale(self, field: DirectField, cell: Float[Array, "batch 2"]) -> ScaledDirectField:
        """The Gaussians convolved with an output pixel of size `cell`, for `render`."""
        widened = partial(splatting.kernel_planes, normalized=True)
        planes = jax.vmap(widened)(field.gaussians, self.footprint * cell)
        return ScaledDirectField(field.lr, planes, field.size)

    def render(
        self,
        field: ScaledDirectField,
        ys: Float[Array, "batch height"],
        xs: Float[Array, "batch width"],
        cell: Float[Array, "batch 2"],
        patch: int | None = None,
    ) -> Float[Array, "batch height width 3"]:
        """RGB on the grid ys × xs."""
        del cell, patch
        base = jax.vmap(resampling.bicubic_grid)(field.lr, ys, xs, field.size)
        splat = partial(splatting.planes_on_grid, radius=self.window // 2, normalized=True)
        return base + jax.vmap(splat)(field.planes, ys, xs, size=field.size)
