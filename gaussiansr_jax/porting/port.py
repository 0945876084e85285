"""Converts weights from and to PyTorch; no tensor may be missing or left over."""

import collections
import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np

from gaussiansr_jax import models, weights
from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import (
    architectures,
    recognition,
    tables,
    torch_file,
    torch_writer,
)

StateDict = collections.OrderedDict[str, np.ndarray]


def load(path: str | Path) -> weights.Loaded:
    """Reads an official checkpoint of GaussianSR or LIIF, however it is wrapped.

    Args:
      path: a file of `torch.save`, or of safetensors with PyTorch's names; any ending.

    Returns:
      params, config and facts, as `weights.load` gives them.

    Raises:
      UserError: the file cannot be read, or it does not hold just the tensors of such a model.
    """
    path = Path(path)
    value = _read(path)
    found = recognition.choose(value, str(path))
    if found.spec is None:
        config = recognition.config_of(found.tensors, str(path))
    else:
        config = architectures.config_of(found.spec, str(path))
    params = from_state_dict(found.tensors, config, str(path))
    epoch = value.get("epoch") if isinstance(value, Mapping) else None
    facts = {
        "ported_from": path.name,
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "tensors": ".".join(found.path) or "all",
        "config": "guessed by names and shapes" if found.spec is None else "stored in the file",
        "epoch": epoch if isinstance(epoch, int) else None,
    }
    return params, config, facts


def _read(path: Path) -> Any:
    """What a file holds: dicts, and tensors or arrays."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if content[8:10] == b'{"':
        return weights.read_safetensors(path)[0]
    return torch_file.parse(content, path)


def from_state_dict(tensors: Mapping[str, Any], config: Mapping[str, Any], source: str) -> dict:
    """Our parameters from the official tensors.

    Args:
      tensors: `TorchTensor`s or arrays by their official names.
      config: of the model.
      source: the file, for messages.

    Raises:
      UserError: a tensor is unknown, missing, of another shape or type, or not finite; it is named.
    """
    shapes = models.parameter_shapes(config)
    # Broadcast zeros take no memory, and give the shapes in the official layout.
    zeros = {name: np.broadcast_to(np.float32(0), shape) for name, shape in shapes.items()}
    expected = _state_dict(zeros, config)
    faults = [f"{name} is missing" for name in expected if name not in tensors]
    faults += [f"{name} is not part of the model" for name in tensors if name not in expected]
    faults += [
        f"{name} has the shape {tuple(tensors[name].shape)} instead of {value.shape}"
        for name, value in expected.items()
        if name in tensors and tuple(tensors[name].shape) != value.shape
    ]
    if faults:
        more = f" (and {len(faults) - 1} more differences)" if len(faults) > 1 else ""
        what = f"{config['head']['name']} on {config['encoder']['name']}"
        raise UserError(f"{source}: not the weights of {what}: {faults[0]}{more}")
    flat = {}
    for row in _rows(config, shapes):
        tensor = tensors[row.theirs]
        array = tensor.read() if isinstance(tensor, torch_file.TorchTensor) else np.asarray(tensor)
        if not jnp.issubdtype(array.dtype, jnp.floating):
            raise UserError(f"{source}: {row.theirs} has the type {array.dtype}, not floats")
        weights.check_finite(array, row.theirs, source)
        converted = row.transform.ours(array.astype(np.float32))
        flat |= zip(row.ours, map(np.ascontiguousarray, converted), strict=True)
    return flax.traverse_util.unflatten_dict(flat, sep="/")


def to_state_dict(params: Mapping[str, Any], config: Mapping[str, Any]) -> StateDict:
    """The official tensors from our parameters.

    Args:
      params: nested dict of arrays.
      config: of the model.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    return _state_dict({k: np.asarray(v, np.float32) for k, v in flat.items()}, config)


def write_pytorch(path: str | Path, params: Mapping, config: Mapping, source: str) -> None:
    """Writes a checkpoint that the official code loads.

    Args:
      path: the .pth file to write.
      params: nested dict of arrays.
      config: of the model.
      source: where the parameters come from, for messages.

    Raises:
      UserError: the official code has no such model, or the file cannot be written.
    """
    spec = architectures.spec_of(config, source) | {"sd": to_state_dict(params, config)}
    torch_writer.write(path, {"model": spec})


def _rows(config: Mapping, names: Iterable[str]) -> list[tables.Row]:
    return list(tables.expand(architectures.table_of(config), set(names)))


def _state_dict(flat: Mapping[str, np.ndarray], config: Mapping) -> StateDict:
    return collections.OrderedDict(
        (row.theirs, row.transform.theirs(*(flat[name] for name in row.ours)))
        for row in _rows(config, flat)
    )
