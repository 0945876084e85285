"""Weights files: one safetensors with the model's config inside rebuilds the model."""

import json
import os
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import safetensors
import safetensors.numpy

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.files import atomic_write

DEFAULT_WEIGHTS = "gaussiansr-direct-edsr-baseline"
FORMAT = "gaussiansr-jax"
SHIPPED = Path(__file__).parent / "shipped"

Params = dict[str, Any]
Loaded = tuple[Params, dict, dict]


def save(path: str | os.PathLike, params: Params, config: dict, facts: dict) -> None:
    """Writes parameters, config and training facts to one safetensors file, atomically.

    Args:
      path: the file; its folder is made if need be.
      params: nested dict of arrays; stored under names joined by "/".
      config: what `models.build` takes; a plain dict or a ConfigDict.
      facts: anything JSON can hold: data, steps, scores, licence.

    Raises:
      UserError: the file cannot be written.
    """
    flat = flax.traverse_util.flatten_dict(dict(params), sep="/")
    # safetensors stores an array's memory as it lies, so that a strided view would come out wrong.
    tensors = {name: np.asarray(jax.device_get(value), order="C") for name, value in flat.items()}
    metadata = {
        "format": FORMAT,
        "config": json.dumps(_plain(config), sort_keys=True),
        "facts": json.dumps(_plain(facts), sort_keys=True),
    }
    with atomic_write(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(tensors, metadata=metadata))


def load(path: str | os.PathLike) -> Loaded:
    """Reads a file of `save` and checks that the parameters fit the model of its config.

    Returns:
      params (nested dict of numpy arrays), config, facts.

    Raises:
      UserError: no such file, not a weights file of this project, damaged, or of another model.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weights file {path}; give a file that exists or one of {shipped()}")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise UserError(
                    f"{path} is a safetensors file, but not one of {FORMAT}; "
                    "convert a PyTorch checkpoint with `python -m gaussiansr_jax port`"
                )
            flat = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config, facts = json.loads(metadata["config"]), json.loads(metadata["facts"])
    except (safetensors.SafetensorError, OSError, KeyError, ValueError) as error:
        raise UserError(
            f"{path} is damaged or not a weights file ({error}); get it anew"
        ) from error
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    check(params, config, str(path))
    return params, config, facts


def check(params: Params, config: dict, source: str) -> None:
    """Compares names and shapes with those of the model that `config` describes.

    Args:
      params: nested dict of arrays.
      config: what `models.build` takes.
      source: where the parameters come from, for the message.

    Raises:
      UserError: a parameter is missing, unknown or of another shape.
    """
    from gaussiansr_jax import models

    model = models.build(config)
    # Nothing is computed here, the key included: each program costs a start on a GPU its time.
    wanted = jax.eval_shape(lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3))))
    wanted = wanted["params"]
    wanted = {k: v.shape for k, v in flax.traverse_util.flatten_dict(wanted, sep="/").items()}
    given = {k: v.shape for k, v in flax.traverse_util.flatten_dict(params, sep="/").items()}
    faults = [f"{name} is missing" for name in sorted(wanted.keys() - given.keys())]
    faults += [f"{name} is not part of it" for name in sorted(given.keys() - wanted.keys())]
    faults += [
        f"{name} is {given[name]} instead of {wanted[name]}"
        for name in sorted(wanted.keys() & given.keys())
        if given[name] != wanted[name]
    ]
    if faults:
        rest = f" and {len(faults) - 1} more" if len(faults) > 1 else ""
        raise UserError(
            f"{source} holds the weights of another model than its config says: "
            f"{faults[0]}{rest}; use a file that belongs to this model"
        )


def shipped() -> str:
    """The names of the weights inside the package, for messages."""
    return ", ".join(sorted(file.stem for file in SHIPPED.glob("*.safetensors"))) or "none"


def _plain(tree: Any) -> Any:
    """Turns ConfigDicts, tuples and numpy numbers into what JSON stores."""
    if hasattr(tree, "to_dict"):
        tree = tree.to_dict()
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    return tree.item() if hasattr(tree, "item") else tree
