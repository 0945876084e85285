"""Writes nested dicts of arrays as a file that `torch.load(…, weights_only=True)` reads.

The pickle inside names PyTorch's own functions, which Python's pickler can only write where PyTorch
is installed. A checkpoint needs few kinds of values, so this writes their opcodes itself.
"""

import collections
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from gaussiansr_jax.files import atomic_write

_STORAGES = {
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.int64): "LongStorage",
}


def write(path: str | Path, value: Any) -> None:
    """Writes `value` as `torch.save(value, path)` would, all at once or not at all.

    Args:
      path: the file; its stem becomes the name of the zip's top folder.
      value: dicts, OrderedDicts, lists, strings, numbers, booleans, None, and numpy arrays
        (float32, float64, int64), which become tensors.

    Raises:
      TypeError: something else is in `value`.
      UserError: the file cannot be written.
    """
    path = Path(path)
    storages: list[np.ndarray] = []
    pickled = pickle.PROTO + b"\x02" + _opcodes(value, storages) + pickle.STOP
    with atomic_write(path) as temporary, zipfile.ZipFile(temporary, "w") as file:
        _member(file, f"{path.stem}/data.pkl", pickled)
        _member(file, f"{path.stem}/byteorder", b"little")
        for key, array in enumerate(storages):
            little = array.astype(array.dtype.newbyteorder("<"))
            _member(file, f"{path.stem}/data/{key}", little.tobytes())
        _member(file, f"{path.stem}/version", b"3\n")


def _member(file: zipfile.ZipFile, name: str, data: bytes) -> None:
    # A fixed date, so that the same weights give the same file.
    file.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)


def _opcodes(value: Any, storages: list[np.ndarray]) -> bytes:
    def each(values) -> bytes:
        return pickle.MARK + b"".join(_opcodes(v, storages) for v in values)

    match value:
        case None:
            return pickle.NONE
        case bool():
            return pickle.NEWTRUE if value else pickle.NEWFALSE
        case int():
            return pickle.BININT + struct.pack("<i", value)
        case float():
            return pickle.BINFLOAT + struct.pack(">d", value)
        case str():
            data = value.encode()
            return pickle.BINUNICODE + struct.pack("<I", len(data)) + data
        case tuple():
            return each(value) + pickle.TUPLE
        case list():
            return pickle.EMPTY_LIST + each(value) + pickle.APPENDS
        case dict():
            new = pickle.EMPTY_DICT
            if isinstance(value, collections.OrderedDict):
                new = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
            return new + each(x for item in value.items() for x in item) + pickle.SETITEMS
        case np.ndarray() if value.dtype in _STORAGES:
            return _tensor(value, storages)
    raise TypeError(f"cannot write {type(value).__name__} {getattr(value, 'dtype', '')}")


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _tensor(array: np.ndarray, storages: list[np.ndarray]) -> bytes:
    array = np.ascontiguousarray(array).reshape(array.shape)
    strides = tuple(s // array.itemsize for s in array.strides)
    key = str(len(storages))
    storages.append(array)

    def plain(value: Any) -> bytes:
        return _opcodes(value, storages)

    storage = (
        pickle.MARK
        + plain("storage")
        + _global("torch", _STORAGES[array.dtype])
        + b"".join(plain(v) for v in (key, "cpu", array.size))
        + pickle.TUPLE
        + pickle.BINPERSID
    )
    hooks = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    arguments = storage + b"".join(plain(v) for v in (0, array.shape, strides, False)) + hooks
    return (
        _global("torch._utils", "_rebuild_tensor_v2")
        + pickle.MARK
        + arguments
        + pickle.TUPLE
        + pickle.REDUCE
    )
