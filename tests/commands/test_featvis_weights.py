"""What render-featvis says of checkpoints, layers and libraries, end to end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from tests.conftest import Cli, Run, one_line_error

pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def state() -> dict[str, torch.Tensor]:
    """squeezenet1_1 with 7 classes."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return dict(torchvision.models.squeezenet1_1(num_classes=7).state_dict())


def arguments(weights: Path, *extra: object) -> list[object]:
    return [
        "render-featvis", "--model", "squeezenet1_1", "--weights", weights, "-n", 2,
        "--size", 32, "--steps", 2, "--batch-size", 2, "--device", "cpu", "-j", 1, *extra,
    ]  # fmt: skip


@pytest.mark.parametrize("name", ["w.pth", "w.bin", "w.ckpt", "w.pth.tar", "w"])
def test_list_layers_reads_every_checkpoint_that_rendering_reads(
    cli: Cli, state: dict[str, Any], tmp_path: Path, name: str
) -> None:
    torch.save(state, tmp_path / name)
    code, out, _ = cli(*arguments(tmp_path / name, "--list-layers", "--json"))
    assert code == 0
    last = json.loads(out.splitlines()[-1])
    assert (last["layer"], last["channels"]) == ("output", 7)


@pytest.mark.parametrize("weights", ["nothere.bin", "nothere.pth", "NO_SUCH_WEIGHTS"])
def test_list_layers_of_weights_that_are_not_there_is_an_error(cli: Cli, weights: str) -> None:
    code, out, err = cli(*arguments(Path(weights), "--list-layers"))
    assert (code, out) == (2, "")
    assert weights in one_line_error(err)


def test_a_backbone_is_drawn_from_with_a_warning(
    cli: Cli, state: dict[str, Any], tmp_path: Path
) -> None:
    torch.save({k: v for k, v in state.items() if "classifier" not in k}, tmp_path / "b.pth")
    code, out, err = cli(*arguments(tmp_path / "b.pth", "-o", tmp_path / "o"))
    assert code == 0
    assert len(out.splitlines()) == 2
    assert "lacks the end of squeezenet1_1" in err
    code, out, _ = cli(*arguments(tmp_path / "b.pth", "--list-layers", "--json"))
    assert "output" not in {json.loads(line)["layer"] for line in out.splitlines()}
    code, _, err = cli(*arguments(tmp_path / "b.pth", "--objective", "logit", "-o", tmp_path / "p"))
    assert code == 2
    assert "classifier.1.weight is missing" in one_line_error(err)
    assert not (tmp_path / "p").exists()


def test_a_list_with_commas_is_the_option_given_several_times(
    cli: Cli, state: dict[str, Any], tmp_path: Path
) -> None:
    torch.save(state, tmp_path / "w.pth")
    commas = arguments(tmp_path / "w.pth", "--layers", "features.3,features.6")
    twice = arguments(tmp_path / "w.pth", "--layers", "features.3", "--layers", "features.6")
    assert cli(*commas, "-o", tmp_path / "o")[0] == 0
    code, _, err = cli(*twice, "-o", tmp_path / "o", "--resume")
    assert code == 0
    assert "nothing to do" in err


@pytest.mark.parametrize(
    ("layers", "hint"),
    [
        ("features.9:12", "--layers features.9 --channels 12"),
        ("features[9]", "Try: features.9"),
        ("features.9,,", "empty name"),
    ],
)
def test_layers_as_other_tools_write_them_are_explained(
    cli: Cli, tmp_path: Path, layers: str, hint: str
) -> None:
    code, _, err = cli(*arguments(Path("random"), "--layers", layers, "-o", tmp_path / "o"))
    assert code == 2
    assert hint in one_line_error(err)


def test_a_network_that_overflows_says_so(cli: Cli, state: dict[str, Any], tmp_path: Path) -> None:
    torch.save({k: v * 1e12 for k, v in state.items()}, tmp_path / "big.pth")
    layer = ("--layers", "features.9")
    code, _, _ = cli(*arguments(tmp_path / "big.pth", *layer, "-o", tmp_path / "o"))
    assert code == 3
    rows = [json.loads(x) for x in (tmp_path / "o" / "errors.jsonl").read_text().splitlines()]
    assert all("overflow" in row["error"] for row in rows)


def test_a_picture_of_one_pixel_is_refused(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli(*arguments(Path("random"), "--size", 1, "-o", tmp_path / "o"))
    assert code == 2
    assert "from 2 to 4096" in one_line_error(err)


@pytest.mark.parametrize(
    ("library", "network"),
    [
        ("torch", ["--weights", "fractals"]),
        ("torchvision", ["--model", "resnet18", "--weights", "random"]),
        ("safetensors", ["--weights", "fractals"]),
    ],
)
def test_a_library_that_is_missing_is_named_with_its_installation(
    pixmix: Run, tmp_path: Path, library: str, network: list[str]
) -> None:
    (tmp_path / f"{library}.py").write_text("raise ModuleNotFoundError('no such module')\n")
    root = Path(__file__).resolve().parents[2]
    done = pixmix(
        "render-featvis", *network, "-n", 1, "-o", tmp_path / "o",
        env={"PYTHONPATH": f"{tmp_path}:{root}"},
    )  # fmt: skip
    assert done.returncode == 2
    line = one_line_error(done.stderr)
    assert f"networks need {library}" in line
    assert f"pip install {library}" in line
