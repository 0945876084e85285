"""`python -m gaussiansr_jax dataset`: builds a data set of HR images to train on."""

import argparse
import re
from pathlib import Path

from gaussiansr_jax.errors import UserError, needs_extra

HELP = "Build a data set of high-resolution images to train on."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what this command takes."""
    parser.add_argument("dataset", choices=["div2k_hr", "hr_folder"])
    parser.add_argument(
        "paths",
        nargs="*",
        metavar="PATH",
        help="folders or ZIP archives of images; for div2k_hr the official archives, or the folder "
        "that holds them, or nothing to download them (4 GB)",
    )
    parser.add_argument(
        "--name", default="default", help="of a data set of your own (default: %(default)s)"
    )
    parser.add_argument(
        "--data-dir",
        help="where data sets lie (default: $TFDS_DATA_DIR, or else ~/tensorflow_datasets)",
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="build it again if it exists already"
    )


def main(args: argparse.Namespace) -> None:
    """Runs the command."""
    with needs_extra("dataset", "train"):
        from gaussiansr_jax.data import datasets
    own = args.dataset == "hr_folder"
    if own and not args.paths:
        raise UserError("hr_folder needs the folders or archives that hold your images")
    if not re.fullmatch(r"[A-Za-z]\w*", args.name):
        raise UserError(f"--name is {args.name!r}; use letters, digits and underscores")
    default = datasets.default_folder()
    root = Path(args.data_dir).expanduser() if args.data_dir else default
    builder = datasets.build(args.dataset, args.paths, args.name, root, args.overwrite)
    splits = {split: info.num_examples for split, info in builder.info.splits.items()}
    for split, count in splits.items():
        print(f"{split}: {count} image{'s' * (count != 1)}")
    if builder.skipped:
        print(f"{len(builder.skipped)} skipped, because they cannot be decoded")
    print(builder.data_path)
    name = f"hr_folder/{args.name}" if own else args.dataset
    source = name if root == default else builder.data_path
    settings = f"--config.source=tfds:{source}"
    if "validation" in splits:
        settings += f" --config.val_source=tfds:{source}:validation"
    print(f"to train on it: python train.py --config configs/NAME.py --workdir DIR {settings}")
