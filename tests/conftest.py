"""Shared fixtures: small datasets made here, and the command line as a subprocess."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.object_store import ObjectStore, running_store

ROOT = Path(__file__).resolve().parent.parent
KERNEL_CACHE = ROOT / "build" / "kernels"  # what tests compile, from run to run


def picture(seed: int, height: int, width: int) -> np.ndarray:
    """A smooth coloured picture with an edge: (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))
    pixels[: height // 3, : width // 2] //= 2
    return pixels


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ImageFolder: 3 classes, 24 pictures of different sizes and formats."""
    root = tmp_path_factory.mktemp("photos")
    endings = ["jpg", "png", "jpeg", "webp"]
    for label, name in enumerate(["cat", "dog", "zebra finch"]):
        (root / name).mkdir()
        for i in range(8):
            pixels = picture(100 * label + i, 40 + 7 * i, 90 - 5 * i)
            Image.fromarray(pixels).save(root / name / f"{name[0]} {i}.{endings[i % 4]}")
    return root


@pytest.fixture(scope="session")
def mixing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mixing set of 6 pictures, nested and flat."""
    root = tmp_path_factory.mktemp("mixing")
    (root / "deep" / "deeper").mkdir(parents=True)
    for i in range(6):
        folder = root if i % 2 else root / "deep" / "deeper"
        Image.fromarray(picture(1000 + i, 64, 64)).save(folder / f"m{i}.png")
    return root


MARKED_BY_FIXTURE = {"pixmix": "process", "published_cifar": "server", "s3": "server"}


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in MARKED_BY_FIXTURE.keys() & getattr(item, "fixturenames", ()):
            item.add_marker(MARKED_BY_FIXTURE[fixture])


@contextlib.contextmanager
def small_file_system(place: Path, options: str) -> Iterator[Path]:
    """A tmpfs with mount's options at a new folder; skips the test where it may not be mounted."""
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("cannot mount a small file system here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


Run = Callable[..., "subprocess.CompletedProcess[str]"]


def command_line(arguments: Sequence[object]) -> list[str]:
    """The argv that runs pixmix with this interpreter."""
    return [sys.executable, "-m", "pixmix_cli.main", *(str(a) for a in arguments)]


# `python -c AS_INSTALLED FOLDER ARGUMENTS...`: from a folder, which is not on the path
AS_INSTALLED = """
import os, sys
sys.path.remove("") if "" in sys.path else None
os.chdir(sys.argv.pop(1))
from pixmix_cli.main import main
main()
"""


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """No test touches the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIXMIX_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("NUMBA_CACHE_DIR", str(KERNEL_CACHE))
        yield


def environment(**extra: str) -> dict[str, str]:
    """The environment of a subprocess: this checkout first on the path, no PIXMIX_ settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PIXMIX_", "_PIXMIX"))}
    kept["PIXMIX_CACHE_DIR"] = os.environ["PIXMIX_CACHE_DIR"]
    return {**kept, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", **extra}


def heed_signals() -> None:
    """For `preexec_fn`: the signals that end a run do so, however the tests were begun.

    A shell's background jobs ignore Ctrl-C and SIGQUIT, what nohup starts ignores SIGHUP, and
    children inherit that.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)


def tar_of(members: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of these files, as pixmix writes it."""
    from pixmix_cli.storage.tar import TarWriter

    out = io.BytesIO()
    writer = TarWriter(out)
    writer.add_all(members)
    writer.finish()
    return out.getvalue()


def change_an_inner_kernel(root: Path) -> Callable[[], object]:
    """Change a kernel below a checkout that others call, and with it every fractal.

    returns  what puts it back
    """
    inner = root / "fractals" / "kernels" / "layers.py"
    text = inner.read_text(encoding="utf-8")
    assert "q = F(0.25)" in text
    inner.write_text(text.replace("q = F(0.25)", "q = F(0.24)"), encoding="utf-8")
    return functools.partial(inner.write_text, text, encoding="utf-8")


@pytest.fixture
def pixmix() -> Run:
    """Run the command line in a subprocess: pixmix("bake", source, ..., env={...})."""

    def run(
        *arguments: object,
        env: dict[str, str] | None = None,
        cwd: Path | None = None,
        stdin: bytes | None = None,
        text: bool = True,
        timeout: float = 240,
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            command_line(arguments),
            capture_output=True,
            env=environment(**(env or {})),
            cwd=cwd,
            input=stdin,
            timeout=timeout,
            check=False,
        )
        if not text:
            return done  # type: ignore[return-value]
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    return run


def tree(root: Path) -> dict[str, str]:
    """Relative path -> SHA-256 of every file below root."""
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def one_line_error(stderr: str) -> str:
    """The error line; fails when there is a traceback or more than one line."""
    lines = [line for line in stderr.strip().splitlines() if "warning:" not in line]
    assert "Traceback" not in stderr, stderr
    assert len(lines) == 1, stderr
    return lines[0]


Cli = Callable[..., "tuple[int, str, str]"]


@pytest.fixture
def cli(capfd: pytest.CaptureFixture[str]) -> Cli:
    """Run the command line in this process, quicker: (exit code, stdout, stderr)."""
    from pixmix_cli.main import run

    def call(*arguments: object) -> tuple[int, str, str]:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        out, err = capfd.readouterr()
        return code, out, err

    return call


@pytest.fixture(scope="session")
def _object_store() -> Iterator[ObjectStore]:
    with running_store() as store:
        yield store


_BUCKETS = itertools.count()


@pytest.fixture
def s3(_object_store: ObjectStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[ObjectStore]:
    """An empty bucket of a real S3 server, where no pause between attempts is long."""
    from pixmix_cli.storage import remote

    store = _object_store
    store.proxy.reset()
    store.bucket = f"bucket-{next(_BUCKETS)}"
    store.client.create_bucket(Bucket=store.bucket)
    settings = {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": store.proxy.url,
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0.001)
    yield store
    store.proxy.reset()
