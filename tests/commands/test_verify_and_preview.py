"""verify finds what is wrong; preview shows what is there."""

from __future__ import annotations

import json
import shutil
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli, one_line_error


@pytest.fixture(params=["webdataset", "imagefolder", "npy", "parquet", "folder", "tars"])
def made(
    request: pytest.FixtureRequest, cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> Path:
    """A small output of each kind."""
    out = tmp_path / "o"
    if request.param in ("folder", "tars"):
        layout = "folder" if request.param == "folder" else "webdataset"
        code, _, err = cli(
            "generate-fractals", "-n", 4, "--size", 32, "-o", out, "--format", layout,
            "--shard-size", 3, "-j", 1,
        )  # fmt: skip
    else:
        code, _, err = cli(
            "bake", photos, "--mixing-set", mixing, "-o", out, "--size", 32, "--copies", 2,
            "--format", request.param, "-j", 1,
        )  # fmt: skip
    assert code == 0, err
    return out


def first_artefact(out: Path) -> Path:
    row = json.loads((out / "manifest.jsonl").read_text().splitlines()[0])
    return out / row["path"]


@pytest.mark.process
def test_an_untouched_output_is_whole(cli: Cli, made: Path) -> None:
    code, out, err = cli("verify", made, "-j", 2)
    assert (code, out) == (0, "")
    assert "all as written" in err


@pytest.mark.parametrize("place", [0.3, 0.9])
def test_one_flipped_bit_is_found(cli: Cli, made: Path, place: float) -> None:
    victim = first_artefact(made)
    data = bytearray(victim.read_bytes())
    data[int(len(data) * place)] ^= 4
    victim.write_bytes(data)
    code, out, _ = cli("verify", made, "-j", 1)
    assert code == 1
    assert str(victim) in out
    assert "not what was written" in out


def test_rows_that_are_lost_or_damaged_are_problems_and_no_crash(cli: Cli, made: Path) -> None:
    file = made / "manifest.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    whole = [row for row in rows if "member" not in row]
    lost = [row for row in rows if row is not whole[0]]  # its members' rows are still there
    file.write_text("".join(json.dumps(row) + "\n" for row in lost))
    code, out, err = cli("verify", made, "-j", 1)
    assert code == 1
    assert str(made) in out
    assert "internal error" not in err
    bare = [{k: v for k, v in row.items() if k in ("path", "bytes", "member")} for row in rows]
    file.write_text("".join(json.dumps(row) + "\n" for row in bare))
    code, _, err = cli("verify", made, "-j", 1)
    assert code == 2
    assert f"line 1 of {file} is damaged: " in one_line_error(err)
    assert " is missing" in err


def test_a_truncated_and_a_missing_artefact_are_found(cli: Cli, made: Path) -> None:
    victim = first_artefact(made)
    victim.write_bytes(victim.read_bytes()[:-700])
    assert cli("verify", made, "-j", 1)[0] == 1
    victim.unlink()
    code, out, _ = cli("verify", made, "-j", 1, "--json")
    assert code == 1
    problems = [json.loads(line) for line in out.splitlines()]
    assert {"path": str(victim.relative_to(made)), "problem": "is missing"} in problems


def test_a_stranger_among_the_artefacts_is_found(cli: Cli, made: Path) -> None:
    stranger = first_artefact(made).parent / "stranger.png"
    Image.new("RGB", (8, 8)).save(stranger)
    code, out, _ = cli("verify", made, "-j", 1)
    assert code == 1
    assert out.strip() == f"{stranger}: is not in manifest.jsonl"


def test_an_unfinished_output_is_told(cli: Cli, made: Path) -> None:
    (made / ".pixmix").mkdir()
    (made / "manifest.json").rename(made / ".pixmix" / "plan.json")
    code, out, _ = cli("verify", made, "-j", 1)
    assert code == 1
    assert "not finished" in out


def test_a_folder_of_someone_elses_cannot_be_verified(cli: Cli, photos: Path) -> None:
    code, _, err = cli("verify", photos)
    assert code == 2
    assert "not made by pixmix" in one_line_error(err)
    assert cli("verify", photos / "nowhere")[0] == 2


def test_preview_draws_every_kind_of_output(cli: Cli, made: Path, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    code, out, err = cli("preview", made, "-o", sheet, "--cell", 40, "--count", 4)
    assert (code, out.strip()) == (0, str(sheet)), err
    pixels = np.array(Image.open(sheet))
    baked = json.loads((made / "manifest.json").read_text())["command"] == "bake"
    rows, columns = (4, 3) if baked else (1, 4)
    assert pixels.shape == (rows * 44 + 4, columns * 44 + 4 + (12 if baked else 0), 3)
    assert (pixels != 200).any(2).all() or not baked  # no cell is the grey of a missing picture
    assert pixels.std() > 20
    code, _, err = cli("preview", made, "-o", sheet)
    assert code == 2
    assert "--overwrite" in one_line_error(err)


def test_preview_puts_the_original_beside_its_copies(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    out, sheet = tmp_path / "o", tmp_path / "sheet.png"
    code, _, _ = cli(
        "bake", photos, "--mixing-set", mixing, "-o", out, "--preset", "cifar", "--k", 0,
        "--size", 32, "--format", "npy", "-j", 1,
    )  # fmt: skip
    assert code == 0
    assert cli("preview", out, "-o", sheet, "--cell", 32, "--count", 24)[0] == 0
    pixels = np.array(Image.open(sheet)).astype(float)
    first = pixels[14:26, 6:34].mean()  # 90 x 40 pixels lie in 32 x 14 of the first cell
    expected = np.array(Image.open(photos / "cat" / "c 0.jpg").convert("RGB")).mean()
    assert abs(first - expected) < 10


def test_preview_of_any_folder_and_of_nothing(cli: Cli, photos: Path, tmp_path: Path) -> None:
    assert cli("preview", photos, "-o", tmp_path / "a.webp", "--count", 5)[0] == 0
    code, _, err = cli("preview", photos, "-o", tmp_path / "a.gif")
    assert code == 2
    assert "a name that ends in .png" in one_line_error(err)
    (tmp_path / "empty").mkdir()
    code, _, err = cli("preview", tmp_path / "empty", "-o", tmp_path / "b.png")
    assert code == 2
    assert "holds no pictures" in one_line_error(err)


def test_several_sets_are_drawn_one_below_the_other(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    sheet = tmp_path / "sheet.png"
    code, _, err = cli("preview", photos, mixing, "-o", sheet, "--cell", 20, "--count", 5)
    assert code == 0, err
    pixels = np.array(Image.open(sheet))
    assert pixels.shape == (2 * 28, 5 * 24 + 4, 3)
    assert pixels[28:].std() > 20


def test_preview_shows_progress_of_every_kind(cli: Cli, made: Path, tmp_path: Path) -> None:
    words = ["preview", made, "-o", tmp_path / "s.png", "--cell", 16, "--progress", "json"]
    code, _, err = cli(*words)
    assert code == 0
    last = json.loads(err.splitlines()[-1])
    assert last["done"] == last["total"] > 0


def test_a_long_sheet_takes_the_memory_of_a_row_of_cells(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    for number in range(300):
        shutil.copy(mixing / "m1.png", tmp_path / f"{number}.png")
    tracemalloc.start()
    code, _, err = cli("preview", tmp_path, "-o", tmp_path / "s.png", "--count", 300, "--cell", 200)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert code == 0, err
    with Image.open(tmp_path / "s.png") as sheet:
        width, height = sheet.size
    assert (width, height) == (10 * 204 + 4, 30 * 204 + 4)
    assert peak < width * height * 3 / 4


@pytest.mark.parametrize("name", ["s.png", "s.webp"])
def test_a_sheet_has_the_pixels_of_its_pictures(cli: Cli, tmp_path: Path, name: str) -> None:
    made = [np.full((8, 8, 3), 20 * number, np.uint8) for number in range(5)]
    (tmp_path / "set").mkdir()
    for number, pixels in enumerate(made):
        Image.fromarray(pixels).save(tmp_path / "set" / f"{number}.png")
    sheet = tmp_path / name
    words = ["preview", tmp_path / "set", "-o", sheet, "--cell", 8, "--columns", 2]
    assert cli(*words)[0] == 0
    pixels = np.asarray(Image.open(sheet).convert("RGB"))
    assert pixels.shape == (3 * 12 + 4, 2 * 12 + 4, 3)
    for number, expected in enumerate(made):
        row, column = divmod(number, 2)
        top, left = 4 + row * 12, 4 + column * 12
        assert (pixels[top : top + 8, left : left + 8] == expected).all()
    assert (pixels[28:36, 16:24] == 255).all()
