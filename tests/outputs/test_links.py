"""Links inside an output: nothing outside of it is removed, written, cut off or renamed."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pixmix_cli.errors import InputError
from pixmix_cli.storage import inside
from pixmix_cli.storage.files import write_whole
from pixmix_cli.storage.inside import TmpFolder
from tests.conftest import Cli, tree

LAYOUTS = ("webdataset", "imagefolder", "npy")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory, photos: Path, mixing: Path) -> Path:
    """Small finished sets of every kind."""
    from pixmix_cli.main import run

    root = tmp_path_factory.mktemp("sets")
    for name in (*LAYOUTS, "folder"):
        assert run([str(word) for word in (*command(name, photos, mixing), "-o", root / name)]) == 0
    return root


def command(name: str, photos: Path, mixing: Path) -> list[object]:
    if name == "folder":
        return ["generate-fractals", "-n", 3, "--size", 16, "-j", 1, "-qq"]
    bake = ["bake", photos, "--mixing-set", mixing, "--size", 16, "--shard-size", 24, "-j", 1]
    return [*bake, "-qq", "--copies", 2, "--format", name]


@pytest.fixture
def place(tmp_path: Path, sets: Path) -> Iterator[Callable[[str], Path]]:
    """Makes a copy of a set beside a folder that is nobody's business."""
    victim = tmp_path / "victim"
    (victim / "sub").mkdir(parents=True)
    (victim / "thesis.txt").write_text("five years\n")
    (victim / "sub" / "000000.jpg").write_text("a picture\n")
    before = tree(victim)

    def copied(name: str) -> Path:
        return Path(shutil.copytree(sets / name, tmp_path / "o", symlinks=True))

    yield copied
    assert tree(victim) == before
    assert sorted(p.name for p in tmp_path.iterdir() if p.name != "o") == ["victim"]


def runs(name: str, out: Path, photos: Path, mixing: Path) -> dict[str, list[object]]:
    make = [*command(name, photos, mixing), "-o", out]
    found: dict[str, list[object]] = {
        "plain": make,
        "overwrite": [*make, "--overwrite"],
        "overwrite with less": [*make, "--overwrite", "-n" if name == "folder" else "--copies", 1],
        "resume": [*make, "--resume", "-n" if name == "folder" else "--copies", 5],
        "part": [*make, "--shard", "0/1", "-n" if name == "folder" else "--copies", 5],
    }
    if name != "folder":
        found["repair"] = ["verify", out, "--repair", "-j", 1, "-qq"]
    found["finish"] = ["verify", out, "--finish", "-j", 1, "-qq"]
    return found


RUNS = ["plain", "overwrite", "overwrite with less", "resume", "part", "repair", "finish"]


@pytest.mark.parametrize("how", RUNS)
@pytest.mark.parametrize(
    "link", ["", "lock", "plan.json", "journal.jsonl", "journal-00000-of-00001.jsonl",
    "handed-out.jsonl", "trash.jsonl", "tmp", "tmp-00000-of-00001", "parts", "starting",
    "lock-00000-of-00001"],
)  # fmt: skip
def test_a_link_in_pixmix_s_own_folder_is_refused(
    cli: Cli, place: Callable[[str], Path], photos: Path, mixing: Path, link: str, how: str
) -> None:
    out = place("webdataset")
    (out / "copy-000" / "000000.tar").unlink()
    target = "../../victim" if link in ("tmp", "parts") else "../../victim/thesis.txt"
    if link:
        (out / ".pixmix").mkdir()
        (out / ".pixmix" / link).symlink_to(target)
    else:
        (out / ".pixmix").symlink_to("../victim")
    code, _, err = cli(*runs("webdataset", out, photos, mixing)[how])
    assert code == 2
    assert len(err.splitlines()) == 1
    assert ".pixmix" in err
    assert "is a link" in err


@pytest.mark.parametrize("name", ["lock", "journal.jsonl"])
def test_a_second_name_of_a_file_elsewhere_is_refused_too(
    cli: Cli, place: Callable[[str], Path], photos: Path, mixing: Path, name: str
) -> None:
    out = place("folder")
    (out / ".pixmix").mkdir()
    os.link(out.parent / "victim" / "thesis.txt", out / ".pixmix" / name)
    code, _, err = cli(*runs("folder", out, photos, mixing)["overwrite"])
    assert (code, len(err.splitlines())) == (2, 1)
    assert name in err


@pytest.mark.parametrize("how", RUNS[1:-1])
@pytest.mark.parametrize("name", [*LAYOUTS, "folder"])
def test_a_link_in_place_of_a_copy_s_or_pictures_folder_is_refused(
    cli: Cli, place: Callable[[str], Path], photos: Path, mixing: Path, name: str, how: str
) -> None:
    out = place(name)
    linked = "000" if name == "folder" else "copy-000"
    shutil.rmtree(out / linked)
    (out / linked).symlink_to("../victim")
    row = {"path": f"{linked}/thesis.txt", "bytes": 1, "sha256": "0", "index": 9}
    with (out / "manifest.jsonl").open("a") as file:
        file.write(json.dumps({**row, "copy": 0, "shard": 9, "count": 1}) + "\n")
    if how not in runs(name, out, photos, mixing):
        return
    code, _, err = cli(*runs(name, out, photos, mixing)[how])
    assert code == 2
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("how", RUNS[1:-1])
def test_a_link_in_place_of_a_class_s_folder_is_refused(
    cli: Cli, place: Callable[[str], Path], photos: Path, mixing: Path, how: str
) -> None:
    out = place("imagefolder")
    shutil.rmtree(out / "copy-000" / "cat")
    (out / "copy-000" / "cat").symlink_to("../../victim/sub")
    code, _, err = cli(*runs("imagefolder", out, photos, mixing)[how])
    assert code == 2
    assert "cat is a link" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("name", ["manifest.json", "manifest.jsonl", "README.md", "classes.json"])
def test_a_link_in_place_of_a_file_beside_the_manifest_is_replaced_not_followed(
    cli: Cli, place: Callable[[str], Path], photos: Path, mixing: Path, name: str
) -> None:
    out = place("webdataset")
    (out / name).replace(out / "real")
    (out / name).symlink_to("real")
    before = (out / "real").read_bytes()
    code, _, err = cli(*runs("webdataset", out, photos, mixing)["overwrite"])
    assert code == 0, err
    assert not (out / name).is_symlink()
    assert (out / "real").read_bytes() == before


def test_an_output_that_is_a_link_itself_is_its_user_s_wish(
    cli: Cli, tmp_path: Path, photos: Path, mixing: Path
) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "o").symlink_to("disk")
    make = [*command("imagefolder", photos, mixing), "-o", tmp_path / "o"]
    for more in ([], ["--overwrite"], ["--copies", 3, "--resume"]):
        code, _, err = cli(*make, *more)
        assert code == 0, err
    assert cli("verify", tmp_path / "o", "-j", 1)[0] == 0
    assert (tmp_path / "o").is_symlink()


def test_an_output_that_is_a_link_to_nothing_is_named_with_the_reason(
    cli: Cli, tmp_path: Path
) -> None:
    (tmp_path / "o").symlink_to("unplugged")
    for out in (tmp_path / "o", tmp_path / "o" / "below" / "it"):
        code, _, err = cli("generate-fractals", "-n", 1, "-o", out, "-j", 1)
        assert code == 2
        assert f"{tmp_path / 'o'} is a link to unplugged, which is not there" in err
        assert len(err.splitlines()) == 1


def test_overwrite_leaves_a_file_that_a_row_names_under_a_name_that_is_not_pixmix_s(
    cli: Cli, place: Callable[[str], Path], photos: Path, mixing: Path
) -> None:
    out = place("folder")
    names = ["notes.txt", "000/notes.txt", "copy-000/notes.txt", "photos/1.jpg", "000/1.jpg.txt"]
    for name in names:
        (out / name).parent.mkdir(exist_ok=True)
        (out / name).write_text("mine")
        row = {"path": name, "bytes": 4, "sha256": "0", "index": 9}
        with (out / "manifest.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
    code, _, err = cli(*runs("folder", out, photos, mixing)["overwrite"])
    assert code == 0, err
    assert [name for name in names if not (out / name).exists()] == []


def test_a_file_is_put_in_place_below_real_folders_only(tmp_path: Path) -> None:
    out, tmp = tmp_path / "o", tmp_path / "o" / "tmp"
    tmp.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    room = TmpFolder(tmp, out)
    write_whole(out / "a" / "b" / "c.txt", b"x", room)
    assert (out / "a" / "b" / "c.txt").read_bytes() == b"x"
    (out / "a" / "link").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="a/link is a link"):
        write_whole(out / "a" / "link" / "deep" / "c.txt", b"x", room)
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert list(tmp.iterdir()) == []


def test_unlinking_removes_a_link_and_not_what_it_leads_to(tmp_path: Path) -> None:
    (tmp_path / "real").write_text("x")
    (tmp_path / "link").symlink_to("real")
    inside.unlink(tmp_path, tmp_path / "link")
    inside.unlink(tmp_path, tmp_path / "nothing" / "there")
    assert [entry.name for entry in tmp_path.iterdir()] == ["real"]


def test_verify_does_not_advise_what_would_be_refused(
    cli: Cli, place: Callable[[str], Path]
) -> None:
    out = place("webdataset")
    (out / ".pixmix").symlink_to("../victim")
    code, _, err = cli("verify", out, "--repair", "-j", 1)
    assert code == 2
    assert "Try: remove it" in err


@pytest.mark.parametrize("how", [*RUNS, "verify"])
@pytest.mark.parametrize(
    "name", ["manifest.jsonl", "errors.jsonl", "manifest.json", "classes.json", "README.md",
    ".pixmix/lock", ".pixmix/journal.jsonl", ".pixmix/handed-out.jsonl", "copy-000/000000.tar"],
)  # fmt: skip
def test_no_command_waits_for_a_pipe_in_place_of_a_file(
    cli: Cli, place: Callable[[str], Path], photos: Path, mixing: Path, name: str, how: str
) -> None:
    out = place("webdataset")
    (out / name).parent.mkdir(exist_ok=True)
    (out / name).unlink(missing_ok=True)
    os.mkfifo(out / name)
    words = {**runs("webdataset", out, photos, mixing), "verify": ["verify", out, "-j", 1, "-qq"]}
    code, _, err = cli(*words[how])
    assert code in (0, 1, 2)
    assert len([line for line in err.splitlines() if "warning:" not in line]) <= 1
    assert "internal error" not in err
