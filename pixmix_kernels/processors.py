"""Which machine code this processor can run."""

from __future__ import annotations

import functools
import os
import platform
from pathlib import Path

# LLVM's names. x86-64-v3 is what x86 servers and desktops since Haswell (2013) and Zen (2017) have.
V3, BASE = "x86-64-v3", "x86-64"
# /proc/cpuinfo's names of what v3 adds (x86-64 psABI, table 3.1); abm is LZCNT. Linux shows avx
# only where it also saves the wide registers.
_V3_FLAGS = {"abm", "avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "movbe", "xsave"}


def is_x86() -> bool:
    """Whether this is a 64-bit machine of that family."""
    return platform.machine().lower() in ("x86_64", "amd64")


@functools.cache
def targets() -> tuple[str, ...]:
    """What this processor runs, best first; machines other than x86-64 have one name."""
    if not is_x86():
        return (platform.machine().lower() or "unknown",)
    # asking Numba for plain code is asking for it here
    asked = os.environ.get("NUMBA_CPU_NAME", "")
    if asked in ("generic", BASE) or not _flags() >= _V3_FLAGS:
        return (BASE,)
    return V3, BASE


def _flags() -> set[str]:
    """What the first processor of /proc/cpuinfo says of itself; empty where there is none."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                if line.startswith("flags"):
                    return set(line.partition(":")[2].split())
    except OSError:
        pass
    return set()


def llvm_cpu(target: str) -> str:
    """LLVM's name of the processor that a target is compiled for."""
    return target if target in (V3, BASE) else "generic"
