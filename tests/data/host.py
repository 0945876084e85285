"""One of several processes that read a pool together: `host.py FOLDER SKIP PORT COUNT INDEX`."""

import hashlib
import json
import sys
from dataclasses import replace

from gaussiansr_jax import distributed
from gaussiansr_jax.data.hosts import this_host
from gaussiansr_jax.data.pool import build_pool
from gaussiansr_jax.data.sources import find_images
from gaussiansr_jax.distributed import Place
from gaussiansr_jax.errors import run_cli


def main():
    folder, skip, port, count, index = sys.argv[1:]
    opened = []

    def watched(image):
        def open_image():
            opened.append(image.name.rsplit("/", 1)[1])
            return image.open()

        return replace(image, open=open_image)

    with distributed.joined(Place(int(count), int(index), f"localhost:{port}"), 60):
        images = [watched(image) for image in find_images(f"folder:{folder}")]
        pool = build_pool(images, 32, 24, hosts=this_host(), skip=skip == "skip")
        tiles = [hashlib.sha256(tile.tobytes()).hexdigest() for tile in pool.tiles]
        found = {"first": pool.first, "total": pool.total, "tiles": tiles, "opened": opened}
        print(json.dumps(found | {"sizes": pool.sizes.tolist()}), flush=True)


if __name__ == "__main__":
    run_cli(main)
