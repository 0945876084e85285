"""PSNR and SSIM as the super-resolution literature counts them.

Images are float [H, W, 3] in [0, 1]; `shave` pixels at each border are left out.
"""

import numpy as np
from jaxtyping import Float

from gaussiansr_jax.errors import UserError

Image = Float[np.ndarray, "H W 3"]

# ITU-R BT.601 luma with a range of 219 levels, for values in [0, 1] and a result of up to 255:
# what MATLAB's rgb2ycbcr computes.
Y_WEIGHTS = np.array([65.481, 128.553, 24.966])
Y_OFFSET = 16.0

_SSIM_SIGMA, _SSIM_RADIUS = 1.5, 5
_SSIM_C1, _SSIM_C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2


def luma(image: Image) -> Float[np.ndarray, "H W"]:
    """The Y channel [H, W] of MATLAB's rgb2ycbcr, from 16 to 235, not rounded; float64."""
    return np.asarray(image, np.float64) @ Y_WEIGHTS + Y_OFFSET


def shaved(image: np.ndarray, shave: int) -> np.ndarray:
    """`image` [H, W, ...] without its outermost `shave` pixels.

    Raises:
      UserError: nothing would be left.
    """
    height, width = image.shape[:2]
    if min(height, width) <= 2 * shave:
        raise UserError(
            f"an image of {width}x{height} is too small to leave out a border of {shave} pixels; "
            "evaluate at a smaller scale or on larger images"
        )
    return image[shave : height - shave, shave : width - shave]


def psnr_y(output: Image, target: Image, shave: int = 0) -> float:
    """Peak signal-to-noise ratio of the Y channel in dB, peak 255; inf for equal images.

    Examples:
      >>> black, grey = np.zeros((8, 8, 3)), np.full((8, 8, 3), 0.1)
      >>> round(psnr_y(grey, black), 2)
      21.32
    """
    return _psnr(shaved(luma(output) - luma(target), shave), 255.0)


def psnr_rgb(output: Image, target: Image, shave: int = 0) -> float:
    """Peak signal-to-noise ratio over all three channels in dB, peak 1; inf for equal images."""
    difference = np.asarray(output, np.float64) - np.asarray(target, np.float64)
    return _psnr(shaved(difference, shave), 1.0)


def ssim_y(output: Image, target: Image, shave: int = 0) -> float:
    """Structural similarity of the Y channel.

    Gaussian window of 11 x 11 with sigma 1.5, only where it lies inside the image, no correction
    of the sample variance, K1 = 0.01, K2 = 0.03, range 255.

    Raises:
      UserError: fewer than 11 pixels are left after the shave.

    References:
      Wang, Bovik, Sheikh, Simoncelli, "Image quality assessment: from error visibility to
      structural similarity", 2004, and its MATLAB code ssim_index.m.
    """
    x, y = shaved(luma(output), shave), shaved(luma(target), shave)
    if min(x.shape) <= 2 * _SSIM_RADIUS:
        raise UserError(
            f"SSIM needs 11 pixels within the border, there are {min(x.shape)}; "
            "evaluate at a smaller scale or on larger images"
        )
    mean_x, mean_y = _window(x), _window(y)
    var_x, var_y = _window(x * x) - mean_x**2, _window(y * y) - mean_y**2
    covariance = _window(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + _SSIM_C1) * (2 * covariance + _SSIM_C2)
    similarity /= (mean_x**2 + mean_y**2 + _SSIM_C1) * (var_x + var_y + _SSIM_C2)
    return float(similarity.mean())


def _psnr(difference: np.ndarray, peak: float) -> float:
    error = float(np.mean(np.square(difference)))
    return float("inf") if error == 0 else float(10 * np.log10(peak**2 / error))


def _window(image: Float[np.ndarray, "H W"]) -> np.ndarray:
    """Gaussian-weighted local means at the pixels whose whole window lies inside."""
    from scipy import ndimage  # takes long to import

    offsets = np.arange(-_SSIM_RADIUS, _SSIM_RADIUS + 1)
    kernel = np.exp(-0.5 * (offsets / _SSIM_SIGMA) ** 2)
    kernel /= kernel.sum()
    for axis in (0, 1):
        image = ndimage.correlate1d(image, kernel, axis=axis, mode="constant")
    return image[_SSIM_RADIUS:-_SSIM_RADIUS, _SSIM_RADIUS:-_SSIM_RADIUS]
