"""EXIF as the block of bytes that files hold: kept as it is but for what is no longer true.

The block is a small TIFF file (EXIF 2.3, 4.5): lists of tags that point to each other by position.
Rewriting it would lose makers' notes and letters beyond ASCII.
"""

import struct
from collections.abc import Iterable, Iterator
from typing import IO, Any

from PIL import Image

START = b"Exif\0\0"
ORIENTATION, DETAILS, PLACE = 0x0112, 0x8769, 0x8825
X_RESOLUTION, Y_RESOLUTION, UNIT, INCH = 0x011A, 0x011B, 0x0128, 2
XMP = 0x02BC
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
_FORMS = {3: "H", 4: "I", 8: "h", 9: "i"}  # the types of whole numbers: SHORT to SLONG
# Tags of TIFF files that say how the pixels are stored, or that are carried by themselves.
_STRUCTURE = {
    *(0x00FE, 0x00FF, *range(0x0100, 0x010E), *range(0x0111, 0x011D), UNIT, 0x012D, 0x013D),
    *range(0x0140, 0x015C),
    *range(0x0200, 0x0215),
    *(XMP, 0x80E3, 0x80E4, 0x80E5, 0x80E6, 0x83BB, 0x8649, 0x8773, 0x935C, 0xC4A5),
}


def updated(block: bytes, size: tuple[int, int]) -> bytes:
    """The EXIF block of an upright image of another size (h, w), without a preview of the old one.

    Raises:
      struct.error: the block is damaged.
    """
    data = bytearray(block.removeprefix(START))
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise struct.error("no byte order")
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    values = {ORIENTATION: 1, _PIXEL_Y: size[0], _PIXEL_X: size[1]}
    for tag, kind, place in (*_tags(data, first, order),):
        if tag == DETAILS:
            (details,) = struct.unpack_from(f"{order}I", data, place)
            for inner, inner_kind, inner_place in (*_tags(data, details, order),):
                _put(data, order, inner_kind, inner_place, values.get(inner))
        else:
            _put(data, order, kind, place, values.get(tag))
    (count,) = struct.unpack_from(f"{order}H", data, first)
    struct.pack_into(f"{order}I", data, first + 2 + 12 * count, 0)  # no second list: the preview
    return START + bytes(data)


def without_orientation(block: bytes) -> bytes:
    """A block that `updated` made, of an upright image, without the tag that says so."""
    data = bytearray(block.removeprefix(START))
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    tags = [*_tags(data, first, order)]
    for tag, _, place in reversed(tags):
        if tag == ORIENTATION:
            entry, end = place - 8, first + 2 + 12 * len(tags) + 4
            data[entry : end - 12] = data[entry + 12 : end]
            tags.pop()
    struct.pack_into(f"{order}H", data, first, len(tags))
    return START + bytes(data)


def of_tiff(tags: Image.Exif) -> bytes | None:
    """The tags of a TIFF file that are EXIF; None if there are none."""
    kept = Image.Exif()
    for tag, value in dict(tags).items():
        if tag not in _STRUCTURE and tag not in (DETAILS, PLACE):
            kept[tag] = value
    for tag in (DETAILS, PLACE):
        if tags.get_ifd(tag):
            kept[tag] = dict(tags.get_ifd(tag))
    if not dict(kept):
        return None
    return with_letters(kept.tobytes(), dict(kept).values())


def with_letters(encoded: bytes, values: Iterable[Any]) -> bytes:
    """What Pillow wrote of `values`, with the letters beyond ASCII that it made question marks.

    It reads each byte of a text as one letter (Latin-1).
    """
    for text in values:
        if isinstance(text, str) and not text.isascii():
            marks = text.encode("ascii", "replace")
            encoded = encoded.replace(marks, text.encode("latin-1", "replace"), 1)
    return encoded


def of_resolution(dpi: tuple[float, float]) -> bytes:
    """An EXIF block for formats that hold a resolution only there."""
    exif = Image.Exif()
    exif[X_RESOLUTION], exif[Y_RESOLUTION] = dpi
    exif[UNIT] = INCH
    return exif.tobytes()


def has_resolution(block: bytes) -> bool:
    """Whether the block says how many pixels there are in an inch."""
    return X_RESOLUTION in loaded(block)


def loaded(block: bytes) -> Image.Exif:
    """The tags of a block."""
    exif = Image.Exif()
    exif.load(block)
    return exif


def from_file(file: IO[bytes]) -> Image.Exif:
    """The tags of a TIFF file's first page."""
    file.seek(0)
    exif = Image.Exif()
    exif.load_from_fp(file)
    return exif


def _tags(data: bytearray, start: int, order: str) -> Iterator[tuple[int, int, int]]:
    """Tag, type and place of its value, of the list that begins at `start`."""
    (count,) = struct.unpack_from(f"{order}H", data, start)
    for entry in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, _ = struct.unpack_from(f"{order}HHI", data, entry)
        yield tag, kind, entry + 8


def _put(data: bytearray, order: str, kind: int, place: int, value: int | None) -> None:
    if value is not None and kind in _FORMS:
        form = _FORMS[kind]
        largest = 2 ** (8 * struct.calcsize(order + form) - form.islower()) - 1
        struct.pack_into(order + form, data, place, min(value, largest))
