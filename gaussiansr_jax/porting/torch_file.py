"""A small, safe reader of the zip files that `torch.save` writes. PyTorch is not needed.

Such a file is a zip of uncompressed members: `NAME/data.pkl`, a pickle of the saved object in which
each tensor is a reference to a storage, and `NAME/data/KEY`, the bytes of each storage. A pickle
can call anything that it can import, so the reader here resolves five harmless names itself and
refuses every other: nothing of the file is executed. Tensors are read only when asked for.
"""

import collections
import dataclasses
import io
import pickle
import pickletools
import zipfile
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from gaussiansr_jax.errors import UserError

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

_LEGACY_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19"  # the first pickled number before PyTorch 1.6
_SAVE_AGAIN = "load it with PyTorch and save it again with torch.save"


@dataclasses.dataclass(frozen=True)
class _StorageType:
    dtype: np.dtype


@dataclasses.dataclass(frozen=True)
class _Storage:
    archive: "_Archive"
    key: str
    dtype: np.dtype
    length: int


@dataclasses.dataclass(frozen=True)
class TorchTensor:
    """A tensor of the file: where its numbers lie. `read` gets them."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def read(self) -> np.ndarray:
        """Returns the numbers in a new array of shape `shape`.

        Raises:
          UserError: the storage is shorter than the tensor needs.
        """
        values = self.storage.archive.values(self.storage)
        if 0 in self.shape:
            return np.zeros(self.shape, values.dtype)
        last = sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if self.offset + last >= values.size:
            raise UserError(
                f"{self.storage.archive.path}: a tensor of shape {self.shape} reaches beyond its "
                f"storage of {values.size} numbers; the file is damaged, get it again"
            )
        strides = tuple(s * values.itemsize for s in self.strides)
        return np.lib.stride_tricks.as_strided(values[self.offset :], self.shape, strides).copy()


class _Archive:
    """The members of the zip file, by their names below its top folder."""

    def __init__(self, path: Path, file: zipfile.ZipFile):
        self.path, self.file = path, file
        self.members = {name.partition("/")[2]: name for name in file.namelist()}
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
                f"{self.path}: {name!r} is compressed, torch.save never does that; {_SAVE_AGAIN}"
            )
        try:
            return self.file.read(name)
        except (zipfile.BadZipFile, EOFError, OSError, RuntimeError, ValueError) as error:
            raise UserError(
                f"{self.path}: {name!r} cannot be read ({error}); the file is damaged, get it again"
            ) from error

    def values(self, storage: _Storage) -> np.ndarray:
        data = self.read(f"data/{storage.key}")
        if len(data) != storage.length * storage.dtype.itemsize:
            raise UserError(
                f"{self.path}: storage {storage.key} has {len(data)} bytes, "
                f"{storage.length * storage.dtype.itemsize} were announced; "
                "the file is damaged, get it again"
            )
        return np.frombuffer(data, storage.dtype.newbyteorder(self.byteorder)).astype(storage.dtype)


class _Unpickler(pickle.Unpickler):
    """Resolves the few names that a state_dict needs, to functions of this module."""

    def __init__(self, archive: _Archive):
        data = archive.read("data.pkl")
        # An absurd memo index would make the unpickler allocate that many entries.
        for opcode, argument, _ in pickletools.genops(data):
            if "PUT" in opcode.name and argument > len(data):
                raise ValueError(f"memo index {argument}")
        super().__init__(io.BytesIO(data))
        self.archive = archive

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        # Fresh functions, because a pickle may set attributes of what it was given.
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda *arguments: _tensor(*arguments)
        if (module, name) == ("torch._utils", "_rebuild_parameter"):
            return lambda data, *_ignored: data
        if (module, name) == ("torch", "Size"):
            return tuple
        if module in ("torch", "torch.storage") and name in DTYPES:
            return _StorageType(DTYPES[name])
        raise UserError(
            f"{self.archive.path}: refused, loading it would call {module}.{name}; a checkpoint "
            "of weights needs no such thing. If you trust the file, save its state_dict alone"
        )

    def persistent_load(self, pid: Any) -> _Storage:
        match pid:
            case ("storage", _StorageType(dtype), str(key), str(), int(length)):
                return _Storage(self.archive, key, dtype, length)
        raise UserError(f"{self.archive.path}: not a reference to a tensor's storage: {pid!r}")


def _tensor(storage, offset, shape, strides, *_ignored) -> TorchTensor:
    shape, strides = tuple(shape), tuple(strides)
    numbers = (offset, *shape, *strides)
    if (
        not isinstance(storage, _Storage)
        or len(shape) != len(strides)
        or not all(isinstance(n, int) and n >= 0 for n in numbers)
    ):
        raise UserError(f"a damaged tensor: shape {shape}, strides {strides}, offset {offset}")
    return TorchTensor(storage, offset, shape, strides)


def read(path: str | Path) -> Any:
    """Reads what `torch.save` wrote, without PyTorch and without executing anything of it.

    Args:
      path: a checkpoint file (.pth, .pt) of PyTorch 1.6 or newer.

    Returns:
      The saved object: dicts, lists, numbers, strings, and a `TorchTensor` for each tensor.

    Raises:
      UserError: there is no such file, it is not such a file (it says what it is), it is damaged,
        or loading it would call something.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    if not content.startswith(b"PK\x03\x04"):
        raise UserError(f"{path}: not a PyTorch checkpoint: {_what_it_is(content[:512])}")
    try:
        return _Unpickler(_Archive(path, zipfile.ZipFile(io.BytesIO(content)))).load()
    except zipfile.BadZipFile as error:
        raise UserError(
            f"{path}: a PyTorch checkpoint that is cut off or damaged, {len(content)} bytes "
            f"long ({error}); get it again"
        ) from error
    except UserError:
        raise
    except Exception as error:  # a damaged pickle can raise nearly anything
        raise UserError(
            f"{path}: its contents are damaged ({type(error).__name__}: {error}); get it again"
        ) from error


def _what_it_is(head: bytes) -> str:
    if not head:
        return "the file is empty; get it again"
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, the place of a file that was not fetched; run `git lfs pull`"
    if _LEGACY_MAGIC in head[:32]:
        return f"the format of PyTorch before 1.6; {_SAVE_AGAIN}"
    if head.lstrip()[:1] == b"<":
        return "a web page, probably instead of the download; get the file itself"
    if head[8:10] == b'{"':
        return "a safetensors file, which needs no porting"
    if head.startswith(b"\x80"):
        return f"a bare pickle; {_SAVE_AGAIN}"
    return f"it starts with {head[:8]!r}"
