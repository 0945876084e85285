"""HR images as one array of uint8 tiles: what this host needs of them."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int, UInt8

from gaussiansr_jax.data.hosts import Hosts
from gaussiansr_jax.data.reading import check, in_threads, read_shapes
from gaussiansr_jax.data.sources import ImageRef
from gaussiansr_jax.data.store import Store, fingerprint, new_tiles, stored_tiles
from gaussiansr_jax.data.tiles import Layout, cut, lay_out, reduced
from gaussiansr_jax.images import read_rgb


class Pool(NamedTuple):
    """HR tiles. A tile of an image that is smaller than a tile is padded at the end with zeros.

    Attributes:
      tiles: [N, T, T, 3] uint8, in memory or in a memory-mapped file.
      sizes: [N, 2] valid (height, width) of each tile.
      first: index of the first of these tiles among those of all hosts.
      total: the number of tiles of all hosts.
    """

    tiles: UInt8[np.ndarray, "N T T 3"]
    sizes: Int[np.ndarray, "N 2"]
    first: int
    total: int


def build_pool(
    images: Sequence[ImageRef],
    tile_size: int,
    min_size: int,
    reductions: Sequence[float] = (1.0,),
    *,
    hosts: Hosts | None = None,
    store: Store | None = None,
    skip: bool = False,
) -> Pool:
    """Reads this host's share of the images, in threads, and cuts them into tiles.

    Args:
      images: what to read; the same list on all hosts.
      tile_size: side of a tile, T; tiles of an image overlap where its size is not a multiple of T.
      min_size: the least height and width of an image: the largest crop that is taken.
      reductions: the factors from 1 on by which each image enters reduced, by antialiased bicubic
        interpolation. A reduced image has finer detail in each pixel and less of the noise and the
        compression of its file. Only at the least of them must an image have the least size.
      hosts: this process among all; by default it is alone.
      store: where the tiles are kept; by default in memory if they fit.
      skip: whether images that cannot be read or are too small are left out.

    Raises:
      UserError: files that cannot be read or are too small (all of them, in one sentence), or
        too little room for the tiles.
    """
    hosts, store = hosts or Hosts(), store or Store()
    shapes, reasons = read_shapes(images, hosts)
    unreadable = shapes.min(1) == 0
    least = min(reductions)
    fits = np.array([min(reduced(shape, least)) >= min_size for shape in shapes], bool)
    small = [
        f"{images[i].name} ({shapes[i, 0]}x{shapes[i, 1]})"
        for i in np.flatnonzero(~fits & ~unreadable)
    ]
    check(images, unreadable, reasons, small, round(min_size * least), skip)
    used = np.flatnonzero(fits)
    while True:
        part = [images[i] for i in used]
        layout = lay_out(shapes[used], tile_size, min_size, reductions)
        first, count = hosts.piece(layout.total)
        tiles, damaged, reasons = _fill(part, shapes[used], layout, (first, count), hosts, store)
        if not damaged.any():
            return Pool(tiles, layout.sizes[first : first + count], first, layout.total)
        del tiles
        # Damage beyond the header is found only now. Without these images the tiles after them have
        # other indices, on all hosts: the tiles are cut once more.
        check(part, damaged, reasons, skip=skip)
        used = used[~damaged]


def _fill(
    images: Sequence[ImageRef],
    shapes: Int[np.ndarray, "I 2"],
    layout: Layout,
    piece: tuple[int, int],
    hosts: Hosts,
    store: Store,
) -> tuple[UInt8[np.ndarray, "count T T 3"], Bool[np.ndarray, "I"], dict[int, str]]:
    """This host's piece (first, count) of the tiles, cut out of the images or found in a file.

    Returns:
      the tiles, the images that some host could not read, and why, as far as this host knows.
    """
    first, count = piece
    own = layout.images(first, count)
    key = fingerprint([images[i] for i in own], layout, first, count)
    shape = (count, layout.tile_size, layout.tile_size, 3)
    damaged = np.zeros(len(images), np.uint8)
    if (tiles := stored_tiles(store, key, shape)) is not None:
        return tiles, hosts.gather(damaged).any(0), {}
    with new_tiles(store, key, shape) as new:

        def fill(index: int) -> None:
            pixels = read_rgb(images[index].open())
            if pixels.shape[:2] != tuple(shapes[index]):
                raise OSError(f"is {pixels.shape[:2]}, but its header says {tuple(shapes[index])}")
            parts = cut(pixels, layout.entering[index], layout.tile_size)
            for tile, part in enumerate(parts, int(layout.starts[index]) - first):
                if 0 <= tile < count:
                    new.tiles[tile, : part.shape[0], : part.shape[1]] = part

        _, failures = in_threads(fill, own, "decoding images")
        damaged[list(failures)] = 1
        damaged = hosts.gather(damaged).any(0)
        new.complete = not damaged.any()
    return new.tiles, damaged, failures
