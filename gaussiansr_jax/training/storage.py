"""A folder of checkpoints as Orbax keeps it: room for one, reading one, a digest of its numbers."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp


def check_room(folder: Path, size: int) -> None:
    """Checks for room by reserving it for a moment: on a full disk Orbax prints long tracebacks.

    Raises:
      OSError: the disk is full.
    """
    if hasattr(os, "posix_fallocate") and size:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)


class DamagedError(Exception):
    """A checkpoint that cannot be read."""


def open_manager(folder: Path, keep: int | None, write: bool = True) -> ocp.CheckpointManager:
    """Orbax's manager of a folder, for this process alone; it saves synchronously.

    Args:
      folder: an existing one.
      keep: how many checkpoints stay; None is all.
      write: whether what a crash left half-written is removed, and checkpoints may be saved.
    """
    # Only this process takes part, so Orbax does not wait for others.
    alone = ocp.options.MultiprocessingOptions(
        primary_host=jax.process_index(),
        active_processes={jax.process_index()},
        barrier_sync_key_prefix=f"process-{jax.process_index()}",
    )
    # Orbax's read_only is not used: it prints a warning whenever it is set.
    options = ocp.CheckpointManagerOptions(
        max_to_keep=keep,
        create=False,
        cleanup_tmp_directories=write,
        enable_async_checkpointing=False,
        multiprocessing_options=alone,
    )
    return ocp.CheckpointManager(folder.absolute(), options=options)


def read(
    manager: ocp.CheckpointManager, folder: Path, step: int
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The trees and the progress of one checkpoint.

    Raises:
      DamagedError: it cannot be read, or holds other numbers than were written.
    """
    args = {"state": ocp.args.StandardRestore(), "progress": ocp.args.JsonRestore()}
    if (folder / str(step) / "best").is_dir():
        args["best"] = ocp.args.StandardRestore()
    try:
        saved = manager.restore(step, args=ocp.args.Composite(**args))
        trees = {name: jax.tree.map(np.array, saved[name]) for name in args if name != "progress"}
        progress = dict(saved["progress"])
    except Exception as error:  # whatever Orbax's storage and JSON layers raise
        raise DamagedError(reason(error)) from error
    # Older checkpoints have none.
    if progress.pop("digest", None) not in (None, digest(trees)):
        raise DamagedError("its numbers are not those that were written")
    return trees, progress


def digest(trees: dict[str, Any]) -> str:
    """A digest of the names and numbers in nested dicts of arrays."""
    state = hashlib.blake2b(digest_size=16)
    for path, leaf in named(trees):
        state.update(path.encode() + np.ascontiguousarray(leaf).tobytes())
    return state.hexdigest()


def named(trees: dict[str, Any]) -> Iterator[tuple[str, np.ndarray]]:
    """The leaves with their paths as text."""
    leaves = jax.tree_util.tree_leaves_with_path(trees)
    return ((jax.tree_util.keystr(path), np.asarray(leaf)) for path, leaf in leaves)


def reason(error: Exception) -> str:
    """What an error says, in one line."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:200] if lines else repr(error)
