"""Reading many HR images fast: the size from a file's header, the pixels as 8-bit RGB."""

import warnings
from typing import IO

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageOps

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".ppm"})
# EXIF orientations that exchange height and width.
ORIENTATION, TRANSPOSED = 0x0112, frozenset({5, 6, 7, 8})


def read_size(file: str | IO[bytes]) -> tuple[int, int]:
    """The upright (height, width) of an image, from its header alone.

    Raises:
      Exception: whatever Pillow raises for a file that it cannot read.
    """
    with _open(file) as image:
        width, height = image.size
        turned = image.getexif().get(ORIENTATION) in TRANSPOSED
    return (width, height) if turned else (height, width)


def read_rgb(file: str | IO[bytes]) -> UInt8[np.ndarray, "height width 3"]:
    """The pixels of an image, upright; grey becomes RGB, 16 bits become 8, alpha is dropped.

    Raises:
      Exception: whatever Pillow raises for a file that it cannot read, or a truncated one.
    """
    with _open(file) as image:
        image.load()
        image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            # Pillow's own conversion clips at 255 instead of scaling.
            grey = np.rint(np.asarray(image, np.float32) / 257).clip(0, 255).astype(np.uint8)
            return np.repeat(grey[..., None], 3, axis=2)
        return np.asarray(image.convert("RGB"))


def _open(file: str | IO[bytes]) -> Image.Image:
    with warnings.catch_warnings():
        # Large photographs are what training is given on purpose.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return Image.open(file)
