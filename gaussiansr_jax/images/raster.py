"""What Pillow reads: PNG, JPEG, WebP, AVIF, BMP, GIF and more; 16 bits by imagecodecs."""

from contextlib import suppress
from typing import IO

import imagecodecs
import numpy as np
from PIL import Image

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import metadata, png
from gaussiansr_jax.images.decoding import Channels

_ORIENTATION = 0x0112
_GREY = ("1", "L", "LA", "La")
_JPEG2000_START, _JPEG2000_DEPTH = b"\xff\x4f\xff\x51", 42  # SOC, SIZ; place of the first Ssiz


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
    deep = _deep(image, file)
    if deep is None:
        values = _pixels(image, name)
        levels = _levels(values)
    else:
        values, levels = deep
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
        values = _pixels(image, name)
        values = values if values.ndim == 3 else values[..., None]
        channels = values.shape[-1]
        frames.append(
            Channels(
                values,
                colors=3 if channels > 2 else 1,
                levels=_levels(values),
                alpha=channels - 1 if channels in (2, 4) else None,
                orientation=turned,
                icc=image.info.get("icc_profile"),
                metadata=metadata.of_pillow(image),
            )
        )
    return frames


def _pixels(image: Image.Image, name: str) -> np.ndarray:
    """[H, W] or [H, W, C] in a mode of grey or RGB with or without alpha, or CMYK."""
    image.load()
    if image.mode == "CMYK" or image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint8 if image.mode == "CMYK" else np.uint16)
    if image.mode in ("I", "F"):
        raise UserError(
            f"{name} stores 32-bit values, which have no natural white; save it as TIFF"
        )
    grey = image.mode in _GREY
    if image.has_transparency_data:
        return np.asarray(image.convert("LA" if grey else "RGBA"))
    return np.asarray(image.convert("L" if grey else "RGB"))


def _levels(values: np.ndarray) -> int:
    return 65535 if values.dtype.itemsize == 2 else 255


def _deep(image: Image.Image, file: IO[bytes]) -> tuple[np.ndarray, float] | None:
    """More than 8 bits, which Pillow has for opaque grey only, and the number of white."""
    if image.format == "PNG":
        place = file.tell()
        values = png.decode_16(file)
        file.seek(place)
        return None if values is None else (values, 65535)
    if image.format == "JPEG2000":
        file.seek(0)
        data = file.read()
        place = data.find(_JPEG2000_START) + _JPEG2000_DEPTH
        bits = (data[place] & 0x7F) + 1
        if bits > 8:
            return imagecodecs.jpeg2k_decode(data), 2**bits - 1
    return None
