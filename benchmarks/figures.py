"""Times, and their table."""

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def median_time(work: Callable[[], Any], repeats: int, warm: bool = False) -> float:
    """Median seconds of `work` and its device's, after one call that compiles unless `warm`."""
    if not warm:
        jax.block_until_ready(work())
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        jax.block_until_ready(work())
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def duration(seconds: float) -> str:
    """Three digits in s, ms or µs."""
    for unit, size in (("s", 1), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            value = seconds / size
            return f"{value:.{0 if value >= 100 else 1 if value >= 10 else 2}f} {unit}"
    raise AssertionError


def table(rows: list[dict]) -> str:
    """All rows as Markdown, beside those of the official code that they name."""
    official = {(item["official"], item["variant"]): item for item in rows if "variant" in item}
    lines = [
        "| work | official as shipped | at its best | ours | × as shipped | × its best "
        "| floor | ours / floor | peak memory: shipped, best, ours | note |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for item in rows:
        if "variant" in item:
            continue
        theirs = [official.get((item.get("official"), name), {}) for name in ("shipped", "best")]
        seconds, floor = item["seconds"], item.get("floor")
        cells = [item["work"], *(_cell(duration, their.get("seconds")) for their in theirs)]
        cells.append(_cell(duration, seconds))
        cells += [_ratio(their.get("seconds"), seconds) for their in theirs]
        cells += [_cell(duration, floor), _ratio(seconds, floor)]
        memory = [_cell(_gigabytes, each.get("memory")) for each in (*theirs, item)]
        cells += [", ".join(memory).removeprefix("–, –, "), item.get("note", "")]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(text: Callable[[float], str], value: float | None) -> str:
    return "–" if value is None else text(value)


def _ratio(a: float | None, b: float | None) -> str:
    if not a or not b:
        return "–"
    return f"{a / b:.3g}" if a / b < 1000 else f"{a / b:.0f}"


def _gigabytes(count: float) -> str:
    return f"{count / 1e9:.2f} GB"
