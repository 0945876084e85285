"""From what a user names to a model: a shipped name, a file, a training run, a checkpoint."""

import os
import re
from pathlib import Path
from typing import Any

from gaussiansr_jax import weights
from gaussiansr_jax.errors import UserError, needs_extra
from gaussiansr_jax.upscaling.upscaler import Upscaler


def load(name_or_path: str | os.PathLike = weights.DEFAULT_WEIGHTS, **settings: Any) -> Upscaler:
    """Loads a model for upscaling.

    Args:
      name_or_path: a shipped name, a `.safetensors` file, the folder of a training run or a
        PyTorch `.pth` file.
      **settings: `dtype`, `self_ensemble`, `tile` and `block` of `Upscaler`.

    Raises:
      UserError: no such weights, or they are damaged.
    """
    params, config, facts = resolve(name_or_path)
    return Upscaler(params, config, facts, **settings)


def resolve(name_or_path: str | os.PathLike) -> weights.Loaded:
    """Reads weights from whatever a user names.

    Args:
      name_or_path: a shipped name, a `.safetensors` file, the folder of a training run (the EMA
        weights of its best checkpoint are taken) or a PyTorch `.pth` file (it is ported).

    Returns:
      params, config, facts as `weights.load` gives them.

    Raises:
      UserError: nothing of that name, or it cannot be read.
    """
    path = Path(name_or_path)
    if path.is_dir():
        with needs_extra("a training run", "train"):
            from gaussiansr_jax.training import checkpoints  # Orbax takes long to import

        return checkpoints.load_best(path)
    if path.suffix.lower() in (".pth", ".pt"):
        from gaussiansr_jax.porting import port

        return port.load(path)
    if re.fullmatch(r"[\w.-]+", str(name_or_path)) and not path.exists():
        named = weights.SHIPPED / f"{name_or_path}.safetensors"
        if named.is_file():
            return weights.load(named)
        if path.suffix != ".safetensors":
            raise UserError(
                f"no weights named {name_or_path!r}; shipped are {weights.shipped()}, "
                "or give a .safetensors file, a training folder or a PyTorch .pth"
            )
    return weights.load(path)
