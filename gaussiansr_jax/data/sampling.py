"""A training sample, made on the device from a crop and (seed, step, index)."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, UInt8

from gaussiansr_jax.data.crops import KEYS, Crop
from gaussiansr_jax.data.settings import SampleSettings
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


class Windows(NamedTuple):
    """The pixels that some steps read from the pool, on the device that makes their samples.

    Everything else follows from them, (seed, step, index) and the settings. So the same program
    trains wherever the pool is kept, and its results are equal bit for bit.

    Attributes:
      pixels: [N, S, W, W, 3] for each of N steps and S samples.
      crops: [N, S] the crops in them.
      first_step: the step of the first of them.
      device: index of the device among all. Device i of batches of B on D devices makes the samples
        from i B / D on.
    """

    pixels: UInt8[Array, "*D N S W W 3"]
    crops: Crop
    first_step: Int[Array, "*D"]
    device: Int[Array, "*D"]


def make_batch(
    windows: Windows, keys: Key[Array, "S"], step: Int[Array, ""], settings: SampleSettings
) -> Sample:
    """Makes the samples of a step, one for each key; see `make_sample`."""
    pixels, crops = jax.tree.map(
        lambda x: jax.lax.dynamic_index_in_dim(x, step - windows.first_step, keepdims=False),
        (windows.pixels, windows.crops),
    )
    return jax.vmap(partial(make_sample, settings=settings))(pixels, crops, keys)


def make_sample(
    window: UInt8[Array, "W W 3"], crop: Crop, key: Key[Array, ""], settings: SampleSettings
) -> Sample:
    """Makes an LR image and its queries from an HR crop, reflected and recolored at random.

    The HR crop has side `h`, so that the true scale is `h / L`. The LR image is its antialiased
    cubic reduction as Pillow makes it, as in LIIF, rounded to 8 bits.
    A reflection commutes with the reduction, so it is applied to the LR image and the queries.

    Args:
      window: the pixels that hold the crop.
      crop: where it lies in them.
      key: of the sample.
      settings: the same for all samples.
    """
    size, side, inside = settings.lr_size, crop.side, crop.inside
    keys = jax.random.split(key, KEYS)[3:]
    scale = side.astype(jnp.float32) / size
    hr = window.astype(jnp.float32) / 255
    if settings.recolored:
        other = jax.random.bernoulli(keys[2], settings.recolored)
        hr = jnp.where(other, _recolor(keys[3], hr), hr)

    window_size = settings.crop_size
    rows, cols = (antialiased_matrix(size, window_size, scale, inside[i], side) for i in range(2))
    lr = jnp.round(jnp.clip(separable(hr, rows, cols), 0, 1) * 255) / 255
    index = _query_index(keys[0], side, settings)
    target = hr[inside[0] + index[0]][:, inside[1] + index[1]]
    ys, xs = (index.astype(jnp.float32) + 0.5) / scale - 0.5
    cell = jnp.full(2, 1 / scale)
    return _reflect(Sample(lr, ys, xs, cell, target), jax.random.bernoulli(keys[1], shape=(3,)))


def _recolor(key: Key[Array, ""], rgb: Float[Array, "H W 3"]) -> Float[Array, "H W 3"]:
    """Exchanges the channels, inverts them or not, and halves their contrast at most.

    The change is linear and the same for all pixels, so it commutes with the reduction, except for
    clipping and rounding. Values stay in [0, 1].
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
    # Where single queries outnumber the crop's rows, a part may be empty: its start is queried.
    last = jnp.maximum(first[:, 1:] - patch, first[:, :-1])
    origin = jax.random.randint(key, (2, count), first[:, :-1], last + 1)
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
