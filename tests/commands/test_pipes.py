"""Pipes of pixmix commands: right counts, at memory that does not grow with the stream."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import environment

pytestmark = pytest.mark.process

PIPE = """
import resource, subprocess, sys
pixmix = f"{sys.executable} -m pixmix_cli.main"
line = (
    f"{pixmix} generate-fractals -n {sys.argv[1]} --size 64 --points-per-pixel 1 -j 1 -qq -o - | "
    f"{pixmix} bake {sys.argv[2]} --mixing-set - --mixing-cache none --preset cifar -j 1 "
    f"--copies {sys.argv[3]} -qq -o - | tar t | wc -l"
)
done = subprocess.run(["bash", "-o", "pipefail", "-c", line], check=True, capture_output=True)
print(int(done.stdout), resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def members_and_memory(pictures: int, source: Path, copies: int) -> tuple[int, int]:
    """Lines of `tar t`, and the largest process of the pipe in MB."""
    line = [sys.executable, "-c", PIPE, str(pictures), str(source), str(copies)]
    done = subprocess.run(line, env=environment(), check=True, capture_output=True, timeout=600)
    members, kilobytes = map(int, done.stdout.split())
    return members, kilobytes // 1024


def test_fractals_piped_into_bake_piped_into_tar_count_right(photos):
    assert members_and_memory(8, photos, 2)[0] == 24 * 2 * 3


@pytest.mark.slow
def test_a_longer_stream_takes_no_more_memory(photos):
    """500 fractals and 400 copies of 24 pictures, against 50 and 40: 36 times the output."""
    _, short = members_and_memory(50, photos, 40)
    members, long = members_and_memory(500, photos, 400)
    assert members == 24 * 400 * 3
    assert long <= short + 32, f"{short} MB, then {long} MB"
