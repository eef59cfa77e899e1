"""A Parquet or Arrow file that carries a pickle: it is never loaded."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path

import pytest
from PIL import Image

from tests.conftest import Cli, picture


class Evil:
    """What would be executed as it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.mark),)


@pytest.mark.parametrize("container", ["parquet", "arrow"])
@pytest.mark.parametrize("column", ["label", "extra"])
def test_a_pickle_in_a_column_s_type_is_not_loaded(
    cli: Cli, tmp_path: Path, mixing: Path, container: str, column: str
) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    code = pickle.dumps(Evil(tmp_path / "executed"))
    told = {
        b"ARROW:extension:name": b"arrow.py_extension_type",
        b"ARROW:extension:metadata": code,
    }
    buffer = io.BytesIO()
    Image.fromarray(picture(1, 24, 24)).save(buffer, "PNG")
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pandas = (
        b'{"columns":[{"name":"extra","numpy_type":"object","metadata":{"encoding":"pickle"}}]}'
    )
    schema = pa.schema(
        [
            pa.field("image", image),
            pa.field("label", pa.int64(), metadata=told if column == "label" else None),
            pa.field("extra", pa.binary(), metadata=told if column == "extra" else None),
        ],
        metadata={b"pandas": pandas},
    )
    pictures = pa.array([{"bytes": buffer.getvalue(), "path": "a.png"}] * 2, image)
    table = pa.Table.from_arrays([pictures, pa.array([0, 1]), pa.array([code] * 2)], schema=schema)
    source = tmp_path / "source"
    source.mkdir()
    if container == "parquet":
        pq.write_table(table, source / "train.parquet")
    else:
        sink = pa.OSFile(str(source / "data-0.arrow"), "wb")
        with sink, pa.ipc.new_stream(sink, schema) as writer:
            writer.write_table(table)
        (source / "state.json").write_text('{"_data_files":[{"filename":"data-0.arrow"}]}')
    bake = ("bake", source, "--mixing-set", mixing, "--size", 16, "-j", 1, "-qq")
    ended, _, err = cli(*bake, "-o", tmp_path / "o")
    assert ended == 0, err
    assert not (tmp_path / "executed").exists()
