"""Pages are read: links lead somewhere, sentences are short, and what pages name is there."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.safety import report
from tests.conftest import ROOT

LONGEST_SENTENCE = 40  # words
README_LINES = 120
ARCHITECTURE_BYTES = 8192
DESIGN_LINES = 120  # of one page of docs/design
GENERATED = "docs/commands.md"
LAB = "docs/lab/"  # dated records: they may name what is gone since


def tracked() -> list[str]:
    """Every file that git keeps, or would: paths relative to the root."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout", allow_module_level=True)
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


FILES = tracked()
FOLDERS = {parent.as_posix() for name in FILES for parent in Path(name).parents} - {"."}
PAGES = sorted(name for name in FILES if name.endswith(".md"))


def text_of(page: str) -> str:
    return (ROOT / page).read_text("utf-8")


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```[ \t]*$", "", text, flags=re.S | re.M)


# ---------------------------------------------------------------- links


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives the headings of a page."""
    found: dict[str, int] = {}
    names = set()
    for heading in re.findall(r"^#+ +(.*?) *$", without_code(page.read_text("utf-8")), re.M):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"[`*]", "", heading).lower()).replace(" ", "-")
        number = found.get(plain, 0)
        found[plain] = number + 1
        names.add(f"{plain}-{number}" if number else plain)
    return names


def links(page: str) -> list[str]:
    prose = re.sub(r"`[^`\n]*`", "", without_code(text_of(page)))
    found = re.findall(r"\]\(([^)\s]+)\)", prose)
    return [link for link in found if not re.match(r"[a-z]+:", link)]


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_and_anchor_leads_somewhere(page: str) -> None:
    broken = []
    for link in links(page):
        place, _, anchor = link.partition("#")
        target = (ROOT / page).parent / place if place else ROOT / page
        there = target.resolve()
        inside = there.is_relative_to(ROOT) and there.exists()
        if not inside or (anchor and anchor not in anchors(there)):
            broken.append(link)
    assert not broken


def test_a_broken_link_or_anchor_would_be_seen() -> None:
    assert links("README.md")
    assert "no-such-heading" not in anchors(ROOT / "README.md")
    assert "no-space-left" in anchors(ROOT / "docs" / "errors.md")


# ---------------------------------------------------------------- sentences


def sentences(text: str) -> list[str]:
    """The sentences of running text and lists; code blocks, tables and headings left out."""
    lines: list[str] = []
    for line in without_code(text).splitlines():
        bare = line.strip()
        if re.match(r"#|\||!\[|<", bare):
            bare = ""
        item = re.match(r"(?:[-*]|\d+\.) +(.*)", bare)
        lines += ["", item.group(1)] if item else [bare]
    found = []
    for paragraph in re.split(r"\n\s*\n", "\n".join(lines)):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph)
        plain = re.sub(r"`[^`]*`", "CODE", plain).replace("*", "")
        found += re.split(r"(?<=[.!?])[\")]?\s+(?=[\"(A-Z0-9])", " ".join(plain.split()))
    return [sentence for sentence in found if sentence]


def words(sentence: str) -> int:
    return len(re.findall(r"\S*\w\S*", sentence))


@pytest.mark.parametrize("page", [page for page in PAGES if page != GENERATED])
def test_no_sentence_is_longer_than_40_words(page: str) -> None:
    long = [s for s in sentences(text_of(page)) if words(s) > LONGEST_SENTENCE]
    assert not long, "\n\n".join(f"{words(s)}: {s}" for s in long)


def test_sentences_are_counted_as_a_reader_would() -> None:
    text = "# Head\n\nOne. Three `a b c` (four)\nfive.\n\n| a |\n\n- Six, e.g. eight\n- nine\n"
    assert sentences(text) == ["One.", "Three CODE (four) five.", "Six, e.g. eight", "nine"]
    assert words("Three CODE (four) - five.") == 4


# ---------------------------------------------------------------- sizes


def test_the_readme_is_a_page_that_is_read_to_its_end() -> None:
    assert len(text_of("README.md").splitlines()) <= README_LINES


def test_the_architecture_fits_8_kb() -> None:
    assert len(text_of("ARCHITECTURE.md").encode()) <= ARCHITECTURE_BYTES


@pytest.mark.parametrize("page", [page for page in PAGES if page.startswith("docs/design/")])
def test_a_design_page_is_about_one_decision(page: str) -> None:
    assert len(text_of(page).splitlines()) <= DESIGN_LINES


# ---------------------------------------------------------------- what pages name


def named_paths(page: str) -> list[str]:
    """What stands in backticks and begins with a folder of this repository."""
    tops = {name.split("/")[0] for name in FOLDERS}
    found = re.findall(r"`([\w./-]+/[\w./-]*)`", without_code(text_of(page)))
    return [path.rstrip("/") for path in found if path.split("/")[0] in tops]


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != GENERATED and not page.startswith(LAB)]
)
def test_every_file_or_folder_that_a_page_names_is_there(page: str) -> None:
    gone = [path for path in named_paths(page) if path not in FOLDERS and path not in FILES]
    assert not gone


def test_a_page_that_names_a_lost_file_would_be_seen() -> None:
    assert "tests/naive" in named_paths("CONTRIBUTING.md")
    assert "tests/gone" not in FOLDERS


def printed_tree() -> dict[str, str]:
    """Folder -> its line, as ARCHITECTURE.md prints the tree: two spaces a level."""
    block = re.search(r"^```tree\n(.*?)^```", text_of("ARCHITECTURE.md"), re.S | re.M)
    assert block, "ARCHITECTURE.md has no ```tree block"
    tree: dict[str, str] = {}
    above: list[str] = []
    for line in block.group(1).splitlines():
        match = re.fullmatch(r"( *)([\w.-]+)/ +(\S.*)", line)
        assert match, f"not a folder and what is in it: {line!r}"
        level = len(match.group(1)) // 2
        above = [*above[:level], match.group(2)]
        tree["/".join(above)] = match.group(3)
    return tree


def test_the_printed_tree_is_the_tree_of_folders() -> None:
    """Folders of tests that mirror another folder need no line of their own."""
    mirrors = {
        folder
        for folder in FOLDERS
        if (inner := folder.removeprefix("tests/")) != folder
        and (inner in FOLDERS or f"pixmix_cli/{inner}" in FOLDERS)
    }
    shown = set(printed_tree())
    assert sorted(FOLDERS - mirrors - shown) == [], "not in ARCHITECTURE.md"
    assert sorted(shown - FOLDERS) == [], "in ARCHITECTURE.md only"


def test_the_speed_table_of_the_readme_quotes_the_page_of_current_figures() -> None:
    section = text_of("README.md").split("## How fast", 1)[1].split("\n## ", 1)[0]
    rows = [line for line in section.splitlines() if line.startswith("|")][2:]
    assert 1 <= len(rows) <= 4
    figures = text_of("docs/performance.md").splitlines()
    assert [row for row in rows if row not in figures] == []


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.startswith(LAB) and page != f"{LAB}README.md"]
)
def test_a_record_of_the_lab_is_dated_and_names_machine_and_versions(page: str) -> None:
    assert re.match(r"\d{4}-\d\d-\d\d-[\w-]+\.md$", page.removeprefix(LAB))
    head = text_of(page).split("\n## ", 1)[0]
    assert re.search(r"^\| machine \| .+ \|$", head, re.M)
    assert re.search(r"^\| versions \| .+ \|$", head, re.M)
    assert f"]({page.removeprefix(LAB)})" in text_of(f"{LAB}README.md"), "not in the list"


# ---------------------------------------------------------------- commands and figures


def command_lines(page: str) -> set[str]:
    """The pixmix command lines in a page's code blocks, comments cut off."""
    blocks = re.findall(r"^```.*?\n(.*?)^```", text_of(page), re.S | re.M)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    bare = (re.sub(r"\s+#.*", "", line.strip()) for line in lines)
    return {line for line in bare if line.startswith("pixmix ")}


RUN = ["README.md", *(p for p in PAGES if re.fullmatch(r"docs/[\w-]+\.md", p) and p != GENERATED)]


def test_the_commands_in_the_readmes_table_stand_in_blocks_that_are_run() -> None:
    shown = re.findall(r"^\|[^|]*\| `(pixmix [^`]*)` \|$", text_of("README.md"), re.M)
    assert len(shown) >= 5
    run = set().union(*(command_lines(page) for page in RUN))
    assert [line for line in shown if line not in run] == []


def test_no_page_shows_commands_where_no_test_runs_them() -> None:
    others = [page for page in PAGES if page not in RUN and page != GENERATED]
    assert {page: lines for page in others if (lines := command_lines(page))} == {}


@pytest.fixture(scope="module")
def figure() -> Any:
    """docs/make_safety_figure.py, which is no package's."""
    pytest.importorskip("matplotlib")
    place = ROOT / "docs" / "make_safety_figure.py"
    spec = importlib.util.spec_from_file_location("make_safety_figure", place)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SAFETY_RUNS = f"{LAB}2026-11-29-safety-50000.json"
COPIES_RUNS = f"{LAB}2026-11-29-copies.json"


def recorded(runs: str) -> list[dict[str, Any]]:
    """The runs of the safety benchmark that a page quotes."""
    found: list[dict[str, Any]] = json.loads(text_of(runs))["runs"]
    return found


def online_beside_plain(runs: list[dict[str, Any]]) -> str:
    """The table of two arms alone."""
    return report.five([run for run in runs if run["arm"] in ("plain", "ours-online")])


def rows(table: str) -> list[str]:
    """The lines of a table in Markdown."""
    return [line for line in table.splitlines() if line.startswith("|")]


@pytest.mark.parametrize(("what", "runs"), [("five", SAFETY_RUNS), ("copies", COPIES_RUNS)])
def test_the_figures_of_safety_are_drawn_from_the_recorded_runs(
    figure: Any, tmp_path: Path, what: str, runs: str
) -> None:
    figure.main([what, str(ROOT / runs), str(tmp_path / "drawn.png")])
    assert (tmp_path / "drawn.png").stat().st_size > 10_000


QUOTED = [  # by the README in this order
    ("plain", "corruption error"),
    ("soft", "corruption error"),
    ("plain", "calibration, corrupted"),
    ("soft", "calibration, corrupted"),
    ("plain", "AUROC, structured"),
    ("soft", "AUROC, structured"),
    ("plain", "clean error"),
    ("soft", "clean error"),
    ("noise", "corruption error"),
    ("noise", "AUROC, structured"),
]


def test_the_readmes_sentence_on_safety_quotes_the_recorded_runs() -> None:
    sentence = text_of("README.md").split("**Does it help?**", 1)[1].split("\n\n", 1)[0]
    quoted = re.findall(r"(?<!\w)\.\d{3}", sentence)
    arms = report.by_arm(recorded(SAFETY_RUNS))
    means = [report.spread([run[name] for run in arms[arm].values()])[0] for arm, name in QUOTED]
    assert quoted == [f"{mean:.3f}".removeprefix("0") for mean in means]


@pytest.mark.parametrize(
    ("page", "shown", "runs"),
    [
        ("docs/safety.md", report.five, SAFETY_RUNS),
        (SAFETY_RUNS.replace(".json", ".md"), report.table, SAFETY_RUNS),
        ("docs/settings.md", report.copies, COPIES_RUNS),
        ("docs/safety.md", online_beside_plain, COPIES_RUNS),
        (COPIES_RUNS.replace(".json", ".md"), report.table, COPIES_RUNS),
    ],
)
def test_the_pages_on_safety_show_the_tables_of_the_recorded_runs(
    page: str, shown: Callable[[list[dict[str, Any]]], str], runs: str
) -> None:
    lines = text_of(page).splitlines()
    assert [row for row in rows(shown(recorded(runs))) if row not in lines] == []
