"""Parquet and Arrow sources beside what `datasets` itself gives."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.errors import InputError, PictureError
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import images
from pixmix_cli.storage.orientation import upright
from tests.conftest import Cli, picture
from tests.sources import datasets_in as made

FORMATS = ["jpeg", "png", "webp", "tiff"]


def silent(text: str) -> None:
    pass


def oriented(orientation: int, kind: str) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    lossless = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(picture(orientation, 24, 40)).save(out, kind, exif=exif, **lossless)
    return out.getvalue()


def dataset_of(pictures: list[bytes]) -> Any:
    import datasets

    rows = {
        "image": [{"bytes": data, "path": None} for data in pictures],
        "label": [n % 3 for n in range(len(pictures))],
    }
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=made.NAMES)}
    return datasets.Dataset.from_dict(rows, features=datasets.Features(kinds))


def decoded(source: Source) -> list[np.ndarray]:
    found = []
    for ref in source.pictures:
        data = ref.read()
        pixels = images.decode_rgb(data, ref.name)
        found.append(upright(pixels, data) if ref.upright else pixels)
    return found


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("form", ["parquet", "saved"])
def test_pictures_are_turned_as_datasets_turns_them(tmp_path: Path, kind: str, form: str) -> None:
    dataset = dataset_of([oriented(number, kind) for number in range(1, 9)])
    if form == "parquet":
        dataset.to_parquet(str(tmp_path / "x.parquet"))
        source = open_source(tmp_path / "x.parquet", silent)
    else:
        dataset.save_to_disk(str(tmp_path / "d"))
        source = open_source(tmp_path / "d", silent)
    for mine, row in zip(decoded(source), dataset, strict=True):
        np.testing.assert_array_equal(mine, np.asarray(row["image"].convert("RGB")))


@pytest.mark.parametrize("orientation", [0, 9, 1000])
def test_an_orientation_that_is_none_turns_nothing(orientation: int) -> None:
    data = oriented(orientation, "jpeg")
    pixels = images.decode_rgb(data, "x")
    np.testing.assert_array_equal(upright(pixels, data), pixels)


def test_a_bake_turns_pictures_of_parquet_and_not_those_of_a_folder(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    data = oriented(6, "png")
    (tmp_path / "f" / "c").mkdir(parents=True)
    (tmp_path / "f" / "c" / "x.png").write_bytes(data)
    dataset_of([data]).to_parquet(str(tmp_path / "x.parquet"))
    baked = []
    for source in (tmp_path / "f", tmp_path / "x.parquet"):
        out = tmp_path / f"o-{source.name}"
        code, _, err = cli(
            "bake", source, "--mixing-set", mixing, "-o", out, "-j", 1, "--preset", "cifar",
            "--size", 8, "--k", 0, "--format", "npy", "--plain", 1,
        )  # fmt: skip
        assert code == 0, err
        baked.append(json.loads((out / "manifest.json").read_text())["versions"].get("orientation"))
        assert cli("verify", out, "-j", 1, "--rebake-sample", 1)[0] == 0
    assert baked == [None, "as EXIF says"]


def test_pictures_of_which_only_the_paths_are_there_are_refused_with_the_mend(
    tmp_path: Path,
) -> None:
    import datasets

    made.imagefolder(tmp_path / "f")
    files = sorted(map(str, (tmp_path / "f").rglob("*.png")))
    dataset = datasets.Dataset.from_dict({"image": files, "label": [0] * len(files)})
    with_paths = dataset.cast_column("image", datasets.Image())
    import pyarrow.parquet as pq

    pq.write_table(with_paths.data.table, tmp_path / "x.parquet", row_group_size=4)
    with pytest.raises(InputError, match=r"column image holds paths or addresses.*save_to_disk"):
        open_source(tmp_path / "x.parquet", silent)
    with_paths.save_to_disk(str(tmp_path / "mended"))
    assert len(decoded(open_source(tmp_path / "mended", silent))) == 9
    texts = dataset.remove_columns("image").add_column("url", files)
    texts.to_parquet(str(tmp_path / "u.parquet"))
    with pytest.raises(InputError, match=r"but paths or addresses of them\. Try: a \.csv"):
        open_source(tmp_path / "u.parquet", silent)


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_row_without_bytes_among_others_is_a_picture_that_cannot_be_read(
    tmp_path: Path, form: str
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.table({"image": [made.PNGS[0], None, made.PNGS[2]], "label": [0, 1, 2]})
    path = tmp_path / f"x.{form}"
    if form == "parquet":
        pq.write_table(table, path)
    else:
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    source = open_source(path, silent)
    assert source.labels.tolist() == [0, 1, 2]
    with pytest.raises(PictureError):
        images.decode_rgb(source.pictures[1].read(), "x")
    assert source.pictures[2].read() == made.PNGS[2]
