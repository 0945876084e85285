"""`python -m gaussiansr_jax verify`: are our results those of the official code?"""

import argparse

from gaussiansr_jax.errors import UserError

HELP = "Compare with reference tensors of the official PyTorch code."
LIMIT = 1e-4


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds what this command takes."""
    parser.add_argument("folder", metavar="FIXTURE_DIR", help="folder of .npz reference cases")
    parser.add_argument("--weights", help="checkpoint (.pth); default: the one in FIXTURE_DIR")


def main(args: argparse.Namespace) -> None:
    """Runs the command."""
    from gaussiansr_jax.porting.verify import verify

    cases, bad = verify(args.folder, args.weights), []
    print(f"{'case':<40}{'quantity':<13}{'absolute':>10}{'relative':>10}")
    for case, differences in cases.items():
        for quantity, (absolute, relative) in differences.items():
            print(f"{case:<40}{quantity:<13}{absolute:>10.2e}{relative:>10.2e}")
            if not relative <= LIMIT:  # also where it is not a number
                bad.append(f"{quantity} of {case}")
    if bad:
        raise UserError(f"more than {LIMIT:g} relative difference in {', '.join(bad)}")
