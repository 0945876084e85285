"""A small, safe reader of the files that `torch.save` writes. PyTorch is not needed.

Since PyTorch 1.6 such a file is a zip of uncompressed members: `NAME/data.pkl`, a pickle of the
saved value in which each tensor is a reference to a storage, and `NAME/data/KEY`, the bytes of each
storage. Before, it was five pickles and the storages one after the other. `inert_pickle` reads the
pickles, so nothing of the file is executed. Tensors are read only when asked for.
"""

import dataclasses
import io
import math
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import jax.numpy as jnp
import numpy as np

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting import inert_pickle

DTYPES = {
    "DoubleStorage": np.dtype(np.float64),
    "FloatStorage": np.dtype(np.float32),
    "HalfStorage": np.dtype(np.float16),
    "BFloat16Storage": np.dtype(jnp.bfloat16),
    "LongStorage": np.dtype(np.int64),
    "IntStorage": np.dtype(np.int32),
    "ShortStorage": np.dtype(np.int16),
    "CharStorage": np.dtype(np.int8),
    "ByteStorage": np.dtype(np.uint8),
    "BoolStorage": np.dtype(np.bool_),
}

# The first pickle of a file from before PyTorch 1.6: its magic number.
LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"
_AGAIN = "the file is damaged; download it again"


class _Source(Protocol):
    """Where the numbers of a file lie."""

    path: Path

    def values(self, key: str, dtype: np.dtype, length: int) -> np.ndarray: ...


@dataclasses.dataclass(frozen=True, slots=True)
class _Storage:
    source: _Source
    key: str
    dtype: np.dtype
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class TorchTensor:
    """A tensor of the file: where its numbers lie. `read` gets them."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Returns the numbers in a new array of shape `shape`.

        Raises:
          UserError: the tensor does not lie within its storage.
        """
        storage = self.storage
        values = storage.source.values(storage.key, storage.dtype, storage.length)
        # Checked here and not before, so that nothing can come between check and use.
        numbers = (self.offset, *self.shape, *self.strides)
        fits = len(self.shape) == len(self.strides) <= 32 and all(
            isinstance(n, int) and 0 <= n < 1 << 60 for n in numbers
        )
        if fits and 0 in self.shape:
            return np.zeros(self.shape, values.dtype)
        fits = fits and math.prod(self.shape) <= values.size
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=False))
        if not fits or self.offset + last >= values.size:
            raise UserError(
                f"{storage.source.path}: a tensor of shape {inert_pickle.short(self.shape)} "
                f"reaches beyond its storage of {values.size} numbers; {_AGAIN}"
            )
        size = values.itemsize
        strides = tuple(s * size for s in self.strides)
        # numpy checks the bounds of the buffer, too.
        return np.ndarray(self.shape, values.dtype, values, self.offset * size, strides).copy()


class _Zip:
    """The members of the zip file, by their names below its top folder."""

    def __init__(self, path: Path, content: bytes):
        self.path, self.file = path, zipfile.ZipFile(io.BytesIO(content))
        self.members = {name.partition("/")[2]: name for name in self.file.namelist()}
        order = self.read("byteorder") if "byteorder" in self.members else b"little"
        self.byteorder = ">" if order.strip() == b"big" else "<"

    def read(self, member: str) -> bytes:
        if member not in self.members:
            raise UserError(
                f"{self.path}: a zip file without {member!r}, which every PyTorch checkpoint has; "
                "is it the right file?"
            )
        name = self.members[member]
        if self.file.getinfo(name).compress_type != zipfile.ZIP_STORED:
            raise UserError(
                f"{self.path}: {name!r} is compressed, and PyTorch cannot read that either; "
                "unpack the .zip that was downloaded and name the file inside"
            )
        try:
            return self.file.read(name)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
            raise UserError(f"{self.path}: {name!r} cannot be read ({error}); {_AGAIN}") from error

    def values(self, key: str, dtype: np.dtype, length: int) -> np.ndarray:
        data = self.read(f"data/{key}")
        return _numbers(self.path, key, data, dtype.newbyteorder(self.byteorder), length)


class _Legacy:
    """The storages that follow the pickles of a file from before PyTorch 1.6."""

    def __init__(self, path: Path):
        self.path = path
        self.dtypes: dict[str, np.dtype] = {}  # of the storages that tensors refer to
        self.data: dict[str, bytes] = {}

    def read_storages(self, file: io.BytesIO, keys: Any) -> None:
        for key in keys if isinstance(keys, list) else []:
            if key not in self.dtypes:
                raise ValueError(f"the storage {inert_pickle.short(key)} belongs to no tensor")
            length = int.from_bytes(file.read(8), "little")
            self.data[key] = file.read(min(length, 1 << 40) * self.dtypes[key].itemsize)

    def values(self, key: str, dtype: np.dtype, length: int) -> np.ndarray:
        return _numbers(self.path, key, self.data.get(key, b""), dtype.newbyteorder("<"), length)


def _numbers(path: Path, key: str, data: bytes, dtype: np.dtype, length: int) -> np.ndarray:
    if len(data) != length * dtype.itemsize:
        raise UserError(
            f"{path}: storage {key} has {len(data)} bytes, {length * dtype.itemsize} were "
            f"announced; {_AGAIN}"
        )
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))


def _persistent(source: _Source, pid: Any) -> _Storage:
    match pid:
        case ("storage", inert_pickle.Name(path), str(key), str(), int(length), *view):
            kind = path.removeprefix("torch.").removeprefix("storage.")
            if kind not in DTYPES:
                return inert_pickle.Call(path, ())
            if view in ([], [None]) and 0 <= length < 1 << 60:
                if isinstance(source, _Legacy):
                    source.dtypes[key] = DTYPES[kind]
                return _Storage(source, key, DTYPES[kind], length)
    raise ValueError(f"not a reference to the storage of a tensor: {inert_pickle.short(pid)}")


def _call(call: inert_pickle.Call) -> Any:
    match call.path, call.arguments:
        case (
            "torch._utils._rebuild_tensor_v2" | "torch._utils._rebuild_tensor",
            (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
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
      UserError: there is no such file, it is not such a file (it says what it is), it is damaged,
        or loading it with PyTorch would call something that no checkpoint needs.
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
            archive = _Zip(path, content)
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


def _unpickle(file: io.BytesIO, source: _Source) -> Any:
    return inert_pickle.load(file, lambda pid: _persistent(source, pid), _call)


def _read_legacy(path: Path, file: io.BytesIO) -> Any:
    source = _Legacy(path)
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
