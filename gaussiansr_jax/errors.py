"""The one exception whose message is for users, and how command lines print it."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class UserError(Exception):
    """Something the user can correct: one sentence that says what is wrong and what to do."""


@contextmanager
def needs_extra(what: str, extra: str) -> Iterator[None]:
    """Goes around imports of packages that only an extra of this package installs.

    Args:
      what: what needs them, the subject of the message.
      extra: the name of the extra.

    Raises:
      UserError: a package is missing; the message has the pip command.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gaussiansr_jax"):
            raise
        raise UserError(
            f"{what} needs the package {error.name}; "
            f"install it with: pip install 'gaussiansr-jax[{extra}]'"
        ) from error


def system_message(error: OSError) -> str:
    """What the operating system says of a file, as in "big.png: File name too long"."""
    return f"{os.fsdecode(error.filename)}: {error.strerror or error}"


@contextmanager
def errors_printed() -> Iterator[None]:
    """Prints a `UserError`, or an `OSError` about a file, as one line, and exits with status 1."""
    try:
        yield
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except OSError as error:
        if not isinstance(error.filename, str | bytes):
            raise
        print(f"error: {system_message(error)}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)


def run_cli(main: Callable[[], None]) -> None:
    """Runs a command line; its errors are printed as one line."""
    with errors_printed():
        main()
