"""inspect tells what a set is like, and names what is wrong in it."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli, one_line_error, picture


def _records(out: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture
def varied(tmp_path: Path) -> Path:
    """Twelve pictures of 80 x 96; two nearly the same, one blank."""
    root = tmp_path / "varied"
    root.mkdir()
    for i in range(10):
        Image.fromarray(picture(i, 96, 80)).save(root / f"{i}.png")
    Image.fromarray(picture(3, 96, 80)).save(root / "again.jpg", quality=85)
    Image.new("RGB", (80, 96), (90, 90, 90)).save(root / "blank.png")
    return root


def test_a_set_is_measured_and_its_duplicates_and_blanks_are_named(cli: Cli, varied: Path) -> None:
    code, out, err = cli("inspect", varied, "--json", "-j", 1)
    assert (code, err) == (0, "")
    (record,) = _records(out)
    assert (record["path"], record["pictures"], record["size"]) == (str(varied), 12, [80, 96])
    assert record["blank"] == {"pictures": 1, "names": ["blank.png"]}
    assert record["near_duplicates"]["pairs"] == 1
    ((first, second, distance),) = record["near_duplicates"]["closest"]
    assert (first, second) == ("3.png", "again.jpg")
    assert distance == pytest.approx(record["closest"], abs=1e-4)
    for name in ("entropy", "active", "colorfulness", "hue", "slope", "dimension", "contrast"):
        spread = record[name]
        assert spread["p10"] <= spread["median"] <= spread["p90"]
    assert 0.1 < record["distance"]["mean"] < 0.6
    assert record["distance"]["compared"] == 12


def test_sets_stand_side_by_side_in_the_order_given(
    cli: Cli, varied: Path, photos: Path, mixing: Path
) -> None:
    code, out, _ = cli("inspect", photos, varied, mixing, "-j", 1)
    assert code == 0
    lines = out.splitlines()
    names = [path.name for path in (photos, varied, mixing)]
    assert lines[0].split()[:3] == names
    assert lines[1].split() == ["pictures", "24", "12", "6"]
    assert any("3.png and again.jpg are nearly the same" in line for line in lines)
    assert any("blank.png is blank" in line for line in lines)


@pytest.mark.process
def test_worker_count_and_container_change_no_number(
    cli: Cli, varied: Path, tmp_path: Path
) -> None:
    with tarfile.open(tmp_path / "varied.tar", "w") as archive:
        for path in sorted(varied.iterdir()):
            archive.add(path, path.name)
    numbers = []
    for path, workers in ((varied, 1), (varied, 2), (tmp_path / "varied.tar", 1)):
        code, out, _ = cli("inspect", path, "--json", "-j", workers)
        assert code == 0
        (record,) = _records(out)
        assert len(record.pop("path")) > 0
        numbers.append(json.dumps(record).replace("varied.tar/", ""))
    assert numbers[0] == numbers[1] == numbers[2]


def test_broken_pictures_are_named_and_the_exit_code_says_so(cli: Cli, varied: Path) -> None:
    (varied / "torn.png").write_bytes((varied / "1.png").read_bytes()[:300])
    (varied / "letter.jpg").write_text("no picture")
    code, out, err = cli("inspect", varied, "--json", "-j", 1)
    assert code == 3
    (record,) = _records(out)
    assert record["pictures"] == 12
    assert [item["path"] for item in record["broken"]] == ["letter.jpg", "torn.png"]
    assert all(name in err for name in ("letter.jpg", "torn.png"))
    assert "Traceback" not in err


@pytest.mark.parametrize("side", [1, 7, 9, 17, 33])
def test_tiny_pictures_have_the_measures_that_fit_them(cli: Cli, tmp_path: Path, side: int) -> None:
    Image.fromarray(picture(0, side, side)).save(tmp_path / "tiny.png")
    code, out, _ = cli("inspect", tmp_path, "--json", "-j", 1)
    assert code == 0
    (record,) = _records(out)
    assert (record["active"]["median"] is None) == (side < 8)
    assert (record["slope"]["median"] is None) == (side < 27)
    assert record["contrast"]["median"] is not None
    assert record["distance"]["mean"] is None
    assert cli("inspect", tmp_path, "-j", 1)[0] == 0


def test_the_plot_has_a_colour_for_each_set(
    cli: Cli, varied: Path, photos: Path, tmp_path: Path
) -> None:
    plot = tmp_path / "plot.png"
    code, _, _ = cli("inspect", varied, photos, "--plot", plot, "-j", 1)
    assert code == 0
    pixels = np.array(Image.open(plot)).reshape(-1, 3)
    for color in ((0, 114, 178), (230, 159, 0)):
        assert (pixels == color).all(axis=1).sum() > 50
    assert not (pixels == (0, 158, 115)).all(axis=1).any()
    code, out, err = cli("inspect", varied, "--plot", plot, "-j", 1)
    assert (code, out) == (2, "")
    assert "--overwrite" in one_line_error(err)
    assert cli("inspect", varied, "--plot", plot, "--overwrite", "-j", 1)[0] == 0


@pytest.mark.parametrize("side", [1, 16])
def test_a_set_of_one_picture_can_be_plotted(cli: Cli, tmp_path: Path, side: int) -> None:
    Image.new("RGB", (side, side)).save(tmp_path / "one.png")
    assert cli("inspect", tmp_path / "one.png", "--plot", tmp_path / "p.png", "-j", 1)[0] == 0


def test_what_cannot_be_inspected_is_said_in_one_line(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("inspect", tmp_path / "nowhere")
    assert code == 2
    assert "does not exist" in one_line_error(err)
    code, _, err = cli("inspect", tmp_path)
    assert code == 2
    assert "holds no pictures" in one_line_error(err)
    (tmp_path / "letter.jpg").write_text("no picture")
    code, _, err = cli("inspect", tmp_path, "-j", 1)
    assert code == 2
    assert "no picture that can be read" in one_line_error(err)


def test_a_plot_that_cannot_be_written_is_refused_before_any_work(
    cli: Cli, varied: Path, tmp_path: Path
) -> None:
    for plot, hint in (("p.gif", "ends in .png"), ("no/p.png", "mkdir")):
        code, out, err = cli("inspect", varied, "--plot", tmp_path / plot)
        assert (code, out) == (2, "")
        assert hint in one_line_error(err)


def test_what_misses_a_goal_is_marked_and_said(cli: Cli, varied: Path) -> None:
    code, out, _ = cli("inspect", varied, "-j", 1)
    assert code == 0
    rows = {line[:24].strip(): line for line in out.splitlines()}
    assert "1 !" in rows["near-duplicate pairs"]
    assert "!" not in rows["active 8x8 blocks"]
    code, out, _ = cli("inspect", varied, "--json", "-j", 1)
    (record,) = _records(out)
    missed = {one["measure"]: one for one in record["missed"]}
    assert missed["near_duplicates"] == {"measure": "near_duplicates", "value": 1, "goal": "0"}
    assert "active" not in missed


def test_a_value_just_below_its_goal_is_told_with_another_decimal() -> None:
    from pixmix_cli.pipelines.inspect.summary import Summary, details_of, record_of, table_of

    summary = Summary(Path("set"), names=["a"])
    summary.shapes[64, 64] = 1
    summary.values.extend([7.0, 0.9, 60.0, 4.0, 2.0, 1.8, 47.7])
    summary.small += bytes(16 * 16 * 3)
    record = record_of(summary)
    assert list(details_of(record)) == ["set: misses our goal: contrast at 32 px 47.7 (>= 48)"]
    (row,) = [line for line in table_of([record]) if line.startswith("contrast")]
    assert row.split() == ["contrast", "at", "32", "px", "48", "[48,", "48]", "!", ">=", "48"]


def test_a_flat_picture_has_no_entropy_and_no_sign_before_it(cli: Cli, tmp_path: Path) -> None:
    Image.new("RGB", (64, 64), (90, 90, 90)).save(tmp_path / "flat.png")
    code, out, _ = cli("inspect", tmp_path, "--json", "-j", 1)
    assert code == 0
    assert "-0.0" not in out
    assert "-.0" not in cli("inspect", tmp_path, "-j", 1)[1]


def test_both_measuring_and_comparing_show_progress(cli: Cli, varied: Path) -> None:
    code, _, err = cli("inspect", varied, "-j", 1, "--progress", "json")
    assert code == 0
    ends = [json.loads(line) for line in err.splitlines()]
    assert [(one["done"], one["total"]) for one in ends if one["done"] == 12] == [(12, 12)] * 2
