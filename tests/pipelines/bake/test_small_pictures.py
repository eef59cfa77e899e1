"""Small pictures are baked many at a time: to the byte what they are one at a time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixmix_cli.mixing.batch import BatchMixer
from pixmix_cli.mixing.config import PRESETS, PixMixConfig
from pixmix_cli.mixing.draws import draw
from pixmix_cli.outputs.destination import Destination
from pixmix_cli.pipelines.bake import worker
from pixmix_cli.pipelines.bake.drawn import DrawnAlone, drawn_in
from pixmix_cli.pipelines.bake.formats.base import unicode_text
from pixmix_cli.pipelines.bake.formats.webdataset import sample_record
from pixmix_cli.pipelines.bake.job import Baked, BakeJob, Copy, Files, Inputs, Running, Sample
from pixmix_cli.pipelines.bake.plan import plan_bake
from pixmix_cli.pipelines.bake.run import run_bake
from pixmix_cli.pipelines.bake.worker import Baker
from pixmix_cli.seeding import Stream, key_for, rng_for
from pixmix_cli.sources.pictures import PictureRef
from pixmix_cli.storage.files import canonical_json
from tests.conftest import picture, tree

CIFAR = PRESETS["cifar"]
SIZES = [(32, 32), (32, 32), (7, 90), (90, 7), (1, 1), (33, 31), (300, 200)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of all sizes under odd names, some grey, some of no use."""
    root = tmp_path_factory.mktemp("pictures")
    for label, name in enumerate(["cat", 'dög "x"', "z\\b\n"]):
        (root / name).mkdir()
        for i, (height, width) in enumerate(SIZES):
            pixels = picture(10 * label + i, height, width)
            file = root / name / f'{"aü"[i % 2]} "{i}".{["png", "jpg", "bmp"][(i + label) % 3]}'
            Image.fromarray(pixels[:, :, 0] if i in (1, 3) else pixels).save(file)
    (root / "cat" / "empty.jpg").write_bytes(b"")
    (root / "cat" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    return root


@pytest.fixture(scope="module")
def mixed_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven mixing pictures, two of them broken, the last among them."""
    root = tmp_path_factory.mktemp("mixed-in")
    for i in range(7):
        Image.fromarray(picture(50 + i, 40 + i, 60 - i)).save(root / f'm "{i}" é.png')
    for i in (2, 6):
        (root / f'm "{i}" é.png').write_bytes(b"broken")
    return root


def bake(job: BakeJob, out: Path, **files: Any) -> dict[str, str]:
    job = replace(job, destination=Destination(out), files=replace(job.files, **files))
    for _ in run_bake(plan_bake(job, lambda line: None)):
        pass
    return tree(out)


def one_at_a_time(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Baker, "_in_batches", False)


def job_of(source: Path, mixing: Path, config: PixMixConfig = CIFAR, **more: Any) -> BakeJob:
    return BakeJob(
        inputs=Inputs(source, (mixing,), **more),
        destination=Destination(Path()),
        config=config,
        copies=3,
        plain=2,
        seed=5,
        running=Running(workers=1),
    )


FORMATS = ["webdataset", "imagefolder", "parquet", "npy"]


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
@pytest.mark.parametrize("layout", FORMATS)
def test_a_set_is_the_same_whether_its_pictures_are_made_together_or_one_by_one(
    layout: str, image_format: str, folder: Path, mixed_in: Path, tmp_path: Path
) -> None:
    if layout == "parquet":
        pytest.importorskip("pyarrow")
    job = job_of(folder, mixed_in)
    together = bake(job, tmp_path / "a", format=layout, image_format=image_format)
    assert "errors.jsonl" in together
    with pytest.MonkeyPatch.context() as patch:
        one_at_a_time(patch)
        assert bake(job, tmp_path / "b", format=layout, image_format=image_format) == together


RECIPES = {
    "nine augmentations": replace(CIFAR, all_ops=False),
    "strong, many rounds": replace(CIFAR, severity=10, k=9),
    "another size and beta": PixMixConfig(size=20, beta=0.5, severity=2, geometry="cifar"),
    "no rounds": replace(CIFAR, k=0),
    "no flip": replace(CIFAR, flip=False),
    "the whole picture": replace(CIFAR, crop="none"),
    "the middle": replace(CIFAR, crop="center"),
}


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_set_of_any_recipe_is_the_same_made_together_or_one_by_one(
    recipe: str, folder: Path, mixed_in: Path, tmp_path: Path
) -> None:
    job = job_of(folder, mixed_in, RECIPES[recipe], mixing_weights=(2.0,))
    together = bake(job, tmp_path / "a")
    with pytest.MonkeyPatch.context() as patch:
        one_at_a_time(patch)
        assert bake(job, tmp_path / "b") == together


@pytest.mark.parametrize(
    "files",
    [{"shard_size": 1}, {"shard_size": 4, "equal": "pad"}, {"draws_json": False}],
    ids=["single pictures", "filled up", "without draws"],
)
def test_shards_of_any_length_are_the_same_made_together_or_one_by_one(
    files: dict[str, Any], folder: Path, mixed_in: Path, tmp_path: Path
) -> None:
    job = job_of(folder, mixed_in)
    together = bake(job, tmp_path / "a", dali_index=True, **files)
    with pytest.MonkeyPatch.context() as patch:
        one_at_a_time(patch)
        assert bake(job, tmp_path / "b", dali_index=True, **files) == together


@settings(max_examples=6, deadline=None)
@given(
    layout=st.sampled_from(["webdataset", "npy"]),
    shape=st.sampled_from([(32, 32), (32, 32, 3), (3, 20, 40), (40, 33, 3)]),
    count=st.integers(1, 30),
    at_once=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_arrays_are_the_same_made_in_batches_of_any_length(
    layout: str, shape: tuple[int, ...], count: int, at_once: int, seed: int, mixed_in: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:  # fmt: skip
    place = tmp_path_factory.mktemp("arrays")
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, *shape), np.uint8)
    np.savez(place / "s.npz", images=images, labels=rng.integers(0, 9, count))
    job = job_of(place / "s.npz", mixed_in)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "BATCH", at_once)
        together = bake(job, place / "a", format=layout, shard_size=11)
        one_at_a_time(patch)
        assert bake(job, place / "b", format=layout, shard_size=11) == together


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_record_of_a_picture_of_a_batch_is_the_json_of_its_draws(recipe: str) -> None:
    config, count = RECIPES[recipe], 23
    names = [f'm "{i}" \\ é' for i in range(count)]
    squares = np.zeros((1, config.size, config.size, 3), np.uint8)
    mixing = np.zeros((config.mixing_size, config.mixing_size, 3), np.uint8)
    keys = [key_for(7, Stream.BAKE, 3, f"{i}") for i in range(1000)]
    plain = np.arange(1000) % 4 == 3
    which = np.zeros(1000, np.int64)
    batch = BatchMixer(config, count)(keys, squares, which, lambda i: (i, mixing), plain)
    for i, drawn in enumerate(drawn_in(batch, config.size, names.__getitem__)):
        draws = draw(config, rng_for(7, Stream.BAKE, 3, f"{i}"), (config.size, config.size), count)
        if plain[i]:
            draws = replace(draws, start=None, rounds=())
        alone = DrawnAlone(draws, names[draws.mixing] if draws.uses_mixing else None)
        assert drawn.text() == canonical_json(alone.to_json())
        assert repr(drawn.to_json()) == repr(dict(sorted_deeply(alone.to_json())))


def sorted_deeply(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: sorted_deeply(value[name]) for name in sorted(value)}
    return [sorted_deeply(one) for one in value] if isinstance(value, list) else value


def test_the_record_of_a_mixing_picture_that_stands_in_for_a_broken_one_names_it() -> None:
    mixing = np.zeros((36, 36, 3), np.uint8)
    squares, which = np.zeros((1, 32, 32, 3), np.uint8), np.zeros(50, np.int64)
    mixer = BatchMixer(CIFAR, 3)
    for first in (0, 50):  # seen for the first time, and again
        keys = [key_for(7, Stream.BAKE, 0, f"{first + i}") for i in range(50)]
        batch = mixer(keys, squares, which, lambda i: ((0, 2, 2)[i], mixing))
        used = {drawn.used for drawn in drawn_in(batch, 32, lambda i: f"name {i}")}
        assert used == {None, (0, "name 0"), (2, "name 2")}


# names of files are bytes; those that are no text come as lone surrogates
NAMES = st.text(max_size=9) | st.binary(max_size=9).map(
    lambda b: b.decode("utf-8", "surrogateescape")
)


@given(
    name=NAMES, key=NAMES, number=st.integers(0, 10**6), plain=st.booleans(), pad=st.integers(0, 9)
)
def test_the_record_of_a_sample_is_canonical_json(
    name: str, key: str, number: int, plain: bool, pad: int
) -> None:
    draws = DrawnAlone(draw(CIFAR, rng_for(number, Stream.BAKE), (32, 32), 5), key)
    sample = Sample(number, PictureRef(key, "", 0, 0), number % 7, "", pad)
    baked = Baked(sample, Copy(number, plain), draws, np.zeros((1, 1, 3), np.uint8))
    for equal in (None, "pad"):
        job = replace(job_of(Path(), Path()), files=Files(equal=equal))
        record: dict[str, Any] = {
            "class": name,
            "copy": number,
            "draws": canonical_json(draws.to_json()),
            "key": unicode_text(key),
            "label": number % 7,
        }
        record |= {"plain": True} if plain else {}
        record |= {"pad": pad} if equal else {}
        assert sample_record(job, baked, name) == canonical_json(record)
