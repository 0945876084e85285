"""`python -m gaussiansr_jax app`: the page in the browser."""

import argparse

from gaussiansr_jax.errors import UserError, needs_extra

HELP = "Zoom into pictures and enlarge them in the browser."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument(
        "--host",
        default="127.0.0.1",
        help="address to listen on; 0.0.0.0 is all of this machine's (default: %(default)s)",
    )
    parser.add_argument(
        "--port",
        type=int,
        default=7860,
        help="the first that is tried; 0 is any free one (default: %(default)s)",
    )
    parser.add_argument(
        "--weights",
        action="append",
        default=[],
        help="a model to offer beside the shipped ones; may be repeated",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="a name under which browsers may reach the page, such as that of a proxy",
    )


def main(args: argparse.Namespace) -> None:
    """Serves the page until it is interrupted.

    Raises:
      UserError: the packages for it are missing, no such weights, or it cannot listen there.
    """
    if not 0 <= args.port < 2**16:
        raise UserError(f"--port {args.port} is not a port; they go from 0 to 65535")
    with needs_extra("the page", "app"):
        from gaussiansr_jax.app.listening import serve
    from gaussiansr_jax.app.settings import Settings
    from gaussiansr_jax.commands.helpers.startup import start_jax

    start_jax()
    serve(
        Settings(
            host=args.host,
            port=args.port,
            weights=tuple(args.weights),
            allowed_hosts=tuple(args.allow_host),
        )
    )
