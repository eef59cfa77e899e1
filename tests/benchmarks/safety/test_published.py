"""Published exams, on arrays and folders made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.safety import checkpoints, published
from benchmarks.safety import corruptions as made_here
from benchmarks.safety.network import WideResNet
from pixmix_cli.errors import InputError

pytestmark = pytest.mark.torch

HERE = Path("somewhere")


def red_is_the_class(classes=10, sure=0.0):
    """A network by hand: its answer is the red value of the first pixel."""

    def look(pictures):
        logits = np.zeros((len(pictures), classes), np.float32)
        logits[np.arange(len(pictures)), pictures[:, 0, 0, 0] % classes] = 1 + sure
        return logits

    return look


def showing(answers):
    """Pictures that make such a network give these answers, any shape."""
    answers = np.asarray(answers)
    pictures = np.zeros((*answers.shape, 4, 4, 3), np.uint8)
    pictures[..., 0] = answers[..., None, None]
    return pictures


def warnings_of(function, *arguments):
    said: list[str] = []
    return function(*arguments, said.append), said


def write_c(folder, **answers):
    """Two pictures a severity, whose labels are 0 and 9: a set of ten classes."""
    folder.mkdir()
    np.save(folder / "labels.npy", np.tile([0, 9], 5))
    for name, given in answers.items():
        np.save(folder / f"{name}.npy", showing(given))
    return folder


def test_the_error_is_the_mean_over_severities_and_corruptions(tmp_path):
    right, wrong = [0, 9], [5, 5]
    folder = write_c(
        tmp_path / "CIFAR-10-C-Bar",
        lines=right * 5,
        ripple=right * 3 + wrong * 2,
        sparkles=right * 4 + [0, 5],
    )
    found, said = warnings_of(published.corruptions, folder, red_is_the_class())
    assert found["CIFAR-10-C-Bar error"] == pytest.approx((0 + 0.4 + 0.1) / 3)
    assert found["CIFAR-10-C-Bar: ripple"] == pytest.approx(0.4)
    assert said == []


def test_the_extra_corruptions_are_told_and_not_counted(tmp_path):
    every = dict.fromkeys(published.STANDARD, [0, 9] * 5)
    folder = write_c(tmp_path / "CIFAR-10-C", **every, saturate=[5, 5] * 5)
    found, said = warnings_of(published.corruptions, folder, red_is_the_class())
    assert found["CIFAR-10-C error"] == 0
    assert found["CIFAR-10-C: saturate"] == 1
    assert said == []


def test_where_corruptions_are_missing_the_name_says_so(tmp_path):
    folder = write_c(tmp_path / "C", fog=[0, 9] * 5, snow=[5, 5] * 5)
    found, said = warnings_of(published.corruptions, folder, red_is_the_class())
    assert found["C error (2 of 15)"] == 0.5
    assert "C error" not in found
    assert "lacks gaussian_noise" in said[0]


def test_calibration_is_the_mean_of_each_severity_s_own(tmp_path):
    # severities 1-4 always right, 5 always wrong, at confidence c: gaps 1 - c, and c
    folder = write_c(tmp_path / "set", lines=[0, 9] * 4 + [5, 5])
    look = red_is_the_class(classes=10, sure=2.0)
    c = np.exp(3) / (np.exp(3) + 9)
    found, _ = warnings_of(published.corruptions, folder, look)
    assert found["set calibration"] == pytest.approx((4 * (1 - c) + c) / 5)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: (f / "labels.npy").unlink(), "labels.npy cannot be read"),
        (lambda f: np.save(f / "labels.npy", np.zeros(7, np.int64)), "7 int64 values"),
        (lambda f: np.save(f / "labels.npy", np.zeros(10)), "10 float64 values"),
        (lambda f: np.save(f / "labels.npy", np.arange(10) - 1), "10 int64 values"),
        (lambda f: np.save(f / "fog.npy", showing([0, 1])), "2 pictures and labels.npy 10"),
        (lambda f: np.save(f / "fog.npy", np.zeros((10, 4, 4, 3))), "float64 of shape"),
        (lambda f: np.save(f / "fog.npy", np.zeros((10, 3, 4, 4), np.uint8)), "not 3 channels"),
        (lambda f: (f / "fog.npy").write_bytes(b"half"), "fog.npy cannot be read"),
    ],
)
def test_an_array_that_is_not_as_published_is_one_line(tmp_path, spoil, message):
    folder = write_c(tmp_path / "C", fog=[0, 9] * 5)
    spoil(folder)
    with pytest.raises(InputError, match=message) as error:
        published.corruptions(folder, red_is_the_class(), lambda text: None)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("outputs", [2, 100])
def test_a_network_of_other_classes_is_refused(outputs, tmp_path):
    folder = write_c(tmp_path / "CIFAR-10-C", fog=[0, 9] * 5)
    message = f"CIFAR-10-C has 10 classes and the network {outputs} outputs"
    with pytest.raises(InputError, match=message):
        published.corruptions(folder, red_is_the_class(outputs), lambda text: None)
    with pytest.raises(InputError, match=message):
        published.check_classes(folder, outputs)
    published.check_classes(folder, 10)


def test_classes_of_folders_are_known_before_a_network_is_asked(tmp_path):
    write_classes(tmp_path / "R", n01443537=[1], n01484850=[2])
    write_classes(tmp_path / "C" / "fog" / "1", n01440764=[1], n01443537=[2])
    published.check_classes(tmp_path / "R", 1000)  # two of ImageNet-R's
    published.check_classes(tmp_path / "C", 2)
    for name in ("R", "C"):
        with pytest.raises(InputError, match="2 classes and the network 10 outputs"):
            published.check_classes(tmp_path / name, 10)


def test_flip_probability_is_that_of_the_published_script(tmp_path):
    folder = tmp_path / "P"
    folder.mkdir()
    for name in published.SEQUENCES:
        np.save(folder / f"{name}.npy", showing([[0, 0, 0], [1, 1, 1]]))
    # frame by frame 0 -> 1 -> 0 flips twice; noise is compared with the first frame: once
    np.save(folder / "tilt.npy", showing([[0, 1, 0], [1, 1, 1]]))
    np.save(folder / "shot_noise.npy", showing([[0, 1, 0], [1, 1, 1]]))
    np.save(folder / "speckle_noise.npy", showing([[0, 1, 1], [2, 3, 4]]))
    found, said = warnings_of(published.perturbations, folder, red_is_the_class())
    assert found["P: tilt"] == 0.5
    assert found["P: shot_noise"] == 0.25
    assert found["P: speckle_noise"] == 1
    assert found["P flip rate"] == pytest.approx((0.5 + 0.25) / 10)  # without the extra one
    assert said == []


def test_perturbations_that_are_films_are_one_line(tmp_path):
    (tmp_path / "tilt").mkdir()
    with pytest.raises(InputError, match="films are not read"):
        published.perturbations(tmp_path, red_is_the_class(), lambda text: None)


def write_classes(folder, **answers):
    """A folder a class; each picture's red value is the network's answer."""
    for name, reds in answers.items():
        (folder / name).mkdir(parents=True)
        for number, red in enumerate(reds):
            picture = np.zeros((224, 224, 3), np.uint8)
            picture[..., 0] = red
            Image.fromarray(picture).save(folder / name / f"{number}.png")


def test_imagenet_c_by_its_folders_also_relative_to_alexnet(tmp_path):
    folder = tmp_path / "ImageNet-C"
    for name in published.STANDARD:
        for severity in range(1, 6):
            wrong = [7] if name == "fog" and severity == 5 else [0]
            write_classes(folder / name / str(severity), n01440764=wrong, n01443537=[1])
    found, said = warnings_of(published.corruptions, folder, red_is_the_class(classes=2))
    assert found["ImageNet-C: fog"] == pytest.approx(0.1)  # one of two at one of five severities
    assert found["ImageNet-C error"] == pytest.approx(0.1 / 15)
    assert found["ImageNet-C mCE"] == pytest.approx(0.1 / 0.819324 / 15)
    assert said == []


def test_imagenet_r_compares_its_200_classes_alone(tmp_path):
    # of 1,000 outputs: 1 and 2 are goldfish and great white shark of the 200, 0 is not of them
    write_classes(tmp_path / "R", n01443537=[1, 1], n01484850=[2, 0])

    def look(pictures):
        logits = np.zeros((len(pictures), 1000), np.float32)
        logits[:, 0] = 9  # the tench would win: it is no class of ImageNet-R
        logits[np.arange(len(pictures)), pictures[:, 0, 0, 0]] += 3
        return logits

    found, _ = warnings_of(published.corruptions, tmp_path / "R", look)
    assert found["R error"] == 0.25  # the last picture's answer is none of the 200


def test_the_mask_of_imagenet_r_is_the_published_one():
    places = published.renditions()
    assert len(places) == 200
    assert list(places) == sorted(places)
    assert list(places.values()) == sorted(set(places.values()))
    # some of the class numbers that everybody knows
    known = {"n01443537": 1, "n02123045": 281, "n07753592": 954, "n04522168": 883}
    assert {name: places[name] for name in known} == known
    columns = published.class_columns(sorted(places), 1000, HERE)
    assert columns == list(places.values())
    assert published.class_columns(sorted(places), 200, HERE) == list(range(200))
    with pytest.raises(InputError, match="2 classes and the network 10 outputs"):
        published.class_columns(["n01440764", "n01443537"], 10, HERE)


def test_a_folder_of_another_layout_is_refused(tmp_path):
    (tmp_path / "pictures").mkdir()
    with pytest.raises(InputError, match="laid out like no published set"):
        published.corruptions(tmp_path, red_is_the_class(), lambda text: None)


@pytest.mark.parametrize(
    ("normalise", "mean", "deviation"),
    [
        ("imagenet", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
        ("cifar", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    ],
)
def test_a_torchvision_checkpoint_gives_what_its_network_gives(
    normalise, mean, deviation, tmp_path
):
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    model = squeezenet1_1(weights=None, num_classes=5).eval()
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
    loaded = checkpoints.load(checkpoints.parse(f"mine=squeezenet1_1:{tmp_path}/a.pth", normalise))
    x = torch.rand(2, 3, 64, 64)
    expected = model((x - column(mean)) / column(deviation))
    assert torch.allclose(loaded(x), expected, atol=1e-5)


def column(values):
    return torch.tensor(values)[:, None, None]


def test_a_network_of_the_benchmark_is_a_checkpoint_too(tmp_path):
    torch.manual_seed(0)
    model = WideResNet(10, 1, 4, stem=2).eval()
    kept = {"settings": "these", "model": model.state_dict(), "loss": 0.5, "seconds": 1.0}
    torch.save(kept, tmp_path / "a.pt")
    loaded = checkpoints.load(checkpoints.parse(f"wrn-10-1:{tmp_path}/a.pt"))
    x = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(x), model(x))
    with pytest.raises(InputError, match="no WRN-16-1"):
        checkpoints.load(checkpoints.parse(f"wrn-16-1:{tmp_path}/a.pt"))


def test_a_function_of_one_s_own_is_a_checkpoint(tmp_path, monkeypatch):
    (tmp_path / "my_networks.py").write_text(
        "import torch\n"
        "def good():\n    return torch.nn.Identity().train()\n"
        "def bad():\n    raise RuntimeError('no\\nweights')\n"
        "def wrong():\n    return 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert not checkpoints.load(checkpoints.parse("my_networks:good")).training
    for name, message in (
        ("my_networks:bad", "RuntimeError: no weights"),
        ("my_networks:wrong", "gave a int"),
        ("my_networks:none", "AttributeError"),
        ("no_such_module:f", "neither a torchvision model nor a module"),
    ):
        with pytest.raises(InputError, match=message):
            checkpoints.load(checkpoints.parse(name))


@pytest.mark.parametrize("text", ["resnet50", "a=", "=:x", "a/b=resnet50:x", "resnet50:"])
def test_text_that_names_no_checkpoint_is_refused(text):
    with pytest.raises(InputError, match="--checkpoint"):
        checkpoints.parse(text)


def test_a_missing_file_of_weights_is_one_line(tmp_path):
    with pytest.raises(InputError, match="--checkpoint resnet18"):
        checkpoints.load(checkpoints.parse(f"resnet18:{tmp_path}/none.pth"))


def test_frost_lays_a_fifth_of_a_photograph_over_the_picture():
    dark = np.full((6, 32, 32, 3), 40, np.uint8)
    ice = np.full((200, 300, 3), 100, np.uint8)
    for severity, expected in ((1, 40 + 20), (3, 36 + 40), (5, 30 + 45)):
        frozen = made_here.frost(dark, severity, [ice], seed=1)
        assert frozen.shape == dark.shape
        assert np.abs(frozen.astype(int) - expected).max() <= 1
    patterned = np.random.default_rng(0).integers(0, 256, (200, 300, 3)).astype(np.uint8)
    frozen = made_here.frost(dark, 3, [patterned], seed=1)
    assert np.array_equal(frozen, made_here.frost(dark, 3, [patterned], seed=1))
    assert len({picture.tobytes() for picture in frozen}) == 6  # another place each
    with pytest.raises(ValueError, match="160 pixels"):
        made_here.frost(dark, 1, [ice[:100]])
    with pytest.raises(ValueError, match="severity"):
        made_here.frost(dark, 0, [ice])


def test_large_pictures_cost_as_much_as_their_pixels(tmp_path):
    write_classes(tmp_path / "R", n01443537=[1, 1], n01484850=[2])
    (tmp_path / "R" / "README.txt").write_text("three pictures")
    assert published.passes(tmp_path / "R") == 3 * 7 * 7
