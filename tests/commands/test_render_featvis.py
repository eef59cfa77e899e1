"""render-featvis, end to end, on checkpoints made here."""

from __future__ import annotations

import errno
import json
import os
import pickle
import signal
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image

import featvis.render  # noqa: F401  (tests put their own render into the module)
from pixmix_cli.errors import StorageError
from tests.commands.test_faults import close, start, wait_for_rows
from tests.conftest import Cli, one_line_error, picture, tree

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """squeezenet1_1 with 7 classes, wrapped and prefixed as trainers do."""
    path = tmp_path_factory.mktemp("weights") / "tuned.pth"
    with torch.random.fork_rng():
        torch.manual_seed(0)
        state = torchvision.models.squeezenet1_1(num_classes=7).state_dict()
    wrapped = {"epoch": 3, "state_dict": {f"module.{k}": v for k, v in state.items()}}
    torch.save(wrapped, path)
    return path


def arguments(checkpoint: Path, count: int = 6) -> list[object]:
    return [
        "render-featvis", "--model", "squeezenet1_1", "--weights", checkpoint, "-n", count,
        "--layers", "features.3", "--layers", "features.6", "--size", 48, "--steps", 3,
        "--batch-size", 2, "--device", "cpu", "-j", 1,
    ]  # fmt: skip


def test_pictures_of_a_fine_tuned_network_without_naming_its_classes(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    code, stdout, err = cli(*arguments(checkpoint), "-o", tmp_path / "o", "--json")
    assert code == 0, err
    records = [json.loads(line) for line in stdout.splitlines()]
    assert sorted(record["index"] for record in records) == list(range(6))
    assert {record["layer"] for record in records} == {"features.3", "features.6"}
    for record in records:
        with Image.open(tmp_path / "o" / record["path"]) as image:
            assert image.size == (48, 48)
    options = json.loads((tmp_path / "o" / "manifest.json").read_text())["options"]
    assert options["weights"].startswith("sha256:")
    assert cli("verify", tmp_path / "o")[0] == 0


def test_the_picture_tells_how_it_was_made(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    from pixmix_cli.storage.images import recipe_of

    code, stdout, _ = cli(*arguments(checkpoint, 2), "-o", tmp_path / "o")
    assert code == 0
    name = stdout.splitlines()[0]
    recipe = recipe_of(Path(name).read_bytes(), name)
    assert recipe is not None
    assert recipe["model"] == "squeezenet1_1"
    assert (recipe["layer"], recipe["index"]) == ("features.3", 0)
    assert recipe["config"]["steps"] == 3


def test_the_picture_tells_its_tone_where_it_has_one(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    from pixmix_cli.storage.images import recipe_of

    told = []
    for number, more in enumerate(([], ["--contrast", 0.5], ["--saturation", 2])):
        code, stdout, _ = cli(*arguments(checkpoint, 1), "-o", tmp_path / str(number), *more)
        assert code == 0
        recipe = recipe_of(Path(stdout.strip()).read_bytes(), "picture")
        assert recipe is not None
        told.append({name: recipe[name] for name in recipe if name in ("contrast", "saturation")})
    assert told == [{}, {"contrast": 0.5}, {"saturation": 2.0}]


def test_another_tone_is_told_with_both_numbers(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    again = [*arguments(checkpoint, 1), "-o", tmp_path / "o", "--resume"]
    assert cli(*again)[0] == 0
    code, _, err = cli(*again, "--saturation", 2)
    assert code == 2
    assert "--saturation 1.0, this run has --saturation 2.0" in one_line_error(err)


def test_workers_and_growing_never_change_a_byte_on_the_cpu(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    assert cli(*arguments(checkpoint, 7), "-o", tmp_path / "1")[0] == 0
    assert cli(*arguments(checkpoint, 7), "-o", tmp_path / "2", "-j", 2)[0] == 0
    assert cli(*arguments(checkpoint, 3), "-o", tmp_path / "3")[0] == 0
    assert cli(*arguments(checkpoint, 7), "-o", tmp_path / "3", "--resume")[0] == 0
    assert cli(*arguments(checkpoint, 7), "-o", tmp_path / "4", "--seed", 1)[0] == 0
    one = tree(tmp_path / "1")
    assert one == tree(tmp_path / "2")
    assert one == tree(tmp_path / "3")
    assert set(one.values()).isdisjoint(tree(tmp_path / "4").values())


def test_a_run_killed_with_kill_9_and_resumed_equals_an_uninterrupted_one(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    assert cli(*arguments(checkpoint, 12), "-o", tmp_path / "quiet")[0] == 0
    out = tmp_path / "o"
    process = start([*arguments(checkpoint, 12), "-o", out])
    wait_for_rows(process, out, 2)
    os.kill(process.pid, signal.SIGKILL)
    close(process)
    assert not (out / "manifest.json").exists()
    assert cli(*arguments(checkpoint, 12), "-o", out, "--resume")[0] == 0
    assert tree(out) == tree(tmp_path / "quiet")


def test_ctrl_c_in_the_middle_of_a_batch_keeps_what_is_finished(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    grouped = [*arguments(checkpoint, 12), "--steps", 40, "--diversity", 2]
    assert cli(*grouped, "-o", tmp_path / "quiet")[0] == 0
    out = tmp_path / "o"
    process = start([*grouped, "-o", out])
    wait_for_rows(process, out, 2)
    os.killpg(process.pid, signal.SIGINT)
    stderr = close(process)
    assert process.returncode == 130
    assert "--resume" in one_line_error(stderr)
    whole = tree(tmp_path / "quiet")
    kept = {name: digest for name, digest in tree(out).items() if name.endswith(".jpg")}
    assert 2 <= len(kept) < 12
    assert kept.items() <= whole.items()
    assert cli(*grouped, "-o", out, "--resume")[0] == 0
    assert tree(out) == whole


def test_a_full_disk_is_one_line_and_resume_finishes(
    cli: Cli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pixmix_cli.storage.files import PartialFile

    whole, written = PartialFile.write, []

    def full(self: PartialFile, data: bytes) -> None:
        written.append(1)
        if len(written) > 3:
            raise StorageError.from_os_error(OSError(errno.ENOSPC, "No space"), str(tmp_path))
        whole(self, data)

    monkeypatch.setattr(PartialFile, "write", full)
    code, _, err = cli(*arguments(checkpoint, 6), "-o", tmp_path / "o")
    assert code == 1
    assert "no space left" in one_line_error(err)
    assert len(list((tmp_path / "o").rglob("*.jpg"))) == 2  # the first batch, whole
    monkeypatch.undo()
    assert cli(*arguments(checkpoint, 6), "-o", tmp_path / "o", "--resume")[0] == 0
    assert cli(*arguments(checkpoint, 6), "-o", tmp_path / "quiet")[0] == 0
    assert tree(tmp_path / "o") == tree(tmp_path / "quiet")


def test_tar_shards_hold_the_same_pictures_in_order(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    import tarfile

    assert cli(*arguments(checkpoint, 5), "-o", tmp_path / "f")[0] == 0
    more = ["--format", "webdataset", "--shard-size", 3]
    assert cli(*arguments(checkpoint, 5), "-o", tmp_path / "t", *more)[0] == 0
    found = {}
    for path in sorted((tmp_path / "t").glob("*.tar")):
        with tarfile.open(path) as archive:
            for name in archive.getnames():
                found[name] = archive.extractfile(name).read()  # type: ignore[union-attr]
    assert list(found) == [f"{i:06d}.jpg" for i in range(5)]
    assert found == {p.name: p.read_bytes() for p in (tmp_path / "f").rglob("*.jpg")}


def test_list_layers_downloads_nothing(cli: Cli) -> None:
    code, stdout, _ = cli("render-featvis", "--model", "resnet18", "--list-layers")
    assert code == 0
    line = next(line for line in stdout.splitlines() if line.startswith("layer3 "))
    assert "256" in line.split()
    code, stdout, _ = cli("render-featvis", "--model", "resnet18", "--list-layers", "--json")
    layers = {json.loads(line)["layer"] for line in stdout.splitlines()}
    assert layers >= {"layer1", "layer4.1.conv2"}


def test_random_weights_need_no_file(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli(
        "render-featvis", "--model", "squeezenet1_1", "--weights", "random", "-n", 2, "--size", 48,
        "--steps", 2, "--batch-size", 2, "--layers", "features.3", "-o", tmp_path / "o", "-j", 1,
        "--device", "cpu",
    )  # fmt: skip
    assert code == 0, err


def test_without_a_model_the_network_of_our_own_is_offered_not_taken(
    cli: Cli, tmp_path: Path
) -> None:
    base = ["render-featvis", "-n", 1, "--size", 32, "--steps", 1, "-o", tmp_path / "o", "-j", 1]
    code, _, err = cli(*base)
    assert code == 2
    assert "--weights fractals" in one_line_error(err)
    code, _, err = cli(*base, "--weights", "fractals", "--layers", "features.3", "--device", "cpu")
    assert code == 0, err


class Bomb:
    """Writes a file when unpickled."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.system, (f"touch {self.path}",)


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "manifest.jsonl").read_text().splitlines()]


KINDS: dict[str, list[object]] = {
    "neuron": ["--objective", "neuron", "-n", 5],
    "direction": ["--pairs", 5, "--mix", 3],
    "layer": ["--objective", "layer", "-n", 5],
    "diverse": ["--diversity", 2, "-n", 5],
}


def wish(checkpoint: Path, *more: object, layer: str = "features.3") -> list[object]:
    return [
        "render-featvis", "--model", "squeezenet1_1", "--weights", checkpoint, "--layers", layer,
        "--size", 48, "--steps", 2, "--batch-size", 4, "--device", "cpu", "-j", 1, *more,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "kind",
    [pytest.param(k, marks=() if k == "diverse" else pytest.mark.slow) for k in KINDS],
)
def test_every_objective_grows_to_the_bytes_of_a_run_at_once(
    cli: Cli, checkpoint: Path, tmp_path: Path, kind: str
) -> None:
    whole = wish(checkpoint, *KINDS[kind])
    part = [3 if value == 5 else value for value in whole]
    assert cli(*whole, "-o", tmp_path / "1", "-j", 2)[0] == 0
    assert cli(*part, "-o", tmp_path / "2")[0] == 0
    assert cli(*whole, "-o", tmp_path / "2", "--resume")[0] == 0
    assert tree(tmp_path / "1") == tree(tmp_path / "2")
    assert len({row["sha256"] for row in rows(tmp_path / "1")}) == 5


def test_rows_and_recipes_tell_the_objective(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    from pixmix_cli.storage.images import recipe_of

    assert cli(*wish(checkpoint, "--pairs", 2), "-o", tmp_path / "o")[0] == 0
    row = rows(tmp_path / "o")[0]
    assert row["objective"] == "direction"
    assert len(row["channels"]) == len(row["weights"]) == 2
    path = tmp_path / "o" / row["path"]
    recipe = recipe_of(path.read_bytes(), path.name)
    assert recipe is not None
    assert {key: recipe[key] for key in ("objective", "channels", "weights")} == {
        key: row[key] for key in ("objective", "channels", "weights")
    }


def test_another_objective_is_another_set_and_cannot_be_resumed(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    assert cli(*wish(checkpoint, "-n", 2), "-o", tmp_path / "o")[0] == 0
    neurons = wish(checkpoint, "-n", 2, "--objective", "neuron")
    code, _, err = cli(*neurons, "-o", tmp_path / "o", "--resume")
    assert code == 2
    assert "--objective" in one_line_error(err)


def test_logits_are_the_classes_of_the_checkpoint(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    arguments = wish(checkpoint, "--objective", "logit", layer="auto")
    assert cli(*arguments, "-o", tmp_path / "o")[0] == 0
    found = rows(tmp_path / "o")
    assert [row["channel"] for row in found] == list(range(7))
    assert {row["layer"] for row in found} == {"output"}
    options = json.loads((tmp_path / "o" / "manifest.json").read_text())["options"]
    assert options["network-size"] == 224  # what the network was trained at, not the picture's 48


def test_pictures_of_a_group_are_made_together_again_when_one_is_lost(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    arguments = wish(checkpoint, "--diversity", 3, "--channels", "1-2")
    assert cli(*arguments, "-o", tmp_path / "o")[0] == 0
    found = rows(tmp_path / "o")
    assert [row["channel"] for row in found] == [1, 1, 1, 2, 2, 2]
    before = tree(tmp_path / "o")
    (tmp_path / "o" / found[4]["path"]).unlink()
    assert cli(*arguments, "-o", tmp_path / "o", "--resume")[0] == 0
    assert tree(tmp_path / "o") == before


def test_dreams_start_from_every_picture_in_every_layer(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    for number in range(2):
        Image.fromarray(picture(number, 60, 90)).save(given / f"{number}.png")
    arguments = wish(checkpoint, "--layers", "features.6", "--init", given)
    assert cli(*arguments, "-o", tmp_path / "o")[0] == 0
    found = rows(tmp_path / "o")
    assert [(row["layer"], row["init"]) for row in found] == [
        ("features.3", "0.png"), ("features.6", "0.png"),
        ("features.3", "1.png"), ("features.6", "1.png"),
    ]  # fmt: skip
    assert {row["objective"] for row in found} == {"layer"}
    for row in found:
        with Image.open(tmp_path / "o" / row["path"]) as image:
            dream = np.asarray(image, float).mean(2)
        with Image.open(given / row["init"]) as image:
            start = np.asarray(image.crop((15, 0, 75, 60)).resize((48, 48)), float).mean(2)
        assert np.corrcoef(dream.ravel(), start.ravel())[0, 1] > 0.8
    Image.fromarray(picture(9, 60, 90)).save(given / "0.png")
    code, _, err = cli(*arguments, "-o", tmp_path / "o", "--resume")
    assert code == 2
    assert "init" in one_line_error(err)


def test_an_unreadable_picture_among_those_given_is_skipped_and_listed(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    given = tmp_path / "given"
    given.mkdir()
    Image.fromarray(picture(0, 60, 60)).save(given / "a.png")
    (given / "b.jpg").write_text("Dear Sir or Madam, this is no picture.")
    code, _, _ = cli(*wish(checkpoint, "--init", given), "-o", tmp_path / "o")
    assert code == 3
    assert "b.jpg" in (tmp_path / "o" / "errors.jsonl").read_text()


def test_given_pictures_that_cannot_be_used_get_one_line(
    cli: Cli, checkpoint: Path, tmp_path: Path
) -> None:
    lie = tmp_path / "lie.jpg"
    lie.write_text("Dear Sir or Madam, this is no picture.")
    empty = tmp_path / "empty"
    empty.mkdir()
    for path in (lie, empty, tmp_path / "nowhere.png"):
        code, _, err = cli(*wish(checkpoint, "--init", path), "-o", tmp_path / "o")
        assert code == 2
        assert path.name in one_line_error(err)
        assert not (tmp_path / "o").exists()


def test_a_gpu_out_of_memory_gets_smaller_batches_and_loses_no_picture(
    cli: Cli, checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, sizes = sys.modules["featvis.render"].render, []

    def cramped(network, layer, goals, config, rngs, **more):
        sizes.append(config.batch_size)
        if config.batch_size > 1:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return whole(network, layer, goals, config, rngs, **more)

    monkeypatch.setattr(sys.modules["featvis.render"], "render", cramped)
    assert cli(*wish(checkpoint, "-n", 6), "-o", tmp_path / "o")[0] == 0
    assert sizes[:3] == [4, 2, 1]
    assert set(sizes[2:]) == {1}
    assert len(rows(tmp_path / "o")) == 6
    monkeypatch.undo()
    alone = [1 if value == 4 else value for value in wish(checkpoint, "-n", 6)]
    assert cli(*alone, "-o", tmp_path / "a")[0] == 0
    pixels = [Image.open(tmp_path / f / "000" / "000003.jpg").tobytes() for f in "oa"]
    assert pixels[0] == pixels[1]


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), "too little memory"),
        (RuntimeError("CUDA error: unspecified launch failure\nand more"), "--resume"),
    ],
)
def test_a_gpu_that_fails_for_good_ends_the_run_in_one_line_and_keeps_what_is_finished(
    cli: Cli,
    checkpoint: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    message: str,
) -> None:
    whole, calls = sys.modules["featvis.render"].render, []

    def failing(network, *arguments, **more):
        calls.append(1)
        if len(calls) > 1:
            monkeypatch.setattr(network, "device", "cuda")
            raise error
        return whole(network, *arguments, **more)

    monkeypatch.setattr(sys.modules["featvis.render"], "render", failing)
    code, stdout, err = cli(*wish(checkpoint, "-n", 8), "-o", tmp_path / "o")
    assert code == 1
    assert message in one_line_error(err)
    assert len(stdout.splitlines()) == 4
    monkeypatch.undo()
    assert cli(*wish(checkpoint, "-n", 8), "-o", tmp_path / "o", "--resume")[0] == 0
    assert len(rows(tmp_path / "o")) == 8


class Placed:
    """Tells where each task would be done."""

    def __init__(self, gpus: int) -> None:
        from pixmix_cli.pipelines.engines import worker
        from pixmix_cli.pipelines.mixing_sets.featvis import device_of

        self.place = device_of("cuda", gpus, worker.place())

    def __call__(self, task: int) -> str:
        time.sleep(0.5)
        return self.place


def test_two_gpus_get_a_process_each() -> None:
    from pixmix_cli.pipelines.engines.local import run_tasks

    places = list(run_tasks(Placed, (2,), range(6), 2, str))
    assert set(places) == {"cuda:0", "cuda:1"}
    assert set(run_tasks(Placed, (1,), range(2), 1, str)) == {"cuda"}


def test_a_plan_for_several_gpus_has_no_more_workers_than_gpus(
    checkpoint: Path, tmp_path: Path
) -> None:
    from featvis import FeatVisConfig
    from pixmix_cli.outputs.destination import Destination
    from pixmix_cli.pipelines.mixing_sets.featvis import NetworkChoice, Wishes, plan_featvis
    from pixmix_cli.pipelines.mixing_sets.job import MixingSetJob

    wishes = Wishes(("features.3",), None, 2)
    for gpus, workers in ((1, 1), (2, 2), (8, 4)):
        choice = NetworkChoice("squeezenet1_1", str(checkpoint), "cuda", 0, gpus)
        job = MixingSetJob(Destination(tmp_path / "o"), workers=4)
        made = plan_featvis(choice, wishes, FeatVisConfig(), job)
        assert (made.job.workers, made.overlapped) == (workers, gpus == 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--model", "squeezenet1_2"], "squeezenet1_1"),
        (["--layers", "featurs.3"], "features.3"),
        (["--channels", "9999"], "channels"),
        (["--weights", "nowhere.pth"], "nowhere.pth"),
        (["--model", "resnet18"], "conv1.weight"),
        (["--steps", "0"], "steps"),
        (["--size", "0"], "size"),
        (["--network-size", "8", "--layers", "features.12"], "smallest that works"),
        (["--pairs", "3"], "--count"),
        (["--objective", "direction", "--channels", "2"], "needs more than the 1 of features.3"),
        (["--mix", "3"], "--mix"),
        (["--objective", "neuron", "--channels", "0-128"], "0 to 127"),
        (["--objective", "layer", "--channels", "3"], "--channels"),
        (["--objective", "logit"], "--layers"),
        (["--objective", "neuron", "--init", "x.png"], "--init"),
        (["--diversity", "3"], "batch of 2"),
        (["--diversity", "2", "--objective", "layer"], "--diversity"),
        (["--diversity", "2", "--layers", "output"], "is a map"),
    ],
)
def test_bad_wishes_get_one_line_with_a_mend(
    cli: Cli, checkpoint: Path, tmp_path: Path, change: list[str], message: str
) -> None:
    code, _, err = cli(*arguments(checkpoint), "-o", tmp_path / "o", *change)
    assert code == 2
    assert message in one_line_error(err)
    assert not (tmp_path / "o").exists()


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    code, _, err = cli(*arguments(checkpoint), "-o", tmp_path / "o", "--device", "cuda")
    assert code == 2
    assert "--device" in one_line_error(err)


def test_a_truncated_checkpoint_is_named(cli: Cli, checkpoint: Path, tmp_path: Path) -> None:
    cut = tmp_path / "cut.pth"
    cut.write_bytes(checkpoint.read_bytes()[:-5000])
    code, _, err = cli(*arguments(cut), "-o", tmp_path / "o")
    assert code == 2
    assert "cut.pth is damaged or cut short" in one_line_error(err)
    assert not (tmp_path / "o").exists()


def test_a_hostile_pickle_is_refused_and_not_run(cli: Cli, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    hostile = tmp_path / "hostile.pth"
    torch.save({"state_dict": Bomb(str(victim))}, hostile)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(Bomb(str(victim))))
    before = {path: path.read_bytes() for path in (hostile, plain)}
    for path in before:
        code, _, err = cli(*arguments(path), "-o", tmp_path / "o")
        assert code == 2
        assert str(path) in one_line_error(err)
        assert not victim.exists()
        assert path.read_bytes() == before[path]
