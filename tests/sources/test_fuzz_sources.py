"""Damaged bytes in any reader end in an error of the project's own, never in a traceback."""

from __future__ import annotations

import contextlib
import gzip
import io
import pickle
import shutil
import tarfile
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

pytestmark = pytest.mark.long

EXAMPLES = 40


def packed_tar(root: Path) -> Path:
    shards = made.webdataset(root)
    (root / "all.tgz").write_bytes(gzip.compress((shards / "000.tar").read_bytes()))
    for path in shards.glob("*.tar"):
        path.unlink()
    return root / "all.tgz"


def tar_with_links(root: Path) -> Path:
    root.mkdir()
    with tarfile.open(root / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        for number, name in enumerate(("a.png", "b.png", "n" * 120 + ".png")):
            info = tarfile.TarInfo(name)
            info.type = tarfile.LNKTYPE if number else tarfile.REGTYPE
            info.linkname, info.size = "a.png" if number else "", len(made.PNGS[0])
            archive.addfile(info, io.BytesIO(made.PNGS[0]))
            label = tarfile.TarInfo(name.replace("png", "json"))
            text = b'{"label": "3.0"}'
            label.size = len(text)
            archive.addfile(label, io.BytesIO(text))
    return root / "x.tar"


def mxnet_list(root: Path) -> Path:
    made.imagefolder(root / "pictures")
    rows = enumerate(made.LABELS)
    lines = [f"{n}\t{label}.0\tpictures/{made.NAMES[label]}/{n}.png\r\n" for n, label in rows]
    (root / "l.lst").write_text("".join(lines))
    return root / "l.lst"


def cifar_of_python_3(root: Path) -> Path:
    path = made.cifar10(root) / "cifar-10-batches-py"
    for file in path.iterdir():
        file.write_bytes(pickle.dumps(pickle.loads(file.read_bytes(), encoding="latin1"), 2))
    return path


FUZZED = made.KINDS | {
    "webdataset.tgz": packed_tar,
    "webdataset links": tar_with_links,
    "list.lst": mxnet_list,
    "cifar of Python 3": cifar_of_python_3,
}


@pytest.fixture(scope="module", params=sorted(FUZZED))
def dataset(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Path, list[Path]]:
    """What to open, a folder that holds it, and the files in it to damage."""
    root = tmp_path_factory.mktemp("fuzz")
    path = FUZZED[request.param](root / "d")
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
    [
        ".tar", ".npz", ".csv", ".tsv", ".jsonl", ".txt", ".parquet", ".arrow", ".tar.gz", ".tgz",
        ".tar.bz2", ".tar.xz", ".tar.zst", ".lst",
    ]
))  # fmt: skip
def test_any_bytes_as_a_file_are_read_or_refused(tmp_path: Path, data: bytes, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(data)
    with contextlib.suppress(PixMixError):
        open_source(path, lambda text: None)
    with contextlib.suppress(PixMixError):
        find_pictures(path, lambda text: None)
    spool.remove_all()
