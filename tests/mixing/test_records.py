"""Records, settings and seeds: what is written must be read back, what is wrong refused."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, replace
from typing import Any

import numpy as np
import pytest

from pixmix_cli.mixing.config import OPERATIONS, PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import Augmentation, Draws, Round, draw
from pixmix_cli.mixing.uniforms import AT_ONCE, uniforms_for
from pixmix_cli.seeding import Stream, key_for, keys_for, rng_for

RECORD = Draws(
    crop=(-1, 4, 32, 32),
    flip=True,
    mixing=12,
    mixing_offset=(0.25, 0.1),
    start=Augmentation("rotate", -3),
    rounds=(
        Round(None, "add", 0.5, 0.25),
        Round(Augmentation("equalize"), "multiply", 1.5, -0.25),
        Round(Augmentation("shear_x", 0.1), "add", 1.0, 0.0),
    ),
)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_record_survives_json_without_loss(preset: str) -> None:
    for i in range(500):
        draws = draw(PRESETS[preset], rng_for(1, Stream.BAKE, i), (300, 400), 99)
        again = Draws.from_json(json.loads(json.dumps(draws.to_json())))
        assert again == draws
        assert repr(again) == repr(draws)  # 3 is not 3.0 in there


def test_a_record_of_every_operation_survives_json_with_what_it_uses_and_no_more() -> None:
    config = PixMixConfig(operations=OPERATIONS)
    seen: dict[str, set[str]] = {}
    for i in range(100):
        draws = draw(config, rng_for(1, Stream.BAKE, i), (300, 400), 99)
        record = json.loads(json.dumps(draws.to_json()))
        assert Draws.from_json(record) == draws
        for step in record["rounds"]:
            seen.setdefault(step["operation"], set()).update(set(step) - {"with", "operation"})
    assert seen == {
        "add": {"a", "b"},
        "multiply": {"a", "b"},
        "screen": {"a", "b"},
        "overlay": {"a", "b", "choice", "screen_a", "screen_b"},
        "darken-lighten": {"choice"},
        "swap-channel": {"choice"},
    }


def test_a_record_is_written_like_this() -> None:
    assert RECORD.to_json() == {
        "crop": [-1, 4, 32, 32],
        "flip": True,
        "mixing": 12,
        "mixing_offset": [0.25, 0.1],
        "start": {"name": "rotate", "value": -3},
        "rounds": [
            {"with": "mixing", "operation": "add", "a": 0.5, "b": 0.25},
            {"with": {"name": "equalize"}, "operation": "multiply", "a": 1.5, "b": -0.25},
            {"with": {"name": "shear_x", "value": 0.1}, "operation": "add", "a": 1.0, "b": 0.0},
        ],
    }


@pytest.mark.parametrize("missing", ["crop", "flip", "mixing", "mixing_offset", "start", "rounds"])
def test_a_record_without_one_of_its_fields_is_refused(missing: str) -> None:
    record = dict(RECORD.to_json())
    del record[missing]
    with pytest.raises(KeyError, match=missing):
        Draws.from_json(record)


@pytest.mark.parametrize(
    "change",
    [
        {"crop": [0, 0, 32]},
        {"crop": None},
        {"mixing_offset": [0.5]},
        {"mixing": "first"},
        {"start": {"name": "solarise", "value": 200}},
        {"start": {"value": 200}},
        {"rounds": [{"with": "mixing", "operation": "add", "a": 1.0}]},
        {"rounds": [{"with": "mixing", "operation": "overlay", "a": 1.0, "b": 0.0, "choice": 1}]},
        {"rounds": [{"with": "mixing", "operation": "swap-channel", "choice": 3}]},
        {"rounds": 3},
    ],
    ids=str,
)
def test_a_record_that_is_not_ours_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        Draws.from_json({**RECORD.to_json(), **change})


def test_a_record_with_an_unknown_operation_is_refused() -> None:
    record = RECORD.to_json()
    record["rounds"][0]["operation"] = "divide"
    with pytest.raises((KeyError, TypeError, ValueError)):
        Draws.from_json(record)


def test_a_record_uses_the_mixing_picture_if_any_round_does() -> None:
    assert RECORD.uses_mixing
    assert not replace(RECORD, rounds=RECORD.rounds[1:]).uses_mixing
    assert not replace(RECORD, rounds=()).uses_mixing


INF, NAN = float("inf"), float("nan")
BAD = [
    *(("size", size) for size in (0, -1, 8193, 32.5, True, "a")),
    *(("k", k) for k in (2.5, True, "a")),
    *(("beta", beta) for beta in ("3", True)),
    *(("k", k) for k in (-1, 101, NAN)),
    *(("beta", beta) for beta in (0.0, -1.0, INF, NAN)),
    *(("severity", severity) for severity in (0.0, 0.09, 10.1, -1.0, INF, NAN)),
    *(("geometry", geometry) for geometry in ("", "ImageNet", "cifar10")),
]


@pytest.mark.parametrize(("field", "value"), BAD)
def test_a_bad_setting_is_refused_in_one_line_that_names_it(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"^{field} must be ") as refusal:
        PixMixConfig(**{field: value})
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).endswith(f"not {value}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("size", 1),
        ("size", 8192),
        ("k", 0),
        ("k", 100),
        ("beta", 1e-3),
        ("severity", 0.1),
        ("severity", 10),
        ("geometry", "cifar"),
    ],
)
def test_a_setting_at_the_edge_of_its_range_is_taken(field: str, value: Any) -> None:
    config = PixMixConfig(**{field: value})
    assert getattr(config, field) == value
    assert draw(config, rng_for(0, Stream.BAKE), (40, 30), 3).mixing < 3


def test_settings_cannot_be_changed_once_made() -> None:
    with pytest.raises(FrozenInstanceError):
        PixMixConfig().k = 5  # type: ignore[misc]


def _numbers(seed: int, stream: Stream, *path: int | str) -> tuple[float, ...]:
    return tuple(rng_for(seed, stream, *path).random(4))


def test_the_same_arguments_give_the_same_numbers() -> None:
    assert _numbers(3, Stream.BAKE, 0, "a/b.jpg") == _numbers(3, Stream.BAKE, 0, "a/b.jpg")


def test_any_other_argument_gives_other_numbers() -> None:
    arguments: list[tuple[Any, ...]] = [
        *((3, stream) for stream in Stream),
        (4, Stream.BAKE),
        (3, Stream.BAKE, 0),
        (3, Stream.BAKE, 1),
        (3, Stream.BAKE, "1"),
        (3, Stream.BAKE, ""),
        (3, Stream.BAKE, 1, 2),
        (3, Stream.BAKE, 2, 1),
        (3, Stream.BAKE, 12),
        (3, Stream.BAKE, "12"),
        (3, Stream.BAKE, "1", "2"),
        (3, Stream.BAKE, 1, "2"),
        (3, Stream.BAKE, "1", 2),
        (3, Stream.BAKE, "a", "bc"),
        (3, Stream.BAKE, "ab", "c"),
        (3, Stream.BAKE, "a", "b"),
        (3, Stream.BAKE, "asb"),
        (3, Stream.BAKE, "é"),
        (3, Stream.BAKE, "\udce9"),
        (31, Stream.BAKE),
        (-3, Stream.BAKE),
        (2**64 + 3, Stream.BAKE),
    ]
    numbers = [_numbers(*given) for given in arguments]
    assert len(set(numbers)) == len(numbers)
    assert len({n[0] for n in numbers}) == len(numbers)


def test_streams_and_neighbouring_indices_look_independent() -> None:
    values = np.array([rng_for(0, Stream.BAKE, copy, 5).random() for copy in range(4000)])
    assert abs(np.corrcoef(values[:-1], values[1:])[0, 1]) < 4 / np.sqrt(4000)
    assert abs(values.mean() - 0.5) < 4 * np.sqrt(1 / 12 / 4000)


def test_many_keys_at_once_are_the_keys_one_by_one() -> None:
    names: list[int | str] = ["a.jpg", "", "\udce9", 7]
    got = keys_for(5, Stream.BAKE, [0, 3], names)
    assert got == [key_for(5, Stream.BAKE, copy, name) for copy in (0, 3) for name in names]


def test_numbers_by_key_are_those_of_numpys_generator() -> None:
    keys = keys_for(2, Stream.BAKE, [0, 1], ["x", "y"])
    generators = [rng_for(2, Stream.BAKE, copy, name) for copy in (0, 1) for name in ("x", "y")]
    for rng, generator in zip(uniforms_for(keys), generators):
        assert [rng.random() for _ in range(3 * AT_ONCE + 1)] == [
            generator.random() for _ in range(3 * AT_ONCE + 1)
        ]
