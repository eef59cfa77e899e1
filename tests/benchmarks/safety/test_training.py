"""Arms, training, the exam as a whole, the report and the command."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

from benchmarks.safety import __main__ as command
from benchmarks.safety import arms, data, epochs, evaluate, report
from benchmarks.safety.data import Labelled
from benchmarks.safety.network import WideResNet
from benchmarks.safety.train import Training, train
from pixmix_cli.errors import InputError, PixMixError

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
TINY = Training(depth=10, width=1, epochs=3, bfloat16=False, stem=2)


def toy(n=96, seed=0):
    """Dark pictures are class 0, light ones class 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    pictures = rng.integers(0, 100, (n, 32, 32, 3)) + 155 * labels[:, None, None, None]
    return Labelled(pictures.astype(np.uint8), labels.astype(np.int64), ("dark", "light"))


def write_folder(split, folder):
    for number, (picture, label) in enumerate(zip(split.pictures, split.labels)):
        place = folder / split.classes[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(place / f"{number:03d}.png")


@pytest.mark.parametrize(("depth", "convolutions"), [(10, 7 + 3), (16, 13 + 3)])
def test_the_network_has_the_depth_it_is_asked_for(depth, convolutions):
    model = WideResNet(depth, 2, 5)
    assert sum(isinstance(m, torch.nn.Conv2d) for m in model.modules()) == convolutions
    assert model(torch.rand(2, 3, 32, 32)).shape == (2, 5)
    with pytest.raises(ValueError, match="depth must be"):
        WideResNet(12, 1, 2)


@pytest.mark.parametrize("recipe", arms.SHELF)
def test_training_learns_a_toy_and_repeats_itself(recipe):
    split = toy()
    shown = epochs.shelf_epochs(recipe, split, CPU)
    torch.manual_seed(0)
    model, loss = train(TINY, shown, 2, CPU, seed=1)
    assert not model.training
    test = toy(seed=1)
    found = evaluate.Examiner(model, CPU, False).probabilities(test.pictures)
    assert found.shape == (96, 2)
    assert (found.argmax(1) == test.labels).mean() > 0.9
    if recipe == "plain":
        again, same = train(TINY, epochs.shelf_epochs(recipe, split, CPU), 2, CPU, seed=1)
        assert same == loss
        for one, two in zip(model.state_dict().values(), again.state_dict().values()):
            assert torch.equal(one, two)
        assert train(TINY, shown, 2, CPU, seed=2)[1] != loss


def test_training_that_diverges_says_so():
    split = toy()
    labels = torch.from_numpy(split.labels)
    broken = torch.full((96, 3, 32, 32), math.nan)
    with pytest.raises(PixMixError, match="diverged in epoch 0"):
        train(TINY, lambda epoch, random: (broken, labels), 2, CPU, seed=0)


def test_flip_and_crop_shows_parts_of_the_padded_picture():
    picture = np.arange(32 * 32 * 3, dtype=np.uint32).reshape(1, 32, 32, 3) % 251 + 1
    pictures = epochs.on_device(np.repeat(picture, 64, 0).astype(np.uint8), CPU)
    out = epochs.flip_and_crop(pictures, torch.Generator().manual_seed(0))
    padded = torch.nn.functional.pad(pictures[:1], (4,) * 4)[0]
    views = {
        padded.flip(2)[:, y : y + 32, x : x + 32].numpy().tobytes()
        for y in range(9)
        for x in range(9)
    } | {padded[:, y : y + 32, x : x + 32].numpy().tobytes() for y in range(9) for x in range(9)}
    found = {view.contiguous().numpy().tobytes() for view in out}
    assert found <= views
    assert len(found) > 30


def test_cutout_makes_one_square_grey():
    pictures = torch.zeros(50, 3, 32, 32, dtype=torch.uint8)
    out = epochs.cutout(pictures, torch.Generator().manual_seed(0))
    area = (out == 128).sum((2, 3))
    assert torch.equal(area[:, 0], area[:, 1])
    assert area.max() == 16 * 16
    assert area.min() >= 8 * 8


def test_an_arm_is_a_name_and_a_recipe(tmp_path):
    assert arms.parse("plain") == arms.Arm("plain", "plain")
    assert arms.parse("control=noise") == arms.Arm("control", "noise")
    (tmp_path / "mixing").mkdir()
    arm = arms.parse(f"ours=pixmix:{tmp_path}/mixing,{tmp_path}")
    assert arm.is_baked_here
    assert arm.mixing_sets == [tmp_path / "mixing", tmp_path]
    assert arms.parse("=plain").name == "plain"
    assert arms.parse("noise@4") == arms.Arm("noise-4", "noise", "4")
    assert arms.parse(f"ours={tmp_path}/mixing:1,{tmp_path}:2").words == [
        f"{tmp_path}/mixing:1", f"{tmp_path}:2"
    ]  # fmt: skip


def test_frost_joins_the_exam_where_there_are_photographs_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(evaluate.corruptions, "CORRUPTIONS", ("contrast",))
    monkeypatch.setattr(evaluate.perturbations, "SEQUENCES", ("translate",))
    (tmp_path / "ice").mkdir()
    ice = np.random.default_rng(0).integers(0, 256, (170, 200, 3)).astype(np.uint8)
    Image.fromarray(ice).save(tmp_path / "ice" / "a.png")
    size = evaluate.Size((1, 5), sequence_pictures=2, attacked=4, anomalies=5)
    sources = evaluate.Sources(size, with_digits=False, frost=tmp_path / "ice")
    exam = evaluate.make_exam(toy(4), sources, tmp_path / "exam")
    assert list(exam.corrupted) == ["contrast", "frost"]
    assert exam.corrupted["frost"].shape == (2, 4, 32, 32, 3)
    Image.fromarray(ice[:100]).save(tmp_path / "ice" / "b.png")
    with pytest.raises(InputError, match="less than 160 pixels"):
        evaluate.make_exam(toy(4), sources, tmp_path / "exam")


def test_sets_made_here_may_be_mixed_with_others(tmp_path):
    (tmp_path / "mine").mkdir()
    arm = arms.parse(f"both={tmp_path}/mine:1,noise:3")
    for folder in ("noise", "mixing/noise"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "done").touch()
    assert arms.sets_of(arm, tmp_path) == [f"{tmp_path}/mine:1", f"{tmp_path}/noise:3"]
    assert arms.sets_of(arms.parse("noise"), tmp_path) == [f"{tmp_path}/noise"]
    assert arms.sets_of(arms.parse("self"), tmp_path) == []


@pytest.mark.parametrize(
    "wrong",
    [
        "pixmax",
        "a=b",
        "a=pixmix:nowhere",
        "a/b=plain",
        "plain@4",
        "noise@0",
        "noise@some",
        "a=",
        "plain+crop",
        "self+crop",
        "noise@online+crop",
    ],
)
def test_an_arm_that_cannot_be_made_is_refused(wrong):
    with pytest.raises(InputError, match="--arm"):
        arms.parse(wrong)


def test_copies_can_be_baked_whole_to_be_cropped_in_training(tmp_path):
    assert arms.parse("noise@4+crop") == arms.Arm("noise-4+crop", "noise", "4", whole=True)
    assert not arms.parse("noise@4").whole
    write_folder(toy(4), tmp_path / "train")
    write_folder(toy(4, seed=3), tmp_path / "mixing")
    for whole, made in ((False, (None, None)), (True, ("none", False))):
        source = data.Part(tmp_path / "train"), tmp_path / "baked"
        folder = arms.bake([str(tmp_path / "mixing")], *source, copies=1, seed=0, whole=whole)
        options = json.loads((folder / "manifest.json").read_text())["options"]
        assert (options.get("crop"), options.get("flip")) == made


@pytest.mark.parametrize(
    ("text", "copies", "live"),
    [
        ("noise", 5, False),  # --copies 5
        ("noise@2", 2, False),
        ("noise@all", 30, False),
        ("noise@online", 30, True),
        ("self", 5, True),
        ("self@2", 2, True),
    ],
)
def test_copies_follow_from_the_arm_or_else_from_the_run(text, copies, live):
    arm = arms.parse(text)
    assert arm.copies_for(epochs=30, default=5) == copies
    assert arm.is_live == live
    assert arm.is_baked_here == (not live)


@pytest.mark.parametrize("layout", ["npy", "imagefolder", "webdataset"])
def test_a_baked_set_of_every_format_shows_one_copy_an_epoch(layout, tmp_path, pixmix):
    split = toy(12)
    write_folder(split, tmp_path / "train")
    write_folder(toy(4, seed=3), tmp_path / "mixing")
    words = ["--preset", "cifar", "--copies", "2", "--format", layout, "--image-format", "png"]
    if layout == "npy":
        words = words[:-2]
    source = str(tmp_path / "train"), "--mixing-set", str(tmp_path / "mixing")
    pixmix("bake", *source, *words, "-o", str(tmp_path / "baked"))
    shown = epochs.baked_epochs(tmp_path / "baked", data.load(data.Part(tmp_path / "train")), CPU)
    first, labels = shown(0, torch.Generator())
    assert first.shape == (12, 3, 32, 32)
    assert first.dtype == torch.uint8
    assert sorted(labels.tolist()) == sorted(split.labels.tolist())
    assert not torch.equal(first, shown(1, torch.Generator())[0])
    cropped = epochs.baked_epochs(tmp_path / "baked", split, CPU, whole=True)
    random = torch.Generator().manual_seed(0)
    moved, later = cropped(0, random)[0], cropped(0, random)[0]
    assert not torch.equal(moved, later)
    colours = [set(map(tuple, x.flatten(1).T.tolist())) for x in (moved[0], first[0])]
    assert colours[0] <= {*colours[1], (0, 0, 0)}  # the same pixels, and the padding
    assert torch.equal(first, shown(2, torch.Generator())[0])
    with pytest.raises(InputError, match="12 pictures"):
        epochs.baked_epochs(tmp_path / "baked", toy(14), CPU)
    other = Labelled(split.pictures, split.labels, ("a", "b"))
    with pytest.raises(InputError, match="other classes"):
        epochs.baked_epochs(tmp_path / "baked", other, CPU)


def test_data_may_be_anything_that_bake_reads(tmp_path):
    both = {"train": toy(12), "test": toy(4, seed=1)}
    np.savez(
        tmp_path / "both.npz",
        **{f"x_{name}": split.pictures for name, split in both.items()},
        **{f"y_{name}": split.labels for name, split in both.items()},
    )
    write_folder(both["train"], tmp_path / "apart" / "train")
    (tmp_path / "apart" / "test").mkdir()
    np.save(tmp_path / "apart" / "test" / "images.npy", both["test"].pictures)
    np.save(tmp_path / "apart" / "test" / "labels.npy", both["test"].labels)
    for place in ("both.npz", "apart"):
        train_part, test_part = data.parts(str(tmp_path / place), tmp_path)
        for part, split in ((train_part, both["train"]), (test_part, both["test"])):
            loaded = data.load(part)
            order = np.argsort(split.labels, kind="stable") if place == "apart" else slice(None)
            if part is test_part:
                order = slice(None)
            assert np.array_equal(loaded.pictures, split.pictures[order])
            assert np.array_equal(loaded.labels, split.labels[order])
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError):
        data.parts(str(tmp_path / "empty"), tmp_path)


def test_a_mixing_set_that_shows_the_exam_is_refused(tmp_path):
    split = toy(6)
    write_folder(toy(6, seed=9), tmp_path / "apart")
    write_folder(split, tmp_path / "same")
    seen = data.fingerprints(split.pictures)
    assert len(data.check_apart(seen, tmp_path / "apart")) == 6
    with pytest.raises(InputError, match="a picture of the exam"):
        data.check_apart(seen, tmp_path / "same")


def test_the_exam_is_made_once_and_sat_by_everybody(tmp_path):
    pytest.importorskip("sklearn")
    size = evaluate.Size((1, 5), sequence_pictures=2, attacked=4, anomalies=5)
    sources = evaluate.Sources(size)
    exam = evaluate.make_exam(toy(10), sources, tmp_path)
    assert exam.corrupted["fog"].shape == (2, 10, 32, 32, 3)
    assert exam.sequences["translate"].shape == (2, 16, 32, 32, 3)
    assert set(exam.structured) == {"blobs", "textures", "shapes", "digits"}
    times = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    again = evaluate.make_exam(toy(10), sources, tmp_path)
    assert times == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.npy")}
    assert np.array_equal(again.corrupted["snow"], exam.corrupted["snow"])
    without = dataclasses.replace(sources, with_digits=False)
    assert "digits" not in evaluate.make_exam(toy(10), without, tmp_path).structured

    class Brightness(torch.nn.Module):
        def forward(self, x):
            light = (x.mean((1, 2, 3)) - 0.5) * 20
            return torch.stack([-light, light], 1)

    record = evaluate.sit(exam, size, Brightness(), CPU, bfloat16=False)
    assert record["clean error"] == 0
    assert record["adversarial error"] == 0  # 2/255 does not cross such a margin
    assert set(report.COLUMNS.values()) <= set(record)
    assert set(report.FIVE.values()) <= set(record)
    assert all(0 <= value <= 1 for value in record.values())
    corruptions = [value for name, value in record.items() if name.startswith("corruption: ")]
    assert record["corruption error"] == pytest.approx(np.mean(corruptions))
    assert len(corruptions) == 14


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(command, "SIZE", evaluate.Size((1,), 2, 4, 4))


def call(monkeypatch, *words):
    monkeypatch.setattr("sys.argv", ["safety", *map(str, words)])
    return command.main()


def test_the_command_runs_each_arm_once_and_goes_on(tmp_path, monkeypatch, capsys, small):
    pytest.importorskip("sklearn")
    write_folder(toy(40), tmp_path / "data" / "train")
    write_folder(toy(10, seed=1), tmp_path / "data" / "test")
    write_folder(toy(4, seed=2), tmp_path / "mixing")
    out = tmp_path / "out"
    words = [
        "--data",
        tmp_path / "data",
        "--arm",
        "plain",
        "--arm",
        f"ours=pixmix:{tmp_path}/mixing",
    ]
    words += ["--epochs", 1, "--depth", 10, "--width", 1, "--stem", 2, "--jobs", 1, "-o", out]
    assert call(monkeypatch, *words, "--seeds", 1) == 0
    shown = capsys.readouterr()
    assert "| ours | 1 |" in shown.out
    assert "2 runs, 1 at once: up to 1 epochs of 40 pictures" in shown.err
    records = {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert [path.name for path in sorted(records)] == ["ours-0.json", "plain-0.json"]
    assert json.loads((out / "results.json").read_text())["runs"][0]["machine"]["device"] == "CPU"
    assert not list((out / "baked").iterdir())
    assert not list((out / "unfinished").iterdir())
    assert call(monkeypatch, *words, "--seeds", 1) == 0
    assert records == {path: path.stat().st_mtime_ns for path in (out / "runs").iterdir()}
    assert call(monkeypatch, "--report", "-o", out) == 0


def test_a_plan_says_the_cost_and_trains_nothing(tmp_path, monkeypatch, capsys, small):
    pytest.importorskip("sklearn")
    write_folder(toy(8), tmp_path / "train")
    write_folder(toy(4, seed=1), tmp_path / "test")
    words = ["--data", tmp_path, "--arms", "plain", "cutmix", "self@2", "--plan", "--stem", 2]
    words += ["--epochs", 7, "--depth", 10, "--width", 1, "--seeds", 2, "-o", tmp_path / "out"]
    assert call(monkeypatch, *words) == 0
    shown = capsys.readouterr()
    assert "6 runs, 2 at once: up to 7 epochs of 8 pictures" in shown.err
    assert shown.out == ""
    assert not list((tmp_path / "out" / "runs").iterdir())


def test_a_checkpoint_sits_published_exams_without_training(tmp_path, monkeypatch, capsys):
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    rng = np.random.default_rng(0)
    np.save(folder / "labels.npy", np.arange(20) % 10)
    np.save(folder / "fog.npy", rng.integers(0, 256, (20, 32, 32, 3), np.uint8))
    np.save(tmp_path / "tilt.npy", rng.integers(0, 256, (3, 4, 32, 32, 3), np.uint8))
    torch.save(WideResNet(10, 1, 10, stem=2).state_dict(), tmp_path / "a.pt")
    words = ["--checkpoint", f"mine=wrn-10-1:{tmp_path}/a.pt", "--corruptions", folder]
    words += ["--perturbations", tmp_path, "-o", tmp_path / "out"]
    assert call(monkeypatch, *words) == 0
    shown = capsys.readouterr()
    assert "CIFAR-10-C error (1 of 15)" in shown.out
    assert "lacks gaussian_noise" in shown.err
    assert "examined in" in shown.err
    assert call(monkeypatch, *words) == 0
    assert "examined" not in capsys.readouterr().err  # the record is there


@pytest.fixture
def done(monkeypatch, small):
    """Names of the runs that the command does; they are not trained."""
    found = []

    def pretend(jobs, baked, workers):
        for job in jobs:
            found.append(job.name)
            record = {**job.settings, "measures": {"clean error": 0.5}}
            job.record.write_text(json.dumps(record))

    monkeypatch.setattr(command, "run_all", pretend)
    return found


def write_baked(folder, split, manifest):
    (folder / "copy-0").mkdir(parents=True, exist_ok=True)
    np.save(folder / "copy-0" / "images.npy", split.pictures)
    np.save(folder / "copy-0" / "labels.npy", split.labels)
    (folder / "classes.json").write_text(json.dumps(split.classes))
    (folder / "manifest.json").write_text(manifest)


def write_data(folder):
    write_folder(toy(8), folder / "train")
    write_folder(toy(4, seed=1), folder / "test")
    tiny = ["--epochs", 1, "--depth", 10, "--width", 1, "--stem", 2, "--seeds", 1, "--jobs", 1]
    return ["--data", folder, *tiny, "-o", folder / "out"]


def test_a_set_that_was_baked_anew_is_trained_on_anew(tmp_path, monkeypatch, done):
    pytest.importorskip("sklearn")
    words = [*write_data(tmp_path), "--arms", "plain", f"mine={tmp_path}/baked"]
    write_baked(tmp_path / "baked", toy(8), "{}")
    assert call(monkeypatch, *words) == 0
    assert call(monkeypatch, *words) == 0
    write_baked(tmp_path / "baked", toy(8, seed=2), '{"seed": 2}')
    assert call(monkeypatch, *words) == 0
    assert done == ["plain-0", "mine-0", "mine-0"]


@pytest.mark.parametrize("option", ["--photographs", "--frost"])
def test_other_photographs_are_another_exam(option, tmp_path, monkeypatch, done):
    pytest.importorskip("sklearn")
    words = [*write_data(tmp_path), "--arm", "plain"]
    rng = np.random.default_rng(0)

    def exam_of(name, value=None):
        (tmp_path / name).mkdir(exist_ok=True)
        if value is not None:
            picture = rng.integers(value, value + 9, (170, 170, 3)).astype(np.uint8)
            Image.fromarray(picture).save(tmp_path / name / "a.png")
        assert call(monkeypatch, *words, option, tmp_path / name) == 0
        exam = evaluate.make_exam(
            data.load(data.Part(tmp_path / "test")),
            evaluate.Sources(command.SIZE, **{option[2:]: tmp_path / name}),
            tmp_path / "out" / "exam",
        )
        return (exam.structured | exam.corrupted)[option[2:]].mean()

    first = exam_of("pa", 0)
    assert exam_of("pa") == first
    assert len(done) == 1
    second = exam_of("pb", 100)
    replaced = exam_of("pa", 200)
    assert first < second < replaced
    assert len(done) == 3
    (tmp_path / "pa").rename(tmp_path / "pc")
    assert exam_of("pc") == replaced
    assert len(done) == 3


def write_c(folder, labels, pictures=None):
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "labels.npy", np.array(labels))
    shape = (len(labels), 32, 32, 3)
    np.save(folder / "fog.npy", np.zeros(shape, np.uint8) if pictures is None else pictures)
    return folder


def test_a_published_set_that_was_replaced_is_sat_again(tmp_path, monkeypatch, done):
    pytest.importorskip("sklearn")
    words = [*write_data(tmp_path), "--arm", "plain"]
    folder = write_c(tmp_path / "C", [0, 1] * 5)
    assert call(monkeypatch, *words, "--corruptions", folder) == 0
    assert call(monkeypatch, *words, "--corruptions", folder) == 0
    assert len(done) == 1
    write_c(folder, [1, 0] * 5)
    assert call(monkeypatch, *words, "--corruptions", folder) == 0
    assert len(done) == 2


def test_records_without_further_sources_stay_valid(tmp_path, monkeypatch, done):
    pytest.importorskip("sklearn")
    assert call(monkeypatch, *write_data(tmp_path), "--arm", "plain") == 0
    record = json.loads((tmp_path / "out" / "runs" / "plain-0.json").read_text())
    found = {name: record[name] for name in ("photographs", "frost", "published")}
    assert found == {"photographs": False, "frost": False, "published": []}
    assert "baked" not in record


def test_the_table_is_of_the_runs_asked_for_and_of_what_fits_them(
    tmp_path, monkeypatch, capsys, done
):
    pytest.importorskip("sklearn")
    words = write_data(tmp_path)
    assert call(monkeypatch, *words, "--arm", "plain") == 0
    assert call(monkeypatch, *words, "--arm", "cutout", "--epochs", 2) == 0
    shown = capsys.readouterr()
    assert "| plain |" not in shown.out.split("| cutout |")[1]
    assert "left out, since they were made with other settings than the rest: plain-0" in shown.err
    assert call(monkeypatch, *words, "--arm", "plain") == 0
    shown = capsys.readouterr()
    assert "| plain | 1 |" in shown.out
    assert "| cutout |" not in shown.out
    assert len(done) == 2


def test_two_published_sets_of_one_name_are_refused(tmp_path, monkeypatch, capsys):
    for place in ("a", "b"):
        write_c(tmp_path / place / "C", [0, 1] * 5)
    words = ["--corruptions", tmp_path / "a" / "C", "--corruptions", tmp_path / "b" / "C"]
    words = ["--checkpoint", "resnet18:none", *words, "-o", tmp_path / "out"]
    assert call(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert "two published sets are called C" in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--data", "nowhere", "--arm", "plain", "--corruptions", "no"], "no is no folder"),
        (["--checkpoint", "resnet18:none", "--corruptions", "."], "--checkpoint resnet18:none"),
        (["--checkpoint", "resnet18", "--corruptions", "."], "resnet18 is no checkpoint"),
        (["--data", "nowhere", "--arm", "plain"], "--data nowhere does not exist"),
        (["--data", "nowhere", "--arm", "plein"], "plein is no recipe"),
        (["--data", "nowhere", "--arm", "plain", "--arm", "plain"], "the same name"),
        (["--report"], "no finished runs"),
        (["--smoke", "--photographs", "nowhere"], "nowhere is no folder"),
        (["--smoke", "--frost", "nowhere"], "nowhere is no folder"),
    ],
)
def test_bad_input_is_one_line(words, message, tmp_path, monkeypatch, capsys):
    assert call(monkeypatch, *words, "-o", tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is there")
def test_a_gpu_that_is_not_there_is_one_line(tmp_path, monkeypatch, capsys):
    words = ["--data", "digits", "--arm", "plain", "--device", "cuda", "-o", tmp_path]
    assert call(monkeypatch, *words) == 2
    assert "sees no GPU" in capsys.readouterr().err


def test_pictures_in_both_train_and_test_are_refused(tmp_path, monkeypatch, capsys, small):
    pytest.importorskip("sklearn")
    write_folder(toy(8), tmp_path / "train")
    write_folder(toy(8), tmp_path / "test")
    assert call(monkeypatch, "--data", tmp_path, "--arm", "plain", "-o", tmp_path / "out") == 2
    assert "in both train and test" in capsys.readouterr().err


def test_photographs_that_are_a_mixing_set_too_are_refused(tmp_path, monkeypatch, capsys, done):
    pytest.importorskip("sklearn")
    words = [*write_data(tmp_path), "--arm", f"ours={tmp_path}/same"]
    (tmp_path / "same").mkdir()
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3)).astype(np.uint8)
    Image.fromarray(picture).save(tmp_path / "same" / "a.png")
    assert call(monkeypatch, *words, "--photographs", tmp_path / "same") == 2
    assert "a.png is a picture of the exam" in capsys.readouterr().err


def test_test_pictures_among_the_photographs_are_refused(tmp_path, monkeypatch, capsys, done):
    pytest.importorskip("sklearn")
    words = [*write_data(tmp_path), "--arm", "plain"]
    assert call(monkeypatch, *words, "--photographs", tmp_path / "test") == 2
    assert "is a picture of the exam" in capsys.readouterr().err


def test_anomalies_that_are_test_pictures_are_refused(tmp_path):
    exam = evaluate.Exam(toy(4), {}, {}, {}, {"shapes": toy(4, seed=1).pictures[2:]})
    with pytest.raises(InputError, match=r"anomalies \(shapes\) is one of --data x"):
        command._fingerprints("x", toy(4), toy(4, seed=1), exam, None)


def test_a_checkpoint_of_other_classes_than_the_data_is_refused(
    tmp_path, monkeypatch, capsys, small
):
    pytest.importorskip("sklearn")
    data_, folder, *_ = write_data(tmp_path)
    torch.save(WideResNet(10, 1, 100, stem=2).state_dict(), tmp_path / "a.pt")
    words = [data_, folder, "--checkpoint", f"mine=wrn-10-1:{tmp_path}/a.pt", "-o", tmp_path / "o"]
    assert call(monkeypatch, *words) == 2
    error = capsys.readouterr().err
    assert "a.pt: the test pictures have 2 classes and the network 100 outputs" in error
    assert error.count("\n") == 1


def test_arms_of_other_classes_than_a_published_set_are_refused_untrained(
    tmp_path, monkeypatch, capsys, done
):
    pytest.importorskip("sklearn")
    folder = write_c(tmp_path / "C", [0, 9] * 5)
    words = [*write_data(tmp_path), "--arm", "plain", "--corruptions", folder]
    assert call(monkeypatch, *words) == 2
    assert "C has 10 classes and the network 2 outputs" in capsys.readouterr().err


@pytest.mark.process
def test_a_reader_that_has_gone_away_leaves_the_files_and_no_traceback(tmp_path):
    (tmp_path / "runs").mkdir()
    record = {"arm": "plain", "seed": 0, "measures": {"clean error": 0.5}, "training": {}}
    (tmp_path / "runs" / "plain-0.json").write_text(json.dumps(record))
    reader, writer = os.pipe()
    os.close(reader)
    words = [sys.executable, "-m", "benchmarks.safety", "--report", "-o", str(tmp_path)]
    ended = subprocess.run(words, stdout=writer, stderr=subprocess.PIPE, text=True)
    os.close(writer)
    assert (ended.returncode, ended.stderr) == (141, "")
    assert "| plain | 1 | .500" in (tmp_path / "table.md").read_text()


def test_a_checkpoint_normalised_otherwise_is_examined_again(tmp_path, monkeypatch):
    folder = write_c(tmp_path / "C", [0, 1] * 5)
    state = torchvision.models.squeezenet1_1(num_classes=2).state_dict()
    torch.save(state, tmp_path / "a.pt")
    words = ["--checkpoint", f"mine=squeezenet1_1:{tmp_path}/a.pt", "--corruptions", folder]
    for more, expected in (([], "imagenet"), (["--normalise", "cifar"], "cifar")):
        assert call(monkeypatch, *words, *more, "-o", tmp_path / "out") == 0
        record = json.loads((tmp_path / "out" / "runs" / "mine-0.json").read_text())
        assert record["normalise"] == expected


def test_a_plan_counts_the_published_sets(tmp_path, monkeypatch, capsys, small):
    pytest.importorskip("sklearn")
    counted = []

    def note(*given):
        counted.append(given[2])
        return ""

    monkeypatch.setattr(command.cost, "sentence", note)
    words = [*write_data(tmp_path), "--arm", "plain", "--plan"]
    (tmp_path / "P").mkdir()
    np.save(tmp_path / "P" / "tilt.npy", np.zeros((3, 4, 32, 32, 3), np.uint8))
    c = write_c(tmp_path / "C", [0, 1] * 5)
    assert call(monkeypatch, *words) == 0
    assert call(monkeypatch, *words, "--corruptions", c, "--perturbations", tmp_path / "P") == 0
    (look, attack), (more, same) = counted
    assert (more - look, same) == (10 + 12, attack)


def test_a_plan_of_checkpoints_says_what_they_would_look_at(tmp_path, monkeypatch, capsys):
    folder = write_c(tmp_path / "C", [0, 1] * 5)
    words = ["--checkpoint", "a=wrn-10-1:none", "--corruptions", folder, "-o", tmp_path / "out"]
    assert call(monkeypatch, *words, "--plan") == 0
    said = capsys.readouterr().err
    assert "checkpoints to examine: 1; 10 pictures of 32 px to look at and 0 steps" in said
    assert not list((tmp_path / "out" / "runs").iterdir())
