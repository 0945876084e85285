"""Heads and variants of the direct head at equal training: encoder, data, steps and seed.

    python benchmarks/experiments.py --workdir DIR --source folder:DIR [--steps N] [--only NAME …]

Trains each variant from scratch with the settings of configs/direct_edsr_baseline.py and prints
the PSNR-Y of held-out images of the same source at all scales, as a Markdown table, with the
parameters and the time of a step. What DIR already holds is not trained again. docs/experiments.md
says what was expected of each variant and what came out.
"""

import argparse
import json
from pathlib import Path

from ml_collections import ConfigDict

from configs import direct_edsr_baseline
from gaussiansr_jax.errors import run_cli
from gaussiansr_jax.training.loop import load_data, train

SCALES = (2, 3, 4, 6, 8, 12, 30)
VARIANTS = {
    "gaussiansr": {"name": "gaussiansr"},
    "liif": {"name": "liif"},
    "direct": {"name": "direct"},
    "bank": {"name": "direct", "bank": 100},
    "grid 2": {"name": "direct", "grid": 2},
    "grid 3": {"name": "direct", "grid": 3},
    "window 5": {"name": "direct", "window": 5},
    "trunk 1": {"name": "direct", "trunk_blocks": 1},
    "trunk 8": {"name": "direct", "trunk_blocks": 8},
    "opacity": {"name": "direct", "opacity": True},
    "offset 1": {"name": "direct", "max_offset": 1.0},
    "scales 1-5": {"name": "direct"},
}


def settings(name: str, source: str, steps: int) -> ConfigDict:
    """The config of one variant; the last validation is the only one."""
    config = direct_edsr_baseline.get_config()
    config.model.head = ConfigDict(VARIANTS[name])
    config.source, config.steps = source, steps
    config.val_scales, config.val_crop, config.val_images = SCALES, 240, 32
    config.val_every = config.checkpoint_every = steps
    if name == "scales 1-5":
        config.scale_range = (1.0, 5.0)
    return config


def row(workdir: Path) -> dict:
    """What a finished run's metrics say: parameters, PSNR at each scale, time of a step."""
    metrics = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    scores = next(m for m in reversed(metrics) if "val_psnr_mean" in m)
    rates = sorted(m["samples_per_s"] for m in metrics if "samples_per_s" in m)
    return {"scores": scores, "samples_per_s": rates[len(rates) // 2]}


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--source", required=True, help="as of train.py")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--only", nargs="+", default=list(VARIANTS), choices=list(VARIANTS))
    args = parser.parse_args()
    data = None
    print("| variant | " + " | ".join(f"×{s}" for s in SCALES) + " | ms a step |")
    print("|---" * (len(SCALES) + 2) + "|")
    for name in args.only:
        config, workdir = settings(name, args.source, args.steps), Path(args.workdir) / name
        if not (workdir / "model.safetensors").exists():
            # Tiles that are large enough for the largest scale of all variants.
            data = data or load_data(settings("scales 1-5", args.source, args.steps))
            train(config, workdir, data)
        result = row(workdir)
        scores = " | ".join(f"{result['scores'][f'val_psnr_x{s}']:.3f}" for s in SCALES)
        ms = 1e3 * config.batch_size / result["samples_per_s"]
        print(f"| {name} | {scores} | {ms:.2f} |", flush=True)


if __name__ == "__main__":
    run_cli(main)
