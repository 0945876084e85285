"""The table of models: quality at all scales, parameters and time.

    python benchmarks/heads.py --data DIR [DIR …] [--weights NAME …] [--scales S …]

Weights are shipped names, files or training folders, PyTorch's included; with a + at the end, with
self-ensemble. For each folder of ground truth images it prints a Markdown table: PSNR-Y in dB as
eval.py measures it, and how long a photograph of 339x510 takes to ×4 on this machine, uint8 to
uint8, the median of a few.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
from tqdm import tqdm

from gaussiansr_jax import images, loading
from gaussiansr_jax.errors import run_cli
from gaussiansr_jax.evaluation import protocol
from gaussiansr_jax.upscaling.upscaler import Upscaler
from gaussiansr_jax.weights import SHIPPED

sys.path.append(str(Path(__file__).resolve().parent))
from figures import duration, median_time

PHOTO, SCALE, REPEATS = (339, 510), 4, 3


def scores(upscaler: Upscaler, folder: str, scale: float) -> tuple[float, float]:
    """Mean PSNR-Y of a folder: the model's and bicubic interpolation's."""

    def upscale(lr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return upscaler.upscale(lr.astype(np.float32) / 255, size=size)

    files = tqdm(images.find([folder]), f"{Path(folder).name} x{scale:g}", leave=False)
    found = protocol.mean_scores(
        {
            file.name: protocol.evaluate_image(upscale, images.read_rgb(file), scale)
            for file in files
        }
    )
    return found["psnr_y"], found["bicubic_psnr_y"]


def line(name: str, psnr: list[float], parameters: str = "", time: str = "") -> str:
    """A row of the table."""
    return f"| {' | '.join([name, *(f'{value:.2f}' for value in psnr), parameters, time])} |"


def main(argv: list[str] | None = None) -> None:
    """Prints a table for each folder."""
    shipped = sorted(file.stem for file in SHIPPED.glob("*.safetensors"))
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", required=True, help="folders of ground truth images")
    parser.add_argument("--weights", nargs="+", default=shipped)
    parser.add_argument("--scales", nargs="+", type=float, default=[2, 3, 4, 6, 8, 12])
    args = parser.parse_args(argv)
    upscalers = {
        name: loading.load(name.removesuffix("+"), self_ensemble=name.endswith("+"))
        for name in args.weights
    }
    photo = np.random.default_rng(0).integers(0, 256, (*PHOTO, 3), dtype=np.uint8)
    times = {
        name: duration(median_time(partial(upscaler.upscale, photo, SCALE), REPEATS))
        for name, upscaler in upscalers.items()
    }
    shown = " | ".join(f"×{scale:g}" for scale in args.scales)
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    for folder in args.data:
        print(f"\n| {Path(folder).name} | {shown} | parameters | {PHOTO[0]}x{PHOTO[1]} ×{SCALE} |")
        print("|---" * (len(args.scales) + 3) + "|")
        for name, upscaler in upscalers.items():
            found = [scores(upscaler, folder, scale) for scale in args.scales]
            ours, bicubic = zip(*found, strict=True)
            if name == args.weights[0]:
                print(line("bicubic", bicubic))
            count = sum(leaf.size for leaf in jax.tree.leaves(upscaler.params))
            print(line(Path(name).name, ours, f"{count:,}", times[name]), flush=True)


if __name__ == "__main__":
    run_cli(main)
