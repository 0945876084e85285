"""Progress: a bar on a terminal, a line every 30 seconds in a log file."""

import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
_PAUSE = 30.0  # seconds between two lines of a log


def progress(items: Sequence[Item], title: str = "", unit: str = "image") -> Iterable[Item]:
    """The items, with what has been done of them on stderr; a single one goes without."""
    if len(items) < 2:
        return items
    if sys.stderr.isatty():
        return tqdm(items, title, unit=unit, leave=False)
    return _logged(items, title, unit)


def say(text: str) -> None:
    """A line on stderr that a bar does not write over."""
    tqdm.write(text, file=sys.stderr)


def _logged(items: Sequence[Item], title: str, unit: str) -> Iterator[Item]:
    last = time.monotonic()
    for done, item in enumerate(items):
        if time.monotonic() - last >= _PAUSE:
            last = time.monotonic()
            start = f"{title}: " if title else ""
            print(f"{start}{done} of {len(items)} {unit}s done", file=sys.stderr, flush=True)
        yield item
