"""Where many small images lie in few large arrays, so that one program encodes them all."""

from collections.abc import Sequence
from typing import NamedTuple

from gaussiansr_jax.upscaling.arguments import Size

# Pixels between two images, and at the bottom and right borders. A 3×3 convolution finds the same
# zeros there as beyond the border of a single image.
GAP = 1


class Place(NamedTuple):
    """Where an image lies.

    Attributes:
      sheet: index of the array.
      top: its first row there.
      left: its first column.
    """

    sheet: int
    top: int
    left: int


class _Shelf:
    """A strip of a sheet that images stand in side by side."""

    def __init__(self, sheet: int, top: int, height: int):
        self.sheet, self.top, self.height, self.filled = sheet, top, height, 0


def pack(sizes: Sequence[Size], side: int) -> list[Place]:
    """Places images (height, width) in few sheets of `side` × `side`.

    First-fit decreasing height: the tallest images first, each on the first shelf that has room
    (Coffman, Garey, Johnson and Tarjan, "Performance bounds for level-oriented two-dimensional
    packing algorithms", 1980).
    Each image has `GAP` free pixels below and to its right.

    Examples:
      >>> [tuple(place) for place in pack([(10, 20), (30, 40), (10, 10)], side=64)]
      [(0, 0, 41), (0, 0, 0), (0, 31, 0)]
    """
    places: dict[int, Place] = {}
    shelves: list[_Shelf] = []
    used = [0]  # rows of each sheet
    for index in sorted(range(len(sizes)), key=lambda i: (-sizes[i][0], -sizes[i][1])):
        height, width = (length + GAP for length in sizes[index])
        shelf = next((s for s in shelves if s.height >= height and s.filled + width <= side), None)
        if shelf is None:
            sheet = next((n for n, rows in enumerate(used) if rows + height <= side), len(used))
            used += [0] * (sheet == len(used))
            shelf = _Shelf(sheet, used[sheet], height)
            shelves.append(shelf)
            used[sheet] += height
        places[index] = Place(shelf.sheet, shelf.top, shelf.filled)
        shelf.filled += width
    return [places[i] for i in range(len(sizes))]
