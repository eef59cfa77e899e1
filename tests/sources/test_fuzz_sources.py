"""Damaged bytes in any reader end in an error of the project's own, never in a traceback."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pixmix_cli.errors import PixMixError
from pixmix_cli.sources import parquet
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.plain_pickles import load_plain
from pixmix_cli.storage import spool
from pixmix_cli.storage.images import decode_rgb
from tests.sources import datasets_in as made

EXAMPLES = 40


@pytest.fixture(scope="module", params=sorted(made.KINDS))
def dataset(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, list[Path]]:
    """What to open, a folder that holds it, and the files in it to damage."""
    root = tmp_path_factory.mktemp("fuzz")
    path = made.KINDS[request.param](root / "d")
    shutil.rmtree(root / "d" / "unpacked", ignore_errors=True)
    return path, root, sorted(p for p in root.rglob("*") if p.is_file())


def damage(data: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for kind, where, piece in edits:
        at = int(where * len(data))
        if kind == "overwrite":
            data = data[:at] + piece + data[at + len(piece) :]
        elif kind == "insert":
            data = data[:at] + piece + data[at:]
        elif kind == "cut":
            data = data[:at]
        else:
            data = data[:at] + data[at + len(piece) :]
    return data


PIECES = st.binary(min_size=1, max_size=8) | st.sampled_from(
    [b"\0", b"\xff" * 4, b"\xff\xff\xff\x7f", b"-1", b"99999999", b"\n", b'"', b"[" * 50, b"../"]
)
A_PICKLE = made.pickled([1, b"x", {b"a": made.PIXELS[0]}])
EDITS = st.lists(
    st.tuples(
        st.sampled_from(["overwrite", "insert", "remove", "cut"]), st.floats(0, 0.9999), PIECES
    ),
    min_size=1,
    max_size=4,
)


@settings(
    max_examples=EXAMPLES, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(which=st.integers(0, 1000), edits=EDITS)
def test_a_damaged_dataset_is_read_or_refused(
    dataset: tuple[Path, Path, list[Path]], which: int, edits: list[tuple[str, float, bytes]]
) -> None:
    path, _, files = dataset
    victim = files[which % len(files)]
    whole = victim.read_bytes()
    victim.write_bytes(damage(whole, edits))
    parquet.forget()
    try:
        with contextlib.suppress(PixMixError):
            for ref in open_source(path, lambda text: None).pictures:
                with contextlib.suppress(PixMixError):
                    decode_rgb(ref.read(), ref.name)
    finally:
        victim.write_bytes(whole)
        spool.remove_all()


@settings(max_examples=300, deadline=None, database=None, derandomize=True)
@given(st.binary(max_size=200) | st.builds(damage, st.just(A_PICKLE), EDITS))
def test_any_bytes_as_a_pickle_are_read_or_refused(data: bytes) -> None:
    with contextlib.suppress(PixMixError):
        load_plain(data, "x")


@settings(
    max_examples=150, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(data=st.binary(max_size=2000), suffix=st.sampled_from(
    [".tar", ".npz", ".csv", ".tsv", ".jsonl", ".txt", ".parquet", ".arrow", ".tar.gz"]
))  # fmt: skip
def test_any_bytes_as_a_file_are_read_or_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(PixMixError):
        open_source(path, lambda text: None)
    with contextlib.suppress(PixMixError):
        find_pictures(path, lambda text: None)
    spool.remove_all()
