"""PixMix as a transform among others."""

from __future__ import annotations

import itertools
import multiprocessing
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional

from pixmix_cli import PixMix
from pixmix_cli.errors import InputError
from pixmix_cli.mixing import PRESETS, draw
from pixmix_cli.mixing.mixer import Mixer, resize_shorter_side
from pixmix_cli.seeding import Stream, rng_for
from pixmix_cli.sources.mixing_set import open_mixing_set
from pixmix_cli.storage.images import decode_rgb
from tests.conftest import picture

pytestmark = pytest.mark.torch

MIXING = [picture(100 + i, 64, 80) for i in range(4)]
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Counter:
    """Seeds 0, 1, 2, …: can be pickled."""

    def __init__(self) -> None:
        self.number = 0

    def __call__(self) -> int:
        self.number += 1
        return self.number - 1


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.mark.parametrize(("preset", "size"), [("cifar", 32), ("imagenet", 224)])
def test_the_result_has_the_recipes_size_and_the_type_of_what_went_in(
    preset: str, size: int
) -> None:
    mix = PixMix(MIXING, preset=preset)
    pixels = picture(1, 90, 70)
    array = mix(pixels)
    assert array.shape == (size, size, 3)
    assert array.dtype == np.uint8
    pil = mix(Image.fromarray(pixels).convert("L"))
    assert isinstance(pil, Image.Image)
    assert (pil.mode, pil.size) == ("RGB", (size, size))
    tensor = mix(torch.from_numpy(pixels).permute(2, 0, 1))
    assert (tensor.shape, tensor.dtype) == ((3, size, size), torch.uint8)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_pixels_are_those_of_the_draws_of_a_keyed_generator(preset: str) -> None:
    config = PRESETS[preset]
    mix = PixMix(MIXING, config, Counter())
    pixels = picture(1, 50, 40)
    for seed in range(12):
        draws = draw(config, rng_for(seed, Stream.BAKE), pixels.shape[:2], len(MIXING))
        other = resize_shorter_side(MIXING[draws.mixing], config.mixing_size)
        expected = Mixer(config).sample(draws, pixels, other if draws.uses_mixing else None)
        np.testing.assert_array_equal(mix(pixels), expected)


@pytest.mark.parametrize("preset", PRESETS)
def test_with_mean_and_std_the_values_are_those_of_totensor_and_normalize(preset: str) -> None:
    config = PRESETS[preset]
    plain = PixMix(MIXING, config, Counter())
    normalised = PixMix(MIXING, config, Counter(), mean=MEAN, std=STD)
    for seed in range(4):
        pixels = picture(seed, 40, 50)
        expected = functional.normalize(functional.to_tensor(plain(pixels)), MEAN, STD)
        got = normalised(Image.fromarray(pixels))
        assert got.dtype == torch.float32
        assert torch.equal(got, expected)


def test_torchs_generator_decides() -> None:
    mix, pixels = PixMix(MIXING, preset="cifar"), picture(1, 32, 32)
    torch.manual_seed(3)
    made = [mix(pixels) for _ in range(8)]
    torch.manual_seed(3)
    for one in made:
        assert np.array_equal(one, mix(pixels))
    assert len({one.tobytes() for one in made}) > 4


@pytest.mark.parametrize("preset", PRESETS)
def test_a_folder_gives_what_its_decoded_pictures_give(
    mixing: Path, cache: Path, preset: str
) -> None:
    found = open_mixing_set([mixing], print).pictures
    arrays = [decode_rgb(ref.read(), ref.name) for ref in found]
    pixels = picture(1, 40, 60)
    from_arrays = PixMix(arrays, PRESETS[preset], Counter())
    for _ in range(2):  # the second time out of the cache
        from_folder = PixMix(mixing, PRESETS[preset], Counter(), mixing_cache=cache)
        from_arrays._mix._next_seed = Counter()
        for _ in range(30):
            np.testing.assert_array_equal(from_folder(pixels), from_arrays(pixels))
    assert sum(path.stat().st_size for path in cache.rglob("pixels")) > 0


def test_weights_are_a_mapping_or_follow_the_paths(mixing: Path, photos: Path, cache: Path) -> None:
    pixels = picture(1, 32, 32)
    config = PRESETS["cifar"]
    ways: list[Any] = [{mixing: 3, str(photos): 1}, [f"{mixing}:3", f"{photos}:1"]]
    first, second = (PixMix(way, config, Counter(), mixing_cache=cache) for way in ways)
    equal = PixMix([mixing, photos], config, Counter(), mixing_cache=cache)
    made = [(first(pixels), second(pixels), equal(pixels)) for _ in range(40)]
    assert all(np.array_equal(one, two) for one, two, _ in made)
    assert not all(np.array_equal(one, three) for one, _, three in made)


def test_all_mixing_pictures_can_be_decoded_beforehand(mixing: Path, cache: Path) -> None:
    PixMix(MIXING, preset="cifar").decode_all()  # there already
    PixMix(mixing, preset="cifar", mixing_cache=cache).decode_all()
    (pixels,) = cache.rglob("pixels")
    assert pixels.stat().st_size == 6 * 36 * 36 * 3
    before = pixels.stat().st_mtime_ns
    mix = PixMix(mixing, preset="cifar", mixing_cache=cache)
    for _ in range(40):
        mix(picture(1, 32, 32))
    assert pixels.stat().st_mtime_ns == before


@pytest.mark.process
@pytest.mark.parametrize("way", ["spawn", "fork"])
def test_it_goes_to_a_worker_and_mixes_the_same_there(mixing: Path, cache: Path, way: str) -> None:
    mix = PixMix(mixing, PRESETS["cifar"], Counter(), mixing_cache=cache)
    pixels = picture(2, 32, 32)
    mix(pixels)
    sent = pickle.loads(pickle.dumps(mix))
    with multiprocessing.get_context(way).Pool(1) as pool:
        there = pool.map(sent, [pixels] * 20, chunksize=20)
    for one in there:
        assert np.array_equal(one, mix(pixels))


@pytest.mark.process
def test_workers_of_a_loader_and_its_epochs_draw_differently(mixing: Path, cache: Path) -> None:
    mix = PixMix(mixing, preset="cifar", mixing_cache=cache, mean=MEAN, std=STD)
    again: Any = [mix] * 8
    loader: Any = torch.utils.data.DataLoader(
        again, batch_size=None, num_workers=2, collate_fn=_apply
    )
    seen = [tensor.numpy().tobytes() for _ in range(2) for tensor in loader]
    assert len(set(seen)) == 16


def _apply(mix: Any) -> torch.Tensor:
    made: torch.Tensor = mix(picture(5, 32, 32))
    return made


def test_a_mixing_picture_that_cannot_be_read_is_left_out_with_a_warning(
    tmp_path: Path, cache: Path
) -> None:
    (tmp_path / "m").mkdir()
    Image.fromarray(picture(1, 64, 64)).save(tmp_path / "m" / "good.png")
    (tmp_path / "m" / "bad.png").write_bytes(b"no picture")
    mix = PixMix(tmp_path / "m", preset="cifar", mixing_cache=cache)
    with pytest.warns(UserWarning, match=r"bad\.png"):
        assert all(mix(picture(2, 32, 32)).any() for _ in range(40))


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        (([],), ValueError, "at least one"),
        (("nothing/here",), InputError, "does not exist"),
        (({"m": 0.0},), ValueError, "above 0"),
    ],
)
def test_unusable_mixing_sets_are_refused_at_once(
    arguments: tuple[object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        PixMix(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"preset": "mnist"}, "preset must be"),
        ({"mean": MEAN}, "go together"),
        ({"mean": MEAN, "std": (0.2, 0.0, 0.2)}, "std must be above 0"),
        ({"mean": (0.5,), "std": (0.5,)}, "three numbers"),
        ({"size": 0}, "size must be"),
    ],
)
def test_unusable_settings_are_refused_at_once(settings: dict[str, object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PixMix(MIXING, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "wrong", [torch.zeros(3, 32, 32), np.zeros((32, 32), np.uint8), np.zeros((32, 32, 4), np.uint8)]
)
def test_what_is_no_picture_any_more_is_refused(wrong: object) -> None:
    with pytest.raises(TypeError, match="before what converts"):
        PixMix(MIXING, preset="cifar")(wrong)  # type: ignore[arg-type]


def test_an_empty_list_of_arrays_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        PixMix([], PRESETS["cifar"], itertools.count().__next__)


@pytest.mark.process
def test_importing_the_package_imports_nothing_heavy() -> None:
    program = "import sys, pixmix_cli; print(*sorted({'torch', 'numpy', 'PIL'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == ""
