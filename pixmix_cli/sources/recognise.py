"""What kind of dataset a SOURCE is: decided by what holds pictures, not by one file's name."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.kind import Kind, Listing
from pixmix_cli.sources.pictures import Warn
from pixmix_cli.sources.registry import KINDS
from pixmix_cli.sources.source import Source
from pixmix_cli.storage.missing import missing
from pixmix_cli.storage.remote import AnyPath, Url

LEVELS = 3  # of folders below SOURCE that are searched for a dataset
SEARCHED = 200  # folders
NAMED = 3  # of those found

# How splits are called, as folders of datasets: train, val2017, test_set, train-clean
_SPLIT = re.compile(
    r"(train(ing|val)?|val(id|idation)?|test(ing)?|dev|eval(uation)?|holdout|unlabell?ed)"
    r"([-_ ]?(set|data|images|clean|\d+))*",
    re.IGNORECASE,
)


def in_order() -> Iterator[Kind]:
    """The kinds in the order in which they are asked."""
    return (KINDS[name] for name in reversed(list(KINDS)))


def recognise(path: AnyPath, warn: Warn = lambda line: None) -> Kind:
    """The kind of dataset at a path.

    warn    called with a line where a folder holds pictures of another kind, too
    raises  InputError saying what was found, where nothing fits
    """
    if not path.exists():
        for kind in in_order():
            if kind.is_pattern(path):
                return kind
        raise missing("SOURCE ", path)
    return _kind_of_folder(path, warn) if path.is_dir() else _kind_of_file(path)


def _kind_of_file(path: AnyPath) -> Kind:
    for kind in in_order():
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
        "a folder with one folder of pictures a class, or --source-format",
    )


def _kind_of_folder(path: AnyPath, warn: Warn) -> Kind:
    listing = Listing.of(path)
    _check_not_baked(listing)
    possible = [kind for kind in in_order() if kind.is_folder(listing)]
    holders = [kind for kind in possible if kind.holds_pictures(listing)]
    if not possible:
        endings = listing.endings.most_common(5)
        there = ", ".join(f"{n} {end or 'without ending'}" for end, n in endings)
        raise InputError(
            f"SOURCE {path} is no dataset of a kind that is known: it holds files ({there}) and no "
            "folders",
            "a folder with one folder of pictures a class, or --source-format",
        )
    if not holders:
        return possible[0]  # which says what it misses
    chosen = _preferred(holders)
    others = [kind.name for kind in holders if kind is not chosen]
    if others:
        warn(
            f"SOURCE {path} is read as {chosen.name}, but also holds {' and '.join(others)}. "
            f"Try: --source-format {' or '.join(others)} for that"
        )
    return chosen


def _preferred(holders: list[Kind]) -> Kind:
    """The kind that is meant: archives lie beside what came out of them, tables beside tars."""
    there = {kind.name: kind for kind in holders}
    if {"imagefolder", "webdataset"} <= there.keys():
        del there["webdataset"]
    elif {"webdataset", "parquet"} <= there.keys():
        del there["parquet"]
    return next(iter(there.values()))


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


# ---------------------------------------------------------------- one folder too high


def with_ways(error: InputError, path: AnyPath, kind: Kind, auto: bool) -> InputError:
    """The error about a folder in which nothing was found, with what may have been meant.

    auto  the kind was not asked for
    """
    if not _FOUND_NOTHING.search(error.message) or not path.is_dir():
        return error
    ways = [error.hint] if error.hint else []
    ways[:0] = [" or ".join(str(folder) for folder in datasets_below(path)[:NAMED])]
    ways.append(f"--source-format, if it is no {kind.name}" if auto else "without --source-format")
    error.hint = ", or ".join(way for way in ways if way)
    return error


_FOUND_NOTHING = re.compile(
    r" (holds no|holds neither|has no (array|column)|is empty|but no class folders)"
)


def datasets_below(path: AnyPath) -> list[AnyPath]:
    """The highest folders below one that look like datasets, in order; none where it is remote."""
    if isinstance(path, Url):
        return []
    level: list[AnyPath] = [path]
    looked_at = 0
    for _ in range(LEVELS):
        below: list[AnyPath] = []
        for folder in level:
            below += [folder / name for name in _listed(folder).folders]
        below = below[: SEARCHED - looked_at]
        looked_at += len(below)
        found = [folder for folder in below if _looks_like_a_dataset(_listed(folder))]
        if found:
            return found
        level = below
    return []


def _listed(folder: AnyPath) -> Listing:
    try:
        return Listing.of(folder)
    except InputError:
        return Listing(folder, frozenset(), (), Listing.endings_of(()))


def _looks_like_a_dataset(listing: Listing) -> bool:
    return any(
        kind.is_folder(listing) and kind.holds_pictures(listing)
        for kind in in_order()
        if kind.name != "imagefolder" or listing.folders  # else it is a class
    )


def too_high(source: Source, path: AnyPath) -> str | None:
    """A line where an ImageFolder's classes are surely none: splits, or a single one."""
    if source.kind != "imagefolder":
        return None
    present = [name for name, count in zip(source.classes, source.counts()) if count]
    below = _folders_in_classes(source)
    splits = [name for name in present if _SPLIT.fullmatch(name)]
    nested = [name for name in splits if below[name]]
    if splits and (splits == present or len(nested) > 1):
        like = "looks like a split" if len(splits) == 1 else "look like splits"
        better = f"{path}/{_train_first(nested)}" if nested else "a folder with one folder a class"
        return (
            f"SOURCE {path} is read with the classes {', '.join(present[:5])}, but "
            f"{' and '.join(splits[:3])} {like}, not like classes. Try: {better}"
        )
    if len(present) == 1:
        if len(below[present[0]]) > 1:
            return (
                f"SOURCE {path} has a single class, {present[0]}, with "
                f"{len(below[present[0]])} folders in it. Try: {path}/{present[0]}, if they are "
                "the classes"
            )
        return (
            f"SOURCE {path} has a single class, {present[0]}: all {len(source.labels)} labels are "
            "the same"
        )
    return None


def _folders_in_classes(source: Source) -> defaultdict[str, set[str]]:
    """For each class the folders with pictures that lie in its own."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for prefix in source.pictures.prefixes():
        name, _, rest = prefix.partition("/")
        if rest:
            found[name].add(rest.partition("/")[0])
    return found


def _train_first(splits: list[str]) -> str:
    return next((name for name in splits if name.lower().startswith("train")), splits[0])
