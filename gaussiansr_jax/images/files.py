"""Image files in and out: orientation, transparency, grey, 16 bits, palettes, CMYK."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import atomic_write
from gaussiansr_jax.images.decoding import Picture, decode
from gaussiansr_jax.images.png16 import encode_png16

READABLE = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
WRITABLE = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")
_WITH_ALPHA = (".png", ".webp", ".tif", ".tiff")
_WITH_16_BITS = (".png", ".tif", ".tiff")
# Of zlib, instead of 6: half the time for 4% more bytes.
_PNG_LEVEL = 4


def read(path: str | os.PathLike) -> Picture:
    """Reads one image file.

    Raises:
      UserError: no such file, not an image, damaged, or of a kind that has no natural 8 or 16 bits.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no image file {path}; check the name")
    try:
        with warnings.catch_warnings():
            # Pillow warns of big images; a super-resolution tool is given them on purpose.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path) as image:
                return decode(image, path)
    except UserError:
        raise
    # Damaged files make the decoders raise almost anything (SyntaxError, struct.error, zlib.error).
    except Exception as error:
        raise UserError(
            f"cannot read {path} as an image ({error}); replace or remove the file"
        ) from error


def read_rgb(path: str | os.PathLike) -> UInt8[np.ndarray, "H W 3"]:
    """Reads one image file as 8-bit RGB, [H, W, 3] uint8; transparency is left out."""
    return _quantized(read(path).rgb, 255)


def write(path: str | os.PathLike, picture: Picture, overwrite: bool = False) -> None:
    """Writes an image in the format that the file name's ending says, atomically.

    Grey, alpha, 16 bits and the color profile are kept; 16 bits only in PNG and TIFF.

    Raises:
      UserError: the file exists and `overwrite` is false, the format is unknown or cannot hold
        transparency, or the file cannot be written.
    """
    path = Path(path)
    suffix = check_writable(path, picture.alpha is not None)
    levels = 65535 if picture.bits == 16 and suffix in _WITH_16_BITS else 255
    values = _quantized(picture.rgb, levels)
    if picture.grey:
        values = np.rint(values.mean(-1, keepdims=True)).astype(values.dtype)
    if picture.alpha is not None:
        values = np.concatenate([values, _quantized(picture.alpha[..., None], levels)], -1)
    with atomic_write(path, overwrite) as temporary:
        if levels == 255:
            options = {"quality": 95} if suffix in (".jpg", ".jpeg") else {}
            options |= {"lossless": True} if suffix == ".webp" else {}
            options |= {"compress_level": _PNG_LEVEL} if suffix == ".png" else {}
            array = values[..., 0] if values.shape[-1] == 1 else values
            Image.fromarray(array).save(temporary, icc_profile=picture.icc, **options)
        elif suffix == ".png":
            temporary.write_bytes(encode_png16(values, picture.icc))
        else:
            _write_tiff16(temporary, values, picture.icc)


def check_writable(path: Path, transparent: bool = False) -> str:
    """The file name's ending in lower case.

    Raises:
      UserError: no format has this ending, or it cannot hold transparency.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise UserError(
            f"cannot write {path}: no image format ends in {suffix!r}; use one of "
            + ", ".join(WRITABLE)
        )
    if transparent and suffix not in _WITH_ALPHA:
        raise UserError(f"cannot write {path}: {suffix} holds no transparency; use .png")
    return suffix


def suitable_name(path: Path, picture: Picture) -> Path:
    """`path`, with the ending `.png` if its own format cannot hold the picture."""
    suffix = path.suffix.lower()
    fits = suffix in (WRITABLE if picture.alpha is None else _WITH_ALPHA)
    return path if fits else path.with_suffix(".png")


def find(inputs: Sequence[str | os.PathLike]) -> list[Path]:
    """The image files that the paths name; folders stand for the images in them, by name.

    Raises:
      UserError: a path does not exist, or a folder holds no image.
    """
    files = []
    for path in map(Path, inputs):
        if path.is_dir():
            inside = [p for p in sorted(path.iterdir()) if p.suffix.lower() in READABLE]
            # Hidden ones are what operating systems put beside pictures.
            inside = [p for p in inside if p.is_file() and not p.name.startswith(".")]
            if not inside:
                raise UserError(f"no images in {path}; known endings are {', '.join(READABLE)}")
            files += inside
        elif path.exists():
            files.append(path)
        else:
            raise UserError(f"no file or folder {path}; check the name")
    return files


def bleed_colors(picture: Picture) -> Picture:
    """Gives wholly transparent pixels the color of the nearest visible one.

    Their own color is arbitrary (often black) and would fringe the edges once upscaled.
    """
    if picture.alpha is None or not (picture.alpha == 0).any() or not picture.alpha.any():
        return picture
    from scipy import ndimage

    nearest = ndimage.distance_transform_edt(
        picture.alpha == 0, return_distances=False, return_indices=True
    )
    return replace(picture, rgb=picture.rgb[tuple(nearest)])


def resize_alpha(alpha: Float[np.ndarray, "H W"], size: tuple[int, int]) -> np.ndarray:
    """Enlarges a mask [H, W] to `size` (h, w) by bicubic interpolation, clipped to [0, 1]."""
    resized = Image.fromarray(alpha).resize(size[::-1], Image.Resampling.BICUBIC)
    return np.clip(np.asarray(resized), 0, 1)


def _quantized(values: np.ndarray, levels: int) -> np.ndarray:
    """Floats in [0, 1] as uint8 (255 levels) or uint16 (65535); whole numbers likewise."""
    if values.dtype == np.uint8:
        return values if levels == 255 else values * np.uint16(257)
    kind = np.uint8 if levels == 255 else np.uint16
    return np.rint(np.clip(values, 0, 1) * levels).astype(kind)


def _write_tiff16(path: Path, values: np.ndarray, icc: bytes | None) -> None:
    import tifffile

    channels = values.shape[-1]
    tifffile.imwrite(
        path,
        values[..., 0] if channels == 1 else values,
        photometric="rgb" if channels > 2 else "minisblack",
        planarconfig="contig" if channels > 1 else None,
        extrasamples=["unassalpha"] if channels in (2, 4) else None,
        iccprofile=icc,
    )
