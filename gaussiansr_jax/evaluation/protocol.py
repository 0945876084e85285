"""How models are evaluated: from an HR image to an LR input and a score, at any scale.

The LR image has floor(HR / scale) pixels, and HR is cut to round(LR * scale) from its top left
corner. For whole scales that is the usual cut to a multiple of the scale; for others it is the
largest part of HR that an upscaler asked for this scale would return. LR is HR reduced to exactly
that size by MATLAB's antialiased bicubic, rounded to 8 bits.
"""

import math
from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.evaluation import metrics
from gaussiansr_jax.evaluation.imresize import resize_float, resize_matlab
from gaussiansr_jax.ops import coordinates

# How outputs are scored, the model's and bicubic's alike: rounded to 8 bits as in a saved image, as
# in the literature, or as computed.
ROUNDED, EXACT = "rounded", "exact"

HR, LR = UInt8[np.ndarray, "H W 3"], UInt8[np.ndarray, "h w 3"]
# LR image and output size (H, W) to float output in [0, 1].
Upscale = Callable[[LR, tuple[int, int]], Float[np.ndarray, "H W 3"]]


def cut_size(hr_size: tuple[int, int], scale: float) -> tuple[tuple[int, int], tuple[int, int]]:
    """The LR size and the size of the part of HR that belongs to it, both (h, w).

    Raises:
      UserError: HR has less than one LR pixel.
    """
    # The tolerance keeps 33 / 3.3 at 10, whatever the rounding of the division.
    lr_size = tuple(math.floor(length / scale + 1e-6) for length in hr_size)
    if min(lr_size) < 1:
        raise UserError(
            f"an image of {hr_size[1]}x{hr_size[0]} is too small for scale {scale:g}; "
            "evaluate at a smaller scale or on larger images"
        )
    return lr_size, coordinates.output_size(lr_size, (scale, scale))


def make_pair(
    hr: HR, scale: float, lr: LR | None = None
) -> tuple[LR, UInt8[np.ndarray, "cut_H cut_W 3"]]:
    """The LR input and the part of HR that it shows.

    Args:
      hr: ground truth.
      scale: HR pixels per LR pixel.
      lr: the LR image, if there is a ready-made one.

    Raises:
      UserError: HR is too small, or the ready-made LR image is not of this scale.
    """
    lr_size, hr_size = cut_size(hr.shape[:2], scale)
    hr = np.ascontiguousarray(hr[: hr_size[0], : hr_size[1]])
    if lr is None:
        return resize_matlab(hr, lr_size), hr
    if lr.shape[:2] != lr_size:
        raise UserError(
            f"the LR image has {lr.shape[1]}x{lr.shape[0]} pixels, scale {scale:g} needs "
            f"{lr_size[1]}x{lr_size[0]}; give the LR folder of this scale"
        )
    return lr, hr


def shave_of(scale: float) -> int:
    """The border that is not counted, in HR pixels: one LR pixel, rounded up."""
    return math.ceil(scale - 1e-6)


def score(output: metrics.Image, hr: HR, scale: float) -> dict[str, float]:
    """psnr_y, ssim_y and psnr_rgb of a float output in [0, 1] against the ground truth."""
    target = hr.astype(np.float64) / 255
    shave = shave_of(scale)
    return {
        "psnr_y": metrics.psnr_y(output, target, shave),
        "ssim_y": metrics.ssim_y(output, target, shave),
        "psnr_rgb": metrics.psnr_rgb(output, target, shave),
    }


def evaluate_image(
    upscale: Upscale,
    hr: HR,
    scale: float,
    lr: LR | None = None,
    values: str = ROUNDED,
) -> dict[str, float]:
    """Scores of the model and, as bicubic_psnr_y and so on, of MATLAB's bicubic beside it.

    Args:
      upscale: the model.
      hr: ground truth.
      scale: HR pixels per LR pixel.
      lr: the LR image; by default it is made.
      values: `ROUNDED` or `EXACT`.
    """
    lr, hr = make_pair(hr, scale, lr)

    def scored(output: metrics.Image) -> dict[str, float]:
        output = np.clip(np.asarray(output, np.float64), 0, 1)
        if values == ROUNDED:
            output = np.rint(output * 255) / 255
        return score(output, hr, scale)

    # Scaled to [0, 1] first, halves would be rounded differently.
    resize = resize_matlab if values == ROUNDED else resize_float
    bicubic = scored(resize(lr, hr.shape[:2]) / 255)
    ours = scored(upscale(lr, hr.shape[:2]))
    return ours | {f"bicubic_{name}": value for name, value in bicubic.items()}


def mean_scores(images: dict[str, dict[str, float]]) -> dict:
    """Means of the scores of images, and under "images" those of each."""
    names = next(iter(images.values()))
    means = {name: float(np.mean([i[name] for i in images.values()])) for name in names}
    return means | {"images": images}
