"""Weights files: one safetensors with the model's config inside rebuilds the model."""

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
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
DTYPES = {"float32": np.float32, "float16": np.float16, "bfloat16": jnp.bfloat16}

Params = dict[str, Any]
Loaded = tuple[Params, dict, dict]


def save(
    path: str | os.PathLike, params: Params, config: Any, facts: dict, dtype: str = "float32"
) -> None:
    """Writes parameters, config and training facts to one safetensors file, atomically.

    Args:
      path: the file; its folder is created if missing.
      params: nested dict of arrays; stored under names joined by "/".
      config: what `models.build` takes; a plain dict or a ConfigDict.
      facts: anything JSON can hold: data, steps, scores, licence. "about" is one line that says
        what the model is good for.
      dtype: type of the numbers in the file, "float32", "float16" or "bfloat16". `load` always
        returns float32.

    Raises:
      UserError: the file cannot be written, or a number is too large for `dtype`.
    """
    if dtype not in DTYPES:
        raise UserError(f"weights cannot be stored as {dtype!r}; choose from {', '.join(DTYPES)}")
    flat = flax.traverse_util.flatten_dict(dict(params), sep="/")
    tensors = {}
    for name, value in flat.items():
        # safetensors stores an array's memory as it is, so a strided view would come out wrong.
        array = np.asarray(jax.device_get(value), order="C")
        with np.errstate(over="ignore"):
            tensors[name] = array.astype(DTYPES[dtype])
        if np.isfinite(array).all() and not np.isfinite(tensors[name]).all():
            raise UserError(f"{path}: {name} has a number too large for {dtype}; use float32")
    metadata = {
        "format": FORMAT,
        "config": json.dumps(_plain(config), sort_keys=True),
        "facts": json.dumps(_plain(facts), sort_keys=True),
    }
    with atomic_write(path) as temporary:
        temporary.write_bytes(safetensors.numpy.save(tensors, metadata=metadata))


def load(path: str | os.PathLike) -> Loaded:
    """Reads a file that `save` wrote, and checks that the parameters fit the model of its config.

    Returns:
      params (nested dict of float32 numpy arrays), config, facts.

    Raises:
      UserError: there is no such file, or it is not a weights file of this project, damaged, or for
        another model than its config says.
    """
    path = Path(path)
    flat, metadata = read_safetensors(path)
    config, facts = _described(metadata, path)
    with np.errstate(over="ignore"):  # `check` finds what becomes infinite
        flat = {name: array.astype(np.float32) for name, array in flat.items()}
    groups = {name[:i] for name in flat for i, letter in enumerate(name) if letter == "/"}
    for name in groups & flat.keys():
        raise UserError(f"{path} is damaged ({name} is a tensor and a group of tensors)")
    params = flax.traverse_util.unflatten_dict(flat, sep="/")
    check(params, config, str(path))
    return params, config, facts


def read_safetensors(path: str | os.PathLike) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """The arrays and the metadata of any safetensors file.

    Raises:
      UserError: no such file, or it is damaged.
    """
    with _opened(path) as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return arrays, file.metadata() or {}


def describe(path: str | os.PathLike) -> tuple[dict, dict]:
    """Config and facts of a weights file, without reading its numbers.

    Raises:
      UserError: as `load`.
    """
    with _opened(path) as file:
        metadata = file.metadata() or {}
    return _described(metadata, Path(path))


def is_ours(path: str | os.PathLike) -> bool:
    """Whether a safetensors file was written by `save`.

    Raises:
      UserError: it is damaged.
    """
    with _opened(path) as file:
        return (file.metadata() or {}).get("format") == FORMAT


@contextlib.contextmanager
def _opened(path: str | os.PathLike) -> Iterator[Any]:
    path = Path(path)
    if not path.is_file():
        raise UserError(f"no weights file {path}; name a file that exists, or a shipped model")
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            yield file
    except (safetensors.SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        raise UserError(
            f"{path} is damaged or not a weights file ({error}); download it again"
        ) from error


def _described(metadata: dict[str, str], path: Path) -> tuple[dict, dict]:
    if metadata.get("format") != FORMAT:
        raise UserError(f"{path} is a safetensors file, but not one of {FORMAT}")
    try:
        config, facts = json.loads(metadata["config"]), json.loads(metadata["facts"])
    except (KeyError, ValueError) as error:
        raise UserError(f"{path} is damaged ({error!r}); download it again") from error
    if not isinstance(config, dict) or not isinstance(facts, dict):
        raise UserError(f"{path} is damaged (its config is not a dict); download it again")
    return config, facts


def check(params: Params, config: dict, source: str) -> None:
    """Compares names and shapes with those of the model that `config` describes.

    Every number must be finite: one that is not makes a whole picture black.

    Args:
      params: nested dict of arrays.
      config: what `models.build` takes.
      source: where the parameters come from, for the message.

    Raises:
      UserError: a parameter is missing, unknown, of another shape or not finite.
    """
    flat = flax.traverse_util.flatten_dict(params, sep="/")
    given = {name: array.shape for name, array in flat.items()}
    wanted = _shapes_of_model(config, given, source)
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
    for name, array in flat.items():
        check_finite(array, name, source)


def _shapes_of_model(config: dict, given: Mapping[str, tuple], source: str) -> dict[str, tuple]:
    """The shapes of the parameters of a config's model, by their names."""
    from gaussiansr_jax import models

    # A damaged config must not make the library build a model of a million blocks.
    most = max(64, len(given), *(side for shape in given.values() for side in shape))
    settings = [(part, config.get(part)) for part in ("encoder", "head")]
    for part, key, value in (
        (part, *item)
        for part, found in settings
        if isinstance(found, dict)
        for item in found.items()
    ):
        if isinstance(value, int) and value > most:
            raise UserError(f"{source}: {key}={value} of the {part} does not fit its tensors")

    try:
        return models.parameter_shapes(config)
    except UserError as error:
        raise UserError(f"{source}: {error}") from error
    except Exception as error:  # whatever a damaged config makes the layers raise
        reason = (str(error).splitlines() or [""])[0]
        raise UserError(
            f"{source}: its config makes no model ({type(error).__name__}: {reason}); "
            "download it again"
        ) from error


def check_finite(array: np.ndarray, name: str, source: str) -> None:
    """Raises `UserError` if a tensor holds a number that is not finite."""
    bad = array.size - int(np.count_nonzero(np.isfinite(array)))
    if bad:
        raise UserError(
            f"{source}: {bad} of the {array.size} numbers of {name} are NaN or infinite, so every "
            "picture would be damaged; use another checkpoint"
        )


def _plain(tree: Any) -> Any:
    """Turns ConfigDicts, tuples and numpy numbers into what JSON stores."""
    if hasattr(tree, "to_dict"):
        tree = tree.to_dict()
    if isinstance(tree, dict):
        return {str(key): _plain(value) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return [_plain(value) for value in tree]
    return tree.item() if hasattr(tree, "item") else tree
