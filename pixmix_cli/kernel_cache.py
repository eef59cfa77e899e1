"""Where compiled kernels are kept, and a quicker way to the first of them."""

from __future__ import annotations

import os
import stat
import sys
import tempfile
from pathlib import Path


def choose() -> None:
    """Set NUMBA_CACHE_DIR if Numba would find no place of its own (a read-only container, say).

    Numba refuses to compile a cached function without a place for it. Cached kernels are pickles,
    so the folder must be ours alone: another user's folder in /tmp is never used.
    """
    if os.environ.get("NUMBA_CACHE_DIR"):
        return
    package = Path(__file__).resolve().parent
    if os.access(package, os.W_OK) or _writable(_user_cache()):
        return
    folder = Path(tempfile.gettempdir()) / f"pixmix-kernels-{os.getuid()}"
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
        ours = stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
        if not ours or status.st_mode & 0o022:
            folder = Path(tempfile.mkdtemp(prefix="pixmix-kernels-"))
    except OSError:
        return  # Numba's own message says what is missing
    os.environ["NUMBA_CACHE_DIR"] = str(folder)


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return Path(base) if base else Path(os.path.expanduser("~")) / ".cache"


def _writable(folder: Path) -> bool:
    """Whether the folder, or the nearest one above it that exists, can be written."""
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return os.access(folder, os.W_OK | os.X_OK)


def import_numba() -> None:
    """Import what Numba needs for its first kernel, without SciPy's BLAS.

    Numba asks whether SciPy's BLAS is there, and where SciPy is installed the answer costs 0.15 s.
    No kernel here multiplies matrices. SciPy can be imported afterwards as ever.
    """
    blas = "scipy.linalg.cython_blas"
    if blas in sys.modules or "numba.np.arraymath" in sys.modules:
        return
    sys.modules[blas] = None  # type: ignore[assignment]  # the import system's word for "not there"
    try:
        import numba.np.arraymath  # noqa: F401
    finally:
        del sys.modules[blas]
