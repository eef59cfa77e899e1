"""The commands that the README and docs show really run, and man pages can be made."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pixmix_cli.main import COMMANDS
from tests.conftest import ROOT, command_line, environment, picture

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALLER = [  # the same command, for a machine that has seconds
    (r"-n \d+", "-n 2"),
    (r"--count \d+", "--count 2"),
    (r"--pairs \d+", "--pairs 2"),
    (r"--size \d+", "--size 32"),
    (r"--copies \d+", "--copies 2"),
    (
        r"--model resnet50 --layers 'layer3\*'",
        "--model resnet18 --weights random --layers layer1.0",
    ),
    (r"000/0000\d\d\.", "000/000001."),
    (r"\| jq .*", "| grep -q sha256"),  # not everybody has jq
]


def commands() -> list[str]:
    """Every pixmix command line in a fenced block, comments cut off, each once."""
    found: dict[str, None] = {}
    for page in PAGES:
        if page.name == "commands.md":  # help texts, checked elsewhere
            continue
        for block in re.findall(r"^```(?:\w*)\n(.*?)^```", page.read_text("utf-8"), re.S | re.M):
            for line in block.replace("\\\n", " ").splitlines():
                line = re.sub(r"\s+#.*", "", line.strip())
                if line.startswith("pixmix ") and not set("[]<>").intersection(line):
                    found.setdefault(line)
    return list(found)


def test_the_docs_show_every_command() -> None:
    shown = {shlex.split(line.split("|")[0])[1] for line in commands()}
    assert set(COMMANDS) <= shown
    assert shown - {"COMMAND", "--help"} <= set(COMMANDS)


def examples() -> list[str]:
    """The Python blocks of the page for those who use the library."""
    text = (ROOT / "docs" / "library.md").read_text("utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.S | re.M)


def furnished(root: Path) -> Path:
    """A folder with what the commands name: photographs, CIFAR, digits, a mixing set."""
    sides = {"photos/train": 48, "cifar/train": 32, "digits": 28, "someone/elses": 64}
    for place, side in sides.items():
        for label in range(2):
            folder = root / place / f"class{label}"
            folder.mkdir(parents=True)
            for number in range(3):
                pixels = picture(10 * label + number, side, side)
                Image.fromarray(pixels).save(folder / f"{number}.png")
    return root


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of the documentation are typed."""
    return furnished(tmp_path_factory.mktemp("docs"))


@pytest.fixture(scope="module")
def library_place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the library's examples run: with a mixing set and a baked set that nothing adds to."""
    root = furnished(tmp_path_factory.mktemp("library"))
    (root / "mixing").mkdir()
    for index in range(3):
        Image.fromarray(picture(index, 64, 64)).save(root / "mixing" / f"example{index}.jpg")
    baked = ("bake", "photos/train", "--mixing-set", "mixing", "-o", "baked", "-q", "--copies", "2")
    subprocess.run(command_line(baked), cwd=root, env=environment(), check=True)
    return root


class Reader:
    """Types the commands of the documentation in one folder, in their order, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.done: dict[str, subprocess.CompletedProcess[str]] = {}

    def type(self, line: str) -> subprocess.CompletedProcess[str]:
        """What came of a line, after all lines above it."""
        for above in commands():
            if above not in self.done:
                self.done[above] = self._run(above)
            if above == line:
                break
        return self.done[line]

    def _run(self, line: str) -> subprocess.CompletedProcess[str]:
        for pattern, smaller in SMALLER:
            line = re.sub(pattern, smaller, line)
        if " -o " in line and "-o -" not in line and not re.search("--resume|--shard", line):
            line = line.replace(" -o ", " --overwrite -o ", 1)
        program = f'pixmix() {{ {shlex.quote(sys.executable)} -m pixmix_cli.main "$@"; }}\n{line}'
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", program], cwd=self.folder, timeout=240,
            env=environment(PIXMIX_RENDER_FEATVIS_STEPS="1", PIXMIX_RENDER_FEATVIS_SIZE="32"),
            capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip


@pytest.fixture(scope="module")
def reader(workplace: Path) -> Reader:
    return Reader(workplace)


@pytest.mark.process
@pytest.mark.parametrize("line", commands())
def test_a_command_line_of_the_docs_runs(reader: Reader, line: str) -> None:
    done = reader.type(line)
    assert done.returncode in (0, 141), done.stderr  # 141: `head` had enough


@pytest.mark.process
@pytest.mark.parametrize("number", range(len(examples())))
def test_every_example_of_the_library_runs_and_prints_what_it_says(
    number: int, library_place: Path
) -> None:
    program = examples()[number]
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=library_place, env=environment(), timeout=240,
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = re.findall(r"print\(.*\)  # (.*)", program)
    assert told == done.stdout.splitlines()


def test_every_error_that_names_a_section_of_the_docs_names_one_that_is_there() -> None:
    from pixmix_cli import errors

    text = (ROOT / "docs" / "errors.md").read_text("utf-8")
    there = {line[3:].lower().replace(" ", "-") for line in text.splitlines() if line[:3] == "## "}
    kinds = [value for value in vars(errors).values() if isinstance(value, type)]
    named = {kind.page for kind in kinds if issubclass(kind, errors.PixMixError)} - {None}
    full = errors.StorageError.from_os_error(OSError(28, "full"), "x")
    assert named
    assert named | {full.page} <= there


@pytest.mark.process
def test_man_pages_are_made_from_the_commands(tmp_path: Path) -> None:
    pytest.importorskip("click_man")
    script = ROOT / "docs" / "make_man.py"
    environ = environment(SOURCE_DATE_EPOCH="0")
    subprocess.run([sys.executable, script, tmp_path], check=True, env=environ)
    assert {path.name for path in tmp_path.iterdir()} == {
        "pixmix.1", *(f"pixmix-{name}.1" for name in COMMANDS)
    }  # fmt: skip
    page = (tmp_path / "pixmix-bake.1").read_text()
    assert "1970-01-01" in page
    assert "PIXMIX_BAKE_COPIES" in page
    assert r"\-\-mixing\-set" in page
