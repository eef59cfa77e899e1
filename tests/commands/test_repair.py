"""verify --repair and --rebake-sample: what is broken becomes the original bytes, or is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Cli, one_line_error, tree

pytestmark = pytest.mark.long

LAYOUTS = ["webdataset", "imagefolder", "npy"]


@pytest.fixture
def inputs(photos: Path, mixing: Path, tmp_path: Path) -> tuple[Path, Path]:
    """Copies of a dataset and a mixing set that a test may change."""
    shutil.copytree(photos, tmp_path / "photos")
    shutil.copytree(mixing, tmp_path / "mixing")
    return tmp_path / "photos", tmp_path / "mixing"


@pytest.fixture(params=LAYOUTS)
def baked(
    request: pytest.FixtureRequest, cli: Cli, inputs: tuple[Path, Path], tmp_path: Path
) -> Path:
    return bake(cli, inputs, tmp_path / "o", "--format", request.param)


@pytest.fixture
def tars(cli: Cli, inputs: tuple[Path, Path], tmp_path: Path) -> Path:
    return bake(cli, inputs, tmp_path / "o")


def bake(cli: Cli, inputs: tuple[Path, Path], out: Path, *more: object) -> Path:
    code, _, err = cli(
        "bake", inputs[0], "--mixing-set", inputs[1], "-o", out, "--size", 32, "--copies", 2,
        "--shard-size", 7, "--seed", 5, "--quality", 90, "-j", 1, *more,
    )  # fmt: skip
    assert code == 0, err
    return out


def artefacts(out: Path) -> list[Path]:
    return sorted(p for p in out.rglob("*") if p.is_file() and p.parent != out)


def flip(path: Path, place: float) -> None:
    data = bytearray(path.read_bytes())
    data[int(len(data) * place)] ^= 4
    path.write_bytes(data)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: -path.stat().st_size // 3])


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.process)])
def test_missing_cut_and_flipped_artefacts_become_the_original_bytes(
    cli: Cli, baked: Path, workers: int
) -> None:
    before = tree(baked)
    found = [path for path in artefacts(baked) if path.name != "labels.npy"]
    if len(found) == 2:  # the arrays of two copies
        flip(found[0], 0.4)
        cut(found[1])
        (found[1].parent / "labels.npy").unlink()
    else:
        found[0].unlink()
        cut(found[1])
        flip(found[2], 0.3)
        flip(found[-1], 0.9)
    code, out, err = cli("verify", baked, "--repair", "-j", workers)
    assert code == 0, out + err
    assert tree(baked) == before
    assert cli("verify", baked, "-j", 1)[:2] == (0, "")


def test_what_is_whole_is_not_touched(cli: Cli, baked: Path) -> None:
    victim = artefacts(baked)[0]
    before = {path: path.stat().st_mtime_ns for path in artefacts(baked)}
    cut(victim)
    assert cli("verify", baked, "--repair", "-j", 1)[0] == 0
    changed = {path for path in artefacts(baked) if path.stat().st_mtime_ns != before[path]}
    assert changed <= {victim, victim.with_name("labels.npy")}
    assert victim in changed


def test_a_damaged_header_of_an_array_is_mended_without_the_slices(
    cli: Cli, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = bake(cli, inputs, tmp_path / "o", "--format", "npy")
    before = tree(out)
    with (out / "copy-001" / "images.npy").open("r+b") as file:
        file.write(b"\0\0\0")
    assert cli("verify", out, "--repair", "-j", 1)[0] == 0
    assert tree(out) == before


def test_repair_says_what_it_did(cli: Cli, tars: Path) -> None:
    cut(tars / "copy-001" / "000002.tar")
    code, out, _ = cli("verify", tars, "--repair", "-j", 1, "--json")
    assert code == 0
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[-1] == {"path": "copy-001/000002.tar", "repaired": "baked again"}
    assert all("problem" in row for row in rows[:-1])


def test_leftovers_of_our_own_are_removed_and_other_peoples_files_stay(
    cli: Cli, tars: Path
) -> None:
    before = tree(tars)
    shutil.copytree(tars / "copy-000", tars / "copy-007")
    (tars / ".pixmix" / "tmp").mkdir(parents=True)
    (tars / ".pixmix" / "tmp" / "1-1").write_bytes(b"x")
    shutil.copy(tars / "manifest.jsonl", tars / ".pixmix" / "journal.jsonl")
    code, _, _ = cli("verify", tars, "--repair", "-j", 1)
    assert code == 0
    assert tree(tars) == before
    assert not (tars / "copy-007").exists()
    (tars / "copy-000" / "mine.png").write_bytes(b"x")
    code, out, _ = cli("verify", tars, "--repair", "-j", 1)
    assert code == 1
    assert "mine.png: is not in manifest.jsonl" in out
    assert (tars / "copy-000" / "mine.png").exists()


@pytest.mark.parametrize("name", ["classes.json", "README.md"])
def test_the_small_files_beside_the_manifest_are_written_again(
    cli: Cli, tars: Path, name: str
) -> None:
    before = tree(tars)
    (tars / name).unlink()
    assert cli("verify", tars, "-j", 1)[0] == 1
    assert cli("verify", tars, "--repair", "-j", 1)[0] == 0
    assert tree(tars) == before


def test_a_changed_source_is_refused_and_named(
    cli: Cli, tars: Path, inputs: tuple[Path, Path]
) -> None:
    cut(tars / "copy-000" / "000000.tar")
    damaged = tree(tars)
    next((inputs[0] / "cat").iterdir()).unlink()
    code, _, err = cli("verify", tars, "--repair", "-j", 1)
    assert code == 2
    assert "other pictures in SOURCE: 24 then, 23 now" in one_line_error(err)
    assert tree(tars) == damaged


def test_a_source_that_moved_can_be_named(
    cli: Cli, tars: Path, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    before = tree(tars)
    cut(tars / "copy-000" / "000000.tar")
    inputs[0].rename(tmp_path / "elsewhere")
    code, _, err = cli("verify", tars, "--repair", "-j", 1)
    assert code == 2
    assert "--source" in one_line_error(err)
    moved = ["--source", tmp_path / "elsewhere", "--mixing-set", inputs[1]]
    assert cli("verify", tars, "--repair", "-j", 1, *moved)[0] == 0
    assert tree(tars) == before


def test_bytes_that_changed_under_the_same_name_and_length_are_never_put_in_place(
    cli: Cli, baked: Path, inputs: tuple[Path, Path]
) -> None:
    victim = artefacts(baked)[0]
    cut(victim)
    damaged = victim.read_bytes()
    for path in sorted((inputs[0]).rglob("*.png")):  # a chunk's last byte: still decodes
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.write_bytes(data)
    for path in sorted((inputs[0]).rglob("*.jp*g")):
        data = bytearray(path.read_bytes())
        data[-400] ^= 16
        path.write_bytes(data)
    code, out, _ = cli("verify", baked, "--repair", "-j", 1)
    assert code == 1
    assert "have changed" in out
    assert victim.read_bytes() == damaged


def test_an_unfinished_set_cannot_be_repaired(cli: Cli, tars: Path) -> None:
    (tars / ".pixmix").mkdir()
    (tars / "manifest.json").rename(tars / ".pixmix" / "plan.json")
    code, _, err = cli("verify", tars, "--repair", "-j", 1)
    assert code == 2
    assert "--resume" in one_line_error(err)


def test_lost_rows_are_no_reason_to_remove_whole_shards(cli: Cli, tars: Path) -> None:
    rows = (tars / "manifest.jsonl").read_text().splitlines(keepends=True)
    (tars / "manifest.jsonl").write_text("".join(rows[:-1]))
    files = artefacts(tars)
    code, _, err = cli("verify", tars, "--repair", "-j", 1)
    assert code == 2
    assert "has lost rows" in one_line_error(err)
    assert artefacts(tars) == files


def test_a_mixing_set_is_refused_with_the_way_out(cli: Cli, tmp_path: Path) -> None:
    made = ["generate-fractals", "-n", 2, "--size", 16, "-o", tmp_path / "f", "-j", 1]
    assert cli(*made)[0] == 0
    code, _, err = cli("verify", tmp_path / "f", "--repair", "-j", 1)
    assert code == 2
    assert "--resume" in one_line_error(err)


@pytest.mark.process
def test_pictures_baked_again_equal_what_lies_there(cli: Cli, baked: Path) -> None:
    code, out, err = cli("verify", baked, "--rebake-sample", 20, "-j", 1)
    assert (code, out) == (0, "")
    assert "20 pictures baked again, 0 differences" in err
    assert "48 pictures baked again" in cli("verify", baked, "--rebake-sample", 999, "-j", 2)[2]


def test_pictures_that_the_settings_do_not_make_are_found_by_baking_again(
    cli: Cli, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    """The manifest was renewed after the change, so that hashes alone see nothing."""
    from hashlib import sha256

    out = bake(cli, inputs, tmp_path / "o", "--format", "npy", "--shard-size", 24)
    path = out / "copy-001" / "images.npy"
    pictures = np.load(path)
    pictures[5, 3, 4, 1] ^= 8
    np.save(path, pictures)
    rows = [json.loads(line) for line in (out / "manifest.jsonl").read_text().splitlines()]
    for row in rows:
        if row["copy"] == 1:
            row["sha256"] = sha256(pictures.tobytes()).hexdigest()
    (out / "manifest.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli("verify", out, "-j", 1)[0] == 0
    code, told, _ = cli("verify", out, "--rebake-sample", 999, "-j", 1)
    assert code == 1
    assert "differs in 1 of 3072 values, by up to 8 levels" in told
    assert len(told.splitlines()) == 1


def test_the_seed_chooses_which_pictures_are_baked_again(tars: Path) -> None:
    from pixmix_cli.pipelines.bake import rebake
    from pixmix_cli.pipelines.bake.job import Running

    manifest = json.loads((tars / "manifest.json").read_text())
    recorded = rebake.open_recorded(tars, manifest, Running(), print)
    first, again, other = (rebake.choose(recorded, 6, seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other
    assert sum(len(check.task.samples) for check in first) == 6


def test_every_setting_is_read_back_from_the_manifest(
    cli: Cli, inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = bake(
        cli, inputs, tmp_path / "o", "--preset", "cifar", "--k", 3, "--beta", 2.5, "--severity", 2,
        "--no-all-ops", "--image-format", "png", "--no-shuffle", "--no-draws-json",
        "--operations", "swap-channel,add,screen",
    )  # fmt: skip
    options = json.loads((out / "manifest.json").read_text())["options"]
    assert options["operations"] == ["add", "screen", "swap-channel"]
    before = tree(out)
    (out / "copy-001" / "000003.tar").unlink()
    code, told, err = cli("verify", out, "--repair", "--rebake-sample", 9, "-j", 1)
    assert code == 0, told + err
    assert tree(out) == before
