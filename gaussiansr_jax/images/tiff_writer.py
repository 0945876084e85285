"""TIFF files, written by tifffile: 8 and 16 bits, floats, several pages, EXIF."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from jaxtyping import Shaped
from PIL import TiffTags
from PIL.TiffImagePlugin import IFDRational, ImageFileDirectory_v2

from gaussiansr_jax.images import exif
from gaussiansr_jax.images.metadata import Metadata, updated_exif

_DESCRIPTION, _SOFTWARE, _DATE = 0x010E, 0x0131, 0x0132
# Lists of tags that EXIF keeps apart from the page's.
_DIRECTORIES = (exif.DETAILS, exif.PLACE)
_STRIP_OFFSETS = 0x0111
_RESOLUTION = (exif.X_RESOLUTION, exif.Y_RESOLUTION, exif.UNIT)
# A classic TIFF ends at 4 GiB.
_CLASSIC = 2**32 - 2**26

Page = tuple[Shaped[np.ndarray, "H W C"], bytes | None, Metadata]


def write(path: Path, pages: Sequence[Page]) -> tuple[str, ...]:
    """Writes pages of values, color profile and metadata; returns what could not be kept."""
    big = sum(values.nbytes for values, _, _ in pages) > _CLASSIC
    lost, exifs = set(), []
    for values, _, metadata in pages:
        block, note = updated_exif(metadata, values.shape[:2])
        exifs.append(exif.loaded(block) if block else None)
        lost |= {*note, *(f"text {key!r}" for key, _ in metadata.text)}
        lost |= {"gamma"} if metadata.gamma else set()
    with tifffile.TiffWriter(path, bigtiff=big, byteorder="<") as writer:
        for (values, icc, metadata), tags in zip(pages, exifs, strict=True):
            _write_page(writer, values, icc, metadata, dict(tags or {}))
    directories = {}
    if exifs[0] is not None and not big:
        directories = {tag: exifs[0].get_ifd(tag) for tag in _DIRECTORIES}
        directories = {tag: entries for tag, entries in directories.items() if entries}
    if directories:
        _add_directories(path, directories)
    return tuple(sorted(lost))


def _write_page(
    writer: tifffile.TiffWriter,
    values: Shaped[np.ndarray, "H W C"],
    icc: bytes | None,
    metadata: Metadata,
    tags: dict[int, Any],
) -> None:
    channels = values.shape[-1]
    described = {_DESCRIPTION: "description", _SOFTWARE: "software", _DATE: "datetime"}
    options: dict[str, Any] = {"software": False}
    for tag, name in described.items():
        value = tags.pop(tag, None)
        if isinstance(value, str) and value.isascii():
            options[name] = value
    if "description" not in options and metadata.comment:
        options["description"] = metadata.comment.decode("ascii", "replace")
    apart = (*_RESOLUTION, *_DIRECTORIES)
    extra = [_extra_tag(tag, value) for tag, value in tags.items() if tag not in apart]
    if metadata.xmp:
        extra.append((exif.XMP, 1, len(metadata.xmp), metadata.xmp, True))
    if metadata.dpi:
        options |= {"resolution": metadata.dpi, "resolutionunit": "INCH"}
    writer.write(
        values[..., 0] if channels == 1 else values,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        iccprofile=icc,
        metadata=None,
        rowsperstrip=values.shape[0],
        extratags=[tag for tag in extra if tag],
        **options,
    )


def _extra_tag(tag: int, value: Any) -> tuple | None:
    """A tag as tifffile takes it; None for a value of a kind that cameras do not write."""
    if isinstance(value, str):
        value = value.encode("latin-1", "replace")
    if isinstance(value, bytes) and TiffTags.lookup(tag).type == TiffTags.ASCII:
        return tag, "s", 0, value, True
    if isinstance(value, bytes):
        return tag, "B", len(value), value, True
    if isinstance(value, int):
        return tag, "H" if 0 <= value < 2**16 else "I", 1, value, True
    if isinstance(value, IFDRational):
        return tag, "2I", 1, (value.numerator, value.denominator), True
    if isinstance(value, tuple) and all(isinstance(n, int) and 0 <= n < 2**32 for n in value):
        return tag, "I", len(value), value, True
    return None


def _add_directories(path: Path, directories: dict[int, dict]) -> None:
    """Adds EXIF's lists of tags to the first page of a classic TIFF; tifffile cannot write them.

    The page's own list of tags is written again at the end of the file.
    """
    with open(path, "r+b") as file:
        tags = ImageFileDirectory_v2(file.read(8))
        file.seek(tags.next)
        tags.load(file)
        following = tags.next
        merged = ImageFileDirectory_v2(prefix=tags.prefix)
        for tag, value in dict(tags).items():
            merged.tagtype[tag] = tags.tagtype[tag]
            merged[tag] = value
        for tag, entries in directories.items():
            merged[tag] = dict(entries)
        place = file.seek(0, 2)
        place += file.write(b"\0" * (place % 2))  # lists of tags begin at even places
        encoded = bytearray(exif.with_letters(merged.tobytes(place), dict(tags).values()))
        count = int.from_bytes(encoded[:2], "little")
        for entry in range(2, 2 + 12 * count, 12):
            # Pillow expects the pixels behind the tags, and moves them.
            if int.from_bytes(encoded[entry : entry + 2], "little") == _STRIP_OFFSETS:
                encoded[entry + 8 : entry + 12] = tags[_STRIP_OFFSETS][0].to_bytes(4, "little")
        encoded[2 + 12 * count : 6 + 12 * count] = following.to_bytes(4, "little")
        file.write(encoded)
        file.seek(4)
        file.write(place.to_bytes(4, "little"))
