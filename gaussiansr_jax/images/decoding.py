"""From the channels that a file stores to colors: alpha, depth, printing inks, Lab."""

import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Shaped
from PIL import Image, ImageCms

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images.metadata import NO_METADATA, Metadata
from gaussiansr_jax.images.picture import Picture

# Float values up to this far outside [0, 1] are clipped: interpolation overshoots by so much.
_OVERSHOOT = 0.1

# XYZ relative to the D50 white of ICC profiles to linear sRGB (IEC 61966-2-1), adapted by the
# Bradford method: the inverse of the sRGB profile's three colorants.
_SRGB_OF_XYZ = np.linalg.inv(
    [[0.43607, 0.38515, 0.14307], [0.22249, 0.71687, 0.06061], [0.01392, 0.09708, 0.71410]]
)


@dataclass(frozen=True)
class Channels:
    """What a file stores, before it is turned into colors.

    Attributes:
      values: [H, W, C] of unsigned or floating-point numbers, colors first.
      colors: how many channels are colors: 1 grey, 3 RGB or Lab, 4 inks.
      levels: the number that stands for white (for inks, for full ink); 1 for floats.
      alpha: index of the channel that is alpha, or None.
      premultiplied: whether the colors are multiplied by it.
      inverted: whether 0 is white.
      lab: whether the colors are L* in [0, 100], a*, b*, as floats.
      bits: of the file, if `values` does not say it: 8, 16, or 32 for floats.
      orientation: of the EXIF standard, 1 to 8.
      icc: the color profile.
      metadata: what the file says beside its pixels.
      notes: what is lost, in words.
    """

    values: Shaped[np.ndarray, "H W C"]
    colors: int
    levels: float
    alpha: int | None = None
    premultiplied: bool = False
    inverted: bool = False
    lab: bool = False
    bits: int | None = None
    orientation: int = 1
    icc: bytes | None = None
    metadata: Metadata = NO_METADATA
    notes: tuple[str, ...] = ()


def to_picture(channels: Channels, name: str) -> Picture:
    """Colors and alpha as `Picture` has them.

    Raises:
      UserError: float values are no colors in [0, 1].
    """
    values = _upright(channels.values, channels.orientation)
    notes = list(channels.notes)
    floats = values.dtype.kind == "f"
    if floats and not channels.lab:
        values, note = _checked_floats(values, name)
        notes += note
    colors, levels = values[..., : channels.colors], channels.levels
    alpha = None
    if channels.alpha is not None:
        alpha = (values[..., channels.alpha] / np.float32(levels)).astype(np.float32)
    if channels.inverted:
        colors = (levels - colors).astype(colors.dtype)
    if channels.premultiplied:
        colors, levels = _unpremultiplied(colors, alpha, levels), 1.0
    icc = channels.icc
    depth = channels.bits or (32 if floats else 16 if channels.levels > 255 else 8)
    if channels.colors == 4:
        colors, levels, note = _inks_to_rgb(colors, levels, icc)
        notes += note
        icc = None
    if channels.lab:
        colors, levels, icc = _lab_to_rgb(colors), 1.0, None
    icc, note = _usable_profile(icc, channels.colors == 1)
    rgb = _at_depth(colors, levels, depth)
    rgb = np.array(np.broadcast_to(rgb, (*rgb.shape[:2], 3)), order="C")
    return Picture(rgb, alpha, channels.colors == 1, depth, icc, channels.metadata, (*notes, *note))


def _at_depth(colors: np.ndarray, levels: float, depth: int) -> np.ndarray:
    """Colors from 0 to `levels`, as uint8 for 8 bits, else as float32 in [0, 1]."""
    if depth == 8 and colors.dtype == np.uint8 and levels == 255:
        return colors
    unit = (colors / np.float32(levels)).astype(np.float32)
    return np.rint(unit * 255).astype(np.uint8) if depth == 8 else unit


def _checked_floats(values: np.ndarray, name: str) -> tuple[np.ndarray, list[str]]:
    low, high = float(values.min()), float(values.max())
    if not (-_OVERSHOOT <= low and high <= 1 + _OVERSHOOT):  # also where they are NaN
        raise UserError(
            f"{name} holds floating-point values from {low:g} to {high:g}; only those from 0 "
            "(black) to 1 (white) are supported, so scale them to that range"
        )
    clipped = low < 0 or high > 1
    values = np.clip(values, 0, 1).astype(np.float32) if clipped else values.astype(np.float32)
    return values, ["floating-point values beyond 0 and 1 are clipped"] if clipped else []


def _unpremultiplied(
    colors: np.ndarray, alpha: Float[np.ndarray, "H W"], levels: float
) -> np.ndarray:
    """Colors in [0, 1], divided by alpha; black where it is zero."""
    divisor = np.where(alpha > 0, alpha, 1)[..., None] * np.float32(levels)
    return np.where(alpha[..., None] > 0, np.clip(colors / divisor, 0, 1), 0).astype(np.float32)


def _inks_to_rgb(
    inks: np.ndarray, levels: float, icc: bytes | None
) -> tuple[np.ndarray, float, list[str]]:
    """Printing inks to sRGB, by the file's own profile where it has a usable one."""
    unit = inks.astype(np.float32) / np.float32(levels)
    if icc:
        image = Image.frombytes(
            "CMYK", inks.shape[1::-1], np.rint(unit * 255).astype(np.uint8).tobytes()
        )
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            srgb = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, profile, srgb, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            return _inks_to_rgb(inks, levels, None)
        note = "printing inks are converted to sRGB by the file's profile"
        deep = ", with 8 bits" if levels > 255 else ""
        return np.asarray(converted), 255, [note + deep]
    rgb = (1 - unit[..., :3]) * (1 - unit[..., 3:])
    return rgb, 1.0, ["printing inks are converted to RGB without a color profile"]


def _lab_to_rgb(lab: Float[np.ndarray, "H W 3"]) -> Float[np.ndarray, "H W 3"]:
    """CIE L*a*b* relative to D50 to sRGB in [0, 1]."""
    from skimage import color

    xyz = color.lab2xyz(lab.astype(np.float32), illuminant="D50")
    linear = np.clip(xyz @ _SRGB_OF_XYZ.T, 0, 1)
    rgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return rgb.astype(np.float32)


def _usable_profile(icc: bytes | None, grey: bool) -> tuple[bytes | None, list[str]]:
    """The profile if it is for grey (or else RGB) pixels, or a note why it is left out."""
    if not icc:
        return None, []
    # The header, ICC.1:2022, 7.2: size, signature, data color space.
    if int.from_bytes(icc[:4]) > len(icc) or icc[36:40] != b"acsp":
        return None, ["its color profile is left out: it is damaged"]
    space = icc[16:20]
    if space == (b"GRAY" if grey else b"RGB "):
        return icc, []
    kind = space.decode("ascii", "replace").strip()
    return None, [f"its color profile is left out: it is for {kind}, not for these pixels"]


def _upright(values: np.ndarray, orientation: int) -> np.ndarray:
    """Undoes the camera's orientation (EXIF tag 0x0112, values 1 to 8) of [H, W, C]."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values
