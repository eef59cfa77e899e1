"""Any dataset in: what kind is it?"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources import cifar, lists, torchvision_downloads, webdataset
from pixmix_cli.sources.imagefolder import open_imagefolder
from pixmix_cli.sources.numpy_arrays import open_numpy
from pixmix_cli.sources.parquet import open_parquet
from pixmix_cli.sources.picture_cache import default_folder
from pixmix_cli.sources.pictures import STDIN, Warn
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import spool, tar
from pixmix_cli.storage.images import is_picture_name
from pixmix_cli.storage.remote import AnyPath, Url

KINDS = ("imagefolder", "webdataset", "cifar", "numpy", "parquet", "list")
SPOOLED = ("cifar", "numpy", "parquet")  # copied whole where they are remote
LISTED = 100_000  # entries of a folder that are looked at to tell its kind


def open_source(
    path: AnyPath,
    warn: Warn,
    *,
    kind: str = "auto",
    split: str | None = None,
    label_field: str | None = None,
    listed: bytes | None = None,
) -> Source:
    """List a dataset of any kind.

    path         what the user named: a folder, a file, a pattern, a URL of these, - for a list or a
                 tar on stdin, or torchvision:cifar10, which is downloaded
    warn         called with one line for each thing passed over
    kind         one of KINDS, or "auto"
    split        the part to take, of kinds that have parts
    label_field  which of several labels to take, of kinds that have several
    listed       what stdin said, when path is - and it was a list
    raises       InputError, StorageError
    """
    if path == STDIN and listed is None and kind in ("auto", "webdataset", "list"):
        return _open_stdin(kind, warn, split, label_field)
    if torchvision_downloads.is_published(path) and kind in ("auto", "cifar"):
        local = torchvision_downloads.fetch(str(path), default_folder() / "torchvision")
        source = open_source(local, warn, kind="cifar", split=split, label_field=label_field)
        return replace(source, path=str(path))
    if kind == "auto":
        kind = recognise(path)
    if isinstance(path, Url) and kind in SPOOLED:
        local = _spooled(path)
        with spool.errors_about(local, path):
            source = open_source(local, warn, kind=kind, split=split, label_field=label_field)
        return replace(source, path=str(path))
    given = {"--split": split, "--label-field": label_field}
    openers: dict[str, tuple[tuple[str, ...], Callable[[], Source]]] = {
        "imagefolder": ((), lambda: open_imagefolder(path, warn)),
        "webdataset": (
            ("--label-field",),
            lambda: webdataset.open_webdataset(path, warn, label_field),
        ),
        "cifar": (tuple(given), lambda: cifar.open_cifar(Path(str(path)), split, label_field)),
        "numpy": (tuple(given), lambda: open_numpy(Path(str(path)), warn, split, label_field)),
        "parquet": (tuple(given), lambda: open_parquet(Path(str(path)), warn, split, label_field)),
        "list": (("--label-field",), lambda: lists.open_list(path, warn, label_field, listed)),
    }
    if kind not in openers:
        raise InputError(f"{kind!r} is no kind of dataset", ", ".join(KINDS))
    known, opener = openers[kind]
    for option, value in given.items():
        if value is not None and option not in known:
            hint = f"{path}/{value} as SOURCE" if option == "--split" else f"without {option}"
            raise InputError(f"SOURCE {path} ({kind}) has no use for {option}", hint)
    if path != STDIN and not path.exists() and kind != "webdataset":
        raise InputError(f"SOURCE {path} does not exist")
    return opener()


def _open_stdin(kind: str, warn: Warn, split: str | None, label_field: str | None) -> Source:
    """The tar or the list that comes on stdin."""
    if sys.stdin is None or sys.stdin.isatty():
        raise InputError(
            "SOURCE - reads a list of paths or a tar, but stdin is a terminal", "find ... | "
        )
    stream = sys.stdin.buffer
    head = stream.read(tar.BLOCK)
    if kind == "auto":
        kind = "webdataset" if tar.is_tar(head) else "list"
    if kind == "list":
        if head.startswith(b"\x1f\x8b"):
            raise InputError("SOURCE -: what comes on stdin is compressed", "gunzip -c ... | ")
        return open_source(
            STDIN, warn, kind=kind, split=split, label_field=label_field,
            listed=head + stream.read(),
        )  # fmt: skip
    local = spool.keep(stream, "stdin.tar", head)
    with spool.errors_about(local, "the tar on stdin"):
        source = open_source(local, warn, kind=kind, split=split, label_field=label_field)
    return replace(source, path=str(STDIN))


def _spooled(path: Url) -> Path:
    """A local copy of a dataset whose files are read here and there, for this run."""
    if not path.exists():
        raise InputError(f"SOURCE {path} does not exist")
    return spool.fetch(path)


def recognise(path: AnyPath) -> str:
    """The kind of dataset at a path, going by names alone.

    raises  InputError saying what was found, where nothing fits
    """
    if path == STDIN:
        return "list"
    if not path.exists():
        if webdataset.is_pattern(path):
            return "webdataset"
        raise InputError(f"SOURCE {path} does not exist")
    return _kind_of_folder(path) if path.is_dir() else _kind_of_file(path)


def _kind_of_file(path: AnyPath) -> str:
    name = path.name.lower()
    if cifar.find_layout(path) is not None or name.endswith((".tar.gz", ".tgz")):
        return "cifar"
    kinds = {
        (".tar",): "webdataset",
        (".npz", ".npy"): "numpy",
        (".parquet", ".arrow"): "parquet",
        lists.SUFFIXES: "list",
    }
    for endings, kind in kinds.items():
        if name.endswith(endings):
            return kind
    if not path.is_file():
        raise InputError(f"SOURCE {path} is neither a folder nor a regular file")
    if isinstance(path, Url) and path.protocol in ("http", "https"):
        raise InputError(
            f"SOURCE {path} has no ending that tells its kind, and folders of a web server cannot "
            "be listed",
            f"the address of a file, or of tars as {path}/{{000..099}}.tar",
        )
    known = " ".join(ending for endings in kinds for ending in endings)
    raise InputError(
        f"SOURCE {path} is a file of none of the kinds that are known ({known})",
        "a folder with one folder of pictures a class",
    )


def _names_in(path: AnyPath) -> Iterator[tuple[str, bool]]:
    """(name, whether it is a folder) of what lies in a folder."""
    if isinstance(path, Url):
        yield from ((child.name, child.is_dir()) for child in path.iterdir())
        return
    with os.scandir(path) as entries:
        yield from ((entry.name, entry.is_dir()) for entry in entries)


def _kind_of_folder(path: AnyPath) -> str:
    try:
        listing = [pair for pair in islice(_names_in(path), LISTED) if pair[0][0] != "."]
        names = {name for name, _ in listing}
        folders = sorted(name for name, is_folder in listing if is_folder)
    except OSError as error:
        raise InputError(
            f"SOURCE {path} cannot be listed ({error.strerror})", "its permissions"
        ) from None
    if cifar.find_layout(path) is not None:
        return "cifar"
    if "dataset_dict.json" in names or {"dataset_info.json", "state.json"} <= names:
        return "parquet"
    _check_not_baked(path, names)
    if "images.npy" in names:
        return "numpy"
    endings = Counter(os.path.splitext(name)[1].lower() for name in names - set(folders))
    if endings[".parquet"] or endings[".arrow"] or _holds(path / "data", ".parquet"):
        return "parquet"
    if endings[".tar"] and not folders:
        return "webdataset"
    if folders or not names or any(is_picture_name(name) for name in names):
        return "imagefolder"
    there = ", ".join(f"{n} {end or 'without ending'}" for end, n in endings.most_common(5))
    raise InputError(
        f"SOURCE {path} is no dataset of a kind that is known: it holds files ({there}) and no "
        "folders",
        "a folder with one folder of pictures a class, or --source-format",
    )


def _holds(folder: AnyPath, ending: str) -> bool:
    return folder.is_dir() and any(p.name.endswith(ending) for p in folder.iterdir())


def _check_not_baked(path: AnyPath, names: set[str]) -> None:
    """Refuse the folder of a baked set, whose copies are datasets and not classes."""
    if not {"manifest.json", "classes.json", "copy-000"} <= names:
        return
    try:
        command = json.loads((path / "manifest.json").read_bytes())["command"]
    except (OSError, StorageError, ValueError, RecursionError, KeyError, TypeError):
        return
    if command == "bake":
        raise InputError(f"SOURCE {path} is a baked set", f"{path}/copy-000")
