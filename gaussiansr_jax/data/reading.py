"""Reading many images in threads, and one sentence about those that cannot be used."""

import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from tqdm import tqdm

from gaussiansr_jax.data.hosts import Hosts
from gaussiansr_jax.data.sources import ImageRef
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.images import UnreadableImage, read_size

NAMED = 5  # the most bad files that a message names


def in_threads(
    function: Callable[[int], Any], indices: Sequence[int], title: str
) -> tuple[dict[int, Any], dict[int, str]]:
    """Maps in threads (Pillow decodes without the interpreter's lock), with a progress bar.

    Returns:
      index -> result, and index -> the error in words for those that failed.
    """
    results, failures = {}, {}

    def attempt(index: int) -> None:
        try:
            results[index] = function(index)
        except UnreadableImage as error:
            failures[index] = error.reason
        except Exception as error:  # whatever opening a file raises
            failures[index] = str(error) or repr(error)

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        done = threads.map(attempt, indices)
        pace = 0.1 if sys.stderr.isatty() else 20  # seconds between updates; few in a log file
        for _ in tqdm(done, title, len(indices), False, unit="image", mininterval=pace, delay=1):
            pass
    return results, failures


def read_shapes(
    images: Sequence[ImageRef], hosts: Hosts
) -> tuple[Int[np.ndarray, "N 2"], dict[int, str]]:
    """The (height, width) of all images; each host reads its share of the headers.

    Returns:
      shapes, (0, 0) where an image cannot be read; and why, as far as this host knows.
    """
    own = range(hosts.index, len(images), hosts.count)
    sizes, failures = in_threads(lambda i: read_size(images[i].open()), own, "reading sizes")
    shapes = np.zeros((len(images), 2), np.int32)
    for index, size in sizes.items():
        shapes[index] = size
    return hosts.gather(shapes).sum(0, dtype=np.int32), failures


def check(
    images: Sequence[ImageRef],
    unreadable: Bool[np.ndarray, "N"],
    reasons: dict[int, str],
    small: Sequence[str] = (),
    size: int = 0,
    skip: bool = False,
) -> None:
    """Says in one sentence which images cannot be used.

    Args:
      images: all images.
      unreadable: which of them cannot be read.
      reasons: why, by index, as far as it is known here.
      small: those that are too small, in words.
      size: the size of the crop that they are too small for.
      skip: whether the rest is used; then the sentence is printed.

    Raises:
      UserError: there are some, and they may not be skipped.
    """
    named = [
        f"{images[index].name} ({reasons.get(index, 'as another host found')})"
        for index in np.flatnonzero(unreadable)
    ]
    parts = []
    if named:
        parts.append(f"{_count(named)} cannot be read: {_names(named)}")
    if small:
        parts.append(f"{_count(small)} smaller than the crop of {size}x{size}: {_names(small)}")
    if not parts:
        return
    if skip and len(named) + len(small) < len(images):
        print("skipped: " + "; ".join(parts), file=sys.stderr, flush=True)
        return
    hint = ", lower lr_size, scale_range or val_crop" if small else ""
    raise UserError(
        "; ".join(parts) + f"; remove or replace them{hint}, or set skip_bad_images=True"
        if not skip
        else "; ".join(parts) + "; no image is left"
    )


def _count(files: Sequence[str]) -> str:
    return f"{len(files)} image{'s' if len(files) > 1 else ''}"


def _names(files: Sequence[str]) -> str:
    more = f" and {len(files) - NAMED} more" if len(files) > NAMED else ""
    return ", ".join(files[:NAMED]) + more
