"""Makes an animation that zooms into a picture: encoded once, rendered at every scale.

    python examples/zoom_animation.py photo.jpg zoom.gif --center 0.4 0.6 --to 12

A file name that ends in .mp4 gives a film instead (needs PyAV: pip install av).
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image

import gaussiansr_jax as gsr
from gaussiansr_jax import images


def frames(prepared, center, scales, size):
    """Yields uint8 frames [size, size, 3] at rising scales around `center` (y, x in [0, 1])."""
    for scale in scales:
        corner = []
        for length, middle in zip(prepared.image.shape[:2], center, strict=True):
            whole = round(length * scale)
            corner.append(int(np.clip(middle * whole - size / 2, 0, whole - size)))
        yield prepared.render_view(*corner, size, size, float(scale))


def save_film(path, pictures, rate):
    """Writes frames as H.264."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        for picture in pictures:
            if not stream.width:
                stream.height, stream.width = picture.shape[:2]
                stream.pix_fmt = "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture)))
        container.mux(stream.encode())


def main() -> None:
    """Renders the frames and saves them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("picture", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--center", type=float, nargs=2, default=(0.5, 0.5), metavar=("Y", "X"))
    parser.add_argument("--to", type=float, default=8.0, help="largest scale")
    parser.add_argument("--size", type=int, default=256, help="side of a frame in pixels")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--weights", default=gsr.DEFAULT_WEIGHTS)
    args = parser.parse_args()

    image = images.read_rgb(args.picture)
    size = min(args.size, *image.shape[:2]) // 2 * 2
    # Equal ratios from frame to frame look like a steady zoom.
    scales = np.geomspace(1.0, args.to, args.frames)
    prepared = gsr.load(args.weights).prepare(image)
    pictures = list(frames(prepared, args.center, scales, size))
    if args.output.suffix == ".mp4":
        save_film(args.output, pictures, rate=24)
    else:
        first, *rest = [Image.fromarray(picture) for picture in pictures]
        first.save(args.output, save_all=True, append_images=rest, duration=42, loop=0)
    print(f"{args.output}: {len(pictures)} frames of {size}x{size}")


if __name__ == "__main__":
    main()
