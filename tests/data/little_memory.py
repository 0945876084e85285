"""A process whose own memory may grow by 450 MB builds a pool of 604 MB and reads windows of it.

    python little_memory.py FOLDER PLACE

FOLDER gets the images and the file of tiles. PLACE is "host" or "disk".
"""

import resource
import sys
from pathlib import Path

import jax
import numpy as np
from PIL import Image

from gaussiansr_jax.data.pool import build_pool
from gaussiansr_jax.data.settings import SampleSettings
from gaussiansr_jax.data.sources import find_images
from gaussiansr_jax.data.store import Store
from gaussiansr_jax.errors import run_cli
from gaussiansr_jax.training.streaming import Streaming

GROWTH = 450 * 2**20


def memory(name):
    """A line of /proc/self/status, in bytes."""
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def images(folder):
    """The same one 768 times, of four tiles."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
    small.resize((512, 512), Image.Resampling.NEAREST).save(folder / "000.png")
    for index in range(1, 768):
        (folder / f"{index:03}.png").unlink(missing_ok=True)
        (folder / f"{index:03}.png").symlink_to(folder / "000.png")


def main():
    folder = Path(sys.argv[1])
    images(folder / "images")
    jax.block_until_ready(jax.jit(lambda x: x + 1)(np.zeros(3)))  # its own threads and code
    before = memory("VmData")
    # Private memory, that is: pages of a mapped file can always be given back.
    resource.setrlimit(resource.RLIMIT_DATA, (before + GROWTH,) * 2)
    store = Store(sys.argv[2] == "disk", str(folder / "cache"))
    pool = build_pool(find_images(f"folder:{folder / 'images'}"), 256, 32, store=store)
    settings = SampleSettings(8, 8, 8, (1.0, 4.0), 0.0, 64)
    stream = Streaming(pool, settings, jax.local_devices(), 10, 40)
    seen = np.concatenate([np.asarray(stream.take(step, 10).pixels) for step in range(0, 40, 10)])
    stream.close()
    grown = (memory("VmData") - before) / 2**20
    print(f"{pool.tiles.nbytes / 1e6:.0f} MB of tiles, {seen.std():.0f}, grown by {grown:.0f} MB")


if __name__ == "__main__":
    run_cli(main)
