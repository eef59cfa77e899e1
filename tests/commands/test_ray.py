"""--engine ray: Ray started for real, the bytes of a local run, and workers that are lost."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import AS_INSTALLED, command_line, environment, one_line_error, tree

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="Ray is not installed"),
]

SHARDS = 200


@pytest.fixture(scope="module")
def arrays(tmp_path_factory):
    """200 pictures of 8 x 8, for as many shards."""
    path = tmp_path_factory.mktemp("arrays") / "small.npz"
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (SHARDS, 8, 8, 3), dtype=np.uint8)
    np.savez(path, images=pictures, labels=np.arange(SHARDS) % 5)
    return path


def bake(arrays, mixing, output, *more):
    return [
        *("bake", arrays, "--mixing-set", mixing, "--preset", "cifar", "--size", 8),
        *("--shard-size", 1, "-o", output, "-qq", *more),
    ]


def ray_workers(root: int) -> list[int]:
    """Processes below `root` that Ray has given tasks."""
    parents, names = {}, {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int(
                    (entry / "stat").read_text().rpartition(")")[2].split()[1]
                )
                names[int(entry.name)] = (entry / "cmdline").read_bytes()
            except OSError:
                continue
    found = []
    for process, name in names.items():
        above = process
        while above in parents and above != root:
            above = parents[above]
        if above == root and name.startswith(b"ray::_work"):
            found.append(process)
    return found


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="finds workers through /proc")
def test_200_shards_with_a_worker_killed_in_the_middle_are_a_local_runs_bytes(
    cli, arrays, mixing, tmp_path
):
    assert cli(*bake(arrays, mixing, tmp_path / "local", "-j", 1))[0] == 0
    line = command_line(bake(arrays, mixing, tmp_path / "out", "--engine", "ray", "-j", 2))
    with subprocess.Popen(
        line, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as run:
        journal = tmp_path / "out/.pixmix/journal.jsonl"
        killed: list[int] = []
        while run.poll() is None and not killed:
            if journal.exists() and journal.read_bytes().count(b"\n") >= SHARDS // 10:
                for worker in ray_workers(run.pid)[:1]:
                    os.kill(worker, signal.SIGKILL)
                    killed.append(worker)
            time.sleep(0.005)
        stdout, stderr = run.communicate(timeout=120)
    assert killed, "the run was over before a worker could be killed"
    assert (run.returncode, stderr.decode()) == (0, "")
    assert stdout.decode().splitlines() == [
        f"{tmp_path}/out/copy-000/{shard:06d}.tar" for shard in range(SHARDS)
    ]
    assert tree(tmp_path / "out") == tree(tmp_path / "local")


PROGRAM = """
import os, sys, time
from pixmix_cli.errors import PictureError, WorkerDiedError
from pixmix_cli.pipelines.engines import ray as ray_engine
from pixmix_cli.pipelines.engines.ray import RayEngine, connect
import ray

ray.init(address="local", num_cpus=2, num_gpus=2, include_dashboard=False, log_to_driver=False)
assert connect(None).gpus == 2
ray_engine._keep_stdout_clean()

def runner(word):
    def work(task):
        if task == "die":
            os._exit(1)
        if task == "fail":
            raise PictureError("no picture", "another")
        if task == "gpu":
            time.sleep(1)
        return word, os.environ.get("CUDA_VISIBLE_DEVICES")
    return work

print([word for word, _ in RayEngine()(runner, ("x",), ["a"] * 9, 2, str)].count("x"))
print(sorted(gpu for _, gpu in RayEngine(gpus=1)(runner, ("x",), ["gpu"] * 2, 2, str)))
for task in ("die", "fail"):
    try:
        list(RayEngine()(runner, ("x",), [task], 1, lambda task: f"task {task}"))
    except (WorkerDiedError, PictureError) as error:
        print(type(error).__name__, error)
"""


@pytest.fixture(scope="module")
def told():
    """What the program above prints: one Ray for several tests."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM], env=environment(), capture_output=True,
        text=True, check=False, timeout=240,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_every_task_gives_its_result(told):
    assert told[0] == "9"


def test_each_task_that_asks_for_a_gpu_sees_its_own(told):
    assert told[1] == "['0', '1']"


def test_a_task_that_always_kills_its_worker_is_named(told):
    assert told[2].startswith("WorkerDiedError Ray gave up task die after 3 attempts")


def test_an_error_in_a_task_arrives_as_it_was_raised(told):
    assert told[3] == "PictureError no picture. Try: another"


def test_an_address_without_a_cluster_is_refused_at_once(cli, tmp_path):
    code, _, err = cli(
        "generate-fractals", "-n", 1, "-o", tmp_path / "out", "--engine", "ray",
        "--ray-address", "127.0.0.1:1",
    )  # fmt: skip
    assert code == 2
    assert "no cluster at 127.0.0.1:1" in one_line_error(err)
    assert not (tmp_path / "out").exists()


def test_an_address_without_the_engine_is_refused(cli, tmp_path):
    code, _, err = cli("generate-fractals", "-n", 1, "-o", tmp_path, "--ray-address", "auto")
    assert code == 2
    assert "--engine ray" in err


def test_without_ray_one_line_says_what_to_install(cli, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    code, _, err = cli("generate-fractals", "-n", 1, "-o", tmp_path / "x", "--engine", "ray")
    assert code == 2
    assert "pip install 'pixmix[ray]'" in one_line_error(err)


@pytest.mark.slow
def test_a_node_lost_from_a_cluster_costs_no_byte(arrays, mixing, tmp_path, cli):
    """Three nodes on this machine; one that bakes is removed."""
    assert cli(*bake(arrays, mixing, tmp_path / "local", "-j", 1))[0] == 0
    program = (
        "import subprocess, sys, time\n"
        "from pathlib import Path\n"
        "from ray.cluster_utils import Cluster\n"
        "cluster = Cluster(initialize_head=True, head_node_args={'num_cpus': 0})\n"
        "nodes = [cluster.add_node(num_cpus=1) for _ in range(2)]\n"
        "journal = Path(sys.argv[1]) / '.pixmix/journal.jsonl'\n"
        "run = subprocess.Popen([*sys.argv[2:], '--ray-address', cluster.address])\n"
        "while run.poll() is None and not journal.exists(): time.sleep(.01)\n"
        "cluster.remove_node(nodes[0], allow_graceful=False)\n"
        "code = run.wait(); cluster.shutdown(); sys.exit(code)\n"
    )
    line = command_line(bake(arrays, mixing, tmp_path / "out", "--engine", "ray"))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, tmp_path / "out", *line],
        env=environment(), capture_output=True, text=True, check=False, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert tree(tmp_path / "out") == tree(tmp_path / "local")


def test_workers_import_nothing_from_the_current_folder(tmp_path):
    mark, data = tmp_path / "executed", tmp_path / "data"
    data.mkdir()
    for name in ("numpy", "random", "types", "signal"):
        (data / f"{name}.py").write_text(f"open({str(mark)!r}, 'a').write({name!r})\n")
    line = ["generate-fractals", "-n", 2, "--size", 16, "--engine", "ray", "-j", 1]
    done = subprocess.run(
        [sys.executable, "-c", AS_INSTALLED, data, *map(str, line), "-o", tmp_path / "o"],
        env=environment(), capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not mark.exists(), mark.read_text()
