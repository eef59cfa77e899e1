"""Datasets that torchvision knows where to find, downloaded when they are asked for by name."""

from __future__ import annotations

import contextlib
import fcntl
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.storage.remote import AnyPath

PREFIX = "torchvision:"
_CLASSES = {"cifar10": "CIFAR10", "cifar100": "CIFAR100"}  # in torchvision.datasets
SILENCE = 30.0  # seconds that a server may say nothing


def is_published(path: AnyPath) -> bool:
    """Whether SOURCE is such a name, and not that of a file or folder."""
    return isinstance(path, Path) and str(path).startswith(PREFIX) and not path.exists()


def fetch(name: str, folder: Path) -> Path:
    """The archive of a dataset, as it was published; downloaded unless it is in `folder`, whole.

    name    "torchvision:cifar10" or "torchvision:cifar100"
    folder  where archives stay; two runs at once download one after the other
    raises  InputError for another name; StorageError, with what to put where, without a network
    """
    known = _CLASSES.get(name.removeprefix(PREFIX))
    if known is None:
        names = " or ".join(PREFIX + short for short in _CLASSES)
        raise InputError(f"SOURCE {name} is no dataset that can be downloaded", names)
    from torchvision import datasets
    from torchvision.datasets.utils import download_url

    dataset = getattr(datasets, known)
    path = folder / dataset.filename
    before = socket.getdefaulttimeout()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        socket.setdefaulttimeout(SILENCE)
        with _alone_in(folder), contextlib.redirect_stdout(sys.stderr):
            download_url(dataset.url, str(folder), dataset.filename, dataset.tgz_md5)
    except (OSError, RuntimeError) as error:  # URLError is an OSError; a bad hash a RuntimeError
        reason = " ".join(str(error).split())
        raise StorageError(
            f"SOURCE {name} could not be downloaded from {dataset.url} ({reason})",
            f"put {dataset.filename} into {folder}, or name a copy of it as SOURCE",
        ) from error
    finally:
        socket.setdefaulttimeout(before)
    return path


@contextlib.contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
