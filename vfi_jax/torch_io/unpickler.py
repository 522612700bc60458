"""A pickle machine for state dicts: it builds descriptions of tensors and plain containers, and calls nothing else.

A pickle may name only what stands in `NAMES`; every other name is refused without being looked up, and opcodes that
state dicts do not need are missing. No opcode costs more memory or time than its own length and what it pops off the
stack: nothing is copied, compared, hashed or printed in depth, so that a bound on a pickle's bytes bounds the rest.
"""

from __future__ import annotations

import dataclasses
import io
import pickletools
import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

_MAX_DIMENSIONS = 32
_LITERALS = {"INT", "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINSTRING", "SHORT_BINSTRING"}
_LITERALS |= {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8"}


class BadFileError(Exception):
    """A file that cannot be read; the message is one line without its path."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """The type of a storage's elements.

    Attributes:
      stored: dtype of the bytes.
      result: dtype of the array; where `stored` is "u2" the bytes are the upper halves of float32s.
    """

    stored: str
    result: str

    @property
    def size(self) -> int:
        """Bytes of one element in the file."""
        return np.dtype(self.stored).itemsize


@dataclasses.dataclass(frozen=True)
class Storage:
    """Elements `[start, start + numel)` of the record `key`, which holds `record_numel` elements."""

    kind: Kind
    key: str
    record_numel: int
    start: int
    numel: int


@dataclasses.dataclass(frozen=True)
class Tensor:
    """A strided view of a storage, within its bounds; offset and stride in elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Call:
    """A function that a pickle may call."""

    make: Callable[..., Any]


def check(condition: bool, what: str) -> None:
    """Raises BadFileError, which names `what` is damaged, unless the condition holds."""
    if not condition:
        raise BadFileError(f"damaged: {what}; fetch it again")


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0  # bool is an int too


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Tensor:
    """`torch._utils._rebuild_tensor_v2` (rest: requires_grad, hooks, metadata) and its predecessor without rest."""
    check(isinstance(storage, Storage) and _is_count(offset), "a tensor without storage")
    check(type(size) is tuple and type(stride) is tuple and len(size) == len(stride), "a tensor without a shape")
    check(len(size) <= _MAX_DIMENSIONS and all(map(_is_count, size + stride)), "a tensor with an impossible shape")
    check(len(rest) < 3 or (len(rest) == 3 and not rest[2]), "a tensor with a pending negation or conjugation")
    if 0 not in size:
        last = offset + sum((count - 1) * step for count, step in zip(size, stride, strict=True))
        check(last < storage.numel, "a tensor reaches beyond its storage")
    return Tensor(storage, offset, size, stride)


def _parameter(data: Any, requires_grad: Any, hooks: Any) -> Tensor:
    check(isinstance(data, Tensor), "a parameter without a tensor")
    return data


def _ordered_dict(items: Any = None) -> dict[str | int, Any]:
    result: dict[str | int, Any] = {}
    if items is not None:  # as Python 2 wrote them: a list of pairs
        check(isinstance(items, list), "an odd ordered dict")
        for key, value in items:
            _set_item(result, key, value)
        items.clear()  # a list that is named many times is copied once
    return result


def _same(kind: type) -> Call:
    """A constructor that returns its first argument, which has to be of that kind."""

    def make(value: Any, *_: Any) -> Any:
        check(isinstance(value, kind), f"an odd {kind.__name__}")
        return value

    return Call(make)


def _set_item(mapping: Any, key: Any, value: Any) -> None:
    check(isinstance(mapping, dict) and isinstance(key, str | int), "a mapping with odd keys")
    mapping[key] = value


NAMES: dict[str, Call | Kind | str] = {
    "collections.OrderedDict": Call(_ordered_dict),
    "collections.Counter": _same(dict),  # in the state of learning rate schedules
    "torch._utils._rebuild_tensor": Call(_tensor),
    "torch._utils._rebuild_tensor_v2": Call(_tensor),
    "torch._utils._rebuild_parameter": Call(_parameter),
    "torch.Size": _same(tuple),
    "torch.device": _same(str),
    "torch.FloatStorage": Kind("f4", "f4"),
    "torch.DoubleStorage": Kind("f8", "f8"),
    "torch.HalfStorage": Kind("f2", "f2"),
    "torch.BFloat16Storage": Kind("u2", "f4"),
    "torch.LongStorage": Kind("i8", "i8"),
    "torch.IntStorage": Kind("i4", "i4"),
    "torch.ShortStorage": Kind("i2", "i2"),
    "torch.CharStorage": Kind("i1", "i1"),
    "torch.ByteStorage": Kind("u1", "u1"),
    "torch.BoolStorage": Kind("u1", "?"),
} | {
    f"torch.{dtype}": f"torch.{dtype}"  # among a checkpoint's settings
    for dtype in ("float32", "float64", "float16", "bfloat16", "int64", "int32", "int16", "int8", "uint8", "bool")
}


class Unpickler:
    """Runs the pickles of one file.

    Attributes:
      storages: key to kind and number of elements, of the storages that persistent ids name.
    """

    def __init__(self) -> None:
        self.storages: dict[str, tuple[Kind, int]] = {}

    def load(self, stream: io.BytesIO) -> Any:
        """Runs the next pickle of the stream and returns its object; the stream then stands behind the pickle.

        Raises:
          BadFileError: the pickle names something outside of `NAMES`, or describes an impossible tensor.
          ValueError, TypeError, LookupError: the pickle makes no sense.
        """
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # about escapes in names that are refused anyway
            for opcode, argument, _ in pickletools.genops(stream):
                self._step(opcode.name, argument)
        return self._stack.pop()

    def _step(self, opcode: str, argument: Any) -> None:
        if opcode in _LITERALS:
            self._stack.append(argument)
        elif opcode in _ACTIONS:
            _ACTIONS[opcode](self, argument)
        else:
            raise ValueError(f"pickle opcode {opcode}, which no state dict needs")

    def _push(self, value: Any) -> None:
        self._stack.append(value)

    def _mark(self) -> None:
        self._marks.append(len(self._stack))

    def _above_mark(self) -> list[Any]:
        start = self._marks.pop()
        popped = self._stack[start:]
        del self._stack[start:]
        return popped

    def _last(self, count: int) -> tuple[Any, ...]:
        start = len(self._stack) - count
        check(start >= 0, "a pickle that pops more than it pushed")
        popped = tuple(self._stack[start:])
        del self._stack[start:]
        return popped

    def _append(self, values: list[Any] | tuple[Any, ...]) -> None:
        check(isinstance(self._stack[-1], list), "an odd list")
        self._stack[-1].extend(values)

    def _set_items(self, values: list[Any] | tuple[Any, ...]) -> None:
        for key, value in zip(values[::2], values[1::2], strict=True):
            _set_item(self._stack[-1], key, value)

    def _put(self, at: int) -> None:
        self._memo[at] = self._stack[-1]

    def _name(self, name: str) -> None:
        if name not in NAMES:
            if not re.fullmatch(r"\w+(\.[\w<>]+)+", name):
                raise ValueError("a malformed name")
            raise BadFileError(
                f"names the function or class {name[:80]}; a weights file holds only tensors: "
                "do not load this file, or have its author save the state_dict() alone"
            )
        self._stack.append(NAMES[name])

    def _stack_name(self) -> None:
        module, name = self._last(2)
        check(isinstance(module, str) and isinstance(name, str), "an odd name")
        self._name(f"{module}.{name}")

    def _instance(self, name: str) -> None:
        self._name(name)
        raise ValueError("pickle opcode INST, which no state dict needs")

    def _call(self) -> None:
        function, arguments = self._last(2)
        check(isinstance(function, Call) and isinstance(arguments, tuple), "a call of something that is not a function")
        self._stack.append(function.make(*arguments))

    def _build(self) -> None:
        self._stack.pop()  # attributes of an ordered dict, such as a state dict's _metadata: nothing reads them
        check(isinstance(self._stack[-1], dict), "attributes of something that has none")

    def _storage(self) -> None:
        """A persistent id: ("storage", kind, key, device, numel) and, in the older format, a view or None."""
        identity = self._stack.pop()
        check(isinstance(identity, tuple) and len(identity) in (5, 6), "an odd storage")
        label, kind, key, _, numel, *view = identity
        known = label == "storage" and isinstance(kind, Kind) and isinstance(key, str) and _is_count(numel)
        check(known, "an odd storage")
        check(self.storages.setdefault(key, (kind, numel)) == (kind, numel), "one storage of two kinds")
        _, start, count = (view and view[0]) or (None, 0, numel)
        check(_is_count(start) and _is_count(count) and start + count <= numel, "a view beyond its storage")
        self._stack.append(Storage(kind, key, numel, start, count))


_ACTIONS: dict[str, Callable[[Unpickler, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "STOP": lambda machine, _: None,
    "NONE": lambda machine, _: machine._push(None),
    "NEWTRUE": lambda machine, _: machine._push(True),
    "NEWFALSE": lambda machine, _: machine._push(False),
    "MARK": lambda machine, _: machine._mark(),
    "EMPTY_TUPLE": lambda machine, _: machine._push(()),
    "TUPLE": lambda machine, _: machine._push(tuple(machine._above_mark())),
    "TUPLE1": lambda machine, _: machine._push(machine._last(1)),
    "TUPLE2": lambda machine, _: machine._push(machine._last(2)),
    "TUPLE3": lambda machine, _: machine._push(machine._last(3)),
    "EMPTY_LIST": lambda machine, _: machine._push([]),
    "APPEND": lambda machine, _: machine._append(machine._last(1)),
    "APPENDS": lambda machine, _: machine._append(machine._above_mark()),
    "EMPTY_DICT": lambda machine, _: machine._push({}),
    "SETITEM": lambda machine, _: machine._set_items(machine._last(2)),
    "SETITEMS": lambda machine, _: machine._set_items(machine._above_mark()),
    "BINPUT": lambda machine, at: machine._put(at),
    "LONG_BINPUT": lambda machine, at: machine._put(at),
    "MEMOIZE": lambda machine, _: machine._put(len(machine._memo)),
    "BINGET": lambda machine, at: machine._push(machine._memo[at]),
    "LONG_BINGET": lambda machine, at: machine._push(machine._memo[at]),
    "GLOBAL": lambda machine, name: machine._name(name.replace(" ", ".", 1)),
    "STACK_GLOBAL": lambda machine, _: machine._stack_name(),
    "INST": lambda machine, name: machine._instance(name.replace(" ", ".", 1)),
    "REDUCE": lambda machine, _: machine._call(),
    "BUILD": lambda machine, _: machine._build(),
    "BINPERSID": lambda machine, _: machine._storage(),
}
