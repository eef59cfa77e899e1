"""Where libraries lie: in the package, and in a cache of the user's own.

    <package>/lib/<stamp>/                             made by the set-up or the wheel
    <cache>/kernels/<stamp>-<Numba>-<llvmlite>/        made by the first run that needs it
        <target>.<family>.so                           or .o where there is no linker
        <target>.<family>.json                         length and hash of the above, how it was made
        numba/                                         Numba's own cache, where that is used

A library is code that will run, so a cache folder is used only if it is ours alone to write.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
import tempfile
from importlib import metadata
from pathlib import Path

from pixmix_kernels.modules import stamp

PACKAGED = Path(__file__).resolve().parent / "lib"
KEPT = 3  # stamps in the cache: two environments with two versions do not chase each other


def packaged() -> Path:
    """The folder of libraries that came with exactly these sources; it need not exist."""
    return PACKAGED / stamp()


def version(distribution: str) -> str:
    """An installed version, without importing it; "none" where there is none."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return "none"


def cache_name() -> str:
    """The name of the cache folder for these sources, and the compilers that are installed."""
    return f"{stamp()}-{version('numba')}-{version('llvmlite')}"


def cache(make: bool) -> Path | None:
    """The cache folder for these sources.

    make     create it; else None where it does not exist
    returns  None where no folder can be written and be ours alone
    """
    for base in _bases():
        folder = base / cache_name()
        if _is_ours(folder):
            with contextlib.suppress(OSError):
                os.utime(folder)  # what is used is kept
            return folder
        if not make:
            continue
        with contextlib.suppress(OSError):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if _is_ours(folder) and os.access(folder, os.W_OK | os.X_OK):
                _remove_old(base)
                return folder
    return None


def _bases() -> list[Path]:
    """Folders that may hold the cache, best first."""
    named = os.environ.get("NUMBA_CACHE_DIR")
    if named:
        return [Path(named) / "pixmix"]
    own = os.environ.get("PIXMIX_CACHE_DIR")
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    base = Path(own) if own else Path(home) / "pixmix"
    try:
        # /tmp is everybody's: a name that says whose it is, and _is_ours looks
        private = [Path(tempfile.gettempdir()) / f"pixmix-kernels-{os.getuid()}"]
    except OSError:  # no temporary folder can be written to
        private = []
    return [base / "kernels", *private]


def _is_ours(folder: Path) -> bool:
    """Whether it is a real folder that we own and nobody else can write, like the one above it."""
    for place in (folder, folder.parent):
        try:
            status = place.lstat()
        except OSError:
            return False
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid():
            return False
        if status.st_mode & 0o022:
            return False
    return True


def _remove_old(base: Path) -> None:
    """Remove what older sources and compilers left, except the last few used."""
    with contextlib.suppress(OSError):
        found = [path for path in base.iterdir() if path.is_dir() and not path.is_symlink()]
        found.sort(key=lambda path: path.stat().st_mtime, reverse=True)
        for path in found[KEPT:]:
            shutil.rmtree(path, ignore_errors=True)


def remove_other_stamps(folder: Path) -> None:
    """Remove libraries of older sources beside a folder of the package."""
    with contextlib.suppress(OSError):
        for path in folder.parent.iterdir():
            if path != folder and path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
