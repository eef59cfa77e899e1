"""bake, end to end: what comes out, and what training libraries make of it."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli, Run, tree

SMALL = ["--size", "32", "--seed", "3"]


def bake(cli: Cli, photos: Path, mixing: Path, out: Path, *more: object) -> dict[str, str]:
    code, stdout, stderr = cli(
        "bake", photos, "--mixing-set", mixing, "-o", out, "-j", 1, *SMALL, *more
    )
    assert code == 0, stderr
    for line in stdout.splitlines():
        assert Path(line).is_file()
    return tree(out)


def samples(path: Path) -> dict[str, dict[str, bytes]]:
    found: dict[str, dict[str, bytes]] = {}
    with tarfile.open(path) as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            data = archive.extractfile(member)
            assert data is not None
            found.setdefault(key, {})[extension] = data.read()
    return found


def test_webdataset_reads_a_baked_set_with_labels_and_counts_right(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    import webdataset as wds

    bake(cli, photos, mixing, tmp_path / "o", "--copies", 2, "--shard-size", 10)
    shards = sorted(str(p) for p in (tmp_path / "o" / "copy-001").glob("*.tar"))
    assert len(shards) == 3
    dataset = wds.WebDataset(shards, shardshuffle=False).decode("pil")
    found = list(dataset.to_tuple("jpg", "cls", "json"))
    assert len(found) == 24
    names = json.loads((tmp_path / "o" / "classes.json").read_text())
    for image, label, record in found:
        assert image.size == (32, 32)
        assert record["key"].split("/")[0] == names[label] == record["class"]
    assert sorted(label for _, label, _ in found) == [0] * 8 + [1] * 8 + [2] * 8


def test_hugging_face_datasets_reads_a_baked_set(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    bake(cli, photos, mixing, tmp_path / "o", "--copies", 2)
    for arguments in (
        {"path": "webdataset", "data_files": {"train": str(tmp_path / "o/copy-*/*.tar")}},
        {"path": str(tmp_path / "o")},  # by the dataset card alone
    ):
        found = datasets.load_dataset(**arguments, split="train", cache_dir=str(tmp_path / "c"))
        assert len(found) == 48
        assert sorted(found["cls"]) == sorted([0, 1, 2] * 16)
        assert found[0]["jpg"].size == (32, 32)


def test_imagefolder_reads_a_baked_set(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    from torchvision.datasets import ImageFolder

    bake(cli, photos, mixing, tmp_path / "o", "--format", "imagefolder", "--copies", 2)
    found = ImageFolder(str(tmp_path / "o" / "copy-001"))
    assert found.classes == ["cat", "dog", "zebra finch"]
    assert [label for _, label in found.samples] == [0] * 8 + [1] * 8 + [2] * 8
    assert found[0][0].size == (32, 32)
    assert Path(found.samples[0][0]).name == "c 0.jpg"


def test_npy_holds_the_pictures_in_source_order(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    bake(cli, photos, mixing, tmp_path / "o", "--format", "npy", "--shard-size", 7)
    images = np.load(tmp_path / "o" / "copy-000" / "images.npy")
    labels = np.load(tmp_path / "o" / "copy-000" / "labels.npy")
    assert (images.shape, images.dtype) == ((24, 32, 32, 3), np.uint8)
    assert labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8


@pytest.mark.parametrize("preset", ["imagenet", "cifar"])
def test_all_formats_hold_the_same_pictures(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, preset: str
) -> None:
    png = ("--image-format", "png", "--preset", preset)
    bake(cli, photos, mixing, tmp_path / "n", "--format", "npy", "--preset", preset)
    bake(cli, photos, mixing, tmp_path / "w", *png)
    bake(cli, photos, mixing, tmp_path / "f", "--format", "imagefolder", *png)
    arrays = np.load(tmp_path / "n" / "copy-000" / "images.npy")
    for key, parts in samples(tmp_path / "w" / "copy-000" / "000000.tar").items():
        pixels = np.array(Image.open(io.BytesIO(parts["png"])))
        np.testing.assert_array_equal(pixels, arrays[int(key)])
        name = json.loads(parts["json"])["key"].rsplit(".", 1)[0]
        loose = np.array(Image.open(tmp_path / "f" / "copy-000" / f"{name}.png"))
        np.testing.assert_array_equal(loose, pixels)


def test_a_picture_can_be_made_again_from_its_record(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    from pixmix_cli.mixing.config import PixMixConfig
    from pixmix_cli.mixing.draws import Draws
    from pixmix_cli.mixing.mixer import crop_mixing, crop_original, pixmix, resize_shorter_side
    from pixmix_cli.storage.images import decode_rgb

    bake(cli, photos, mixing, tmp_path / "o", "--image-format", "png")
    config = PixMixConfig(size=32)
    mixed = 0
    for parts in samples(tmp_path / "o" / "copy-000" / "000000.tar").values():
        record = json.loads(parts["json"])
        told = json.loads(record["draws"])
        draws = Draws.from_json({"mixing": 0, "mixing_offset": [0, 0], **told})
        original = crop_original(
            config, draws, decode_rgb((photos / record["key"]).read_bytes(), "x")
        )
        other = None
        if draws.uses_mixing:
            name = told["mixing_picture"]
            whole = decode_rgb((mixing / name).read_bytes(), name)
            other = crop_mixing(config, draws, resize_shorter_side(whole, config.mixing_size))
            mixed += 1
        stored = np.array(Image.open(io.BytesIO(parts["png"])))
        np.testing.assert_array_equal(pixmix(config, draws, original, other), stored)
    assert mixed > 5


@pytest.mark.process
@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "npy"])
def test_worker_count_never_changes_a_byte(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, layout: str
) -> None:
    one = bake(cli, photos, mixing, tmp_path / "1", "--format", layout, "--shard-size", 5)
    two = bake(cli, photos, mixing, tmp_path / "2", "--format", layout, "--shard-size", 5, "-j", 2)
    assert one == two
    other = bake(cli, photos, mixing, tmp_path / "3", "--format", layout, "--seed", 4)
    assert set(one.values()) & set(other.values()) <= {one["classes.json"], *labels_of(one)}


def labels_of(files: dict[str, str]) -> set[str]:
    return {digest for name, digest in files.items() if name.endswith("labels.npy")}


@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "npy"])
def test_more_copies_with_resume_add_copies_and_touch_nothing_else(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, layout: str
) -> None:
    first = bake(cli, photos, mixing, tmp_path / "o", "--format", layout)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "o" / "copy-000").rglob("*")}
    grown = bake(cli, photos, mixing, tmp_path / "o", "--format", layout, "--copies", 2, "--resume")
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "o" / "copy-000").rglob("*")} == before
    fresh = bake(cli, photos, mixing, tmp_path / "p", "--format", layout, "--copies", 2)
    assert grown == fresh
    assert {n: d for n, d in grown.items() if n.startswith("copy-000")} == {
        n: d for n, d in first.items() if n.startswith("copy-000")
    }


def test_resume_of_a_finished_output_does_nothing(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    before = bake(cli, photos, mixing, tmp_path / "o")
    code, out, err = cli(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL, "--resume"
    )
    assert (code, out) == (0, "")
    assert "nothing to do" in err
    assert tree(tmp_path / "o") == before


def test_a_lost_shard_is_made_again_by_resume(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    before = bake(cli, photos, mixing, tmp_path / "o", "--shard-size", 5)
    (tmp_path / "o" / "copy-000" / "000002.tar").unlink()
    assert bake(cli, photos, mixing, tmp_path / "o", "--shard-size", 5, "--resume") == before


def test_npy_survives_being_stopped_between_joining_two_copies(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pixmix_cli.pipelines.bake.formats import npy

    more = ("--format", "npy", "--copies", 2, "--shard-size", 9)
    quiet = bake(cli, photos, mixing, tmp_path / "quiet", *more)
    append, calls = npy._append, []

    def stop_in_the_second_copy(*arguments: object) -> None:
        calls.append(arguments)
        if len(calls) == 9:
            raise KeyboardInterrupt
        append(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(npy, "_append", stop_in_the_second_copy)
    out = tmp_path / "o"
    code, _, _ = cli("bake", photos, "--mixing-set", mixing, "-o", out, "-j", 1, *SMALL, *more)
    assert code == 130
    assert (out / "copy-000" / "images.npy").exists()
    assert not (out / "copy-001" / "images.npy").exists()
    monkeypatch.undo()
    assert bake(cli, photos, mixing, out, *more, "--resume") == quiet


def test_json_records_tell_what_is_on_disk(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    code, out, _ = cli(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL, "--json", "-j", 1
    )
    assert code == 0
    files = tree(tmp_path / "o")
    records = [json.loads(line) for line in out.splitlines()]
    assert sum(record["count"] for record in records) == 24
    for record in records:
        assert files[record["path"]] == record["sha256"]


def test_dry_run_writes_nothing_and_estimates_well(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL, "-j", 1]
    code, out, _ = cli(*arguments, "--copies", 3, "--dry-run", "--json")
    assert code == 0
    assert not (tmp_path / "o").exists()
    plan = json.loads(out)
    assert (plan["pictures"], plan["shards"], plan["classes"]) == (72, 3, 3)
    bake(cli, photos, mixing, tmp_path / "o", "--copies", 3)
    real = sum(p.stat().st_size for p in (tmp_path / "o").rglob("*.tar"))
    assert 0.8 * real < plan["estimated_bytes"] < 1.2 * real
    code, out, _ = cli(*arguments, "--copies", 4, "--dry-run", "--json", "--resume")
    assert json.loads(out)["done_already"] == 72


def test_dry_run_of_a_refused_run_is_refused_too(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    bake(cli, photos, mixing, tmp_path / "o")
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL]
    assert cli(*arguments, "--dry-run")[0] == 2
    assert cli(*arguments, "--dry-run", "--resume", "--k", 3)[0] == 2


def test_the_cifar_preset_bakes_32_pixels_by_default(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    code, _, err = cli(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", "--preset", "cifar",
        "--format", "npy", "-j", 1,
    )  # fmt: skip
    assert code == 0, err
    assert np.load(tmp_path / "o" / "copy-000" / "images.npy").shape == (24, 32, 32, 3)
    options = json.loads((tmp_path / "o" / "manifest.json").read_text())["options"]
    assert (options["k"], options["beta"], options["severity"]) == (4, 3.0, 3.0)


def test_arrays_of_small_pictures_skip_and_list_what_cannot_be_read(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    cifar = ("--preset", "cifar", "--format", "npy", "--copies", 2)
    bake(cli, photos, mixing, whole, *cifar)
    copied = shutil.copytree(photos, tmp_path / "photos")
    spoilt = sorted(path for path in copied.rglob("*") if path.is_file())[5]
    spoilt.write_bytes(spoilt.read_bytes()[:60])
    code, _, err = cli(
        "bake", copied, "--mixing-set", mixing, "-o", broken, "-j", 1, *SMALL, *cifar
    )
    assert code == 3, err
    for copy in ("copy-000", "copy-001"):
        expected = np.delete(np.load(whole / copy / "images.npy"), 5, axis=0)
        np.testing.assert_array_equal(np.load(broken / copy / "images.npy"), expected)
        labels = np.delete(np.load(whole / copy / "labels.npy"), 5)
        np.testing.assert_array_equal(np.load(broken / copy / "labels.npy"), labels)


def test_names_that_differ_in_the_extension_only_both_survive(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    (tmp_path / "s" / "c").mkdir(parents=True)
    for name in ("a.png", "a.jpg", "b.png"):
        Image.new("RGB", (40, 40), "red").save(tmp_path / "s" / "c" / name)
    bake(cli, tmp_path / "s", mixing, tmp_path / "o", "--format", "imagefolder")
    names = sorted(p.name for p in (tmp_path / "o" / "copy-000" / "c").iterdir())
    assert names == ["a.jpg.jpg", "a.png.jpg", "b.jpg"]


def test_several_mixing_sets_and_tars_are_mixed_together(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    from pixmix_cli.storage.tar import TarWriter

    with (tmp_path / "m.tar").open("wb") as file:
        writer = TarWriter(file)
        writer.add("t.png", (mixing / "m1.png").read_bytes())
        writer.finish()
    bake(cli, photos, mixing, tmp_path / "o", "--mixing-set", tmp_path / "m.tar", "--copies", 3)
    used = set()
    for path in (tmp_path / "o").rglob("*.tar"):
        for parts in samples(path).values():
            used.add(json.loads(json.loads(parts["json"])["draws"]).get("mixing_picture"))
    assert {"m.tar/t.png", "m1.png", "deep/deeper/m0.png"} <= used


def test_bytes_are_the_same_on_a_plain_processor(
    pixmix: Run, cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    here = bake(cli, photos, mixing, tmp_path / "here")
    plain = {"NUMBA_CPU_NAME": "generic"}
    done = pixmix(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "there", "-j", 1, *SMALL, env=plain
    )
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "there") == here


def test_a_dry_run_keeps_the_decoded_pictures_of_two_mixing_sets_apart(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    for out, size in (("a", 32), ("b", 64)):  # the smaller pictures would be too small to crop
        arguments = ["--mixing-set", mixing, "-o", tmp_path / out, "--size", size]
        code, _, err = cli("bake", photos, *arguments, "--mixing-cache", cache, "--dry-run")
        assert code == 0, err
    assert sorted(path.is_dir() for path in cache.iterdir()) == [True, True]


@pytest.mark.process
def test_a_bake_imports_no_torch(photos: Path, mixing: Path, tmp_path: Path) -> None:
    code = (
        "import sys\nfrom pixmix_cli.main import main\n"
        "try:\n    main()\nexcept SystemExit as end:\n    assert not end.code\n"
        "assert not {'numba', 'torch', 'fsspec'} & set(sys.modules)"
    )
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", "-j", 1, *SMALL]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
