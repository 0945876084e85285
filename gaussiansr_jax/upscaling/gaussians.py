"""Where the Gaussians of an image lie, for those who want to see them."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from gaussiansr_jax.ops import splatting
from gaussiansr_jax.upscaling import tiling
from gaussiansr_jax.upscaling.prepared import Prepared, TileOfView

# Side in LR pixels of the smallest piece that is fetched from the device. Sizes are rounded up, so
# that few programs are compiled.
_SMALLEST_PIECE = 16


class PlacedGaussians(NamedTuple):
    """The Gaussians of a rectangle of LR pixels, G of each.

    Attributes:
      center: (y, x) in LR pixels of the image.
      sigma: standard deviations (y, x) in LR pixels.
      rho: correlation, in (-1, 1).
      opacity: weight.
    """

    center: Float[np.ndarray, "H W G 2"]
    sigma: Float[np.ndarray, "H W G 2"]
    rho: Float[np.ndarray, "H W G"]
    opacity: Float[np.ndarray, "H W G"]


def placed_gaussians(
    prepared: Prepared, top: int, left: int, height: int, width: int
) -> PlacedGaussians:
    """The Gaussians that a rectangle of LR pixels carries.

    Args:
      prepared: the image; tiles that are not encoded yet are encoded now.
      top: first LR row.
      left: first LR column.
      height: number of rows.
      width: number of columns.

    Raises:
      UserError: the rectangle is not inside the image, or the model has no Gaussians.
    """
    whole = None
    for part in prepared.view_tiles(top, left, height, width, size=prepared.image.shape[:2]):
        first_row, first_col = (span[0] for span in part.tile)
        corner = (top + part.top - first_row, left + part.left - first_col)
        piece = _fetched(prepared, part, corner)
        if whole is None:
            shapes = ((height, width, *x.shape[2:]) for x in piece)
            whole = splatting.Gaussians(*(np.empty(shape, np.float32) for shape in shapes))
        place = np.s_[part.top : part.top + part.height, part.left : part.left + part.width]
        for out, values in zip(whole, piece, strict=True):
            out[place] = values
    pixel = np.stack(np.mgrid[top : top + height, left : left + width], -1)[:, :, None]
    rho = splatting.MAX_RHO * np.tanh(whole.rho / splatting.MAX_RHO)
    center = (pixel + whole.offset).astype(np.float32)
    return PlacedGaussians(center, np.abs(whole.sigma), rho, whole.opacity)


def _fetched(prepared: Prepared, part: TileOfView, corner: tuple[int, int]) -> splatting.Gaussians:
    """The Gaussians of a part of a tile, on the host; `corner` is its first pixel in the tile."""
    field = prepared.encode_tile(part.tile)
    padded = prepared.padded_size(part.tile)
    size = tuple(
        tiling.bucket(n, min(_SMALLEST_PIECE, limit), limit)
        for n, limit in zip((part.height, part.width), padded, strict=True)
    )
    start = tuple(min(c, limit - n) for c, n, limit in zip(corner, size, padded, strict=True))
    piece = prepared.engine.gaussians(field, start, size)
    y, x = (c - s for c, s in zip(corner, start, strict=True))
    return splatting.Gaussians(
        *(np.asarray(leaf)[y : y + part.height, x : x + part.width] for leaf in piece)
    )
