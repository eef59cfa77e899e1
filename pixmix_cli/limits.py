"""What the shell or the system allows this process, in words for who meets a limit."""

from __future__ import annotations

import errno

try:
    import resource
except ImportError:  # no Unix
    resource = None  # type: ignore[assignment]


def explain(error: OSError) -> tuple[str, str] | None:
    """The limit that an error comes from and what mends it; None where it comes from no limit."""
    if error.errno == errno.EMFILE:
        return (
            f"too many open files{_allowed('NOFILE', 'n')}",
            "ulimit -n 1024, or fewer workers (-j)",
        )
    if error.errno == errno.ENFILE:
        return "the system has too many open files", "fewer workers (-j)"
    if error.errno == errno.EAGAIN:
        return f"too many processes{_allowed('NPROC', 'u')}", "fewer workers (-j), or ulimit -u"
    if error.errno == errno.ENOMEM:
        limit = memory_limit()
        return f"out of memory{f': {limit}' if limit else ''}", "fewer workers (-j)"
    if error.errno == errno.EFBIG:
        if _limit("FSIZE") is None:
            return "the file is too large for its file system", "another disk, or smaller files"
        return f"the file is too large{_allowed('FSIZE', 'f', 1024)}", "ulimit -f unlimited"
    return None


def memory_limit() -> str | None:
    """How much memory the shell allows, where it sets a limit."""
    limit = _limit("AS")
    return None if limit is None else f"`ulimit -v` allows {limit / 1e6:.0f} MB of memory"


def open_files_limit() -> int | None:
    """How many files this process may have open, where there is a limit."""
    return _limit("NOFILE")


def _limit(name: str) -> int | None:
    if resource is None:
        return None
    soft, _ = resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))
    return None if soft == resource.RLIM_INFINITY else int(soft)


def _allowed(name: str, letter: str, unit: int = 1) -> str:
    limit = _limit(name)
    return "" if limit is None else f": `ulimit -{letter}` allows {limit // unit}"
