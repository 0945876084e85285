"""The one exception that is meant for people, and the wrapper that shows it to them."""

import sys
from collections.abc import Callable


class UserError(Exception):
    """Something the caller can mend: one sentence that names the thing and the way out."""


def run_cli(main: Callable[[], None]) -> None:
    """Runs a command line; a `UserError` becomes one line on stderr and exit status 1."""
    try:
        main()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(130)
