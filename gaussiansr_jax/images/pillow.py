"""Images that Pillow reads: PNG, JPEG, WebP, AVIF, BMP, GIF and more."""

from contextlib import suppress
from dataclasses import replace
from typing import IO

import numpy as np
from PIL import Image

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import cicp, deep, exif, metadata, png
from gaussiansr_jax.images.decoding import Channels

_GREY = ("1", "L", "LA", "La")


def orientation(image: Image.Image) -> int:
    """The EXIF tag Orientation, 1 to 8; 1 where it is damaged."""
    block = image.info.get("exif")
    if isinstance(block, bytes) and exif.is_damaged(block):
        return exif.orientation(block)  # Pillow stops at the first damaged tag
    with suppress(Exception):  # Pillow raises almost anything for tags that it does not expect
        value = image.getexif().get(exif.ORIENTATION, 1)
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
      UserError: its kind of values is not supported.
      Exception: whatever Pillow raises for damaged files.
    """
    notes = []
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        notes.append(f"only the first of {frames} frames is used")
    values, levels = deep.decode(image, file) or _pixels(image, name)
    # Pillow turns TIFF files upright while it reads them.
    camera = 1 if image.format == "TIFF" else orientation(image)
    channels = _channels(image, values, levels, camera)
    return replace(channels, notes=(*notes, *_lost(image, file, channels)))


def decode_frames(image: Image.Image, file: IO[bytes], name: str) -> list[Channels]:
    """All frames of an animation; arguments and errors as for `decode`."""
    frames, camera, bits = [], orientation(image), deep.bits(image, file)
    for index in range(image.n_frames):
        image.seek(index)
        frames.append(_channels(image, *_pixels(image, name), camera))
    notes = _lost(image, file, frames[0])
    if bits > 8 and frames[0].levels == 255:
        notes.append(f"its {bits}-bit frames are read with 8 bits")
    return [replace(frames[0], notes=tuple(notes)), *frames[1:]]


def _channels(image: Image.Image, values: np.ndarray, levels: float, camera: int) -> Channels:
    """What was decoded of an image, with all that its file says; `camera` is the orientation."""
    values = values if values.ndim == 3 else values[..., None]
    count, inks = values.shape[-1], image.mode == "CMYK"
    return Channels(
        values,
        colors=4 if inks else 3 if count > 2 else 1,
        levels=levels,
        alpha=count - 1 if count in (2, 4) and not inks else None,
        orientation=camera,
        icc=image.info.get("icc_profile"),
        metadata=metadata.from_pillow(image),
    )


def _lost(image: Image.Image, file: IO[bytes], channels: Channels) -> list[str]:
    """What cannot be kept of a file's color tag and EXIF, in words."""
    notes = [note] if (note := cicp.note(image, file)) else []
    block = channels.metadata.exif
    if block and exif.is_damaged(block):
        notes.append("its EXIF is damaged, and part of it may be lost")
    return notes


def _pixels(image: Image.Image, name: str) -> tuple[np.ndarray, int]:
    """[H, W] or [H, W, C], grey or RGB with or without alpha, or inks; and the number of white."""
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
