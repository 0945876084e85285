"""What image files hold beyond 8-bit RGB: orientation, transparency, 16 bits, printing inks."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageCms

from gaussiansr_jax.errors import UserError

_ORIENTATION_TAG, _BITS_PER_SAMPLE_TAG = 0x0112, 0x0102
_GREY = ("1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N")


@dataclass(frozen=True)
class Picture:
    """An image file's content, upright, colors not multiplied by alpha.

    Attributes:
      rgb: [H, W, 3], three equal channels if `grey`; uint8, or float32 in [0, 1] if `bits` is 16.
      alpha: [H, W] float32 in [0, 1], or None if the image is opaque.
      grey: whether the file had one color channel.
      bits: 8 or 16, how finely the file stored its values.
      icc: the color profile, or None.
      notes: what of the file could not be kept, in words.
    """

    rgb: UInt8[np.ndarray, "H W 3"] | Float[np.ndarray, "H W 3"]
    alpha: Float[np.ndarray, "H W"] | None = None
    grey: bool = False
    bits: int = 8
    icc: bytes | None = None
    notes: tuple[str, ...] = ()


def decode(image: Image.Image, path: Path) -> Picture:
    """Turns an opened, not yet loaded image into a `Picture`.

    Args:
      image: what `Image.open` returned.
      path: the file; some kinds are read a second time.

    Raises:
      UserError: it stores 32-bit values.
    """
    notes = []
    if getattr(image, "n_frames", 1) > 1:
        notes.append(f"only the first of {image.n_frames} frames is used")
    icc, grey = image.info.get("icc_profile"), image.mode in _GREY
    values, lost = _read_16_bits(image, path)
    if lost:
        notes.append(lost)
    if values is None:
        # Pillow turns TIFFs upright while loading, and forgets their orientation.
        image.load()
    # Not earlier: for PNG files this decodes the image.
    orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    if values is None:
        if image.mode == "CMYK":
            image, icc = _from_cmyk(image, icc), None
        if image.mode in ("I", "F"):
            raise UserError(f"{path} stores 32-bit values; convert it to 8 or 16 bits first")
        if not image.mode.startswith("I;16"):
            transparent = image.has_transparency_data
            image = image.convert(
                ("LA" if grey else "RGBA") if transparent else "L" * grey or "RGB"
            )
        values = np.asarray(image)
    values = values if values.ndim == 3 else values[..., None]
    values = _upright(values, orientation)
    bits = values.dtype.itemsize * 8
    has_alpha = values.shape[-1] in (2, 4)
    colors = values[..., :-1] if has_alpha else values
    colors = np.broadcast_to(colors, (*colors.shape[:2], 3))
    rgb = np.array(colors) if bits == 8 else colors.astype(np.float32) / 65535
    alpha = values[..., -1].astype(np.float32) / (2**bits - 1) if has_alpha else None
    return Picture(rgb, alpha, grey, bits, icc, tuple(notes))


def _read_16_bits(image: Image.Image, path: Path) -> tuple[np.ndarray | None, str | None]:
    """16-bit color, which Pillow knows as 8-bit only: [H, W, 3 or 4] uint16, or what is lost."""
    if image.format == "PNG" and image.tile and str(image.tile[0].args).endswith(";16B"):
        if image.mode.startswith("I;16"):
            return None, None
        if image.tile[0].args not in ("RGB;16B", "RGBA;16B"):
            return None, "16-bit grey with transparency is read as 8 bits"
        # The raw mode says which byte of each pair is taken: the high one, then the low one.
        high, low = (_png_bytes(path, order) for order in ("16B", "16L"))
        return high.astype(np.uint16) << 8 | low, None
    if image.format == "TIFF" and image.mode in ("RGB", "RGBA"):
        bits = image.tag_v2.get(_BITS_PER_SAMPLE_TAG, (8,))
        if max(bits) > 8:
            import tifffile

            try:
                values = tifffile.imread(path)
            except Exception:  # compression that tifffile does not know without further packages
                values = np.empty(0)
            # Pillow gives the size of the upright image.
            same_size = sorted(values.shape[:2]) == sorted(image.size)
            if values.dtype == np.uint16 and values.ndim == 3 and same_size:
                return values[..., :4], None
            return None, f"{max(bits)}-bit color is read as 8 bits"
    return None, None


def _png_bytes(path: Path, order: str) -> np.ndarray:
    with Image.open(path) as image:
        tile = image.tile[0]
        image.tile = [tile._replace(args=tile.args.replace("16B", order))]
        return np.asarray(image)


def _from_cmyk(image: Image.Image, icc: bytes | None) -> Image.Image:
    """Printing inks to sRGB, by the file's own profile where it has a usable one."""
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            srgb = ImageCms.createProfile("sRGB")
            return ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            pass
    return image.convert("RGB")


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the camera's orientation (EXIF tag 0x0112, values 1 to 8) of [H, W, C]."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
