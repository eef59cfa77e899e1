"""Interruptions of every kind: whole files only, and resume gives the bytes of a quiet run."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import (
    Run,
    command_line,
    environment,
    heed_signals,
    one_line_error,
    small_file_system,
    tree,
)

pytestmark = pytest.mark.process

COUNT = 96
FRACTALS = ["generate-fractals", "-n", COUNT, "--size", 128, "-j", 2]

LAYOUTS = ["webdataset", "imagefolder", "npy"]
SLOW = pytest.mark.slow
QUICK_LAYOUTS = [LAYOUTS[0], *(pytest.param(name, marks=SLOW) for name in LAYOUTS[1:])]


def start(arguments: list[object]) -> subprocess.Popen[bytes]:
    """Begin a command in a process group of its own, with Ctrl-C working, as a shell does."""
    return subprocess.Popen(
        command_line(arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        start_new_session=True,
        preexec_fn=heed_signals,
    )


def wait_for_rows(process: subprocess.Popen[bytes], out: Path, rows: int) -> None:
    journal = out / ".pixmix" / "journal.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") >= rows:
            return
        assert process.poll() is None, process.communicate()[1].decode()
        time.sleep(0.005)
    raise AssertionError("no work was committed in two minutes")


def close(process: subprocess.Popen[bytes]) -> str:
    _, stderr = process.communicate(timeout=60)
    return stderr.decode()


def members_of_group(group: int) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            text = (entry / "stat").read_text()
        except OSError:
            continue
        state, _, member = text.rpartition(")")[2].split()[:3]
        if int(member) == group and state != "Z":
            found.append(int(entry.name))
    return found


@pytest.fixture(scope="module")
def quiet_fractals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("quiet") / "o"
    arguments = [*FRACTALS[:-2], "-j", 1, "-o", out]
    subprocess.run(command_line(arguments), check=True, capture_output=True, env=environment())
    return out


@pytest.mark.parametrize("rows", [*(pytest.param(n, marks=SLOW) for n in (1, 60)), 30])
def test_fractals_killed_with_kill_9_and_resumed_equal_an_uninterrupted_run(
    pixmix: Run, tmp_path: Path, quiet_fractals: Path, rows: int
) -> None:
    out = tmp_path / "o"
    process = start([*FRACTALS, "-o", out])
    wait_for_rows(process, out, rows)
    process.kill()
    close(process)
    assert not (out / "manifest.json").exists()
    done = pixmix(*FRACTALS, "-o", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) <= COUNT - rows
    assert tree(out) == tree(quiet_fractals)


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to see processes")
def test_workers_do_not_outlive_a_killed_parent(tmp_path: Path) -> None:
    out = tmp_path / "o"
    process = start([*FRACTALS, "-o", out])
    wait_for_rows(process, out, 1)
    assert len(members_of_group(process.pid)) > 2
    process.kill()
    close(process)
    deadline = time.monotonic() + 5
    while members_of_group(process.pid) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert members_of_group(process.pid) == []


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to see processes")
def test_a_killed_worker_is_replaced_and_no_byte_changes(
    tmp_path: Path, quiet_fractals: Path
) -> None:
    out = tmp_path / "o"
    process = start([*FRACTALS, "-o", out])
    wait_for_rows(process, out, 1)
    workers = [pid for pid in members_of_group(process.pid) if _is_worker(pid)]
    os.kill(max(workers), signal.SIGKILL)
    stderr = close(process)
    assert process.returncode == 0, stderr
    assert tree(out) == tree(quiet_fractals)


def _is_worker(pid: int) -> bool:
    """Whether a process computes for its parent."""
    try:
        return (
            b"from pixmix_cli.pipelines.engines import" in Path(f"/proc/{pid}/cmdline").read_bytes()
        )
    except OSError:
        return False


@pytest.mark.parametrize(
    ("signal_number", "code", "word"),
    [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")],
)
@pytest.mark.parametrize("workers", [pytest.param(1, marks=SLOW), 2])
def test_ctrl_c_and_sigterm_stop_within_2_s_and_leave_whole_files(
    pixmix: Run, tmp_path: Path, quiet_fractals: Path,
    signal_number: signal.Signals, code: int, word: str, workers: int,
) -> None:  # fmt: skip
    out = tmp_path / "o"
    arguments = [*FRACTALS[:-1], workers, "-o", out]
    process = start(arguments)
    wait_for_rows(process, out, 5)
    begin = time.monotonic()
    if signal_number == signal.SIGINT:
        os.killpg(process.pid, signal_number)  # what a terminal does
    else:
        process.send_signal(signal_number)
    stderr = close(process)
    assert time.monotonic() - begin < 2
    assert process.returncode == code
    assert word in one_line_error(stderr)
    assert "--resume" in stderr
    assert not (out / ".pixmix" / "tmp").exists()
    whole = tree(quiet_fractals)
    for name, digest in tree(out).items():
        if not name.startswith(".pixmix"):
            assert whole[name] == digest
    assert pixmix(*arguments, "--resume").returncode == 0
    assert tree(out) == whole


def test_head_1_ends_the_run_quietly_with_141(tmp_path: Path, quiet_fractals: Path) -> None:
    out = tmp_path / "o"
    command = " ".join(f"'{a}'" for a in command_line([*FRACTALS, "-o", out]))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -1; exit ${{PIPESTATUS[0]}}"], capture_output=True,
        env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode == 141
    assert done.stderr == b""
    assert done.stdout.decode().strip() == str(out / "000" / "000000.jpg")


def test_a_tar_stream_into_head_ends_quietly_too(tmp_path: Path) -> None:
    command = " ".join(f"'{a}'" for a in command_line([*FRACTALS, "-o", "-"]))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -c 2000 | wc -c; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, env=environment(), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (141, b"2000", b"")


def test_help_into_a_closed_pipe_is_no_error() -> None:
    command = " ".join(f"'{a}'" for a in command_line(["bake", "--help"]))
    done = subprocess.run(
        ["bash", "-c", f"{command} | true; exit ${{PIPESTATUS[0]}}"], capture_output=True,
        env=environment(), check=False,
    )  # fmt: skip
    assert done.returncode in (0, 141)
    assert done.stderr == b""


BAKE = ["--size", 128, "--copies", 12, "--shard-size", 2, "-j", 2]


@pytest.fixture(scope="module")
def quiet_bake(
    tmp_path_factory: pytest.TempPathFactory, photos: Path, mixing: Path
) -> Callable[[str], dict[str, str]]:
    """The files of an undisturbed bake in a format, made once."""

    @functools.cache
    def made(layout: str) -> dict[str, str]:
        out = tmp_path_factory.mktemp("quiet") / "o"
        arguments = ["bake", photos, "--mixing-set", mixing, *BAKE, "--format", layout, "-o", out]
        subprocess.run(command_line(arguments), check=True, capture_output=True, env=environment())
        return tree(out)

    return made


Quiet = Callable[[str], "dict[str, str]"]


@pytest.mark.parametrize("layout", QUICK_LAYOUTS)
def test_bake_killed_with_kill_9_and_resumed_equals_an_uninterrupted_run(
    pixmix: Run, tmp_path: Path, photos: Path, mixing: Path, quiet_bake: Quiet, layout: str
) -> None:
    out = tmp_path / "o"
    arguments = ["bake", photos, "--mixing-set", mixing, *BAKE, "--format", layout, "-o", out]
    process = start(arguments)
    wait_for_rows(process, out, 3)
    process.kill()
    close(process)
    done = pixmix(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert tree(out) == quiet_bake(layout)


def kill_at_random_moments(
    arguments: list[object], tmp_path: Path, quiet: dict[str, str], kills: int, seed: int
) -> None:
    """Kill parents and workers with kill -9 until `kills` are done; every end equals `quiet`."""
    rng = random.Random(seed)
    out, number, done = tmp_path / "0", 0, 0
    process = start([*arguments, "-o", out])
    while done < kills:
        try:
            process.wait(rng.uniform(0.2, 3))
        except subprocess.TimeoutExpired:
            workers = [pid for pid in members_of_group(process.pid) if _is_worker(pid)]
            done += 1
            if workers and done % 2:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(rng.choice(workers), signal.SIGKILL)
                continue
            process.kill()
            close(process)
        else:
            stderr = close(process)
            assert process.returncode == 0, stderr
            assert tree(out) == quiet
            number += 1
            out = tmp_path / str(number)
        process = start([*arguments, "-o", out, "--resume"])
    stderr = close(process)
    assert process.returncode == 0, stderr
    assert tree(out) == quiet


@pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to see processes")
@pytest.mark.parametrize(
    ("layout", "kills"),
    [("webdataset", 3), *(pytest.param(n, 20, marks=SLOW) for n in LAYOUTS)],
)
def test_kill_9_of_parents_and_workers_at_random_moments_changes_no_byte(
    tmp_path: Path, photos: Path, mixing: Path, quiet_bake: Quiet, layout: str, kills: int
) -> None:
    arguments = ["bake", photos, "--mixing-set", mixing, *BAKE, "--format", layout]
    kill_at_random_moments(arguments, tmp_path, quiet_bake(layout), kills, seed=kills)


@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_bake_leaves_no_partial_file(
    tmp_path: Path, photos: Path, mixing: Path, signal_number: signal.Signals, code: int
) -> None:
    out = tmp_path / "o"
    process = start(["bake", photos, "--mixing-set", mixing, *BAKE, "-o", out])
    wait_for_rows(process, out, 2)
    begin = time.monotonic()
    process.send_signal(signal_number)
    one_line_error(close(process))
    assert time.monotonic() - begin < 2
    assert process.returncode == code
    told = {
        json.loads(line)["path"]
        for line in (out / ".pixmix" / "journal.jsonl").read_text().splitlines()
    }
    found = {str(path.relative_to(out)) for path in out.rglob("*") if path.is_file()}
    kept = {
        f".pixmix/{name}" for name in ("plan.json", "journal.jsonl", "handed-out.jsonl", "lock")
    }
    strays = found - told - kept
    # a shard may be in place without its row yet: whole, under its own name, made again by --resume
    assert all(name.endswith(".tar") and name.startswith("copy-") for name in strays)
    assert not (out / ".pixmix" / "tmp").exists()


POISON = """
import os, signal
from pixmix_cli.storage import images
decode = images.decode_rgb
def poisoned(data, name, *more, **options):
    if name == "dog/d 3.webp":
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(data, name, *more, **options)
images.decode_rgb = poisoned
"""


def test_a_picture_that_kills_its_worker_again_and_again_is_named(
    pixmix: Run, tmp_path: Path, photos: Path, mixing: Path, quiet_bake: Quiet
) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(POISON)
    arguments = ["bake", photos, "--mixing-set", mixing, *BAKE, "-o", tmp_path / "o"]
    path = os.pathsep.join((str(tmp_path / "hook"), environment()["PYTHONPATH"]))
    failed = pixmix(*arguments, env={"PYTHONPATH": path})
    assert failed.returncode == 1
    error = one_line_error(failed.stderr)
    assert "died 3 times around dog/d 3.webp" in error
    done = pixmix(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "o") == quiet_bake("webdataset")


def test_a_second_bake_on_the_same_output_refuses_whatever_it_wants_there(
    pixmix: Run, tmp_path: Path, photos: Path, mixing: Path
) -> None:
    out = tmp_path / "o"
    arguments = ["bake", photos, "--mixing-set", mixing, *BAKE, "-o", out]
    process = start(arguments)
    wait_for_rows(process, out, 1)
    process.send_signal(signal.SIGSTOP)  # it keeps its lock
    for more in (["--resume"], ["--overwrite"], ["--resume", "--copies", 50]):
        second = pixmix(*arguments, *more)
        assert second.returncode == 2
        assert f"process {process.pid}" in one_line_error(second.stderr)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGTERM)
    close(process)


def test_a_second_run_on_the_same_output_refuses_and_the_first_goes_on(
    pixmix: Run, tmp_path: Path, quiet_fractals: Path
) -> None:
    out = tmp_path / "o"
    process = start([*FRACTALS, "-o", out])
    wait_for_rows(process, out, 1)
    process.send_signal(signal.SIGSTOP)  # it keeps its lock
    for more in (["--resume"], ["--overwrite"]):
        second = pixmix(*FRACTALS, "-o", out, *more)
        assert second.returncode == 2
        assert f"process {process.pid}" in one_line_error(second.stderr)
    process.send_signal(signal.SIGCONT)
    stderr = close(process)
    assert process.returncode == 0, stderr
    assert tree(out) == tree(quiet_fractals)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB; needs the right to mount."""
    with small_file_system(tmp_path / "small", "size=1m") as place:
        yield place


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=SLOW)])
def test_a_full_disk_is_one_clear_error_and_resume_finishes(
    pixmix: Run, small_disk: Path, quiet_fractals: Path, workers: int
) -> None:
    out = small_disk / "o"
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"x" * 600_000)
    arguments = [*FRACTALS[:-1], workers, "-o", out]
    failed = pixmix(*arguments)
    assert failed.returncode == 1
    error = one_line_error(failed.stderr)
    assert "no space left" in error
    assert "--resume" in error
    whole = tree(quiet_fractals)
    for name, digest in tree(out).items():
        if not name.startswith(".pixmix"):
            assert whole[name] == digest
    ballast.unlink()
    subprocess.run(["mount", "-o", "remount,size=16m", str(small_disk)], check=True)
    done = pixmix(*arguments, "--resume")
    assert done.returncode == 0, done.stderr
    assert tree(out) == whole


@pytest.mark.parametrize("layout", QUICK_LAYOUTS)
def test_bake_on_a_full_disk_is_one_clear_error_and_resume_gives_the_same_bytes(
    pixmix: Run, small_disk: Path, photos: Path, mixing: Path, quiet_bake: Quiet, layout: str
) -> None:
    whole = quiet_bake(layout)
    out = small_disk / "o"
    arguments = ["bake", photos, "--mixing-set", mixing, *BAKE, "--format", layout]
    failed = pixmix(*arguments, "-o", out)
    assert failed.returncode == 1
    error = one_line_error(failed.stderr)
    assert "no space left" in error
    assert "--resume" in error
    for name, digest in tree(out).items():
        if not name.startswith(".pixmix"):
            assert whole[name] == digest
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    done = pixmix(*arguments, "-o", out, "--resume")
    assert done.returncode == 0, done.stderr
    assert tree(out) == whole


def test_an_output_without_write_permission_is_one_clear_error(pixmix: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("I am a file")
    done = pixmix("generate-fractals", "-n", 1, "--size", 8, "-o", tmp_path / "file" / "o")
    assert done.returncode in (1, 2)
    assert str(tmp_path / "file") in one_line_error(done.stderr)


@pytest.mark.parametrize(
    ("redirection", "code"),
    [(">&-", 0), ("2>&-", 0), ("<&-", 0), ("> /dev/full", 1)],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_closed_and_full_streams_are_no_internal_error(
    tmp_path: Path, redirection: str, code: int
) -> None:
    arguments = ["generate-fractals", "-n", 2, "--size", 16, "-j", 1, "-o", tmp_path / "o"]
    for words in (arguments, ["--version"], ["verify", tmp_path / "o"]):
        command = " ".join(f"'{a}'" for a in command_line(words))
        done = subprocess.run(
            ["bash", "-c", f"{command} {redirection}"], capture_output=True, env=environment(),
            text=True, check=False,
        )  # fmt: skip
        if words[0] != "verify" or code == 0:
            assert done.returncode == code, done.stderr
        assert "internal error" not in done.stderr
        assert "Traceback" not in done.stderr
        assert "Exception" not in done.stderr
