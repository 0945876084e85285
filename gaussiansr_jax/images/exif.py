"""EXIF as the block of bytes that files hold. Only tags that are no longer true are changed.

The block is a small TIFF file (EXIF 2.3, 4.5): lists of tags that point to each other by position.
Rewriting it would lose makers' notes and letters beyond ASCII.
"""

import struct
import warnings
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import IO, Any

from PIL import Image

START = b"Exif\0\0"
ORIENTATION, DETAILS, PLACE = 0x0112, 0x8769, 0x8825
X_RESOLUTION, Y_RESOLUTION, UNIT, INCH = 0x011A, 0x011B, 0x0128, 2
XMP = 0x02BC
_PIXEL_X, _PIXEL_Y = 0xA002, 0xA003
_SHORT = 3
_FORMS = {_SHORT: "H", 4: "I", 8: "h", 9: "i"}  # the types of whole numbers: SHORT to SLONG
# Bytes of one value of each type, BYTE to IFD.
_BYTES = dict(enumerate((1, 1, 2, 4, 8, 1, 1, 2, 4, 8, 4, 8, 4), 1))
# Tags of TIFF files that say how the pixels are stored, or that are read and written separately.
_STRUCTURE = {
    *(0x00FE, 0x00FF, *range(0x0100, 0x010E), *range(0x0111, 0x011D), UNIT, 0x012D, 0x013D),
    *range(0x0140, 0x015C),
    *range(0x0200, 0x0215),
    *(XMP, 0x80E3, 0x80E4, 0x80E5, 0x80E6, 0x83BB, 0x8649, 0x8773, 0x935C, 0xC4A5),
}

# Pillow would print raw warnings about damaged tags. `is_damaged` finds these, and a note says so.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.TiffImagePlugin")


def is_damaged(block: bytes) -> bool:
    """Whether a list of tags is cut short, or a value lies outside of the block."""
    data = bytearray(block.removeprefix(START))
    try:
        order, first = _beginning(data)
        tags = [*_tags(data, first, order)]
        for tag, _, place in tuple(tags):
            if tag in (DETAILS, PLACE):
                (start,) = struct.unpack_from(f"{order}I", data, place)
                tags += _tags(data, start, order)
        return not all(_is_inside(data, order, kind, place) for _, kind, place in tags)
    except struct.error:
        return True


def orientation(block: bytes) -> int:
    """The tag Orientation, 1 to 8, in a block whose other tags may be damaged; 1 without it."""
    data, found = bytearray(block.removeprefix(START)), 1
    with suppress(struct.error):
        order, first = _beginning(data)
        for tag, kind, place in _tags(data, first, order):
            if tag == ORIENTATION and kind == _SHORT:
                (found,) = struct.unpack_from(f"{order}H", data, place)
    return found if 1 <= found <= 8 else 1


def updated(block: bytes, size: tuple[int, int]) -> bytes:
    """The EXIF block of an upright image of another size (h, w), without a preview of the old one.

    Raises:
      struct.error: the block is damaged.
    """
    data = bytearray(block.removeprefix(START))
    order, first = _beginning(data)
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
    order, first = _beginning(data)
    tags = [*_tags(data, first, order)]
    for tag, _, place in reversed(tags):
        if tag == ORIENTATION:
            entry, end = place - 8, first + 2 + 12 * len(tags) + 4
            data[entry : end - 12] = data[entry + 12 : end]
            tags.pop()
    struct.pack_into(f"{order}H", data, first, len(tags))
    return START + bytes(data)


def from_tiff_tags(tags: Image.Exif) -> bytes | None:
    """A block of those tags of a TIFF file that are EXIF; None if there are none."""
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
    """What Pillow encoded, with the letters beyond ASCII that it had replaced by question marks.

    Args:
      encoded: what Pillow wrote.
      values: what it was given. Each byte of a text is one letter (Latin-1), as Pillow reads it.
    """
    for text in values:
        if isinstance(text, str) and not text.isascii():
            marks = text.encode("ascii", "replace")
            encoded = encoded.replace(marks, text.encode("latin-1", "replace"), 1)
    return encoded


def from_resolution(dpi: tuple[float, float]) -> bytes:
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


def _beginning(data: bytearray) -> tuple[str, int]:
    """The byte order, as `struct` writes it, and where the first list of tags begins."""
    order = {b"II": "<", b"MM": ">"}.get(bytes(data[:2]))
    if order is None:
        raise struct.error("no byte order")
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    return order, first


def _is_inside(data: bytearray, order: str, kind: int, place: int) -> bool:
    """Whether a tag's values lie in the block: at `place` itself, or where it points to."""
    (count,) = struct.unpack_from(f"{order}I", data, place - 4)
    size = count * _BYTES.get(kind, 0)
    (start,) = struct.unpack_from(f"{order}I", data, place)
    return size <= 4 or start + size <= len(data)


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
