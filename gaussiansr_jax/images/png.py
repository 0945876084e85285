"""PNG files chunk by chunk: what Pillow cannot do, or can do only by decoding all pixels."""

import io
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import IO

import imagecodecs
import numpy as np

START = b"\x89PNG\r\n\x1a\n"
# What may hold an orientation.
_DESCRIBING = (b"eXIf", b"tEXt", b"zTXt", b"iTXt")
_GREY, _RGB = 0, 2  # the color types that may have a transparent color
# Channels of each color type, palettes left out.
_CHANNELS = {_GREY: 1, _RGB: 3, 4: 2, 6: 4}
# First row and column, and the steps between rows and columns, of Adam7's passes.
_PASSES = (
    *((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4)),
    *((2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)),
)


def without_pixels(file: IO[bytes]) -> IO[bytes]:
    """A PNG of one pixel with the EXIF data and the texts of a file.

    In a file they may follow the pixels, and Pillow would decode all of these to find them.
    """
    describing = []
    for kind, start, length in _chunks(file):
        if kind in _DESCRIBING:
            file.seek(start)
            describing.append((kind, file.read(length)))
    header = struct.pack(">IIBBBBB", 1, 1, 8, _GREY, 0, 0, 0)
    return io.BytesIO(_png(header, [*describing, (b"IDAT", zlib.compress(b"\0\0"))]))


def decode(file: IO[bytes]) -> tuple[np.ndarray, int] | None:
    """Decodes what Pillow gets wrong: 16 bits, and 2- or 4-bit grey with a transparent level.

    libpng gets only the chunks that the pixels depend on, and interlaced passes one by one, because
    it prints warnings about everything else.

    Returns:
      [H, W] or [H, W, C] with alpha if a color is transparent, and the number of white; None for
      any other image.

    Raises:
      Exception: whatever imagecodecs, zlib and struct raise for damaged files.
    """
    header, transparent, pixels = b"", [], []
    for kind, start, length in _chunks(file):
        file.seek(start)
        if kind == b"IHDR":
            header = file.read(length)
            bits, color_type = header[8:10]
            if bits != 16 and (bits not in (2, 4) or color_type != _GREY):
                return None
        elif kind == b"tRNS" and color_type in (_GREY, _RGB):
            transparent = [(kind, file.read(length)[: 2 * _CHANNELS[color_type]])]
        elif kind == b"IDAT":
            if bits != 16 and not transparent:
                return None
            pixels.append(file.read(length))
    data = b"".join(pixels)
    if header[12]:
        return _interlaced(header, transparent, data), 65535 if bits == 16 else 255
    values = imagecodecs.png_decode(_png(header, [*transparent, (b"IDAT", data)]))
    return values, 65535 if bits == 16 else 255


def chunk(file: IO[bytes], kind: bytes) -> bytes | None:
    """The content of the first chunk of a kind that stands before the pixels, or None."""
    place, found = file.tell(), None
    for name, start, length in _chunks(file):
        if name in (kind, b"IDAT"):
            file.seek(start)
            found = file.read(length) if name == kind else None
            break
    file.seek(place)
    return found


def is_whole(file: IO[bytes]) -> bool:
    """Whether the file is complete up to its last chunk, IEND."""
    last = None
    for kind, start, length in _chunks(file):
        last = kind, start + length + 4
    return bool(last) and last[0] == b"IEND" and last[1] <= file.seek(0, io.SEEK_END)


def _interlaced(header: bytes, transparent: list, pixels: bytes) -> np.ndarray:
    """Adam7: each pass is decoded as a separate image."""
    width, height = struct.unpack(">II", header[:8])
    bits = header[8] * _CHANNELS[header[9]]  # of a pixel
    sizes = [(-((y - height) // dy), -((x - width) // dx)) for y, x, dy, dx in _PASSES]
    lengths = [h * (1 + (bits * w + 7) // 8) if w else 0 for h, w in sizes]
    data = zlib.decompressobj().decompress(pixels, sum(lengths))
    result, begin = None, 0
    for (y, x, dy, dx), (h, w), length in zip(_PASSES, sizes, lengths, strict=True):
        if not h or not w:
            continue
        own = struct.pack(">II", w, h) + header[8:12] + b"\0"
        rows = zlib.compress(data[begin : begin + length], 0)
        part = imagecodecs.png_decode(_png(own, [*transparent, (b"IDAT", rows)]))
        if result is None:
            result = np.empty((height, width, *part.shape[2:]), part.dtype)
        result[y::dy, x::dx] = part
        begin += length
    return result


def _chunks(file: IO[bytes]) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk, and where its content starts and how long it is."""
    place = len(START)
    while True:
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            return
        length, kind = struct.unpack(">I4s", head)
        yield kind, place + 8, length
        place += length + 12


def _png(header: bytes, chunks: Iterable[tuple[bytes, bytes]]) -> bytes:
    parts = [START]
    for kind, content in ((b"IHDR", header), *chunks, (b"IEND", b"")):
        check = zlib.crc32(content, zlib.crc32(kind))
        parts += [struct.pack(">I", len(content)), kind, content, struct.pack(">I", check)]
    return b"".join(parts)
