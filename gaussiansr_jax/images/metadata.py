"""What image files say beside their pixels: EXIF, XMP, resolution, gamma, text."""

import re
import struct
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from PIL import Image, PngImagePlugin

from gaussiansr_jax.images import exif

_XMP_IN_PNG = "XML:com.adobe.xmp"
_EXIF_IN_TEXT = "Raw profile type exif"  # how programs wrote EXIF to PNG before 2017
_CENTIMETER = 3  # of the tag ResolutionUnit
_JPEG_SEGMENT = 65533  # longest EXIF in JPEG


@dataclass(frozen=True)
class Metadata:
    """What a file says beside its pixels.

    Attributes:
      exif: camera, time, place and so on, as files hold them, or None.
      xmp: Adobe's description of an image, an XML text, or None.
      dpi: horizontal and vertical pixels per inch, or None.
      gamma: exponent of the encoding, as PNG has it, or None.
      text: named texts, as PNG has them.
      comment: an unnamed text, as JPEG and GIF have it, or None.
      duration: milliseconds for which a frame of an animation is shown, or None.
      loop: how often the animation is repeated, 0 for ever, or None.
    """

    exif: bytes | None = None
    xmp: bytes | None = None
    dpi: tuple[float, float] | None = None
    gamma: float | None = None
    text: tuple[tuple[str, str], ...] = ()
    comment: bytes | None = None
    duration: float | None = None
    loop: int | None = None


NO_METADATA = Metadata()


def from_pillow(image: Image.Image) -> Metadata:
    """The metadata of an image that Pillow has read."""
    info, text = image.info, {}
    if isinstance(image, PngImagePlugin.PngImageFile):
        apart = (_XMP_IN_PNG, _EXIF_IN_TEXT)
        text = {key: str(value) for key, value in image.text.items() if key not in apart}
    xmp, comment = info.get("xmp"), info.get("comment")
    return Metadata(
        _block(image),
        _upright_xmp(xmp.encode() if isinstance(xmp, str) else xmp),
        _sane_dpi(info.get("dpi")),
        info.get("gamma"),
        tuple(text.items()),
        comment.encode() if isinstance(comment, str) else comment,
        info.get("duration"),
        info.get("loop"),
    )


def from_tiff(file: IO[bytes]) -> Metadata:
    """The metadata of the first page of a TIFF file; none where it is damaged."""
    with suppress(Exception):  # Pillow raises almost anything for tags that it does not expect
        tags = exif.from_file(file)
        xmp, unit = tags.get(exif.XMP), tags.get(exif.UNIT, exif.INCH)
        resolution = [tags.get(tag) for tag in (exif.X_RESOLUTION, exif.Y_RESOLUTION)]
        dpi = None
        if None not in resolution and unit in (exif.INCH, _CENTIMETER):
            dpi = tuple(float(x) * (2.54 if unit == _CENTIMETER else 1) for x in resolution)
        xmp = xmp if isinstance(xmp, bytes) else None
        return Metadata(exif.from_tiff_tags(tags), _upright_xmp(xmp), _sane_dpi(dpi))
    return NO_METADATA


def pillow_options(
    metadata: Metadata, suffix: str, size: tuple[int, int]
) -> tuple[dict, tuple[str, ...]]:
    """What `Image.save` needs to write the metadata, and what the format has no place for.

    Args:
      metadata: of the image.
      suffix: of the file name, in lower case.
      size: height and width of what is written.
    """
    options, lost = {}, []
    jpeg, png, bmp = suffix in (".jpg", ".jpeg"), suffix == ".png", suffix == ".bmp"
    holds_dpi = jpeg or png or bmp
    block, note = updated_exif(metadata, size)
    lost += note
    if block is None and metadata.dpi and not holds_dpi:
        block = exif.from_resolution(metadata.dpi)
    elif block and metadata.dpi and not holds_dpi and not exif.has_resolution(block):
        lost.append("resolution")
    if block and (bmp or (jpeg and len(block) > _JPEG_SEGMENT)):
        lost.append("EXIF")
    elif block:
        # For AVIF, Pillow moves an orientation from EXIF to the file's header, and rewrites EXIF.
        options["exif"] = exif.without_orientation(block) if suffix == ".avif" else block
    if metadata.dpi and holds_dpi:
        options["dpi"] = metadata.dpi
    texts = PngImagePlugin.PngInfo()
    if png:
        for key, value in metadata.text:
            texts.add_itxt(key, value)
        if metadata.comment:
            texts.add_itxt("Comment", metadata.comment.decode("utf-8", "replace"))
        if metadata.xmp:
            texts.add_itxt(_XMP_IN_PNG, metadata.xmp.decode("utf-8", "replace"))
        if metadata.gamma:
            texts.add(b"gAMA", struct.pack(">I", round(metadata.gamma * 100_000)))
        options["pnginfo"] = texts
        return options, tuple(lost)
    if metadata.xmp and (not jpeg or len(metadata.xmp) < 65000) and not bmp:
        options["xmp"] = metadata.xmp
    elif metadata.xmp:
        lost.append("XMP")
    if metadata.comment and jpeg:
        options["comment"] = metadata.comment
    elif metadata.comment:
        lost.append("comment")
    lost += [f"text {key!r}" for key, _ in metadata.text]
    lost += ["gamma"] if metadata.gamma else []
    return options, tuple(lost)


def updated_exif(metadata: Metadata, size: tuple[int, int]) -> tuple[bytes | None, list[str]]:
    """The EXIF block of the upright image of a size (h, w), and what is lost."""
    if metadata.exif is None:
        return None, []
    try:
        return exif.updated(metadata.exif, size), []
    except struct.error:
        return None, ["EXIF, which is damaged"]


def _block(image: Image.Image) -> bytes | None:
    block = image.info.get("exif")
    if block is None and _EXIF_IN_TEXT in image.info:
        # A name, the number of bytes, and those in hexadecimal digits.
        with suppress(ValueError):
            block = bytes.fromhex("".join(image.info[_EXIF_IN_TEXT].split("\n")[3:]))
    return block if isinstance(block, bytes) and len(block) > len(exif.START) else None


def _upright_xmp(xmp: bytes | None) -> bytes | None:
    """With the orientation of the upright image."""
    return re.sub(rb"(tiff:Orientation(?:=\s*[\"']|>\s*))[2-8]", rb"\g<1>1", xmp) if xmp else None


def _sane_dpi(dpi: tuple | None) -> tuple[float, float] | None:
    with suppress(TypeError, ValueError, ZeroDivisionError):
        x, y = (float(value) for value in dpi)
        if 0 < x < 1e6 and 0 < y < 1e6:
            return x, y
    return None
