"""TIFF files, read by tifffile: any depth, planes, tiles, inks, Lab, every kind of alpha."""

import numpy as np
import tifffile
from jaxtyping import Shaped
from tifffile import PHOTOMETRIC, TiffPage

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import exif
from gaussiansr_jax.images.decoding import Channels

_COLORS = {
    PHOTOMETRIC.MINISWHITE: 1,
    PHOTOMETRIC.MINISBLACK: 1,
    PHOTOMETRIC.RGB: 3,
    PHOTOMETRIC.PALETTE: 1,
    PHOTOMETRIC.SEPARATED: 4,
    PHOTOMETRIC.YCBCR: 3,
    PHOTOMETRIC.CIELAB: 3,
    PHOTOMETRIC.ICCLAB: 3,
}
_ASSOCIATED, _UNASSOCIATED = 1, 2  # of the tag ExtraSamples
_UNSIGNED, _FLOAT = 1, 3  # of the tag SampleFormat
_JPEG = 7
_REDUCED, _MASK = 1, 4  # bits of the tag NewSubfileType
_INK_SET, _OTHER_INKS = 332, 2


def pages(tiff: tifffile.TiffFile) -> list[TiffPage]:
    """The images of a file, without their previews and masks."""
    full = [page for page in tiff.pages if not page.subfiletype & (_REDUCED | _MASK)]
    return full or [tiff.pages[0]]


def orientation(page: TiffPage) -> int:
    """The tag Orientation, 1 to 8."""
    value = page.tags.valueof(exif.ORIENTATION, 1)
    return value if value in range(1, 9) else 1


def needs_libtiff(page: TiffPage) -> bool:
    """Whether the colors are YCbCr that tifffile does not convert to RGB."""
    return page.photometric == PHOTOMETRIC.YCBCR and page.compression != _JPEG


def notes(count: int) -> tuple[str, ...]:
    """What is lost where one of `count` pages is read."""
    return (f"only the first of {count} pages is used",) if count > 1 else ()


def decode(page: TiffPage, count: int, name: str) -> Channels:
    """Reads one page.

    Args:
      page: of `pages`.
      count: how many of them there are.
      name: of the file, for messages.

    Raises:
      UserError: its kind of values or colors is not supported.
      Exception: whatever tifffile and its codecs raise for damaged files.
    """
    try:
        photometric = PHOTOMETRIC(page.photometric)
        colors = _COLORS[photometric]
    except (ValueError, KeyError):
        kind = getattr(page.photometric, "name", page.photometric)
        raise UserError(
            f"{name} is a TIFF of the color kind {kind}, which is not supported; "
            "convert it to RGB first"
        ) from None
    samples = page.samplesperpixel
    if samples < colors or page.tags.valueof(_INK_SET, 1) == _OTHER_INKS:
        raise UserError(
            f"{name} has {samples} channels of the color kind {photometric.name}, which is not "
            "supported; convert it to RGB first"
        )
    check_complete(page)
    values = _as_hwc(page, name)
    lost = notes(count)
    extra = tuple(map(int, page.extrasamples))
    known = [i for i, kind in enumerate(extra) if kind in (_ASSOCIATED, _UNASSOCIATED)]
    alpha = colors + known[0] if known else None
    dropped = samples - colors - bool(known)
    if dropped:
        plural = "s" if dropped > 1 else ""
        lost = (*lost, f"{dropped} extra channel{plural} not marked as alpha left out")
    values, levels, note = _levels(page, values, name)
    if photometric == PHOTOMETRIC.PALETTE:
        indices, values = values, _looked_up(page, values)
        if alpha is not None:
            values = np.dstack([values, np.rint(indices[..., alpha] * (255 / levels))])
            values, alpha = values.astype(np.uint8), 3
        colors, levels = 3, 255
    lab = photometric in (PHOTOMETRIC.CIELAB, PHOTOMETRIC.ICCLAB)
    bits = 32 if levels == 1 and values.dtype.kind == "f" else 16 if levels > 255 else 8
    if lab:
        # Channels after the colors are dropped, alpha included.
        values, levels = _lab(values, levels, photometric == PHOTOMETRIC.CIELAB), 1
        alpha = None
    return Channels(
        values,
        colors,
        levels,
        alpha,
        premultiplied=alpha is not None and extra[known[0]] == _ASSOCIATED,
        inverted=photometric == PHOTOMETRIC.MINISWHITE,
        lab=lab,
        bits=bits,
        orientation=orientation(page),
        icc=page.iccprofile,
        notes=(*lost, *note),
    )


def check_complete(page: TiffPage) -> None:
    """Raises `OSError` where pixels are missing: they would be read as black."""
    size = page.parent.filehandle.size
    segments = list(zip(page.dataoffsets, page.databytecounts, strict=True))
    if not segments or any(count == 0 or start + count > size for start, count in segments):
        raise OSError("some of its pixels are missing, the file may be cut short")


def _as_hwc(page: TiffPage, name: str) -> Shaped[np.ndarray, "H W C"]:
    values = page.asarray()
    if page.axes == "SYX":
        values = np.moveaxis(values, 0, -1)
    elif page.axes == "YX":
        values = values[..., None]
    elif page.axes != "YXS":
        raise UserError(f"{name} is a TIFF volume, not an image; save its layers as images")
    return values


def _levels(
    page: TiffPage, values: np.ndarray, name: str
) -> tuple[np.ndarray, float, tuple[str, ...]]:
    """The values in a type that `Channels` knows, the number of white, and what is lost."""
    if values.dtype == bool:
        return values.astype(np.uint8), 1, ()
    if page.sampleformat == _FLOAT and values.dtype.kind == "f":
        return values, 1, ()
    if page.sampleformat != _UNSIGNED or values.dtype.kind != "u":
        raise UserError(
            f"{name} stores values as {values.dtype.name}, which has no natural white; "
            "convert it to unsigned 8 or 16 bits, or to float from 0 to 1"
        )
    bits = page.bitspersample
    if bits <= 16:
        return values, 2**bits - 1, ()
    if values.max() < 2 ** (bits - 8):
        raise UserError(
            f"{name} stores {bits}-bit values that are all below {int(values.max()) + 1}, nearly "
            "black by the TIFF standard; convert it to 16 bits, or to float from 0 to 1"
        )
    return (values >> (bits - 16)).astype(np.uint16), 65535, (f"{bits}-bit values become 16-bit",)


def _looked_up(page: TiffPage, values: np.ndarray) -> np.ndarray:
    """Colors [H, W, 3] uint8 of palette indices; the palette has 16 bits by the standard."""
    palette = np.asarray(page.colormap)
    # Some writers put 8-bit colors there.
    palette = palette if palette.max() < 256 else np.rint(palette / 257)
    return palette.T.astype(np.uint8)[values[..., 0]]


def _lab(values: np.ndarray, levels: float, signed: bool) -> np.ndarray:
    """L* in [0, 100], a*, b* from how TIFF and ICC store them with 8 or 16 bits."""
    values = values[..., :3]
    if levels == 1:  # floats are stored as they are
        return values.astype(np.float32)
    unit = 1 if levels == 255 else 256
    kind = np.int8 if levels == 255 else np.int16
    # The 16-bit encoding of ICC profiles has 100 at FF00.
    brightest = levels if signed or levels == 255 else 0xFF00
    lightness = values[..., :1] * np.float32(100 / brightest)
    chroma = values[..., 1:].astype(values.dtype.newbyteorder("="))
    chroma = chroma.view(kind) if signed else chroma.astype(np.float32) - 128 * unit
    return np.concatenate([lightness, chroma.astype(np.float32) / unit], -1)
