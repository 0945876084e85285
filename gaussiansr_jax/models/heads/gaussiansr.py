"""The head of GaussianSR (arXiv 2407.18046): selection, dual stream, decoder."""

import math
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from gaussiansr_jax.models.heads.decoder import (
    MLP,
    Affine,
    add_bias,
    convolve,
    decode,
    exact_gelu,
)
from gaussiansr_jax.models.heads.head import HeadInput, kernel_weights
from gaussiansr_jax.ops import resampling, selection, splatting
from gaussiansr_jax.ops.coordinates import grid_queries, nearest_index


@struct.dataclass
class GaussianSRField:
    """What depends on the LR images alone.

    Attributes:
      features: encoder features; the first `splat_channels` are splatted.
      kernels: σ_y, σ_x (LR pixels), ρ, opacity of each LR pixel, float32.
      size: valid LR size of each image.
    """

    features: Float[Array, "batch height width channels"]
    kernels: Float[Array, "batch height width 4"]
    size: Int[Array, "batch 2"]


@struct.dataclass
class ScaledGaussianSRField:
    """A `GaussianSRField` at one output scale.

    Attributes:
      features: as `GaussianSRField.features`.
      planes: the Gaussians of each image, as `splatting.kernel_planes` lays them out.
      size: as `GaussianSRField.size`.
    """

    features: Float[Array, "batch height width channels"]
    planes: Float[Array, "batch height 1 parameters width"]
    size: Int[Array, "batch 2"]


class GaussianSRLayers(nn.Module):
    """The parameters of the paper's head, and what both ways of splatting share.

    Attributes:
      kernels: size K of the kernel bank.
      splat_channels: feature channels that go through the field; 0 is bicubic only.
      window: side of the window in LR pixels, odd.
      selection: mode in training, see `selection.class_weights`.
      evaluation: mode in evaluation, "expectation" or "argmax".
      sigma_range: standard deviations of the initial bank, a square mesh, in LR pixels.
      footprint: standard deviation of an output pixel in output pixels; 0 is the paper's field.
      hidden: width of coefficients, frequencies and decoder.
      dtype: computation type of the convolutions and the decoder.
    """

    kernels: int = 100
    splat_channels: int = 8
    window: int = 7
    selection: str = "soft"
    evaluation: str = "expectation"
    sigma_range: tuple[float, float] = (0.2, 1.2)
    footprint: float = 0.0
    hidden: int = 256
    dtype: DTypeLike = jnp.float32

    pointwise = False
    rendering_names = None

    @property
    def radius(self) -> int:
        """LR pixels that an output sees in each direction, beyond the encoder's."""
        classifier = 1
        return classifier + self.field_radius

    @property
    def field_radius(self) -> int:
        """LR pixels of the field that an output sees in each direction."""
        decoder_convolution, bicubic = 1, 2
        return decoder_convolution + max(bicubic, self.window // 2 + 1)

    def setup(self) -> None:
        """Declares the parameters, named as the official ones are."""
        self.classifier = Affine(self.kernels)
        axis = jnp.linspace(*self.sigma_range, round(self.kernels**0.5))
        sigma_x, sigma_y = (s.ravel() for s in jnp.meshgrid(axis, axis, indexing="ij"))
        shape = (self.kernels,)
        # Repeated or cut where K is not a square.
        self.sigma_y = self.param("sigma_y", lambda _: jnp.resize(sigma_y, shape))
        self.sigma_x = self.param("sigma_x", lambda _: jnp.resize(sigma_x, shape))
        self.rho = self.param("rho", nn.initializers.zeros, shape)
        initial_opacity = nn.initializers.constant(jax.nn.sigmoid(1.0))
        self.opacity = self.param("opacity", initial_opacity, shape)
        self.coef = Affine(self.hidden)
        self.freq = Affine(self.hidden)
        self.phase = nn.Dense(self.hidden // 2, use_bias=False)
        widths = (self.hidden,) * 4 + (3,)
        self.decoder = MLP(widths, exact_gelu, self.dtype)

    def logits(
        self, features: Float[Array, "batch height width channels"]
    ) -> Float[Array, "batch height width kernels"]:
        """The classifier's output at each LR pixel, float32."""
        kernel, bias = self.classifier(3, 3, features.shape[-1])
        logits = convolve(features.astype(self.dtype), kernel, "SAME")
        return add_bias(logits, bias).astype(jnp.float32)

    def selected_kernels(self, inputs: HeadInput) -> Float[Array, "batch height width 4"]:
        """σ_y, σ_x, ρ and opacity of each LR pixel's kernel; zero in the padding."""
        bank = jnp.stack([self.sigma_y, self.sigma_x, self.rho, self.opacity], -1)
        weights = kernel_weights(self, self.logits(inputs.features), inputs)
        kernels = selection.select(weights, bank)
        return kernels if inputs.mask is None else jnp.where(inputs.mask, kernels, 0.0)

    def waves(
        self, features: Float[Array, "batch height width channels"], stride: int = 1
    ) -> tuple[Float[Array, "batch rows cols waves"], Float[Array, "waves"]]:
        """Amplitudes and frequencies as `decode` takes them, and the bias to be added to them.

        Args:
          features: on a grid, with one more on each side.
          stride: 3 if it consists of blocks of 3×3, one for each position.
        """

        def in_order(coef, freq):
            """All frequencies along y, then all along x; `freq` alternates them."""
            return jnp.concatenate([coef, freq[..., 0::2], freq[..., 1::2]], -1)

        shape = (3, 3, features.shape[-1])
        kernel, bias = jax.tree.map(in_order, self.coef(*shape), self.freq(*shape))
        return convolve(features.astype(self.dtype), kernel, "VALID", stride), bias

    def decode_waves(
        self,
        waves: Float[Array, "batch *positions waves"],
        bias: Float[Array, "waves"],
        relative: Float[ArrayLike, "... 2"],
        cell: Float[ArrayLike, "... 2"],
    ) -> Float[Array, "batch *positions 3"]:
        """RGB in [-1, 1].

        Args:
          waves: of the method `waves`, at the output's positions.
          bias: of the method `waves`.
          relative: twice the position relative to the nearest LR pixel, in LR pixels; broadcast
            against the axes of `waves`.
          cell: size of an output pixel in LR pixels; likewise.
        """
        relative = jnp.broadcast_to(relative, (*waves.shape[:-1], 2))
        return decode(waves, bias, relative, self.phase(2 * cell), self.decoder.layers(self.hidden))


class GaussianSRHead(GaussianSRLayers):
    """Splats some feature channels by selected Gaussians, interpolates the rest, decodes RGB."""

    tileable = True

    def make_field(self, inputs: HeadInput) -> GaussianSRField:
        """Selects the kernel of each LR pixel."""
        return GaussianSRField(inputs.features, self.selected_kernels(inputs), inputs.size)

    def query(
        self,
        field: GaussianSRField,
        coords: Float[Array, "batch queries 2"],
        cell: Float[Array, "batch 2"],
    ) -> Float[Array, "batch queries 3"]:
        """RGB at scattered positions."""
        batch, count = coords.shape[:2]
        step = jnp.arange(-1.0, 2.0)
        taps = jnp.stack(jnp.meshgrid(step, step, indexing="ij"), -1)  # [3, 3, 2]
        taps = coords[:, :, None, None] + taps[None, None] * cell[:, None, None, None]

        def splat(gaussians, queries, cell, size):
            footprint = self.footprint * cell
            return splatting.splat(gaussians, queries, footprint, self.window // 2, size=size)

        queries = taps.reshape(batch, count * 9, 2)
        splatted = jax.vmap(splat)(self.gaussians(field), queries, cell, field.size)
        splatted = splatted.astype(field.features.dtype)
        interpolated = jax.vmap(resampling.bicubic_at)(
            field.features[..., self.splat_channels :], taps, field.size
        )
        features = jnp.concatenate([splatted.reshape(batch, count, 3, 3, -1), interpolated], -1)
        inside = _inside(taps, field.size[:, None, None, None]).all(-1, keepdims=True)
        features = jnp.where(inside, features, jnp.zeros((), features.dtype))
        features = features.reshape(batch * count, 3, 3, features.shape[-1])
        waves, bias = self.waves(features)
        nearest = nearest_index(coords, field.size[:, None])
        relative = 2 * (coords - nearest.astype(jnp.float32))
        waves = waves.reshape(batch, count, 2 * self.hidden)
        return self.decode_waves(waves, bias, relative, cell[:, None])

    def at_scale(
        self, field: GaussianSRField, cell: Float[Array, "batch 2"]
    ) -> ScaledGaussianSRField:
        """The Gaussians convolved with an output pixel of size `cell`, for `render`."""
        planes = jax.vmap(splatting.kernel_planes)(self.gaussians(field), self.footprint * cell)
        return ScaledGaussianSRField(field.features, planes, field.size)

    def render(
        self,
        field: ScaledGaussianSRField,
        ys: Float[Array, "batch height"],
        xs: Float[Array, "batch width"],
        cell: Float[Array, "batch 2"],
        patch: int | None = None,
    ) -> Float[Array, "batch height width 3"]:
        """RGB on the grid ys × xs: patches whose rows and columns are `cell` apart."""
        rows, cols = (x.reshape(len(x), -1, patch or x.shape[1]) for x in (ys, xs))
        around = [
            _halo(x, cell[:, axis]).reshape(len(x), -1) for axis, x in enumerate((rows, cols))
        ]
        features = self._grid_features(field, *around)
        # Blocks of 3×3 need not be cut apart: a convolution may step from one to the next.
        stride, counts = (3, (1, 1)) if patch == 1 else (1, (rows.shape[1], cols.shape[1]))
        features = _cut(features, counts)
        relative = grid_queries(
            2.0 * (ys - nearest_index(ys, field.size[:, :1]).astype(jnp.float32)),
            2 * (xs - nearest_index(xs, field.size[:, 1:]).astype(jnp.float32)),
        )
        cells = jnp.repeat(cell, math.prod(counts), axis=0)[:, None, None]
        rgb = self.decode_waves(*self.waves(features, stride), _cut(relative, counts), cells)
        return _joined(rgb, counts)

    def _grid_features(
        self,
        field: ScaledGaussianSRField,
        ys: Float[Array, "batch height"],
        xs: Float[Array, "batch width"],
    ) -> Float[Array, "batch height width channels"]:
        """Features of both streams on the grid ys × xs, zero outside the image."""
        height, width = field.features.shape[1:3]
        rows = resampling.cubic_matrix(ys, field.size[:, 0], height)
        cols = resampling.cubic_matrix(xs, field.size[:, 1], width)
        interpolated = resampling.separable(field.features[..., self.splat_channels :], rows, cols)
        splat = partial(splatting.planes_on_grid, radius=self.window // 2)
        splatted = jax.vmap(splat)(field.planes, ys, xs, size=field.size)
        splatted = splatted.astype(field.features.dtype)
        features = jnp.concatenate([splatted, interpolated], -1)
        inside = _inside(grid_queries(ys, xs), field.size[:, None, None]).all(-1, keepdims=True)
        return jnp.where(inside, features, jnp.zeros((), features.dtype))

    def gaussians(self, field: GaussianSRField) -> splatting.Gaussians:
        """The Gaussians of the first channels (the paper's first stream)."""
        kernels = field.kernels[:, :, :, None]
        return splatting.Gaussians(
            offset=jnp.zeros_like(kernels[..., :2]),
            sigma=kernels[..., :2],
            rho=kernels[..., 2],
            opacity=kernels[..., 3],
            value=field.features[:, :, :, None, : self.splat_channels].astype(jnp.float32),
        )


def _halo(
    positions: Float[Array, "batch patches n"], step: Float[Array, "batch"]
) -> Float[Array, "batch patches n+2"]:
    """`positions` with one more on each side of each patch."""
    step = step[:, None, None]
    return jnp.concatenate([positions[..., :1] - step, positions, positions[..., -1:] + step], -1)


def _cut(
    x: Float[Array, "batch height width n"], counts: tuple[int, int]
) -> Float[Array, "patches patch_height patch_width n"]:
    """The patches of each image, `counts` of them along each axis."""
    batch, height, width, channels = x.shape
    rows, cols = counts
    x = x.reshape(batch, rows, height // rows, cols, width // cols, channels)
    return x.swapaxes(2, 3).reshape(-1, height // rows, width // cols, channels)


def _joined(
    x: Float[Array, "patches patch_height patch_width n"], counts: tuple[int, int]
) -> Float[Array, "batch height width n"]:
    """The images that `_cut` cut into these patches."""
    (rows, cols), (_, height, width, channels) = counts, x.shape
    x = x.reshape(-1, rows, cols, height, width, channels).swapaxes(2, 3)
    return x.reshape(-1, rows * height, cols * width, channels)


def _inside(positions: Float[Array, "..."], size: Int[Array, "..."]) -> Bool[Array, "..."]:
    """Whether positions (y, x) lie inside an image of that size, or within rounding of its edge."""
    edge = 0.5 + 1e-3
    return (positions > -edge) & (positions < size.astype(positions.dtype) - 1 + edge)
