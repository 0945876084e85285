"""A small, safe reader of the files that `torch.save` writes. PyTorch is not needed.

Since PyTorch 1.6 such a file is a zip of uncompressed members: `NAME/data.pkl`, a pickle of the
saved value in which each tensor is a reference to a storage, and `NAME/data/KEY`, the bytes of each
storage. Before, it was five pickles and the storages one after the other. `inert_pickle` reads the
pickles, so nothing of the file is executed. Tensors are read only when asked for.
"""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import inert_pickle
from gaussiansr_jax.porting.torch_tensor import (
    DTYPES,
    Legacy,
    Source,
    Storage,
    TorchTensor,
    Zip,
)

# The first pickle of a file from before PyTorch 1.6: its magic number.
LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"


def _persistent(source: Source, pid: Any) -> Storage:
    match pid:
        case ("storage", inert_pickle.Name(path), str(key), str(), int(length), *view):
            kind = path.removeprefix("torch.").removeprefix("storage.")
            if kind not in DTYPES:
                return inert_pickle.Call(path, ())
            if view in ([], [None]) and 0 <= length < 1 << 60:
                if isinstance(source, Legacy):
                    source.dtypes[key] = DTYPES[kind]
                return Storage(source, key, DTYPES[kind], length)
    raise ValueError(f"not a reference to the storage of a tensor: {inert_pickle.short(pid)}")


def _call(call: inert_pickle.Call) -> Any:
    match call.path, call.arguments:
        case (
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor",
            (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
        ):
            return TorchTensor(storage, offset, shape, strides)
        case "torch._utils._rebuild_parameter", (TorchTensor() as data, *_):
            return data
        case "torch._utils._rebuild_parameter_with_state", (TorchTensor() as data, *_):
            return data
        case "collections.defaultdict" | "collections.Counter", _:
            return {}
    return call  # an object that is not made, beside the weights


def read(path: str | Path) -> Any:
    """Reads what `torch.save` wrote, without PyTorch and without executing anything of it.

    Args:
      path: a checkpoint file of any name.

    Returns:
      The saved value: dicts, lists, numbers, strings, a `TorchTensor` for each tensor, and an
      `inert_pickle.Call` for each other object.

    Raises:
      UserError: there is no such file, it is not a PyTorch checkpoint (the message says what it
        is), it is damaged, or PyTorch would call something that no checkpoint needs.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    return parse(content, path)


def parse(content: bytes, path: Path) -> Any:
    """`read` of a file's content; `path` is for messages."""
    try:
        if content.startswith(b"PK\x03\x04"):
            archive = Zip(path, content)
            return _unpickle(io.BytesIO(archive.read("data.pkl")), archive)
        if LEGACY_MAGIC in content[:32]:
            return _read_legacy(path, io.BytesIO(content))
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path}: a PyTorch checkpoint that is cut off or damaged, {len(content)} bytes "
            f"long ({error}); download it again"
        ) from error
    except UserError:
        raise
    except inert_pickle.Refused as error:
        raise UserError(
            f"{path}: refused, loading it would call {error}, which weights do not need. "
            "If you trust the file, load it there and save the weights alone: "
            "torch.save(model.state_dict(), 'weights.pth')"
        ) from error
    except Exception as error:  # a damaged file can raise nearly anything
        raise UserError(
            f"{path}: its contents are damaged ({type(error).__name__}: {error}); download it again"
        ) from error
    raise UserError(f"{path}: not a PyTorch checkpoint: {what_it_is(content[:512])}")


def _unpickle(file: io.BytesIO, source: Source) -> Any:
    return inert_pickle.load(file, lambda pid: _persistent(source, pid), _call)


def _read_legacy(path: Path, file: io.BytesIO) -> Any:
    source = Legacy(path)
    _magic, _protocol, system = (_unpickle(file, source) for _ in range(3))
    if not isinstance(system, Mapping) or system.get("little_endian") is not True:
        raise ValueError("it was written on a big-endian machine")
    value = _unpickle(file, source)
    source.read_storages(file, _unpickle(file, source))
    return value


def what_it_is(head: bytes) -> str:
    """What a file that is not a checkpoint is, by its first bytes; for messages."""
    if not head:
        return "the file is empty; download it again"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, the place of a file that was not fetched; run `git lfs pull`"
    if head.lstrip()[:1] == b"<":
        return "a web page, probably instead of the download; get the file itself"
    if head[8:10] == b'{"':
        return "a safetensors file"
    if head.startswith(b"\x80"):
        return "a bare pickle; write the weights with torch.save or as safetensors"
    return f"it starts with {head[:8]!r}"
