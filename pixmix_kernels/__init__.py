"""Compiled kernels: one decorator, and one place that knows which code runs.

A kernel is a Python function over NumPy arrays, written in the part of Python that Numba compiles.
What runs is, in this order, the first that is there:

library  machine code that was built beforehand, from exactly these sources, into the package or
         into the user's cache: a shared library with a C interface, called without Numba
numba    Numba's just-in-time compiler, where no library can be built
python   the function itself, under NUMBA_DISABLE_JIT=1: slow, for a debugger

All give the same bytes. PIXMIX_KERNELS chooses: auto, library, x86-64, x86-64-v3, numba, python.

    from pixmix_kernels import entry, kernel

    @kernel                 # called by other kernels
    def double(x): ...

    @entry                  # called from Python; its annotations are its C signature
    def double_all(values: F32, out: F32) -> None: ...
"""

from __future__ import annotations

from pixmix_kernels.decorators import entry, kernel, llvm, record
from pixmix_kernels.ways import bound, compiler, copies, prepare, tell

__distribution__ = "pixmix"  # pixmix_cli looks for this line
__version__ = "0.1.0"  # of the whole distribution: pyproject.toml and the stamp read it here

__all__ = [
    "__version__", "bound", "compiler", "copies", "entry", "kernel", "llvm", "prepare", "record",
    "tell",
]  # fmt: skip
