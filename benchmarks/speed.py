"""Every speed that this project promises, in one table, beside the official code and the floor.

    python benchmarks/speed.py [--official CHECKOUT] [--only GROUP …] [--json FILE] [--tiny]

Each measurement is a separate process: peaks of memory cannot be reset, and one that fails does
not take the others along. Those of the CPU run on two cores beside the others if there are eight.
The times of the official code are those of `official.py`. What the columns mean:

- ours: the median of several calls after the first, which compiles.
- floor: of whole models, the arithmetic of the convolutions and matrix products as they are
  written, at the rate of a large matrix product of the same type; of the splat stream, the larger
  of its bytes (each parameter and output once) at the rate of a large copy, and its arithmetic at
  the chip's float32 peak.
- peak memory: of the device since the process started, compilation's own trials included.

`JAX_COMPILATION_CACHE_DIR=DIR` makes a second run quicker. `--json` is written after each process.
On CPUs, for correctness alone: JAX_PLATFORMS=cpu python benchmarks/speed.py --tiny
"""

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from figures import duration, median_time, table
from PIL import Image
from processes import CPU_CORES, JOB_SECONDS, Job, run
from scaling import Setting, base_config
from splat_stream import STREAMS, Grid, splat_row

from gaussiansr_jax import loading
from gaussiansr_jax.data.sources import find_images
from gaussiansr_jax.images import read_rgb
from gaussiansr_jax.training.state import AXIS
from gaussiansr_jax.upscaling.upscaler import Upscaler

WEIGHTS = {
    "gaussiansr": "gaussiansr-edsr-baseline",
    "direct": "gaussiansr-direct-edsr-baseline",
}


class Sizes(NamedTuple):
    """What is measured.

    Attributes:
      steps: batch size -> steps of one dispatch.
      photo: height and width of the photograph.
      cpu_photo: those of the one for the CPU.
      scales: later scales of the photograph -> how often each is rendered.
      repeats: calls of which the median is taken.
      patch: side of a training patch and of its queries.
      batch: samples of a training step, for the splat stream.
      chain: evaluations of the splat stream at the training size in one call.
      matrix: side of the matrices whose product is timed.
      copied: numbers that are copied to time it.
    """

    steps: dict[int, int]
    photo: tuple[int, int]
    cpu_photo: tuple[int, int]
    scales: dict[int, int]
    repeats: int
    patch: int
    batch: int
    chain: int
    matrix: int
    copied: int


FULL = Sizes(
    steps={16: 100, 64: 30},
    photo=(339, 510),
    cpu_photo=(128, 128),
    scales={2: 5, 4: 5, 8: 3, 16: 3, 30: 3},
    repeats=20,
    patch=48,
    batch=16,
    chain=50,
    matrix=8192,
    copied=2**28,
)
TINY = Sizes(
    steps={2: 1},
    photo=(24, 36),
    cpu_photo=(16, 16),
    scales={2: 1, 4: 1},
    repeats=2,
    patch=8,
    batch=2,
    chain=2,
    matrix=256,
    copied=2**18,
)
SCALE, TRAINING_SCALE = 4, 2.5


class Options(NamedTuple):
    """What all measurements share."""

    sizes: Sizes
    source: str
    tiny: bool


def row(work: str, seconds: float, **more: Any) -> dict:
    """A line of the table, with the device's peak of memory so far.

    Args:
      work: what was done.
      seconds: how long it took.
      **more: `official`, the key of the official code's figure, and `note`.
    """
    return {"work": work, "seconds": seconds, "memory": peak_memory(), **more}


def peak_memory() -> int | None:
    """The most bytes that the device has held so far, where it tells."""
    stats = jax.local_devices()[0].memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None


def photograph(source: str, size: tuple[int, int]) -> np.ndarray:
    """The first image of a source at a size, uint8."""
    image = Image.fromarray(read_rgb(find_images(source)[0].open()))
    return np.asarray(image.resize(size[::-1], Image.Resampling.LANCZOS))


def flops(function: Callable, *args: Any) -> float:
    """Arithmetic of a program's convolutions and matrix products; JAX cannot tell it on GPUs."""
    return _flops_in(jax.make_jaxpr(function)(*args).jaxpr)


def _flops_in(jaxpr: Any) -> float:
    total = 0
    for equation in jaxpr.eqns:
        name, params = equation.primitive.name, equation.params
        if name == "dot_general":
            contracted = params["dimension_numbers"][0][0]
            depth = math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
            total += 2 * equation.outvars[0].aval.size * depth
        elif name == "conv_general_dilated":
            kernel = equation.invars[1].aval
            features = kernel.shape[params["dimension_numbers"].rhs_spec[0]]
            total += 2 * equation.outvars[0].aval.size * kernel.size / features
        elif name != "pallas_call":
            parts = [getattr(x, "jaxpr", x) for x in jax.tree.leaves(list(params.values()))]
            counts = [_flops_in(part) for part in parts if hasattr(part, "eqns")]
            # Of the branches for several platforms, the least.
            inside = min(counts, default=0) if name == "cond" else sum(counts)
            total += inside * params.get("length", 1)
    return total


def matmul_rate(options: Options, dtype: str) -> float:
    """FLOP/s of a large matrix product at JAX's default precision."""
    side = options.sizes.matrix
    a, b = jax.random.normal(jax.random.key(0), (2, side, side), dtype)
    return 2 * side**3 / median_time(lambda: jnp.matmul(a, b), 5)


def copy_rate(options: Options) -> float:
    """Bytes per second, read and written, of a large copy."""
    source = jax.random.normal(jax.random.key(0), options.sizes.copied)
    copy = jax.jit(lambda x: x + 1)
    return 2 * source.nbytes / median_time(lambda: copy(source), 5)


def training(options: Options, head: str) -> list[dict]:
    """A whole training step: sampling, resizing, forward, backward, Adam, moving average."""
    config = base_config(head, options.tiny)
    config.source = options.source
    setting, devices = Setting(config), jax.local_devices()[:1]
    # LIIF is there for comparison alone.
    batches = list(options.sizes.steps)[: None if head in WEIGHTS else 1]
    rows = []
    for batch in batches:
        seconds = setting.step_ms(devices, batch, options.sizes.steps[batch]) / 1e3
        official = "training" if batch == batches[0] else None
        rows.append(row(f"training step, batch {batch}, head {head}", seconds, official=official))
    per_sample = _step_flops(setting, batches[0]) / batches[0]
    rate = matmul_rate(options, config.model.dtype)
    for batch, item in zip(batches, rows, strict=True):
        item["floor"] = batch * per_sample / rate
    return rows


def _step_flops(setting: Setting, batch: int) -> float:
    config = setting.with_batch(batch)
    windows = setting.resident(config, jax.local_devices()[:1]).take(0, 1)
    return flops(
        jax.vmap(setting.step(config, 1), (None, 0), axis_name=AXIS), setting.state, windows
    )


def upscale(options: Options, head: str, dtype: str) -> list[dict]:
    """The photograph ×4: from array to array on the host, and on the device alone."""
    height, width = options.sizes.photo
    image = photograph(options.source, (height, width))
    upscaler = loading.load(WEIGHTS[head], dtype=dtype)
    repeats = options.sizes.repeats
    host = median_time(lambda: upscaler.upscale(image, SCALE), repeats)
    work = f"{height}x{width} ×{SCALE}, {head}, {dtype}"
    rows = [row(f"{work}: uint8 to uint8 on the host", host, official="host")]
    recording = Recording(upscaler, image)
    device = median_time(recording.replay, repeats)
    rows.append(row(f"{work}: features to image on the device", device, official="device"))
    fields = recording.encode()
    again = median_time(lambda: recording.render(fields), repeats)
    rows.append(row(f"{work}: the same, encoded before", again))
    # Last, because the product takes memory, too.
    rows[1]["floor"] = recording.flops() / matmul_rate(options, dtype)
    return rows


class Recording:
    """What an upscaler has its device do for an image, with all inputs on the device."""

    def __init__(self, upscaler: Upscaler, image: np.ndarray):
        """Upscales the image once."""
        self._engine = upscaler.engine
        # Arguments of each call; a field among them stands as the call that made it.
        self._calls = {"encode": [], "part": [], "at_scale": [], "render": []}
        self._made: dict[int, tuple[str, int]] = {}
        self._lock = threading.Lock()
        alive: list[Any] = []  # so that no two results have one identity
        for name in self._calls:
            setattr(upscaler.engine, name, partial(self._record, name, alive))
        try:
            upscaler.upscale(image, SCALE)
        finally:
            for name in self._calls:
                delattr(upscaler.engine, name)

    def replay(self) -> list[jax.Array]:
        """Encodes and renders; the blocks of the output."""
        return self.render(self.encode())

    def encode(self) -> list[Any]:
        """What `render` takes."""
        return [self._engine.encode(*args) for args in self._calls["encode"]]

    def render(self, fields: list[Any]) -> list[jax.Array]:
        """The blocks of the output."""
        made = {("encode", index): field for index, field in enumerate(fields)}
        for name in ("part", "at_scale", "render"):
            for index, (source, *args) in enumerate(self._calls[name]):
                made[name, index] = getattr(self._engine, name)(made[source], *args)
        return [made["render", index] for index in range(len(self._calls["render"]))]

    def flops(self) -> float:
        """Arithmetic of all of it; the pieces are padded to one size, and the blocks too."""
        lr, size = self._calls["encode"][0]
        _, *grid, scales, as_uint8 = self._calls["render"][0]
        field = jax.eval_shape(self._engine.encode, lr, size)
        once = flops(self._engine.encode, lr, size) * len(self._calls["encode"])
        if self._calls["part"]:
            _, *args = self._calls["part"][0]
            zeros = jax.tree.map(lambda x: np.zeros(x.shape, x.dtype), field)
            field = self._engine.part(zeros, *args)
        scaled = jax.eval_shape(partial(self._engine.at_scale, scales=scales), field)
        render = partial(self._engine.render, scales=scales, as_uint8=as_uint8)
        blocks = sum(len(ys) for _, ys, *_ in self._calls["render"])
        return once + flops(render, scaled, *grid) / len(grid[0]) * blocks

    def _record(self, name: str, alive: list[Any], *args: Any) -> Any:
        made = getattr(type(self._engine), name)(self._engine, *args)
        call = [self._made.get(id(arg), arg) for arg in args]
        if name != "part":  # which is on the host
            call = [jax.device_put(x) if isinstance(x, np.ndarray) else x for x in call]
        with self._lock:  # on CPUs, threads render the blocks
            alive.append(made)
            self._calls[name].append(tuple(call))
            self._made[id(made)] = (name, len(self._calls[name]) - 1)
        return made


def later_scales(options: Options, head: str) -> list[dict]:
    """Scales of a photograph that has been encoded; the rising order shows growth of memory."""
    height, width = options.sizes.photo
    upscaler = loading.load(WEIGHTS[head], dtype="bfloat16")
    prepared = upscaler.prepare(photograph(options.source, (height, width)))
    prepared.render(next(iter(options.sizes.scales)))
    rows = []
    for scale, repeats in options.sizes.scales.items():
        seconds = median_time(partial(prepared.render, scale), repeats, warm=True)
        per_megapixel = seconds / (height * width * scale**2 / 1e6)
        work = f"encoded {height}x{width} rendered ×{scale}, {head}, bfloat16"
        rows.append(row(work, seconds, note=f"{duration(per_megapixel)} per output megapixel"))
    return rows


def splat_stream(options: Options, name: str) -> list[dict]:
    """`splat_grid` alone, forward and with its gradient."""
    sizes, rate = options.sizes, copy_rate(options)
    patch, (height, width) = sizes.patch, sizes.photo
    large = (height * SCALE, width * SCALE)
    samples = f"{sizes.batch} samples of {patch}x{patch}"
    picture = f"{large[0]}x{large[1]}"
    grids = (
        Grid(samples, sizes.batch, (patch,) * 2, (patch,) * 2, TRAINING_SCALE, sizes.chain, (1,)),
        Grid(picture, 1, sizes.photo, large, SCALE, 1, (1, 4, 12)),
    )
    return [
        splat_row(STREAMS[name], grid, gradient, rate)
        for grid in grids
        for gradient in (False, True)
    ]


def cold_start(options: Options, head: str) -> list[dict]:
    """The command line from its start to its end, without and with what it compiled before."""
    height, width = options.sizes.photo
    with tempfile.TemporaryDirectory() as folder:
        photo, output = Path(folder, "photo.png"), Path(folder, "large.png")
        Image.fromarray(photograph(options.source, (height, width))).save(photo)
        command = [sys.executable, "-m", "gaussiansr_jax", "upscale", photo, "--output", output]
        command += ["--scale", str(SCALE), "--weights", WEIGHTS[head], "--overwrite"]
        environment = {**os.environ, "GAUSSIANSR_JAX_CACHE": str(Path(folder, "cache"))}
        environment.pop("JAX_COMPILATION_CACHE_DIR", None)
        rows = []
        for state in ("empty", "filled"):
            start = time.perf_counter()
            subprocess.run(command, env=environment, check=True, timeout=JOB_SECONDS / 2)
            seconds = time.perf_counter() - start
            work = f"cold start to saved {height}x{width} ×{SCALE}, {head}, {state} cache"
            rows.append({"work": work, "seconds": seconds})
    return rows


def on_cpu(options: Options, head: str, dtype: str) -> list[dict]:
    """A small photograph ×4 on two cores."""
    height, width = options.sizes.cpu_photo
    image = photograph(options.source, (height, width))
    upscaler = loading.load(WEIGHTS[head], dtype=dtype)
    seconds = median_time(lambda: upscaler.upscale(image, SCALE), 3)
    work = f"{CPU_CORES} CPU cores, {height}x{width} ×{SCALE}, {head}, {dtype}"
    return [row(work, seconds, official="cpu")]


BOTH_DTYPES = [(head, dtype) for head in WEIGHTS for dtype in ("bfloat16", "float32")]
# Group -> what measures it, and the arguments of each of its processes.
GROUPS: dict[str, tuple[Callable[..., list[dict]], list[tuple[str, ...]]]] = {
    "training": (training, [("gaussiansr",), ("direct",), ("liif",)]),
    "upscale": (upscale, BOTH_DTYPES),
    "scales": (later_scales, [(head,) for head in WEIGHTS]),
    "splat": (splat_stream, [(name,) for name in STREAMS]),
    "cold": (cold_start, [(head,) for head in WEIGHTS]),
    "cpu": (on_cpu, BOTH_DTYPES),
}
OFFICIAL_GROUPS = ("training", "upscale", "cpu")


def jobs(args: argparse.Namespace) -> list[Job]:
    """All processes, in the order of the table."""
    here = Path(__file__).resolve().parent
    tiny = ["--tiny"] if args.tiny else []
    found = []
    for group in args.only or GROUPS:
        where = "cpu" if group == "cpu" else "device"
        for settings in GROUPS[group][1]:
            command = [str(here / "speed.py"), "--job", group, *settings, "--source", args.source]
            found.append(Job(" ".join([group, *settings]), (*command, *tiny), where))
        if args.official and group in OFFICIAL_GROUPS:
            for variant in ("shipped", "best"):
                command = [str(here / "official.py"), group, variant, "--path", args.official]
                found.append(Job(f"official {group} {variant}", (*command, *tiny), where))
    return found


def measure(args: argparse.Namespace) -> None:
    """One job: writes its rows."""
    group, *settings = args.job
    options = Options(TINY if args.tiny else FULL, args.source, args.tiny)
    rows = GROUPS[group][0](options, *settings)
    facts = {"jax": jax.__version__}
    if group not in ("cold", "cpu"):
        facts["device"] = jax.local_devices()[0].device_kind
    Path(args.json).write_text(json.dumps({**facts, "rows": rows}))


def main(argv: list[str] | None = None) -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--official", metavar="CHECKOUT", help="folder of the official code")
    parser.add_argument("--only", nargs="+", choices=list(GROUPS), help="these groups of rows")
    parser.add_argument("--source", default="samples", help="images, as in a training config")
    parser.add_argument("--json", help="write the figures to this file, after each job")
    parser.add_argument("--tiny", action="store_true", help="small sizes, for CPUs")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.job:
        measure(args)
        return
    pending = jobs(args)
    results: dict[Job, dict] = {}
    found: dict[str, Any] = {}

    def report(job: Job, result: dict) -> None:
        results[job] = result
        ended = [results[job] for job in pending if job in results]
        for each in ended:
            found.update(each)
        found["date"] = date.today().isoformat()
        found["rows"] = [item for each in ended for item in each["rows"]]
        found["failures"] = [each["failure"] for each in ended if "failure" in each]
        found.pop("failure", None)
        if args.json:
            Path(args.json).write_text(json.dumps(found, indent=1))

    run(pending, report)
    names = ("device", "jax", "torch", "date")
    facts = [f"{name} {found[name]}" for name in names if name in found]
    print(f"{', '.join(facts)}\n\n{table(found['rows'])}", flush=True)
    if found["failures"]:
        raise SystemExit("failed: " + "; ".join(found["failures"]))


if __name__ == "__main__":
    main()
