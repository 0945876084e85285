"""What commands do first: the compilation cache is turned on, and the device initialized."""

import os
import stat
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import jax

_CACHE_BYTES = 512 * 10**6


def start_jax() -> None:
    """Turns on JAX's persistent compilation cache, and initializes the device in the background.

    Command lines call it, the library does not. The folder is `$GAUSSIANSR_JAX_CACHE`, by default
    `~/.cache/gaussiansr-jax/compiled`; an empty value turns the cache off. If the user gave a
    folder to JAX itself, by `JAX_COMPILATION_CACHE_DIR`, JAX's own settings stay. Of more than
    512 MB, the programs that have not been used for longest are deleted.
    """
    folder = os.environ.get("GAUSSIANSR_JAX_CACHE") or None
    if folder is None and "GAUSSIANSR_JAX_CACHE" not in os.environ:
        folder = _default_folder()
    if folder and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", folder)
        jax.config.update("jax_compilation_cache_max_size", _CACHE_BYTES)
        # Small programs too: on a GPU many of them add up to seconds.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    threading.Thread(target=_wake_device).start()


def _default_folder() -> str | None:
    """A private folder of the user: in the home folder or, without one, among temporary files.

    Its files are executed, so no other user may be able to write to it.
    """
    with suppress(RuntimeError, OSError):
        folder = Path.home() / ".cache" / "gaussiansr-jax" / "compiled"
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return str(folder)
    with suppress(OSError):
        owner = os.getuid() if hasattr(os, "getuid") else "user"
        folder = Path(tempfile.gettempdir()) / f"gaussiansr-jax-{owner}"
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        private = stat.S_ISDIR(status.st_mode) and not status.st_mode & 0o022
        if private and status.st_uid in (owner, 0) and os.access(folder, os.W_OK):
            return str(folder)
    return None


def _wake_device() -> None:
    """Initializes the device; a GPU takes a second or two."""
    with suppress(Exception):  # the first use of the device raises it again
        jax.device_put(0.0).block_until_ready()
