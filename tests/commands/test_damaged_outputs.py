"""Whatever field of a row, manifest or plan is lost or of another type: one line, no traceback."""

from __future__ import annotations

import contextlib
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from pixmix_cli.main import run
from tests.conftest import picture

pytestmark = pytest.mark.long

BAKED = ("webdataset", "imagefolder", "npy", "parquet")
LOST = object()
OTHERS: tuple[Any, ...] = (None, "text", -7, 1.5, [], {"a": 1})  # what a field becomes


def call(*words: object) -> tuple[int, str]:
    """Exit code and stderr of a command in this process."""
    err = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(err):
        code = run([str(word) for word in words])
    return code, err.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small outputs of every kind, finished, and unfinished by parts."""
    root = tmp_path_factory.mktemp("damaged")
    for label in range(2):
        folder = root / "photos" / f"class{label}"
        folder.mkdir(parents=True)
        for number in range(2):
            Image.fromarray(picture(10 * label + number, 24, 24)).save(folder / f"{number}.png")
        (folder / "broken.png").write_bytes(b"no picture")
    for name, words in sets(root).items():
        part = ("--shard", "0/2") if name.startswith("part-") else ()
        code, err = call(*words, *part, "-o", root / name, "-qq")
        assert code in (0, 3), err
    return root


def sets(root: Path) -> dict[str, tuple[object, ...]]:
    """Name of each output -> the command that makes it."""
    fractals = ("generate-fractals", "-n", 3, "--size", 32, "-j", 1)
    tars = ("--format", "webdataset", "--shard-size", 2)
    bake = (
        *("bake", root / "photos", "--mixing-set", root / "fractals", "--size", 32, "-j", 1),
        *("--shard-size", 4),
    )
    return {
        "fractals": fractals,
        "fractal-tars": (*fractals, *tars),
        "part-fractals": fractals,
        # one of its pictures carries no recipe, and is skipped
        "again": ("generate-fractals", "--from", root, "-j", 1),
        **{f"bake-{layout}": (*bake, "--format", layout) for layout in BAKED},
        **{f"part-bake-{layout}": (*bake, "--format", layout) for layout in BAKED},
    }


def readers(name: str, root: Path, out: Path) -> dict[str, tuple[object, ...]]:
    """The commands that read an output, by what they do."""
    command, *rest = sets(root)[name]
    found: dict[str, tuple[object, ...]] = {
        "verify": ("verify", out, "-j", 1),
        "resume": (command, *rest, "-o", out, "--resume"),
        "preview": ("preview", out, "-o", root / "sheet.png", "--overwrite"),
        "report": ("report", out, "-o", root / "report.html", "--overwrite", "-j", 1),
    }
    if name.startswith("part-"):
        found["finish"] = ("verify", out, "--finish", "-j", 1)
        found["part"] = (command, *rest, "-o", out, "--shard", "1/2")
    elif name.startswith("bake-"):
        found["repair"] = ("verify", out, "--repair", "-j", 1)
        found["compare"] = ("verify", out, "--rebake-sample", 1, "-j", 1)
    return found


def damages(value: Any, every: bool, where: str = "") -> Iterator[tuple[str, Any]]:
    """(name of a field, the value without it or with another in its place), down to the leaves.

    every  with each of OTHERS in its place; else with one of them
    """
    if isinstance(value, list) and value:
        for found, changed in damages(value[0], every, f"{where}[0]"):
            yield found, [changed, *value[1:]]
    for place, name in enumerate(value if isinstance(value, dict) else ()):
        inner = f"{where}.{name}".lstrip(".")
        yield inner, {other: value[other] for other in value if other != name}
        others = [other for other in OTHERS if type(other) is not type(value[name])]
        for other in others if every else others[place % len(others) :][:1]:
            yield inner, {**value, name: other}
        for found, changed in damages(value[name], every, inner):
            yield found, {**value, name: changed}


def lines_of_every_kind(file: Path) -> list[int]:
    """Numbers of the first line with each set of keys."""
    seen: dict[tuple[str, ...], int] = {}
    for number, line in enumerate(file.read_text().splitlines()):
        seen.setdefault(tuple(json.loads(line)), number)
    return list(seen.values())


def wrong(name: str, root: Path, file: str, text: str, field: str, line: int = 0) -> list[str]:
    """What went wrong when each command met an output with a damaged file.

    text   of the file
    field  that is damaged; line: of the file, from 1, where it has rows
    """
    found = []
    for how, words in readers(name, root, root / "copy").items():
        shutil.rmtree(root / "copy", ignore_errors=True)
        shutil.copytree(root / name, root / "copy")
        (root / "copy" / file).write_text(text)
        code, err = call(*words, "-qq")
        lines = [told for told in err.splitlines() if "warning:" not in told]
        names = [Path(file).name, field.partition(".")[0]] + ([f"line {line} "] if line else [])
        if code not in (0, 1, 2, 3) or "internal error" in err or "Traceback" in err:
            why = "an internal error"
        elif len(lines) > 1:
            why = "more than one line"
        elif "is damaged" in err and not all(part in err for part in names):
            why = "what is damaged is not named"
        else:
            continue
        found.append(f"{how} with {file} {line or ''} {field}: {why}: {err.strip()[-300:]}")
    return found


def damaged_rows(root: Path, name: str, every: bool) -> list[str]:
    """What went wrong with every field of every kind of row of an output."""
    found: list[str] = []
    for file in ("manifest.jsonl", "errors.jsonl", ".pixmix/journal-00000-of-00002.jsonl"):
        if not (root / name / file).is_file():
            continue
        lines = (root / name / file).read_text().splitlines(keepends=True)
        for number in lines_of_every_kind(root / name / file):
            for field, row in damages(json.loads(lines[number]), every):
                text = "".join([*lines[:number], json.dumps(row) + "\n", *lines[number + 1 :]])
                found += wrong(name, root, file, text, field, number + 1)
    return found


def damaged_manifests(root: Path, name: str, every: bool) -> list[str]:
    """What went wrong with every field of an output's manifest or plan."""
    file = ".pixmix/plan.json" if name.startswith("part-") else "manifest.json"
    manifest = json.loads((root / name / file).read_text())
    found: list[str] = []
    for field, damaged in damages(manifest, every):
        found += wrong(name, root, file, json.dumps(damaged), field)
    return found


def test_every_kind_of_row_is_among_the_outputs(place: Path) -> None:
    from pixmix_cli.outputs.row_files import committed_rows

    kinds = {type(row).__name__ for name in sets(place) for row in committed_rows(place / name)}
    assert kinds == {
        "BakedPicture", "BakedShard", "BakedSlice", "MixingMember", "MixingPicture",
        "MixingShard", "SkippedPicture", "SkippedSample",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name",
    ["again", "fractal-tars", "bake-webdataset", "bake-imagefolder", "bake-npy", "part-fractals"],
)
def test_a_damaged_field_of_a_row_is_named_in_one_line(place: Path, name: str) -> None:
    found = damaged_rows(place, name, every=False)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("name", ["fractal-tars", "bake-webdataset", "part-bake-npy"])
def test_a_damaged_field_of_a_manifest_or_plan_is_named_in_one_line(place: Path, name: str) -> None:
    found = damaged_manifests(place, name, every=False)
    assert not found, "\n".join(found)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(sets(Path())))
def test_every_damage_of_every_output_is_named_in_one_line(place: Path, name: str) -> None:
    found = damaged_rows(place, name, every=True) + damaged_manifests(place, name, every=True)
    assert not found, "\n".join(found)


@pytest.mark.parametrize("command", ["report", "preview"])
def test_a_damaged_manifest_is_not_taken_for_none(place: Path, command: str) -> None:
    shutil.rmtree(place / "copy", ignore_errors=True)
    shutil.copytree(place / "fractals", place / "copy")
    manifest = place / "copy" / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"size"', '"sise"'))
    code, err = call(command, place / "copy", "-o", place / f"{command}.png", "--overwrite")
    assert code == 2
    assert "manifest.json is damaged" in err
    manifest.write_text('{"made by": "someone else"}')
    assert call(command, place / "copy", "-o", place / f"{command}.png", "--overwrite")[0] == 0
