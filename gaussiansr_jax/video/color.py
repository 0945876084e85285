"""Between the planes of a decoded film and RGB, as JAX functions.

They run on the device: half the bytes of RGB travel, and the host's cores are left to the encoder.
Numbers, ranges and matrices are those of ITU-T H.273. Chroma samples lie where MPEG-2 and H.264
put them by default: on the left luma sample of each pair, and between two rows.
"""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt

from gaussiansr_jax.ops import resampling

# Matrix coefficients of ITU-T H.273 by their number: the shares of red and blue in luma.
MATRICES = {
    1: (0.2126, 0.0722),  # BT.709
    4: (0.30, 0.11),  # FCC
    5: (0.299, 0.114),  # BT.601 with 625 lines
    6: (0.299, 0.114),  # BT.601 with 525 lines
    7: (0.212, 0.087),  # SMPTE 240M
    9: (0.2627, 0.0593),  # BT.2020
}
BT709, UNSPECIFIED, BT601_625, BT601_525 = 1, 2, 5, 6

Planes = tuple[UInt[Array, "height width"], ...]


class Layout(NamedTuple):
    """How pixels are stored.

    Attributes:
      bits: of a sample; more than 8 are stored as 16.
      vertical: luma rows per chroma row, 1 or 2.
      horizontal: luma columns per chroma column, 1 or 2.
      full_range: whether samples use all numbers, or only 16 to 235 (of 8 bits; chroma 240).
      matrix: a number of `MATRICES`.
    """

    bits: int
    vertical: int
    horizontal: int
    full_range: bool
    matrix: int

    @property
    def pixel_format(self) -> str:
        """FFmpeg's name."""
        subsampling = {(1, 1): "444", (1, 2): "422", (2, 2): "420", (2, 1): "440"}
        depth = "" if self.bits == 8 else f"{self.bits}le"
        return f"yuv{subsampling[self.vertical, self.horizontal]}p{depth}"

    @property
    def dtype(self) -> np.dtype:
        """Of a sample in memory."""
        return np.dtype(np.uint8 if self.bits == 8 else np.uint16)

    def shapes(self, height: int, width: int) -> list[tuple[int, int]]:
        """Shapes of the three planes; where a side is odd, the last chroma sample has one pixel."""
        chroma = -(-height // self.vertical), -(-width // self.horizontal)
        return [(height, width), chroma, chroma]


def to_rgb(planes: Planes, layout: Layout) -> Float[Array, "height width 3"]:
    """The planes of a frame as RGB in [0, 1].

    Args:
      planes: luma and the two chroma planes.
      layout: of the planes.
    """
    height, width = planes[0].shape
    (y_first, y_span), (c_first, c_span) = _ranges(layout)
    luma = (planes[0].astype(jnp.float32) - y_first) / y_span
    chroma = jnp.stack(planes[1:], -1).astype(jnp.float32)
    chroma = (chroma - c_first) / c_span
    if (layout.vertical, layout.horizontal) != (1, 1):
        rows = jnp.arange(height, dtype=jnp.float32)
        rows = (rows + 0.5) / layout.vertical - 0.5
        cols = jnp.arange(width, dtype=jnp.float32) / layout.horizontal
        size = jnp.asarray(chroma.shape[:2], jnp.int32)
        chroma = resampling.bicubic_grid(chroma, rows, cols, size, a=-0.5)
    red_share, blue_share = MATRICES[layout.matrix]
    blue = luma + 2 * (1 - blue_share) * chroma[..., 0]
    red = luma + 2 * (1 - red_share) * chroma[..., 1]
    green = (luma - red_share * red - blue_share * blue) / (1 - red_share - blue_share)
    return jnp.clip(jnp.stack([red, green, blue], -1), 0, 1)


def from_rgb(rgb: Float[Array, "height width 3"], layout: Layout) -> Planes:
    """The planes of an RGB image in [0, 1] whose sides the layout's subsampling divides.

    Chroma is averaged over the area that a sample stands for: [1 2 1] / 4 along a row, the mean of
    two rows.
    """
    red_share, blue_share = MATRICES[layout.matrix]
    red, green, blue = (rgb[..., i] for i in range(3))
    luma = red_share * red + (1 - red_share - blue_share) * green + blue_share * blue
    differences = (blue - luma) / (2 - 2 * blue_share), (red - luma) / (2 - 2 * red_share)
    (y_first, y_span), (c_first, c_span) = _ranges(layout)
    luma = _quantized(luma * y_span + y_first, layout)
    chroma = (_reduced(x, layout) * c_span + c_first for x in differences)
    return luma, *(_quantized(x, layout) for x in chroma)


def _reduced(x: Float[Array, "height width"], layout: Layout) -> Array:
    """A chroma plane at its lower resolution."""
    if layout.vertical == 2:
        x = (x[0::2] + x[1::2]) / 2
    if layout.horizontal == 2:
        left = jnp.concatenate([x[:, :1], x[:, 1:-2:2]], 1)
        x = (left + 2 * x[:, 0::2] + x[:, 1::2]) / 4
    return x


def _ranges(layout: Layout) -> tuple[tuple[int, int], tuple[int, int]]:
    """The number that stands for 0 and the span of 1, of luma and of chroma."""
    half = 2 ** (layout.bits - 1)
    if layout.full_range:
        return (0, 2 * half - 1), (half, 2 * half - 1)
    unit = half // 128
    return (16 * unit, 219 * unit), (half, 224 * unit)


def _quantized(x: Float[Array, "height width"], layout: Layout) -> UInt[Array, "height width"]:
    largest = 2**layout.bits - 1
    return jnp.clip(jnp.round(x), 0, largest).astype(layout.dtype)
