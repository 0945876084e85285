"""A list of files shared out over processes that need not know of each other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from gaussiansr_jax.distributed.place import find_place
from gaussiansr_jax.errors import UserError

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """One of `count` equal shares.

    Attributes:
      index: number of the share, from 0.
      count: number of shares.
    """

    index: int = 0
    count: int = 1

    def of(self, items: Sequence[Item]) -> list[Item]:
        """The items of this share; each item is in exactly one.

        Examples:
          >>> [Share(i, 2).of("abcde") for i in range(2)]
          [['a', 'c', 'e'], ['b', 'd']]
        """
        return list(items[self.index :: self.count])


def parse_share(text: str | None, environ: Mapping[str, str]) -> Share:
    """Reads "INDEX/COUNT", or for "auto" asks the launcher; None is everything.

    Raises:
      UserError: it is neither, or no launcher is found.

    Examples:
      >>> parse_share("1/4", {})
      Share(index=1, count=4)
    """
    if text is None:
        return Share()
    if text == "auto":
        array = [environ.get(f"SLURM_ARRAY_TASK_{n}") for n in ("ID", "MIN", "STEP", "COUNT")]
        if all(array):
            task, first, step, count = map(int, array)
            return Share((task - first) // step, count)
        try:
            # Processes that share files do not communicate, so any coordinator name works.
            place = find_place({"JAX_COORDINATOR_ADDRESS": "none:0", **environ})
        except UserError:
            place = None
        if place is None or place.index is None or place.count is None:
            raise UserError(
                "--share auto finds neither a launcher nor JAX_NUM_PROCESSES and JAX_PROCESS_ID; "
                "give --share INDEX/COUNT, as 0/4"
            )
        return Share(place.index, place.count)
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if not match or int(match[1]) >= int(match[2]):
        raise UserError(f"--share is {text!r}; give INDEX/COUNT with INDEX from 0, as 0/4, or auto")
    return Share(int(match[1]), int(match[2]))
