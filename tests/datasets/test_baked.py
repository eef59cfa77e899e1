"""A baked set as a dataset: the same samples in the same order, whatever the format."""

from __future__ import annotations

import json
import multiprocessing
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader, DistributedSampler
from torchvision.datasets import ImageFolder

from pixmix_cli import BakedDataset
from pixmix_cli.errors import InputError, PixMixError, StorageError
from tests.datasets.conftest import Bake

pytestmark = pytest.mark.torch

FORMATS = ["webdataset", "imagefolder", "npy", "parquet"]


def tensor(picture: Image.Image) -> torch.Tensor:
    """(32, 32, 3) uint8."""
    return torch.from_numpy(np.array(picture))


def pixels_of(dataset: BakedDataset) -> np.ndarray:
    return np.stack([np.asarray(dataset[i][0]) for i in range(len(dataset))])


@pytest.fixture(scope="module")
def expected(sets: dict[str, Path]) -> dict[str, tuple[np.ndarray, list[int]]]:
    """Pictures and labels of each copy, in the order of the source, by torchvision."""
    found = {}
    for copy in ("copy-000", "copy-001", "plain-000"):
        samples = list(ImageFolder(sets["imagefolder"] / copy))
        pixels = np.stack([np.asarray(picture) for picture, _ in samples])
        found[copy] = (pixels, [label for _, label in samples])
    return found


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_gives_the_samples_of_the_source_in_its_order(
    name: str, sets: dict[str, Path], expected: dict[str, tuple[np.ndarray, list[int]]]
) -> None:
    dataset = BakedDataset(sets[name])
    pixels, labels = expected["copy-000"]
    assert len(dataset) == 24
    assert [dataset[i][1] for i in range(24)] == labels == dataset.targets
    assert np.array_equal(pixels_of(dataset), pixels)


@pytest.mark.parametrize("name", FORMATS)
def test_epoch_e_reads_copy_e_mod_n(
    name: str, sets: dict[str, Path], expected: dict[str, tuple[np.ndarray, list[int]]]
) -> None:
    dataset = BakedDataset(sets[name])
    assert dataset.copies == 2
    for epoch in (0, 1, 2, 57):
        dataset.set_epoch(epoch)
        assert np.array_equal(pixels_of(dataset), expected[f"copy-{epoch % 2:03d}"][0])


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("read", ["plain", "plain-000", "copy-001"])
def test_copies_are_read_by_name(
    name: str,
    read: str,
    sets: dict[str, Path],
    expected: dict[str, tuple[np.ndarray, list[int]]],
) -> None:
    dataset = BakedDataset(sets[name], read=read)
    dataset.set_epoch(7)
    wanted = expected["plain-000" if "plain" in read else read]
    assert dataset.copies == 1
    assert np.array_equal(pixels_of(dataset), wanted[0])


def test_classes_are_numbered_as_image_folder_does(sets: dict[str, Path]) -> None:
    dataset = BakedDataset(sets["webdataset"])
    folder = ImageFolder(sets["imagefolder"] / "copy-000")
    assert list(dataset.classes) == folder.classes
    assert dataset.class_to_idx == folder.class_to_idx
    assert dataset.targets == folder.targets


def test_the_transform_gets_a_pil_picture(sets: dict[str, Path]) -> None:
    dataset = BakedDataset(sets["npy"], lambda picture: (picture.mode, picture.size))
    assert dataset[3][0] == ("RGB", (32, 32))


def test_numbers_beyond_the_end_end_a_loop(sets: dict[str, Path]) -> None:
    dataset = BakedDataset(sets["npy"])
    assert dataset[-1][1] == dataset[23][1]
    with pytest.raises(IndexError):
        dataset[24]


@pytest.mark.parametrize("name", FORMATS)
def test_it_can_be_pickled_after_use_and_goes_on_at_its_epoch(
    name: str, sets: dict[str, Path], expected: dict[str, tuple[np.ndarray, list[int]]]
) -> None:
    dataset = BakedDataset(sets[name])
    dataset.set_epoch(1)
    assert len(pixels_of(dataset)) == 24
    sent = pickle.loads(pickle.dumps(dataset))
    assert np.array_equal(pixels_of(sent), expected["copy-001"][0])


@pytest.mark.process
@pytest.mark.parametrize(
    ("name", "method"), [*((name, "fork") for name in FORMATS), ("parquet", "spawn")]
)
def test_a_new_epoch_reaches_workers_that_go_on(
    name: str,
    method: str,
    sets: dict[str, Path],
    expected: dict[str, tuple[np.ndarray, list[int]]],
) -> None:
    dataset = BakedDataset(sets[name], tensor)
    loader: DataLoader = DataLoader(
        dataset, batch_size=5, num_workers=2 if method == "fork" else 1, persistent_workers=True,
        multiprocessing_context=multiprocessing.get_context(method),
    )  # fmt: skip
    for epoch in (0, 1, 2):
        dataset.set_epoch(epoch)
        pixels, labels = map(torch.cat, zip(*loader))
        wanted = expected[f"copy-{epoch % 2:03d}"]
        assert np.array_equal(pixels.numpy(), wanted[0])
        assert labels.tolist() == wanted[1]


def test_ranks_of_a_distributed_sampler_share_the_samples(sets: dict[str, Path]) -> None:
    dataset = BakedDataset(sets["webdataset"], tensor)
    seen: list[int] = []
    for rank in range(3):
        sampler: DistributedSampler = DistributedSampler(dataset, 3, rank, shuffle=True)
        sampler.set_epoch(1)
        assert len(list(sampler)) == 8
        seen += list(sampler)
    assert sorted(seen) == list(range(24))


def test_samples_that_fill_the_last_shard_come_after_all_others(bake: Bake) -> None:
    dataset = BakedDataset(bake("--pad", "--shard-size", 10, "--image-format", "png"))
    assert len(dataset) == 30
    assert dataset.targets[:24] == sorted(dataset.targets[:24])


def test_a_set_of_an_earlier_version_says_less_and_is_read(
    sets: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(sets["npy"], tmp_path / "old")
    manifest = json.loads((tmp_path / "old" / "manifest.json").read_text())
    for name in ("samples", "copies", "plain", "classes"):
        del manifest["summary"][name]
    (tmp_path / "old" / "manifest.json").write_text(json.dumps(manifest))
    assert BakedDataset(tmp_path / "old").copies == 2
    assert BakedDataset(tmp_path / "old", read="plain").copies == 1


@pytest.mark.parametrize("name", FORMATS)
def test_a_program_can_read_what_a_set_holds(name: str, sets: dict[str, Path]) -> None:
    summary = json.loads((sets[name] / "manifest.json").read_text())["summary"]
    told = {key: summary[key] for key in ("pictures", "samples", "copies", "plain", "classes")}
    assert told == {"pictures": 72, "samples": 24, "copies": 2, "plain": 1, "classes": 3}


# ------------------------------------------------------------------ bad input


def test_an_epoch_may_be_a_numpy_number(sets: dict[str, Path]) -> None:
    dataset = BakedDataset(sets["npy"])
    dataset.set_epoch(np.int64(1))  # type: ignore[arg-type]
    assert np.array_equal(np.asarray(dataset[0][0]), pixels_of(dataset)[0])


@pytest.mark.parametrize("epoch", [-1, 1.5, "1", True, None, 2**63])
def test_an_epoch_is_a_whole_number(epoch: object, sets: dict[str, Path]) -> None:
    dataset = BakedDataset(sets["npy"])
    with pytest.raises(InputError, match="an epoch is a whole number from 0 on"):
        dataset.set_epoch(epoch)  # type: ignore[arg-type]


def unfinished(folder: Path) -> None:
    (folder / ".pixmix").mkdir()
    (folder / "manifest.json").rename(folder / ".pixmix" / "plan.json")


def rewritten(folder: Path, file: str, change: Callable[[dict], object]) -> None:
    value = json.loads((folder / file).read_text())
    change(value)
    (folder / file).write_text(json.dumps(value))


def fewer_rows(folder: Path) -> None:
    lines = (folder / "manifest.jsonl").read_text().splitlines(keepends=True)
    (folder / "manifest.jsonl").write_text("".join(lines[1:]))


BROKEN: dict[str, tuple[Callable[[Path], object], str]] = {
    "nothing": (shutil.rmtree, "no baked set"),
    "unfinished": (unfinished, "is not finished"),
    "manifest": (lambda f: (f / "manifest.json").write_text("{"), "manifest.json is damaged"),
    "rows": (lambda f: (f / "manifest.jsonl").write_text("{}\n"), "line 1 of"),
    "lost rows": (fewer_rows, "damaged"),
    "no classes": (lambda f: (f / "classes.json").unlink(), "classes.json is damaged"),
    "fewer classes": (
        lambda f: (f / "classes.json").write_text('["cat"]'), "label 1 is none of its 1 classes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("how", BROKEN)
@pytest.mark.parametrize("name", FORMATS)
def test_a_set_that_cannot_be_read_is_refused_in_one_line(
    name: str, how: str, sets: dict[str, Path], tmp_path: Path
) -> None:
    shutil.copytree(sets[name], tmp_path / "set")
    harm, words = BROKEN[how]
    harm(tmp_path / "set")
    with pytest.raises(PixMixError, match=words) as caught:
        BakedDataset(tmp_path / "set")
    assert "\n" not in str(caught.value)
    assert "Try: " in str(caught.value)


def test_what_pixmix_did_not_bake_is_refused(
    sets: dict[str, Path], tmp_path: Path, mixing: Path
) -> None:
    for place in (mixing, mixing / "m1.png", "s3://bucket/baked"):
        with pytest.raises(InputError, match="there is no baked set at"):
            BakedDataset(place)
    with pytest.raises(InputError, match=r"Try: BakedDataset\('.*', read='copy-000'\)"):
        BakedDataset(sets["npy"] / "copy-000")
    from pixmix_cli.main import run

    out = str(tmp_path / "fractals")
    assert run(["generate-fractals", "-n", "1", "--size", "32", "-q", "-o", out]) == 0
    with pytest.raises(InputError, match="made by pixmix generate-fractals"):
        BakedDataset(out)


def test_a_format_of_a_later_version_is_named(
    sets: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pixmix_cli.pipelines.bake.formats.registry import FORMATS as known

    monkeypatch.delitem(known, "npy")
    with pytest.raises(InputError, match="of the format npy, which this version does not know"):
        BakedDataset(sets["npy"])


@pytest.mark.parametrize("read", ["copy-002", "plain-001", "copies", ""])
def test_a_copy_that_is_not_there_is_refused_with_those_that_are(
    read: str, sets: dict[str, Path]
) -> None:
    with pytest.raises(InputError, match="Try: copy-000 to copy-001, plain-000"):
        BakedDataset(sets["npy"], read=read)


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-600])


def grown(file: Path) -> None:
    file.write_bytes(file.read_bytes() + bytes(1024))


def scrambled(file: Path) -> None:
    file.write_bytes(bytes(reversed(file.read_bytes())))


@pytest.mark.parametrize("harm", [cut, grown, scrambled, Path.unlink])
@pytest.mark.parametrize("name", FORMATS)
def test_a_file_that_changed_is_named_when_it_is_read(
    name: str, harm: Callable[[Path], object], sets: dict[str, Path], tmp_path: Path
) -> None:
    if name == "imagefolder" and harm is grown:
        pytest.skip("what follows a picture's end is no part of it")
    shutil.copytree(sets[name], tmp_path / "set")
    dataset = BakedDataset(tmp_path / "set")
    dataset.set_epoch(1)
    file = sorted(path for path in (tmp_path / "set" / "copy-001").rglob("*") if path.is_file())[0]
    harm(file)
    with pytest.raises(PixMixError, match=str(file)) as caught:
        pixels_of(dataset)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", FORMATS)
def test_a_set_that_grows_meanwhile_is_read_as_it_was_opened(name: str, bake: Bake) -> None:
    words = ("--format", name, "--image-format", "png", "--seed", 3)
    folder = bake(*words, "--copies", 2)
    dataset = BakedDataset(folder)
    before = pixels_of(dataset)
    assert bake(*words, "--copies", 3, "--resume", "-o", folder) != folder
    for epoch, same in ((1, False), (2, True)):  # of two copies still
        dataset.set_epoch(epoch)
        assert np.array_equal(pixels_of(dataset), before) == same
    assert BakedDataset(folder).copies == 3


def test_a_copy_with_other_samples_is_no_copy(sets: dict[str, Path], tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(sets["webdataset"], folder)
    one, other = folder / "copy-001" / "000000.tar", folder / "copy-001" / "000001.tar"
    dataset = BakedDataset(folder)
    dataset.set_epoch(1)
    one.write_bytes(other.read_bytes())
    with pytest.raises(StorageError, match="damaged"):
        pixels_of(dataset)
