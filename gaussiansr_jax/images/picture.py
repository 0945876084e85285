"""An image in memory, with all that its file said of it."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gaussiansr_jax.images.metadata import NO_METADATA, Metadata


@dataclass(frozen=True)
class Picture:
    """An image file's content, upright, colors not multiplied by alpha.

    Attributes:
      rgb: [H, W, 3], three equal channels if `grey`; uint8, or float32 in [0, 1] if `bits` is 16
        or 32.
      alpha: [H, W] float32 in [0, 1], or None if the image is opaque.
      grey: whether the file had one color channel.
      bits: how the file stored its values: 8 or 16 bits, or 32 for floating-point numbers.
      icc: the color profile, or None.
      metadata: what the file says beside its pixels.
      notes: what of the file could not be kept, in words.
    """

    rgb: UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"]
    alpha: Float[np.ndarray, "H W"] | None = None
    grey: bool = False
    bits: int = 8
    icc: bytes | None = None
    metadata: Metadata = NO_METADATA
    notes: tuple[str, ...] = ()


def quantized(values: np.ndarray, levels: int) -> np.ndarray:
    """Floats in [0, 1], or uint8, as uint8 (levels = 255) or uint16 (levels = 65535)."""
    if values.dtype == np.uint8:
        return values if levels == 255 else values * np.uint16(257)
    kind = np.uint8 if levels == 255 else np.uint16
    return np.rint(np.clip(values, 0, 1) * levels).astype(kind)


def bleed_colors(picture: Picture) -> Picture:
    """Gives wholly transparent pixels the color of the nearest visible one.

    Their own color is arbitrary (often black) and would fringe the edges once upscaled.
    """
    if picture.alpha is None or not (picture.alpha == 0).any() or not picture.alpha.any():
        return picture
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(
        picture.alpha == 0, return_distances=False, return_indices=True
    )
    return replace(picture, rgb=picture.rgb[tuple(nearest)])


def resize_alpha(alpha: Float[np.ndarray, "H W"], size: tuple[int, int]) -> np.ndarray:
    """Enlarges a mask [H, W] to `size` (h, w) by bicubic interpolation, clipped to [0, 1]."""
    resized = Image.fromarray(alpha).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.clip(np.asarray(resized), 0, 1)
