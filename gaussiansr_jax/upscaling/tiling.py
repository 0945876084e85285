"""How a large image is cut into pieces that together give exactly the result of the whole.

Everything here is host arithmetic on lengths along one axis.
"""

import math
from typing import NamedTuple

import numpy as np

from gaussiansr_jax.errors import UserError

# Pieces begin at multiples of this. Fast convolutions compute groups of outputs, and round
# differently in a piece that begins inside of such a group.
_ALIGNMENT = 8


class Axis(NamedTuple):
    """The output pixels that are wanted along one axis.

    Attributes:
      scale: output pixels per LR pixel.
      first: the first output pixel; a fraction shifts the whole grid.
      count: how many.
    """

    scale: float
    first: float
    count: int


class Window(NamedTuple):
    """A piece of an LR axis.

    Attributes:
      start: first LR pixel that the model is given.
      length: how many it is given.
      out_start: first output pixel that is taken from this piece, counted from `Axis.first`.
      out_stop: output pixel after the last one.
    """

    start: int
    length: int
    out_start: int
    out_stop: int


def bucket(length: int, smallest: int, largest: int) -> int:
    """The padded length: the next of s, 1.5 s, 2 s, 3 s, 4 s, …, but `largest` at most.

    Args:
      length: what is to be padded, at most `largest`.
      smallest: the smallest padded length s, a power of two.
      largest: the largest padded length.

    Examples:
      >>> [bucket(n, smallest=32, largest=512) for n in (20, 33, 49, 500)]
      [32, 48, 64, 512]
    """
    size = smallest
    while size < length:
        size = size * 3 // 2 if size & (size - 1) == 0 else size // 3 * 4
    return min(size, largest)


def multiple(length: int, step: int) -> int:
    """The least multiple of `step` that is not below `length`.

    Examples:
      >>> [multiple(n, 64) for n in (1, 64, 65)]
      [64, 64, 128]
    """
    return -(-length // step) * step


def positions(count: int, scale: float, first: float = 0) -> np.ndarray:
    """Positions in LR pixels of the `count` output pixels from `first`, [count] float64.

    As `coordinates.grid_positions`, (Y + 0.5) / scale - 0.5, but rounded to multiples of 2^-14, so
    that float32 holds them exactly within any piece of up to 1024 pixels. Otherwise float32 would
    round the same position differently in each tile.
    """
    exact = (first + np.arange(count) + 0.5) / scale - 0.5
    return np.rint(exact * 2**14) / 2**14


def windows(length: int, wanted: Axis, tile: int, halo: int) -> list[Window]:
    """Cuts an axis into overlapping pieces of at most `tile` LR pixels.

    Each output pixel is taken from one piece, in which `halo` LR pixels, or the image's border, lie
    on either side of its nearest LR pixel. Where the pieces begin does not depend on `wanted`;
    pieces that hold no wanted output are left out.

    Args:
      length: LR pixels of the axis.
      wanted: the output pixels.
      tile: longest piece.
      halo: LR pixels that an output sees on each side of its nearest LR pixel.

    Raises:
      UserError: `tile` leaves nothing between the halos.
    """
    if length <= tile:
        return [Window(0, length, 0, wanted.count)]
    step = (tile - 2 * halo) // _ALIGNMENT * _ALIGNMENT
    if step <= 0:
        raise UserError(
            f"a tile of {tile} LR pixels is too small for this model, "
            f"which sees {halo} pixels to each side; use at least {2 * halo + _ALIGNMENT}"
        )
    count = math.ceil((length - tile) / step) + 1
    even = (i * (length - tile) / (count - 1) for i in range(count))
    starts = [math.ceil(start / _ALIGNMENT) * _ALIGNMENT for start in even]
    nearest = np.floor(positions(wanted.count, wanted.scale, wanted.first) + 0.5)
    # From one halo after its start on, outputs are taken from the next piece.
    cuts = np.searchsorted(nearest, [start + halo for start in starts[1:]])
    edges = [0, *(int(cut) for cut in cuts), wanted.count]
    pieces = zip(starts, edges[:-1], edges[1:], strict=True)
    return [
        Window(start, min(tile, length - start), first, last)
        for start, first, last in pieces
        if first < last
    ]


def blocks(start: int, stop: int, block: int) -> list[tuple[int, int]]:
    """Cuts the output pixels [start, stop) into pieces (first, last) of at most `block`."""
    return [(first, min(first + block, stop)) for first in range(start, stop, block)]
