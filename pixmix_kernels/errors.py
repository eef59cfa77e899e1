"""What can go wrong with kernels that a user has to know of."""

from __future__ import annotations


class KernelError(RuntimeError):
    """Kernels cannot run as asked. The text says what to do."""
