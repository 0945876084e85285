"""The raster of the official PyTorch GaussianSR, for weights that were trained with it.

The official code does not evaluate a field of Gaussians. It cuts the LR image into 7×7 tiles,
averages the kernels over all tiles of all images of the batch, and draws the remaining 49 as
5×5-pixel stamps into each tile's HR pixels. These functions reproduce that, defects included: an
image depends on the others in its batch, stamps leave holes from ×4 on, and no part of an image can
be computed alone, because the kernels are averages over the whole image. `docs/porting.md` compares
the two.

As all tiles share the 49 stamps, splatting is one matrix product [tiles·channels, 49] × [49, t²].

References:
  The code at github.com/tljxyys/GaussianSR (not the paper, arXiv 2407.18046, which describes a
  field in which each pixel has its own kernel).
"""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.ops.coordinates import output_size
from gaussiansr_jax.ops.resampling import cubic_matrix

TILE = 7  # LR pixels along the side of a tile
STAMP = 5  # HR pixels along the side of a kernel's raster
_REACH = 5.0  # the raster samples the Gaussian from -_REACH to _REACH
_PRECISION = jax.lax.Precision.HIGHEST


def resize(
    image: Float[Array, "batch height width channels"], size: tuple[int, int]
) -> Float[Array, "batch out_height out_width channels"]:
    """PyTorch's `interpolate(mode="bicubic", align_corners=False)` to a size (height, width)."""
    # One matrix for the whole batch. Broadcast to a batch of matrices, the product comes out as NaN
    # on the CPU under jit (jaxlib 0.10.2, its "YNN" fusion of a batched dot with a broadcast).
    rows, cols = (
        cubic_matrix(_sampling(out_length, length), length, length).astype(image.dtype)
        for out_length, length in zip(size, image.shape[1:3], strict=True)
    )
    image = jnp.einsum("qh,bhwc->bqwc", rows, image, precision=_PRECISION)
    return jnp.einsum("rw,bqwc->bqrc", cols, image, precision=_PRECISION)


def _sampling(out_length: int, length: int) -> Float[Array, "out_length"]:
    """Positions in a signal of `length` pixels of the pixels that it is resized to."""
    positions = (np.arange(out_length) + 0.5) * (length / out_length) - 0.5
    return jnp.asarray(positions, jnp.float32)


def scale_for(lr_size: tuple[int, int], size: tuple[int, int]) -> float:
    """The scale for which the official code makes an output of exactly `size`.

    Args:
      lr_size: LR height and width.
      size: output height and width.

    Raises:
      UserError: no single scale gives this height and this width.
    """
    for scale in (size[0] / lr_size[0], size[1] / lr_size[1]):
        if output_size(lr_size, (scale, scale)) == tuple(size):
            return scale
    low = max((out - 0.5) / n for out, n in zip(size, lr_size, strict=True))
    high = min((out + 0.5) / n for out, n in zip(size, lr_size, strict=True))
    middle = (low + high) / 2
    if low < high and output_size(lr_size, (middle, middle)) == tuple(size):
        return middle
    raise UserError(
        f"the official GaussianSR has one scale for both axes and cannot enlarge "
        f"{lr_size[0]}x{lr_size[1]} to {size[0]}x{size[1]} (height x width); "
        "keep the aspect ratio, or use weights with splatting='field'"
    )


def tile_size(scale: float, stamp: int = STAMP) -> int:
    """HR pixels along a tile's side, halves rounded to even.

    Raises:
      UserError: a tile is smaller than a kernel's raster; the official code stops there too.
    """
    side = round(TILE * scale)
    if side < stamp:
        least = (stamp - 0.5) / TILE
        raise UserError(
            f"the official GaussianSR draws kernels of {stamp}x{stamp} pixels, but at scale "
            f"{scale:g} a tile has {side}x{side}; use a scale above {least:.2f}"
        )
    return side


def mean_kernels(
    kernels: Float[Array, "batch height width 4"],
) -> Float[Array, "7 7 4"]:
    """The 49 kernels that the tiles of the whole batch share.

    Args:
      kernels: σ_y, σ_x, ρ, opacity of each LR pixel, the class-weighted sums over the bank.
        Resizing the sums equals summing the resized class weights, as the official code does.

    Returns:
      Entry (i, j) is the mean over all tiles of the kernel in their row i, column j.
    """
    tiles = _tiles(kernels)
    return jnp.mean(tiles, axis=(0, 1, 3))


def _tiles(
    image: Float[Array, "batch height width channels"],
) -> Float[Array, "batch rows 7 cols 7 channels"]:
    """Resizes to whole tiles and cuts."""
    batch, height, width, channels = image.shape
    rows, cols = -(-height // TILE), -(-width // TILE)
    image = resize(image, (TILE * rows, TILE * cols))
    return image.reshape(batch, rows, TILE, cols, TILE, channels)


def stamps(
    kernels: Float[Array, "7 7 4"], side: int, stamp: int = STAMP
) -> Float[Array, "7 7 side side"]:
    """Draws each kernel, without its opacity, at its place in a tile.

    Args:
      kernels: σ_y, σ_x, ρ, opacity for each place (i, j) of a tile.
      side: HR pixels along a tile's side (t), at least `stamp`.
      stamp: pixels along the side of the raster of a kernel (k).
    """
    sigma_y, sigma_x, rho = kernels[..., 0], kernels[..., 1], kernels[..., 2]
    var_y, var_x, cov = sigma_y**2 + 1e-5, sigma_x**2 + 1e-5, rho * sigma_y * sigma_x
    points = jnp.linspace(-_REACH, _REACH, stamp, dtype=jnp.float32)
    y, x = points[None, None, :, None], points[None, None, None, :]
    var_y, var_x, cov = (v[:, :, None, None] for v in (var_y, var_x, cov))
    form = (var_x * y * y - 2 * cov * y * x + var_y * x * x) / (var_y * var_x - cov * cov)
    # The official code divides exp(-form / 2) by its maximum. As a difference nothing underflows.
    raster = jnp.exp(-0.5 * (form - jnp.min(form, axis=(2, 3), keepdims=True)))
    # Bilinear sampling of the zero-padded raster, at c + (1/2 - i/7)(t - 1) for output pixel c: a
    # tent around each point of the raster. Tents are zero outside, so nothing has to be padded.
    shift = (0.5 - np.arange(TILE)[:, None] / TILE) * (side - 1) - (side - stamp) // 2
    positions = np.arange(side) + shift
    tents = np.maximum(0.0, 1.0 - np.abs(positions[..., None] - np.arange(stamp)))
    tents = jnp.asarray(tents, jnp.float32)
    return jnp.einsum("itm,ijmn,jun->ijtu", tents, raster, tents, precision=_PRECISION)


def splat(
    features: Float[Array, "batch height width channels"],
    kernels: Float[Array, "7 7 4"],
    scale: float,
    stamp: int = STAMP,
) -> Float[Array, "batch out_height out_width channels"]:
    """The splatted HR features: tiles, matrix product, clamp to [0, 1], fold, bicubic.

    Args:
      features: the channels of the splat stream on the LR grid.
      kernels: of `mean_kernels`.
      scale: output pixels per LR pixel, static.
      stamp: pixels along the side of a kernel's raster.

    Raises:
      UserError: the scale is too small, see `tile_size`.
    """
    side = tile_size(scale, stamp)
    weighted = kernels[..., 3:][..., None] * stamps(kernels, side, stamp)
    tiles = _tiles(features.astype(jnp.float32))
    image = jnp.einsum("bpiqjc,ijtu->bptquc", tiles, weighted, precision=_PRECISION)
    image = jnp.clip(image, 0.0, 1.0)
    batch, rows, _, cols, _, channels = image.shape
    image = image.reshape(batch, rows * side, cols * side, channels)
    return resize(image, output_size(features.shape[1:3], (scale, scale)))


def pixel_centers(length: int) -> Float[np.ndarray, "length"]:
    """Centers of the pixels of an axis in [-1, 1], with the official code's float32 roundings."""
    first, step = np.float32(-1 + 1 / length), np.float32(2 / length)
    return first + step * np.arange(length, dtype=np.float32)


def nearest_half_even(coords: Float[np.ndarray, "..."], length: int) -> Int[np.ndarray, "..."]:
    """Index of the pixel nearest to coordinates in [-1, 1], halves to even.

    Computed on the host: where halves go depends on float32 roundings, and a compiler might fuse
    the multiplication and the subtraction, which rounds differently.

    Args:
      coords: float32 coordinates.
      length: pixels along the axis.
    """
    position = np.round(((coords + 1) * np.float32(length) - 1) / 2)
    return np.clip(position, 0, length - 1).astype(np.int32)
