"""Pictures that are plain values and adjoin are read at once, and are what single reads give."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pixmix_cli.errors import StorageError
from pixmix_cli.sources import pictures
from pixmix_cli.sources.pictures import PixelsRef, Runs

LAYOUTS = {"hwc": 36, "chw": 36, "hw": 12}  # order -> bytes of a picture of 3 x 4


def refs_in(path: Path, order: str, count: int) -> list[PixelsRef]:
    length = LAYOUTS[order]
    return [
        PixelsRef(f"{i}", str(path), 5 + i * length, length, (3, 4, order)) for i in range(count)
    ]


def pixels_or_error(runs: Runs | None, ref: PixelsRef) -> object:
    try:
        return (ref.pixels() if runs is None else runs.pixels(ref)).tolist()
    except StorageError as error:
        return str(error)


@given(
    order=st.sampled_from(list(LAYOUTS)),
    wanted=st.lists(st.integers(0, 29), max_size=40) | st.permutations(range(30)),
    begin=st.integers(0, 20),
    missing=st.integers(0, 99),
    run=st.sampled_from([40, 200, 1 << 20]),
)
def test_pictures_read_in_runs_are_those_read_alone(
    order: str, wanted: list[int], begin: int, missing: int, run: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    path = tmp_path_factory.mktemp("runs") / "values"
    values = np.random.default_rng(1).integers(0, 256, 5 + 30 * LAYOUTS[order], np.uint8)
    path.write_bytes(values.tobytes()[: len(values) - missing])
    refs = refs_in(path, order, 30)
    asked = [*range(begin, 30), *wanted]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pictures, "RUN", run)
        runs = Runs([refs[i] for i in asked])
    for i in asked:
        assert pixels_or_error(runs, refs[i]) == pixels_or_error(None, refs[i])


def test_a_run_is_one_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "values"
    path.write_bytes(bytes(5 + 30 * 36))
    refs = refs_in(path, "hwc", 30)
    reads, read = [], pictures.read_bytes_at

    def counted(*arguments):
        reads.append(arguments)
        return read(*arguments)

    monkeypatch.setattr(pictures, "read_bytes_at", counted)
    runs = Runs([*refs[:10], *refs[20:]])
    for ref in (*refs[:10], *refs[20:]):
        runs.pixels(ref)
    assert len(reads) == 2
