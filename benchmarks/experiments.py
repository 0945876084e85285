"""The variants of configs/variants.py at equal training: encoder, data, steps and seed.

    python benchmarks/experiments.py --workdir DIR --source folder:DIR [--steps N] [--only NAME …]

Trains each variant from scratch and prints the PSNR-Y of held-out images of the same source at all
scales, as a Markdown table, with the parameters and the time of a step. What DIR already holds is
not trained again. docs/experiments.md says what was expected of each variant and what came out.
"""

import argparse
import json
from pathlib import Path

import jax
from ml_collections import ConfigDict

from gaussiansr_jax import loading
from gaussiansr_jax.configs import variants
from gaussiansr_jax.errors import run_cli
from gaussiansr_jax.training.config import sample_settings
from gaussiansr_jax.training.loop import WEIGHTS, load_data, train

SCALES = variants.get_config().val_scales


def settings(name: str, source: str, steps: int) -> ConfigDict:
    """The config of one variant; the last validation is the only one."""
    config = variants.get_config(name)
    config.source, config.steps = source, steps
    config.warmup_steps = min(config.warmup_steps, steps // 10)
    config.val_every = config.checkpoint_every = steps
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
    parser.add_argument("--steps", type=int, default=6_000)
    parser.add_argument(
        "--only",
        nargs="+",
        metavar="NAME",
        default=list(variants.VARIANTS),
        choices=list(variants.VARIANTS),
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
