"""bake, from datasets of every kind."""

from __future__ import annotations

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli, Run, one_line_error, tree
from tests.sources import datasets_in as made

SMALL = ["--preset", "cifar", "--seed", "3", "--mixing-cache", "none"]


@pytest.mark.parametrize("kind", made.KINDS)
def test_every_kind_of_source_is_baked_with_its_labels(
    cli: Cli, mixing: Path, tmp_path: Path, kind: str
) -> None:
    source = made.KINDS[kind](tmp_path / "d")
    out = tmp_path / "o"
    arguments = ["bake", source, "--mixing-set", mixing, "-o", out, "-j", 1, *SMALL]
    code, _, err = cli(*arguments, "--format", "npy", "--shard-size", 4)
    assert code == 0, err
    labels = np.load(out / "copy-000" / "labels.npy").tolist()
    assert labels == (sorted(made.LABELS) if kind == "imagefolder" else made.LABELS)
    assert json.loads((out / "classes.json").read_text()) == made.NAMES
    assert cli("verify", out, "-j", 1, "--rebake-sample", 9)[0] == 0
    assert cli("preview", out, "-o", tmp_path / "sheet.png")[2].count("warning") == 0
    code, _, err = cli(*arguments, "--format", "npy", "--shard-size", 4, "--resume")
    assert "nothing to do" in err


@pytest.mark.parametrize("kind", [pytest.param("cifar.tar.gz", marks=pytest.mark.slow), "parquet"])
def test_workers_make_the_bytes_that_one_process_makes(
    pixmix: Run, mixing: Path, tmp_path: Path, kind: str
) -> None:
    source = made.KINDS[kind](tmp_path / "d")
    for workers in (1, 2):
        done = pixmix(
            "bake", source, "--mixing-set", mixing, "-o", tmp_path / f"o{workers}", "-j", workers,
            "--shard-size", 2, *SMALL,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "o1") == tree(tmp_path / "o2")


def test_row_groups_stay_together_and_every_row_comes_once(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    source = made.parquet(tmp_path / "d")
    out = tmp_path / "o"
    code, _, err = cli("bake", source, "--mixing-set", mixing, "-o", out, "-j", 1, *SMALL)
    assert code == 0, err
    from pixmix_cli.storage import tar

    keys = [int(m.name[:9]) for m in tar.members(out / "copy-000" / "000000.tar")][::3]
    assert sorted(keys) == list(range(9))
    groups = [key // 4 for key in keys]
    assert sum(a != b for a, b in pairwise(groups)) == 2


def test_hostile_names_in_a_tar_lead_nowhere(cli: Cli, mixing: Path, tmp_path: Path) -> None:
    from tests.sources.test_sources import write_tar

    names = ["../../../evil", "/absolute", "a/../../b", "..", "c\\d"]
    members = [
        (f"{n}/x.{e}", d) for n in names for e, d in (("png", made.PNGS[0]), ("cls", b"../x"))
    ]
    (tmp_path / "d").mkdir()
    source = write_tar(tmp_path / "d" / "x.tar", members)
    before = set(tree(tmp_path))
    out = tmp_path / "r" / "o"
    code, _, err = cli(
        "bake", source, "--mixing-set", mixing, "-o", out, "-j", 1, *SMALL, "--format",
        "imagefolder",
    )  # fmt: skip
    assert code == 0, err
    new = set(tree(tmp_path)) - before
    assert all(name.startswith("r/o/") for name in new)
    assert sorted(p.name for p in (out / "copy-000").iterdir()) == ["0 .._x"]
    assert cli("verify", out, "-j", 1)[0] == 0


def test_classes_that_are_not_sorted_keep_their_labels_in_an_imagefolder(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    from torchvision.datasets import ImageFolder

    (tmp_path / "d").mkdir()
    names = np.array(["tench", "goldfish", "a/b"])
    np.savez(tmp_path / "d" / "x.npz", images=made.PIXELS, labels=made.LABELS, classes=names)
    out = tmp_path / "o"
    arguments = ["bake", tmp_path / "d" / "x.npz", "--mixing-set", mixing, "-j", 1, *SMALL]
    code, _, err = cli(*arguments, "-o", out, "--format", "imagefolder")
    assert code == 0, err
    found = ImageFolder(str(out / "copy-000"))
    assert found.classes == ["0 tench", "1 goldfish", "2 a_b"]
    assert sorted(label for _, label in found.samples) == sorted(made.LABELS)
    assert json.loads((out / "classes.json").read_text()) == found.classes
    assert cli("verify", out, "-j", 1)[0] == 0


def test_a_baked_copy_can_be_baked_again(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    for layout in ("webdataset", "npy"):
        out = tmp_path / layout
        arguments = ["--mixing-set", mixing, "-j", 1, *SMALL, "--format", layout]
        assert cli("bake", photos, "-o", out, *arguments)[0] == 0
        code, _, err = cli("bake", out, "-o", tmp_path / "x", *arguments)
        assert code == 2
        assert "copy-000" in one_line_error(err)
        code, _, err = cli("bake", out / "copy-000", "-o", tmp_path / f"again-{layout}", *arguments)
        assert code == 0, err
        names = json.loads((tmp_path / f"again-{layout}" / "classes.json").read_text())
        assert names == ["cat", "dog", "zebra finch"]


@pytest.mark.parametrize("kind", ["webdataset", "cifar", "numpy", "numpy.npz", "list.csv"])
def test_a_source_changed_between_two_runs_is_refused_and_named(
    cli: Cli, mixing: Path, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = made.KINDS[kind](tmp_path / "d")
    arguments = ["--mixing-set", mixing, "-o", tmp_path / "o", "-j", 1, *SMALL]
    assert cli("bake", source, *arguments)[0] == 0
    monkeypatch.setattr(made, "LABELS", made.LABELS[1:] + made.LABELS[:1])
    source = made.KINDS[kind](tmp_path / "e")
    code, _, err = cli("bake", source, *arguments, "--copies", 2, "--resume")
    assert code == 2
    assert "other pictures in SOURCE: 9 then, 9 now" in one_line_error(err)


def test_find_and_bake_work_together(
    pixmix: Run, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    names = b"\0".join(str(p).encode() for p in photos.rglob("*.jpg"))
    done = pixmix(
        "bake", "-", "--mixing-set", mixing, "-o", tmp_path / "o", "-j", 1, *SMALL, stdin=names
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "o" / "classes.json").read_text())[0] == "cat"


def test_a_mixing_set_may_be_piped_in_and_leaves_no_temporary_file(
    pixmix: Run, photos: Path, tmp_path: Path
) -> None:
    stream = pixmix("generate-fractals", "-n", 2, "--size", 32, "-o", "-", text=False).stdout
    # a short path: workers make sockets in there, whose names the system bounds
    with tempfile.TemporaryDirectory() as folder:
        for workers in (1, 2):
            done = pixmix(
                "bake", photos, "--mixing-set", "-", "-o", tmp_path / f"o{workers}", "-j", workers,
                "--preset", "cifar", "--shard-size", 12, stdin=stream, env={"TMPDIR": folder},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        assert list(Path(folder).glob("pixmix-*")) == []
    assert tree(tmp_path / "o1") == tree(tmp_path / "o2")


def test_weights_are_part_of_the_settings_and_hold_in_every_format(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    from PIL import Image

    one = tmp_path / "one"
    one.mkdir()
    Image.new("RGB", (64, 64), "red").save(one / "red.png")
    sets = ["--mixing-set", f"{mixing}:1", "--mixing-set", f"{one}:9"]
    arguments = ["bake", photos, *sets, "-j", 1, *SMALL, "--copies", 4]
    out = tmp_path / "f"
    assert cli(*arguments, "-o", out, "--format", "imagefolder", "--image-format", "png")[0] == 0
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    used = [row["draws"]["mixing_picture"] for row in rows if "mixing_picture" in row["draws"]]
    assert used.count("red.png") > 0.75 * len(used)
    assert len(set(used)) > 1
    assert cli("verify", out, "-j", 1, "--rebake-sample", 5)[0] == 0
    assert cli(*arguments, "-o", tmp_path / "n", "--format", "npy")[0] == 0
    array = np.load(tmp_path / "n" / "copy-001" / "images.npy")
    pictures = [row["path"] for row in rows if row["copy"] == 1]
    for number, path in enumerate(pictures):
        np.testing.assert_array_equal(np.array(Image.open(out / path)), array[number])
    other = ["bake", photos, "--mixing-set", mixing, "--mixing-set", one, "-j", 1, *SMALL]
    code, _, err = cli(*other, "-o", tmp_path / "n", "--format", "npy", "--resume")
    assert code == 2
    assert "--mixing-set weights 1.0,9.0, this run has --mixing-set weights (none)" in err


def test_mixing_sets_in_the_environment_may_have_weights(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIXMIX_BAKE_MIXING_SET", f"{mixing}:2:{photos}:0.5")
    out = tmp_path / "o"
    code, _, err = cli("bake", photos, "-o", out, "-j", 1, *SMALL)
    assert code == 0, err
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["options"]["mixing-set weights"] == [2.0, 0.5]
    assert manifest["inputs"]["mixing-set"]["path"] == [str(mixing), str(photos)]


def test_stdin_is_not_read_twice(cli: Cli, tmp_path: Path) -> None:
    code, _, err = cli("bake", "-", "--mixing-set", "-", "-o", tmp_path / "o")
    assert code == 2
    assert "only once" in one_line_error(err)


@pytest.mark.parametrize("size", [(1, 1), (30_000, 2), (2, 30_000)])
def test_very_small_and_very_long_pictures_are_baked(
    cli: Cli, mixing: Path, tmp_path: Path, size: tuple[int, int]
) -> None:
    from PIL import Image

    (tmp_path / "s" / "c").mkdir(parents=True)
    Image.new("RGB", size, "red").save(tmp_path / "s" / "c" / "odd.jpg")
    Image.new("RGB", size, "red").save(tmp_path / "s" / "c" / "odd.png")
    np.savez(tmp_path / "x.npz", images=np.zeros((2, *size[::-1], 3), np.uint8), labels=[0, 1])
    for source in (tmp_path / "s", tmp_path / "x.npz"):
        for preset in ("cifar", "imagenet"):
            code, _, err = cli(
                "bake", source, "--mixing-set", mixing, "-o", tmp_path / f"{source.name}{preset}",
                "-j", 1, "--preset", preset, "--size", 32, "--mixing-cache", "none",
            )  # fmt: skip
            assert code == 0, err


def test_a_picture_is_told_by_its_bytes_and_not_by_its_ending(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    (tmp_path / "s" / "c").mkdir(parents=True)
    (tmp_path / "s" / "c" / "x.jpg").write_bytes(made.PNGS[0])
    (tmp_path / "s" / "c" / "y.png").write_bytes(made.PNGS[0])
    out = tmp_path / "o"
    arguments = ["bake", tmp_path / "s", "--mixing-set", mixing, "-o", out, "-j", 1, *SMALL]
    code, _, err = cli(*arguments, "--k", 0, "--format", "npy")
    assert code == 0, err
    assert len(np.load(out / "copy-000" / "images.npy")) == 2
