"""Heads and variants of the direct head at equal training: encoder, data, steps and seed.

    python benchmarks/experiments.py --workdir DIR --source folder:DIR [--steps N] [--only NAME …]

Trains each variant from scratch with the settings of configs/liif_edsr_baseline.py and prints the
PSNR-Y of held-out images of the same source at all scales, as a Markdown table, with the
parameters and the time of a step. What DIR already holds is not trained again. docs/experiments.md
says what was expected of each variant and what came out.
"""

import argparse
import json
from pathlib import Path

import jax
from ml_collections import ConfigDict

from gaussiansr_jax import loading
from gaussiansr_jax.configs import liif_edsr_baseline
from gaussiansr_jax.errors import run_cli
from gaussiansr_jax.training.config import sample_settings
from gaussiansr_jax.training.loop import WEIGHTS, load_data, train

SCALES = (2, 3, 4, 6, 8, 12, 30)
# The settings of each head. Variants of the direct head start from one with a small trunk.
SMALL = {"name": "direct", "trunk_blocks": 4}
VARIANTS = {
    "gaussiansr": {"name": "gaussiansr"},
    "gaussiansr, patches of 12": {"name": "gaussiansr"},
    "gaussiansr, patches of 4": {"name": "gaussiansr"},
    "liif": {"name": "liif"},
    "direct": {"name": "direct"},
    "direct, 4 blocks": SMALL,
    "one patch": SMALL,
    "reduced photographs": SMALL,
    "bank": {**SMALL, "bank": 100},
    "grid 2": {**SMALL, "grid": 2},
    "grid 3": {**SMALL, "grid": 3},
    "window 5": {**SMALL, "window": 5},
    "trunk 1": {**SMALL, "trunk_blocks": 1},
    "no opacity": {**SMALL, "opacity": False},
    "offset 1": {**SMALL, "max_offset": 1.0},
    "scales 1-5": SMALL,
}
# Settings of the training.
OTHER_SETTINGS = {
    "gaussiansr": {"query_patch": None},
    "gaussiansr, patches of 12": {"query_patch": 12},
    "gaussiansr, patches of 4": {"query_patch": 4},
    "one patch": {"query_patch": None},
    "reduced photographs": {"reductions": (1.0, 1.5, 2.0)},
    "scales 1-5": {"scale_range": (1.0, 5.0)},
}


def settings(name: str, source: str, steps: int) -> ConfigDict:
    """The config of one variant; the last validation is the only one."""
    config = liif_edsr_baseline.get_config()
    config.model.head = ConfigDict(VARIANTS[name])
    # From scratch, on photographs as they are.
    config.update(init_from="", encoder_rate=1.0, reductions=(1.0,), recolored=0.0, batch_size=16)
    config.source, config.steps = source, steps
    config.warmup_steps = min(config.warmup_steps, steps // 10)
    config.val_scales, config.val_crop, config.val_images = SCALES, 240, 32
    config.val_every = config.checkpoint_every = steps
    config.update(OTHER_SETTINGS.get(name, {}))
    return config


def row(name: str, workdir: Path, batch_size: int) -> str:
    """A finished run's line of the table."""
    metrics = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    scores = next(m for m in reversed(metrics) if "val_psnr_mean" in m)
    rates = sorted(m["samples_per_s"] for m in metrics if "samples_per_s" in m)
    shown = " | ".join(f"{scores[f'val_psnr_x{s}']:.3f}" for s in SCALES)
    params, _, _ = loading.resolve(workdir / WEIGHTS)
    count = sum(leaf.size for leaf in jax.tree.leaves(params))
    return f"| {name} | {shown} | {count:,} | {1e3 * batch_size / rates[len(rates) // 2]:.2f} |"


def main() -> None:
    """Trains what is missing and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--workdir", required=True)
    parser.add_argument("--source", required=True, help="as of train.py")
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument(
        "--only", nargs="+", metavar="NAME", default=list(VARIANTS), choices=list(VARIANTS)
    )
    args = parser.parse_args()
    pools = {}
    print("| variant | " + " | ".join(f"×{s}" for s in SCALES) + " | parameters | ms a step |")
    print("|---" * (len(SCALES) + 3) + "|")
    for name in args.only:
        config, workdir = settings(name, args.source, args.steps), Path(args.workdir) / name
        if not (workdir / WEIGHTS).exists():
            if config.reductions not in pools:
                # Tiles that are large enough for the largest scale of all variants.
                largest = settings("scales 1-5", args.source, args.steps)
                largest.reductions = config.reductions
                pools[config.reductions] = load_data(largest, sample_settings(largest).crop_size)
            train(config, workdir, pools[config.reductions])
        print(row(name, workdir, config.batch_size), flush=True)


if __name__ == "__main__":
    run_cli(main)
