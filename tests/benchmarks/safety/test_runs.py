"""Runs that go on where they were stopped, what they cost, and PixMix while training."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.safety import cost, data, evaluate, live, runs
from benchmarks.safety import train as training
from benchmarks.safety.arms import Arm
from benchmarks.safety.data import Labelled
from benchmarks.safety.epochs import shelf_epochs
from benchmarks.safety.runs import Job
from benchmarks.safety.train import Keep, Training, epochs_kept, train
from pixmix_cli.mixing.draws import Augmentation, Draws, Round
from pixmix_cli.mixing.mixer import Mixer

pytestmark = pytest.mark.torch

CPU = torch.device("cpu")
TINY = Training(depth=10, width=1, epochs=4, bfloat16=False, stem=2)


def toy(n=64, seed=0):
    """Dark pictures are class 0, light ones class 1."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2
    pictures = rng.integers(0, 100, (n, 32, 32, 3)) + 155 * labels[:, None, None, None]
    return Labelled(pictures.astype(np.uint8), labels.astype(np.int64), ("dark", "light"))


class Killed(Exception):
    """In place of a signal."""


def stopped_at(epochs, number):
    def epoch(n, random):
        if n == number:
            raise Killed
        return epochs(n, random)

    return epoch


@pytest.mark.parametrize("recipe", ["plain", "cutmix"])
def test_a_training_that_was_killed_ends_with_the_same_weights(recipe, tmp_path):
    shown = shelf_epochs(recipe, toy(), CPU)
    whole, loss = train(TINY, shown, 2, CPU, seed=1)
    keep = Keep(tmp_path / "kept.pt", "these", every=0)
    with pytest.raises(Killed):
        train(TINY, stopped_at(shown, 2), 2, CPU, seed=1, keep=keep)
    assert epochs_kept(keep) == 2
    torch.manual_seed(99)  # another process begins with other random numbers
    rest, again = train(TINY, stopped_at(shown, 1), 2, CPU, seed=1, keep=keep)
    assert again == loss
    for one, two in zip(whole.state_dict().values(), rest.state_dict().values()):
        assert torch.equal(one, two)


def test_a_training_kept_with_other_settings_is_not_gone_on_with(tmp_path):
    shown = shelf_epochs("plain", toy(), CPU)
    train(TINY, shown, 2, CPU, seed=1, keep=Keep(tmp_path / "kept.pt", "these", every=0))
    assert epochs_kept(Keep(tmp_path / "kept.pt", "these")) == 4
    assert epochs_kept(Keep(tmp_path / "kept.pt", "others")) == 0


def test_a_broken_file_of_a_kept_training_is_as_none(tmp_path):
    (tmp_path / "kept.pt").write_bytes(b"half a file")
    assert epochs_kept(Keep(tmp_path / "kept.pt", "these")) == 0


def job(tmp_path, exam=None, **changes):
    for folder in ("runs", "weights", "unfinished", "exam"):
        (tmp_path / folder).mkdir(exist_ok=True)
    data.keep(toy(10, seed=1), tmp_path / "exam" / "test.npz")
    kept = data.keep(toy(), tmp_path / "exam" / "train.npz")
    sources = evaluate.Sources(evaluate.Size((1,), 2, 4, 4), with_digits=False)
    settings = {"arm": "plain", "seed": 0, "bake seed": None, **asdict(TINY), **changes}
    arm = Arm("plain", "plain")
    return Job(arm, 0, settings, exam or {}, TINY, sources, "cpu", kept, (), 4, tmp_path)


def test_an_exam_that_changed_is_sat_again_without_training(tmp_path, monkeypatch):
    assert not job(tmp_path).is_done
    runs.do(job(tmp_path), None)
    assert job(tmp_path).is_done
    assert not job(tmp_path, {"exam": 2}).is_done
    assert job(tmp_path, width=2).trained() is None

    def refuse(*arguments):
        raise AssertionError("trained again")

    monkeypatch.setattr(runs, "train", refuse)
    before = json.loads(job(tmp_path).record.read_text())
    runs.do(job(tmp_path, {"exam": 2}), None)
    after = json.loads(job(tmp_path).record.read_text())
    assert after["measures"] == before["measures"]
    assert after["exam"] == 2


def test_costs_are_those_worked_by_hand():
    speed = cost.Speed(training=100, looking=1000, attacking=50)
    # an epoch 5 s, an exam 3 + 2 s; 10 epochs, then 2, then none left: 55, 15 and 5 s on 2 workers
    training_, exam, all_of_it = cost.estimate([10, 2, 0], 500, (3000, 100), speed, workers=2)
    assert (training_, exam, all_of_it) == (50, 5, 55)  # not 75 / 2: one run is not shared
    assert cost.estimate([10, 10, 10], 500, (3000, 100), speed, 2)[2] == 82.5
    said = cost.sentence([10, 2], 500, (3000, 100), speed, 2, "float32")
    assert "2 runs, 2 at once: up to 10 epochs of 500 pictures, 100 pictures/s a process" in said


def test_a_speed_is_measured_without_touching_the_number_of_threads():
    threads = torch.get_num_threads()
    speed = cost.measure(TINY, 2, CPU, steps=1)
    assert min(speed.training, speed.looking, speed.attacking) > 0
    assert torch.get_num_threads() == threads


def test_bfloat16_is_used_where_torch_says_that_the_processor_has_it(monkeypatch):
    for amx, avx, expected in ((True, True, "AMX"), (False, True, "AVX-512"), (False, False, None)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda amx=amx: amx, raising=False)
        monkeypatch.setattr(
            torch.cpu, "_is_avx512_bf16_supported", lambda avx=avx: avx, raising=False
        )
        assert training.fast_bfloat16(CPU) == expected


MIXED = Draws(
    crop=(0, 0, 32, 32), flip=False, mixing=0, mixing_offset=(0.0, 0.0), start=None,
    rounds=(
        Round(None, "add", 0.5, 0.5), Round(Augmentation("equalize"), "multiply", 0.5, 0.5),
        Round(None, "multiply", 0.25, 0.75),
    ),
)  # fmt: skip


def test_without_a_set_only_what_would_have_been_a_mixing_picture_changes():
    drawn = live.without_set(MIXED, live.RECIPE, np.random.default_rng(0))
    assert not drawn.uses_mixing
    assert drawn.rounds[1] == MIXED.rounds[1]
    assert [(r.operation, r.a, r.b) for r in drawn.rounds] == [
        (r.operation, r.a, r.b) for r in MIXED.rounds
    ]
    names = {
        r.augmentation.name
        for seed in range(60)
        for r in live.without_set(MIXED, live.RECIPE, np.random.default_rng(seed)).rounds
        if r.augmentation is not None
    }
    assert len(names) == 13
    Mixer(live.RECIPE).sample(drawn, toy(1).pictures[0], None)


def write_sets(folder):
    """Two sets: a red picture, and a blue one that is twice as wide."""
    for name, colour, shape in (("red", 0, (36, 36)), ("blue", 2, (36, 72))):
        (folder / name).mkdir()
        picture = np.zeros((*shape, 3), np.uint8)
        picture[..., colour] = 255
        Image.fromarray(picture).save(folder / name / "a.png")
    return [f"{folder}/red", f"{folder}/blue"]


def test_a_live_arm_shows_each_copy_again_after_the_last(tmp_path):
    mixing = live.Mixing.load(write_sets(tmp_path))
    grey = Labelled(np.full((40, 32, 32, 3), 128, np.uint8), np.zeros(40, np.int64), ("a",))
    shown = live.live_epochs(grey, mixing, CPU, seed=3, copies=2)
    random = torch.Generator()
    first, labels = shown(0, random)
    assert first.shape == (40, 3, 32, 32)
    assert labels.tolist() == [0] * 40
    assert not torch.equal(first, shown(1, random)[0])
    assert torch.equal(first, shown(2, random)[0])
    coloured = (first[:, 0] != first[:, 2]).any((1, 2))
    assert 0.3 < coloured.float().mean() < 0.9  # about 60 % of samples use the set
    alone = live.live_epochs(grey, None, CPU, seed=3, copies=2)(0, random)[0]
    assert torch.equal(alone[:, 0], alone[:, 2])  # a grey picture by itself stays grey


def test_weights_of_mixing_sets_count_while_training_too(tmp_path):
    red, blue = write_sets(tmp_path)
    mixing = live.Mixing.load([f"{red}:1", f"{blue}:1000000"])
    used = []

    class Noted(list):
        def __getitem__(self, number):
            used.append(number)
            return super().__getitem__(number)

    mixing = replace(mixing, pictures=Noted(mixing.pictures))
    live.live_epochs(toy(40), mixing, CPU, seed=3, copies=1)(0, torch.Generator())
    assert set(used) == {1}
