"""Which image formats there are, and what each of them can hold."""

from contextlib import suppress
from typing import NamedTuple


class Format(NamedTuple):
    """What can be written to files of one ending.

    Attributes:
      alpha: whether it holds transparency.
      bits: the depths it has: 8, 16, or 32 for floating-point numbers.
      longest: largest height and width.
      frames: whether it holds several frames or pages.
    """

    alpha: bool = True
    bits: tuple[int, ...] = (8,)
    longest: int = 2**31 - 1
    frames: bool = False


WRITABLE = {
    ".png": Format(bits=(8, 16), frames=True),
    ".jpg": Format(alpha=False, longest=65500),
    ".jpeg": Format(alpha=False, longest=65500),
    ".webp": Format(longest=16383, frames=True),
    ".tif": Format(bits=(8, 16, 32), frames=True),
    ".tiff": Format(bits=(8, 16, 32), frames=True),
    ".bmp": Format(alpha=False),
    ".avif": Format(longest=65535, frames=True),
}
_READ_ONLY = (
    *(".gif", ".ico", ".tga", ".qoi", ".jp2", ".j2k"),
    *(".ppm", ".pgm", ".pbm", ".pnm", ".pam", ".pfm"),
    *(".heic", ".heif", ".jxl"),
)
READABLE = (*WRITABLE, *_READ_ONLY)
# Pillow's formats, recognized by content. EPS is left out because reading it runs a program, and so
# are formats that Pillow can only guess.
PILLOW = [
    *("PNG", "JPEG", "WEBP", "AVIF", "BMP", "DIB", "GIF", "ICO", "QOI", "JPEG2000"),
    *("TIFF", "PCX", "SGI", "DDS", "TGA"),
]


def enable_optional() -> None:
    """Adds HEIF and JPEG XL to `PILLOW`, if the packages of the extra `formats` are there."""
    with suppress(ImportError):
        import pillow_heif

        pillow_heif.register_heif_opener()
        PILLOW.append("HEIF")
    with suppress(ImportError):
        import pillow_jxl  # noqa: F401

        PILLOW.append("JXL")


def lacks_package(start: bytes) -> bool:
    """Whether a file that begins so is of an optional format whose package is not installed."""
    heif = start[4:8] == b"ftyp" and start[8:12] in (b"heic", b"heix", b"heif", b"mif1", b"msf1")
    jxl = start[:2] == b"\xff\x0a" or start[:12] == b"\0\0\0\x0cJXL \r\n\x87\n"
    return (heif and "HEIF" not in PILLOW) or (jxl and "JXL" not in PILLOW)
