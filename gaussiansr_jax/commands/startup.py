"""What command lines do first, so that the first image comes soon."""

import os
import threading
from contextlib import suppress
from pathlib import Path

import jax


def start_jax() -> None:
    """Turns on JAX's persistent compilation cache, and wakes the device up in the background.

    Command lines call it, the library does not. The folder is `$GAUSSIANSR_JAX_CACHE`, by default
    `~/.cache/gaussiansr-jax`; an empty value turns the cache off. If the user gave a folder to JAX
    itself, by `JAX_COMPILATION_CACHE_DIR`, JAX's own settings stay.
    """
    folder = os.environ.get("GAUSSIANSR_JAX_CACHE", str(Path.home() / ".cache" / "gaussiansr-jax"))
    if folder and not jax.config.jax_compilation_cache_dir:
        jax.config.update("jax_compilation_cache_dir", folder)
        # Small programs too: on a GPU many of them add up to seconds.
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    threading.Thread(target=_wake_device).start()


def _wake_device() -> None:
    """A GPU takes a second or two to begin."""
    with suppress(Exception):  # whoever needs the device meets the error again
        jax.device_put(0.0).block_until_ready()
