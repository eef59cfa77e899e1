"""Finding, loading and making a family's library.

Nothing here imports Numba: a library is made in a process of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixmix_kernels import folders
from pixmix_kernels.errors import KernelError
from pixmix_kernels.modules import stamp

# int32 status, called with: where a result would go, where an exception would, the arguments' block
PROTOTYPE: Any = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)
_NOTHING = (ctypes.c_void_p * 1)()
NOWHERE = ctypes.addressof(_NOTHING)  # for results: there are none, and whoever writes one, null
SECONDS = {"fractals": 15, "mixing": 25}  # about what compiling takes, for the line that says so
_LONGEST = 1800  # seconds: a build that takes longer than this hangs


@dataclass(frozen=True)
class Library:
    """A loaded family."""

    family: str
    target: str
    path: Path
    made: dict[str, Any]  # what made it: versions, time
    handle: Any  # keeps the code in memory
    address: Callable[[str], int]

    def function(self, name: str) -> Any:
        """An entry's C function, with PROTOTYPE. KernelError if it has none of that name."""
        symbol = symbol_of(self.family, name)
        try:
            where = self.address(symbol)
        except (AttributeError, ValueError):
            where = 0
        if not where:
            raise KernelError(f"{self.path} has no {symbol}. Try: install pixmix again")
        return PROTOTYPE(where)


def symbol_of(family: str, name: str) -> str:
    """The C name of an entry."""
    return f"pixmix_{family}_{name}"


def names(target: str, family: str) -> tuple[str, str, str]:
    """File names of a family's book, shared library and object."""
    stem = f"{target}.{family}"
    return f"{stem}.json", f"{stem}.so", f"{stem}.o"


def find(family: str, targets: tuple[str, ...], notes: list[str]) -> Library | None:
    """A library that fits sources and processor, from the package or from the cache.

    notes  gets a line for each library that is there and cannot be used
    """
    for target in targets:
        for where in (folders.packaged, lambda: folders.cache(make=False)):
            folder = where()
            if folder is None:
                continue
            found = load(folder, target, family, notes)
            if found is not None:
                return found
    return None


def load(folder: Path, target: str, family: str, notes: list[str]) -> Library | None:
    """A family's library from a folder; None, with a note unless it is just not there."""
    book = names(target, family)[0]
    try:
        made = json.loads((folder / book).read_bytes())
        path = folder / made["file"]
        if (made["stamp"], made["target"], made["family"]) != (stamp(), target, family):
            raise ValueError(f"it is for {made['target']}, sources {made['stamp']}")
        # before the loader maps it: a file cut short would end the process
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != made["sha256"]:
            raise ValueError("it is damaged")
        handle, address = _open(path, content)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, ImportError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        notes.append(f"kernels: {folder / book} cannot be used: {reason}")
        return None
    return Library(family, target, path, made, handle, address)


def _open(path: Path, content: bytes) -> tuple[Any, Callable[[str], int]]:
    if path.suffix == ".so":
        library = ctypes.CDLL(str(path))

        def in_library(symbol: str) -> int:
            return ctypes.cast(library[symbol], ctypes.c_void_p).value or 0

        return library, in_library
    # no linker made it a library: llvmlite, which comes with Numba, can link it in memory
    import llvmlite.binding as llvm

    with contextlib.suppress(Exception):  # needless, and an error, from llvmlite 0.45 on
        llvm.initialize()
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    llvm.load_library_permanently("")  # this process: memcpy and the like
    for name in ("libm.so.6", "libm.dylib"):
        with contextlib.suppress(Exception):
            llvm.load_library_permanently(name)
    machine = llvm.Target.from_default_triple().create_target_machine()
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(""), machine)
    engine.add_object_file(llvm.ObjectFileRef.from_data(content))
    engine.finalize_object()
    return engine, engine.get_function_address


def make(family: str, target: str, say: Callable[[str], None], notes: list[str]) -> Library | None:
    """Compile a family into the cache, and load it. None, with a note, where that fails."""
    folder = folders.cache(make=True)
    if folder is None:
        notes.append("kernels: no cache folder can be written. Try: PIXMIX_CACHE_DIR=FOLDER")
        return None
    with _lock(folder, say):
        found = load(folder, target, family, notes)  # made by another process meanwhile?
        if found is not None:
            return found
        say(f"compiling kernels ({family}), once on this machine: about {SECONDS[family]} s")
        begin = time.monotonic()
        done = build([family], [target], folder)
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            notes.append(f"kernels: {family} could not be compiled beforehand: {last}")
            return None
        notes.append(f"kernels: {family} compiled in {time.monotonic() - begin:.1f} s")
    return load(folder, target, family, notes)


def build(
    families: list[str], targets: list[str], folder: Path
) -> subprocess.CompletedProcess[str]:
    """Run the builder in a process of its own, which sees no NUMBA_ settings and no current folder.

    folder  where the libraries go; it exists
    """
    code = (
        "import json, sys; paths, arguments = json.loads(sys.argv[1]); sys.path[:] = paths; "
        "from pixmix_kernels.build import main; sys.exit(main(arguments))"
    )
    paths = [os.path.abspath(path) for path in sys.path if path]
    root = str(Path(__file__).resolve().parent.parent)
    arguments = [str(folder), ",".join(families), ",".join(targets)]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "PIXMIX_"))}
    return subprocess.run(
        [sys.executable, "-I", "-c", code, json.dumps([[root, *paths], arguments])],
        env={**kept, "NUMBA_OPT": "0", "PIXMIX_KERNELS": "build"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_LONGEST,
        check=False,
    )


@contextlib.contextmanager
def _lock(folder: Path, say: Callable[[str], None]) -> Iterator[None]:
    """One process compiles, others wait for it; where nothing can be locked, each compiles."""
    try:
        file = (folder / "lock").open("w", encoding="utf-8")
    except OSError:
        yield
        return
    with file:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                say("waiting for kernels that another process is compiling")
                fcntl.flock(file, fcntl.LOCK_EX)
        yield
