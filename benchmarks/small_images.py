"""How long a folder of many small pictures takes, from the command's start to its end.

python benchmarks/small_images.py            60 pictures of 30 to 300 pixels at x2, twice

The first run begins with an empty cache of compiled programs, the second with the one that the
first has filled. The time is that of the clock and, where others use the machine, that of the
processors.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image
from skimage import data


def make(folder: Path, count: int, smallest: int, largest: int) -> int:
    """Cuts pictures of random sizes from a photograph; returns their pixels."""
    rng, photo, pixels = np.random.default_rng(0), data.astronaut(), 0
    for index in range(count):
        height, width = rng.integers(smallest, largest + 1, 2)
        top, left = rng.integers(0, 512 - height + 1), rng.integers(0, 512 - width + 1)
        part = photo[top : top + height, left : left + width]
        Image.fromarray(part).save(folder / f"{index:03}.png")
        pixels += int(height * width)
    return pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--sizes", type=int, nargs=2, default=(30, 300))
    parser.add_argument("--scale", default="2")
    parser.add_argument("--weights", default="gaussiansr-direct-edsr-baseline")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source, cache = Path(folder, "in"), Path(folder, "cache")
        source.mkdir()
        pixels = make(source, args.count, *args.sizes)
        print(f"{args.count} pictures, {pixels / 1e6:.2f} megapixels, {os.cpu_count()} processors")
        for state in ("empty", "filled"):
            command = [sys.executable, "-m", "gaussiansr_jax", "upscale", str(source)]
            command += ["--output", str(Path(folder, state)), "--scale", args.scale]
            before, start = _processors(), time.perf_counter()
            environment = {**os.environ, "GAUSSIANSR_JAX_CACHE": str(cache)}
            environment.pop("JAX_COMPILATION_CACHE_DIR", None)
            subprocess.run([*command, "--weights", args.weights], check=True, env=environment)
            seconds, busy = time.perf_counter() - start, _processors() - before
            programs = [file for file in cache.iterdir() if not file.name.endswith("-atime")]
            size = sum(file.stat().st_size for file in programs) / 1e3
            print(
                f"cache {state}: {seconds:.0f} s, {busy:.0f} s of processors; "
                f"{len(programs)} programs of {size:.0f} kB in all"
            )


def _processors() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    main()
