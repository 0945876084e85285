"""Enlarges every picture of a folder and prints what it did.

    python examples/enlarge_folder.py photos/ big/ --scale 2.5

`python -m gaussiansr_jax upscale` does this with more options; here is how to do it from Python.
"""

import argparse
from pathlib import Path

import gaussiansr_jax as gsr
from gaussiansr_jax import images


def main() -> None:
    """Enlarges the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--scale", type=float, default=2.0)
    parser.add_argument("--weights", default=gsr.DEFAULT_WEIGHTS)
    args = parser.parse_args()

    upscaler = gsr.load(args.weights)  # once for all pictures
    for file in images.find([args.source]):
        image = images.read_rgb(file)  # uint8 [H, W, 3]
        large = upscaler.upscale(image, scale=args.scale)
        path = args.target / f"{file.stem}.png"
        images.write(path, images.Picture(large), overwrite=True)
        print(f"{path}: {image.shape[1]}x{image.shape[0]} to {large.shape[1]}x{large.shape[0]}")


if __name__ == "__main__":
    main()
