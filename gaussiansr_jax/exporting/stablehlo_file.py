"""A model as a StableHLO file, by `jax.export`."""

import os
from typing import Any

import jax
import jax.numpy as jnp
from jax import export

from gaussiansr_jax.exporting.whole_scale import enlarger
from gaussiansr_jax.files import atomic_write

PLATFORMS = ("cpu", "cuda", "tpu")


def write(
    path: str | os.PathLike, params: Any, config: dict, scale: int, overwrite: bool = False
) -> None:
    """Writes what `jax.export.deserialize` reads, without Flax or this project.

    The function takes float32 RGB in [0, 1], [B, H, W, 3], and gives [B, scale H, scale W, 3], for
    any B, H and W, on CPUs, NVIDIA GPUs and TPUs.

    Args:
      path: the file; it holds the weights too.
      params: of the model.
      config: what `models.build` takes.
      scale: a whole number.
      overwrite: whether an existing file may be replaced.

    Raises:
      UserError: the model cannot be exported at that scale, or the file cannot be written.
    """
    function = enlarger(params, config, scale)
    shape = export.symbolic_shape("b, h, w, 3")
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(
        jax.ShapeDtypeStruct(shape, jnp.float32)
    )
    with atomic_write(path, overwrite) as temporary:
        temporary.write_bytes(exported.serialize())
