"""generate-fractals --from: a recipe gives its picture again, and a hostile one gives one line."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fractals import render_recipe
from pixmix_cli.pipelines.inspect import measures
from pixmix_cli.pipelines.mixing_sets.tone import toned
from pixmix_cli.storage.images import recipe_of
from tests.conftest import Cli, one_line_error, tree

MAKE = ["generate-fractals", "-j", 1]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of four small pictures."""
    from pixmix_cli.main import run

    out = tmp_path_factory.mktemp("made") / "set"
    assert run([*map(str, MAKE), "-n", "4", "--size", "40", "-o", str(out), "-qq"]) == 0
    return out


@pytest.fixture(scope="module")
def weak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same four pictures, weaker and with stronger colours."""
    from pixmix_cli.main import run

    out = tmp_path_factory.mktemp("weak") / "set"
    make = [*map(str, MAKE), "-n", "4", "--size", "40", "-o", str(out), "-qq"]
    assert run([*make, "--contrast", "0.5", "--saturation", "2"]) == 0
    return out


def _recipe(picture: Path) -> dict[str, Any]:
    recipe = recipe_of(picture.read_bytes(), picture.name)
    assert recipe is not None
    return recipe


def _pictures(root: Path) -> dict[str, str]:
    return {name: digest for name, digest in tree(root).items() if name.endswith(".jpg")}


@pytest.mark.parametrize("what", ["", "manifest.json", "manifest.jsonl", "000"])
def test_a_set_rendered_again_has_the_same_bytes(
    cli: Cli, made: Path, tmp_path: Path, what: str
) -> None:
    code, out, err = cli(*MAKE, "--from", made / what, "-o", tmp_path / "again")
    assert code == 0, err
    assert len(out.splitlines()) == 4
    assert _pictures(tmp_path / "again") == _pictures(made)
    assert cli("verify", tmp_path / "again", "-j", 1)[0] == 0


@pytest.mark.process
def test_two_workers_and_tars_render_the_same_bytes(cli: Cli, made: Path, tmp_path: Path) -> None:
    tars = ["--format", "webdataset"]
    assert cli(*MAKE, "--from", made, "-o", tmp_path / "1", *tars)[0] == 0
    assert cli(*MAKE, "--from", made, "-o", tmp_path / "2", *tars, "-j", 2)[0] == 0
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert cli(*MAKE, "--from", tmp_path / "1" / "000000.tar", "-o", tmp_path / "3")[0] == 0
    assert _pictures(tmp_path / "3") == _pictures(made)


def test_a_toned_set_rendered_again_has_the_same_bytes(
    cli: Cli, made: Path, weak: Path, tmp_path: Path
) -> None:
    for number, source in enumerate((weak, tmp_path / "0")):
        code, _, err = cli(*MAKE, "--from", source, "-o", tmp_path / str(number))
        assert code == 0, err
        assert _pictures(tmp_path / str(number)) == _pictures(weak)
    assert set(_pictures(weak).values()).isdisjoint(_pictures(made).values())


def test_a_recipe_says_what_makes_its_tone_and_nothing_where_there_is_none(
    made: Path, weak: Path
) -> None:
    usual, weaker = (_recipe(root / "000" / "000001.jpg") for root in (made, weak))
    assert weaker == {**usual, "contrast": 0.5, "saturation": 2.0}
    assert not {"contrast", "saturation"} & set(usual)


def test_a_tone_that_is_given_wins_over_the_recipes(
    cli: Cli, made: Path, weak: Path, tmp_path: Path
) -> None:
    plain = ["--contrast", 1, "--saturation", 1]
    assert cli(*MAKE, "--from", weak, "-o", tmp_path / "plain", *plain)[0] == 0
    assert _pictures(tmp_path / "plain") == _pictures(made)
    arguments = [*MAKE, "--from", weak, "-o", tmp_path / "one", "--contrast", 3]
    assert cli(*arguments)[0] == 0
    recipe = _recipe(tmp_path / "one" / "000" / "000001.jpg")
    assert (recipe["contrast"], recipe["saturation"]) == (3.0, 2.0)
    code, _, err = cli(*MAKE, "--from", weak, "-o", tmp_path / "one", "--resume")
    assert code == 2
    assert "--contrast 3.0, this run has --contrast (none)" in one_line_error(err)
    assert cli(*arguments, "--resume")[0] == 0


def test_a_tone_edited_by_hand_is_rendered_as_it_says(cli: Cli, made: Path, tmp_path: Path) -> None:
    recipe = _recipe(made / "000" / "000000.jpg")
    (tmp_path / "mine.json").write_text(json.dumps({**recipe, "saturation": 0}))
    arguments = [*MAKE, "--from", tmp_path / "mine.json", "-o", tmp_path / "o"]
    code, out, _ = cli(*arguments, "--image-format", "png")
    assert code == 0
    shown = np.array(Image.open(out.strip()))
    np.testing.assert_array_equal(shown, toned(render_recipe(recipe), 1, 0))


@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_every_format_carries_the_recipe(
    cli: Cli, made: Path, tmp_path: Path, image_format: str
) -> None:
    one = made / "000" / "000002.jpg"
    code, out, _ = cli(*MAKE, "--from", one, "-o", tmp_path / "o", "--image-format", image_format)
    assert code == 0
    assert _recipe(Path(out.strip())) == _recipe(one)


def test_a_larger_picture_is_the_same_picture_and_carries_its_own_size(
    cli: Cli, made: Path, tmp_path: Path
) -> None:
    one = made / "000" / "000001.jpg"
    code, out, _ = cli(*MAKE, "--from", one, "--size", 320, "-o", tmp_path / "o")
    assert code == 0
    large = Path(out.strip())
    recipe = _recipe(large)
    assert recipe == {**_recipe(one), "size": 320}
    pixels = np.array(Image.open(large))
    assert pixels.shape == (320, 320, 3)
    apart = measures.shrink(pixels, 20) - measures.shrink(np.array(Image.open(one)), 20)
    assert np.sqrt((apart**2).mean()) < 16.0


def test_a_recipe_edited_by_hand_is_rendered_as_it_says(
    cli: Cli, made: Path, tmp_path: Path
) -> None:
    recipe = _recipe(made / "000" / "000000.jpg")
    recipe["ground"]["shape"], recipe["points_per_pixel"] = "rings", 2
    (tmp_path / "mine.json").write_text(json.dumps(recipe, indent=2))
    arguments = [*MAKE, "--from", tmp_path / "mine.json", "-o", tmp_path / "o"]
    code, out, _ = cli(*arguments, "--image-format", "png")
    assert code == 0
    np.testing.assert_array_equal(np.array(Image.open(out.strip())), render_recipe(recipe))
    # the next edit has the same length, and is noticed all the same
    recipe["points_per_pixel"] = 3
    (tmp_path / "mine.json").write_text(json.dumps(recipe, indent=2))
    code, _, err = cli(*arguments, "--image-format", "png", "--resume")
    assert code == 2
    assert "recipes" in one_line_error(err)


def _change(path: str, value: object) -> Callable[[dict[str, Any]], None]:
    def change(recipe: dict[str, Any]) -> None:
        owner: Any = recipe
        *steps, last = path.split(".")
        for step in steps:
            owner = owner[int(step) if step.isdigit() else step]
        owner[last] = value

    return change


def _many_maps(recipe: dict[str, Any]) -> None:
    recipe["layers"][0]["maps"] *= 500


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (_change("version", 99), "upgrade"),
        (_change("points_per_pixel", float("nan")), "points_per_pixel is nan"),
        (_change("layers.0.frame.width", float("nan")), "frame.width is nan"),
        (_change("note", float("nan")), "not JSON compliant"),
        (_many_maps, "maps has"),
        (_change("points_per_pixel", 1_000_000), "points_per_pixel is 1e+06"),
        (_change("points_per_pixel", 1e9), "points_per_pixel is 1e+09"),
        (_change("size", 20_000), "size is 20000"),
        (_change("layers", []), "layers has 0"),
        (_change("contrast", float("nan")), "contrast is nan"),
        (_change("contrast", float("inf")), "contrast is inf"),
        (_change("contrast", -0.1), "contrast is -0.1: it must be between 0 and 10"),
        (_change("saturation", 10**300), "it must be between 0 and 10"),
        (_change("saturation", "2"), "saturation is '2': it must be a number"),
        (_change("saturation", None), "saturation is None"),
        (_change("contrast", True), "contrast is True"),
        (_change("contrast", [0.5]), "contrast is [0.5]"),
    ],
)
def test_a_hostile_recipe_is_refused_in_one_line(
    cli: Cli, made: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], said: str
) -> None:
    recipe = copy.deepcopy(_recipe(made / "000" / "000000.jpg"))
    change(recipe)
    (tmp_path / "evil.json").write_text(json.dumps(recipe))
    code, out, err = cli(*MAKE, "--from", tmp_path / "evil.json", "-o", tmp_path / "o")
    assert (code, out) == (2, "")
    line = one_line_error(err)
    assert "evil.json" in line
    assert said.lower() in line.lower()
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "carries no recipe"),
        (b"no json", "no JSON"),
        (b"[1, 2]", "object"),
        (b"[" * 100_000, "recursion"),
        (b"\xff\xfe\x00", "not even text"),
        (b"{" + b" " * (1 << 20) + b"}", "too many"),
        (b'{"version": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_what_is_no_recipe_is_refused_in_one_line(
    cli: Cli, tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "x.json").write_bytes(content)
    code, out, err = cli(*MAKE, "--from", tmp_path / "x.json", "-o", tmp_path / "o")
    assert (code, out) == (2, "")
    assert said in one_line_error(err)
    assert not (tmp_path / "o").exists()


def test_a_photograph_has_no_recipe(cli: Cli, photos: Path, tmp_path: Path) -> None:
    picture = next(photos.rglob("*.png"))
    code, _, err = cli(*MAKE, "--from", picture, "-o", tmp_path / "o")
    assert code == 2
    assert "was not made by pixmix" in one_line_error(err)


def test_in_a_folder_what_has_no_recipe_is_skipped_and_listed(
    cli: Cli, made: Path, photos: Path, tmp_path: Path
) -> None:
    mixed = tmp_path / "mixed"
    mixed.mkdir()
    (mixed / "a.jpg").write_bytes((made / "000" / "000003.jpg").read_bytes())
    (mixed / "b.png").write_bytes(next(photos.rglob("*.png")).read_bytes())
    (mixed / "c.jpg").write_bytes(b"")
    code, out, _ = cli(*MAKE, "--from", mixed, "-o", tmp_path / "o")
    assert code == 3
    assert len(out.splitlines()) == 1
    lines = (tmp_path / "o" / "errors.jsonl").read_text().splitlines()
    assert [json.loads(line)["from"] for line in lines] == ["b.png", "c.jpg"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-n", 3], "--count and --from"),
        (["--seed", 3], "--seed and --from"),
        (["--kind", "flame"], "--kind and --from"),
        (["--size", 20_000], "size is 20000"),
        (["--points-per-pixel", 1e9], "points_per_pixel"),
    ],
)
def test_options_that_a_recipe_leaves_no_room_for_are_refused(
    cli: Cli, made: Path, tmp_path: Path, more: list[object], said: str
) -> None:
    code, _, err = cli(*MAKE, "--from", made, "-o", tmp_path / "o", *more)
    assert code == 2
    assert said in one_line_error(err)
    assert not (tmp_path / "o").exists()


def test_a_large_size_with_many_points_is_refused_for_each_picture(
    cli: Cli, made: Path, tmp_path: Path
) -> None:
    recipe = {**_recipe(made / "000" / "000000.jpg"), "points_per_pixel": 500.0}
    (tmp_path / "dense.json").write_text(json.dumps(recipe))
    arguments = [*MAKE, "--from", tmp_path / "dense.json", "-o", tmp_path / "o", "--size", 4096]
    assert cli(*arguments)[0] == 3
    assert "at most" in (tmp_path / "o" / "errors.jsonl").read_text()


def test_a_recipe_too_long_for_a_jpeg_says_so(cli: Cli, made: Path, tmp_path: Path) -> None:
    recipe = {**_recipe(made / "000" / "000000.jpg"), "note": "x" * 70_000}
    (tmp_path / "long.json").write_text(json.dumps(recipe))
    arguments = [*MAKE, "--from", tmp_path / "long.json", "-o"]
    assert cli(*arguments, tmp_path / "o")[0] == 3
    assert "--image-format png" in (tmp_path / "o" / "errors.jsonl").read_text()
    assert cli(*arguments, tmp_path / "p", "--image-format", "png")[0] == 0


@pytest.mark.parametrize("size", [1, 7])
def test_tiny_sizes_give_tiny_pictures(cli: Cli, tmp_path: Path, size: int) -> None:
    code, out, _ = cli(*MAKE, "-n", 1, "--size", size, "-o", tmp_path / "o")
    assert code == 0
    with Image.open(out.strip()) as picture:
        assert picture.size == (size, size)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["-n", 2, "--size", 20_000], "size is 20000"),
        (["-n", 2, "--size", 0], "size is 0"),
        (["-n", 2, "--size", -3], "size is -3"),
        (["-n", 2, "--size", "big"], "--size"),
        (["-n", 0], "--count"),
        (["-n", -1], "--count"),
        (["-n", 2, "--points-per-pixel", "nan"], "points_per_pixel is nan"),
        (["-n", 2, "--points-per-pixel", 1e9], "points_per_pixel"),
        ([], "--count"),
    ],
)
def test_numbers_out_of_range_are_refused_in_one_line(
    cli: Cli, tmp_path: Path, more: list[object], said: str
) -> None:
    code, out, err = cli(*MAKE, *more, "-o", tmp_path / "o")
    assert (code, out) == (2, "")
    assert said in one_line_error(err)
    assert not (tmp_path / "o").exists()


def test_an_output_that_cannot_be_made_is_said_in_one_line(cli: Cli, tmp_path: Path) -> None:
    # no permission would not stop a test that root runs; a file in the way stops everybody
    (tmp_path / "file").write_text("in the way")
    code, _, err = cli(*MAKE, "-n", 1, "--size", 16, "-o", tmp_path / "file" / "o")
    assert code == 1
    assert str(tmp_path / "file") in one_line_error(err)
