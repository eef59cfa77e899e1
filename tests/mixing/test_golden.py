"""Frozen records and pictures: a change to the bytes of a baked set must not pass unseen.

If a test here fails and the change is meant, it is a change of what `pixmix bake` writes for the
same seed: say so in the change log, and write the new values down.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pixmix_cli.mixing.config import PRESETS
from pixmix_cli.mixing.draws import Augmentation, Draws, Round, draw
from pixmix_cli.mixing.mixer import crop_mixing, crop_original, pixmix, resize_shorter_side
from pixmix_cli.seeding import Stream, rng_for

U8 = NDArray[np.uint8]
RECORDS: list[dict[str, Any]] = json.loads(
    (Path(__file__).resolve().parents[1] / "golden" / "draws.json").read_text("utf-8")
)
CIFAR = PRESETS["cifar"]


def _name(record: dict[str, Any]) -> str:
    return "{preset} {seed} {copy} {key}".format(**record)


@pytest.mark.parametrize("record", RECORDS, ids=_name)
def test_a_seed_copy_and_key_give_this_record(record: dict[str, Any]) -> None:
    rng = rng_for(record["seed"], Stream.BAKE, record["copy"], record["key"])
    height, width = record["original_size"]
    draws = draw(PRESETS[record["preset"]], rng, (height, width), record["mixing_count"])
    assert draws.to_json() == record["draws"]


@pytest.mark.parametrize("record", RECORDS, ids=_name)
def test_a_record_is_followed_by_this_number(record: dict[str, Any]) -> None:
    """The next number tells that as many were drawn as when this was written."""
    rng = rng_for(record["seed"], Stream.BAKE, record["copy"], record["key"])
    height, width = record["original_size"]
    draw(PRESETS[record["preset"]], rng, (height, width), record["mixing_count"])
    assert rng.random() == record["next"]


def test_the_frozen_records_hold_every_kind_of_decision() -> None:
    draws = [Draws.from_json(record["draws"]) for record in RECORDS]
    rounds = [r for d in draws for r in d.rounds]
    assert {d.flip for d in draws} == {False, True}
    assert {d.start is None for d in draws} == {False, True}
    assert {len(d.rounds) for d in draws} == {0, 1, 2, 3, 4}
    assert {(r.operation, r.b < 0, r.augmentation is None) for r in rounds} == {
        (operation, negative, mixing)
        for operation in ("add", "multiply")
        for negative in (False, True)
        for mixing in (False, True)
    }
    drawn = {d.start.name for d in draws if d.start}
    drawn |= {r.augmentation.name for r in rounds if r.augmentation}
    assert len(drawn) == 13


def _picture(height: int, width: int, seed: int) -> U8:
    """Slopes, a disc and a checkerboard, by whole numbers alone."""
    y, x = np.mgrid[:height, :width].astype(np.int64)
    c = np.arange(3)[:, None, None]
    slope = x * (5 + c) + y * (3 + 2 * c) + 40 * seed
    disc = (x - width // 2) ** 2 + (y - height // 3) ** 2 < (9 + 3 * c) ** 2
    board = (x // 6 + y // 5 + c) % 2 * 90
    hashed = (x * 73 + y * 151 + c * 199 + seed * 31) ** 2 // 64 % 23
    values = (slope + 100 * disc + board * (seed % 2) + hashed) % 511
    return np.abs(values - 255).transpose(1, 2, 0).astype(np.uint8)


def _sha256(picture: U8) -> str:
    assert picture.dtype == np.uint8
    return hashlib.sha256(np.ascontiguousarray(picture).tobytes()).hexdigest()[:32]


def _augmented(name: str, value: float | None = None) -> Augmentation:
    return Augmentation(name, value)


# Neither resized nor rotated nor enhanced: whole-number work of Pillow only, the rest is ours.
MIXED = {
    "plain": ((), None),
    "add": ((Round(None, "add", 0.75, 0.3125),), None),
    "add, negative": ((Round(None, "add", 1.375, -0.625),), None),
    "multiply": ((Round(None, "multiply", 0.6875, 0.28125),), None),
    "multiply, negative": ((Round(None, "multiply", 1.21875, -0.34375),), None),
    "four rounds": (
        (
            Round(_augmented("solarize", 200), "multiply", 0.8125, 0.1875),
            Round(None, "add", 1.25, -0.5),
            Round(_augmented("translate_x", 3), "multiply", 1.125, -0.1875),
            Round(None, "multiply", 0.625, 0.4375),
        ),
        _augmented("posterize", 3),
    ),
}
MIXED_SHA256 = {
    "plain": "ccfabe838b9ad83243339a9828fe0b66",
    "add": "e3202d650ba6e2406651715726bd86c1",
    "add, negative": "0fbb0a60856ca61a15b073146ec37608",
    "multiply": "8cbec654aafd196fdf1e0a546ede13b1",
    "multiply, negative": "7b4881eb0dde4391c15a30b389ce325c",
    "four rounds": "c906d529e3953a2d9e959f8cec3c2f20",
}


@pytest.mark.parametrize("name", MIXED)
def test_a_mixed_picture_has_this_hash(name: str) -> None:
    rounds, start = MIXED[name]
    draws = Draws((-3, 2, 32, 32), True, 0, (0.3, 0.9), start, rounds)
    crop = crop_original(CIFAR, draws, _picture(32, 32, 1))
    other = crop_mixing(CIFAR, draws, _picture(36, 50, 2))
    assert _sha256(pixmix(CIFAR, draws, crop, other)) == MIXED_SHA256[name]


AUGMENTED = [
    _augmented("autocontrast"),
    _augmented("equalize"),
    _augmented("posterize", 3),
    _augmented("solarize", 199),
    _augmented("rotate", -7),
    _augmented("shear_x", 0.0625),
    _augmented("shear_y", -0.0625),
    _augmented("translate_x", -3),
    _augmented("translate_y", 2),
    _augmented("color", 0.375),
    _augmented("contrast", 0.375),
    _augmented("brightness", 0.375),
    _augmented("sharpness", 0.375),
]
AUGMENTED_SHA256 = {
    "autocontrast": "253c77dd517cfd3e172f440bb44c0c1d",
    "equalize": "383e037f8f054b9012e8070d8447416d",
    "posterize": "f25760a2754ee728b725559fce2d6114",
    "solarize": "90ce267472bc6c41fdab363272ab2c6f",
    "rotate": "904f5bd191ded51c20cd497f546ae1e9",
    "shear_x": "079f516c2e9cf81c65883bb2e201110b",
    "shear_y": "d889db4d0af1edcea57383cd690225f6",
    "translate_x": "d7f2febc00c3df62e2573f18e73c3fdc",
    "translate_y": "0fccf0418ac0df1d7a7043ca8e0f4c9c",
    "color": "f364415861182f3250ffa398ef561d30",
    "contrast": "8e6bd2c07e4f8de99222908cad6ab204",
    "brightness": "23e47cd6ae9c017d0e351b3e17532486",
    "sharpness": "1389d40fb2bf81f897f46a7bff73fcda",
}


@pytest.mark.parametrize("augmentation", AUGMENTED, ids=lambda augmentation: augmentation.name)
def test_an_augmented_picture_has_this_hash(augmentation: Augmentation) -> None:
    """Pillow's work, the same from version 10.3 to 13.0."""
    draws = Draws((0, 0, 32, 32), False, 0, (0.0, 0.0), augmentation, ())
    picture = pixmix(CIFAR, draws, _picture(32, 32, 1) // 2 + 40, None)
    assert _sha256(picture) == AUGMENTED_SHA256[augmentation.name]


WHOLE_SHA256 = {
    "imagenet": "8765f7450f06c6f8bed77a379f55bb87",
    "cifar": "3acf50faa0bfd6180c428a2c4c44ffbb",
}


@pytest.mark.parametrize("preset", ["imagenet", "cifar"])
def test_a_picture_with_both_resizes_has_this_hash(preset: str) -> None:
    """Pillow's resizing too, the same from version 10.3 to 13.0."""
    config = PRESETS[preset]
    steps = (Round(None, "multiply", 0.75, 0.25), Round(None, "add", 1.25, -0.3125))
    crop = (3, 5, 61, 70) if preset == "imagenet" else (4, -4, 32, 32)
    draws = Draws(crop, True, 0, (0.7, 0.2), None, steps)
    original = crop_original(config, draws, _picture(75, 90, 1))
    resized = resize_shorter_side(_picture(300, 333, 2), config.mixing_size)
    picture = pixmix(config, draws, original, crop_mixing(config, draws, resized))
    assert _sha256(picture) == WHOLE_SHA256[preset]
