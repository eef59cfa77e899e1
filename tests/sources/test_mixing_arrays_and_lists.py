"""Mixing sets as the published code and OpenOOD keep them: arrays, and lists of paths."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.errors import InputError
from pixmix_cli.pipelines.bake.mixing_pictures import MixingPictures
from pixmix_cli.sources.mixing_set import MixingSet, open_mixing_set
from pixmix_cli.storage import images
from tests.conftest import Cli, picture


def opened(path: Path, lines: list[str] | None = None) -> MixingSet:
    return open_mixing_set([path], ([] if lines is None else lines).append)


def pixels_of(mixing: MixingSet, number: int) -> np.ndarray:
    ref = mixing.pictures[number]
    return images.decode_rgb(ref.read(), ref.name)


PIXELS = np.stack([picture(seed, 12, 16) for seed in range(5)])
GREY = np.repeat(PIXELS[..., :1], 3, 3)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [(PIXELS, PIXELS), (PIXELS.transpose(0, 3, 1, 2), PIXELS), (PIXELS[..., 0], GREY)],
)
def test_an_array_is_a_mixing_set(tmp_path: Path, stored: np.ndarray, expected: np.ndarray) -> None:
    np.save(tmp_path / "300K_random_images.npy", np.ascontiguousarray(stored))
    mixing = opened(tmp_path / "300K_random_images.npy")
    assert len(mixing.pictures) == 5
    assert mixing.pictures[3].name == "300K_random_images.npy/000000003"
    for number in range(5):
        np.testing.assert_array_equal(pixels_of(mixing, number), expected[number])
    kept = MixingPictures(mixing, 12)
    np.testing.assert_array_equal(kept.get(2, "fail")[1], expected[2])


def test_the_only_array_of_pictures_in_an_npz_is_one_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", pictures=PIXELS, numbers=np.arange(5))
    np.testing.assert_array_equal(pixels_of(opened(tmp_path / "x.npz"), 1), PIXELS[1])


def test_arrays_of_other_pixels_are_other_mixing_sets(tmp_path: Path) -> None:
    digests = set()
    for array in (PIXELS, PIXELS[::-1], PIXELS):
        np.save(tmp_path / "x.npy", array)
        digests.add(opened(tmp_path / "x.npy").digest)
    assert len(digests) == 2


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PIXELS.astype(np.float32), "pictures are float32"),
        (np.arange(7, dtype=np.uint8), "pictures have shape"),
        (np.array([{}], object), "object"),
    ],
)
def test_arrays_that_are_no_pictures_are_refused(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "x.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=message):
        opened(tmp_path / "x.npy")


def test_a_set_is_baked_with_an_array_and_baked_again(
    cli: Cli, photos: Path, tmp_path: Path
) -> None:
    np.save(tmp_path / "x.npy", PIXELS)
    out = tmp_path / "o"
    more = ("--mixing-set", tmp_path / "x.npy", "--preset", "cifar", "-j", 1, "-o", out)
    assert cli("bake", photos, *more, "--format", "imagefolder")[0] == 0
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    names = {row["draws"].get("mixing_picture") for row in rows} - {None}
    assert names
    assert names <= {f"x.npy/{i:09d}" for i in range(5)}
    assert cli("verify", out, "--rebake-sample", 24, "-j", 1)[0] == 0


# ---------------------------------------------------------------- lists


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder with five pictures in two folders, one of whose names has a blank."""
    for number in range(5):
        folder = tmp_path / "sets" / ("fractals" if number % 2 else "feature vis")
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PIXELS[number]).save(folder / f"{number}.png")
    return tmp_path / "sets"


NAMES = [f"{'fractals' if i % 2 else 'feature vis'}/{i}.png" for i in (4, 0, 1, 3)]
LISTS = {
    "plain.txt": "\n".join(NAMES),
    "crlf.txt": "\ufeff" + "".join(f"{name}\r\n" for name in NAMES),
    "openood.txt": "".join(f"{name} -1\n" for name in NAMES),
    "extra.txt": "".join(f"{name} {{'label': 3}}\n" for name in NAMES),
    "tab.txt": "".join(f"./{name}\t7\n" for name in NAMES) + "\n",
    "mxnet.lst": "".join(f"{i}\t0\t{name}\n" for i, name in enumerate(NAMES)),
    "table.csv": "filename,size\n" + "".join(f"{name},9\n" for name in NAMES),
    "bare.csv": "".join(f"{name},0\n" for name in NAMES),
    "table.tsv": "label\tpath\n" + "".join(f"9\t{name}\n" for name in NAMES),
    "objects.jsonl": "".join(json.dumps({"path": name}) + "\n" for name in NAMES),
}


@pytest.mark.parametrize("name", LISTS)
def test_a_list_is_a_mixing_set_in_its_order(files: Path, name: str) -> None:
    (files / name).write_text(LISTS[name])
    mixing = opened(files / name)
    assert [ref.name for ref in mixing.pictures] == NAMES
    for place, number in enumerate((4, 0, 1, 3)):
        np.testing.assert_array_equal(pixels_of(mixing, place), PIXELS[number])


def test_a_list_elsewhere_may_begin_at_the_current_folder(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "l.txt").write_text(LISTS["plain.txt"])
    monkeypatch.chdir(files)
    np.testing.assert_array_equal(pixels_of(opened(tmp_path / "lists" / "l.txt"), 0), PIXELS[4])


def test_a_list_of_absolute_paths_is_read(files: Path, tmp_path: Path) -> None:
    (tmp_path / "l.txt").write_text("\n".join(str(files / name) for name in NAMES))
    assert pixels_of(opened(tmp_path / "l.txt"), 2).shape == (12, 16, 3)


def test_files_of_a_list_that_do_not_exist_are_told(files: Path) -> None:
    (files / "l.txt").write_text(LISTS["plain.txt"] + "\ngone.png\n")
    lines: list[str] = []
    assert len(opened(files / "l.txt", lines).pictures) == 5
    assert "1 of the 5 files" in lines[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.png\nb.png\n", "none of its 2 files exists, as a.png"),
        ("these are notes\n", "no path of a picture"),
        ("", "holds no pictures"),
    ],
)
def test_lists_that_name_no_pictures_are_refused(files: Path, text: str, message: str) -> None:
    (files / "l.txt").write_text(text)
    with pytest.raises(InputError, match=message):
        opened(files / "l.txt")


def test_lists_and_arrays_have_weights_like_any_set(
    cli: Cli, photos: Path, files: Path, tmp_path: Path
) -> None:
    np.save(files / "x.npy", PIXELS)
    (files / "l.txt").write_text(LISTS["plain.txt"])
    sets: list[Any] = []
    for path in (files / "x.npy", files / "l.txt"):
        sets += ["--mixing-set", f"{path}:1"]
    assert cli("bake", photos, *sets, "-o", tmp_path / "o", "--size", 16, "-j", 1)[0] == 0
