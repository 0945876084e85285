"""Image files out."""

import io
import os
from pathlib import Path

import imagecodecs
import numpy as np
import tifffile
from PIL import Image

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import atomic_write
from gaussiansr_jax.images.formats import WRITABLE
from gaussiansr_jax.images.picture import Picture, quantized

# Of zlib, instead of 6: half the time for 4% more bytes.
_PNG_LEVEL = 4
_PNG_HEADER = 33  # bytes of the signature and the chunk IHDR


def write(path: str | os.PathLike, picture: Picture, overwrite: bool = False) -> None:
    """Writes an image in the format that the file name's ending says, atomically.

    Grey, alpha and the color profile are kept; 16 bits in PNG and TIFF, floats in TIFF.

    Raises:
      UserError: the file exists and `overwrite` is false, the format is unknown or cannot hold
        transparency or so many pixels, or the file cannot be written.
    """
    path = Path(path)
    suffix = check_writable(path, picture.alpha is not None, picture.rgb.shape[:2])
    bits = max(depth for depth in WRITABLE[suffix].bits if depth <= picture.bits)
    values = _channels(picture, bits)
    with atomic_write(path, overwrite) as temporary:
        try:
            if suffix in (".tif", ".tiff"):
                _write_tiff(temporary, values, picture.icc)
            elif bits == 16:
                temporary.write_bytes(_encode_png16(values, picture.icc))
            else:
                _write_8_bits(temporary, suffix, values, picture.icc)
        # Encoders raise more than OSError for what they cannot write.
        except (ValueError, RuntimeError, SystemError, MemoryError) as error:
            raise UserError(f"cannot write {path} ({error}); choose another format") from error


def check_writable(
    path: Path, transparent: bool = False, size: tuple[int, int] | None = None
) -> str:
    """The file name's ending in lower case.

    Args:
      path: the file.
      transparent: whether it must hold transparency.
      size: height and width that it must hold.

    Raises:
      UserError: no format has this ending, or it cannot hold the image.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise UserError(
            f"cannot write {path}: no image format ends in {suffix!r}; use one of "
            + ", ".join(WRITABLE)
        )
    kind = WRITABLE[suffix]
    if transparent and not kind.alpha:
        raise UserError(f"cannot write {path}: {suffix} holds no transparency; use .png")
    if size and max(size) > kind.longest:
        raise UserError(
            f"cannot write {path}: {suffix} holds no more than {kind.longest} pixels in width and "
            f"height, the output has {size[1]}x{size[0]}; use .png or .tif"
        )
    return suffix


def suitable_name(path: Path, picture: Picture) -> Path:
    """`path`, with another ending if its own format cannot hold the picture."""
    kind = WRITABLE.get(path.suffix.lower())
    if kind and (kind.alpha or picture.alpha is None):
        return path
    return path.with_suffix(".tif" if picture.bits == 32 else ".png")


def _channels(picture: Picture, bits: int) -> np.ndarray:
    """[H, W, 1 to 4] uint8, uint16 or float32: grey or RGB, then alpha."""
    if bits == 32:
        values = picture.rgb.astype(np.float32)
        alpha = picture.alpha
    else:
        levels = 2**bits - 1
        values = quantized(picture.rgb, levels)
        alpha = None if picture.alpha is None else quantized(picture.alpha, levels)
    if picture.grey:
        mean = values.mean(-1, keepdims=True)
        values = (mean if bits == 32 else np.rint(mean)).astype(values.dtype)
    if alpha is not None:
        values = np.concatenate([values, alpha[..., None]], -1)
    return np.ascontiguousarray(values)


def _write_8_bits(path: Path, suffix: str, values: np.ndarray, icc: bytes | None) -> None:
    options = {
        ".jpg": {"quality": 95},
        ".jpeg": {"quality": 95},
        ".webp": {"lossless": True},
        ".png": {"compress_level": _PNG_LEVEL},
        ".avif": {"quality": 90},
    }.get(suffix, {})
    array = values[..., 0] if values.shape[-1] == 1 else values
    Image.fromarray(array).save(path, icc_profile=icc, **options)


def _encode_png16(values: np.ndarray, icc: bytes | None) -> bytes:
    """A 16-bit PNG, for which Pillow has no encoder.

    The chunks beside the pixels are those of an 8-bit file of one pixel, which Pillow writes.
    """
    array = values[..., 0] if values.shape[-1] == 1 else values
    pixels = imagecodecs.png_encode(array, level=_PNG_LEVEL)
    buffer = io.BytesIO()
    Image.new("L" if values.shape[-1] < 3 else "RGB", (1, 1)).save(buffer, "PNG", icc_profile=icc)
    described = buffer.getvalue()
    beside = described[_PNG_HEADER : described.index(b"IDAT") - 4]
    return pixels[:_PNG_HEADER] + beside + pixels[_PNG_HEADER:]


def _write_tiff(path: Path, values: np.ndarray, icc: bytes | None) -> None:
    channels = values.shape[-1]
    tifffile.imwrite(
        path,
        values[..., 0] if channels == 1 else values,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        iccprofile=icc,
        # A classic TIFF ends at 4 GiB.
        bigtiff=values.nbytes > 2**32 - 2**25,
        metadata=None,
    )
