"""`python -m gaussiansr_jax push`: weights to the Hugging Face hub."""

import argparse

from gaussiansr_jax.weights import DTYPES

HELP = "Upload a model to the Hugging Face hub."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what this command takes."""
    parser.add_argument("model", help="a weights file, the folder of a training run, …")
    parser.add_argument("repo", help="where to: OWNER/NAME; created if missing")
    parser.add_argument("--private", action="store_true", help="make a new repository private")
    parser.add_argument("--license", help="licence of the weights, such as cc-by-4.0")
    parser.add_argument("--message", help="message of the commit")
    parser.add_argument(
        "--dtype", choices=DTYPES, default="float32", help="of the numbers (default: %(default)s)"
    )


def main(args: argparse.Namespace) -> None:
    """Runs the command."""
    from gaussiansr_jax import loading

    name = loading.push_to_hub(
        args.model,
        args.repo,
        dtype=args.dtype,
        private=args.private,
        license=args.license,
        message=args.message,
    )
    print(name)
