"""Numba's just-in-time compiler, with a cache that is never stale and never in the way."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixmix_kernels import folders
from pixmix_kernels.errors import KernelError

_BLAS = "scipy.linalg.cython_blas"


@functools.cache
def load_numba() -> Any:
    """Numba, without its question for SciPy's BLAS.

    Where SciPy is installed the answer costs 0.15 s, and no kernel multiplies matrices. SciPy can
    be imported afterwards as usual.
    """
    asks = _BLAS not in sys.modules and "numba.np.arraymath" not in sys.modules
    if asks:
        sys.modules[_BLAS] = None  # type: ignore[assignment]  # the import system's "not there"
    try:
        import numba
        import numba.extending
        import numba.np.arraymath
    except Exception as error:
        reason = " ".join(str(error).split())
        raise KernelError(f"Numba cannot be loaded: {reason}") from error
    finally:
        if asks:
            del sys.modules[_BLAS]
    return numba


@functools.cache
def _folder() -> Path | None:
    folder = folders.cache(make=True)
    return None if folder is None else folder / "numba"


class _Forgiving:
    """Numba's cache of one function, for which a damaged file is one that is not there."""

    def __init__(self, cache: Any) -> None:
        self._cache = cache

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            return self._cache.load_overload(signature, target_context)
        except Exception:
            # what is damaged is found by trying; Numba writes it again after compiling
            with contextlib.suppress(Exception):
                self._cache.flush()
            return None

    def save_overload(self, signature: Any, result: Any) -> None:
        # a full disk, or an index that another process cut, costs the next run a compilation
        with contextlib.suppress(Exception):
            self._cache.save_overload(signature, result)


def compiled(function: Callable[..., Any], options: dict[str, Any]) -> Any:
    """A function for Numba to compile when it is called, kept in our cache folder.

    Numba stamps a cached function with the one file that it stands in; the folder's name covers
    every file that it could call into.
    """
    numba = load_numba()
    folder = _folder()
    made = numba.njit(**options)(function)
    if folder is None:
        return made
    config = numba.core.config
    before = config.CACHE_DIR
    config.CACHE_DIR = str(folder)  # read when a function's cache is set up, and not again
    try:
        made.enable_caching()
        made._cache = _Forgiving(made._cache)
    except (OSError, RuntimeError, AttributeError):
        pass  # Numba finds no place, or is of a version whose caches look otherwise
    finally:
        config.CACHE_DIR = before
    return made
