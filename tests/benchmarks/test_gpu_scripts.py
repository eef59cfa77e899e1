"""The scripts for a GPU: what they would choose, and a tiny run of each on whatever is there."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from benchmarks import featvis_gpu, safety_gpu
from benchmarks.safety import __main__ as safety
from benchmarks.safety import evaluate
from benchmarks.safety.cost import Speed
from benchmarks.safety_gpu import Plan, choose
from pixmix_cli.errors import InputError

pytestmark = pytest.mark.torch

LARGE, SMALL = (40, 4), (10, 1)
EXAM = (10_000, 1_000)  # looked at, attacked: 10 + 10 s at the speeds below


def speed(training):
    return Speed(training, looking=1000, attacking=100)


def test_the_largest_network_with_time_for_enough_epochs_is_taken():
    # 640 s for two arms: 300 s of training each, 50 s an epoch of 50,000
    assert choose([(LARGE, speed(10_000))], 640, 50_000, EXAM, 2) == Plan(40, 4, 60)
    assert choose([(LARGE, speed(1_000)), (SMALL, speed(4_000))], 640, 50_000, EXAM, 2) == Plan(
        10, 1, 24
    )


def test_no_network_is_measured_once_one_fits():
    def measured():
        yield LARGE, speed(10_000)
        raise AssertionError("measured another one")

    assert choose(measured(), 640, 50_000, EXAM, 2).depth == 40


def test_epochs_are_never_more_than_the_paper_s():
    assert choose([(LARGE, speed(1e6))], 640, 50_000, EXAM, 2).epochs == safety_gpu.MOST


def test_too_little_time_gives_the_last_network_that_can_be_trained_at_all_or_an_error():
    slow = [(LARGE, speed(400)), (SMALL, speed(100))]
    assert choose(slow, 640, 50_000, EXAM, 2) == Plan(40, 4, 2)
    with pytest.raises(InputError, match="--minutes"):
        choose(slow, 30, 50_000, EXAM, 2)


def write_pictures(folder, count, seed):
    rng = np.random.default_rng(seed)
    for name in ("dark", "light"):
        (folder / name).mkdir(parents=True)
        for number in range(count):
            levels = rng.integers(0, 100, (32, 32, 3)) + 155 * (name == "light")
            Image.fromarray(levels.astype(np.uint8)).save(folder / name / f"{number}.png")


@pytest.mark.process
def test_the_safety_script_runs_small_and_goes_on(tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    write_pictures(tmp_path / "data" / "train", 8, seed=0)
    write_pictures(tmp_path / "data" / "test", 4, seed=1)
    monkeypatch.setattr(safety, "SMOKE_SIZE", evaluate.Size((1,), 2, 4, 4))
    words = ["--smoke", "--data", tmp_path / "data", "--arm", "plain", "-o", tmp_path / "out"]
    monkeypatch.setattr("sys.argv", ["safety_gpu", *map(str, words)])
    assert safety_gpu.main() == 0
    lines = capsys.readouterr().out.splitlines()
    measured, plan = (json.loads(line) for line in lines[:2])
    assert measured["network"] == "WRN-10-1"
    assert plan == {"plan": {"depth": 10, "width": 1, "epochs": 1}, "arms": ["plain"]}
    record = json.loads((tmp_path / "out" / "runs" / "plain-0.json").read_text())
    assert record["training"]["epochs"] == 1
    assert safety_gpu.main() == 0
    lines = capsys.readouterr().out.splitlines()
    assert json.loads(lines[0]) == plan  # nothing is measured again


@pytest.mark.parametrize(
    "changed", [["--data", "other"], ["--minutes", "5"], ["--arm", "cutout"], []]
)
def test_a_plan_made_for_another_command_is_not_taken(changed, tmp_path, monkeypatch, capsys):
    pytest.importorskip("sklearn")
    for name in ("data", "other"):
        write_pictures(tmp_path / name / "train", 4, seed=len(name))
        write_pictures(tmp_path / name / "test", 2, seed=len(name) + 5)
    monkeypatch.setattr(safety, "SMOKE_SIZE", evaluate.Size((1,), 2, 4, 4))
    monkeypatch.setattr(safety, "main", lambda words: 0)
    monkeypatch.chdir(tmp_path)
    words = ["--smoke", "--data", "data", "--arm", "plain", "-o", "out"]
    monkeypatch.setattr("sys.argv", ["safety_gpu", *words])
    assert safety_gpu.main() == 0
    capsys.readouterr()
    monkeypatch.setattr("sys.argv", ["safety_gpu", *words, *changed])
    assert safety_gpu.main() == 0
    assert ("pictures_per_second" in capsys.readouterr().out) == bool(changed)


def test_without_a_gpu_and_without_smoke_the_script_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("sys.argv", ["x", "--data", "digits", "-o", str(tmp_path / "out")])
    assert safety_gpu.main() == 2
    assert "sees no GPU" in capsys.readouterr().err


def test_the_featvis_script_runs_small_and_says_where_lucent_is_missing(monkeypatch, capsys):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    featvis_gpu.main(["--smoke"])
    (record,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert record["lucent"] == "not installed"
    assert record["pictures_per_second"] > 0
    assert record["n"] == 2


def test_the_featvis_script_begins_nothing_when_its_time_is_over(capsys):
    featvis_gpu.main(["--smoke", "--minutes", "-1", "--lucent", "0"])
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "no time left" in shown.err
