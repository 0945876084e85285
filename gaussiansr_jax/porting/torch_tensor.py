"""Where the numbers of tensors lie in PyTorch's files, and how they are read.

Offsets, shapes and strides come from the file: they are checked where the memory is read.
"""

import dataclasses
import io
import math
import zipfile
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import jax.numpy as jnp
import numpy as np

from gaussiansr_jax.errors import UserError
from gaussiansr_jax.porting.inert_pickle import short

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

_AGAIN = "the file is damaged; download it again"


@runtime_checkable
class Source(Protocol):
    """A file that holds storages."""

    path: Path

    def values(self, key: str, dtype: np.dtype, length: int) -> np.ndarray:
        """The numbers of a storage.

        Raises:
          UserError: it is missing, or does not have `length` numbers.
        """
        ...


@dataclasses.dataclass(frozen=True, slots=True)
class Storage:
    """`length` numbers that tensors refer to."""

    source: Source
    key: str
    dtype: np.dtype
    length: int


@dataclasses.dataclass(frozen=True, slots=True)
class TorchTensor:
    """A tensor of the file: where its numbers lie. `read` gets them."""

    storage: Storage
    offset: int
    shape: tuple[Any, ...]  # whatever the file says, until `read` checks it
    strides: tuple[Any, ...]

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
                f"{storage.source.path}: a tensor of shape {short(self.shape)} "
                f"reaches beyond its storage of {values.size} numbers; {_AGAIN}"
            )
        size = values.itemsize
        strides = tuple(s * size for s in self.strides)
        # numpy checks the bounds of the buffer, too.
        return np.ndarray(self.shape, values.dtype, values, self.offset * size, strides).copy()


class Zip:
    """The members of the zip file, by their names below its top folder."""

    def __init__(self, path: Path, content: bytes):
        self.path, self.file = path, zipfile.ZipFile(io.BytesIO(content))
        self.members = {name.partition("/")[2]: name for name in self.file.namelist()}
        order = self.read("byteorder") if "byteorder" in self.members else b"little"
        self.byteorder = ">" if order.strip() == b"big" else "<"

    def read(self, member: str) -> bytes:
        """The content of a member.

        Raises:
          UserError: it is missing, compressed or damaged.
        """
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
        """As `Source.values`."""
        data = self.read(f"data/{key}")
        return _numbers(self.path, key, data, dtype.newbyteorder(self.byteorder), length)


class Legacy:
    """The storages that follow the pickles of a file from before PyTorch 1.6."""

    def __init__(self, path: Path):
        self.path = path
        self.dtypes: dict[str, np.dtype] = {}  # of the storages that tensors refer to
        self.data: dict[str, bytes] = {}

    def read_storages(self, file: io.BytesIO, keys: Any) -> None:
        """Reads the storages, which lie in the order of `keys`."""
        for key in keys if isinstance(keys, list) else []:
            if key not in self.dtypes:
                raise ValueError(f"the storage {short(key)} belongs to no tensor")
            length = int.from_bytes(file.read(8), "little")
            self.data[key] = file.read(min(length, 1 << 40) * self.dtypes[key].itemsize)

    def values(self, key: str, dtype: np.dtype, length: int) -> np.ndarray:
        """As `Source.values`."""
        return _numbers(self.path, key, self.data.get(key, b""), dtype.newbyteorder("<"), length)


def _numbers(path: Path, key: str, data: bytes, dtype: np.dtype, length: int) -> np.ndarray:
    if len(data) != length * dtype.itemsize:
        raise UserError(
            f"{path}: storage {key} has {len(data)} bytes, {length * dtype.itemsize} were "
            f"announced; {_AGAIN}"
        )
    return np.frombuffer(data, dtype).astype(dtype.newbyteorder("="))
