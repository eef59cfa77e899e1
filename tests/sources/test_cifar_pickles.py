"""CIFAR as people write it anew: by Python 3, any protocol, arrays for lists."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pixmix_cli.errors import InputError
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.pictures import PixelsRef
from pixmix_cli.sources.plain_pickles import load_plain
from pixmix_cli.storage import spool
from tests.sources import datasets_in as made


def silent(text: str) -> None:
    pass


def written(root: Path, protocol: int, labels: Any = made.LABELS, data: Any = None) -> Path:
    """CIFAR-100 with nine pictures."""
    folder = root / "cifar-100-python"
    folder.mkdir()
    meta = {"fine_label_names": made.NAMES, "coarse_label_names": ["bird", "mammal"]}
    (folder / "meta").write_bytes(pickle.dumps(meta, protocol))
    pixels = made.planes(made.PIXELS) if data is None else data
    record = {"fine_labels": labels, "coarse_labels": [0] * 9, "data": pixels}
    (folder / "train").write_bytes(pickle.dumps(record, protocol))
    return folder


def check(path: Path) -> None:
    source = open_source(path, silent)
    assert source.classes == tuple(made.NAMES)
    assert source.labels.tolist() == made.LABELS
    for ref, pixels in zip(source.pictures, made.PIXELS, strict=True):
        assert isinstance(ref, PixelsRef)
        np.testing.assert_array_equal(ref.pixels(), pixels)
    spool.remove_all()


@pytest.mark.parametrize("protocol", range(6))
def test_pickles_of_python_3_are_read(tmp_path: Path, protocol: int) -> None:
    check(written(tmp_path, protocol))


@pytest.mark.parametrize("kind", ["<i8", ">i8", "u1", "<i4"])
@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_labels_may_be_an_array_or_numbers_of_numpy(
    tmp_path: Path, kind: str, protocol: int
) -> None:
    array = np.array(made.LABELS, kind)
    check(written(tmp_path, protocol, array))
    (tmp_path / "b").mkdir()
    check(written(tmp_path / "b", protocol, list(array)))


@pytest.mark.parametrize("shape", ["nchw", "nhwc"])
def test_pixels_may_have_the_shape_of_pictures(tmp_path: Path, shape: str) -> None:
    data = made.planes(made.PIXELS).reshape(9, 3, 32, 32) if shape == "nchw" else made.PIXELS
    check(written(tmp_path, 4, data=data))


@pytest.mark.parametrize(
    "data", [np.zeros((9, 3072), np.float32), np.zeros((8, 3072), np.uint8), np.zeros(9), b"x"]
)
def test_pixels_in_another_form_are_refused(tmp_path: Path, data: Any) -> None:
    with pytest.raises(InputError, match=r"does not hold 9 pictures|damaged"):
        open_source(written(tmp_path, 4, data=data), silent)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        import os

        return os.system, ("true",)


@pytest.mark.parametrize("protocol", range(6))
def test_what_is_no_data_is_refused_by_name(protocol: int) -> None:
    with pytest.raises(InputError, match=r"it would run posix.system|it would run os.system"):
        load_plain(pickle.dumps({"data": Evil()}, protocol), "x")
