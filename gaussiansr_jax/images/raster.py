"""What Pillow reads: PNG, JPEG, WebP, AVIF, BMP, GIF and more."""

from contextlib import suppress
from typing import IO

import numpy as np
from PIL import Image

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import deep, metadata, png
from gaussiansr_jax.images.decoding import Channels

_ORIENTATION = 0x0112
_GREY = ("1", "L", "LA", "La")


def orientation(image: Image.Image) -> int:
    """The EXIF tag Orientation, 1 to 8; 1 where EXIF is damaged."""
    with suppress(Exception):  # Pillow raises almost anything for tags that it does not expect
        value = image.getexif().get(_ORIENTATION, 1)
        if isinstance(value, int) and 1 <= value <= 8:
            return value
    return 1


def orientation_in_header(image: Image.Image, file: IO[bytes]) -> int:
    """As `orientation`, without decoding the pixels.

    Args:
      image: what `Image.open` returned.
      file: where it is read from.
    """
    if image.format != "PNG":
        return orientation(image)
    place = file.tell()
    described = png.without_pixels(file)
    file.seek(place)
    with Image.open(described, formats=["PNG"]) as of_one_pixel:
        return orientation(of_one_pixel)


def decode(image: Image.Image, file: IO[bytes], name: str) -> Channels:
    """Reads the first frame of an image that Pillow has opened.

    Args:
      image: what `Image.open` returned; its pixels have not been read.
      file: where it is read from.
      name: of the file, for messages.

    Raises:
      UserError: its kind of values is not understood.
      Exception: whatever Pillow raises for damaged files.
    """
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"only the first of {frames} frames is used")
    icc = image.info.get("icc_profile")
    values, levels = deep.decode(image, file) or _pixels(image, name)
    values = values if values.ndim == 3 else values[..., None]
    channels = values.shape[-1]
    inks = image.mode == "CMYK"
    return Channels(
        values,
        colors=4 if inks else 3 if channels > 2 else 1,
        levels=levels,
        alpha=channels - 1 if channels in (2, 4) and not inks else None,
        # TIFF files are turned upright while Pillow reads them.
        orientation=1 if image.format == "TIFF" else orientation(image),
        icc=icc,
        metadata=metadata.of_pillow(image),
        notes=tuple(notes),
    )


def decode_frames(image: Image.Image, name: str) -> list[Channels]:
    """All frames of an animation; arguments and errors as for `decode`."""
    frames, turned = [], orientation(image)
    for index in range(image.n_frames):
        image.seek(index)
        values, levels = _pixels(image, name)
        values = values if values.ndim == 3 else values[..., None]
        channels = values.shape[-1]
        frames.append(
            Channels(
                values,
                colors=3 if channels > 2 else 1,
                levels=levels,
                alpha=channels - 1 if channels in (2, 4) else None,
                orientation=turned,
                icc=image.info.get("icc_profile"),
                metadata=metadata.of_pillow(image),
            )
        )
    return frames


def _pixels(image: Image.Image, name: str) -> tuple[np.ndarray, int]:
    """[H, W] or [H, W, C] of grey or RGB with or without alpha, or of inks; and white."""
    image.load()
    if image.mode == "CMYK":
        return np.asarray(image), 255
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16), 65535
    if image.mode in ("I", "F"):
        raise UserError(
            f"{name} stores 32-bit values, which have no natural white; save it as TIFF"
        )
    grey = image.mode in _GREY
    kinds = ("LA", "RGBA") if image.has_transparency_data else ("L", "RGB")
    return np.asarray(image.convert(kinds[0] if grey else kinds[1])), 255
