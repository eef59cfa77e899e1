"""Copies that are made as they are read have the pixels that a bake writes."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, DistributedSampler

from pixmix_cli import BakedDataset, PixMixDataset
from pixmix_cli.errors import InputError, PixMixError
from tests.conftest import picture
from tests.datasets.conftest import Bake
from tests.sources import datasets_in

pytestmark = pytest.mark.torch

PNG = ("--image-format", "png")
KINDS: list[Callable[[Path], Path]] = [
    datasets_in.imagefolder,
    datasets_in.webdataset,
    datasets_in.cifar10,
    datasets_in.npz,
    datasets_in.parquet,
    datasets_in.csv_list,
]


def tensor(picture: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(picture))


def all_of(dataset: Any, epoch: int) -> tuple[np.ndarray, list[int]]:
    dataset.set_epoch(epoch)
    samples = [dataset[i] for i in range(len(dataset))]
    return np.stack([np.asarray(one) for one, _ in samples]), [label for _, label in samples]


def check_equal(replayed: Any, baked: BakedDataset, epochs: tuple[int, ...] = (0, 1)) -> None:
    for epoch in epochs:
        (pixels, labels), (wanted, names) = all_of(replayed, epoch), all_of(baked, epoch)
        assert labels == names
        assert np.array_equal(pixels, wanted)


@pytest.mark.parametrize("make", KINDS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("preset", ["imagenet", "cifar"])
def test_epoch_e_is_copy_e_of_a_lossless_bake_of_any_source(
    make: Callable[[Path], Path], preset: str, bake: Bake, mixing: Path, tmp_path: Path
) -> None:
    source = make(tmp_path / "source")
    words = ("--copies", 2, "--seed", 7, "--preset", preset)
    baked = BakedDataset(bake(*words, *PNG, source=source))
    replayed = PixMixDataset(source, mixing, preset=preset, size=32, seed=7)
    assert replayed.classes == baked.classes
    assert replayed.targets == baked.targets
    check_equal(replayed, baked)


def test_arrays_hold_the_same_as_the_pictures(bake: Bake, photos: Path, mixing: Path) -> None:
    baked = BakedDataset(bake("--copies", 2, "--format", "npy", "--preset", "cifar"))
    check_equal(PixMixDataset(photos, mixing, preset="cifar"), baked)


def test_every_setting_of_the_recipe_counts(bake: Bake, photos: Path, mixing: Path) -> None:
    words: tuple[object, ...] = (
        "--k",
        3,
        "--beta",
        2,
        "--severity",
        5,
        "--no-all-ops",
        "--no-flip",
        "--crop",
        "none",
    )
    words += ("--operations", "add,screen,overlay", "--copies", 2)
    replayed = PixMixDataset(
        photos, mixing, size=32, k=3, beta=2.0, severity=5.0, all_ops=False, flip=False,
        crop="none", operations=("add", "screen", "overlay"),
    )  # fmt: skip
    check_equal(replayed, BakedDataset(bake(*words, *PNG)))


def test_weights_of_mixing_sets_count(bake: Bake, photos: Path, mixing: Path) -> None:
    deep, flat = mixing / "deep", mixing / "m1.png"
    baked = bake("--mixing-set", f"{deep}:1", "--mixing-set", f"{flat}:3", *PNG, weighted=True)
    ways: tuple[Any, ...] = ({deep: 1.0, flat: 3.0}, [f"{deep}:1", f"{flat}:3"])
    for sets in ways:
        check_equal(PixMixDataset(photos, sets, size=32), BakedDataset(baked), (0,))


def test_plain_copies_are_replayed_too(sets: dict[str, Path], photos: Path, mixing: Path) -> None:
    baked = BakedDataset(sets["webdataset"], read="plain")
    check_equal(PixMixDataset(photos, mixing, size=32, plain=True), baked, (0,))


@pytest.mark.parametrize("name", ["webdataset", "imagefolder", "npy", "parquet"])
def test_a_baked_set_goes_on_past_its_last_copy_when_asked(
    name: str, sets: dict[str, Path], bake: Bake
) -> None:
    more = BakedDataset(bake("--copies", 4, "--plain", 1, *PNG))
    dataset = BakedDataset(sets[name], replay=True)
    check_equal(dataset, more, (0, 1, 2, 3))
    without = BakedDataset(sets[name])
    assert np.array_equal(all_of(without, 2)[0], all_of(dataset, 0)[0])


def test_padding_and_what_was_skipped_is_replayed_as_it_lies(
    bake: Bake, photos: Path, tmp_path: Path
) -> None:
    source = datasets_in.imagefolder(tmp_path / "source")
    next(source.glob("dog/*.png")).write_bytes(b"no picture")
    words = ("--pad", "--shard-size", 5, *PNG)
    more = bake(*words, "--copies", 3, source=source, code=3)
    few = bake(*words, "--copies", 1, source=source, code=3)
    assert len(BakedDataset(few)) == 10
    check_equal(BakedDataset(few, replay=True), BakedDataset(more), (0, 1, 2))


@pytest.mark.process
@pytest.mark.parametrize(("method", "workers"), [("fork", 1), ("fork", 3), ("spawn", 1)])
def test_workers_and_ranks_change_no_pixel(
    method: str, workers: int, sets: dict[str, Path], photos: Path, mixing: Path
) -> None:
    replayed = PixMixDataset(photos, mixing, size=32, transform=tensor)
    wanted, labels = all_of(BakedDataset(sets["webdataset"]), 1)
    assert len(all_of(replayed, 0)[1]) == 24  # this process has opened what workers must open anew
    for rank in range(2 if method == "fork" else 1):
        sampler: DistributedSampler = DistributedSampler(replayed, 2, rank, shuffle=True)
        loader: DataLoader = DataLoader(
            replayed, 5, sampler=sampler, num_workers=workers, persistent_workers=True,
            multiprocessing_context=multiprocessing.get_context(method),
        )  # fmt: skip
        for epoch in (0, 1):  # a later epoch reaches workers that go on
            replayed.set_epoch(epoch)
            pixels, found = map(torch.cat, zip(*loader))
        order = list(sampler)
        assert np.array_equal(pixels.numpy(), wanted[order])
        assert found.tolist() == [labels[i] for i in order]


def test_it_can_be_pickled_after_use(photos: Path, mixing: Path) -> None:
    replayed = PixMixDataset(photos, mixing, size=32)
    wanted, _ = all_of(replayed, 3)
    assert np.array_equal(all_of(pickle.loads(pickle.dumps(replayed)), 3)[0], wanted)


# ------------------------------------------------------------------ bad input


def test_what_cannot_be_read_is_refused_in_one_line(
    photos: Path, mixing: Path, tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    for source, sets in (
        (tmp_path / "nowhere", mixing), (photos, tmp_path / "empty"), ("-", mixing),
        (photos, tmp_path / "nowhere"),
    ):  # fmt: skip
        with pytest.raises(PixMixError) as caught:
            PixMixDataset(source, sets)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"preset": "mnist"}, {"seed": -1}, {"seed": 1.5}, {"size": 0}, {"crop": "left"},
        {"beta": 0}, {"mixing": []},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict, photos: Path, mixing: Path) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        PixMixDataset(photos, **{"mixing": mixing, **wrong})


@pytest.mark.parametrize("name", ["geometry", "colour"])
def test_unknown_settings_are_refused(name: str, photos: Path, mixing: Path) -> None:
    with pytest.raises(TypeError, match=name):
        PixMixDataset(photos, mixing, **{name: "cifar"})  # type: ignore[arg-type]


def test_an_epoch_below_0_is_refused(photos: Path, mixing: Path) -> None:
    with pytest.raises(InputError, match="an epoch is"):
        PixMixDataset(photos, mixing).set_epoch(-1)


def test_a_picture_that_does_not_decode_is_named(mixing: Path, tmp_path: Path) -> None:
    source = datasets_in.imagefolder(tmp_path / "source")
    (source / "cat" / "0.png").write_bytes(b"no picture")
    dataset = PixMixDataset(source, mixing, size=32)
    with pytest.raises(PixMixError, match=r"cat/0\.png"):
        dataset[0]
    assert dataset[1][1] == 0


def test_a_set_whose_source_has_changed_is_not_replayed(bake: Bake, tmp_path: Path) -> None:
    source = datasets_in.imagefolder(tmp_path / "source")
    baked = bake(*PNG, source=source)
    Image.fromarray(picture(77, 20, 20)).save(source / "cat" / "new.png")
    with pytest.raises(InputError, match="other pictures in SOURCE"):
        BakedDataset(baked, replay=True)
    source.rename(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"Try: source= and mixing="):
        BakedDataset(baked, replay=True)
    (tmp_path / "elsewhere" / "cat" / "new.png").unlink()
    moved = BakedDataset(baked, replay=True, source=tmp_path / "elsewhere")
    moved.set_epoch(1)
    assert moved[0][0].size == (32, 32)


def test_one_copy_by_name_has_no_next(sets: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="copy-001"):
        BakedDataset(sets["npy"], read="copy-001", replay=True)


def test_the_published_order_of_draws_is_not_replayed(bake: Bake) -> None:
    with pytest.raises(InputError, match="are not replayed"):
        BakedDataset(bake("--draws", "reference", *PNG), replay=True)
