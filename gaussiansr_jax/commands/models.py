"""`python -m gaussiansr_jax models`: the models that come with the package."""

import argparse

from gaussiansr_jax.weights import DEFAULT_WEIGHTS

HELP = "List the models in the package."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds nothing: the command takes no arguments."""


def main(args: argparse.Namespace) -> None:
    """Runs the command."""
    from gaussiansr_jax import loading

    for model in loading.shipped():
        default = " (the default)" if model.name == DEFAULT_WEIGHTS else ""
        print(f"{model.name}{default}, {model.size / 1e6:.1f} MB\n    {model.about}")
    print(f"\n--weights takes one of these names, or {loading.OTHERS}.")
