"""Crops and flips that are switched off, and nothing else with them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.mixing.config import CROPS, PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import draw
from pixmix_cli.mixing.mixer import crop_original
from pixmix_cli.seeding import Stream, rng_for
from tests.conftest import Cli
from tests.naive import pixmix_oracle

SHAPES = [(48, 64), (64, 48), (32, 32), (200, 3), (1, 1)]


def drawn(config: PixMixConfig, shape: tuple[int, int], number: int):
    return draw(config, rng_for(5, Stream.BAKE, 0, f"{number}"), shape, 9)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("crop", CROPS)
@pytest.mark.parametrize("flip", [True, False])
def test_all_other_draws_are_those_of_the_preset(preset: str, crop: str, flip: bool) -> None:
    config = replace(PRESETS[preset], crop=crop, flip=flip)
    for number in range(200):
        usual = drawn(PRESETS[preset], (48, 64), number)
        draws = drawn(config, (48, 64), number)
        assert replace(draws, crop=usual.crop, flip=usual.flip) == usual
        assert draws.flip == (usual.flip and flip)


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("crop", ["center", "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_crop_is_pillows(preset: str, crop: str, shape: tuple[int, int]) -> None:
    config = replace(PRESETS[preset], size=32, crop=crop)
    picture = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    for number in range(4):
        draws = drawn(config, shape, number)
        expected = pixmix_oracle.plain_crop(config, draws, Image.fromarray(picture))
        np.testing.assert_array_equal(crop_original(config, draws, picture), np.asarray(expected))


def test_the_center_of_the_imagenet_geometry_is_224_of_256_pixels() -> None:
    config = replace(PRESETS["imagenet"], crop="center")
    assert drawn(config, (256, 256), 0).crop == (16, 16, 224, 224)
    assert drawn(config, (256, 512), 0).crop == (16, 144, 224, 224)


@pytest.mark.parametrize("preset", PRESETS)
def test_without_a_crop_the_whole_picture_is_seen(preset: str) -> None:
    config = replace(PRESETS[preset], size=32, crop="none", flip=False)
    picture = np.zeros((40, 120, 3), np.uint8)
    picture[:, :30] = 255  # the left quarter
    seen = crop_original(config, drawn(config, (40, 120), 0), picture)
    assert seen[:, :6].min() > 250
    assert seen[:, 10:].max() < 5


@pytest.mark.parametrize(
    ("values", "message"), [({"crop": "top"}, "crop must be"), ({"flip": 1}, "flip must be")]
)
def test_other_values_are_refused(values: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PixMixConfig(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("layout", ["webdataset", "npy"])
def test_bake_takes_them_and_verify_bakes_again_with_them(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, preset: str, layout: str
) -> None:
    out = tmp_path / "o"
    arguments = [
        "bake", photos, "--mixing-set", mixing, "-o", out, "--preset", preset, "--size", 32,
        "--crop", "none", "--no-flip", "--plain", 2, "--copies", 2, "--format", layout, "-j", 1,
    ]  # fmt: skip
    assert cli(*arguments)[0] == 0
    options = json.loads((out / "manifest.json").read_text())["options"]
    assert (options["crop"], options["flip"]) == ("none", False)
    assert cli("verify", out, "--rebake-sample", 20, "-j", 1)[0] == 0
    assert cli(*arguments, "--resume", "--crop", "center")[0] == 2
    if layout == "npy":  # nothing is left to differ between plain copies
        first, second = (np.load(out / f"plain-00{n}" / "images.npy") for n in (0, 1))
        np.testing.assert_array_equal(first, second)


def test_reference_draws_refuse_them(cli: Cli, photos: Path, mixing: Path, tmp_path: Path) -> None:
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", "--draws"]
    for option in (["--no-flip"], ["--crop", "center"]):
        code, _, err = cli(*arguments, "reference", *option)
        assert code == 2
        assert "published code" in err
