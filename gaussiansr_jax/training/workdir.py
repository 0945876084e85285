"""The folder of a training run: its lock and its config."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import atomic_write

CONFIG, FOLDER, WEIGHTS = "config.json", "checkpoints/latest", "model.safetensors"
LOCK = ".lock"
PATIENCE = 30.0  # seconds in which an earlier process may end; it may be saving


@contextmanager
def claimed(workdir: Path) -> Iterator[None]:
    """Locks a run's folder for this process; the lock of a process that dies is released.

    Args:
      workdir: created if missing.

    Raises:
      UserError: another process holds it, or the folder cannot be written.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = open(workdir / LOCK, "a")  # noqa: SIM115
    except OSError as error:
        raise UserError(
            f"cannot write to {workdir} ({error.strerror or error}); name another --workdir"
        ) from error
    with file:
        deadline = time.monotonic() + PATIENCE
        while not _locked(file):
            if time.monotonic() > deadline:
                raise UserError(
                    f"another process is training in {workdir}; wait until it ends, or name "
                    f"another --workdir (if there is none, remove {workdir / LOCK})"
                )
            time.sleep(0.2)
        yield


def _locked(file: IO) -> bool:
    """Takes the lock if it is free; file systems without locks are trusted."""
    if fcntl is None:
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def read_config(workdir: Path) -> dict[str, Any] | None:
    """The config that a run was started with, None if there is no run.

    Raises:
      UserError: the file is damaged.
    """
    path = workdir / CONFIG
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error}); name another --workdir") from error


def check_same_model(workdir: Path, model: dict[str, Any]) -> None:
    """Checks that a folder with checkpoints holds the training of this model.

    Raises:
      UserError: it is another one.
    """
    old = read_config(workdir)
    if old is not None and old.get("model") != model and list((workdir / FOLDER).glob("[0-9]*")):
        raise UserError(
            f"{workdir} holds the training run of another model, {old.get('model')}; "
            f"name another --workdir for {model}"
        )


def write_config(workdir: Path, config: dict[str, Any]) -> None:
    """Stores the config of a run.

    Raises:
      UserError: the folder cannot be written.
    """
    with atomic_write(workdir / CONFIG) as temporary:
        temporary.write_text(json.dumps(config, indent=1) + "\n")
