"""`python -m gaussiansr_jax eval`: measures a model on folders of images.

gaussiansr eval --weights gaussiansr-edsr-baseline --data Set5 B100 --scales 2 3 4 --json FILE

Several processes share a large collection, each with the same command and a folder that all see:

gaussiansr eval --data DIV8K --scales 4 --results scores --share 0/4
"""

import argparse
import hashlib
import json
import math
import os
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from gaussiansr_jax import images, loading
from gaussiansr_jax.commands.helpers import batch
from gaussiansr_jax.commands.helpers.progress import progress
from gaussiansr_jax.commands.helpers.startup import start_jax
from gaussiansr_jax.distributed import Share, parse_share
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.evaluation import protocol, report, scores
from gaussiansr_jax.files import atomic_write
from gaussiansr_jax.upscaling.arguments import MAX_SCALE
from gaussiansr_jax.upscaling.upscaler import Upscaler
from gaussiansr_jax.weights import DEFAULT_WEIGHTS

HELP = "Measure PSNR and SSIM on folders of images, with bicubic interpolation beside the model."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--weights",
        default=DEFAULT_WEIGHTS,
        help="a shipped model, a weights file, a training run, a PyTorch checkpoint or "
        "hf:owner/name on the Hugging Face hub (default: %(default)s)",
    )
    parser.add_argument("--data", nargs="+", required=True, help="folders of ground truth images")
    parser.add_argument("--scales", nargs="+", type=float, default=[2, 3, 4, 6, 8])
    parser.add_argument(
        "--lr-dir",
        help="read LR images from here in place of making them; {data} and {scale} in it stand for "
        "the data folder's name and the scale, as in LR/{data}/X{scale}",
    )
    parser.add_argument("--json", help="write all scores to this file")
    parser.add_argument("--markdown", help="write the table to this file")
    parser.add_argument("--per-image", action="store_true", help="a line for each image, too")
    parser.add_argument(
        "--unrounded",
        action="store_true",
        help="score the model and bicubic as computed; by default both are rounded to 8 bits, as "
        "the literature does",
    )
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), help="computation type")
    parser.add_argument(
        "--self-ensemble",
        action="store_true",
        help="average over the eight reflections of each image: a little better, 8 times the work",
    )
    parser.add_argument(
        "--results",
        metavar="DIR",
        help="keep the scores of each image in this folder: a restart skips what is there",
    )
    parser.add_argument(
        "--share",
        metavar="I/N",
        help="with --results: measure one of N equal shares, counted from 0, as 0/4; 'auto' asks "
        "Slurm, Open MPI or Kubernetes. The process that ends last prints the table of all",
    )


def main(args: argparse.Namespace) -> None:
    """Evaluates, prints the table and writes the files that were asked for.

    Raises:
      UserError: wrong arguments, an unwritable file, or at the end, images that could not be
        evaluated.
    """
    for scale in args.scales:
        if not (math.isfinite(scale) and 1 <= scale <= MAX_SCALE):
            raise UserError(f"scale {scale:g} is out of range: scales go from 1 to {MAX_SCALE:g}")
    share = parse_share(args.share, os.environ)
    if args.share and not args.results:
        raise UserError("--share needs --results DIR, the folder in which the scores come together")
    folders = {_name(folder): images.find([folder]) for folder in args.data}
    if len(folders) < len(args.data):
        raise UserError("two data folders have the same name; evaluate them one after the other")
    lr_of = {
        (name, scale): _lr_finder(args, name, scale) for name in folders for scale in args.scales
    }
    start_jax()
    upscaler = loading.load(args.weights, dtype=args.dtype, self_ensemble=args.self_ensemble)

    def upscale(lr: np.ndarray, size: tuple[int, int]) -> np.ndarray:
        return upscaler.upscale(lr.astype(np.float32) / 255, size=size)

    def evaluate(name: str, file: Path, scale: float) -> dict[str, float]:
        try:
            find = lr_of[name, scale]
            lr = images.read_rgb(find(file)) if find else None
            return protocol.evaluate_image(upscale, images.read_rgb(file), scale, lr, values)
        # Whatever the error, the other files are still scored.
        except Exception as error:
            raise UserError(batch.reason(file, error)) from error

    values = protocol.EXACT if args.unrounded else protocol.ROUNDED
    store = _folder(args, share, upscaler) if args.results else scores.ScoresInMemory()
    try:
        failed = scores.evaluate_share(store, folders, args.scales, evaluate, progress)
    except BaseException:  # such as Ctrl-C
        if not args.results:
            _write(scores.merged(store, folders, args.scales)[0], args)
        raise
    results, missing = scores.merged(store, folders, args.scales)
    if missing > sum(map(len, failed.values())):
        print(f"share {share.index} of {share.count} is done; {missing} scores are still missing")
    else:
        _write(results, args)
    if failed:
        lines = [f"\n  {file} x{' x'.join(at)}: {why}" for (file, why), at in failed.items()]
        count, total = len({file for file, _ in failed}), sum(map(len, folders.values()))
        raise UserError(
            f"{count} of {total} images could not be evaluated and are left out:{''.join(lines)}"
        )


def _folder(args: argparse.Namespace, share: Share, upscaler: Upscaler) -> scores.ScoresFolder:
    """Where the scores of several processes come together."""
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(upscaler.params):
        digest.update(np.asarray(leaf).tobytes())
    names = ("dtype", "self_ensemble", "unrounded", "lr_dir")
    facts = {name: getattr(args, name) for name in names}
    return scores.ScoresFolder(
        Path(args.results), share, facts | {"weights": digest.hexdigest()[:12]}
    )


def _write(results: dict, args: argparse.Namespace) -> None:
    if not results:
        return
    table = f"{report.table(results, args.per_image)}\n\n{report.explain(args.unrounded)}\n"
    print(table, end="")
    if args.json:
        with atomic_write(args.json) as file:
            file.write_text(json.dumps(report.plain(results), indent=2, allow_nan=False) + "\n")
    if args.markdown:
        with atomic_write(args.markdown) as file:
            file.write_text(table)


def _name(folder: str) -> str:
    path = Path(folder)
    if not path.is_dir():
        raise UserError(f"no folder {folder}; --data takes folders of ground truth images")
    return path.resolve().name


def _lr_finder(args: argparse.Namespace, name: str, scale: float) -> Callable[[Path], Path] | None:
    """Where the LR image of each ground truth image lies; None if it has to be made."""
    if args.lr_dir is None:
        return None
    folder = Path(args.lr_dir.replace("{data}", name).replace("{scale}", f"{scale:g}"))
    if not folder.is_dir():
        raise UserError(f"no LR folder {folder}; give --lr-dir with {{data}} and {{scale}}")

    def find(file: Path) -> Path:
        # DIV2K calls them 0801x4.png.
        for stem in (file.stem, f"{file.stem}x{scale:g}"):
            for suffix in (file.suffix, *images.READABLE):
                if (folder / f"{stem}{suffix}").is_file():
                    return folder / f"{stem}{suffix}"
        raise UserError(f"no LR image of {file.name} in {folder}; add it or leave --lr-dir out")

    return find
