"""How images are cut into tiles, without reading them."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int, UInt8
from PIL import Image


class Layout(NamedTuple):
    """Which tiles a list of images gives, one after the other.

    Attributes:
      entering: for each image, the shapes in which it enters: as it is, or reduced.
      starts: [images + 1] index of the first tile of each image, and the number of all tiles.
      sizes: [N, 2] valid (height, width) of each tile.
      tile_size: height and width of a tile with its padding.
    """

    entering: tuple[tuple[tuple[int, int], ...], ...]
    starts: Int[np.ndarray, "I+1"]
    sizes: Int[np.ndarray, "N 2"]
    tile_size: int

    @property
    def total(self) -> int:
        """The number of tiles."""
        return int(self.starts[-1])

    def images(self, first: int, count: int) -> range:
        """Indices of the images that `count` tiles from `first` on are cut out of."""
        begin = np.searchsorted(self.starts, first, "right") - 1
        return range(int(begin), int(np.searchsorted(self.starts, first + count, "left")))


def lay_out(
    shapes: Sequence[tuple[int, int]] | Int[np.ndarray, "I 2"],
    tile_size: int,
    min_size: int,
    reductions: Sequence[float],
) -> Layout:
    """Plans tiles that cover the images evenly; see `pool.build_pool` for the arguments.

    Example:
      >>> lay_out([(64, 40)], tile_size=32, min_size=32, reductions=(1, 2)).sizes.tolist()
      [[32, 32], [32, 32], [32, 32], [32, 32]]
    """
    entering = tuple(
        tuple(size for size in (reduced(shape, by) for by in reductions) if min(size) >= min_size)
        for shape in shapes
    )
    counts = [sum(len(corners(size, tile_size)) for size in sizes) for sizes in entering]
    valid = [
        (min(height, tile_size), min(width, tile_size))
        for sizes in entering
        for height, width in sizes
        for _ in corners((height, width), tile_size)
    ]
    starts = np.cumsum([0, *counts])
    return Layout(entering, starts, np.array(valid, np.int32).reshape(-1, 2), tile_size)


def cut(
    pixels: UInt8[np.ndarray, "H W 3"], entering: Sequence[tuple[int, int]], tile_size: int
) -> Iterator[UInt8[np.ndarray, "h w 3"]]:
    """The valid parts of an image's tiles, in the order of the layout.

    Reductions are antialiased and bicubic.
    """
    for height, width in entering:
        whole = Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC)
        entire = np.asarray(whole)
        for y, x in corners((height, width), tile_size):
            yield entire[y : y + tile_size, x : x + tile_size]


def reduced(shape: Sequence[int] | Int[np.ndarray, "2"], factor: float) -> tuple[int, int]:
    """The shape of an image after a reduction."""
    return round(int(shape[0]) / factor), round(int(shape[1]) / factor)


def corners(shape: tuple[int, int], tile_size: int) -> list[tuple[int, int]]:
    """Top left corners of as few tiles as cover an image, evenly spread.

    Example:
      >>> corners((70, 33), 32)
      [(0, 0), (0, 1), (19, 0), (19, 1), (38, 0), (38, 1)]
    """
    starts = []
    for length in shape:
        count = -(-length // tile_size)
        room = max(length - tile_size, 0)
        starts.append([round(i * room / max(count - 1, 1)) for i in range(count)])
    return [(y, x) for y in starts[0] for x in starts[1]]
