"""doctor: what this machine has, and what would be slow or fail on it."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pixmix_cli import __version__
from pixmix_cli.limits import memory_limit, open_files_limit
from pixmix_cli.pipelines.engines.local import default_workers
from pixmix_kernels import folders, libraries, ways
from pixmix_kernels.modules import FAMILIES, entries

LOW_DISK = 2 << 30  # bytes: below it the cache of mixing pictures is not written either
FILES, FILES_A_WORKER = 32, 4  # open ones of a run without workers, and of its parent for each
MEMORY_A_WORKER = 1 << 30  # bytes: what a worker needs at 224 px, with room for large photographs


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at.

    name    what
    status  "ok", "slow" (works, and could be faster) or "fail" (a command would not work)
    text    what was found
    hint    what would mend it, or None
    """

    name: str
    status: str
    text: str
    hint: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The finding as a record."""
        return asdict(self)


def examine(folder: Path) -> Iterator[Finding]:
    """Look at everything, quick things first.

    folder  where outputs would be written
    """
    yield Finding("pixmix", "ok", f"{__version__}, Python {platform.python_version()}, {_system()}")
    yield from _packages()
    yield _cores()
    yield _limits()
    yield _disk("output", folder, "another disk, or room on this one")
    for name, look in (("mixing cache", _picture_cache), ("pictures", _codecs)):
        yield _guarded(name, look)
    yield from _kernels()
    yield from _torch()


def _system() -> str:
    return f"{platform.system()} {platform.machine()}"


def _packages() -> Iterator[Finding]:
    """Every package that pixmix needs or can use, with its version."""
    try:
        requirements = importlib.metadata.requires("pixmix") or []
    except importlib.metadata.PackageNotFoundError:
        yield Finding(
            "packages", "slow", "pixmix itself is not installed here", "pip install pixmix"
        )
        return
    for requirement in requirements:
        found = re.match(r"([\w.-]+)(?:>=([\w.]+))?(.*)", requirement.replace(" ", ""))
        if found is None or "extra==" in found[3] or not _applies(found[3]):
            continue
        name, lowest = found[1], found[2]
        try:
            version = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(name, "fail", "missing", f"pip install '{name}>={lowest}'")
            continue
        if lowest and _numbers(version) < _numbers(lowest):
            text = f"{version}, older than {lowest}"
            yield Finding(name, "fail", text, f"pip install -U {name}")
        else:
            yield Finding(name, "ok", version)


def _applies(condition: str) -> bool:
    """Whether a requirement that depends on the Python version is meant for this one."""
    bound = re.search(r"python_version<['\"]([\d.]+)", condition)
    return bound is None or sys.version_info[:2] < _numbers(bound[1])


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3])


def _cores() -> Finding:
    """Cores that this process may use, and whether there is memory for as many workers."""
    cores = default_workers()
    memory = _available_memory()
    text = f"{cores} of {os.cpu_count()}"
    if memory is None:
        return Finding("cores", "ok", text)
    text += f", {memory / (1 << 30):.1f} GiB of memory free"
    if memory < cores * MEMORY_A_WORKER:
        fitting = max(1, memory // MEMORY_A_WORKER)
        return Finding("cores", "slow", f"{text}: little for {cores} workers", f"-j {fitting}")
    return Finding("cores", "ok", text)


def _limits() -> Finding:
    """What the shell allows a run with a worker for each core."""
    memory, files = memory_limit(), open_files_limit()
    if memory is not None:
        return Finding(
            "limits", "slow", f"{memory}; a worker reserves some 300 MB", "ulimit -v unlimited"
        )
    needed = FILES + FILES_A_WORKER * default_workers()
    if files is not None and files < needed:
        text = f"`ulimit -n` allows {files} open files; {default_workers()} workers need {needed}"
        return Finding("limits", "slow", text, f"ulimit -n {needed}, or fewer workers (-j)")
    return Finding("limits", "ok", "none of the shell's that a run would meet")


def _available_memory() -> int | None:
    """Bytes that can be had without swapping: the machine's, or its container's if that is less."""
    try:
        meminfo = Path("/proc/meminfo").read_text()
        found = re.search(r"MemAvailable:\s+(\d+) kB", meminfo)
        free = int(found[1]) * 1024 if found else None
    except OSError:
        return None
    try:
        limit = int(Path("/sys/fs/cgroup/memory.max").read_text())
        used = int(Path("/sys/fs/cgroup/memory.current").read_text())
    except (OSError, ValueError):  # no such limit
        return free
    return limit - used if free is None else min(free, limit - used)


def _disk(name: str, folder: Path, hint: str) -> Finding:
    """Whether files can be written there, and how much room there is."""
    place = folder.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    try:
        with tempfile.TemporaryFile(dir=place):
            free = shutil.disk_usage(place).free
    except OSError as error:
        return Finding(name, "fail", f"{place} cannot be written ({error.strerror})", hint)
    text = f"{place}: {free / (1 << 30):.1f} GiB free"
    if free < LOW_DISK:
        return Finding(name, "slow", text, hint)
    return Finding(name, "ok", text)


def _picture_cache() -> Finding:
    """The folder that keeps decoded mixing pictures."""
    from pixmix_cli.sources import picture_cache

    folder = picture_cache.default_folder()
    hint = f"{picture_cache.ENV_FOLDER}=FOLDER, or bake --mixing-cache FOLDER"
    finding = _disk("mixing cache", folder, hint)
    if finding.status == "fail":  # bake goes on without it
        return Finding(finding.name, "slow", finding.text, hint)
    return finding


def _guarded(name: str, look: Callable[[], Finding]) -> Finding:
    """What `look` finds; whatever it raises is a finding too."""
    try:
        return look()
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return Finding(name, "fail", f"{type(error).__name__}: {reason}")


def _codecs() -> Finding:
    """Which picture formats can be written."""
    from pixmix_cli.storage import images

    missing = [name for name in images.FORMATS if not images.codec_available(name)]
    codecs: dict[str, str] = {}
    for name in images.FORMATS:
        if name not in missing:
            codecs |= images.codec(name)
    text = ", ".join(f"{name} {version}" for name, version in codecs.items())
    if missing:
        return Finding("pictures", "slow", f"{text}; no {', '.join(missing)}", "pip install pillow")
    return Finding("pictures", "ok", text)


def _kernels() -> Iterator[Finding]:
    """Which compiled kernels would run, from where; loads each, compiles none."""
    for family in FAMILIES:
        yield _guarded(f"{family} code", partial(_kernels_of, family))


def _kernels_of(family: str) -> Finding:
    name = f"{family} code"
    asked = ways.choice()
    if asked in ("python", "numba"):
        how = "plain Python, very slow" if asked == "python" else "Numba as it goes"
        hint = "unset PIXMIX_KERNELS and NUMBA_DISABLE_JIT"
        return Finding(name, "slow", f"{how}, as the environment asks", hint)
    notes: list[str] = []
    library = libraries.find(family, ways.allowed(), notes)
    if library is None:
        seconds = libraries.SECONDS[family]
        why = "".join(f"; {note}" for note in notes)
        text = f"none is ready: the first run compiles it in about {seconds} s{why}"
        return Finding(name, "slow", text, "python -m pixmix_kernels")
    functions = [library.function(entry) for entry in entries(family)]
    packaged = library.path.parent == folders.packaged()
    place = "the package" if packaged else str(library.path.parent)
    made = f"Numba {library.made['numba']}"
    text = f"{len(functions)} functions for {library.target}, made by {made}, from {place}"
    return Finding(name, "ok", text)


def _torch() -> Iterator[Finding]:
    """PyTorch, its devices, and the folder of downloaded weights."""
    try:
        import torch
        import torchvision  # noqa: F401  (its import fails when it does not fit torch)
    except Exception as error:
        reason = " ".join(str(error).split())
        hint = "torch and torchvision of one release: pip install -U torch torchvision"
        yield Finding("torch", "fail", f"{type(error).__name__}: {reason}", hint)
        return
    yield _guarded("GPU", lambda: _gpus(torch))
    yield _guarded("render-featvis", lambda: _featvis(torch))
    yield _guarded("weights", lambda: _weights(torch))


def _gpus(torch: Any) -> Finding:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        free, total = torch.cuda.mem_get_info()
        room = f"{free / (1 << 30):.0f} of {total / (1 << 30):.0f} GiB free"
        return Finding("GPU", "ok", f"{', '.join(names)}; CUDA {torch.version.cuda}, {room}")
    if torch.backends.mps.is_available():
        return Finding("GPU", "ok", "Apple MPS")
    if torch.version.cuda is None:
        hint = "a torch built for CUDA, where there is an NVIDIA GPU"
    else:
        hint = f"an NVIDIA GPU with a driver for CUDA {torch.version.cuda}"
    return Finding("GPU", "slow", "none: render-featvis runs on the CPU", hint)


def _featvis(torch: Any) -> Finding:
    """How fast feature visualizations would be made, measured."""
    from featvis.precision import choose
    from pixmix_cli.pipelines.mixing_sets.featvis_cost import pictures_a_second

    device = "cuda" if torch.cuda.is_available() else "cpu"
    rate = pictures_a_second(device)
    of = "a GPU" if device == "cuda" else "a core"
    text = f"{rate:.2g} pictures a second of {of} at 128 px, of the network that comes with pixmix"
    return Finding("render-featvis", "ok", f"{text}; {choose('auto', device)}")


def _weights(torch: Any) -> Finding:
    """Weights that torch.hub has downloaded already; others need the network."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    files = sorted(folder.glob("*.pth")) if folder.is_dir() else []
    hint = "TORCH_HOME=FOLDER that can be written, or --weights FILE, or --weights fractals"
    finding = _disk("weights", folder, hint)
    text = f"{len(files)} downloaded to {folder}; others are when they are first used"
    return Finding("weights", finding.status, finding.text if finding.hint else text, finding.hint)
