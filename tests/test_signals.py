"""Signals: one line and their exit code, whenever and however often they come; no traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.conftest import environment, heed_signals

pytestmark = pytest.mark.process

# A command that takes as long as it likes; `busy` says what it does meanwhile.
PROGRAM = """
import functools, sys, time
from pixmix_cli import main
def invoke(ctx):
    ready = functools.partial(print, "ready", flush=True)
    def nap(seconds):  # a signal just before a sleep is seen after it
        for _ in range(int(20 * seconds)):
            time.sleep(0.05)
    {busy}
main.cli.invoke = invoke
sys.argv = ["pixmix", "bake"]
main.main()
"""

SLEEP = "ready(); nap(60)"
TIDY = """
    try: ready(); nap(60)
    finally: print("tidying", flush=True); nap({seconds})
"""
IN_A_DESTRUCTOR = """
    class Slow:
        def __del__(self): ready(); nap(2)
    thing = Slow(); del thing; nap(60)
"""
SWALLOWED = """
    try: ready(); nap(2)
    except BaseException: pass
    nap(60)
"""
MADE_ANOTHER = """
    try: ready(); nap(2)
    except BaseException: raise ImportError("no optional part")
"""


def begin(busy: str) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM.format(busy=busy.lstrip())], env=environment(), text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        preexec_fn=heed_signals,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize(
    ("name", "code", "word"),
    [
        ("SIGINT", 130, "interrupted"), ("SIGTERM", 143, "terminated"),
        ("SIGHUP", 129, "hung up"), ("SIGQUIT", 131, "quit"),
    ],
)  # fmt: skip
def test_a_signal_is_one_line_and_its_exit_code(name: str, code: int, word: str) -> None:
    process = begin(SLEEP)
    process.send_signal(signal.Signals[name])
    stderr = process.communicate(timeout=30)[1]
    assert process.returncode == code
    assert stderr == f"pixmix bake: {word}; finished work is kept, add --resume to go on\n"


def test_a_signal_that_comes_twice_at_once_ends_tidily() -> None:
    process = begin(TIDY.format(seconds=0.5))
    for _ in range(3):
        process.terminate()
        time.sleep(0.02)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (143, "tidying\n")
    assert stderr.count("\n") == 1


def test_a_second_signal_ends_what_takes_too_long_to_tidy_up() -> None:
    process = begin(TIDY.format(seconds=60))
    process.terminate()
    time.sleep(1.3)
    process.terminate()
    _, stderr = process.communicate(timeout=5)
    assert process.returncode == 143
    assert "Traceback" not in stderr


@pytest.mark.parametrize("busy", [IN_A_DESTRUCTOR, SWALLOWED, MADE_ANOTHER])
def test_a_signal_that_python_or_a_library_drops_is_not_lost(busy: str) -> None:
    process = begin(busy)
    time.sleep(0.2)
    process.terminate()
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 143
    assert stderr == "pixmix bake: terminated; finished work is kept, add --resume to go on\n"


def test_signals_that_nohup_ignores_stay_ignored() -> None:
    line = [sys.executable, "-c", PROGRAM.format(busy="ready(); nap(1)")]
    with subprocess.Popen(
        line, env=environment(), stdout=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    ) as process:  # fmt: skip
        assert process.stdout is not None
        process.stdout.readline()
        os.kill(process.pid, signal.SIGHUP)
    assert process.returncode == 0


IMPORTING = """
import importlib.abc, os, signal, sys
class Slow(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name == "click":
            os.kill(os.getpid(), signal.SIGINT)
sys.meta_path.insert(0, Slow())
sys.argv = [{name!r}, "--version"]
from pixmix_cli.main import main
"""


@pytest.mark.parametrize(("name", "quiet"), [("/bin/pixmix", True), ("/bin/other", False)])
def test_ctrl_c_while_the_command_is_imported_is_no_traceback(name: str, quiet: bool) -> None:
    done = subprocess.run(
        [sys.executable, "-c", IMPORTING.format(name=name)], env=environment(), text=True,
        capture_output=True, check=False,
        preexec_fn=heed_signals,
    )  # fmt: skip
    assert done.returncode == -signal.SIGINT  # 130, for a shell
    assert ("Traceback" not in done.stderr) == quiet
