"""Held-out images: the center crops on which a training run is validated."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8

from gaussiansr_jax.data.reading import check, in_threads
from gaussiansr_jax.data.sources import ImageRef
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import read_rgb


def split_images(
    images: Sequence[ImageRef], val_images: int
) -> tuple[list[ImageRef], list[ImageRef]]:
    """Holds out `val_images` images, spread evenly over the list: always the same ones.

    Returns:
      training images, held-out images.

    Raises:
      UserError: no image would be left for training.
    """
    count = len(images)
    if not 0 <= val_images < count:
        raise UserError(
            f"cannot hold out val_images={val_images} of {count} images; "
            "lower val_images, or name a val_source"
        )
    held_out = {(2 * i + 1) * count // (2 * val_images) for i in range(val_images)}
    train = [image for index, image in enumerate(images) if index not in held_out]
    return train, [images[index] for index in sorted(held_out)]


def center_crops(
    images: Sequence[ImageRef], size: int, skip: bool = False
) -> UInt8[np.ndarray, "N size size 3"]:
    """The middle of each image.

    Args:
      images: what to read.
      size: height and width of the crops.
      skip: whether images that cannot be used are left out.

    Raises:
      UserError: files that cannot be read or are smaller than the crop.
    """
    indices = range(len(images))
    pixels, reasons = in_threads(
        lambda index: _center(read_rgb(images[index].open()), size), indices, "reading held-out"
    )
    unreadable = np.array([index not in pixels for index in indices], bool)
    small = [
        f"{images[index].name} ({found[0]}x{found[1]})"
        for index, found in sorted(pixels.items())
        if isinstance(found, tuple)
    ]
    check(images, unreadable, reasons, small, size, skip)
    crops = [found for _, found in sorted(pixels.items()) if not isinstance(found, tuple)]
    return np.stack(crops) if crops else np.zeros((0, size, size, 3), np.uint8)


def _center(hr: UInt8[np.ndarray, "H W 3"], size: int) -> np.ndarray | tuple[int, int]:
    """The middle of an image as a copy, or the image's shape if it is too small."""
    height, width = hr.shape[:2]
    if min(height, width) < size:
        return height, width
    y, x = (height - size) // 2, (width - size) // 2
    return hr[y : y + size, x : x + size].copy()
