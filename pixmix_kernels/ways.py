"""Which of the ways a kernel runs in this process, and what a decorator does in each."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
import threading
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from pixmix_kernels.errors import KernelError
from pixmix_kernels.modules import FAMILIES, family_of

if TYPE_CHECKING:
    from pixmix_kernels.libraries import Library

CHOICES = ("auto", "library", "x86-64", "x86-64-v3", "numba", "python")
_OPTIONS = {"nogil": True, "fastmath": False, "error_model": "numpy"}

Function = Callable[..., Any]


class Way(Protocol):
    """What the decorators ask."""

    def kernel(self, function: Any) -> Any:
        """What `kernel` makes of a function."""

    def entry(self, function: Any) -> Any:
        """What `entry` makes of a function."""

    def llvm(self, function: Any, where: str) -> Any:
        """What `llvm` makes of a function and the place of its intrinsic."""


class ByPython:
    """The functions themselves."""

    name = "python"

    def kernel(self, function: Function) -> Function:
        return function

    def entry(self, function: Function) -> Function:
        import numpy as np

        @functools.wraps(function)
        def call(*arguments: Any) -> None:
            # NumPy's scalars warn where the processor's whole numbers just wrap around
            with np.errstate(all="ignore"):
                function(*arguments)

        call.py_func = function  # type: ignore[attr-defined]  # as Numba's compiled functions have
        return call

    def llvm(self, function: Function, where: str) -> Function:
        return function


class Later:
    """Machine code made beforehand, looked for at an entry's first call; only entries are called.

    Importing a kernel module thus never waits for a compiler.
    """

    name = "library"

    def kernel(self, function: Function) -> Function:
        return function

    def entry(self, function: Function) -> Function:
        run: Function | None = None

        @functools.wraps(function)
        def call(*arguments: Any) -> None:
            nonlocal run
            if run is None:
                run = settled(family_of(function.__module__)).function(function)
            run(*arguments)

        def bind(*arguments: Any) -> Callable[[], None]:
            return bound(settled(family_of(function.__module__)).function(function), *arguments)

        call.py_func = function  # type: ignore[attr-defined]
        call.bind = bind  # type: ignore[attr-defined]
        return call

    def llvm(self, function: Function, where: str) -> Function:
        return function


class ByNumba:
    """Numba compiles each function when it is first called, and keeps it in our cache folder."""

    name = "numba"
    options: dict[str, Any] = _OPTIONS

    def kernel(self, function: Function) -> Any:
        from pixmix_kernels.jit import compiled

        return compiled(function, self.options)

    entry = kernel

    def llvm(self, function: Function, where: str) -> Any:
        from pixmix_kernels.jit import load_numba

        intrinsic = load_numba().extending.intrinsic
        module, _, name = where.partition(":")
        return intrinsic(getattr(import_module(module), name))


class ForBuild(ByNumba):
    """What the builder makes a library from: no wrappers for Python, no reference counts."""

    name = "build"
    options: dict[str, Any] = {  # noqa: RUF012
        **_OPTIONS, "_nrt": False, "no_cpython_wrapper": True, "no_cfunc_wrapper": True,
    }  # fmt: skip

    def kernel(self, function: Function) -> Any:
        from numba import njit

        return njit(**self.options)(function)

    entry = kernel


def bound(entry: Function, *arguments: Any) -> Callable[[], None]:
    """An entry with its arguments settled: a call then takes a microsecond, not one an array.

    The arrays are kept; what lies in them may change between calls, and numbers stay what they
    were.
    """
    bind = getattr(entry, "bind", None)
    return functools.partial(entry, *arguments) if bind is None else bind(*arguments)


class Settled(Protocol):
    """How the entries of a family run, where that was left for later."""

    name: str

    def function(self, function: Function) -> Function:
        """What runs in the place of an entry."""


class Compiled:
    """A family's library."""

    def __init__(self, library: Library) -> None:
        self.library = library
        self.name = library.target

    def function(self, function: Function) -> Function:
        from pixmix_kernels.libraries import NOWHERE
        from pixmix_kernels.signatures import packer

        compiled = self.library.function(function.__name__)
        pack = packer(function)

        def call(*arguments: Any) -> None:
            if compiled(NOWHERE, NOWHERE, pack(*arguments)):
                raise KernelError(f"{function.__qualname__} failed")

        def bind(*arguments: Any) -> Callable[[], None]:
            block = pack(*arguments)

            def again(kept: tuple[Any, ...] = arguments) -> None:
                if compiled(NOWHERE, NOWHERE, block):
                    raise KernelError(f"{function.__qualname__} failed")

            return again

        call.bind = bind  # type: ignore[attr-defined]
        return call


class JustInTime:
    """Numba, in copies of the kernel modules that were imported in the hope of a library."""

    name = "numba"

    def __init__(self, family: str) -> None:
        self._modules = copies("numba", family)

    def function(self, function: Function) -> Function:
        made: Function = getattr(self._modules[function.__module__], function.__name__)
        return made


_settled: dict[str, Settled] = {}
_forced: list[str] = []
_lock = threading.RLock()
_info: Callable[[str], None] | None = None
_detail: Callable[[str], None] | None = None


def tell(info: Callable[[str], None], detail: Callable[[str], None]) -> None:
    """Say who hears that kernels are being compiled, and who why a library could not be used.

    Before that the first goes to stderr and the second nowhere.
    """
    global _info, _detail
    _info, _detail = info, detail


def choice() -> str:
    """What PIXMIX_KERNELS, or NUMBA_DISABLE_JIT, asks for. KernelError if it is none of CHOICES."""
    if _forced:
        return _forced[-1]
    asked = os.environ.get("PIXMIX_KERNELS") or "auto"
    if asked not in (*CHOICES, "build"):
        raise KernelError(f"PIXMIX_KERNELS={asked} is none of {', '.join(CHOICES)}")
    if asked == "auto" and os.environ.get("NUMBA_DISABLE_JIT", "0").strip() not in ("", "0"):
        return "python"
    return asked


def current() -> Way:
    """How kernels that are being defined will run."""
    asked = choice()
    if asked == "build":
        return ForBuild()
    if asked == "python":
        return ByPython()
    return ByNumba() if asked == "numba" else Later()


def prepare(family: str) -> str:
    """Find or make a family's library now, and not at its first call; the name of what runs."""
    asked = choice()
    if asked == "python":
        (_info or _say)("kernels run as plain Python, as the environment asks: very slowly")
    return asked if asked in ("build", "numba", "python") else settled(family).name


def settled(family: str) -> Settled:
    """How a family runs, settled once. May compile for half a minute, and says so before."""
    with _lock:
        if family not in _settled:
            _settled[family] = _settle(family)
        return _settled[family]


def _settle(family: str) -> Settled:
    from pixmix_kernels import libraries

    targets, asked = allowed(), choice()
    notes: list[str] = []
    library = libraries.find(family, targets, notes)
    if library is None:
        library = libraries.make(family, targets[0], _info or _say, notes)
    for note in notes:
        if _detail is not None:
            _detail(note)
    if library is not None:
        return Compiled(library)
    if asked not in CHOICES[1:]:
        return JustInTime(family)
    raise KernelError(f"PIXMIX_KERNELS={asked}: {notes[-1] if notes else 'there is none'}")


def allowed() -> tuple[str, ...]:
    """Targets whose libraries may run here, best first.

    raises  KernelError if this processor does not run the one that is asked for
    """
    from pixmix_kernels import processors

    targets, asked = processors.targets(), choice()
    if asked not in (processors.BASE, processors.V3):
        return targets
    if asked not in targets:
        raise KernelError(f"PIXMIX_KERNELS={asked}: this processor does not run such code")
    return (asked,)


def compiler() -> str:
    """The version of Numba that made what runs, or would make it."""
    from pixmix_kernels.folders import version

    for way in _settled.values():
        if isinstance(way, Compiled):
            made: str = way.library.made["numba"]
            return made
    return version("numba")


@contextlib.contextmanager
def using(name: str) -> Iterator[None]:
    """Kernel modules that are first imported meanwhile run by "numba" or "python"."""
    _forced.append(name)
    try:
        yield
    finally:
        _forced.pop()


def copies(name: str, *families: str) -> dict[str, Any]:
    """Second copies of kernel modules, which run by "numba" or "python".

    families  default: all
    returns   module name -> module; sys.modules keeps the first copies
    """
    names = [module for family in families or FAMILIES for module in FAMILIES[family]]
    with _lock, using(name):
        kept = {module: sys.modules.pop(module) for module in names if module in sys.modules}
        # `from package import module` takes the package's attribute before it imports anything
        places = [module.rpartition(".")[::2] for module in names]
        held = {}
        for parent, own in places:
            package = vars(import_module(parent))
            if own in package:
                held[parent, own] = package.pop(own)
        try:
            return {module: import_module(module) for module in names}
        finally:
            for module in names:
                sys.modules.pop(module, None)
            sys.modules.update(kept)
            for parent, own in places:
                vars(sys.modules[parent]).pop(own, None)
            for (parent, own), first in held.items():
                setattr(sys.modules[parent], own, first)


def _say(text: str) -> None:
    """One line on stderr; a closed stderr is no reason to fail."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        sys.stderr.write(f"pixmix: {text}\n")
        sys.stderr.flush()
