"""LLVM's fused multiply-add, the one operation that Numba's Python does not have."""

from __future__ import annotations

from typing import Any

from numba.core import types


def fma(typing_context: Any, a: Any, b: Any, c: Any) -> Any:
    """The body of a Numba intrinsic; `kernels.fma` says what it computes."""
    signature = types.float32(types.float32, types.float32, types.float32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return signature, generate
