"""Pictures that would take too much memory: left out by name, of SOURCE and of mixing sets."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.pipelines.bake.mixing_pictures import MixingPictures
from pixmix_cli.sources.mixing_set import open_mixing_set
from pixmix_cli.storage import images
from tests.conftest import Cli, picture


@pytest.fixture
def sizes(tmp_path: Path) -> Path:
    """An ImageFolder of one class with a picture of 30 x 30 and one of 300 x 200."""
    folder = tmp_path / "sizes" / "a"
    folder.mkdir(parents=True)
    Image.fromarray(picture(1, 30, 30)).save(folder / "small.png")
    Image.fromarray(picture(2, 200, 300)).save(folder / "large.jpg")
    return folder.parent


def test_a_large_picture_of_the_source_is_left_out_and_listed(
    cli: Cli, sizes: Path, mixing: Path, tmp_path: Path
) -> None:
    code, _, _ = cli(
        "bake", sizes, "--mixing-set", mixing, "-o", tmp_path / "out", "--size", 32,
        "--max-pixels", 59_999,
    )  # fmt: skip
    assert code == 3
    row = json.loads((tmp_path / "out" / "errors.jsonl").read_text())
    assert row["error"].startswith("a/large.jpg: 300 x 200 are 60000 pixels, more than 59999")


def test_a_large_mixing_picture_is_never_decoded(
    sizes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mixing = open_mixing_set([sizes], lambda line: None)
    kept = MixingPictures(mixing, 32, max_pixels=59_999)
    monkeypatch.setattr(images.simplejpeg, "decode_jpeg", lambda *a, **k: pytest.fail("decoded"))
    assert kept.get(0, "skip")[0] == 1
    assert [row.error.partition(" are")[0] for row in kept.errors()] == ["a/large.jpg: 300 x 200"]


def test_a_file_of_many_bytes_is_not_even_read(sizes: Path) -> None:
    (sizes / "a" / "large.jpg").write_bytes(bytes(8_000_000))
    mixing = open_mixing_set([sizes], lambda line: None)
    kept = MixingPictures(mixing, 32, max_pixels=1_000_000)
    assert kept.get(0, "skip")[0] == 1
    assert "a file of 8000000 bytes" in kept.errors()[0].error


def test_the_limit_is_recorded_where_it_is_not_the_usual_one(
    cli: Cli, sizes: Path, mixing: Path, tmp_path: Path
) -> None:
    for limit in (1 << 26, 1 << 27):
        out = tmp_path / str(limit)
        cli("bake", sizes, "--mixing-set", mixing, "-o", out, "--size", 32, "--max-pixels", limit)
        options = json.loads((out / "manifest.json").read_text())["options"]
        assert options.get("max-pixels") == (None if limit == 1 << 26 else limit)


def test_a_thin_picture_is_left_out_where_it_would_be_enlarged_beyond_the_limit(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    (tmp_path / "in" / "a").mkdir(parents=True)
    for name, sides in (("thin", (1, 3000)), ("small", (20, 20))):
        Image.fromarray(picture(1, *sides)).save(tmp_path / "in" / "a" / f"{name}.png")
    for layout in ("npy", "webdataset"):
        out = tmp_path / layout
        code, _, _ = cli(
            "bake", tmp_path / "in", "--mixing-set", mixing, "-o", out, "--preset", "cifar",
            "--format", layout, "--max-pixels", 1_000_000, "-j", 1,
        )  # fmt: skip
        assert code == 3
        error = json.loads((out / "errors.jsonl").read_text())["error"]
        assert error.startswith("a/thin.png: 3000 x 1 pixels are 3072000 with the shorter side")


def test_a_large_picture_in_an_array_is_left_out(cli: Cli, mixing: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 40, 50, 3), np.uint8), labels=np.arange(2))
    code, _, err = cli(
        "bake", tmp_path / "x.npz", "--mixing-set", mixing, "-o", tmp_path / "out", "--size", 32,
        "--max-pixels", 1999, "--on-error", "fail",
    )  # fmt: skip
    assert code == 1
    assert "50 x 40 are 2000 pixels" in err
