"""A training sample, made on the device from (seed, step, global index) and the pool alone."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.ops.resampling import antialiased_matrix, separable


class Sample(NamedTuple):
    """One training sample, or a batch of them with a leading axis B.

    Attributes:
      lr: [L, L, 3] in [0, 1], on the grid of 8 bits.
      ys: [Q] positions of the target's rows, in LR pixels.
      xs: [Q] positions of the target's columns, in LR pixels.
      cell: [2] LR pixels per target pixel (y, x).
      target: [Q, Q, 3] in [0, 1].
    """

    lr: Float[Array, "*B L L 3"]
    ys: Float[Array, "*B Q"]
    xs: Float[Array, "*B Q"]
    cell: Float[Array, "*B 2"]
    target: Float[Array, "*B Q Q 3"]


class SampleSettings(NamedTuple):
    """What is the same for all samples.

    Attributes:
      lr_size: side L of the LR patch.
      query_size: side Q of the grid of target pixels that is queried.
      query_patch: side P of the patches of adjacent target pixels that the grid consists of. Each
        of the Q / P parts of the crop's rows has one, at random, and likewise the columns.
      scale_range: the least and the largest scale; each sample draws its own, uniformly.
      recolored: the share of the samples in other colors, see `_recolor`.
    """

    lr_size: int
    query_size: int
    query_patch: int
    scale_range: tuple[float, float]
    recolored: float = 0.0

    @property
    def crop_size(self) -> int:
        """Side of the HR crop at the largest scale."""
        return round(self.lr_size * self.scale_range[1])


def check_settings(settings: SampleSettings, tile_size: int) -> None:
    """Checks that crops fit into tiles and queries into crops.

    Raises:
      UserError: they do not, or the scales make no sense.
    """
    low, high = settings.scale_range
    if not 1 <= low <= high < float("inf"):
        raise UserError(f"scale_range {low, high} must be two rising finite numbers from 1 on")
    if not 0 <= settings.recolored <= 1:
        raise UserError(f"recolored is {settings.recolored}; it must be a share from 0 to 1")
    if settings.crop_size > tile_size:
        raise UserError(
            f"the crop of lr_size x scale_range = {settings.lr_size} x {high:g} = "
            f"{settings.crop_size} pixels is larger than tile_size={tile_size}; "
            "raise tile_size, or lower lr_size or scale_range"
        )
    if not 1 <= settings.query_size <= round(settings.lr_size * low):
        raise UserError(
            f"query_size={settings.query_size} does not fit into the smallest crop, "
            f"lr_size x scale_range = {settings.lr_size} x {low:g}; lower query_size"
        )
    if not 1 <= settings.query_patch <= settings.query_size:
        raise UserError(
            f"query_patch={settings.query_patch} must lie between 1 and "
            f"query_size={settings.query_size}"
        )
    if settings.query_size % settings.query_patch:
        raise UserError(
            f"query_size={settings.query_size} is no multiple of "
            f"query_patch={settings.query_patch}; change one of them"
        )
    if settings.query_patch < settings.query_size < settings.lr_size:
        raise UserError(
            f"query_size={settings.query_size} is below lr_size={settings.lr_size}, which queries "
            "in several patches cannot cover; raise it, or leave query_patch out"
        )


def sample_keys(seed: int, step: Int[Array, ""], indices: Int[Array, "B"]) -> Key[Array, "B"]:
    """One key for each sample: `fold_in(fold_in(key(seed), step), global index)`."""
    key = jax.random.fold_in(jax.random.key(seed), step)
    return jax.vmap(partial(jax.random.fold_in, key))(indices)


def draw_batch(pool: Pool, keys: Key[Array, "B"], settings: SampleSettings) -> Sample:
    """Draws one sample per key; see `draw_sample`."""
    return jax.vmap(lambda key: draw_sample(pool, key, settings))(keys)


def draw_sample(pool: Pool, key: Key[Array, ""], settings: SampleSettings) -> Sample:
    """Draws a tile, a scale, an HR crop, its LR image, queries, a reflection, and other colors.

    The HR crop has side `h = round(L * scale)`, so that the true scale is `h / L`. The LR image is
    its antialiased cubic reduction as Pillow makes it, as in LIIF, rounded to 8 bits.
    A reflection commutes with the reduction, so it is applied to the LR image and the queries.

    Args:
      pool: the HR tiles, each valid size at least `settings.crop_size`.
      key: all randomness.
      settings: the same for all samples.
    """
    size = settings.lr_size
    keys = jax.random.split(key, 7)
    low, high = settings.scale_range
    tile = jax.random.randint(keys[0], (), 0, pool.tiles.shape[0])
    scale = jax.random.uniform(keys[1], (), minval=low, maxval=high)
    side = jnp.round(size * scale).astype(jnp.int32)
    scale = side.astype(jnp.float32) / size
    corner = jax.random.randint(keys[2], (2,), 0, pool.sizes[tile] - side + 1)

    # A slice must have a static size, the largest crop's. Near the tile's end it starts before
    # the crop does, and the crop lies at `inside`.
    window = settings.crop_size
    start = jnp.minimum(corner, pool.tiles.shape[1] - window)
    inside = corner - start
    at = (tile, start[0], start[1], 0)
    hr = jax.lax.dynamic_slice(pool.tiles, at, (1, window, window, 3))[0]
    hr = hr.astype(jnp.float32) / 255
    if settings.recolored:
        other = jax.random.bernoulli(keys[5], settings.recolored)
        hr = jnp.where(other, _recolor(keys[6], hr), hr)

    rows, cols = (antialiased_matrix(size, window, scale, inside[i], side) for i in range(2))
    lr = jnp.round(jnp.clip(separable(hr, rows, cols), 0, 1) * 255) / 255
    index = _query_index(keys[3], side, settings)
    target = hr[inside[0] + index[0]][:, inside[1] + index[1]]
    ys, xs = (index.astype(jnp.float32) + 0.5) / scale - 0.5
    cell = jnp.full(2, 1 / scale)
    return _reflect(Sample(lr, ys, xs, cell, target), jax.random.bernoulli(keys[4], shape=(3,)))


def _recolor(key: Key[Array, ""], rgb: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Exchanges the channels, inverts them or not, and halves their contrast at most.

    What becomes of a color is the same for all pixels and linear, so that the reduction of the
    result is the result of the reduction, but for clipping and rounding. Values stay in [0, 1].
    """
    channels, inverted, contrast, darkest = jax.random.split(key, 4)
    rgb = rgb[..., jax.random.permutation(channels, 3)]
    rgb = jnp.where(jax.random.bernoulli(inverted), 1 - rgb, rgb)
    contrast = jax.random.uniform(contrast, minval=0.5, maxval=1.0)
    return contrast * rgb + (1 - contrast) * jax.random.uniform(darkest)


def _query_index(
    key: Key[Array, ""], side: Int[Array, ""], settings: SampleSettings
) -> Int[Array, "2 Q"]:
    """The rows and the columns of an HR crop of side `side` that are queried."""
    patch = settings.query_patch
    count = settings.query_size // patch
    first = jnp.arange(count + 1)[None] * side // count
    origin = jax.random.randint(key, (2, count), first[:, :-1], first[:, 1:] - patch + 1)
    return (origin[..., None] + jnp.arange(patch)[None, None]).reshape(2, -1)


def _reflect(sample: Sample, choice: Array) -> Sample:
    """Flips the rows, flips the columns and exchanges both, as the three booleans say."""
    lr, ys, xs, cell, target = sample
    last = lr.shape[0] - 1
    flip_rows, flip_cols, transpose = choice
    lr = jnp.where(flip_rows, lr[::-1], lr)
    target = jnp.where(flip_rows, target[::-1], target)
    ys = jnp.where(flip_rows, last - ys[::-1], ys)
    lr = jnp.where(flip_cols, lr[:, ::-1], lr)
    target = jnp.where(flip_cols, target[:, ::-1], target)
    xs = jnp.where(flip_cols, last - xs[::-1], xs)
    lr = jnp.where(transpose, lr.swapaxes(0, 1), lr)
    target = jnp.where(transpose, target.swapaxes(0, 1), target)
    ys, xs = jnp.where(transpose, xs, ys), jnp.where(transpose, ys, xs)
    return Sample(lr, ys, xs, cell, target)
