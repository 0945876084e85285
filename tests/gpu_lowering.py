"""What a GPU would run, on a machine without one."""

import jax
import pytest

# Whether kernels for a GPU have to be interpreted.
INTERPRET = jax.default_backend() != "gpu"


def lowered(traced, platform):
    """The text of a traced function for a platform; skips where JAX wants to see the GPU."""
    try:
        return traced.lower(lowering_platforms=(platform,)).as_text()
    except Exception as error:
        if "No supported GPU devices" in str(error):
            pytest.skip("this JAX lowers kernels for GPUs only where there is one")
        raise
