"""--shard i/n: several runs fill one output, and the result is one run's, byte for byte."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time

import pytest

from tests.conftest import command_line, environment, one_line_error, tree

pytestmark = pytest.mark.long

FRACTALS = ("generate-fractals", "-n", 24, "--size", 32, "-j", 1, "-qq")


def bake_options(photos, mixing, layout):
    return (
        *("bake", photos, "--mixing-set", mixing, "--preset", "cifar", "--format", layout),
        *("--copies", 2, "--plain", 1, "--shard-size", 5, "-j", 1, "-qq"),
    )


def parts(cli, arguments, output, order):
    """Run the parts one after the other; exit codes."""
    return [cli(*arguments, "-o", output, "--shard", f"{i}/{len(order)}")[0] for i in order]


@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "npy", "parquet"])
def test_parts_of_a_bake_make_the_bytes_of_one_run(cli, photos, mixing, tmp_path, layout):
    arguments = bake_options(photos, mixing, layout)
    assert cli(*arguments, "-o", tmp_path / "one")[0] == 0
    assert parts(cli, arguments, tmp_path / "many", (2, 0, 3, 1)) == [0, 0, 0, 0]
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


@pytest.mark.parametrize("layout", ["folder", "webdataset"])
def test_parts_of_a_mixing_set_make_the_bytes_of_one_run(cli, tmp_path, layout):
    arguments = (*FRACTALS, "--format", layout, "--shard-size", 5)
    assert cli(*arguments, "-o", tmp_path / "one")[0] == 0
    assert parts(cli, arguments, tmp_path / "many", (1, 2, 0)) == [0, 0, 0]
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


@pytest.mark.torch
def test_parts_of_feature_visualizations_make_the_bytes_of_one_run(cli, tmp_path):
    arguments = (
        *("render-featvis", "--weights", "fractals", "-n", 6, "--size", 32, "--steps", 1),
        *("--batch-size", 2, "--device", "cpu", "-j", 1, "-qq"),
    )
    assert cli(*arguments, "-o", tmp_path / "one")[0] == 0
    assert parts(cli, arguments, tmp_path / "many", (1, 0)) == [0, 0]
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


@pytest.mark.process
def test_four_at_once_with_one_killed_and_run_again_equal_one_run(photos, mixing, tmp_path, cli):
    arguments = (
        *("bake", photos, "--mixing-set", mixing, "--size", 96, "--copies", 12),
        *("--shard-size", 2, "-j", 1, "-qq"),
    )
    assert cli(*arguments, "-o", tmp_path / "one")[0] == 0

    def start(index):
        line = [*arguments, "-o", tmp_path / "many", "--shard", f"{index}/4"]
        return subprocess.Popen(
            command_line(line), env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )

    victim = start(3)
    journal = tmp_path / "many/.pixmix/journal-00003-of-00004.jsonl"
    until = time.monotonic() + 60
    while not journal.exists() and time.monotonic() < until:
        time.sleep(0.01)
    os.kill(victim.pid, signal.SIGKILL)
    assert victim.wait() == -signal.SIGKILL
    victim.stderr.close()
    running = [start(index) for index in range(3)]
    assert [process.communicate()[1] for process in running] == [b""] * 3
    assert not (tmp_path / "many/manifest.json").exists()
    last = start(3)
    assert last.communicate()[1] == b""
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


@pytest.mark.process
def test_a_part_that_is_under_way_cannot_be_begun_twice(cli, tmp_path, running_part):
    code, _, err = cli(*FRACTALS, "-o", tmp_path / "out", "--shard", "0/2")
    assert code == 2
    assert "part 0/2" in one_line_error(err)


@pytest.mark.process
def test_all_parts_must_cut_the_work_alike(cli, tmp_path, running_part):
    code, _, err = cli(*FRACTALS, "-o", tmp_path / "out", "--shard", "1/3")
    assert code == 2
    assert "in 2 parts, not in 3" in one_line_error(err)


@pytest.mark.process
def test_a_run_of_its_own_refuses_an_output_that_parts_are_filling(cli, tmp_path, running_part):
    code, _, err = cli(*FRACTALS, "-o", tmp_path / "out", "--resume")
    assert code == 2
    assert "is being written" in one_line_error(err)


@pytest.fixture
def running_part(tmp_path):
    """Part 0/2 of the fractals, held by another process that does not end by itself."""
    script = (
        "import sys, time; from pathlib import Path\n"
        "from pixmix_cli.outputs.destination import Destination\n"
        "from pixmix_cli.outputs.output import open_output\n"
        "from pixmix_cli.outputs.run_plan import RunPlan\n"
        "from pixmix_cli.outputs.part import Part, Whole\n"
        "from pixmix_cli.pipelines.mixing_sets.fractals import plan_fractals\n"
        "from pixmix_cli.pipelines.mixing_sets.job import MixingSetJob\n"
        "from fractals.config import FractalConfig\n"
        "out = Path(sys.argv[1])\n"
        "plan = plan_fractals(FractalConfig(size=32), 24, MixingSetJob(Destination(out)))\n"
        "with open_output(Destination(out, part=Part(0, 2)), plan.run, Whole({'pictures': 24})):\n"
        "    print('ready', flush=True); time.sleep(600)\n"
    )
    line = [command_line([])[0], "-c", script, str(tmp_path / "out")]
    with subprocess.Popen(line, env=environment(), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_parts_of_sets_of_different_sizes_do_not_mix(cli, tmp_path):
    assert cli(*FRACTALS, "-o", tmp_path / "out", "--shard", "0/2")[0] == 0
    other = [str(value).replace("24", "25") for value in FRACTALS]
    code, _, err = cli(*other, "-o", tmp_path / "out", "--shard", "1/2")
    assert code == 2
    assert "pictures 24" in one_line_error(err)
    assert "pictures 25" in err


def test_a_part_run_again_has_nothing_to_do_and_changes_nothing(cli, tmp_path):
    parts(cli, FRACTALS, tmp_path / "out", (0, 1))
    before = tree(tmp_path / "out")
    code, out, _ = cli(*FRACTALS, "-o", tmp_path / "out", "--shard", "0/2")
    assert (code, out) == (0, "")
    assert tree(tmp_path / "out") == before


def test_parts_grow_a_finished_set(cli, tmp_path):
    more = [40 if value == 24 else value for value in FRACTALS]
    assert cli(*more, "-o", tmp_path / "one")[0] == 0
    parts(cli, FRACTALS, tmp_path / "out", (0, 1))
    assert parts(cli, more, tmp_path / "out", (1, 0)) == [0, 0]
    assert tree(tmp_path / "out") == tree(tmp_path / "one")


@pytest.mark.process
@pytest.mark.parametrize("layout", ["webdataset", "npy"])
def test_verify_finish_writes_the_manifest_that_no_part_came_to_write(
    cli, photos, mixing, tmp_path, monkeypatch, layout
):
    from pixmix_cli.outputs.output import Output

    arguments = bake_options(photos, mixing, layout)
    assert cli(*arguments, "-o", tmp_path / "one")[0] == 0
    with monkeypatch.context() as patch:
        patch.setattr(Output, "take_over", lambda self: False)
        assert parts(cli, arguments, tmp_path / "many", (0, 1)) == [0, 0]
    assert cli("verify", tmp_path / "many")[0] == 1
    assert cli("verify", tmp_path / "many", "--finish")[0] == 0
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


def test_verify_finish_says_what_is_missing(cli, photos, mixing, tmp_path):
    arguments = bake_options(photos, mixing, "webdataset")
    assert parts(cli, arguments, tmp_path / "out", (0,)) == [0]  # of one: all of it
    assert cli(*arguments, "-o", tmp_path / "half", "--shard", "0/2")[0] == 0
    code, _, err = cli("verify", tmp_path / "half", "--finish")
    assert code == 2
    assert "6 missing (copy-000, shard 1" in one_line_error(err)


@pytest.mark.parametrize("what", ["command", "no count", "count of nothing"])
def test_verify_finish_refuses_a_damaged_plan_in_one_line(cli, photos, mixing, tmp_path, what):
    arguments = bake_options(photos, mixing, "webdataset")
    assert cli(*arguments, "-o", tmp_path / "half", "--shard", "0/2")[0] == 0
    file = tmp_path / "half" / ".pixmix" / "plan.json"
    plan = json.loads(file.read_bytes())
    if what == "command":
        plan["command"] = "bakery"
    elif what == "no count":
        del plan["whole"]["layout"]["samples"]
    else:
        plan["whole"]["layout"]["shard_size"] = 0
    file.write_text(json.dumps(plan))
    code, _, err = cli("verify", tmp_path / "half", "--finish")
    assert code == 2
    assert f"{file} is damaged" in one_line_error(err)


def test_verify_finish_refuses_what_no_parts_have_made(cli, tmp_path):
    from pixmix_cli.outputs.destination import Destination
    from pixmix_cli.outputs.output import open_output
    from pixmix_cli.outputs.run_plan import RunPlan

    run = RunPlan("generate-fractals", {}, {}, {})
    with open_output(Destination(tmp_path / "out"), run):
        pass
    code, _, err = cli("verify", tmp_path / "out", "--finish")
    assert code == 2
    assert "--shard" in one_line_error(err)


def test_a_skipped_picture_is_skipped_in_any_part_and_told_at_the_end(
    cli, photos, mixing, tmp_path
):
    import shutil

    source = tmp_path / "source"
    shutil.copytree(photos, source)
    (source / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff no picture")
    arguments = bake_options(source, mixing, "webdataset")
    assert cli(*arguments, "-o", tmp_path / "one")[0] == 3
    codes = parts(cli, arguments, tmp_path / "many", (0, 1, 2))
    assert codes[-1] == 3
    assert tree(tmp_path / "many") == tree(tmp_path / "one")


def test_a_stream_of_a_part_holds_its_pictures(cli, pixmix, tmp_path):
    import io
    import tarfile

    names = []
    for index in range(2):
        done = pixmix(*FRACTALS, "-o", "-", "--shard", f"{index}/2", text=False)
        with tarfile.open(fileobj=io.BytesIO(done.stdout)) as tar:
            names += tar.getnames()
    assert sorted(names) == [f"{index:06d}.jpg" for index in range(24)]


def test_shard_and_overwrite_exclude_each_other(cli, tmp_path):
    code, _, err = cli(*FRACTALS, "-o", tmp_path / "out", "--shard", "0/2", "--overwrite")
    assert code == 2
    assert "--overwrite" in err
