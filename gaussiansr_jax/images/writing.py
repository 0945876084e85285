"""Image files out."""

import io
import os
import struct
from collections.abc import Sequence
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import atomic_write
from gaussiansr_jax.images import tiff_writer
from gaussiansr_jax.images.formats import WRITABLE
from gaussiansr_jax.images.metadata import pillow_options
from gaussiansr_jax.images.picture import Picture, quantized

# Of zlib, instead of 6: half the time for 4% more bytes.
_PNG_LEVEL = 4
_QUALITY = {".jpg": 95, ".jpeg": 95, ".avif": 90}
_FRAME_DURATION = 100  # milliseconds, what browsers show where an animation does not say it
_PNG_HEADER = 33  # bytes of the signature and the chunk IHDR


def write(
    path: str | os.PathLike,
    picture: Picture | Sequence[Picture],
    overwrite: bool = False,
    quality: int | None = None,
) -> tuple[str, ...]:
    """Writes an image in the format that the file name's ending says, atomically.

    Args:
      path: the file.
      picture: grey, alpha, the color profile and the metadata are kept where the format can; 16
        bits in PNG and TIFF, floats in TIFF. Several are the pages of a TIFF file, or else the
        frames of an animation, with 8 bits.
      overwrite: whether an existing file may be replaced.
      quality: from 1 to 100 for JPEG, AVIF and WebP; by default 95, 90 and lossless.

    Returns:
      What could not be kept, in words.

    Raises:
      UserError: the file exists and `overwrite` is false, the format is unknown or cannot hold
        transparency, so many pixels or frames, or the file cannot be written.
    """
    path, pictures = Path(path), [picture] if isinstance(picture, Picture) else list(picture)
    for each in pictures:
        size = each.rgb.shape[:2]
        suffix = check_writable(path, each.alpha is not None, size, len(pictures))
    depth = max(each.bits for each in pictures)
    animated = len(pictures) > 1 and suffix not in (".tif", ".tiff")
    bits = max(b for b in WRITABLE[suffix].bits if b <= (8 if animated else depth))
    with atomic_write(path, overwrite) as temporary:
        try:
            lost = _write(temporary, suffix, pictures, bits, quality)
        # Encoders raise more than OSError for what they cannot write.
        except (ValueError, TypeError, RuntimeError, SystemError, struct.error) as error:
            raise UserError(f"cannot write {path} ({error}); choose another format") from error
        except MemoryError as error:
            raise UserError(f"too little memory to write {path}; use a smaller scale") from error
    notes = [f"{suffix} has no place for its {', '.join(lost)}"] if lost else []
    if bits < depth:
        kind = "floating-point values" if depth == 32 else "16-bit values"
        notes.append(f"its {kind} become {bits}-bit in {suffix}")
    return tuple(notes)


def check_writable(
    path: Path,
    transparent: bool = False,
    size: tuple[int, int] | None = None,
    frames: int = 1,
) -> str:
    """The file name's ending in lower case.

    Args:
      path: the file.
      transparent: whether it must hold transparency.
      size: height and width that it must hold.
      frames: how many frames or pages it must hold.

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
    if frames > 1 and not kind.frames:
        raise UserError(f"cannot write {path}: {suffix} holds one frame only; use .png or .tif")
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


def _write(
    path: Path, suffix: str, pictures: list[Picture], bits: int, quality: int | None
) -> tuple[str, ...]:
    """Writes the file; returns what its format has no place for."""
    frames, first = [_channels(picture, bits) for picture in pictures], pictures[0]
    if suffix in (".tif", ".tiff"):
        pages = zip(frames, pictures, strict=True)
        return tiff_writer.write(path, [(values, p.icc, p.metadata) for values, p in pages])
    options, lost = pillow_options(first.metadata, suffix, first.rgb.shape[:2])
    options["icc_profile"] = first.icc
    if suffix == ".png":
        options["compress_level"] = _PNG_LEVEL
    elif suffix == ".webp":
        options |= {"lossless": True} if quality is None else {"quality": quality}
        options["exact"] = True  # colors under full transparency, too
    elif suffix in _QUALITY:
        options["quality"] = quality or _QUALITY[suffix]
    if bits == 16:
        path.write_bytes(_encode_png16(frames[0], options))
    else:
        images = [Image.fromarray(v[..., 0] if v.shape[-1] == 1 else v) for v in frames]
        if len(images) > 1:
            options |= _animation(images, pictures)
        images[0].save(path, **options)
    return (*lost, "color profile") if first.icc and suffix == ".bmp" else lost


def _animation(images: list[Image.Image], pictures: list[Picture]) -> dict:
    """What `Image.save` needs besides the first frame."""
    durations = [picture.metadata.duration or _FRAME_DURATION for picture in pictures]
    loop = pictures[0].metadata.loop
    return {
        "save_all": True,
        "append_images": images[1:],
        "duration": [round(each) for each in durations],
        "loop": 1 if loop is None else loop,
    }


def _encode_png16(values: np.ndarray, options: dict) -> bytes:
    """A 16-bit PNG, for which Pillow has no encoder.

    The chunks beside the pixels are those of an 8-bit file of one pixel, which Pillow writes.
    """
    array = values[..., 0] if values.shape[-1] == 1 else values
    pixels = imagecodecs.png_encode(array, level=_PNG_LEVEL)
    buffer = io.BytesIO()
    Image.new("L" if values.shape[-1] < 3 else "RGB", (1, 1)).save(buffer, "PNG", **options)
    described = buffer.getvalue()
    beside = described[_PNG_HEADER : described.index(b"IDAT") - 4]
    return pixels[:_PNG_HEADER] + beside + pixels[_PNG_HEADER:]
