"""The training example: any set, one process or two, and a run that goes on."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

from tests.conftest import ROOT, environment, picture

pytestmark = pytest.mark.torch
SCRIPT = ROOT / "examples" / "train.py"


@pytest.fixture(scope="module")
def train() -> ModuleType:
    spec = importlib.util.spec_from_file_location("train_example", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def val(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Seven pictures of the classes of `photos`."""
    root = tmp_path_factory.mktemp("val")
    for number, name in enumerate(["cat", "dog", "zebra finch"]):
        (root / name).mkdir()
        for i in range(2 + (number == 0)):
            Image.fromarray(picture(50 * number + i, 60, 50)).save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory, photos: Path, mixing: Path) -> Path:
    """Two copies of 24 pictures, and one plain."""
    from pixmix_cli.main import run

    out = tmp_path_factory.mktemp("train") / "baked"
    words = ["bake", photos, "--mixing-set", mixing, "--preset", "cifar", "--copies", 2]
    assert run([str(word) for word in (*words, "-j", 1, "-q", "-o", out)]) == 0
    return out


Train = Callable[..., "list[dict]"]


@pytest.fixture
def epochs(train: ModuleType, capsys: pytest.CaptureFixture[str]) -> Train:
    """Run the script in this process; its records."""

    def call(*words: object) -> list[dict]:
        capsys.readouterr()
        train.main(["--workers", "0", "--batch-size", "8", *map(str, words)])
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return call


def losses(records: list[dict]) -> list[tuple[float, float]]:
    return [(record["loss"], record["val_accuracy"]) for record in records]


def test_an_epoch_on_a_baked_set_tells_loss_and_accuracies(
    epochs: Train, baked: Path, val: Path
) -> None:
    (record,) = epochs(baked, "--val", val, "--epochs", 1)
    assert record["samples"] == [24]
    assert np.isfinite(record["loss"])
    assert record["val_accuracy"] * 7 == pytest.approx(round(record["val_accuracy"] * 7))


def test_a_network_learns_from_what_was_baked(epochs: Train, baked: Path) -> None:
    records = epochs(baked, "--epochs", 12)
    assert records[-1]["loss"] < 0.8 * records[0]["loss"]


def test_a_set_that_was_baked_whole_is_flipped_and_cropped_in_training(
    train: ModuleType, baked: Path, epochs: Train, val: Path
) -> None:
    def moved(*words: object) -> list[str]:
        args = train.options([str(word) for word in (baked, *words)])
        return [type(move).__name__ for move in train.open_data(args)[0].transform.transforms]

    assert moved() == ["ToTensor", "Normalize"]
    assert moved("--crop", 24)[:2] == ["RandomHorizontalFlip", "RandomCrop"]
    args = train.options([str(baked), "--crop", "24", "--val", str(val)])
    assert {dataset[0][0].shape for dataset in train.open_data(args)} == {(3, 24, 24)}
    usual, cropped = (epochs(baked, "--epochs", 1, *words) for words in ((), ("--crop", 32)))
    assert usual[0]["loss"] != cropped[0]["loss"]


def test_few_copies_for_many_epochs_are_warned_of(
    train: ModuleType, baked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*words: object) -> str:
        train.open_data(train.options([str(word) for word in (baked, *words)]))
        return capsys.readouterr().err

    assert said("--epochs", 8) == ""  # two copies
    assert said("--epochs", 9).startswith("Warning: 9 epochs with N = 2 copies")
    assert said("--epochs", 9).count("\n") == 1
    assert said("--epochs", 9, "--crop", 32) == said("--epochs", 9, "--replay") == ""


def test_a_last_batch_of_one_is_left_out(
    train: ModuleType, baked: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (baked, "--model", "resnet18", "--epochs", "1")
    train.main([*map(str, words), "--workers", "0", "--batch-size", "23"])  # 24 samples, 32 px
    assert json.loads(capsys.readouterr().out)["samples"] == [23]


def test_an_image_folder_is_mixed_as_it_is_read(
    epochs: Train, photos: Path, mixing: Path, val: Path
) -> None:
    words = ("--mixing-set", mixing, "--preset", "cifar", "--val", val, "--epochs", 1)
    (record,) = epochs(photos, *words)
    assert record["samples"] == [24]


def test_mixed_precision_trains_on_a_processor_too(epochs: Train, baked: Path) -> None:
    exact, half = (epochs(baked, "--epochs", 1, *words) for words in ((), ("--amp",)))
    assert half[0]["loss"] == pytest.approx(exact[0]["loss"], rel=0.05)
    assert half[0]["loss"] != exact[0]["loss"]


@pytest.mark.parametrize("workers", [0, 1])
def test_a_run_that_was_stopped_ends_as_if_it_had_not_been(
    workers: int,
    train: ModuleType,
    epochs: Train,
    baked: Path,
    val: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    words = (baked, "--val", val, "--epochs", 3, "--crop", 32, "--workers", workers)
    whole = epochs(*words)
    file = tmp_path / "run.pt"
    save = train.save

    def save_and_die(*args: object) -> None:
        save(*args)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(train, "save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            epochs(*words, "--checkpoint", file)
    rest = epochs(*words, "--checkpoint", file)
    assert [record["epoch"] for record in rest] == [1, 2]
    assert losses(rest) == losses(whole[1:])
    assert epochs(*words, "--checkpoint", file) == []


def test_what_cannot_be_trained_on_is_refused_in_a_line(
    epochs: Train, photos: Path, mixing: Path, baked: Path, tmp_path: Path
) -> None:
    with pytest.raises(SystemExit, match="no --mixing-set"):
        epochs(photos)
    with pytest.raises(SystemExit, match="--crop is for a baked set"):
        epochs(photos, "--mixing-set", mixing, "--crop", 32)
    for side in (33, 0, -4):
        with pytest.raises(SystemExit, match="have 32 pixels"):
            epochs(baked, "--crop", side)
    (tmp_path / "fish").mkdir()
    Image.fromarray(picture(1, 32, 32)).save(tmp_path / "fish" / "1.png")
    with pytest.raises(SystemExit, match="has the classes"):
        epochs(baked, "--val", tmp_path)


@pytest.mark.process
def test_two_processes_read_equal_parts_and_end(baked: Path, val: Path) -> None:
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    done = subprocess.run(
        [*words, SCRIPT, baked, "--val", val, "--epochs", "2", "--batch-size", "5"],
        env=environment(CUDA_VISIBLE_DEVICES="", OMP_NUM_THREADS="1"), timeout=240,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert [record["epoch"] for record in records] == [0, 1]
    assert [record["samples"] for record in records] == [[12, 12]] * 2


def test_the_example_stays_short() -> None:
    assert len(SCRIPT.read_text().splitlines()) < 200


def commands_of_the_docs() -> list[str]:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    lines = [line for page in pages for line in page.read_text("utf-8").splitlines()]
    return sorted({line for line in lines if re.match(r"(python|torchrun) .*train\.py", line)})


@pytest.mark.parametrize("line", commands_of_the_docs())
def test_the_docs_show_command_lines_that_the_script_understands(
    line: str, train: ModuleType
) -> None:
    words = shlex.split(line, comments=True)
    options = train.options(words[words.index("examples/train.py") + 1 :])
    assert options.data.name in ("baked", "train")


def test_the_docs_show_how_to_train() -> None:
    assert len(commands_of_the_docs()) >= 3
