"""Inputs and outputs that lie elsewhere, through the command line."""

from __future__ import annotations

import importlib.util
import json
import platform
import subprocess
from pathlib import Path

import pytest

from pixmix_cli.outputs import object_lock, object_store
from pixmix_cli.outputs.object_lock import Lock
from pixmix_cli.storage.remote import Url
from tests.conftest import Cli, Run, command_line, environment, one_line_error, tree
from tests.object_store import FAULTS, ObjectStore

SMALL = ["--size", 32, "--preset", "cifar", "--copies", 2, "-j", 1, "--mixing-cache", "none"]


SLOWER = [pytest.param(layout, marks=pytest.mark.slow) for layout in ("imagefolder", "parquet")]


def told_apart(files: dict[str, str]) -> dict[str, str]:
    """Without manifest.json, which tells where the inputs lay."""
    return {name: digest for name, digest in files.items() if name != "manifest.json"}


def test_a_bake_from_s3_with_faults_equals_the_local_one(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source, pictures = s3.put(photos, "photos"), s3.put(mixing, "mixing")
    assert cli("bake", photos, "--mixing-set", mixing, "-o", tmp_path / "a", *SMALL)[0] == 0
    faults = iter(["503", "drop", "cut"] * 100)
    s3.proxy.fault = lambda number, method, path: next(faults) if number % 4 == 2 else None
    code, _, err = cli("bake", source, "--mixing-set", pictures, "-o", tmp_path / "b", *SMALL)
    assert code == 0, err
    assert told_apart(tree(tmp_path / "b")) == told_apart(tree(tmp_path / "a"))
    assert len(s3.proxy.requests) > 24


def test_a_weighted_mixing_set_may_be_a_url(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    pictures = s3.put(mixing, "mixing")
    code, _, err = cli(
        "bake", photos, "--mixing-set", f"{pictures}:2", "--mixing-set", f"{mixing}:1",
        "-o", tmp_path / "a", *SMALL,
    )  # fmt: skip
    assert code == 0, err


def test_mixing_sets_in_the_environment_may_be_urls(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("PIXMIX_BAKE_MIXING_SET", f"{s3.put(mixing, 'mixing')}:2:{mixing}:1")
    code, out, err = cli("bake", photos, "-o", tmp_path / "a", *SMALL, "--dry-run")
    assert code == 0, err
    assert "mixing pictures   12" in out


def test_a_bake_from_a_store_that_fails_leaves_nothing_behind(
    cli: Cli, s3: ObjectStore, mixing: Path, tmp_path: Path
) -> None:
    s3.proxy.fault = lambda number, method, path: "503"
    out = tmp_path / "a"
    code, _, err = cli("bake", f"{s3.url}/photos", "--mixing-set", mixing, "-o", out, *SMALL)
    assert code == 1
    assert "failed 6 times" in one_line_error(err)
    assert not out.exists()


def test_a_picture_that_vanished_is_listed_and_skipped(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source = s3.put(photos, "photos")
    s3.proxy.fault = lambda number, method, path: _vanish(s3, method, path)
    code, _, _ = cli("bake", source, "--mixing-set", mixing, "-o", tmp_path / "a", *SMALL)
    assert code == 3
    assert "dog/d 1.png" in (tmp_path / "a" / "errors.jsonl").read_text()


def _vanish(s3: ObjectStore, method: str, path: str) -> None:
    if method == "GET" and path.endswith("d%201.png"):
        s3.client.delete_object(Bucket=s3.bucket, Key="photos/dog/d 1.png")


@pytest.mark.parametrize("command", ["preview", "inspect", "report", "doctor"])
def test_commands_that_take_local_paths_only_say_so(cli: Cli, command: str) -> None:
    more = ["-o", "x.html"] if command == "report" else []
    code, _, err = cli(command, "s3://bucket/set", *more)
    assert code == 2
    assert "s3://bucket/set is a URL" in one_line_error(err)


FRACTALS = ("generate-fractals", "-n", 12, "--size", 32, "-j", 1, "--shard-size", 5)


def bake(
    photos: object, mixing: object, layout: str = "webdataset", copies: int = 2
) -> list[object]:
    """A small bake of two copies in five shards each."""
    return [
        *("bake", photos, "--mixing-set", mixing, "--preset", "cifar", "--format", layout),
        *("--copies", copies, "--shard-size", 5, "-j", 1),
    ]


@pytest.mark.parametrize("layout", ["webdataset", "npy", *SLOWER])
def test_a_bake_to_s3_with_faults_equals_the_local_one(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path, layout: str
) -> None:
    arguments = bake(photos, mixing, layout)
    if layout == "webdataset":
        arguments.append("--dali-index")
    assert cli(*arguments, "-o", tmp_path / "a")[0] == 0
    faults = iter(FAULTS * 100)
    s3.proxy.fault = lambda number, method, path: next(faults) if number % 5 == 3 else None
    code, out, err = cli(*arguments, "-o", f"{s3.url}/deep/out")
    assert code == 0, err
    assert s3.tree("deep/out") == tree(tmp_path / "a")
    assert out.splitlines()[0].startswith(f"{s3.url}/deep/out/copy-000/")


@pytest.mark.parametrize("layout", ["folder", "webdataset"])
def test_fractals_made_on_s3_equal_the_local_ones(
    cli: Cli, s3: ObjectStore, tmp_path: Path, layout: str
) -> None:
    assert cli(*FRACTALS, "--format", layout, "-o", tmp_path / "a")[0] == 0
    assert cli(*FRACTALS, "--format", layout, "-o", f"{s3.url}/out")[0] == 0
    assert s3.tree("out") == tree(tmp_path / "a")


@pytest.mark.slow
def test_feature_visualizations_made_in_memory_equal_the_local_ones(
    cli: Cli, tmp_path: Path
) -> None:
    import fsspec

    arguments = (
        *("render-featvis", "--weights", "fractals", "-n", 3, "--size", 32, "--steps", 1),
        *("--batch-size", 2, "--device", "cpu", "-j", 2),
    )
    assert cli(*arguments, "-o", tmp_path / "a")[0] == 0
    assert cli(*arguments, "-o", "memory://featvis")[0] == 0
    memory = fsspec.filesystem("memory")
    memory.get("/featvis", str(tmp_path / "b"), recursive=True)
    memory.rm("/featvis", recursive=True)
    assert tree(tmp_path / "b") == tree(tmp_path / "a")


@pytest.mark.parametrize(
    ("layout", "writes"),
    [
        ("webdataset", 2),
        ("webdataset", 11),
        ("webdataset", 19),
        pytest.param("npy", 11, marks=pytest.mark.slow),
        pytest.param("npy", 29, marks=pytest.mark.slow),
    ],
)
def test_a_bake_whose_store_fails_for_good_goes_on_with_resume(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path, writes: int, layout: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(object_store, "FLUSH_SECONDS", 0)
    arguments = bake(photos, mixing, layout)
    assert cli(*arguments, "-o", tmp_path / "a")[0] == 0
    left = iter(range(writes))
    s3.proxy.fault = lambda number, method, path: (
        "503" if method == "PUT" and next(left, None) is None else None
    )
    code, _, err = cli(*arguments, "-o", f"{s3.url}/out")
    assert code == 1
    assert "failed 6 times" in one_line_error(err)
    s3.proxy.reset()
    code, _, err = cli(*arguments, "-o", f"{s3.url}/out", "--resume")
    assert code == 0, err
    assert s3.tree("out") == tree(tmp_path / "a")


def test_a_resume_makes_nothing_again_that_is_there(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(object_store, "FLUSH_SECONDS", 0)
    arguments = bake(photos, mixing)
    s3.proxy.fault = lambda number, method, path: "503" if "000003.tar" in path else None
    assert cli(*arguments, "-o", f"{s3.url}/out")[0] == 1
    s3.proxy.reset()
    code, out, _ = cli(*arguments, "-o", f"{s3.url}/out", "--resume")
    assert code == 0
    assert len(out.splitlines()) == 4  # of ten: shards 3 and 4 of two copies
    code, out, err = cli(*arguments, "-o", f"{s3.url}/out", "--resume")
    assert (code, out) == (0, "")
    assert "nothing to do" in err


def test_a_larger_count_grows_a_set_on_s3(cli: Cli, s3: ObjectStore, tmp_path: Path) -> None:
    grown = [*FRACTALS[:2], 20, *FRACTALS[3:]]
    assert cli(*grown, "-o", tmp_path / "a")[0] == 0
    assert cli(*FRACTALS, "-o", f"{s3.url}/out")[0] == 0
    code, out, _ = cli(*grown, "-o", f"{s3.url}/out", "--resume")
    assert code == 0
    assert len(out.splitlines()) == 8
    assert s3.tree("out") == tree(tmp_path / "a")


def test_an_output_on_s3_is_not_written_over_unasked(
    cli: Cli, s3: ObjectStore, tmp_path: Path
) -> None:
    assert cli(*FRACTALS, "-o", f"{s3.url}/out")[0] == 0
    code, _, err = cli(*FRACTALS, "-o", f"{s3.url}/out")
    assert code == 2
    assert f"output {s3.url}/out is there already" in one_line_error(err)
    code, _, err = cli(*FRACTALS, "--seed", 1, "-o", f"{s3.url}/out", "--resume")
    assert code == 2
    assert f"{s3.url}/out was made with --seed 0" in one_line_error(err)


def test_overwrite_on_s3_removes_what_pixmix_wrote_and_nothing_else(
    cli: Cli, s3: ObjectStore, tmp_path: Path
) -> None:
    other = (*FRACTALS, "--seed", 1, "--format", "webdataset")
    assert cli(*other, "-o", tmp_path / "a")[0] == 0
    assert cli(*FRACTALS, "-o", f"{s3.url}/out")[0] == 0
    s3.client.put_object(Bucket=s3.bucket, Key="out/mine/notes.txt", Body=b"keep")
    assert cli(*other, "-o", f"{s3.url}/out", "--overwrite")[0] == 0
    found = s3.objects("out")
    assert found.pop("mine/notes.txt") == b"keep"
    assert set(found) == set(tree(tmp_path / "a"))


def test_objects_of_others_are_not_mixed_with_an_output(cli: Cli, s3: ObjectStore) -> None:
    s3.client.put_object(Bucket=s3.bucket, Key="out/notes.txt", Body=b"keep")
    code, _, err = cli(*FRACTALS, "-o", f"{s3.url}/out")
    assert code == 2
    assert f"output {s3.url}/out is not empty" in one_line_error(err)


def test_a_second_run_on_s3_refuses_while_the_first_is_alive(cli: Cli, s3: ObjectStore) -> None:
    lock = Lock(Url(f"{s3.url}/out"), "alone")
    code, _, err = cli(*FRACTALS, "-o", f"{s3.url}/out")
    assert code == 2
    assert f"output {s3.url}/out is being written by another pixmix run" in one_line_error(err)
    lock.release()
    assert cli(*FRACTALS, "-o", f"{s3.url}/out")[0] == 0
    assert not [name for name in s3.objects("out") if name.startswith(".pixmix")]


def test_the_lock_of_a_dead_process_of_this_machine_does_not_count(
    cli: Cli, s3: ObjectStore
) -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    told = {"host": platform.node(), "process": process.pid}
    key = "out/.pixmix/lock-alone-0123456789ab"
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=json.dumps(told).encode())
    assert cli(*FRACTALS, "-o", f"{s3.url}/out")[0] == 0


def test_a_lock_that_nobody_writes_again_does_not_count(
    cli: Cli, s3: ObjectStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = "out/.pixmix/lock-alone-0123456789ab"
    s3.client.put_object(Bucket=s3.bucket, Key=key, Body=b'{"host": "elsewhere", "process": 1}')
    assert cli(*FRACTALS, "-o", f"{s3.url}/out")[0] == 2
    monkeypatch.setattr(object_lock, "STALE", -1)
    assert cli(*FRACTALS, "-o", f"{s3.url}/out")[0] == 0


@pytest.mark.parametrize("layout", ["webdataset", pytest.param("npy", marks=pytest.mark.slow)])
def test_parts_on_s3_make_the_bytes_of_one_run(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path, layout: str
) -> None:
    arguments = bake(photos, mixing, layout)
    assert cli(*arguments, "-o", tmp_path / "a")[0] == 0
    for part in ("2/3", "0/3", "1/3"):
        code, _, err = cli(*arguments, "-o", f"{s3.url}/out", "--shard", part)
        assert code == 0, err
    assert s3.tree("out") == tree(tmp_path / "a")


def test_a_part_on_s3_cannot_be_begun_twice_nor_cut_otherwise(cli: Cli, s3: ObjectStore) -> None:
    lock = Lock(Url(f"{s3.url}/out"), "00001-of-00003")
    for part, words in (("1/3", "part 1/3 of output"), ("0/2", "part 1/3 of output")):
        code, _, err = cli(*FRACTALS, "-o", f"{s3.url}/out", "--shard", part)
        assert code == 2
        assert words in one_line_error(err)
    assert cli(*FRACTALS, "-o", f"{s3.url}/out", "--shard", "0/3")[0] == 0
    code, _, err = cli(*FRACTALS, "-o", f"{s3.url}/out", "--shard", "2/3")
    assert "other parts are still at work" in err
    lock.release()


def test_a_dry_run_writes_nothing_to_s3(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path
) -> None:
    code, out, _ = cli(*bake(photos, mixing), "-o", f"{s3.url}/out", "--dry-run")
    assert code == 0
    assert f"{s3.url}/out" in out
    assert s3.objects("out") == {}


def test_an_output_that_can_only_be_read_is_refused(cli: Cli) -> None:
    code, _, err = cli(*FRACTALS, "-o", "https://host/out")
    assert code == 2
    assert "https:// can only be read" in one_line_error(err)


def test_a_bucket_that_does_not_exist_is_one_line(cli: Cli, s3: ObjectStore) -> None:
    code, _, err = cli(*FRACTALS, "-o", "s3://no-such-bucket/out")
    assert code == 1
    assert "writing s3://no-such-bucket/out" in one_line_error(err)


def test_an_output_inside_a_source_is_refused_on_s3_too(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path
) -> None:
    source = s3.put(photos, "photos")
    code, _, err = cli(*bake(source, mixing), "-o", f"{source}/out")
    assert code == 2
    assert "lies inside SOURCE" in one_line_error(err)


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed")
def test_a_bake_to_s3_by_ray_equals_the_local_one(
    pixmix: Run, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    arguments = bake(photos, mixing)
    assert pixmix(*arguments, "-o", tmp_path / "a").returncode == 0
    done = pixmix(*arguments, "-o", f"{s3.url}/out", "--engine", "ray")
    assert done.returncode == 0, done.stderr
    assert s3.tree("out") == tree(tmp_path / "a")


@pytest.mark.slow
def test_a_bake_on_s3_killed_by_kill_9_goes_on_with_resume(
    pixmix: Run, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    """From and to S3, with faults, two workers; killed twice."""
    arguments = [
        *bake(s3.put(photos, "photos"), s3.put(mixing, "mixing"), copies=12)[:-2], "-j", 2,
        "--size", 160,
    ]  # fmt: skip
    local = [*bake(photos, mixing, copies=12)[:-2], "-j", 2, "--size", 160]
    assert pixmix(*local, "-o", tmp_path / "a").returncode == 0
    faults = iter(FAULTS * 1000)
    s3.proxy.fault = lambda number, method, path: next(faults) if number % 9 == 3 else None
    for shards in (6, 20):
        process = subprocess.Popen(
            command_line([*arguments, "-o", f"{s3.url}/out", "--resume"]),
            env=environment(), stdout=subprocess.PIPE,
        )  # fmt: skip
        assert process.stdout is not None
        for _ in range(shards):
            process.stdout.readline()
        process.kill()
        process.communicate()
        assert "manifest.json" not in s3.objects("out")
    done = pixmix(*arguments, "-o", f"{s3.url}/out", "--resume")
    assert done.returncode == 0, done.stderr
    assert told_apart(s3.tree("out")) == told_apart(tree(tmp_path / "a"))


@pytest.mark.parametrize("layout", ["webdataset", "npy", *SLOWER])
def test_verify_finds_a_set_on_s3_whole(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, layout: str
) -> None:
    assert cli(*bake(photos, mixing, layout), "-o", f"{s3.url}/out")[0] == 0
    code, out, err = cli("verify", f"{s3.url}/out", "-j", 1)
    assert (code, out) == (0, ""), out
    assert f"{s3.url}/out: 48 pictures, all as written" in err


def test_verify_names_what_is_wrong_on_s3(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path
) -> None:
    assert cli(*bake(photos, mixing), "-o", f"{s3.url}/out")[0] == 0
    tar = s3.objects("out")["copy-000/000001.tar"]
    for name, data in {"000001": tar[:600] + b"x" + tar[601:], "000009": b""}.items():
        key = f"out/copy-000/{name}.tar"
        s3.client.put_object(Bucket=s3.bucket, Key=key, Body=data)
    s3.client.delete_object(Bucket=s3.bucket, Key="out/copy-001/000002.tar")
    code, out, _ = cli("verify", f"{s3.url}/out", "-j", 1)
    assert code == 1
    for name, words in {
        "copy-000/000001.tar": "is not what was written",
        "copy-000/000009.tar": "is not in manifest.jsonl",
        "copy-001/000002.tar": "is missing",
    }.items():
        assert f"{s3.url}/out/{name}: {words}" in out


def test_verify_finishes_parts_on_s3_and_repairs_local_folders_only(
    cli: Cli, s3: ObjectStore, tmp_path: Path
) -> None:
    assert cli(*FRACTALS, "-o", tmp_path / "a")[0] == 0
    assert cli(*FRACTALS, "-o", f"{s3.url}/out", "--shard", "0/2")[0] == 0
    lock = Lock(Url(f"{s3.url}/out"), "00005-of-00002")
    assert cli(*FRACTALS, "-o", f"{s3.url}/out", "--shard", "1/2")[0] == 0
    lock.release()
    assert "manifest.json" not in s3.objects("out")
    code, out, _ = cli("verify", f"{s3.url}/out", "--finish", "-j", 1)
    assert (code, out) == (0, "")
    assert s3.tree("out") == tree(tmp_path / "a")
    code, _, err = cli("verify", f"{s3.url}/out", "--repair")
    assert code == 2
    assert "need a local folder" in one_line_error(err)


def test_a_set_baked_from_s3_can_be_compared_and_repaired(
    cli: Cli, s3: ObjectStore, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source, pictures = s3.put(photos, "photos"), s3.put(mixing, "mixing")
    assert cli(*bake(source, pictures), "-o", tmp_path / "a")[0] == 0
    (tmp_path / "a" / "copy-000" / "000001.tar").write_bytes(b"x")
    assert cli("verify", tmp_path / "a", "--repair", "-j", 1)[0] == 0
    assert cli("verify", tmp_path / "a", "--rebake-sample", 5, "-j", 1)[0] == 0
    code, _, err = cli("preview", tmp_path / "a", "-o", tmp_path / "sheet.png")
    assert (code, err) == (0, "")  # no warning that the originals cannot be shown
