"""A PNG encoder for 16 bits a channel, which Pillow only has for grey."""

import struct
import zlib

import numpy as np
from jaxtyping import UInt16

_COLOR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # channels: grey, grey + alpha, RGB, RGBA
_FILTER_UP = 2


def encode_png16(values: UInt16[np.ndarray, "H W C"], icc: bytes | None = None) -> bytes:
    """Encodes an image as PNG (W3C Portable Network Graphics, third edition).

    Args:
      values: [H, W, C] uint16, C from 1 to 4: grey, grey + alpha, RGB, RGB + alpha.
      icc: a color profile to go with it.

    Returns:
      The file's bytes.
    """
    height, width, channels = values.shape
    header = struct.pack(">IIBBBBB", width, height, 16, _COLOR_TYPE[channels], 0, 0, 0)
    rows = np.ascontiguousarray(values.astype(">u2")).view(np.uint8).reshape(height, -1)
    # Differences to the row above (modulo 256) compress far better than the values themselves.
    filtered = np.empty((height, rows.shape[1] + 1), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    chunks = [_chunk(b"IHDR", header)]
    if icc:
        chunks.append(_chunk(b"iCCP", b"icc\0\0" + zlib.compress(icc)))
    chunks += [_chunk(b"IDAT", zlib.compress(filtered.tobytes(), 6)), _chunk(b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
