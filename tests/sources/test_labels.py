"""A label means the same in every container, or is refused in every one."""

from __future__ import annotations

import csv
import io
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pixmix_cli.errors import InputError
from pixmix_cli.sources.labels import MAX_CLASSES, Labels, UnusableLabelError, label_text
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.source import Source
from pixmix_cli.storage.tar import TarWriter
from tests.sources import datasets_in as made

TWELVE = [str(number) for number in range(12)]


def silent(text: str) -> None:
    pass


def _paths(count: int) -> list[str]:
    return [f"c/{number:03d}.png" for number in range(count)]


def _write_pictures(root: Path, count: int) -> None:
    (root / "c").mkdir()
    for path in _paths(count):
        (root / path).write_bytes(made.PNGS[0])


def _table(root: Path, texts: list[str], name: str, delimiter: str) -> Path:
    _write_pictures(root, len(texts))
    with (root / name).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file, delimiter=delimiter)
        rows.writerow(["path", "label"])
        rows.writerows(zip(_paths(len(texts)), texts))
    return root / name


def in_csv(root: Path, texts: list[str]) -> Path:
    return _table(root, texts, "l.csv", ",")


def in_tsv(root: Path, texts: list[str]) -> Path:
    return _table(root, texts, "l.tsv", "\t")


def in_json_lines(root: Path, values: list[Any]) -> Path:
    _write_pictures(root, len(values))
    rows = zip(_paths(len(values)), values)
    lines = [json.dumps({"path": path, "label": value}) for path, value in rows]
    (root / "l.jsonl").write_text("\n".join(lines))
    return root / "l.jsonl"


def in_lines(root: Path, texts: list[str]) -> Path:
    _write_pictures(root, len(texts))
    lines = [f"{path}\t{text}\n" for path, text in zip(_paths(len(texts)), texts)]
    (root / "l.txt").write_bytes("".join(lines).encode())
    return root / "l.txt"


def in_mxnet_list(root: Path, texts: list[str]) -> Path:
    _write_pictures(root, len(texts))
    rows = enumerate(zip(_paths(len(texts)), texts))
    (root / "l.lst").write_bytes("".join(f"{n}\t{t}\t{p}\n" for n, (p, t) in rows).encode())
    return root / "l.lst"


def _tar(root: Path, extension: str, contents: list[bytes]) -> Path:
    with (root / "x.tar").open("wb") as file:
        writer = TarWriter(file)
        for number, content in enumerate(contents):
            writer.add(f"{number:03d}.{extension}", content)
            writer.add(f"{number:03d}.png", made.PNGS[0])
        writer.finish()
    return root / "x.tar"


def in_cls(root: Path, texts: list[str]) -> Path:
    return _tar(root, "cls", [text.encode() for text in texts])


def in_json(root: Path, values: list[Any]) -> Path:
    return _tar(root, "json", [json.dumps({"label": value}).encode() for value in values])


def in_npz(root: Path, values: list[Any]) -> Path:
    images = np.zeros((len(values), 8, 8, 3), np.uint8)
    np.savez(root / "x.npz", images=images, labels=np.array(values))
    return root / "x.npz"


def _columns(values: list[Any]) -> Any:
    import pyarrow as pa

    return pa.table({"image": [made.PNGS[0]] * len(values), "label": values})


def in_parquet(root: Path, values: list[Any]) -> Path:
    import pyarrow.parquet as pq

    pq.write_table(_columns(values), root / "x.parquet", row_group_size=5)
    return root / "x.parquet"


def in_arrow(root: Path, values: list[Any]) -> Path:
    import pyarrow as pa

    table = _columns(values)
    with pa.OSFile(str(root / "x.arrow"), "wb") as file, pa.ipc.new_stream(file, table.schema) as w:
        w.write_table(table, 5)
    return root / "x.arrow"


TEXTS = [in_csv, in_tsv, in_lines, in_mxnet_list, in_cls]
VALUES = [in_json_lines, in_json, in_npz, in_parquet, in_arrow]
Container = Callable[[Path, list[Any]], Path]


def read(container: Container, root: Path, values: list[Any]) -> Source | None:
    """None where it is refused, or a label of a tar is listed as one that cannot be used."""
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    warnings: list[str] = []
    try:
        found = open_source(container(root, values), warnings.append)
    except InputError:
        return None
    return None if any("cannot be used" in text for text in warnings) else found


def outcome(source: Source | None) -> Any:
    return None if source is None else (source.classes, source.labels.tolist())


# no TAB, NUL or end of line, which plain lines and NumPy's texts cannot hold
PIECES = [
    "0", "1", "2", "10", "3.0", "+", "-", ".", "e", " ", "\xa0", "\ufeff", '"', "'", "b'", "cat",
    "ü", "猫", "\x01", "\x1b", "٣", "_", ",", "nan", "/",
]  # fmt: skip
LABEL = st.lists(st.sampled_from(PIECES), max_size=4).map("".join)


@settings(
    max_examples=60, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
@given(st.lists(LABEL, min_size=1, max_size=6))
@example(TWELVE)
@example([f" {text}" for text in TWELVE])
@example([f"{text}.0" for text in TWELVE])
@example([f'"{text}"' for text in TWELVE])
@example([f"b'{text}'" for text in TWELVE])
@example(["\ufeff0", *TWELVE[1:]])
@example([*TWELVE[:-1], "unknown"])
@example([*TWELVE[:-1], ""])
@example([*TWELVE[:-1], "1.5"])
@example(["cat ", " dog", "'cat'", "zebra finch"])
def test_a_text_is_the_same_label_in_every_container(tmp_path: Path, texts: list[str]) -> None:
    containers: list[Container] = [*TEXTS, *VALUES]
    found = {c.__name__: outcome(read(c, tmp_path / "d", texts)) for c in containers}
    assert len({repr(one) for one in found.values()}) == 1, found


WAYS_TO_WRITE = [
    " {} ", "\xa0{}", "\ufeff{}", "{}\u200b", "\u3000{}", "+{}", "{}.0", "{}e0",
    '"{}"', "'{}'", "b'{}'",
]  # fmt: skip


@pytest.mark.parametrize("way", WAYS_TO_WRITE)
def test_a_number_is_itself_however_it_is_written(tmp_path: Path, way: str) -> None:
    texts = [way.format(number) for number in TWELVE]
    for container in (in_csv, in_lines, in_cls, in_json_lines, in_npz, in_parquet):
        source = read(container, tmp_path / "d", texts)
        assert outcome(source) == (tuple(TWELVE), list(range(12))), container.__name__


@settings(
    max_examples=30, deadline=None, database=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
@given(
    st.lists(st.integers(-1, 12), min_size=1, max_size=6)
    | st.lists(st.integers(0, 40).map(lambda n: n / 2), min_size=1, max_size=4)
)
@example([float(number) for number in range(12)])
@example([MAX_CLASSES, 0])
def test_a_number_is_the_label_that_its_text_is(tmp_path: Path, values: list[Any]) -> None:
    expected = outcome(read(in_csv, tmp_path / "d", [str(value) for value in values]))
    whole = all(value == int(value) and 0 <= value < MAX_CLASSES for value in values)
    assert (expected is not None) == whole
    if whole:
        assert expected[1] == [int(value) for value in values]
    for container in VALUES:
        assert outcome(read(container, tmp_path / "d", values)) == expected, container.__name__


TYPES: dict[str, Callable[[Any], Any]] = {
    "dictionary": lambda pa: pa.array([str(n) for n in range(12)]).dictionary_encode(),
    "large text": lambda pa: pa.array([f"{n}.0" for n in range(12)], pa.large_string()),
    "bytes": lambda pa: pa.array([b"%d" % n for n in range(12)]),
    "decimal": lambda pa: pa.array(range(12), pa.decimal128(5, 2)),
    "half": lambda pa: pa.array(np.arange(12, dtype=np.float16)),
    "byte": lambda pa: pa.array(range(12), pa.uint8()),
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("container", [in_parquet, in_arrow])
def test_a_column_of_labels_may_have_any_type(
    tmp_path: Path, kind: str, container: Container
) -> None:
    import pyarrow as pa

    source = open_source(container(tmp_path, TYPES[kind](pa)), silent)
    assert source.labels.tolist() == list(range(12))


@pytest.mark.parametrize("kind", ["S2", "U2", "f2", "f8", "u1", ">i8"])
def test_an_array_of_labels_may_have_any_type(tmp_path: Path, kind: str) -> None:
    source = open_source(in_npz(tmp_path, np.arange(12).astype(kind)), silent)  # type: ignore[arg-type]
    assert source.labels.tolist() == list(range(12))


def test_a_label_that_is_missing_from_a_column_is_named(tmp_path: Path) -> None:
    for container in (in_parquet, in_arrow, in_json_lines):
        (tmp_path / container.__name__).mkdir()
        with pytest.raises(InputError, match=r"the label is missing, of .*; 2 of 4"):
            open_source(container(tmp_path / container.__name__, [0, None, 2, None]), silent)


@pytest.mark.parametrize("end", ["\r\n", "\r", "\n", "\0"])
def test_lines_may_end_as_on_any_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    _write_pictures(tmp_path, 12)
    data = "".join(f"{path}\t{n}{end}" for n, path in enumerate(_paths(12))).encode()
    (tmp_path / "l.txt").write_bytes(b"\xef\xbb\xbf" + data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    for path in (tmp_path / "l.txt", Path("-")):
        source = open_source(path, silent)
        assert source.labels.tolist() == list(range(12))
        assert all(ref.read() == made.PNGS[0] for ref in source.pictures)


def test_blanks_after_the_commas_of_a_table_are_no_part_of_its_values(tmp_path: Path) -> None:
    _write_pictures(tmp_path, 12)
    rows = "".join(f'{n}, "{path}"\n' for n, path in enumerate(_paths(12)))
    (tmp_path / "l.csv").write_text(f"label, path\n{rows}")
    source = open_source(tmp_path / "l.csv", silent)
    assert source.labels.tolist() == list(range(12))
    assert all(ref.read() for ref in source.pictures)


@pytest.mark.parametrize("width", [1, 4, 8])
def test_binary_labels_of_a_tar_are_refused_with_a_sample(tmp_path: Path, width: int) -> None:
    path = _tar(tmp_path, "cls", [n.to_bytes(width, "little") for n in range(12)])
    with pytest.raises(
        InputError, match=r"none of its 12 samples .*x.tar/000: label b'.x00.*binary"
    ):
        open_source(path, silent)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "0,1,2,unknown,3",
            r"1 of 5 labels are words, the others numbers: 'unknown' \(of c/003.png, 1 in all\)",
        ),
        ("a,b,7,c,7", r"2 of 5 labels are numbers, the others words: 7 \(of c/002.png, 2 in all\)"),
        ("0,,2,,3", r"label '' is empty, of c/001.png; 2 of 5 labels cannot be used"),
        ("0,1.5,2", r"label 1.5 is no whole number, of c/001.png; 1 of 3"),
        ("0,-1,-1", r"label -1 is not one of 0 to 999999, of c/001.png; 2 of 3"),
        ("0,1\x00,2", r"label '1.x00' holds control characters"),
        ("0,nan,2", "'nan'"),
        ("[3],[4]", r"label '\[3\]' is a list of numbers, of c/000.png; 2 of 2"),
        ("1 2,3", r"label '1 2' is a list of numbers"),
        ("1e99999999,1", r"label 1e99999999 is not one of 0 to"),
    ],
)
def test_labels_that_cannot_be_used_are_named_and_counted(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        open_source(in_csv(tmp_path, text.split(",")), silent)


def test_a_classes_json_settles_a_mixture_of_numbers_and_words(tmp_path: Path) -> None:
    path = in_csv(tmp_path, ["911", "bmw", "911"])
    (tmp_path / "classes.json").write_text('["bmw", "911"]')
    source = open_source(path, silent)
    assert (source.classes, source.labels.tolist()) == (("bmw", "911"), [1, 0, 1])


def test_folders_of_a_list_that_are_numbers_and_words_have_a_mend_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"7/a.png\ncat/b.png\n")))
    for name in ("7/a.png", "cat/b.png"):
        Path(name).parent.mkdir()
        Path(name).write_bytes(made.PNGS[0])
    with pytest.raises(InputError, match=r"'cat' .*Try: the folder above these as SOURCE"):
        open_source(Path("-"), silent)


def test_a_line_without_a_label_among_others_is_refused(tmp_path: Path) -> None:
    _write_pictures(tmp_path, 3)
    (tmp_path / "l.txt").write_text("c/000.png\t0\nc/001.png\nc/002.png\t1\n")
    with pytest.raises(InputError, match=r"1 of 3 lines have no TAB and label, as c/001\.png"):
        open_source(tmp_path / "l.txt", silent)
    (tmp_path / "l.txt").write_text("c/000.png\t0\n \n\nc/002.png\t1\n\t\n")
    assert open_source(tmp_path / "l.txt", silent).labels.tolist() == [0, 1]


def test_names_with_a_tab_may_stand_in_a_list_that_has_nuls(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c").mkdir()
    for name in ("a\tb.png", "d.png"):
        (tmp_path / "c" / name).write_bytes(made.PNGS[0])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"c/a\tb.png\0c/d.png\0")))
    source = open_source(Path("-"), silent)
    assert source.classes == ("c",)
    assert all(ref.read() for ref in source.pictures)


def test_a_list_in_another_encoding_is_refused_with_the_mend(tmp_path: Path) -> None:
    for name in ("l.csv", "l.txt", "l.jsonl"):
        (tmp_path / name).write_text("path,label\na.png,0\n", encoding="utf-16")
        with pytest.raises(InputError, match=r"UTF-16. Try: iconv"):
            open_source(tmp_path / name, silent)


def test_whole_numbers_stay_labels_and_all_else_is_names_in_order() -> None:
    labels = Labels()
    labels.extend(["3", "0", 3, 3.0, b"3", "007"])
    classes, numbers = labels.finish("x")
    assert classes == tuple("01234567")
    assert numbers.tolist() == [3, 0, 3, 3, 3, 7]
    words = Labels()
    words.extend(["b", "a", "b"])
    assert words.finish("x")[0] == ("a", "b")
    assert words.finish("x", ["b", "a"])[1].tolist() == [0, 1, 0]
    with pytest.raises(InputError, match=r"'b' \(of picture 0, 2 in all\) is not one of the class"):
        words.finish("x", ["a"])


@pytest.mark.parametrize(
    "value", [True, None, [1], {"a": 1}, float("nan"), float("inf"), 1j, b"\xe9"]
)
def test_what_is_neither_a_number_nor_a_name_is_no_label(value: object) -> None:
    with pytest.raises(UnusableLabelError, match="label"):
        label_text(value)
    labels = Labels()
    labels.extend([1, value])
    with pytest.raises(InputError, match=r"of picture 1; 1 of 2"):
        labels.finish("x")


def test_a_path_field_names_the_column_of_the_paths(tmp_path: Path) -> None:
    _write_pictures(tmp_path, 2)
    (tmp_path / "l.csv").write_text("id,where,label\nc/9.png,c/000.png,0\nc/8.png,c/001.png,1\n")
    source = open_source(tmp_path / "l.csv", silent, path_field="where")
    assert [ref.name for ref in source.pictures] == ["c/000.png", "c/001.png"]
    (tmp_path / "l.jsonl").write_text('{"path": "x", "where": "c/000.png", "label": 0}')
    assert open_source(tmp_path / "l.jsonl", silent, path_field="where").pictures[0].read()
    with pytest.raises(InputError, match=r"names no column path.*Try: --path-field"):
        open_source(in_csv_named(tmp_path, "photo,label\nx,0\n"), silent)
    (tmp_path / "l.txt").write_text("c/000.png\t0\n")
    with pytest.raises(InputError, match="no columns for --path-field"):
        open_source(tmp_path / "l.txt", silent, path_field="where")


def in_csv_named(root: Path, text: str) -> Path:
    (root / "named.csv").write_text(text)
    return root / "named.csv"


def test_an_mxnet_list_with_several_labels_is_refused(tmp_path: Path) -> None:
    (tmp_path / "l.lst").write_text("0\t3\t4\tc/000.png\n")
    with pytest.raises(InputError, match=r"c/000.png has 2 labels"):
        open_source(tmp_path / "l.lst", silent)


def test_a_list_with_blanks_for_tabs_says_so(tmp_path: Path) -> None:
    (tmp_path / "val.txt").write_text("val/0.jpg 65\nval/1.jpg 970\n")
    with pytest.raises(InputError, match="Try: a TAB instead of the blank"):
        open_source(tmp_path / "val.txt", silent)
