"""Weak and strong scaling of the training step over the devices of one host.

    python benchmarks/scaling.py [--head NAME] [--steps N] [--scaling weak strong]
        [--devices 1 2 4 8] [--json FILE]

Measures on 1, 2, 4, … of the devices: the step at batch 16 per device (weak) and at a global batch
of 64 (strong), everything included (sampling, forward, backward, all-reduce, Adam, EMA). Compute is
the step of one device at the same batch per device; communication is what the step takes longer;
`all-reduce` is that of a vector of the gradient's size alone. First it checks that the gradient
of the same global batch on all devices equals that on one.

On CPUs, for the correctness alone: XLA_FLAGS=--xla_force_host_platform_device_count=8
python benchmarks/scaling.py --tiny
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from gaussiansr_jax import models
from gaussiansr_jax.data.pool import Pool, build_pool
from gaussiansr_jax.data.sources import find_images
from gaussiansr_jax.models.registry import HEADS
from gaussiansr_jax.training import initialization
from gaussiansr_jax.training import state as states
from gaussiansr_jax.training.config import default_config, sample_settings
from gaussiansr_jax.training.feeding import Resident
from gaussiansr_jax.training.optimizer import build_optimizer
from gaussiansr_jax.training.step import Dispatcher, Step, make_gradient, make_step

WEAK_BATCH, STRONG_BATCH = 16, 64
TINY_BATCHES = 2, 16
REPEATS = 5


def base_config(head: str, tiny: bool) -> ConfigDict:
    """The config of a training run with a head; a small model and small patches for `tiny`."""
    config = default_config()
    config.model.head = ConfigDict({"name": head})
    if tiny:
        config.model.encoder = ConfigDict({"name": "edsr-baseline", "channels": 8, "blocks": 1})
        if head == "direct":
            config.model.head.update({"trunk_channels": 8, "trunk_blocks": 1})
        config.lr_size = config.query_size = 8
    return config


class Setting:
    """A model, its state on the host and a pool of photographs."""

    def __init__(self, config: ConfigDict):
        self.config = config
        self.model = models.build(config.model.to_dict())
        self.optimizer = build_optimizer(config)
        params = initialization.init_params(self.model, config.seed, config.lr_size)
        self.state, self.layout = states.create(params, self.optimizer)
        crop = sample_settings(config).crop_size
        self.pool: Pool = build_pool(find_images(config.source), config.tile_size, crop)

    def with_batch(self, batch_size: int) -> ConfigDict:
        """The config at another global batch size."""
        config = self.config.copy_and_resolve_references()
        config.batch_size = batch_size
        return config

    def resident(self, config: ConfigDict, devices: list[jax.Device]) -> Resident:
        """The pool on the devices."""
        return Resident(self.pool, sample_settings(config), devices)

    def step(self, config: ConfigDict, devices: int) -> Step:
        """A training step inside a mapped axis of `devices`."""
        settings = sample_settings(config)
        return make_step(self.model, self.layout, self.optimizer, settings, config, devices)

    def step_ms(self, devices: list[jax.Device], batch_size: int, steps: int) -> float:
        """Median time of a training step, of `REPEATS` dispatches after one to compile."""
        config = self.with_batch(batch_size)
        dispatcher = Dispatcher(self.step(config, len(devices)), devices)
        state = states.replicate(self.state, devices)
        resident = self.resident(config, devices)
        times = []
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            windows = resident.take(int(states.local(state.step)), steps)
            state, _ = jax.block_until_ready(dispatcher(state, windows, steps))
            times.append((time.perf_counter() - start) / steps * 1e3)
        return statistics.median(times[1:])

    def gradient(self, devices: list[jax.Device], batch_size: int) -> np.ndarray:
        """The gradient of the mean loss of the first step's global batch."""
        config = self.with_batch(batch_size)
        settings = sample_settings(config)
        gradient = make_gradient(self.model, self.layout, settings, config, len(devices))
        mapped = jax.pmap(
            lambda state, windows: gradient(state, windows)[0],
            states.AXIS,
            in_axes=(None, 0),
            out_axes=None,
            devices=devices,
        )
        windows = self.resident(config, devices).take(0, 1)
        return np.asarray(states.local(mapped(states.replicate(self.state, devices), windows)))


def all_reduce_ms(devices: list[jax.Device], size: int, steps: int) -> float:
    """Time of the mean over the devices of one float32 vector."""

    def many(vector: jax.Array) -> jax.Array:
        def once(vector: jax.Array, _: None) -> tuple[jax.Array, None]:
            return jax.lax.pmean(vector * 0.5, states.AXIS), None

        return jax.lax.scan(once, vector, None, length=steps)[0]

    mapped = _mapped(many, devices)
    vector = states.replicate(jnp.ones(size), devices)
    jax.block_until_ready(mapped(vector))
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        jax.block_until_ready(mapped(vector))
        times.append((time.perf_counter() - start) / steps * 1e3)
    return statistics.median(times)


def _mapped(function: Callable, devices: list[jax.Device]) -> Callable:
    """`function` of replicated arguments on each device, under the axis of training."""
    lanes = jnp.arange(len(devices))

    def with_lane(lane: jax.Array, *args: jax.Array) -> jax.Array:
        del lane
        return function(*args)

    def call(*args: jax.Array) -> jax.Array:
        in_axes = (0, *[None] * len(args))
        pmapped = cache.setdefault(
            len(args),
            jax.pmap(with_lane, states.AXIS, in_axes=in_axes, out_axes=None, devices=devices),
        )
        return pmapped(lanes, *args)

    cache: dict[int, Callable] = {}
    return call


def relative_error(a: np.ndarray, b: np.ndarray) -> float:
    """‖a - b‖ / ‖b‖."""
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


def powers_of_two(most: int) -> list[int]:
    """1, 2, 4, … up to `most`."""
    return [2**i for i in range(most.bit_length())]


def main(argv: list[str] | None = None) -> None:
    """Prints the check and the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--head", default="gaussiansr", choices=list(HEADS))
    parser.add_argument("--steps", type=int, default=300, help="steps of one dispatch")
    parser.add_argument(
        "--scaling", nargs="+", default=["weak", "strong"], choices=["weak", "strong"]
    )
    parser.add_argument("--devices", nargs="+", type=int, help="default: 1, 2, 4, … up to all")
    parser.add_argument("--json", help="write the figures to this file")
    parser.add_argument("--tiny", action="store_true", help="a small model, for CPUs")
    args = parser.parse_args(argv)

    config = base_config(args.head, args.tiny)
    devices = jax.local_devices()
    counts = args.devices or powers_of_two(len(devices))
    weak_batch, strong_batch = TINY_BATCHES if args.tiny else (WEAK_BATCH, STRONG_BATCH)
    kind = devices[0].device_kind
    print(f"{len(devices)} x {kind}, jax {jax.__version__}, head {args.head}")

    # Equality is that of the mathematics, so it is checked in float32 without TF32.
    exact = config.copy_and_resolve_references()
    exact.model.dtype = "float32"
    with jax.default_matmul_precision("highest"):
        setting = Setting(exact)
        one = setting.gradient(devices[:1], WEAK_BATCH)
        error = relative_error(setting.gradient(devices[: counts[-1]], WEAK_BATCH), one)
    print(f"gradient on {counts[-1]} devices against 1, relative error in float32: {error:.1e}")
    if not error < 1e-4:
        raise SystemExit("error: the gradients differ")

    setting = Setting(config)
    rows = []
    steps = 1 if args.tiny else args.steps
    for kind_of_scaling in args.scaling:
        alone = {}
        for count in counts:
            total = weak_batch * count if kind_of_scaling == "weak" else strong_batch
            share = total // count
            if share not in alone:
                alone[share] = setting.step_ms(devices[:1], share, steps)
            step = alone[share] if count == 1 else setting.step_ms(devices[:count], total, steps)
            if count == 1:
                first = step
            ideal = first if kind_of_scaling == "weak" else first / count
            reduce = all_reduce_ms(devices[:count], setting.layout.size, steps)
            rows.append(
                {
                    "scaling": kind_of_scaling,
                    "devices": count,
                    "batch": total,
                    "step_ms": step,
                    "compute_ms": alone[share],
                    "communication_ms": step - alone[share],
                    "all_reduce_ms": reduce,
                    "efficiency": ideal / step,
                }
            )
            print_row(rows[-1], header=len(rows) == 1)
    if args.json:
        with open(args.json, "w") as file:
            json.dump({"device": kind, "jax": jax.__version__, "head": args.head,
                       "gradient_error": error, "rows": rows}, file, indent=1)  # fmt: skip


def print_row(row: dict, header: bool) -> None:
    """One line of the table, as Markdown."""
    if header:
        print("| scaling | devices | batch | step ms | compute | communication | all-reduce alone "
              "| efficiency |\n|---|---|---|---|---|---|---|---|")  # fmt: skip
    times = " | ".join(f"{row[name]:.3f}" for name in ("step_ms", "compute_ms", "communication_ms"))
    print(
        f"| {row['scaling']} | {row['devices']} | {row['batch']} | {times} | "
        f"{row['all_reduce_ms']:.3f} | {row['efficiency']:.1%} |",
        flush=True,
    )


if __name__ == "__main__":
    main()
