"""Any dataset in: what kind is it?"""

from __future__ import annotations

import sys
from dataclasses import replace

from pixmix_cli.errors import InputError, PixMixError
from pixmix_cli.sources import stdin
from pixmix_cli.sources.kind import Choice, Kind
from pixmix_cli.sources.pictures import STDIN, Warn
from pixmix_cli.sources.recognise import in_order, recognise, too_high, with_ways
from pixmix_cli.sources.registry import KINDS
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import spool, tar
from pixmix_cli.storage.missing import missing
from pixmix_cli.storage.remote import AnyPath, Url


def open_source(
    path: AnyPath,
    warn: Warn,
    *,
    kind: str = "auto",
    split: str | None = None,
    label_field: str | None = None,
    path_field: str | None = None,
) -> Source:
    """List a dataset of any kind.

    path         what the user named: a folder, a file, a pattern, a URL of these, - for a list or a
                 tar on stdin, or torchvision:cifar10, which is downloaded
    warn         called with one line for each thing passed over
    kind         one of KINDS, or "auto"
    split        the split to take, of kinds that have several
    label_field  which of several labels to take, of kinds that have several
    path_field   which column of a list has the paths
    raises       InputError, StorageError
    """
    if kind != "auto" and kind not in KINDS:
        raise InputError(f"{kind!r} is no kind of dataset", ", ".join(KINDS))
    choice = Choice(split, label_field, path_field)
    if path == STDIN:
        return _open_stdin(kind, warn, choice)
    asked = list(in_order()) if kind == "auto" else [KINDS[kind]]
    for one in asked:
        local = one.fetch(path)
        if local is not None:
            return replace(_open(one, local, warn, choice), path=str(path))
    found = recognise(path, warn) if kind == "auto" else KINDS[kind]
    try:
        source = _open_found(found, path, warn, choice)
    except InputError as error:
        raise with_ways(error, path, found, kind == "auto") from None
    line = too_high(source, path)
    if line is not None:
        warn(line)
    return source


def is_watched(path: AnyPath, kind: str) -> bool:
    """Whether a listing of a dataset will tell what it follows from, going by names alone.

    kind     one of KINDS, or "auto"
    returns  False also where the dataset cannot be opened: `open_source` says why
    """
    try:
        found = recognise(path) if kind == "auto" else KINDS[kind]
        return found.is_watched(path)
    except (PixMixError, OSError, KeyError):
        return False


def _open_found(found: Kind, path: AnyPath, warn: Warn, choice: Choice) -> Source:
    if isinstance(path, Url) and found.spooled:
        _check_there(path, found)
        local = spool.fetch(path)
        with spool.errors_about(local, path):
            source = _open(found, local, warn, choice)
        return replace(source, path=str(path))
    return _open(found, path, warn, choice)


def _open(kind: Kind, path: AnyPath, warn: Warn, choice: Choice) -> Source:
    _check_takes(kind, path, choice)
    _check_there(path, kind)
    return kind.open(path, warn, choice)


_OPTIONS = {"--split": "split", "--label-field": "label_field", "--path-field": "path_field"}


def _check_takes(kind: Kind, path: AnyPath, choice: Choice) -> None:
    """Refuse a choice that the kind does not offer."""
    for option, field in _OPTIONS.items():
        value = getattr(choice, field)
        if value is not None and field not in kind.takes:
            hint = f"{path}/{value} as SOURCE" if option == "--split" else f"without {option}"
            raise InputError(f"SOURCE {path} ({kind.name}) has no use for {option}", hint)


def _check_there(path: AnyPath, kind: Kind) -> None:
    if not path.exists() and not kind.is_pattern(path):
        raise missing("SOURCE ", path)


def _open_stdin(name: str, warn: Warn, choice: Choice) -> Source:
    """What comes on stdin: a tar, a list."""
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "SOURCE - reads a list of paths or a tar, but stdin is a terminal", "find ... | "
        )
    stream = stdin.stream()
    head = stream.read(tar.BLOCK)
    if name == "auto":
        kind = next(one for one in in_order() if one.is_stream(head))
    else:
        kind = KINDS[name]
    _check_takes(kind, STDIN, choice)
    return kind.open_stream(stream, head, warn, choice)
