"""render-featvis, end to end, on checkpoints made here."""

from __future__ import annotations

import json
import os
import pickle
import signal
from pathlib import Path

import pytest
import torch
import torchvision
from PIL import Image

from tests.commands.test_faults import close, start, wait_for_rows
from tests.conftest import Cli, one_line_error, tree


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
    from pixmix_cli.pipelines.mixing_set import recipe_of

    code, stdout, _ = cli(*arguments(checkpoint, 2), "-o", tmp_path / "o")
    assert code == 0
    name = stdout.splitlines()[0]
    recipe = recipe_of(Path(name).read_bytes(), name)
    assert recipe is not None
    assert recipe["model"] == "squeezenet1_1"
    assert (recipe["layer"], recipe["index"]) == ("features.3", 0)
    assert recipe["config"]["steps"] == 3


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

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.system, (f"touch {self.path}",)


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


def test_a_hostile_pickle_is_refused_and_not_run(cli: Cli, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    hostile = tmp_path / "hostile.pth"
    torch.save({"state_dict": Bomb(str(victim))}, hostile)
    plain = tmp_path / "plain.pt"
    plain.write_bytes(pickle.dumps(Bomb(str(victim))))
    for path in (hostile, plain):
        code, _, err = cli(*arguments(path), "-o", tmp_path / "o")
        assert code == 2
        assert str(path) in one_line_error(err)
        assert not victim.exists()
