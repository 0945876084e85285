"""Reads a pickle as data: nothing that it names is imported, called or changed.

A pickle is a program for a small stack machine, and Python's own unpickler calls whatever the
program names. This one runs the few opcodes that checkpoints are made of. What would be a call
becomes a `Call`, a record of the name and the arguments; the caller decides what it stands for.
Names outside a list of harmless modules end the reading, so that a malicious file is told apart
from a checkpoint with some unknown object beside its weights.
"""

import dataclasses
import pickletools
import reprlib
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

# Modules whose objects stand beside the weights in checkpoints. They are not imported.
HARMLESS = frozenset(
    {
        *(
            "torch",
            "torchvision",
            "numpy",
            "_codecs",
            "collections",
            "argparse",
            "pathlib",
            "datetime",
        ),
        *("omegaconf", "pytorch_lightning", "lightning", "lightning_fabric", "lightning_utilities"),
        *("mmengine", "timm", "ml_collections", "easydict", "addict"),
    }
)
_CONTAINERS = {
    "collections.OrderedDict": dict,
    "builtins.set": set,
    "__builtin__.set": set,
    "torch.Size": tuple,
}


class Refused(ValueError):
    """The pickle names something that no file of weights needs."""


@dataclasses.dataclass(frozen=True, slots=True)
class Name:
    """What the pickle would import."""

    path: str


@dataclasses.dataclass(frozen=True, slots=True)
class Call:
    """What the pickle would make by calling something: an object that is not made."""

    path: str
    arguments: Any


class _Mark:
    """Where a run of values begins on the stack."""


# Opcodes that push the value that follows them in the file.
_ARGUMENTS = frozenset(
    {
        *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
        *("STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
        *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    }
)
# Opcodes that push something new.
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict,
    "EMPTY_LIST": list,
    "EMPTY_TUPLE": tuple,
    "EMPTY_SET": set,
    "MARK": _Mark,
}
# Opcodes that take all values down to the last mark.
_FROM_MARK: dict[str, Callable[[list], Any]] = {
    "TUPLE": tuple,
    "LIST": list,
    "DICT": lambda values: dict(_pairs(values)),
}


def load(file: BinaryIO, persistent: Callable[[Any], Any], call: Callable[[Call], Any]) -> Any:
    """Reads one pickle and leaves `file` behind its end.

    Args:
      file: an open file.
      persistent: gives the value for a persistent id.
      call: gives the value for a `Call`; may return it as it is.

    Returns:
      The pickled value. An OrderedDict is a dict.

    Raises:
      Refused: it names something outside of `HARMLESS`.
      ValueError: it is damaged, or uses an opcode that no checkpoint has.
    """
    stack: list[Any] = []
    memo: dict[int, Any] = {}
    for opcode, argument, _ in pickletools.genops(file):
        name = opcode.name
        if name == "STOP":
            return _pop(stack)
        if name in _ARGUMENTS:
            stack.append(argument)
        elif name in _NEW:
            stack.append(_NEW[name]())
        elif name in _FROM_MARK:
            stack.append(_FROM_MARK[name](_pop_mark(stack)))
        elif name in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
            memo[len(memo) if name == "MEMOIZE" else argument] = _top(stack)
        elif name in ("BINGET", "LONG_BINGET", "GET"):
            if argument not in memo:
                raise ValueError(f"memo {argument} is not there")
            stack.append(memo[argument])
        elif name in ("TUPLE1", "TUPLE2", "TUPLE3"):
            stack.append(tuple(_pop_many(stack, int(name[-1]))))
        elif name in ("APPENDS", "ADDITEMS", "SETITEMS"):
            values = _pop_mark(stack)
            _add(_top(stack), values)
        elif name in ("APPEND", "SETITEM"):
            values = _pop_many(stack, 1 if name == "APPEND" else 2)
            _add(_top(stack), values)
        elif name in ("GLOBAL", "INST"):
            stack.append(_named(argument.replace(" ", ".", 1)))
            if name == "INST":
                raise ValueError("the opcode INST, which no checkpoint has")
        elif name == "STACK_GLOBAL":
            module, attribute = _pop_many(stack, 2)
            if not (isinstance(module, str) and isinstance(attribute, str)):
                raise ValueError(f"the name {short(module)}.{short(attribute)}")
            stack.append(_named(f"{module}.{attribute}"))
        elif name in ("REDUCE", "NEWOBJ"):
            function, arguments = _pop_many(stack, 2)
            stack.append(_called(function, arguments, call))
        elif name == "BINPERSID":
            stack.append(persistent(_pop(stack)))
        elif name == "BUILD":
            # Attributes are not set: PyTorch's state_dicts have the versions of their modules in
            # one, which is not needed here.
            _pop(stack)
            _top(stack)
        elif name == "POP":
            _pop(stack)
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"the opcode {name}, which no checkpoint has")
    raise ValueError("no end")


def _named(path: str) -> Name:
    if path not in _CONTAINERS and path.partition(".")[0] not in HARMLESS:
        raise Refused(path)
    return Name(path)


def _called(function: Any, arguments: Any, call: Callable[[Call], Any]) -> Any:
    if not isinstance(function, Name) or not isinstance(arguments, tuple):
        raise ValueError(f"a call of {short(function)}")
    if function.path not in _CONTAINERS:
        return call(Call(function.path, arguments))
    made = _CONTAINERS[function.path]()
    if not arguments:
        return made
    if len(arguments) != 1 or not isinstance(arguments[0], list | tuple):
        raise ValueError(f"{function.path} of {short(arguments)}")
    if isinstance(made, tuple):
        return tuple(arguments[0])
    values = arguments[0]
    _add(made, [x for pair in values for x in pair] if isinstance(made, dict) else values)
    return made


def _add(container: Any, values: list[Any]) -> None:
    match container:
        case list():
            container.extend(values)
        case dict():
            container.update(_pairs(values))
        case set():
            container.update(_key(value) for value in values)
        case Call():  # an unknown object that is a list or dict, too
            pass
        case _:
            raise ValueError(f"values for {short(container)}")


def _pairs(values: list[Any]) -> Iterator[tuple[Any, Any]]:
    if len(values) % 2:
        raise ValueError("a key without a value")
    return ((_key(key), value) for key, value in zip(values[::2], values[1::2], strict=True))


def _key(value: Any) -> Any:
    # Hashing deeply nested tuples would overflow the C stack.
    if isinstance(value, tuple):
        return short(value)
    if value is None or isinstance(value, str | bytes | int | float):
        return value
    raise ValueError(f"the key {short(value)}")


def _top(stack: list[Any]) -> Any:
    if not stack or isinstance(stack[-1], _Mark):
        raise ValueError("a value is missing")
    return stack[-1]


def _pop(stack: list[Any]) -> Any:
    _top(stack)
    return stack.pop()


def _pop_many(stack: list[Any], count: int) -> list[Any]:
    return [_pop(stack) for _ in range(count)][::-1]


def _pop_mark(stack: list[Any]) -> list[Any]:
    values = []
    while stack and not isinstance(stack[-1], _Mark):
        values.append(stack.pop())
    if not stack:
        raise ValueError("a mark is missing")
    stack.pop()
    return values[::-1]


def short(value: Any) -> str:
    """A `repr` of bounded length, for messages: a small pickle can hold a huge value."""
    return reprlib.repr(value)
