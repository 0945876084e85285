"""How many frames a second a film is enlarged at, and which stage is the limit.

    python benchmarks/video.py [--photo FILE] [--frames N] [--size 854x480] [--to 3840x2160]

The film is a crop that moves over a photograph. Each stage is timed alone, then the whole, as
`python -m gaussiansr_jax upscale` runs it, from the opened file to the finished one. What compiles
is not counted.
"""

import argparse
import itertools
import os
import tempfile
import time
from collections import deque
from pathlib import Path

import av
import jax
import numpy as np
from PIL import Image

from gaussiansr_jax import loading
from gaussiansr_jax.video import film as films
from gaussiansr_jax.video import reading
from gaussiansr_jax.video.frames import FrameUpscaler
from gaussiansr_jax.video.writing import Writer

RATE = 25
PRESETS = ("ultrafast", "superfast", "veryfast", "faster")


def photograph(path: str | None) -> np.ndarray:
    if path:
        return np.asarray(Image.open(path).convert("RGB"))
    from skimage import data

    return data.astronaut()


def make_clip(path: Path, photo: np.ndarray, height: int, width: int, count: int) -> None:
    """A crop that moves right by a pixel and a half each frame, and slowly down."""
    margin_y, margin_x = count // 4 + 1, 3 * count // 2 + 1
    missing = [
        max(height + margin_y - photo.shape[0], 0),
        max(width + margin_x - photo.shape[1], 0),
    ]
    while any(missing):  # mirrored, at most its own size at a time
        step = [min(n, side - 1) for n, side in zip(missing, photo.shape[:2], strict=True)]
        photo = np.pad(photo, [(0, step[0]), (0, step[1]), (0, 0)], "reflect")
        missing = [n - m for n, m in zip(missing, step, strict=True)]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"crf": "18"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        for i in range(count):
            y, x = i // 4, 3 * i // 2
            crop = np.ascontiguousarray(photo[y : y + height, x : x + width])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(crop, "rgb24")))
        container.mux(stream.encode(None))


def rate(count: int, seconds: float) -> str:
    return f"{count / seconds:7.1f} frames/s  {1000 * seconds / count:6.1f} ms/frame"


def timed_decoding(clip: Path) -> str:
    with reading.opened(clip) as film:
        start = time.perf_counter()
        count = sum(isinstance(item, reading.Frame) for item in film.read())
        return rate(count, time.perf_counter() - start)


def timed_upscaling(upscaler: FrameUpscaler, frames: list[reading.Frame], seconds: float) -> str:
    """With the copy to the host, a few frames ahead; as many frames as fit into the time."""
    waiting, count, start = deque(), 0, time.perf_counter()
    for frame in itertools.cycle(frames):
        planes = upscaler(frame.planes)
        for plane in planes:
            plane.copy_to_host_async()
        waiting.append(planes)
        if len(waiting) > 4:
            _ = [np.asarray(plane) for plane in waiting.popleft()]
            count += 1
            if time.perf_counter() - start > seconds:
                break
    return rate(count, time.perf_counter() - start)


def timed_encoding(plan, film, upscaled: list, path: Path, preset: str, seconds: float) -> str:
    encoding = plan.encoding._replace(options={**plan.encoding.options, "preset": preset})
    writer = Writer(path, film, encoding, plan.kept, path)
    tick, count = round(1 / (RATE * film.time_base)), 0
    start = time.perf_counter()
    for planes in itertools.cycle(upscaled):
        writer.write((planes, count * tick, tick))
        count += 1
        if time.perf_counter() - start > seconds:
            break
    writer.close()
    return rate(count, time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--photo")
    parser.add_argument("--frames", type=int, default=250)
    parser.add_argument("--size", default="854x480")
    parser.add_argument("--to", default="3840x2160")
    parser.add_argument("--weights", default="gaussiansr-direct-edsr-baseline")
    parser.add_argument("--seconds", type=float, default=5.0, help="for each stage")
    parser.add_argument("--presets", nargs="*", default=PRESETS)
    args = parser.parse_args()
    (width, height), (to_width, to_height) = (
        map(int, text.split("x")) for text in (args.size, args.to)
    )
    print(f"{jax.devices()[0].device_kind}, {os.cpu_count()} CPU cores; {args.weights}")
    print(f"{args.size} to {args.to}, {args.frames} frames")
    engine = loading.load(args.weights).engine
    with tempfile.TemporaryDirectory() as folder:
        clip, out = Path(folder) / "clip.mp4", Path(folder) / "out.mp4"
        make_clip(clip, photograph(args.photo), height, width, args.frames)
        print(f"{'decode':<20}{timed_decoding(clip)}", flush=True)
        with reading.opened(clip) as film:
            plan = films.plan_film(film, out, None, (to_height, to_width))
            frames = list(itertools.islice(film.read(), 48))
            layouts = film.facts.layout, plan.encoding.layout
            upscaler = FrameUpscaler(engine, (height, width), plan.size, *layouts)
            start = time.perf_counter()
            jax.block_until_ready(upscaler(frames[0].planes))
            print(f"{'compile':<20}{time.perf_counter() - start:.1f} s", flush=True)
            upscaling = timed_upscaling(upscaler, frames, args.seconds)
            print(f"{'upscale':<20}{upscaling}", flush=True)
            upscaled = [tuple(map(np.asarray, upscaler(frame.planes))) for frame in frames]
            for preset in args.presets:
                encoding = timed_encoding(plan, film, upscaled, out, preset, args.seconds)
                print(f"{'encode, ' + preset:<20}{encoding}", flush=True)
        for preset in [*args.presets, None]:
            done = 0

            def progress(frames: int, total: int | None) -> None:
                nonlocal done
                done = frames

            options = {"preset": preset} if preset else None
            start = time.perf_counter()
            films.upscale_film(
                engine,
                clip,
                out,
                size=(to_height, to_width),
                encoder_options=options,
                overwrite=True,
                progress=progress,
            )
            name = f"whole, {preset or 'as it comes'}"
            print(f"{name:<20}{rate(done, time.perf_counter() - start)}", flush=True)


if __name__ == "__main__":
    main()
