"""Where a host keeps its tiles: in memory, or in a memory-mapped file where that is too small."""

import hashlib
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from gaussiansr_jax.data.sources import ImageRef
from gaussiansr_jax.data.tiles import Layout
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.memory import available_bytes

# The share of the free memory that tiles may take.
MEMORY_SHARE = 0.8


class Store(NamedTuple):
    """Where tiles are kept.

    Attributes:
      on_disk: whether in a file; None: in a file only if they do not fit into memory.
      folder: of the files; "" is `tiles` in the folder of the package's caches.
    """

    on_disk: bool | None = None
    folder: str = ""

    def path(self, key: str) -> Path:
        """The file of the tiles whose `fingerprint` is `key`."""
        default = os.environ.get("GAUSSIANSR_JAX_CACHE") or "~/.cache/gaussiansr-jax"
        return Path(self.folder or f"{default}/tiles").expanduser() / f"tiles-{key}.npy"

    def takes_disk(self, size: int) -> bool:
        """Whether tiles of `size` bytes are kept on disk."""
        if self.on_disk is not None:
            return self.on_disk
        free = available_bytes()
        return free is not None and size > MEMORY_SHARE * free


@dataclass
class NewTiles:
    """Tiles to be filled; `complete` says at the end whether they are worth keeping."""

    tiles: UInt8[np.ndarray, "N T T 3"]
    complete: bool = False


def fingerprint(images: Sequence[ImageRef], layout: Layout, first: int, count: int) -> str:
    """A digest of everything that tiles depend on: other or changed images give another one."""
    names = [(image.name, image.stamp) for image in images]
    own = layout.images(first, count)
    facts = names, layout.entering[own.start : own.stop], layout.tile_size
    facts = facts, first - int(layout.starts[own.start]), count
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def stored_tiles(
    store: Store, key: str, shape: tuple[int, ...]
) -> UInt8[np.ndarray, "N T T 3"] | None:
    """The tiles that an earlier run left in a file, or None."""
    path = store.path(key)
    if not store.takes_disk(int(np.prod(shape))) or not path.is_file():
        return None
    try:
        tiles = np.load(path, mmap_mode="r")
    except (OSError, ValueError):
        return None
    if tiles.shape != shape or tiles.dtype != np.uint8:
        return None
    print(f"tiles: {path} ({tiles.nbytes / 1e9:.2f} GB)", file=sys.stderr, flush=True)
    return tiles


@contextmanager
def new_tiles(store: Store, key: str, shape: tuple[int, ...]) -> Iterator[NewTiles]:
    """Zeros to be filled, in memory or in a file that gets its name when it is complete.

    Raises:
      UserError: there is too little room, or the file cannot be written.
    """
    size = int(np.prod(shape))
    if not store.takes_disk(size):
        try:
            # Zeroed pages are only taken when they are written to.
            new = NewTiles(np.zeros(shape, np.uint8))
        except MemoryError as error:
            raise UserError(
                f"{size / 1e9:.1f} GB of tiles do not fit into memory; set pool=disk, or name "
                "fewer images in the source"
            ) from error
        yield new
        return
    path = store.path(key)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        print(
            f"writing {size / 1e9:.2f} GB of tiles to {path}; later runs read them from there, "
            "and the file may be deleted when none is running",
            file=sys.stderr,
            flush=True,
        )
        new = NewTiles(_map(temporary, shape))
        yield new
        if new.complete:
            new.tiles.flush()
            os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"cannot write {size / 1e9:.2f} GB of tiles to {path.parent}: "
            f"{error.strerror or error}; set pool_cache to a folder with room"
        ) from error
    finally:
        with suppress(OSError):  # there is none, or not even its folder
            temporary.unlink()


def _map(path: Path, shape: tuple[int, ...]) -> np.memmap:
    """A memory-mapped file of zeros whose room on the disk is already taken.

    Otherwise a full disk would end the process by SIGBUS while it writes to a page.
    """
    tiles = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with open(path, "r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return tiles
