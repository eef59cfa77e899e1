"""Bad input: one clear line, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.conftest import Cli, one_line_error, picture
from tests.storage.test_images import bomb

SMALL = ["--size", "32", "-j", 1]


@pytest.fixture
def spoiled(photos: Path, tmp_path: Path) -> Path:
    """A copy of the photos to spoil."""
    copy = tmp_path / "spoiled"
    shutil.copytree(photos, copy)
    return copy


def truncate(root: Path) -> str:
    victim = root / "cat" / "c 0.jpg"
    victim.write_bytes(victim.read_bytes()[:-300])
    return "cat/c 0.jpg"


def lie(root: Path) -> str:
    (root / "dog" / "letter.jpg").write_text("Dear Sir or Madam, this is no picture.")
    return "dog/letter.jpg"


def explode(root: Path) -> str:
    (root / "dog" / "bomb.png").write_bytes(bomb())
    return "dog/bomb.png"


def empty(root: Path) -> str:
    (root / "cat" / "nothing.jpeg").write_bytes(b"")
    return "cat/nothing.jpeg"


def dangle(root: Path) -> str:
    (root / "cat" / "gone.jpg").symlink_to(root / "nowhere.jpg")
    return "cat/gone.jpg"


SPOILERS = [truncate, lie, explode, empty, dangle]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_on_error_fail_stops_names_the_picture_and_leaves_no_shard(
    cli: Cli, spoiled: Path, mixing: Path, tmp_path: Path, spoil
) -> None:
    name = spoil(spoiled)
    out = tmp_path / "o"
    code, stdout, err = cli(
        "bake", spoiled, "--mixing-set", mixing, "-o", out, *SMALL, "--on-error", "fail"
    )
    assert (code, stdout) == (1, "")
    assert name in one_line_error(err)
    assert "--on-error skip" in err
    assert list(out.rglob("*.tar")) == []


@pytest.mark.process
@pytest.mark.parametrize("spoil", SPOILERS)
@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "npy"])
def test_on_error_skip_finishes_lists_the_picture_and_exits_3(
    cli: Cli, spoiled: Path, mixing: Path, tmp_path: Path, spoil, layout: str
) -> None:
    before = sum(1 for p in spoiled.rglob("*") if p.is_file())
    name = spoil(spoiled)
    after = sum(1 for p in spoiled.rglob("*") if p.is_file() or p.is_symlink())
    out = tmp_path / "o"
    arguments = ["bake", spoiled, "--mixing-set", mixing, "-o", out, *SMALL, "--format", layout]
    code, _, err = cli(*arguments, "--on-error", "skip", "--copies", 2)
    assert code == 3, err
    errors = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [row["key"] for row in errors] == [name]
    assert errors[0]["error"]
    summary = json.loads((out / "manifest.json").read_text())["summary"]
    good = after - 1 if after > before else before - 1
    assert (summary["pictures"], summary["skipped"]) == (2 * good, 1)
    assert cli("verify", out)[0] == 0
    code, _, err = cli(*arguments, "--copies", 2, "--resume")
    assert code == 3
    assert "nothing to do" in err


def test_a_broken_mixing_picture_is_replaced_and_listed(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "mixing"
    shutil.copytree(mixing, copy)
    (copy / "m1.png").write_bytes(b"broken")
    out = tmp_path / "o"
    arguments = ["bake", photos, "--mixing-set", copy, *SMALL, "--copies", 3]
    code, _, _ = cli(*arguments, "-o", out)
    assert code == 3
    rows = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [row["key"] for row in rows] == ["m1.png"]
    assert json.loads((out / "manifest.json").read_text())["summary"]["pictures"] == 72
    code, _, err = cli(*arguments, "-o", tmp_path / "p", "--on-error", "fail")
    assert code == 1
    assert "m1.png" in one_line_error(err)


@pytest.mark.parametrize(
    ("source", "message"),
    [("nowhere", "does not exist"), ("empty", "is empty"), ("flat", "no class folders")],
)
def test_unusable_sources_are_refused(
    cli: Cli, mixing: Path, tmp_path: Path, source: str, message: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "flat").mkdir()
    (tmp_path / "flat" / "1.jpg").write_bytes(b"x")
    code, _, err = cli("bake", tmp_path / source, "--mixing-set", mixing, "-o", tmp_path / "o")
    assert code == 2
    assert message in one_line_error(err)
    assert not (tmp_path / "o").exists()


def test_a_mixing_set_without_pictures_is_refused(cli: Cli, photos: Path, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "readme.txt").write_text("nothing here")
    code, _, err = cli("bake", photos, "--mixing-set", tmp_path / "m", "-o", tmp_path / "o")
    assert code == 2
    assert "holds no pictures" in one_line_error(err)


def test_an_existing_output_and_a_resume_with_other_settings_are_refused(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", out, *SMALL]
    assert cli(*arguments)[0] == 0
    code, _, err = cli(*arguments)
    assert code == 2
    assert "--overwrite" in one_line_error(err)
    code, _, err = cli(*arguments, "--beta", 2, "--resume")
    assert code == 2
    assert "--beta 4.0, this run has --beta 2.0" in one_line_error(err)


def test_a_changed_source_is_refused_and_named(
    cli: Cli, spoiled: Path, mixing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    arguments = ["bake", spoiled, "--mixing-set", mixing, "-o", out, *SMALL]
    assert cli(*arguments)[0] == 0
    (spoiled / "cat" / "c 0.jpg").unlink()
    code, _, err = cli(*arguments, "--resume")
    assert code == 2
    assert "other pictures in SOURCE: 24 then, 23 now" in one_line_error(err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--beta", 0], "beta must be above 0"),
        (["--size", 0], "size must be 1 to"),
        (["--k", -1], "k must be 0"),
        (["--severity", 99], "severity must be"),
        (["--operations", "add,divide"], "not divide"),
        (["--beta", "nan"], "beta must be above 0"),
    ],
)
def test_values_out_of_range_are_refused(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, options: list[object], message: str
) -> None:
    code, _, err = cli("bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *options)
    assert code == 2
    assert message in one_line_error(err)


@pytest.mark.parametrize("size", [0, 20000, -3])
def test_fractal_sizes_out_of_range_are_refused(cli: Cli, tmp_path: Path, size: int) -> None:
    code, _, err = cli("generate-fractals", "-n", 1, "--size", size, "-o", tmp_path / "o")
    assert code == 2
    assert "size" in one_line_error(err)
    assert not (tmp_path / "o").exists()


def test_strange_but_valid_pictures_are_baked(cli: Cli, mixing: Path, tmp_path: Path) -> None:
    import numpy as np
    from PIL import Image

    root = tmp_path / "s" / 'a "quoted" class.v2'
    root.mkdir(parents=True)
    rgb = Image.fromarray(picture(1, 50, 60))
    rgb.convert("CMYK").save(root / "cmyk.jpg")
    rgb.convert("L").save(root / "grey.jpg")
    rgb.quantize(8).save(root / "palette.png")
    rgb.convert("RGBA").save(root / "alpha.png")
    Image.fromarray(picture(2, 50, 60)[:, :, 0].astype(np.uint16) * 257).save(root / "deep.png")
    Image.new("RGB", (1, 1), "red").save(root / "one pixel.png")
    Image.new("RGB", (3000, 2), "red").save(root / "wide.png")
    out = tmp_path / "o"
    code, _, err = cli("bake", tmp_path / "s", "--mixing-set", mixing, "-o", out, *SMALL)
    assert code == 0, err
    assert json.loads((out / "manifest.json").read_text())["summary"]["pictures"] == 7
    for preset in ("cifar", "imagenet"):
        code, _, err = cli(
            "bake", tmp_path / "s", "--mixing-set", mixing, "-o", tmp_path / preset,
            "--preset", preset, *SMALL, "--format", "imagefolder",
        )  # fmt: skip
        assert code == 0, err


def test_a_mixing_picture_too_thin_to_crop_is_listed_not_enlarged(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    from PIL import Image

    copy = tmp_path / "mixing"
    shutil.copytree(mixing, copy)
    Image.new("RGB", (5000, 1), "red").save(copy / "m1.png")
    code, _, _ = cli(
        "bake", photos, "--mixing-set", copy, *SMALL, "--copies", 3, "-o", tmp_path / "o"
    )
    assert code == 3
    assert "too thin" in (tmp_path / "o" / "errors.jsonl").read_text()


def test_pipes_and_devices_named_like_pictures_are_never_waited_for(
    cli: Cli, spoiled: Path, mixing: Path, tmp_path: Path
) -> None:
    import os

    os.mkfifo(spoiled / "cat" / "pipe.jpg")
    (spoiled / "cat" / "zero.jpg").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "fifo")
    (spoiled / "cat" / "linked.jpg").symlink_to(tmp_path / "fifo")
    out = tmp_path / "o"
    code, _, err = cli("bake", spoiled, "--mixing-set", mixing, "-o", out, *SMALL)
    assert code == 3
    assert "pipe.jpg is no regular file" in err
    rows = [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]
    assert [row["key"] for row in rows] == ["cat/linked.jpg", "cat/zero.jpg"]


@pytest.mark.parametrize("place", ["", "baked", "cat/baked"])
def test_an_output_inside_an_input_is_refused(
    cli: Cli, spoiled: Path, mixing: Path, tmp_path: Path, place: str
) -> None:
    before = sorted(spoiled.rglob("*"))
    code, _, err = cli("bake", spoiled, "--mixing-set", mixing, "-o", spoiled / place, *SMALL)
    assert code == 2
    assert "lies inside SOURCE" in one_line_error(err)
    assert sorted(spoiled.rglob("*")) == before


def test_a_new_class_between_two_runs_is_refused(
    cli: Cli, spoiled: Path, mixing: Path, tmp_path: Path
) -> None:
    arguments = ["bake", spoiled, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL]
    assert cli(*arguments)[0] == 0
    (spoiled / "a new one").mkdir()
    code, _, err = cli(*arguments, "--resume", "--copies", 2)
    assert code == 2
    assert "other pictures in SOURCE" in one_line_error(err)


def test_an_empty_class_is_refused_where_it_would_shift_labels(
    cli: Cli, spoiled: Path, mixing: Path, tmp_path: Path
) -> None:
    (spoiled / "a empty").mkdir()
    arguments = ["bake", spoiled, "--mixing-set", mixing, *SMALL]
    code, _, err = cli(*arguments, "-o", tmp_path / "f", "--format", "imagefolder")
    assert code == 2
    assert "a empty holds no pictures" in one_line_error(err)
    assert cli(*arguments, "-o", tmp_path / "w")[0] == 0


@pytest.mark.process
def test_names_that_collide_with_a_full_name_all_survive(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    from PIL import Image

    root = tmp_path / "s" / "c"
    root.mkdir(parents=True)
    long = "y" * 250
    for name in ("x.jpg", "x.png", "x.jpg.png", "X.jpg", f"{long}.png"):
        Image.new("RGB", (40, 40), "red").save(root / name)
    out = tmp_path / "o"
    code, stdout, err = cli(
        "bake", tmp_path / "s", "--mixing-set", mixing, "-o", out, *SMALL, "--format", "imagefolder"
    )
    assert code == 0, err
    assert len(set(stdout.splitlines())) == 5
    assert len(list(out.rglob("*.jpg"))) == 5
    assert cli("verify", out)[0] == 0


def test_lost_labels_are_made_again(cli: Cli, photos: Path, mixing: Path, tmp_path: Path) -> None:
    from tests.conftest import tree

    out = tmp_path / "o"
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", out, *SMALL, "--format", "npy"]
    assert cli(*arguments, "--copies", 2)[0] == 0
    before = tree(out)
    (out / "copy-001" / "labels.npy").unlink()
    assert cli(*arguments, "--copies", 2, "--resume")[0] == 0
    assert tree(out) == before


def test_a_link_to_itself_is_listed_as_unreadable(
    cli: Cli, spoiled: Path, mixing: Path, tmp_path: Path
) -> None:
    (spoiled / "cat" / "loop.jpg").symlink_to(spoiled / "cat" / "loop.jpg")
    out = tmp_path / "o"
    code, _, err = cli("bake", spoiled, "--mixing-set", mixing, "-o", out, *SMALL)
    assert code == 3, err
    assert "cat/loop.jpg" in (out / "errors.jsonl").read_text()


def test_a_name_too_long_for_the_file_system_is_one_line(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    code, _, err = cli("bake", photos, "--mixing-set", mixing, "-o", tmp_path / ("o" * 300), *SMALL)
    assert code == 1
    assert "internal error" not in one_line_error(err)


@pytest.mark.parametrize("text", ["5", "{", '["a"]'])
def test_verify_names_damaged_class_names(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, text: str
) -> None:
    out = tmp_path / "o"
    assert cli("bake", photos, "--mixing-set", mixing, "-o", out, *SMALL)[0] == 0
    (out / "classes.json").write_text(text)
    code, stdout, _ = cli("verify", out, "-j", 1)
    assert code == 1
    assert "classes.json" in stdout


@pytest.mark.parametrize(
    "text",
    [
        "bake = 3", "[[bake]]", "[bakee]\nk = 3", "copies = 2", "[bake]\ncopies = 2.5",
        "[bake]\ncopies = true", "[bake]\ncopies = [1, 2]", "[bake]\ncopies = {a = 1}",
        "[bake]\ndebug = true",
    ],
)  # fmt: skip
def test_a_config_that_says_nothing_sensible_is_refused(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, text: str
) -> None:
    (tmp_path / "x.toml").write_text(text)
    code, _, err = cli(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL, "--config",
        tmp_path / "x.toml",
    )  # fmt: skip
    assert code == 2
    one_line_error(err)


def test_a_config_may_name_a_mixing_set(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    (tmp_path / "x.toml").write_text(f'[bake]\nmixing-set = "{mixing}"\ncopies = 2\n')
    code, stdout, err = cli(
        "bake", photos, "-o", tmp_path / "o", *SMALL, "--config", tmp_path / "x.toml"
    )
    assert code == 0, err
    assert len(stdout.splitlines()) == 2
