"""A storm: every command and format killed again and again, and what that leaves behind.

pytest -m slow -s tests/commands/test_storm.py      prints what was counted
"""

from __future__ import annotations

import collections
import contextlib
import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.commands.test_faults import _is_worker, members_of_group
from tests.conftest import command_line, environment, heed_signals, tree

pytestmark = [
    pytest.mark.process,
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc").exists(), reason="needs /proc to see processes"),
]

KILLS = 21  # of each command: in turn of the group, of the parent, of a worker
AT_ONCE = 5  # seconds within which nothing of a killed run may be left at work
_SHARED = Path("/dev/shm")
KINDS = (
    "fractals folder", "fractals webdataset", "featvis folder", "featvis webdataset",
    "bake webdataset", "bake imagefolder", "bake npy", "bake parquet",
)  # fmt: skip


def command(kind: str, photos: Path, mixing: Path) -> list[object]:
    made, layout = kind.split()
    if made == "fractals":
        words: list[object] = ["generate-fractals", "-n", 120, "--size", 96]
    elif made == "featvis":
        words = ["render-featvis", "--weights", "fractals", "--count", 24, "--size", 32]
        words += ["--steps", 8, "--batch-size", 2]
    else:
        words = ["bake", photos, "--mixing-set", mixing, "--size", 96, "--copies", 10]
    tars = ["--shard-size", 3] if made == "bake" or layout == "webdataset" else []
    return [*words, "--format", layout, *tars, "-j", 2, "-qq"]


class Storm:
    """Runs of one command, killed at random moments; counts what happened."""

    def __init__(self, words: list[object], place: Path, seed: int) -> None:
        self.words = words
        self.place = place
        self.rng = random.Random(seed)
        self.tmp = place / "tmp"
        self.tmp.mkdir()
        self.counts: collections.Counter[str] = collections.Counter()

    def start(self, out: Path, *more: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            command_line([*self.words, "-o", out, *more]),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=environment(TMPDIR=str(self.tmp)),
            start_new_session=True,
            preexec_fn=heed_signals,
        )

    def quiet(self) -> dict[str, str]:
        process = self.start(self.place / "quiet")
        _, err = process.communicate(timeout=300)
        assert process.returncode == 0, err.decode()
        return tree(self.place / "quiet")

    def kill(self, process: subprocess.Popen[bytes], out: Path, how: str) -> bool:
        """Kill one run at a random moment; False where it had ended before."""
        journal = out / ".pixmix" / "journal.jsonl"
        rows = self.rng.choice([0, 0, 1, 3, 8])
        early = self.rng.random() < 0.4  # before there is any row, perhaps before it has begun
        until = time.monotonic() + (self.rng.uniform(0, 4) if early else 60)
        while process.poll() is None and time.monotonic() < until:
            if not early and journal.exists() and journal.read_bytes().count(b"\n") >= rows:
                break
            time.sleep(0.002)
        time.sleep(self.rng.uniform(0, 0.1))
        if process.poll() is not None:
            return False
        if how == "worker":
            workers = [pid for pid in members_of_group(process.pid) if _is_worker(pid)]
            if not workers:
                return False
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.rng.choice(workers), signal.SIGKILL)
            self.counts["worker kills"] += 1
            return True
        with contextlib.suppress(ProcessLookupError):
            if how == "group":
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        self.counts[f"{how} kills"] += 1
        process.communicate(timeout=60)
        return True

    def check_ended(self, process: subprocess.Popen[bytes]) -> None:
        """Nothing of a run is at work any more."""
        until = time.monotonic() + AT_ONCE
        while members_of_group(process.pid) and time.monotonic() < until:
            time.sleep(0.02)
        self.counts["orphans"] += len(members_of_group(process.pid))

    def until_done(self, out: Path, hows: list[str], quiet: dict[str, str]) -> None:
        """Kill runs of one output, going on or beginning anew, and compare its end."""
        process = self.start(out)
        while hows:
            if self.kill(process, out, hows[0]):
                how = hows.pop(0)
                if how == "worker":
                    continue
                self.check_ended(process)
            elif process.poll() is None:
                continue
            else:
                break
            again = "--overwrite" if self.rng.random() < 0.2 else "--resume"
            process = self.start(out, again)
        _, err = process.communicate(timeout=300)
        self.check_ended(process)
        assert process.returncode == 0, err.decode()
        self.counts["outputs"] += 1
        found = tree(out)
        self.counts["strays"] += len(found.keys() - quiet.keys())
        self.counts["equal"] += found == quiet


@pytest.mark.parametrize("kind", KINDS)
def test_a_storm_of_kills_changes_no_byte_and_leaves_nothing(
    tmp_path: Path, photos: Path, mixing: Path, kind: str
) -> None:
    shared = set(os.listdir(_SHARED)) if _SHARED.is_dir() else set()
    storm = Storm(command(kind, photos, mixing), tmp_path, seed=KINDS.index(kind))
    quiet = storm.quiet()
    hows = ["group", "parent", "worker"] * (KILLS // 3)
    while hows:
        storm.until_done(tmp_path / str(storm.counts["outputs"]), hows, quiet)
    left = set(os.listdir(_SHARED)) - shared if _SHARED.is_dir() else set()
    storm.counts["in TMPDIR"] = len(os.listdir(storm.tmp))
    storm.counts["in /dev/shm"] = len(left)
    print(f"\n{kind}: {dict(storm.counts)}")
    assert storm.counts["equal"] == storm.counts["outputs"]
    for name in ("strays", "orphans", "in TMPDIR", "in /dev/shm"):
        assert storm.counts[name] == 0, name
