"""Pickles of plain data, read with nothing executed.

Dictionaries, lists, texts, numbers and NumPy arrays are rebuilt; whatever else a pickle asks for is
refused by name.
"""

from __future__ import annotations

import io
import pickle
from typing import Any

import numpy as np

from pixmix_cli.errors import InputError


class PlainArray:
    """What a pickle says of a NumPy array: nothing is computed or allocated from it.

    shape  as many values as there are bytes for; () of an array in another form
    kind   of its values, as NumPy writes it: "u1"
    data   its bytes
    start  where they begin in the pickle; -1 when they do not lie there as they are
    """

    def __init__(self, pickled: bytes) -> None:
        """Nothing known yet."""
        self._pickled = pickled
        self._dtype = PlainType("")
        self.shape: tuple[int, ...] = ()
        self.data: bytes | bytearray = b""
        self.start = -1

    @property
    def kind(self) -> str:
        """Of its values, as NumPy writes it, without the byte order."""
        return self._dtype.name

    def numbers(self) -> list[int] | None:
        """The values of a list of whole numbers; None for another array."""
        if not self._dtype.is_whole or len(self.shape) != 1:
            return None
        found: list[int] = np.frombuffer(self.data, self._dtype.order + self.kind).tolist()
        return found

    def __setstate__(self, state: Any) -> None:
        """What pickle's BUILD gives: (version, shape, dtype, Fortran order, bytes)."""
        _, shape, dtype, fortran, data = state
        if fortran:
            raise ValueError("an array in another form")
        self.fill(data, dtype, shape)

    def fill(self, data: Any, dtype: Any, shape: Any) -> None:
        """Take what is known; raises ValueError for an array that cannot be."""
        count = 1
        for side in shape:
            if type(side) is not int or side < 0:
                raise ValueError("an array of impossible shape")
            count *= side
        if not isinstance(dtype, PlainType) or not isinstance(data, bytes | bytearray):
            raise ValueError("an array in another form")
        if dtype.is_whole and len(data) == count * dtype.size:
            self._dtype, self.shape, self.data = dtype, tuple(shape), data
            self.start = self._pickled.find(data) if data else -1


class PlainType:
    """What a pickle says of a NumPy dtype."""

    def __init__(self, name: Any, *ignored: Any) -> None:
        """name: as "u1"."""
        self.name = name.decode("ascii") if isinstance(name, bytes) else str(name)
        self.order = "<"

    @property
    def is_whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.name in ("u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8")

    @property
    def size(self) -> int:
        """Bytes of a value that is a whole number."""
        return int(self.name[1])

    def __setstate__(self, state: Any) -> None:
        """(version, byte order, and what is of no meaning for numbers)."""
        order = state[1]
        order = order.decode("ascii") if isinstance(order, bytes) else str(order)
        self.order = ">" if order == ">" else "<"


# The pure-Python unpickler: the other one reserves memory for whatever number a file names.
class _PlainUnpickler(pickle._Unpickler):
    """Reads dictionaries, lists, texts, numbers and plain arrays, and refuses all else."""

    def __init__(self, data: bytes) -> None:
        super().__init__(io.BytesIO(data), encoding="bytes")
        self._data = data

    def find_class(self, module: str, name: str) -> Any:
        """A harmless stand-in for what NumPy's arrays are pickled with."""
        inner = module.removeprefix("numpy.core.").removeprefix("numpy._core.")
        if (module, name) == ("numpy", "ndarray"):
            return "numpy.ndarray"  # only ever an argument of those below
        if (module, name) == ("numpy", "dtype"):
            return PlainType
        if (module, name) == ("_codecs", "encode"):
            return _encoded
        if inner != module and (inner, name) == ("multiarray", "_reconstruct"):
            return lambda *ignored: PlainArray(self._data)
        if inner != module and (inner, name) == ("multiarray", "scalar"):
            return _scalar
        if inner != module and (inner, name) == ("numeric", "_frombuffer"):
            return self._from_buffer
        raise _RefusedError(f"{module}.{name}")

    def _from_buffer(self, data: Any, dtype: Any, shape: Any, order: Any) -> PlainArray:
        """An array as protocol 5 has it."""
        if order not in ("C", b"C"):
            raise ValueError("an array in another form")
        array = PlainArray(self._data)
        array.fill(data, dtype, shape)
        return array


def _encoded(text: Any, encoding: Any) -> bytes:
    """Bytes, as Python 3 writes them by protocols that have none."""
    if not isinstance(text, str) or encoding not in ("latin1", b"latin1"):
        raise ValueError("bytes in another form")
    return text.encode("latin1")


def _scalar(dtype: Any, data: Any) -> int:
    """A whole number of NumPy's."""
    if not isinstance(dtype, PlainType) or not isinstance(data, bytes) or not dtype.is_whole:
        raise ValueError("a number in another form")
    order = "big" if dtype.order == ">" else "little"
    return int.from_bytes(data, order, signed=dtype.name.startswith("i"))  # type: ignore[arg-type]


class _RefusedError(Exception):
    """A pickle asked for something that data does not need."""


def load_plain(data: bytes, where: str) -> dict[Any, Any]:
    """A dictionary out of a pickle, with nothing executed.

    raises  InputError naming what the pickle asked for, or saying that it is none
    """
    try:
        found = _PlainUnpickler(data).load()
    except _RefusedError as error:
        name = " ".join(str(error).split())
        raise InputError(f"{where} is refused: it would run {name}, which is no data") from None
    except Exception as error:  # anything, on hostile bytes
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{where} is damaged: {reason}", "downloading it again") from None
    if not isinstance(found, dict):
        raise InputError(f"{where} holds no dictionary")
    return found
