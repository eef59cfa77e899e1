"""--draws reference against the published order of calls on the two global generators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms

from pixmix_cli.errors import InputError
from pixmix_cli.mixing.config import PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import Draws
from pixmix_cli.mixing.mixer import crop_mixing, crop_original, resize_shorter_side
from pixmix_cli.pipelines.bake import reference_draws
from pixmix_cli.pipelines.bake.reference_draws import ReferenceDraws
from pixmix_cli.sources.mixing_set import open_mixing_set
from pixmix_cli.sources.open import open_source
from tests.conftest import Cli, tree

SIDES = [(70, 90), (64, 64), (120, 61), (33, 200), (80, 80)]  # height, width
SEED = 7


def _save(folder: Path, sides: list[tuple[int, int]], seed: int) -> None:
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for i, (height, width) in enumerate(sides):
        pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(pixels).save(folder / f"{i}.png")


@pytest.fixture
def inputs(tmp_path: Path) -> tuple[Path, Path]:
    _save(tmp_path / "photos" / "cat", SIDES, 1)
    _save(tmp_path / "photos" / "dog", SIDES[::-1], 2)
    _save(tmp_path / "mixing", [(50, 70), (90, 60), (72, 72)], 3)
    return tmp_path / "photos", tmp_path / "mixing"


def _augmentation(severity: float, size: int) -> tuple[str, Any]:
    """Its name and strength, drawn from the global generator."""

    def level() -> float:
        return np.random.uniform(low=0.1, high=severity)

    def turned(strength: float) -> float:
        return -strength if np.random.uniform() > 0.5 else strength

    kinds: list[tuple[str, Any]] = [
        ("autocontrast", lambda: None),
        ("equalize", lambda: None),
        ("posterize", lambda: 4 - int(level() * 4 / 10)),
        ("rotate", lambda: turned(int(level() * 30 / 10))),
        ("solarize", lambda: 256 - int(level() * 256 / 10)),
        ("shear_x", lambda: turned(level() * 0.3 / 10.0)),
        ("shear_y", lambda: turned(level() * 0.3 / 10.0)),
        ("translate_x", lambda: turned(int(level() * (size / 3) / 10))),
        ("translate_y", lambda: turned(int(level() * (size / 3) / 10))),
        *((n, lambda: level() * 1.8 / 10.0 + 0.1) for n in ("color", "contrast", "brightness")),
        ("sharpness", lambda: level() * 1.8 / 10.0 + 0.1),
    ]
    functions = [kind[1] for kind in kinds]
    chosen = np.random.choice(functions)
    return kinds[functions.index(chosen)][0], chosen()


def _weights(beta: float) -> tuple[Any, Any]:
    if np.random.random() < 0.5:
        return np.float32(np.random.beta(beta, 1)), np.float32(np.random.beta(1, beta))
    return 1 + np.float32(np.random.beta(1, beta)), -np.float32(np.random.beta(1, beta))


def _published(config: PixMixConfig, photos: Path, mixing: Path) -> Iterator[dict[str, Any]]:
    """Crops as pixels, by torchvision's transforms, and decisions, for ever."""
    size, side = config.size, config.mixing_size
    if config.geometry == "imagenet":
        crop = transforms.Compose(
            [transforms.RandomResizedCrop(size), transforms.RandomHorizontalFlip()]
        )
    else:
        crop = transforms.Compose(
            [transforms.RandomHorizontalFlip(), transforms.RandomCrop(size, padding=size // 8)]
        )
    crop_second = transforms.Compose([transforms.Resize(side), transforms.RandomCrop(size)])
    originals = sorted(photos.rglob("*.png"))
    others = sorted(mixing.rglob("*.png"))
    np.random.seed(SEED)
    torch.manual_seed(SEED)
    while True:
        for path in originals:
            picture = Image.open(path).convert("RGB")
            if config.geometry == "cifar":
                picture = Image.fromarray(np.asarray(picture)[:size, :size])
            first = np.asarray(crop(picture))
            number = np.random.choice(len(others))
            second = np.asarray(crop_second(Image.open(others[number]).convert("RGB")))
            start = None
            if np.random.random() < 0.5:
                start = _augmentation(config.severity, size)
            rounds = []
            for _ in range(np.random.randint(config.k + 1)):
                kind = None
                if np.random.random() < 0.5:
                    kind = _augmentation(config.severity, size)
                operation = np.random.choice(["add", "multiply"])
                rounds.append((kind, operation, *_weights(config.beta)))
            yield {"first": first, "second": second, "start": start, "rounds": rounds}


@pytest.fixture(params=["imagenet", "cifar"])
def config(request: pytest.FixtureRequest) -> PixMixConfig:
    return replace(PRESETS[request.param], size=32)


def test_two_copies_are_drawn_as_by_the_published_order_of_calls(
    config: PixMixConfig, inputs: tuple[Path, Path]
) -> None:
    source = open_source(inputs[0], print)
    mixing = open_mixing_set([inputs[1]], print)
    drawn = ReferenceDraws(config, source, mixing, SEED)
    records = [text for copy in (0, 1) for text in drawn.of(copy)]
    pixels = [np.asarray(Image.open(inputs[0] / ref.name)) for ref in source.pictures]
    others = [np.asarray(Image.open(inputs[1] / ref.name)) for ref in mixing.pictures]
    for i, (text, want) in enumerate(zip(records, _published(config, *inputs))):
        draws = Draws.from_json(json.loads(text))
        picture = pixels[i % len(pixels)]
        if config.geometry == "cifar":
            picture = np.ascontiguousarray(picture[: config.size, : config.size])
        resized = resize_shorter_side(others[draws.mixing], config.mixing_size)
        np.testing.assert_array_equal(crop_original(config, draws, picture), want["first"])
        np.testing.assert_array_equal(crop_mixing(config, draws, resized), want["second"])
        got = [draws.start, *(r.augmentation for r in draws.rounds)]
        expected = [want["start"], *(r[0] for r in want["rounds"])]
        assert [g and (g.name, g.value) for g in got] == expected
        assert [(r.operation, r.a, r.b) for r in draws.rounds] == [r[1:] for r in want["rounds"]]


def test_the_global_generators_are_left_as_they_were(inputs: tuple[Path, Path]) -> None:
    torch.manual_seed(3)
    np.random.seed(3)
    want = torch.rand(1), np.random.random()
    torch.manual_seed(3)
    np.random.seed(3)
    source, mixing = open_source(inputs[0], print), open_mixing_set([inputs[1]], print)
    ReferenceDraws(replace(PRESETS["imagenet"], size=32), source, mixing, SEED).of(1)
    assert (torch.rand(1), np.random.random()) == want


def _bake(cli: Cli, inputs: tuple[Path, Path], out: Path, *more: object) -> Path:
    code, _, err = cli(
        "bake", inputs[0], "--mixing-set", inputs[1], "-o", out, "--size", 32, "--seed", SEED,
        "--draws", "reference", "--shard-size", 4, *more,
    )  # fmt: skip
    assert code == 0, err
    return out


@pytest.mark.process
def test_a_set_with_reference_draws_grows_and_is_baked_again_like_any(
    cli: Cli, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    grown = _bake(cli, inputs, tmp_path / "grown", "-j", 1)
    _bake(cli, inputs, grown, "-j", 1, "--copies", 2, "--plain", 1, "--resume")
    once = _bake(cli, inputs, tmp_path / "once", "-j", 2, "--copies", 2, "--plain", 1)
    assert tree(grown) == tree(once)
    (grown / "copy-001" / "000001.tar").unlink()
    code, told, err = cli("verify", grown, "--repair", "--rebake-sample", 9, "-j", 1)
    assert code == 0, told + err
    assert tree(grown) == tree(once)


def test_a_picture_that_cannot_be_read_draws_nothing(
    cli: Cli, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    (inputs[0] / "cat" / "1a.png").write_bytes(b"no picture")
    source, mixing = open_source(inputs[0], print), open_mixing_set([inputs[1]], print)
    config = replace(PRESETS["imagenet"], size=32)
    records = ReferenceDraws(config, source, mixing, SEED).of(0)
    assert records.count("") == 1
    (inputs[0] / "cat" / "1a.png").unlink()
    whole = open_source(inputs[0], print)
    assert [r for r in records if r] == ReferenceDraws(config, whole, mixing, SEED).of(0)


@pytest.mark.parametrize(
    ("seed", "changes", "says"),
    [(2**32, {}, "seed"), (1, {"operations": ("add", "screen")}, "operations")],
)
def test_what_the_published_code_cannot_do_is_refused(
    inputs: tuple[Path, Path], seed: int, changes: dict[str, Any], says: str
) -> None:
    mixing = open_mixing_set([inputs[1]], print)
    with pytest.raises(InputError, match=says):
        reference_draws.check(replace(PRESETS["imagenet"], **changes), mixing, seed)


def test_weighted_mixing_sets_have_no_reference_draws(inputs: tuple[Path, Path]) -> None:
    mixing = open_mixing_set([inputs[1], inputs[1]], print, [1.0, 2.0])
    with pytest.raises(InputError, match="weights"):
        reference_draws.check(PRESETS["imagenet"], mixing, 1)
