"""Many files in one run: a failure does not stop it, and a report at the end names each."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gaussiansr_jax.commands.helpers.progress import progress, say
from gaussiansr_jax.errors import UserError, system_message

_NAMED = 10  # the most files that a message names


class Skipped(Exception):
    """A file is left out on purpose."""


@dataclass
class Outcome:
    """What became of the files.

    Attributes:
      total: how many there were.
      written: what was written, in order.
      existing: inputs whose result was there already.
      failed: inputs that failed, and why.
    """

    total: int
    written: list[Path] = field(default_factory=list)
    existing: list[Path] = field(default_factory=list)
    failed: list[tuple[Path, str]] = field(default_factory=list)


def run(files: Sequence[Path], order: Sequence[int], work: Callable[[int], Path]) -> Outcome:
    """Does `work` for the index of each file; a failure is printed, and the others are still done.

    Args:
      files: all of them.
      order: their indices in the order in which they are done.
      work: returns the path that it wrote, or raises.
    """
    outcome = Outcome(len(files))
    for index in progress(order):
        try:
            outcome.written.append(work(index))
        except Skipped:
            outcome.existing.append(files[index])
        # Whatever the error, the other files are still done.
        except Exception as error:
            why = reason(files[index], error)
            outcome.failed.append((files[index], why))
            if len(files) > 1:  # the error of a single file is printed at the end
                say(f"error: {why}")
        except KeyboardInterrupt:
            done = len(outcome.written)
            print(f"interrupted: {done} of {len(files)} images were written", file=sys.stderr)
            raise
    return outcome


def report(outcome: Outcome, output: Path, skipped: Sequence[Path]) -> None:
    """Prints what was done and what was not.

    Raises:
      UserError: a file failed.
    """
    if len(outcome.written) == 1:
        print(outcome.written[0])
    elif outcome.written:
        print(f"{len(outcome.written)} images in {output}")
    if outcome.existing:
        print(f"skipped, because the result exists: {_names(outcome.existing)}")
    if skipped:
        print(f"skipped, because the ending is not of an image format: {_names(skipped)}")
    if not outcome.failed:
        return
    if outcome.total == 1:
        raise UserError(outcome.failed[0][1])
    lines = "".join(f"\n  {file}: {_without(why, file)}" for file, why in outcome.failed)
    raise UserError(
        f"{len(outcome.failed)} of {outcome.total} images could not be upscaled:{lines}"
    )


def reason(file: Path, error: Exception) -> str:
    """Why a file failed, in one line, whatever was raised."""
    if isinstance(error, UserError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"{file} needs more memory than there is; use a smaller scale"
    if isinstance(error, OSError) and error.filename:
        return f"{file} failed: {system_message(error)}"
    text = " ".join(str(error).split())[:300]
    return f"{file} failed with {type(error).__name__}: {text}; please report this"


def _without(why: str, file: Path) -> str:
    """The reason, which the file's name stands before already."""
    return why.removeprefix(f"{file} ")


def _names(files: Sequence[Path]) -> str:
    more = f" and {len(files) - _NAMED} more" if len(files) > _NAMED else ""
    return f"{len(files)} ({', '.join(str(file) for file in files[:_NAMED])}{more})"
