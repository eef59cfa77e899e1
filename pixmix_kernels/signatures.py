"""A kernel's C signature, read off its annotations, and arguments laid out as it asks.

An entry's C function takes the address of one block of 64-bit words:

    array              address of its first element, then a word a dimension
    int, bool, np.uint64 and the like
                       one word
    float, np.float32  one word, the bits of a double
    tuple[...]         its elements one after the other
    a record           the address of a block like this one, of its fields
"""

from __future__ import annotations

import ctypes
import functools
import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

_ELEMENTS = {
    "U8": np.uint8, "U16": np.uint16, "U32": np.uint32, "U64": np.uint64,
    "I16": np.int16, "I32": np.int32, "I64": np.int64, "F32": np.float32, "F64": np.float64,
}  # fmt: skip
_ARRAY = re.compile(r"(?:\w+\.)?([UIF]\d+)(?:x(\d))?")
# annotation: (code of struct for its word, NumPy name)
_SCALARS = {
    "int": ("q", "int64"), "bool": ("q", "bool_"), "float": ("d", "float64"),
    "np.int32": ("q", "int32"), "np.int64": ("q", "int64"), "np.uint32": ("q", "uint32"),
    "np.uint64": ("Q", "uint64"), "np.float32": ("d", "float32"), "np.float64": ("d", "float64"),
}  # fmt: skip


@dataclass(frozen=True)
class Array:
    """A C-contiguous array."""

    dtype: np.dtype[Any]
    dimensions: int

    @property
    def words(self) -> int:
        """64-bit words in a block."""
        return 1 + self.dimensions


@dataclass(frozen=True)
class Scalar:
    """A number."""

    code: str  # of its word, as in struct
    kind: str  # NumPy's name
    words: int = 1


@dataclass(frozen=True)
class Tuple:
    """Several values of fixed types."""

    elements: tuple[Type, ...]

    @property
    def words(self) -> int:
        """64-bit words in a block."""
        return sum(element.words for element in self.elements)


@dataclass(frozen=True)
class Record:
    """A named tuple of arrays, handed on by address."""

    cls: Any
    fields: tuple[Type, ...]
    words: int = 1


Type = Array | Scalar | Tuple | Record


def read(annotation: str, scope: dict[str, Any]) -> Type:
    """The type that an annotation names.

    scope   globals of the module that it stands in, for names of records
    raises  TypeError if it is none of the above
    """
    annotation = annotation.strip()
    if annotation in _SCALARS:
        return Scalar(*_SCALARS[annotation])
    array = _ARRAY.fullmatch(annotation)
    if array and array[1] in _ELEMENTS:
        return Array(np.dtype(_ELEMENTS[array[1]]), int(array[2] or 1))
    if annotation.startswith("tuple[") and annotation.endswith("]"):
        parts = annotation[6:-1].split(",")
        return Tuple(tuple(read(part, scope) for part in parts))
    cls: Any = scope.get(annotation.partition(".")[0])
    for name in annotation.split(".")[1:]:
        cls = getattr(cls, name, None)
    if hasattr(cls, "_fields"):
        return record_type(cls)
    raise TypeError(f"no type of a kernel's argument: {annotation!r}")


@functools.cache
def record_type(cls: Any) -> Record:
    """The type of a named tuple whose annotations are those of arrays."""
    import sys

    scope = vars(sys.modules[cls.__module__])
    written = next(filter(None, (getattr(c, "__annotations__", None) for c in cls.__mro__)))
    texts = [getattr(text, "__forward_arg__", text) for text in written.values()]
    return Record(cls, tuple(read(text, scope) for text in texts))


def of(function: Callable[..., Any]) -> list[Type]:
    """The types of an entry's arguments, in order."""
    scope = function.__globals__
    hints = {k: v for k, v in function.__annotations__.items() if k != "return"}
    names = function.__code__.co_varnames[: function.__code__.co_argcount]
    return [read(hints[name], scope) for name in names]


_Byte = ctypes.c_char


def address(array: np.ndarray[Any, Any]) -> int:
    """Where an array's first element lies."""
    try:
        # a third of the time of array.ctypes.data, which makes three objects
        return ctypes.addressof(_Byte.from_buffer(cast(Any, array)))
    except (TypeError, ValueError, BufferError):  # read-only, or without elements
        return array.ctypes.data


def _put(kind: Type, value: Any, name: str, words: list[Any]) -> None:
    """Append a value's words. TypeError if it is not of that type."""
    if isinstance(kind, Array):
        right = (
            isinstance(value, np.ndarray)
            and value.dtype == kind.dtype
            and value.ndim == kind.dimensions
            and value.flags.c_contiguous
        )
        if not right:
            found = getattr(value, "dtype", type(value).__name__)
            raise TypeError(
                f"{name} takes C-contiguous {kind.dtype} of {kind.dimensions} dimensions, "
                f"not {found} of shape {getattr(value, 'shape', '()')}"
            )
        words.append(address(value))
        words.extend(value.shape)
    elif isinstance(kind, Scalar):
        words.append(float(value) if kind.code == "d" else int(value))
    elif isinstance(kind, Tuple):
        if len(value) != len(kind.elements):
            raise TypeError(f"{name} takes {len(kind.elements)} elements, not {len(value)}")
        for element, part in zip(kind.elements, value):
            _put(element, part, name, words)
    else:
        words.append(_record_address(kind, value))


def _record_address(kind: Record, value: Any) -> int:
    """Where the block of a record lies; it lives as long as the record."""
    kept = value.__dict__.get("_block")
    if kept is None:
        words: list[Any] = []
        for field, name, part in zip(kind.fields, value._fields, value, strict=True):
            _put(field, part, f"{type(value).__name__}.{name}", words)
        kept = value.__dict__["_block"] = np.array(words, np.int64)
        value.__dict__["_address"] = kept.ctypes.data
    where: int = value.__dict__["_address"]
    return where


def codes(kind: Type) -> str:
    """A type's words as codes of struct."""
    if isinstance(kind, Scalar):
        return kind.code
    if isinstance(kind, Tuple):
        return "".join(codes(element) for element in kind.elements)
    return "q" * kind.words


def packer(function: Callable[..., Any]) -> Callable[..., bytes]:
    """A function of an entry's arguments that gives its block."""
    kinds = of(function)
    name = function.__qualname__
    layout = struct.Struct("=" + "".join(codes(kind) for kind in kinds))
    names = function.__code__.co_varnames[: len(kinds)]
    labels = [f"{name}: {argument}" for argument in names]
    rows = list(zip(kinds, labels))

    def pack(*arguments: Any) -> bytes:
        if len(arguments) != len(rows):
            raise TypeError(f"{name} takes {len(rows)} arguments, not {len(arguments)}")
        words: list[Any] = []
        for (kind, label), value in zip(rows, arguments):
            _put(kind, value, label, words)
        return layout.pack(*words)

    return pack
