"""Limits of the shell are named in the error that they cause."""

from __future__ import annotations

import errno
import os
import resource

import pytest

from pixmix_cli import limits
from pixmix_cli.errors import StorageError


@pytest.mark.parametrize(
    ("number", "name", "words"),
    [
        (errno.EMFILE, "NOFILE", "too many open files: `ulimit -n` allows 2048"),
        (errno.EAGAIN, "NPROC", "too many processes: `ulimit -u` allows 2048"),
        (errno.EFBIG, "FSIZE", "the file is too large: `ulimit -f` allows 2."),
        (errno.ENOMEM, "AS", "out of memory: `ulimit -v` allows 0 MB of memory"),
    ],
)
def test_an_error_names_the_limit_and_what_it_allows(
    monkeypatch: pytest.MonkeyPatch, number: int, name: str, words: str
) -> None:
    kind = getattr(resource, f"RLIMIT_{name}")
    monkeypatch.setattr(
        resource, "getrlimit", lambda asked: (2048 if asked == kind else resource.RLIM_INFINITY, -1)
    )
    error = StorageError.from_os_error(OSError(number, os.strerror(number)), "a/b")
    assert f"writing a/b failed: {words}" in str(error)
    assert "Try: " in str(error)


def test_a_file_too_large_without_a_limit_is_the_file_system_s(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (resource.RLIM_INFINITY, -1))
    reason, _ = limits.explain(OSError(errno.EFBIG, "")) or ("", "")
    assert reason == "the file is too large for its file system"


def test_other_errors_come_from_no_limit() -> None:
    assert limits.explain(OSError(errno.ENOENT, "")) is None


def test_an_error_of_which_nothing_is_known_but_the_reason_says_just_that() -> None:
    error = StorageError.from_os_error(OSError(errno.EIO, "Input/output error"), None, "using")
    assert str(error) == "Input/output error. Try: again with --debug"
