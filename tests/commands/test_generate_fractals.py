"""generate-fractals, end to end."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.pipelines.mixing_sets.tone import toned
from tests.conftest import Cli, Run, one_line_error, tree

pytestmark = pytest.mark.long

ARGUMENTS = ["generate-fractals", "-n", 10, "--size", 48, "-j", 1]


def test_a_folder_set_is_read_by_imagefolder_and_by_name(cli: Cli, tmp_path: Path) -> None:
    from torchvision.datasets import ImageFolder

    out = tmp_path / "mixing" / "fractals"
    code, stdout, _ = cli(*ARGUMENTS, "-o", out)
    assert code == 0
    expected = [str(out / "000" / f"{index:06d}.jpg") for index in range(10)]
    assert stdout.splitlines() == expected
    for root in (out, out.parent):
        assert len(ImageFolder(str(root))) == 10
    for name in expected:
        with Image.open(name) as image:
            assert image.size == (48, 48)


@pytest.mark.process
@pytest.mark.parametrize("layout", ["folder", "webdataset"])
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_worker_count_never_changes_a_byte_and_another_seed_changes_all(
    cli: Cli, tmp_path: Path, layout: str, image_format: str
) -> None:
    more = ["--format", layout, "--image-format", image_format, "--shard-size", 4]
    assert cli(*ARGUMENTS, "-o", tmp_path / "1", *more)[0] == 0
    assert cli(*ARGUMENTS, "-o", tmp_path / "2", *more, "-j", 2)[0] == 0
    assert cli(*ARGUMENTS, "-o", tmp_path / "3", *more, "--seed", 1)[0] == 0
    one, two, three = (tree(tmp_path / name) for name in "123")
    assert one == two
    assert set(one.values()).isdisjoint(three.values())


def test_a_smaller_set_is_the_beginning_of_a_larger_one_and_grows_into_it(
    cli: Cli, tmp_path: Path
) -> None:
    for layout in ("folder", "webdataset"):
        more = ["--format", layout, "--shard-size", 4]
        grown, fresh = tmp_path / f"grown-{layout}", tmp_path / f"fresh-{layout}"
        assert cli(*ARGUMENTS, "-o", grown, *more)[0] == 0
        small = tree(grown)
        assert cli(*ARGUMENTS, "-o", grown, *more, "-n", 14, "--resume")[0] == 0
        assert cli(*ARGUMENTS, "-o", fresh, *more, "-n", 14)[0] == 0
        large = tree(grown)
        assert large == tree(fresh)
        assert sum(1 for name, digest in small.items() if large.get(name) == digest) >= 2


def test_weaker_pictures_are_the_usual_ones_toned_and_no_other_set_goes_on_with_them(
    cli: Cli, tmp_path: Path
) -> None:
    few = ["generate-fractals", "-n", 3, "--size", 48, "-j", 1, "--image-format", "png"]
    weaker = ["--contrast", 0.5, "--saturation", 1.5]
    assert cli(*few, "-o", tmp_path / "usual")[0] == 0
    assert cli(*few, "-o", tmp_path / "weak", *weaker)[0] == 0
    for index in range(3):
        usual, weak = (
            np.asarray(Image.open(tmp_path / name / "000" / f"{index:06d}.png"))
            for name in ("usual", "weak")
        )
        assert (weak == toned(usual, 0.5, 1.5)).all()
    options = json.loads((tmp_path / "usual" / "manifest.json").read_text())["options"]
    assert not {"contrast", "saturation"} & set(options)  # so sets begun without them go on
    before = tree(tmp_path)
    for name, more, said in (
        ("usual", weaker, "--contrast 1.0, this run has --contrast 0.5"),
        ("weak", [], "--contrast 0.5, this run has --contrast 1.0"),
    ):
        code, _, err = cli(*few, "-o", tmp_path / name, *more, "-n", 4, "--resume")
        assert code == 2
        assert said in one_line_error(err)
    assert tree(tmp_path) == before


def test_zero_is_one_number_whatever_its_sign(cli: Cli, tmp_path: Path) -> None:
    grey = [*ARGUMENTS, "-n", 2, "-o", tmp_path / "o", "--contrast"]
    assert cli(*grey, 0)[0] == 0
    assert cli(*grey, "-0.0", "--resume")[0] == 0


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "11", "x"])
def test_a_contrast_that_means_nothing_is_refused(cli: Cli, tmp_path: Path, value: str) -> None:
    code, _, err = cli(*ARGUMENTS, "-o", tmp_path / "out", "--contrast", value)
    assert code == 2
    assert "--contrast" in one_line_error(err)
    assert not (tmp_path / "out").exists()


def test_each_picture_carries_a_recipe_that_renders_it_again(cli: Cli, tmp_path: Path) -> None:
    from fractals import render_recipe
    from pixmix_cli.storage.images import recipe_of

    code, stdout, _ = cli(*ARGUMENTS, "-o", tmp_path / "o", "--image-format", "png", "-n", 4)
    assert code == 0
    for name in stdout.splitlines():
        recipe = recipe_of(Path(name).read_bytes(), name)
        assert recipe is not None
        np.testing.assert_array_equal(render_recipe(recipe), np.array(Image.open(name)))


def test_stream_to_stdout_is_a_tar_of_the_same_pictures(
    pixmix: Run, cli: Cli, tmp_path: Path
) -> None:
    assert cli(*ARGUMENTS, "-o", tmp_path / "o")[0] == 0
    for workers in (1, 2):
        done = pixmix(*ARGUMENTS[:-1], workers, "-o", "-", text=False)
        assert done.returncode == 0
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:  # type: ignore[arg-type]
            names = archive.getnames()
            pictures = [archive.extractfile(name).read() for name in names]  # type: ignore[union-attr]
        assert names == [f"{index:06d}.jpg" for index in range(10)]
        loose = [(tmp_path / "o" / "000" / name).read_bytes() for name in names]
        assert pictures == loose


def test_manifest_has_a_row_a_picture_and_counts_rejections(cli: Cli, tmp_path: Path) -> None:
    assert cli(*ARGUMENTS, "-o", tmp_path / "o")[0] == 0
    rows = [json.loads(x) for x in (tmp_path / "o" / "manifest.jsonl").read_text().splitlines()]
    assert [row["index"] for row in rows] == list(range(10))
    files = tree(tmp_path / "o")
    assert all(files[row["path"]] == row["sha256"] for row in rows)
    manifest = json.loads((tmp_path / "o" / "manifest.json").read_text())
    assert manifest["summary"]["rejected"] == sum(row["rejected"] for row in rows)
    assert manifest["summary"]["pictures"] == 10
    assert manifest["options"]["size"] == 48


@pytest.mark.parametrize("kind", ["affine", "flame"])
def test_kind_is_what_was_asked_for(cli: Cli, tmp_path: Path, kind: str) -> None:
    code, stdout, _ = cli(*ARGUMENTS, "-o", tmp_path / "o", "--kind", kind, "--json")
    assert code == 0
    for line in stdout.splitlines():
        assert set(json.loads(line)["layers"]) == {kind}


def test_dry_run_estimates_bytes_and_writes_nothing(cli: Cli, tmp_path: Path) -> None:
    code, stdout, _ = cli(*ARGUMENTS, "-o", tmp_path / "o", "--dry-run", "--json", "-n", 1000)
    assert code == 0
    plan = json.loads(stdout)
    assert plan["pictures"] == 1000
    assert 1000 * 500 < plan["estimated_bytes"] < 1000 * 50_000
    assert plan["estimated_seconds"] > 0
    assert not (tmp_path / "o").exists()


def test_progress_as_json_ends_at_the_total(cli: Cli, tmp_path: Path) -> None:
    code, _, stderr = cli(*ARGUMENTS, "-o", tmp_path / "o", "--progress", "json")
    assert code == 0
    last = [json.loads(line) for line in stderr.splitlines() if line.startswith("{")][-1]
    assert (last["done"], last["total"]) == (10, 10)


def test_verbose_says_how_much_is_to_do(cli: Cli, tmp_path: Path) -> None:
    assert "10 of 10 pictures to make" in cli(*ARGUMENTS, "-o", tmp_path / "o", "-v")[2]
    assert "to make" not in cli(*ARGUMENTS, "-o", tmp_path / "p")[2]


def test_quiet_twice_says_nothing(cli: Cli, tmp_path: Path) -> None:
    code, stdout, stderr = cli(*ARGUMENTS, "-o", tmp_path / "o", "-qq")
    assert code == 0
    assert len(stdout.splitlines()) == 10
    assert stderr == ""


def test_a_plain_processor_that_makes_one_part_of_two_changes_no_byte(
    pixmix: Run, cli: Cli, tmp_path: Path
) -> None:
    assert cli(*ARGUMENTS, "-o", tmp_path / "here")[0] == 0
    plain = {"NUMBA_CPU_NAME": "generic"}
    done = pixmix(*ARGUMENTS, "-o", tmp_path / "there", "--shard", "0/2", env=plain)
    assert done.returncode == 0, done.stderr
    assert cli(*ARGUMENTS, "-o", tmp_path / "there", "--shard", "1/2")[0] == 0
    assert tree(tmp_path / "here") == tree(tmp_path / "there")
