"""PBM, PGM, PPM, PAM and PFM files, read by netpbmfile."""

from typing import IO

import numpy as np
from netpbmfile import NetpbmFile

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images.decoding import Channels

_BITMAPS = ("P1", "P4")  # in which 1 is black


def size(file: IO[bytes]) -> tuple[int, int]:
    """Height and width."""
    image = NetpbmFile(file)
    return image.height, image.width


def decode(file: IO[bytes], name: str) -> Channels:
    """Reads an image; of several in a file, the first.

    Raises:
      UserError: it has more channels than colors and transparency.
      Exception: whatever netpbmfile raises for damaged files.
    """
    image = NetpbmFile(file)
    if image.depth > 4:
        raise UserError(f"{name} has {image.depth} channels; save its image as PNG")
    values, notes = image.asarray(), ()
    if image.frames > 1:
        values, notes = values[0], (f"only the first of {image.frames} images is used",)
    values = values if values.ndim == 3 else values[..., None]
    if values.dtype.kind == "f":
        # The rows of a PFM file go upwards.
        values, levels = values[::-1].astype(np.float32), 1
    else:
        levels = image.maxval
        kind = np.uint8 if levels <= 255 else np.uint16 if levels <= 65535 else np.uint32
        values = values.astype(kind)
        if values.max() > levels:
            raise OSError(f"a value is beyond the {levels} that stands for white")
    channels = values.shape[-1]
    return Channels(
        values,
        colors=3 if channels > 2 else 1,
        levels=levels,
        alpha=channels - 1 if channels in (2, 4) else None,
        inverted=image.magicnumber in _BITMAPS,
        notes=notes,
    )
