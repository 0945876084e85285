"""Shared set-up: eight CPU devices, quick compilation, strict JAX, the optional reference data."""

import os
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)
if os.environ.setdefault("JAX_PLATFORMS", "cpu") == "cpu":
    # Most of the tests' time is that of LLVM's optimizations of programs that run once. On a GPU,
    # the kernels are to be tested as they run.
    os.environ["XLA_FLAGS"] += " --xla_backend_optimization_level=0"

import jax
import pytest
from hypothesis import settings

jax.config.update("jax_numpy_dtype_promotion", "strict")
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")

settings.register_profile("default", deadline=None, max_examples=15, derandomize=True)
settings.load_profile("default")

SHARED = Path(__file__).resolve().parents[1].parent / "shared"


@pytest.fixture
def shared() -> Path:
    """The folder of reference tensors, weights and images; tests that need it skip without it."""
    if not SHARED.is_dir():
        pytest.skip(f"reference data not found at {SHARED}")
    return SHARED
