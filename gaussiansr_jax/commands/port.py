"""`python -m gaussiansr_jax port`: official PyTorch checkpoints to our weights, and back."""

import argparse
from pathlib import Path

from gaussiansr_jax.errors import UserError

HELP = "convert an official PyTorch checkpoint of GaussianSR or LIIF, or write one"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what this command takes."""
    parser.add_argument("input", help="checkpoint of the official code (.pth)")
    parser.add_argument("output", help="weights file to write (.safetensors)")
    parser.add_argument(
        "--to-pytorch",
        action="store_true",
        help="the other way: INPUT is our weights, OUTPUT a checkpoint for the official code",
    )


def main(args: argparse.Namespace) -> None:
    """Runs the command."""
    from gaussiansr_jax import loading
    from gaussiansr_jax.porting import port

    suffix = ".pth" if args.to_pytorch else ".safetensors"
    if Path(args.output).suffix != suffix:
        raise UserError(f"{args.output}: the file to write must be called something{suffix}")
    if args.to_pytorch:
        params, config, _ = loading.resolve(args.input)
        port.write_pytorch(args.output, params, config, args.input)
    else:
        config = port.convert(args.input, args.output)
    print(f"{args.output}: {config['head']['name']} on {config['encoder']['name']}")
