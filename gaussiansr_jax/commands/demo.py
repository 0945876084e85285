"""`python -m gaussiansr_jax demo`: super-resolves a photograph and shows the result."""

import argparse
from importlib import resources
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from gaussiansr_jax import images, loading
from gaussiansr_jax.commands.helpers.startup import start_jax
from gaussiansr_jax.errors import needs_extra
from gaussiansr_jax.evaluation import imresize, protocol
from gaussiansr_jax.weights import DEFAULT_WEIGHTS

HELP = "Super-resolve a photograph that comes with scikit-image, beside bicubic and the truth."

SCALE = 4
_PHOTO, _CROP = "chelsea.png", (slice(16, 272), slice(64, 384))  # a cat's head
_DETAIL = (slice(68, 132), slice(68, 148))  # its eye, within the crop
_LABEL_HEIGHT, _GAP = 24, 4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("--output", default="demo", help="folder (default: %(default)s)")
    parser.add_argument("--weights", default=DEFAULT_WEIGHTS, help="(default: %(default)s)")


def main(args: argparse.Namespace) -> None:
    """Writes the pictures, prints PSNR figures and, last, the path of the side-by-side picture."""
    start_jax()
    upscaler = loading.load(args.weights)
    lr, hr = protocol.make_pair(photograph(), SCALE)
    print(f"super-resolving {lr.shape[1]}x{lr.shape[0]} to {hr.shape[1]}x{hr.shape[0]} pixels …")
    output = upscaler.upscale(lr, size=hr.shape[:2])
    bicubic = imresize.resize_matlab(lr, hr.shape[:2])
    scores = {
        "bicubic": protocol.score(bicubic / 255, hr, SCALE)["psnr_y"],
        "ours": protocol.score(output / 255, hr, SCALE)["psnr_y"],
    }
    panels = {
        f"input, {lr.shape[1]}x{lr.shape[0]}": lr.repeat(SCALE, 0).repeat(SCALE, 1),
        f"bicubic, {scores['bicubic']:.2f} dB": bicubic,
        f"GaussianSR-JAX, {scores['ours']:.2f} dB": output,
        "ground truth": hr,
    }
    folder = Path(args.output)
    for name, pixels in (("input", lr), ("bicubic", bicubic), ("output", output), ("truth", hr)):
        images.write(folder / f"{name}.png", images.Picture(pixels), overwrite=True)
    path = folder / "side-by-side.png"
    images.write(path, images.Picture(side_by_side(panels)), overwrite=True)
    for name, value in scores.items():
        print(f"PSNR-Y {name:8} {value:.2f} dB")
    print(path)


def photograph() -> np.ndarray:
    """A part of a photograph inside the scikit-image package, [256, 320, 3] uint8; no download.

    Raises:
      UserError: scikit-image is not installed.
    """
    with needs_extra("the demo's photograph", "demo"):
        folder = resources.files("skimage")
    with resources.as_file(folder / "data" / _PHOTO) as file:
        return images.read_rgb(file)[_CROP]


def side_by_side(panels: dict[str, np.ndarray]) -> np.ndarray:
    """Pictures of one size [H, W, 3] in a row, below each its label and an enlarged detail."""
    columns = [_column(label, pixels) for label, pixels in panels.items()]
    gap = np.full((len(columns[0]), _GAP, 3), 255, np.uint8)
    row = [part for column in columns for part in (column, gap)]
    return np.concatenate(row[:-1], 1)


def _column(label: str, pixels: np.ndarray) -> np.ndarray:
    height, width = pixels.shape[:2]
    detail = pixels[_DETAIL]
    # Nearest: the detail must show the pixels as they are.
    detail = Image.fromarray(detail).resize((width, height), Image.Resampling.NEAREST)
    strip = Image.new("RGB", (width, _LABEL_HEIGHT), "white")
    ImageDraw.Draw(strip).text((4, 3), label, "black", ImageFont.load_default(15))
    return np.concatenate([pixels, np.asarray(strip), np.asarray(detail)], 0)
