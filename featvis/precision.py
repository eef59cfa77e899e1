"""Which numbers a network computes in, and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# flag of /proc/cpuinfo -> what multiplies bfloat16 faster than float32
_FAST = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 BF16"}


@dataclass(frozen=True, slots=True)
class Precision:
    """What a run computes in.

    bfloat16  or else float32
    why       half a sentence
    saves     whether the other choice would take less time
    """

    bfloat16: bool
    why: str
    saves: bool = False

    def __str__(self) -> str:
        """One line: the choice and why."""
        return f"{'bfloat16' if self.bfloat16 else 'float32'}: {self.why}"


def choose(wanted: str, device: str) -> Precision:
    """What `FeatVisConfig.precision` means on a device.

    wanted  auto | float32 | bfloat16
    device  cpu | cuda | cuda:N | mps
    """
    if wanted != "auto":
        return Precision(wanted == "bfloat16", "as --precision asks")
    if device.startswith("cuda"):
        return Precision(True, "a CUDA GPU")
    if device != "cpu":
        return Precision(False, "no CUDA GPU")
    unit = fast_bfloat16()
    if not unit:
        return Precision(False, "nothing in this processor is faster in bfloat16")
    # measured with AMX: docs/lab/2026-11-29-featvis-bfloat16.md
    faster = "--precision bfloat16 takes .5 to .7 of the time, for pictures of other bytes"
    return Precision(False, f"this processor has {unit}: {faster}", saves=True)


def fast_bfloat16() -> str:
    """What this processor has to multiply bfloat16 with; empty where nothing is known of it."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            for line in file:
                if line.startswith("flags"):
                    flags = set(line.partition(":")[2].split())
                    return next((name for flag, name in _FAST.items() if flag in flags), "")
    except OSError:
        pass
    return ""
