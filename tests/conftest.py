"""Shared set-up: eight CPU devices, quick compilation, strict JAX, the optional reference data."""

import gc
import os
import time
from pathlib import Path

import pytest
import xla_flags
from hypothesis import settings

os.environ.setdefault("JAX_PLATFORMS", "cpu")
settings.register_profile("default", deadline=None, max_examples=15, derandomize=True)
settings.load_profile("default")

_DAYS_KEPT = 7


def pytest_addoption(parser):
    parser.addoption(
        "--typecheck",
        action="store_true",
        help="arguments and results must have the types and shapes that the signatures say",
    )


def pytest_configure(config):
    """Lets all workers and their subprocesses share compiled programs, also with later runs.

    They lie in pytest's own cache, which `pytest --cache-clear` empties; what is a week old goes.
    """
    own = config.cache.mkdir("jax")
    if not hasattr(config, "workerinput"):  # not in the workers of pytest-xdist
        old = time.time() - _DAYS_KEPT * 86400
        for entry in own.iterdir():
            if entry.stat().st_mtime < old:
                entry.unlink()
        if config.getoption("dist", "no") != "no":
            return  # the workers wait for this process, which runs no tests and needs no JAX
    _set_up_jax(own, config.getoption("--typecheck"))


def _set_up_jax(own, typecheck):
    xla_flags.set_up()
    import jax

    jax.config.update("jax_numpy_dtype_promotion", "strict")
    jax.config.update("jax_numpy_rank_promotion", "raise")
    jax.config.update("jax_default_matmul_precision", "highest")
    if typecheck:
        from jaxtyping import install_import_hook

        install_import_hook("gaussiansr_jax", "typechecker.check")
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(own))
    # Small programs too: the tests run thousands of them.
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    seconds = float(os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", seconds)
    # JAX keeps objects by the million; the garbage collector would spend long looking at them.
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of reference tensors, weights and images; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"reference data not found at {SHARED}")
    return SHARED
