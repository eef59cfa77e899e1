"""Imported before all else by the `pixmix` command.

Ctrl-C while it imports is no traceback, and what it imports leaves no folder behind.
"""

from __future__ import annotations

import os
import signal
import sys


def _is_command() -> bool:
    """Whether this process is the command, not a program that imports it."""
    spec = getattr(sys.modules.get("__main__"), "__spec__", None)
    name = os.path.basename(sys.argv[0]) if sys.argv else ""
    return name in ("pixmix", "pixmix.exe") or (spec is not None and spec.name == "pixmix_cli.main")


if _is_command():
    # Where torch keeps what it compiles. Nothing is compiled here, yet torchvision's import makes
    # torch make that folder, in TMPDIR unless it is told of one: this one is there.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", os.path.dirname(os.path.abspath(__file__)))

if _is_command() and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # until `signals.Endings.watch`
