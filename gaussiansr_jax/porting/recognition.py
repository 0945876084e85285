"""Finds the weights in a checkpoint and tells which network they belong to, by names and shapes.

Training codes wrap a state_dict in their own way: as it is, under "state_dict", "params_ema", …,
with "module." (DataParallel) or "_orig_mod." (torch.compile) in the names, within a larger module.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import inert_pickle
from gaussiansr_jax.porting.networks import guess
from gaussiansr_jax.porting.torch_file import TorchTensor

Tensors = dict[str, Any]  # with a `shape`


class Found(NamedTuple):
    """A state_dict within a checkpoint.

    Attributes:
      path: the keys that lead to it.
      tensors: its tensors by name.
      spec: {"name": …, "args": …} of the model, which the official codes store beside it.
    """

    path: tuple[str, ...]
    tensors: Tensors
    spec: Mapping[str, Any] | None = None


_NOT_WEIGHTS = re.compile("optim|sched|callbacks|loops|discriminator|net_d|netD")
_WRAPPERS = re.compile(r"(^|\.)(module|_orig_mod)\.")
# One tensor that the network has, whatever its settings.
_ANCHORS = {
    "gaussian-splatter": "encoder.segmentation_head.0.weight",
    "liif": "imnet.layers.0.weight",
}
_EDSR_SIZES = {(16, 64): "edsr-baseline", (32, 256): "edsr-large"}  # blocks, channels


def state_dicts(value: Any, path: tuple[str, ...] = ()) -> Iterator[Found]:
    """All state_dicts of a checkpoint, but those of optimizers and discriminators.

    Args:
      value: what `torch_file.read` gives.
      path: the keys that led to it.
    """
    if not isinstance(value, Mapping) or len(path) > 4:
        return
    if isinstance(value.get("sd"), Mapping) and "name" in value:
        yield Found((*path, "sd"), dict(value["sd"]), value)
        return
    if any(_is_tensor(item) for item in value.values()):
        yield Found(path, {str(k): v for k, v in value.items() if _is_tensor(v)})
    for key, item in value.items():
        if not _NOT_WEIGHTS.search(str(key)):
            yield from state_dicts(item, (*path, str(key)))


def choose(value: Any, source: str) -> Found:
    """The state_dict of GaussianSR or LIIF in a checkpoint, by the names of the official code.

    Args:
      value: what `torch_file.read` gives, or tensors by name.
      source: the file, for messages.

    Raises:
      UserError: there is none; it says what there is.
    """
    found = list(state_dicts(value))
    for candidate in found:
        if candidate.spec is not None:
            return candidate._replace(tensors=_plain_names(candidate.tensors, source))
    # The moving average if there is one, else the outermost.
    found.sort(key=lambda found: ("ema" not in " ".join(found.path), len(found.path)))
    for candidate in found:
        if (tensors := _unwrapped(candidate.tensors, source)) is not None:
            return candidate._replace(tensors=tensors)
    if not found:
        raise UserError(
            f"{source}: no weights in it, but {_contents(value)}; in PyTorch, "
            "torch.save(model.state_dict(), 'weights.pth') writes a file that can be read"
        )
    raise UserError(f"{source}: {_of_another(max(found, key=lambda f: len(f.tensors)).tensors)}")


def config_of(tensors: Mapping[str, Any], source: str) -> dict:
    """Our config for the tensors of an official network that comes without its spec.

    Args:
      tensors: by their official names.
      source: the file, for messages.

    Raises:
      UserError: the network has another encoder, or other settings.
    """
    if _ANCHORS["gaussian-splatter"] in tensors:
        encoder, _ = _encoder(tensors, "encoder.edsr.", "GaussianSR", source)
        return {
            "encoder": {"name": encoder},
            "head": {"name": "gaussiansr", "splatting": "official"},
        }
    encoder, channels = _encoder(tensors, "encoder.", "LIIF", source)
    inputs = _side(tensors, _ANCHORS["liif"], 1)
    if inputs != 9 * channels + 4:
        raise UserError(
            f"{source}: the MLP of this LIIF has {inputs} inputs instead of {9 * channels + 4}: it "
            "was trained without feat_unfold or cell_decode, which is not supported"
        )
    return {"encoder": {"name": encoder}, "head": {"name": "liif"}}


def _encoder(tensors, prefix: str, model: str, source: str) -> tuple[str, int]:
    """The encoder's name and its number of channels."""
    if f"{prefix}SFENet1.weight" in tensors and model == "LIIF":
        return "rdn", 64
    if f"{prefix}body.0.body.0.weight" in tensors:
        name = re.compile(re.escape(prefix) + r"body\.\d+\.body\.0\.weight")
        blocks = sum(name.fullmatch(tensor) is not None for tensor in tensors)
        channels = _side(tensors, f"{prefix}head.0.weight", 0)
        if (blocks, channels) in _EDSR_SIZES:
            return _EDSR_SIZES[blocks, channels], channels
        sizes = " or ".join(f"{b} of {c}" for b, c in _EDSR_SIZES)
        raise UserError(
            f"{source}: {model} on an EDSR of {blocks} blocks of {channels} channels; the sizes "
            f"that can be read are {sizes}"
        )
    encoder = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
    raise UserError(
        f"{source}: {model} with an encoder that looks like {guess(encoder) or 'none we know'}; "
        "supported are EDSR, and RDN with LIIF"
    )


def _of_another(tensors: Tensors) -> str:
    names = [_WRAPPERS.sub(r"\1", name) for name in tensors]
    network = guess(names)
    first = ", ".join(map(inert_pickle.short, names[:3]))
    looks = f"these look like the weights of {network}" if network else f"weights named {first}, …"
    return (
        f"{looks}, which is not supported; only GaussianSR and LIIF can be read from PyTorch files"
    )


def _contents(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"a dict with {', '.join(map(inert_pickle.short, list(value)[:4])) or 'nothing'}"
    if isinstance(value, inert_pickle.Call | inert_pickle.Name):
        return f"an object of {value.path}"
    return f"a {type(value).__name__}"


def _unwrapped(tensors: Tensors, source: str) -> Tensors | None:
    """The tensors of an official network among these, by its names; None if there is none."""
    tensors = _plain_names(tensors, source)
    for anchor in _ANCHORS.values():
        prefixes = [name.removesuffix(anchor) for name in tensors if name.endswith(anchor)]
        prefixes = [p for p in prefixes if p == "" or p.endswith(".")]
        for prefix in sorted(prefixes, key=lambda p: ("ema" not in p, len(p))):
            within = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            if guess(within) in ("LTE", "CiaoSR") and anchor == _ANCHORS["liif"]:
                continue
            return _plain_names(within, source)
    return None


def _plain_names(tensors: Mapping[str, Any], source: str) -> Tensors:
    """The names that the official code has today, without those of wrappers."""
    plain: Tensors = {}
    for name, tensor in tensors.items():
        if not _is_tensor(tensor):
            raise UserError(f"{source}: {name} is a {type(tensor).__name__} and not a tensor")
        new = _WRAPPERS.sub(r"\1", _WRAPPERS.sub(r"\1", str(name)))
        new = re.sub(r"^fc\.", "dec.", new)
        if new in plain:
            raise UserError(f"{source}: {new} is there twice, under two names")
        plain[new] = tensor
    return plain


def _is_tensor(value: Any) -> bool:
    return isinstance(value, TorchTensor) or hasattr(value, "__array__")


def _side(tensors: Mapping[str, Any], name: str, axis: int) -> Any:
    """The length of an axis of a tensor; 0 if there is none."""
    shape = tuple(tensors[name].shape) if name in tensors else ()
    return shape[axis] if axis < len(shape) else 0
