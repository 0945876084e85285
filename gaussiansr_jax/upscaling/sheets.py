"""Small images encoded several at once: one compiled program for all their sizes.

The alternative, padding each image to one of a few sizes, spends half of the work on padding, and
each size is compiled once.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from gaussiansr_jax.upscaling import packing, tiling
from gaussiansr_jax.upscaling.arguments import Size, check_image
from gaussiansr_jax.upscaling.engine import Engine
from gaussiansr_jax.upscaling.prepared import Prepared, Tile

# In LR pixels: the width and the largest height of a sheet, and the longest side of its images.
SHEET, LARGEST = 640, 320
# Heights of sheets, and sides of the fields that are cut out of them, are multiples of these.
_SHEET_STEP, _IMAGE_STEP = 128, 64
# A sheet is worthwhile if images cover this share of it. Below, padding each image is as fast.
_FILLED = 0.6


def suitable(engine: Engine, size: Size) -> bool:
    """Whether an image of this height and width goes into a sheet."""
    return engine.packs and max(size) <= min(LARGEST, engine.tile)


def group(sizes: Sequence[Size]) -> list[list[int]]:
    """Indices of the images (height, width) that share a sheet."""
    places = packing.pack(sizes, SHEET)
    count = max((place.sheet for place in places), default=-1) + 1
    return [[i for i, place in enumerate(places) if place.sheet == n] for n in range(count)]


def worthwhile(sizes: Sequence[Size]) -> bool:
    """Whether a group of images fills its sheet so well that encoding it at once is faster."""
    return sum(h * w for h, w in sizes) >= _FILLED * SHEET * _height(
        sizes, packing.pack(sizes, SHEET)
    )


class Sheet:
    """Images that are encoded together.

    Attributes:
      images: as they were given, checked.
    """

    def __init__(self, engine: Engine, images: Sequence[Any]):
        """Encodes images of one sheet, those of a `group`."""
        self.images = [check_image(image) for image in images]
        self._engine = engine
        sizes = [image.shape[:2] for image in self.images]
        self._places = packing.pack(sizes, SHEET)
        height = _height(sizes, self._places)
        lr = np.zeros((1, height, SHEET, 3), np.float32)
        mask = np.zeros((1, height, SHEET, 1), bool)
        for image, (_, top, left) in zip(self.images, self._places, strict=True):
            inside = (0, slice(top, top + image.shape[0]), slice(left, left + image.shape[1]))
            lr[inside] = image / np.float32(255) if image.dtype == np.uint8 else image
            mask[inside] = True
        self._field = engine.encode_sheet(lr, mask)

    def prepared(self, index: int) -> Prepared:
        """One of the images, encoded."""
        image, (_, top, left) = self.images[index], self._places[index]
        size = image.shape[:2]
        side = tiling.multiple(max(size), _IMAGE_STEP)
        field = self._engine.cut(self._field, (top, left), size, side)
        whole = Tile((0, size[0]), (0, size[1]))
        return Prepared(self._engine, image, fields={whole: field})


def _height(sizes: Sequence[Size], places: Sequence[packing.Place]) -> int:
    """Rows of a sheet; at least the last one belongs to no image."""
    ends = [place.top + height for place, (height, _) in zip(places, sizes, strict=True)]
    return tiling.multiple(max(ends) + packing.GAP, _SHEET_STEP)
