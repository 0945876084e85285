"""Do enlarged films flicker? The paper leaves it open; here the truth is known.

    python benchmarks/flicker.py [--photos FOLDER] [--liif FILE.pth] [--scale 4] [--figure FILE.png]

A film is a crop that moves over a photograph by whole pixels, one frame after the other. Each frame
is reduced by the scale (as MATLAB's `imresize` does) and enlarged again. A pixel of the photograph
is a fraction of a pixel of the reduced frame, so that every frame samples the scene elsewhere.
Enlarged frames, moved back by the known number of pixels, show the same scene; what differs from
one to the next is flicker:

- flicker: root mean square difference of luma between neighbors, moved back, in 1/255;
- PSNR: of luma, against the photograph, mean over the frames.

Bicubic interpolation blurs, and blur does not flicker; so both belong together.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from PIL import Image

from gaussiansr_jax import loading
from gaussiansr_jax.ops import resampling

MODELS = {
    "ours, direct": "gaussiansr-direct-edsr-baseline",
    "ours, paper's head": "gaussiansr-edsr-baseline",
}
# Pixels of the photograph that the crop moves from frame to frame, (down, right), again and again.
STEPS = [(0, 1), (1, 1), (0, 1), (1, 0)]
BORDER = 8  # pixels of the photograph along the border of a frame that are not compared

Method = Callable[[np.ndarray], np.ndarray]


def photographs(folder: str | None, count: int) -> list[np.ndarray]:
    """RGB in [0, 1]."""
    if folder:
        files = sorted(p for p in Path(folder).iterdir() if p.suffix.lower() in (".png", ".jpg"))
        images = [np.asarray(Image.open(file).convert("RGB")) for file in files[:count]]
    else:
        from skimage import data

        images = [data.astronaut(), data.chelsea(), data.coffee()][:count]
    return [image.astype(np.float32) / 255 for image in images]


def places(count: int) -> np.ndarray:
    """Where the crop is in each frame, [frames, 2]."""
    steps = [STEPS[i % len(STEPS)] for i in range(count - 1)]
    return np.concatenate([[(0, 0)], np.cumsum(steps, 0)])


def film(photo: np.ndarray, size: int, count: int) -> list[np.ndarray]:
    """Crops [size, size, 3] from the photograph's middle."""
    top, left = ((n - size - count) // 2 for n in photo.shape[:2])
    return [photo[top + y :, left + x :][:size, :size] for y, x in places(count)]


def reduced(frame: np.ndarray, scale: int) -> np.ndarray:
    size = tuple(n // scale for n in frame.shape[:2])
    small = np.asarray(resampling.resize(jnp.asarray(frame), size))
    return np.round(np.clip(small, 0, 1) * 255).astype(np.float32) / 255


def luma(rgb: np.ndarray) -> np.ndarray:
    return rgb @ np.array([0.299, 0.587, 0.114], np.float32)


def moved_back(frames: list[np.ndarray]) -> np.ndarray:
    """The part of the scene that all frames show, [frames, h, w], of frames [h, w]."""
    where = places(len(frames))
    last = where[-1]
    return np.stack(
        [
            frame[last[0] - y + BORDER :, last[1] - x + BORDER :][
                : frame.shape[0] - last[0] - 2 * BORDER, : frame.shape[1] - last[1] - 2 * BORDER
            ]
            for frame, (y, x) in zip(frames, where, strict=True)
        ]
    )


def figures(
    method: Method, frames: list[np.ndarray], scale: int
) -> tuple[float, float, np.ndarray]:
    """Mean square difference of neighbors, PSNR, and the scene as each frame shows it."""
    small = [reduced(frame, scale) for frame in frames]
    shown = moved_back([luma(method(frame)) for frame in small])
    truth = moved_back([luma(frame) for frame in frames])
    flicker = np.mean(np.square(np.diff(shown, axis=0)))
    psnr = np.mean(-10 * np.log10(np.mean(np.square(shown - truth), (1, 2))))
    return float(flicker), float(psnr), shown


def methods(scale: int, liif: str | None) -> dict[str, Method]:
    def bicubic(frame: np.ndarray) -> np.ndarray:
        size = tuple(n * scale for n in frame.shape[:2])
        return np.clip(np.asarray(resampling.resize(jnp.asarray(frame), size)), 0, 1)

    found: dict[str, Method] = {"bicubic": bicubic}
    for name, path in [*MODELS.items(), *([("LIIF", liif)] if liif else [])]:
        upscaler = loading.load(path, dtype="float32")
        found[name] = lambda frame, upscaler=upscaler: upscaler.upscale(frame, scale)
    return found


def draw(path: str, rows: dict[str, tuple[float, float]], slices: dict[str, np.ndarray]) -> None:
    """Flicker of each method, and a row of the scene over time."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, *right) = pyplot.subplots(
        1, 1 + len(slices), figsize=(9, 2.6), width_ratios=[2.2, *[1] * len(slices)]
    )
    names = list(rows)
    left.barh(names[::-1], [rows[name][0] for name in names[::-1]], color="#4878a8")
    left.set_xlabel("flicker, 1/255")
    left.spines[["top", "right"]].set_visible(False)
    for axes, (name, image) in zip(right, slices.items(), strict=True):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(name, fontsize=8)
        axes.set_xticks([])
        axes.set_yticks([])
    right[0].set_ylabel("time", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main(argv: list[str] | None = None) -> dict[str, tuple[float, float]]:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photos", help="a folder; default: three of scikit-image's")
    parser.add_argument("--count", type=int, default=3, help="photographs")
    parser.add_argument("--liif", help="the official checkpoint of LIIF, .pth")
    parser.add_argument("--scale", type=int, default=4)
    parser.add_argument("--size", type=int, default=192, help="side of a frame in the photograph")
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--figure", help="a picture of the result (.png, .svg)")
    args = parser.parse_args(argv)
    clips = [film(p, args.size, args.frames) for p in photographs(args.photos, args.count)]
    print(f"×{args.scale}, {len(clips)} films of {args.frames} frames, {args.size} pixels square")
    print(f"{jax.devices()[0].device_kind}\n\n| | flicker | PSNR-Y |\n|---|---|---|")
    rows, slices = {}, {}
    for name, method in methods(args.scale, args.liif).items():
        results = [figures(method, clip, args.scale) for clip in clips]
        flicker = 255 * np.sqrt(np.mean([each[0] for each in results]))
        rows[name] = float(flicker), float(np.mean([each[1] for each in results]))
        shown = results[0][2]
        slices[name] = np.repeat(shown[:, shown.shape[1] // 2, : shown.shape[2] // 2], 4, axis=0)
        print(f"| {name} | {rows[name][0]:.2f} | {rows[name][1]:.2f} |", flush=True)
    if args.figure:
        draw(args.figure, rows, slices)
    return rows


if __name__ == "__main__":
    main()
