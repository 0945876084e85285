"""Images of more than 8 bits a channel, which Pillow would reduce to 8, except for opaque grey."""

import struct
from collections.abc import Callable
from typing import IO

import imagecodecs
import numpy as np
from PIL import Image

from gaussiansr_jax.images import png

Deep = tuple[np.ndarray, float]
_JPEG2000_START, _JPEG2000_DEPTH = b"\xff\x4f\xff\x51", 42  # SOC, SIZ; place of the first Ssiz
_JXL_START = b"\xff\x0a"
_FLOAT = 32


def decode(image: Image.Image, file: IO[bytes]) -> Deep | None:
    """Values [H, W] or [H, W, C] and the number that stands for white; None for 8 bits.

    Args:
      image: what `Image.open` returned; its pixels have not been read.
      file: where it is read from.

    Raises:
      Exception: whatever the decoders raise for damaged files.
    """
    if image.format not in _DECODERS:
        return None
    place = file.tell()
    found = _DECODERS[image.format](file)
    file.seek(place)
    return found


def bits(image: Image.Image, file: IO[bytes]) -> int:
    """Bits of a sample by the header: 8 for all formats that cannot animate deeper ones."""
    if image.format == "PNG":
        header = png.chunk(file, b"IHDR")
        return header[8] if header and len(header) > 8 else 8
    place = file.tell()
    found = 8
    if image.format == "AVIF":
        found = _avif_bits(_all(file))
    elif image.format == "JXL":
        found = _jxl_bits(_all(file))
    file.seek(place)
    return found


def _jpeg2000(file: IO[bytes]) -> Deep | None:
    data = _all(file)
    bits = (data[data.find(_JPEG2000_START) + _JPEG2000_DEPTH] & 0x7F) + 1
    return (imagecodecs.jpeg2k_decode(data), 2**bits - 1) if bits > 8 else None


def _avif(file: IO[bytes]) -> Deep | None:
    data = _all(file)
    bits = _avif_bits(data)
    return (imagecodecs.avif_decode(data, index=0), 2**bits - 1) if bits > 8 else None


def _avif_bits(data: bytes) -> int:
    # The third byte of AV1CodecConfigurationRecord: high_bitdepth and twelve_bit.
    return {0x00: 8, 0x40: 10, 0x60: 12}.get(data[data.index(b"av1C") + 6] & 0x60, 8)


def _heif(file: IO[bytes]) -> Deep | None:
    import pillow_heif

    file.seek(0)
    image = pillow_heif.open_heif(file, convert_hdr_to_8bit=False)
    bits = image.info["bit_depth"]
    # The values lie in the upper bits of 16.
    return (np.asarray(image), (2**bits - 1) << (16 - bits)) if bits > 8 else None


def _jxl(file: IO[bytes]) -> Deep | None:
    data = _all(file)
    bits = _jxl_bits(data)
    if bits <= 8:
        return None
    return imagecodecs.jpegxl_decode(data, index=0), 1 if bits == _FLOAT else 2**bits - 1


def _jxl_bits(data: bytes) -> int:
    """Bits of a sample by the header, ISO/IEC 18181-1, D.2 and D.3; `_FLOAT` for floats."""
    read = _BitReader(_codestream(data)[len(_JXL_START) :])
    _skip_jxl_size(read)
    if read(1):  # everything has its default
        return 8
    if read(1):  # more fields
        read(3)
        if read(1):
            _skip_jxl_size(read)
        if read(1):
            raise ValueError("JPEG XL with a preview is not supported")
        if read(1):  # an animation: ticks per second, repetitions, time codes
            read.choice((None, 100), (None, 1000), (10, 1), (30, 1))
            read.choice((None, 1), (None, 1001), (8, 1), (10, 1))
            read.choice((None, 0), (3, 0), (16, 0), (32, 0))
            read(1)
    if read(1):
        return _FLOAT
    return read.choice((None, 8), (None, 10), (None, 12), (6, 1))


def _skip_jxl_size(read: "_BitReader") -> None:
    small = read(1)

    def length() -> None:
        read(5) if small else read.choice((9, 1), (13, 1), (18, 1), (30, 1))

    length()
    if not read(3):  # the width does not follow from the height
        length()


def _codestream(data: bytes) -> bytes:
    """The JPEG XL codestream, or its first part where it lies in a container of boxes."""
    place = 0
    if data.startswith(_JXL_START):
        return data
    while place + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if kind in (b"jxlc", b"jxlp"):
            return data[place + (8 if kind == b"jxlc" else 12) :]
        place += max(length, 8)
    raise ValueError("no pixels")


class _BitReader:
    """Reads numbers of a few bits from the head of a JPEG XL image, the lowest bits first."""

    def __init__(self, data: bytes):
        self._bits = int.from_bytes(data[:64], "little")

    def __call__(self, count: int) -> int:
        value = self._bits & ((1 << count) - 1)
        self._bits >>= count
        return value

    def choice(self, *kinds: tuple[int | None, int]) -> int:
        """The number of one of four kinds: how many bits it has, and what is added."""
        count, added = kinds[self(2)]
        return added + (self(count) if count else 0)


def _all(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


_DECODERS: dict[str, Callable[[IO[bytes]], Deep | None]] = {
    "PNG": png.decode,
    "JPEG2000": _jpeg2000,
    "AVIF": _avif,
    "HEIF": _heif,
    "JXL": _jxl,
}
