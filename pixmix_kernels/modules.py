"""Which modules hold kernels, and the stamp over what they say.

A kernel module imports, of this distribution, kernel modules and `pixmix_kernels` only (tested): so
these files are all that machine code can depend on.
"""

from __future__ import annotations

import functools
import hashlib
from importlib import import_module
from pathlib import Path
from typing import Any

# family: modules whose entries make one library. Beside them in the file system lie the packages.
FAMILIES = {
    "fractals": (
        "fractals.kernels.affine",
        "fractals.kernels.checks",
        "fractals.kernels.exposure",
        "fractals.kernels.flame",
        "fractals.kernels.ground",
        "fractals.kernels.histogram",
        "fractals.kernels.layers",
        "fractals.kernels.scalars",
        "fractals.kernels.tone",
        "fractals.kernels.variations",
    ),
    "mixing": (
        "pixmix_cli.mixing.compiled.augment",
        "pixmix_cli.mixing.compiled.batch",
        "pixmix_cli.mixing.compiled.constants",
        "pixmix_cli.mixing.compiled.mix",
        "pixmix_cli.mixing.compiled.lookups",
        "pixmix_cli.mixing.compiled.philox",
        "pixmix_cli.mixing.compiled.powers",
        "pixmix_cli.mixing.compiled.resize",
        "pixmix_cli.mixing.compiled.sample",
        "pixmix_cli.mixing.compiled.vectors",
    ),
}
# What is made into LLVM's code by hand; imported only where something is compiled.
LLVM_MODULES = ("fractals.kernels.llvm", "pixmix_cli.mixing.compiled.llvm")
# What decides how the code is called and compiled.
OWN_MODULES = ("arrays", "build", "decorators", "signatures")

_ROOT = Path(__file__).resolve().parent.parent


def family_of(module: str) -> str:
    """The family of a kernel module. KeyError if it is not listed above."""
    for family, modules in FAMILIES.items():
        if module in modules:
            return family
    raise KeyError(f"{module} has a kernel and is not listed in pixmix_kernels/modules.py")


def entries(family: str) -> dict[str, Any]:
    """Name -> what runs, of every function of a family that Python calls."""
    found: dict[str, Any] = {}
    for name in FAMILIES[family]:
        for function in vars(import_module(name)).values():
            plain = getattr(function, "py_func", function)
            if getattr(plain, "is_entry", False) and plain.__module__ == name:
                found[plain.__name__] = function
    return dict(sorted(found.items()))


def sources(root: Path = _ROOT) -> dict[str, Path]:
    """Module name -> file, of everything that the stamp is over, below a folder of packages."""
    names = [name for modules in FAMILIES.values() for name in modules]
    names += [*LLVM_MODULES, *(f"pixmix_kernels.{name}" for name in OWN_MODULES)]
    return {name: root / f"{name.replace('.', '/')}.py" for name in sorted(names)}


@functools.cache
def stamp() -> str:
    """32 hexadecimal digits over all kernel sources and the version; new ones mean new code.

    raises  OSError if a source cannot be read
    """
    from pixmix_kernels import __version__

    digest = hashlib.sha256(__version__.encode())
    for name, path in sources().items():
        content = path.read_bytes()
        digest.update(f"\0{name}\0{len(content)}\0".encode())
        digest.update(content)
    return digest.hexdigest()[:32]
