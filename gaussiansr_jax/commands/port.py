"""`python -m gaussiansr_jax port`: any weights to a file of ours, or back to PyTorch."""

import argparse
from pathlib import Path

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.weights import DTYPES

HELP = "Convert weights: from PyTorch, a training run or the hub to one file, or back to PyTorch."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what this command takes."""
    parser.add_argument(
        "input", help="PyTorch checkpoint of GaussianSR or LIIF, or anything that --weights takes"
    )
    parser.add_argument("output", help="weights file to write (.safetensors)")
    parser.add_argument(
        "--dtype",
        choices=DTYPES,
        default="float32",
        help="of the numbers in the file; float16 halves it (default: %(default)s)",
    )
    parser.add_argument("--about", help="one line on what the model is good for, kept in the file")
    parser.add_argument(
        "--to-pytorch",
        action="store_true",
        help="the other way: OUTPUT is a checkpoint (.pth) for the official code",
    )


def main(args: argparse.Namespace) -> None:
    """Runs the command."""
    from gaussiansr_jax import loading, weights
    from gaussiansr_jax.porting import port

    suffix = ".pth" if args.to_pytorch else ".safetensors"
    if Path(args.output).suffix != suffix:
        raise UserError(f"{args.output}: the file to write must be called something{suffix}")
    params, config, facts = loading.resolve(args.input)
    if args.to_pytorch:
        port.write_pytorch(args.output, params, config, args.input)
    else:
        facts = facts if args.about is None else {**facts, "about": args.about}
        weights.save(args.output, params, config, facts, args.dtype)
    print(f"{args.output}: {config['head']['name']} on {config['encoder']['name']}")
