"""Training with the pool on the device against pools that stream from the host and from the disk.

    python benchmarks/streaming.py [--head NAME …] [--tiles N] [--steps N] [--json FILE]

Random tiles are made on the spot. A training step is measured as the training loop runs it, the
waiting for windows and the copying of metrics included: all places in turn, several times, in one
process and with one compiled program. `loading` is how long the host takes to make the windows of
a step ready; where it is below the step's time, it is hidden behind it.

On CPUs, to see it work: python benchmarks/streaming.py --tiny
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import jax
import numpy as np
from ml_collections import ConfigDict

from gaussiansr_jax import models
from gaussiansr_jax.data.pool import Pool
from gaussiansr_jax.models.registry import HEADS
from gaussiansr_jax.training import initialization
from gaussiansr_jax.training import state as states
from gaussiansr_jax.training.config import default_config, sample_settings
from gaussiansr_jax.training.feeding import Resident, feed
from gaussiansr_jax.training.optimizer import build_optimizer
from gaussiansr_jax.training.step import Dispatcher, make_step
from gaussiansr_jax.training.streaming import Streaming

PLACES = ("device", "host", "disk")
ROUNDS = 3


def base_config(head: str, tiny: bool) -> ConfigDict:
    """The data settings of the head's config in `configs/`, and few of them for `tiny`."""
    config = default_config()
    config.model.head = ConfigDict({"name": head})
    if head == "direct":
        config.update(query_patch=1, lr_size=64, query_size=64, tile_size=384, batch_size=18)
        config.recolored = 0.5
    if tiny:
        config.model.encoder = ConfigDict({"name": "edsr-baseline", "channels": 8, "blocks": 1})
        config.update(lr_size=8, query_size=8, tile_size=64, batch_size=len(jax.local_devices()))
        if head == "direct":
            config.model.head.update({"grid": 1, "trunk_channels": 4, "trunk_blocks": 1})
    config.steps = 10**9
    return config


def random_pool(config: ConfigDict, tiles: int, file: Path | None = None) -> Pool:
    """Noise: how fast tiles are read does not depend on what they show."""
    shape = (tiles, config.tile_size, config.tile_size, 3)
    if file is None:
        array = np.empty(shape, np.uint8)
    else:
        array = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    block = np.random.default_rng(0).integers(0, 256, shape[1:], np.uint8)
    for index in range(tiles):
        np.bitwise_xor(block, np.uint8(index % 256), out=array[index])
    sizes = np.full((tiles, 2), config.tile_size, np.int32)
    return Pool(array, sizes, 0, tiles)


class Trainer:
    """One compiled training program, fed from any place."""

    def __init__(self, config: ConfigDict):
        model, optimizer = models.build(config.model.to_dict()), build_optimizer(config)
        params = initialization.init_params(model, config.seed, config.lr_size)
        state, layout = states.create(params, optimizer)
        self._devices = jax.local_devices()
        settings = sample_settings(config)
        step = make_step(model, layout, optimizer, settings, config, len(self._devices))
        self._dispatcher = Dispatcher(step, self._devices)
        self._state, self._done = states.replicate(state, self._devices), 0

    def seconds(self, source: Resident | Streaming, length: int, dispatches: int) -> float:
        """Time of a step; one dispatch more goes before, until which nothing is prefetched."""
        for index in range(dispatches + 1):
            if index == 1:
                start = time.perf_counter()
            windows = source.take(self._done, length)
            self._state, metrics = self._dispatcher(self._state, windows, length)
            jax.device_get(states.local(metrics))
            self._done += length
        return (time.perf_counter() - start) / (dispatches * length)


def loading_seconds(source: Resident | Streaming, length: int) -> float:
    """Time in which the windows of a step are made ready, while the device has nothing to do."""
    if isinstance(source, Resident):
        return 0.0
    times = []
    for index in range(3):
        start = time.perf_counter()
        source.load(10**8 + index * length, length)
        times.append((time.perf_counter() - start) / length)
    return statistics.median(times)


def measure(head: str, tiles: int, dispatches: int, steps: int, tiny: bool) -> list[dict]:
    """A row for each place."""
    config = base_config(head, tiny)
    trainer, devices = Trainer(config), jax.local_devices()
    with tempfile.TemporaryDirectory() as folder:
        pools = {"host": random_pool(config, tiles)}
        pools["device"] = pools["host"]
        pools["disk"] = random_pool(config, tiles, Path(folder, "tiles.npy"))
        sources, loading = {}, {}
        for place in PLACES:
            sources[place], length = feed(
                place, pools[place], sample_settings(config), devices, steps, config.steps
            )
            loading[place] = loading_seconds(sources[place], length)
        times = {place: [] for place in PLACES}
        for _ in range(ROUNDS):
            for place in PLACES:
                times[place].append(trainer.seconds(sources[place], length, dispatches))
        rows = []
        for place in PLACES:
            median, resident = statistics.median(times[place]), statistics.median(times["device"])
            rows.append(
                {
                    "head": head,
                    "pool": place,
                    "gigabytes": pools[place].tiles.nbytes / 1e9,
                    "batch": config.batch_size,
                    "steps": length,
                    "step_ms": median * 1e3,
                    "loading_ms": loading[place] * 1e3,
                    "speed": resident / median,
                }
            )
            sources[place].close()
    return rows


def main(argv: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--head", nargs="+", default=["gaussiansr"], choices=list(HEADS))
    parser.add_argument("--tiles", type=int, default=1_500)
    parser.add_argument("--steps", type=int, default=500, help="the most steps of a dispatch")
    parser.add_argument("--dispatches", type=int, default=4, help="of one measurement")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--tiny", action="store_true", help="a small model, for CPUs")
    args = parser.parse_args(argv)
    if args.tiny:
        args.tiles, args.steps, args.dispatches = 20, 1, 2
    devices = jax.local_devices()
    print(f"{len(devices)} x {devices[0].device_kind}, jax {jax.__version__}")
    print(
        "| head | batch | pool | steps a dispatch | step ms | loading ms | speed |\n"
        + "|---" * 7
        + "|"
    )
    rows = []
    for head in args.head:
        rows += measure(head, args.tiles, args.dispatches, args.steps, args.tiny)
        for row in rows[-len(PLACES) :]:
            print(
                f"| {row['head']} | {row['batch']} | {row['pool']}, {row['gigabytes']:.1f} GB | "
                f"{row['steps']} | {row['step_ms']:.3f} | {row['loading_ms']:.3f} | "
                f"{row['speed']:.1%} |",
                flush=True,
            )
    if args.json:
        Path(args.json).write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
