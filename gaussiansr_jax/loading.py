"""Finds a model by name or path.

A name is, in this order: `hf:owner/name` on the Hugging Face hub; a folder, of a training run or
with a `model.safetensors`; a file, whose content tells its kind, whatever it is called; a model
that is shipped with the package.
"""

import os
from pathlib import Path
from typing import Any, NamedTuple

from gaussiansr_jax import hub, weights
from gaussiansr_jax.errors import UserError, needs_extra
from gaussiansr_jax.upscaling.upscaler import Upscaler

# What `resolve` takes, besides the name of a shipped model; for messages.
OTHERS = (
    "a weights file, the folder of a training run, a PyTorch checkpoint of GaussianSR or LIIF, or "
    "hf:owner/name on the Hugging Face hub"
)


class ShippedModel(NamedTuple):
    """A model in the package: its name, one line about it, the size of its file in bytes."""

    name: str
    about: str
    size: int


def load(name_or_path: str | os.PathLike = weights.DEFAULT_WEIGHTS, **settings: Any) -> Upscaler:
    """Loads a model for upscaling.

    Args:
      name_or_path: as `resolve`.
      **settings: `dtype`, `self_ensemble`, `tile` and `block` of `Upscaler`.

    Raises:
      UserError: there are no such weights, or they are damaged.
    """
    params, config, facts = resolve(name_or_path)
    return Upscaler(params, config, facts, **settings)


def resolve(name_or_path: str | os.PathLike) -> weights.Loaded:
    """Reads weights from whatever a user names.

    Args:
      name_or_path: a shipped name; a `.safetensors` file of ours; the folder of a training run
        (the EMA weights of its best checkpoint are taken); a PyTorch checkpoint of GaussianSR or
        LIIF, `.pth` or safetensors (it is ported); or `hf:owner/name`, see `hub.download`.

    Returns:
      params, config, facts as `weights.load` gives them.

    Raises:
      UserError: nothing has that name, or it cannot be read.
    """
    if str(name_or_path).startswith(hub.PREFIX):
        file, origin = hub.download(str(name_or_path))
        params, config, facts = _read_file(file)
        return params, config, {**facts, "hub": origin}
    if not isinstance(name_or_path, str | os.PathLike) or not os.fspath(name_or_path):
        raise UserError(f"weights are named by text or a path, not {name_or_path!r}")
    path = Path(name_or_path)
    if path.is_dir():
        return _read_folder(path)
    if path.is_file():
        return _read_file(path)
    named = weights.SHIPPED / f"{name_or_path}.safetensors"
    if os.sep not in str(name_or_path) and named.is_file():
        return weights.load(named)
    raise UserError(
        f"there is no file and no model named {str(name_or_path)!r}; name one of the shipped "
        f"models ({', '.join(model.name for model in shipped())}), {OTHERS}"
    )


def push_to_hub(name_or_path: str | os.PathLike, repo: str, **options: Any) -> str:
    """Uploads weights to the Hugging Face hub.

    Args:
      name_or_path: as `resolve`.
      repo: "owner/name"; created if missing.
      **options: `dtype`, `private`, `license`, `message` of `hub.push`.

    Returns:
      The name to load exactly these weights by: `hf:owner/name@commit`.

    Raises:
      UserError: no such weights, or the hub refuses them.
    """
    return hub.push(resolve(name_or_path), repo, **options)


def shipped() -> list[ShippedModel]:
    """The models in the package, by name."""
    files = sorted(weights.SHIPPED.glob("*.safetensors"))
    return [
        ShippedModel(file.stem, weights.describe(file)[1].get("about", ""), file.stat().st_size)
        for file in files
    ]


def _read_folder(folder: Path) -> weights.Loaded:
    exported = folder / hub.FILE
    if exported.is_file():
        return _read_file(exported)
    with needs_extra("a training run", "train"):
        from gaussiansr_jax.training import checkpoints  # Orbax takes long to import

    params, config, facts = checkpoints.load_best(folder)
    weights.check(params, config, str(folder))
    return params, config, facts


def _read_file(path: Path) -> weights.Loaded:
    """Reads a file by its content."""
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(10)[8:] == b'{"'
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if is_safetensors and weights.is_ours(path):
        return weights.load(path)
    from gaussiansr_jax.porting import port

    return port.load(path)
