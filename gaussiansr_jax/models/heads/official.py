"""The GaussianSR head with the official code's raster, for ported weights."""

import jax.numpy as jnp
import numpy as np
from flax import struct
from jaxtyping import Array, Float

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.models.heads.gaussiansr import GaussianSRLayers
from gaussiansr_jax.models.heads.head import HeadInput
from gaussiansr_jax.ops import official_raster as raster
from gaussiansr_jax.ops.coordinates import output_size

# HR pixels that are decoded in one piece: 512 channels of them are 0.5 GB in float32.
_STRIP_PIXELS = 1 << 18


@struct.dataclass
class OfficialField:
    """What depends on the LR images alone.

    Attributes:
      features: encoder features; the first `splat_channels` are splatted.
      kernels: σ_y, σ_x, ρ, opacity of the 49 places in a tile, shared by the whole batch.
    """

    features: Float[Array, "batch height width channels"]
    kernels: Float[Array, "7 7 4"]


class OfficialGaussianSRHead(GaussianSRLayers):
    """Parameters and decoder of `GaussianSRHead`, features by the raster of `ops.official_raster`.

    The raster has a static scale and needs the whole image. So this head renders whole images
    (`render_whole`), and has no `query`, `at_scale` and `render`.

    Attributes:
      stamp: pixels along the side of a kernel's raster (`kernel_size` of the official code).
    """

    sigma_range: tuple[float, float] = (0.2, 3.0)
    stamp: int = raster.STAMP

    tileable = False

    def make_field(self, inputs: HeadInput) -> OfficialField:
        """Selects the kernels and averages them over the batch's tiles.

        Raises:
          UserError: the images are padded.
        """
        if inputs.mask is not None:
            raise UserError(
                "the official raster averages kernels over the whole image and cannot take padded "
                "images; give each at its own size"
            )
        kernels = raster.mean_kernels(self.selected_kernels(inputs))
        return OfficialField(inputs.features, kernels)

    def hr_features(
        self, field: OfficialField, scale: float
    ) -> Float[Array, "batch out_height out_width channels"]:
        """Features of both streams at the output's size.

        Args:
          field: of `make_field`.
          scale: output pixels per LR pixel, static.

        Raises:
          UserError: the scale is too small for the official code.
        """
        lr_size, splatted = field.features.shape[1:3], self.splat_channels
        streams = [
            raster.splat(field.features[..., :splatted], field.kernels, scale, self.stamp),
            raster.resize(field.features[..., splatted:], output_size(lr_size, (scale, scale))),
        ]
        return jnp.concatenate([s.astype(field.features.dtype) for s in streams], -1)

    def render_whole(
        self, field: OfficialField, size: tuple[int, int], scale: float | None = None
    ) -> Float[Array, "batch out_height out_width 3"]:
        """RGB in [-1, 1] of the whole output.

        Args:
          field: of `make_field`.
          size: output (height, width), static.
          scale: the scale that the size comes from; default: the one that gives this size.

        Raises:
          UserError: the official code cannot make this size, or not from this scale.
        """
        lr_size = field.features.shape[1:3]
        scale = raster.scale_for(lr_size, size) if scale is None else scale
        if output_size(lr_size, (scale, scale)) != tuple(size):
            raise UserError(
                f"the official GaussianSR makes {output_size(lr_size, (scale, scale))} of "
                f"{lr_size} at scale {scale:g}, not {tuple(size)} (height, width)"
            )
        padded = jnp.pad(self.hr_features(field, scale), ((0, 0), (1, 1), (1, 1), (0, 0)))
        rel_y, rel_x = (_relative(n, m) for n, m in zip(size, lr_size, strict=True))
        cell = jnp.asarray([[[np.divide(lr_size, size)]]], jnp.float32)
        rows = max(1, _STRIP_PIXELS // size[1])
        strips = []
        for start in range(0, size[0], rows):
            strip = padded[:, start : start + rows + 2]
            y = rel_y[start : start + rows]
            relative = np.stack(np.meshgrid(y, rel_x, indexing="ij"), -1)[None]
            strips.append(self.decode_waves(*self.waves(strip), relative, cell))
        return jnp.concatenate(strips, 1)

    def query_features(
        self,
        hr_features: Float[Array, "batch out_height out_width channels"],
        coords: Float[np.ndarray, "batch queries 2"],
        cell: Float[np.ndarray, "batch queries 2"],
        lr_size: tuple[int, int],
    ) -> Float[Array, "batch queries 3"]:
        """RGB in [-1, 1] at scattered queries, as the official code samples.

        Args:
          hr_features: of `hr_features`.
          coords: float32 coordinates (y, x) in [-1, 1], on the host, as halves depend on rounding.
          cell: size of the output pixel there, in the same units.
          lr_size: LR height and width.
        """
        padded = jnp.pad(hr_features, ((0, 0), (1, 1), (1, 1), (0, 0)))
        waves, bias = self.waves(padded)
        y, x = (raster.nearest_half_even(coords[..., i], waves.shape[1 + i]) for i in (0, 1))
        batch = np.arange(len(coords))[:, None]
        relative = np.stack([_offset(coords[..., i], lr_size[i]) for i in (0, 1)], -1)
        cell = cell * (np.asarray(lr_size, np.float32) / 2)
        return self.decode_waves(waves[batch, y, x], bias, relative, cell)


def _relative(length: int, lr_length: int) -> Float[np.ndarray, "length"]:
    """2 · (position - nearest LR pixel) of each output pixel along one axis."""
    return _offset(raster.pixel_centers(length), lr_length)


def _offset(coords: Float[np.ndarray, "..."], lr_length: int) -> Float[np.ndarray, "..."]:
    centers = raster.pixel_centers(lr_length)
    return (coords - centers[raster.nearest_half_even(coords, lr_length)]) * np.float32(lr_length)
