"""One process with all devices of a host against one process for each device.

    python benchmarks/hosts.py [--devices N] [--config FILE] [--steps N] [--dispatch N]
        [--json FILE]

Runs train.py both ways, on pictures that it makes, with 16 samples a device, and prints samples per
second (the median over log lines, without compilation and validation), the milliseconds of a step
and their ratio. On CPUs, for the correctness alone: python benchmarks/hosts.py --tiny
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BATCH = 16  # of a device
TINY = {
    "model.encoder.channels": 4,
    "model.head.trunk_channels": 4,
    "model.encoder.blocks": 1,
    "tile_size": 48,
    "lr_size": 8,
    "query_size": 8,
    "warmup_steps": 0,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--devices", type=int, default=2)
    parser.add_argument("--config", help="default: the paper's head, or the quickstart's if tiny")
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--dispatch", type=int, default=250, help="steps of one call")
    parser.add_argument("--tiny", action="store_true", help="a tiny model on CPU devices")
    parser.add_argument("--json", help="write the figures to this file")
    args = parser.parse_args()
    name = "quickstart" if args.tiny else "gaussiansr_edsr_baseline"
    args.config = args.config or f"configs/{name}.py"
    with tempfile.TemporaryDirectory() as folder:
        pictures = Path(folder, "pictures")
        make_pictures(pictures)
        found = {
            processes: measure(processes, Path(folder, f"run-{processes}"), pictures, args)
            for processes in (1, args.devices)
        }
    one, many = found[1]["ms"], found[args.devices]["ms"]
    print(
        "| processes | devices of each | samples/s | ms a step | last loss |\n|--:|--:|--:|--:|--:|"
    )
    for processes, row in found.items():
        each = args.devices // processes
        print(
            f"| {processes} | {each} | {row['samples_per_s']:.0f} | {row['ms']:.3f} | "
            f"{row['loss']:.6f} |"
        )
    print(f"{args.devices} processes take {many / one:.3f} times as long as one")
    if args.json:
        Path(args.json).write_text(json.dumps(found | {"ratio": many / one}, indent=1) + "\n")


def make_pictures(folder: Path, count: int = 24, size: int = 512) -> None:
    """Smooth random pictures."""
    folder.mkdir()
    for index in range(count):
        coarse = np.random.default_rng(index).integers(0, 256, (48, 48, 3), np.uint8)
        picture = Image.fromarray(coarse).resize((size, size), Image.Resampling.BICUBIC)
        picture.save(folder / f"{index:02}.png")


def measure(
    processes: int, workdir: Path, pictures: Path, args: argparse.Namespace
) -> dict[str, float]:
    """Trains with so many processes on all devices."""
    each = args.devices // processes
    settings = {
        "source": f"folder:{pictures}",
        "val_images": 0,
        "batch_size": BATCH * args.devices,
        "steps": args.steps,
        "steps_per_dispatch": args.dispatch,
        "log_every": args.dispatch,
        "checkpoint_every": args.steps,
        **(TINY if args.tiny else {}),
    }
    command = [sys.executable, str(ROOT / "train.py"), f"--config={ROOT / args.config}"]
    command += [f"--workdir={workdir}"]
    command += [f"--config.{name}={value}" for name, value in settings.items()]
    with socket.socket() as listener:
        listener.bind(("", 0))
        port = listener.getsockname()[1]
    running = []
    for number in range(processes):
        environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}"}
        if args.tiny:
            flag = f"--xla_force_host_platform_device_count={each}"
            environment |= {"JAX_PLATFORMS": "cpu", "XLA_FLAGS": flag}
        else:
            ids = range(number * each, (number + 1) * each)
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, ids))
        flags = []
        if processes > 1:
            flags = [f"--coordinator=localhost:{port}", f"--num_processes={processes}"]
            flags += [f"--process_id={number}"]
        out = sys.stderr if number == 0 else subprocess.DEVNULL
        running.append(
            subprocess.Popen([*command, *flags], env=environment, stdout=out, stderr=out, cwd=ROOT)
        )
    if any([process.wait() for process in running]):
        raise SystemExit(f"training with {processes} processes failed")
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    rates = [line["samples_per_s"] for line in lines if line.get("samples_per_s")]
    rate = statistics.median(rates[1:])
    return {
        "samples_per_s": rate,
        "ms": 1e3 * settings["batch_size"] / rate,
        "loss": lines[-1]["loss"],
    }


if __name__ == "__main__":
    main()
