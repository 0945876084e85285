"""The command line: `python -m gaussiansr_jax COMMAND …`."""

import argparse
import sys
from importlib import import_module

from gaussiansr_jax import __version__
from gaussiansr_jax.errors import run_cli

COMMANDS = (
    *("upscale", "app", "demo", "models"),
    *("train", "eval", "dataset"),
    *("port", "verify", "export", "push"),
)


# Commands that are not parsed by argparse, with their help.
OWN_PARSERS = {"train": "Train a model."}


def main(argv: list[str] | None = None) -> None:
    """Runs one command.

    Args:
      argv: the arguments; by default those of the process.
    """
    argv = sys.argv[1:] if argv is None else argv
    if argv and argv[0] in OWN_PARSERS:
        import_module(f"gaussiansr_jax.commands.{argv[0]}").main(argv[1:])
    else:
        args = parse(argv)
        args.main(args)


def parse(argv: list[str]) -> argparse.Namespace:
    """The arguments of a command, and its function as `main`."""
    # Only the module of the command in question is imported; help on all of them needs all.
    chosen = [argv[0]] if argv and argv[0] in COMMANDS else COMMANDS
    parser = argparse.ArgumentParser(
        prog="gaussiansr", description="Super-resolution at any scale."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name in chosen:
        if name in OWN_PARSERS:
            commands.add_parser(name, help=OWN_PARSERS[name])
            continue
        module = import_module(f"gaussiansr_jax.commands.{name}")
        command = commands.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(command)
        command.set_defaults(main=module.main)
    return parser.parse_args(argv)


def console() -> None:
    """The `gaussiansr` command; errors become one line."""
    run_cli(main)


if __name__ == "__main__":
    console()
