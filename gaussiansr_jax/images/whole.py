"""Whether an existing file is a complete image, found out without decoding it."""

import os
import struct
from pathlib import Path
from typing import IO

import tifffile

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import png, reading, tiff


def is_whole(path: str | os.PathLike, size: tuple[int, int]) -> bool:
    """Whether a file is complete, and an image of the format that its name says.

    Args:
      path: the file; its ending is one of `WRITABLE`.
      size: height and width that it must have.
    """
    path = Path(path)
    try:
        with path.open("rb") as file:
            if not _ENDS[path.suffix.lower()](file):
                return False
        return reading.read_size(path) == size
    # Damaged files make decoders raise almost anything.
    except (UserError, OSError, ValueError, IndexError, struct.error, tifffile.TiffFileError):
        return False


def _png(file: IO[bytes]) -> bool:
    return file.read(8) == png.START and png.is_whole(file)


def _jpeg(file: IO[bytes]) -> bool:
    if file.read(2) != b"\xff\xd8":
        return False
    file.seek(-2, os.SEEK_END)
    return file.read() == b"\xff\xd9"


def _webp(file: IO[bytes]) -> bool:
    start, length, kind = struct.unpack("<4sI4s", file.read(12))
    return (start, kind) == (b"RIFF", b"WEBP") and 8 + length <= file.seek(0, os.SEEK_END)


def _tiff(file: IO[bytes]) -> bool:
    with tifffile.TiffFile(file) as opened:
        for page in opened.pages:
            tiff.check_complete(page)
    return True


def _bmp(file: IO[bytes]) -> bool:
    start, length = struct.unpack("<2sI", file.read(6))
    return start == b"BM" and length <= file.seek(0, os.SEEK_END)


def _avif(file: IO[bytes]) -> bool:
    """Goes through the boxes of the file, ISO/IEC 14496-12, 4.2."""
    end, place, kinds = file.seek(0, os.SEEK_END), 0, []
    while place < end:
        file.seek(place)
        length, kind = struct.unpack(">I4s", file.read(8))
        if length == 1:
            (length,) = struct.unpack(">Q", file.read(8))
        kinds.append(kind)
        place = end if length == 0 else place + max(length, 8)
    return place == end and kinds[:1] == [b"ftyp"] and b"mdat" in kinds


_ENDS = {
    ".png": _png,
    ".jpg": _jpeg,
    ".jpeg": _jpeg,
    ".webp": _webp,
    ".tif": _tiff,
    ".tiff": _tiff,
    ".bmp": _bmp,
    ".avif": _avif,
}
