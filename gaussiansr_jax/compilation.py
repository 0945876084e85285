"""Keeps compiled programs on disk, so that the second start of a command is quick."""

import os
from pathlib import Path

import jax


def enable_cache() -> None:
    """Turns on JAX's persistent compilation cache; command lines call it, the library does not.

    The folder is `$GAUSSIANSR_JAX_CACHE`, by default `~/.cache/gaussiansr-jax`; an empty value
    turns the cache off. A folder that the user gave to JAX itself, by
    `JAX_COMPILATION_CACHE_DIR`, stays.
    """
    if jax.config.jax_compilation_cache_dir:
        return
    folder = os.environ.get("GAUSSIANSR_JAX_CACHE", str(Path.home() / ".cache" / "gaussiansr-jax"))
    if folder:
        jax.config.update("jax_compilation_cache_dir", folder)
