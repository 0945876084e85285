"""Color tags that name colors by numbers (ITU-T H.273): cICP in PNG, nclx in AVIF and HEIF.

Colors are read as sRGB, or kept with their ICC profile. These tags are not kept; a note says what
they were.
"""

import struct
from typing import IO

from PIL import Image

from gaussiansr_jax.images import png

_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {16: "PQ", 18: "HLG"}
# What screens show nearly like sRGB: BT.709, unspecified, BT.601, and the transfers of these.
_USUAL_PRIMARIES = {1, 2, 5, 6}
_USUAL_TRANSFERS = {1, 2, 6, 13, 14, 15}
_NCLX = b"colrnclx"  # the kind of the box, and that of its content (ISO/IEC 14496-12, 12.1.5)


def note(image: Image.Image, file: IO[bytes]) -> str | None:
    """What is lost of an image's color tag, in words; None if nothing is.

    Args:
      image: what `Image.open` returned.
      file: where it is read from.
    """
    numbers = _numbers(image.format, file)
    if numbers is None:
        return None
    primaries, transfer = numbers
    names = [] if primaries in _USUAL_PRIMARIES else [_name("primaries", _PRIMARIES, primaries)]
    names += [] if transfer in _USUAL_TRANSFERS else [_name("transfer", _TRANSFERS, transfer)]
    if transfer in _TRANSFERS:
        return (
            f"its HDR colors ({', '.join(names)}) are read as sRGB, so the result looks paler; "
            "convert it to sRGB first"
        )
    if names and not image.info.get("icc_profile"):
        return f"its color tag ({', '.join(names)}) is left out: its colors are read as sRGB"
    return None


def _numbers(kind: str | None, file: IO[bytes]) -> tuple[int, int] | None:
    """Color primaries and transfer characteristics; None where the file does not name them."""
    if kind == "PNG":
        content = png.chunk(file, b"cICP")
        return (content[0], content[1]) if content and len(content) == 4 else None
    if kind not in ("AVIF", "HEIF"):
        return None
    place = file.tell()
    file.seek(0)
    data = file.read()
    file.seek(place)
    start = data.find(_NCLX)
    return None if start < 0 else struct.unpack_from(">HH", data, start + len(_NCLX))


def _name(kind: str, names: dict[int, str], number: int) -> str:
    return names.get(number, f"{kind} {number} of H.273")
