"""Image files in. There is one decoder, for upscaling, training and evaluation alike."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

import numpy as np
import tifffile
from jaxtyping import UInt8
from PIL import Image

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import formats, netpbm, pillow, tiff
from gaussiansr_jax.images.decoding import Channels, to_picture
from gaussiansr_jax.images.metadata import from_tiff
from gaussiansr_jax.images.picture import Picture, quantized
from gaussiansr_jax.memory import available_bytes


class UnreadableImage(UserError):
    """A file is damaged, or no image.

    Attributes:
      reason: why, without the name of the file.
    """

    def __init__(self, name: str, reason: str):
        """Name of the file, and why it cannot be read."""
        super().__init__(f"cannot read {name} as an image ({reason}); replace or remove the file")
        self.reason = reason


Source = str | os.PathLike | IO[bytes]

_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_NETPBM = (*(b"P%d" % n for n in range(1, 8)), b"Pf", b"PF")
_PILLOW_LIMIT = threading.Lock()


def read(source: Source) -> Picture:
    """Reads an image file; of several frames or pages the first.

    Args:
      source: a path, or an open binary file.

    Raises:
      UserError: there is no such file, or it is not an image, damaged, too large for the memory,
        or of a kind that is not supported.
    """
    with _opened(source) as (file, name):
        return to_picture(_decode(file, name), name)


def read_frames(source: Source) -> list[Picture]:
    """All frames of an animation or pages of a TIFF file; arguments and errors as `read`."""
    with _opened(source) as (file, name):
        if _kind(file) == "tiff":
            with tifffile.TiffFile(file) as opened:
                pages = tiff.pages(opened)
                size = (sum(page.imagelength for page in pages), pages[0].imagewidth)
                _check_memory(size, name)
                frames = [_tiff_page(file, page, 1, name) for page in pages]
            frames = [replace(frames[0], metadata=from_tiff(file)), *frames[1:]]
        elif _kind(file) == "netpbm":
            frames = [_decode(file, name)]
        else:
            with _pillow(file, name) as image:
                count = getattr(image, "n_frames", 1)
                if count == 1 or image.format == "MPO":
                    return [to_picture(_decode(file, name), name)]
                _check_memory((image.height * count, image.width), name)
                frames = pillow.decode_frames(image, file, name)
        return [to_picture(frame, name) for frame in frames]


def read_rgb(source: Source) -> UInt8[np.ndarray, "H W 3"]:
    """Reads an image as 8-bit RGB, [H, W, 3]; arguments and errors as `read`.

    Transparency is left out, deeper values are rounded.
    """
    return quantized(read(source).rgb, 255)


def read_size(source: Source) -> tuple[int, int]:
    """The upright (height, width) of an image, from its header; arguments and errors as `read`."""
    with _opened(source) as (file, name):
        kind = _kind(file)
        if kind == "netpbm":
            return netpbm.size(file)
        if kind == "tiff":
            with tifffile.TiffFile(file) as opened:
                page = tiff.pages(opened)[0]
                size, orientation = (page.imagelength, page.imagewidth), tiff.orientation(page)
        else:
            with _pillow(file, name) as image:
                size, orientation = image.size[::-1], pillow.orientation_in_header(image, file)
        return size[::-1] if orientation > 4 else size


def _decode(file: IO[bytes], name: str) -> Channels:
    kind = _kind(file)
    if kind == "netpbm":
        _check_memory(netpbm.size(file), name)
        return netpbm.decode(file, name)
    if kind == "tiff":
        with tifffile.TiffFile(file) as opened:
            pages = tiff.pages(opened)
            _check_memory((pages[0].imagelength, pages[0].imagewidth), name)
            channels = _tiff_page(file, pages[0], len(pages), name)
        return replace(channels, metadata=from_tiff(file))
    with _pillow(file, name) as image:
        _check_memory(image.size[::-1], name)
        return pillow.decode(image, file, name)


def _tiff_page(file: IO[bytes], page: tifffile.TiffPage, count: int, name: str) -> Channels:
    """One of `count` pages of a TIFF file; Pillow reads those that tifffile cannot convert."""
    if not tiff.needs_libtiff(page):
        return tiff.decode(page, count, name)
    with _pillow(file, name) as image:
        image.seek(page.index)
        return replace(pillow.decode(image, file, name), notes=tiff.notes(count))


def _kind(file: IO[bytes]) -> str:
    """Which reader a file is for, by its first bytes."""
    start = file.read(4)
    file.seek(0)
    if start in _TIFF:
        return "tiff"
    return "netpbm" if start[:2] in _NETPBM else "pillow"


def _check_memory(size: tuple[int, int], name: str) -> None:
    """Raises `UserError` where decoding would need more than there is."""
    # Three channels as they are stored and as float32.
    needed, free = size[0] * size[1] * 15, available_bytes()
    if free is not None and needed > free:
        raise UserError(
            f"{name} has {size[1]}x{size[0]} pixels, which takes {needed / 2**30:.1f} GiB of "
            f"memory to read; {free / 2**30:.1f} GiB are free"
        )


def _pillow(file: IO[bytes], name: str) -> Image.Image:
    """Opens an image of any size: memory is checked here, by the size and what is free."""
    file.seek(0)
    start = file.read(16)
    file.seek(0)
    with _PILLOW_LIMIT:
        if formats.lacks_package(start):
            formats.enable_optional()
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(file, formats=formats.PILLOW)
        except Image.UnidentifiedImageError:
            if formats.lacks_package(start):
                raise UserError(
                    f"{name} is a HEIF or JPEG XL image, which needs further packages; "
                    "pip install 'gaussiansr-jax[formats]'"
                ) from None
            raise
        finally:
            Image.MAX_IMAGE_PIXELS = limit


@contextmanager
def _opened(source: Source) -> Iterator[tuple[IO[bytes], str]]:
    """The open file and its name; what decoders raise becomes a `UserError`."""
    name = os.fspath(source) if isinstance(source, str | os.PathLike) else "the image"
    name = str(getattr(source, "name", name)) if name == "the image" else name
    try:
        if isinstance(source, str | os.PathLike):
            if not Path(source).is_file():
                raise UserError(f"no image file {name}; check the name")
            with open(source, "rb") as file:
                yield file, name
        else:
            source.seek(0)
            yield source, name
    except UserError:
        raise
    # Damaged files make the decoders raise almost anything (SyntaxError, struct.error, zlib.error).
    except Exception as error:
        reason = str(error) or type(error).__name__
        if isinstance(error, MemoryError):
            reason = "it needs more memory than there is"
        if isinstance(error, Image.UnidentifiedImageError):
            reason = "it is in no known format"
        raise UnreadableImage(name, _line(reason)) from error


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
