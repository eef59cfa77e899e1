"""The decorators: `kernel`, `entry`, `record`, `llvm`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pixmix_kernels import ways

Function = TypeVar("Function", bound=Callable[..., Any])
Class = TypeVar("Class", bound=type)


def kernel(function: Function) -> Function:
    """A function that kernels call. Strict IEEE arithmetic; division by zero gives inf or NaN."""
    return ways.current().kernel(function)


def entry(function: Function) -> Function:
    """A kernel that Python calls; it returns nothing. Annotations: see `signatures`."""
    function.is_entry = True  # type: ignore[attr-defined]  # the builder looks for it
    return ways.current().entry(function)


def record(cls: Class) -> Class:
    """A typing.NamedTuple of arrays that an entry takes. Its instances keep their C block."""
    made = type(cls.__name__, (cls,), {"__module__": cls.__module__, "__doc__": cls.__doc__})
    return made  # type: ignore[return-value]


def llvm(where: str) -> Callable[[Function], Function]:
    """A function that is emitted by hand where kernels are compiled, and runs as it is in Python.

    where  "module:name" of its Numba intrinsic; the module is imported only to compile
    """

    def choose(function: Function) -> Function:
        return ways.current().llvm(function, where)

    return choose
