"""Any dataset in: what kind is it?"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import replace

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.kind import Choice, Kind, Listing
from pixmix_cli.sources.pictures import STDIN, Warn
from pixmix_cli.sources.registry import KINDS
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import spool, tar
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
    asked = list(_in_order()) if kind == "auto" else [KINDS[kind]]
    for one in asked:
        local = one.fetch(path)
        if local is not None:
            return replace(_open(one, local, warn, choice), path=str(path))
    found = recognise(path) if kind == "auto" else KINDS[kind]
    if isinstance(path, Url) and found.spooled:
        _check_there(path, found)
        local = spool.fetch(path)
        with spool.errors_about(local, path):
            source = _open(found, local, warn, choice)
        return replace(source, path=str(path))
    return _open(found, path, warn, choice)


def _in_order() -> Iterator[Kind]:
    """The kinds in the order in which they are asked."""
    return (KINDS[name] for name in reversed(list(KINDS)))


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
        raise InputError(f"SOURCE {path} does not exist")


def _open_stdin(name: str, warn: Warn, choice: Choice) -> Source:
    """What comes on stdin: a tar, a list."""
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "SOURCE - reads a list of paths or a tar, but stdin is a terminal", "find ... | "
        )
    stream = sys.stdin.buffer
    head = stream.read(tar.BLOCK)
    if name == "auto":
        kind = next(one for one in _in_order() if one.is_stream(head))
    else:
        kind = KINDS[name]
    _check_takes(kind, STDIN, choice)
    return kind.open_stream(stream, head, warn, choice)


def recognise(path: AnyPath) -> Kind:
    """The kind of dataset at a path, going by names alone.

    raises  InputError saying what was found, where nothing fits
    """
    if not path.exists():
        for kind in _in_order():
            if kind.is_pattern(path):
                return kind
        raise InputError(f"SOURCE {path} does not exist")
    return _kind_of_folder(path) if path.is_dir() else _kind_of_file(path)


def _kind_of_file(path: AnyPath) -> Kind:
    for kind in _in_order():
        if kind.is_file(path):
            return kind
    if not path.is_file():
        raise InputError(f"SOURCE {path} is neither a folder nor a regular file")
    if isinstance(path, Url) and path.protocol in ("http", "https"):
        raise InputError(
            f"SOURCE {path} has no ending that tells its kind, and folders of a web server cannot "
            "be listed",
            f"the address of a file, or of tars as {path}/{{000..099}}.tar",
        )
    known = " ".join(ending for name in KINDS for ending in KINDS[name].endings)
    raise InputError(
        f"SOURCE {path} is a file of none of the kinds that are known ({known})",
        "a folder with one folder of pictures a class",
    )


def _kind_of_folder(path: AnyPath) -> Kind:
    listing = Listing.of(path)
    _check_not_baked(listing)
    for kind in _in_order():
        if kind.is_folder(listing):
            return kind
    endings = listing.endings.most_common(5)
    there = ", ".join(f"{n} {end or 'without ending'}" for end, n in endings)
    raise InputError(
        f"SOURCE {path} is no dataset of a kind that is known: it holds files ({there}) and no "
        "folders",
        "a folder with one folder of pictures a class, or --source-format",
    )


def _check_not_baked(listing: Listing) -> None:
    """Refuse the folder of a baked set, whose copies are datasets and not classes."""
    path = listing.path
    if not {"manifest.json", "classes.json", "copy-000"} <= listing.names:
        return
    try:
        command = json.loads((path / "manifest.json").read_bytes())["command"]
    except (OSError, StorageError, ValueError, RecursionError, KeyError, TypeError):
        return
    if command == "bake":
        raise InputError(f"SOURCE {path} is a baked set", f"{path}/copy-000")
