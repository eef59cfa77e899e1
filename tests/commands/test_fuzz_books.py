"""Books of outputs, recipes and configs changed at random: one line, a documented exit code."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image, PngImagePlugin

from pixmix_cli.outputs.run_plan import RunPlan
from tests.commands.test_damaged_outputs import call, place, readers, sets

pytestmark = pytest.mark.long

__all__ = ["place"]  # the fixture: small outputs of every kind

ROWS = ("manifest.jsonl", "errors.jsonl", "journal", "handed-out", "trash.jsonl")
VALUES: tuple[Any, ...] = (
    None, "", 0, -1, 2**70, 1.5, 1e300, True, [], {}, "x" * 300, "\0", "../x", [[]], {"a": {}},
    "\ud800", float("nan"),
)  # fmt: skip


def spots(value: Any) -> Iterator[tuple[Any, Any]]:
    """(container, key) of every value inside a value."""
    keys = list(value) if isinstance(value, dict) else range(len(value))
    for key in keys if isinstance(value, dict | list) else ():
        yield value, key
        if isinstance(value[key], dict | list):
            yield from spots(value[key])


def damaged(rng: random.Random, text: str) -> str:
    """A line or file of JSON cut off, nested without end, or with a value lost or replaced."""
    how = rng.random()
    if how < 0.08:
        return text[: rng.randrange(len(text) + 1)]
    if how < 0.16:
        return rng.choice(["[", '{"a":']) * rng.choice([990, 100_000])
    if how < 0.2:
        place = rng.randrange(len(text))
        return text[:place] + chr(rng.randrange(1, 256)) + text[place + 1 :]
    value = json.loads(text)
    inside = list(spots(value))
    if not inside or how < 0.22:
        return json.dumps(rng.choice(VALUES))
    container, key = rng.choice(inside)
    if how < 0.5:
        del container[key]
    else:
        container[key] = rng.choice(VALUES)
    return json.dumps(value)


def with_its_hash(text: str) -> str:
    """A manifest or plan whose settings have the hash that belongs to them, if it can have one."""
    try:
        manifest = json.loads(text)
        manifest["settings_sha256"] = RunPlan.from_manifest(manifest).settings_sha256()
        return json.dumps(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return text


def commands(name: str, root: Path, out: Path) -> dict[str, tuple[object, ...]]:
    """Everything that reads an output's books."""
    command, *rest = sets(root)[name]
    found = readers(name, root, out)
    found["overwrite"] = (command, *rest, "-o", out, "--overwrite")
    found["inspect"] = ("inspect", out, "-j", 1)
    found["mix"] = (
        *("bake", root / "photos", "--mixing-set", out, "--size", 16, "-j", 1),
        *("-o", root / "mixed", "--overwrite"),
    )
    if command == "bake":
        found["grow"] = (command, *rest, "-o", out, "--resume", "--copies", 2)
    else:
        again = ("generate-fractals", "--from", out, "-o", root / "from", "--overwrite", "-j", 1)
        found["from"] = again
    return found


def one_case(rng: random.Random, root: Path) -> str | None:
    """Damage a book of an output, run a command on it, and say what went wrong."""
    name = rng.choice(list(sets(root)))
    out = root / "fuzzed"
    shutil.rmtree(out, ignore_errors=True)
    shutil.copytree(root / name, out)
    books = [p for p in (*out.iterdir(), *out.glob(".pixmix/*")) if p.suffix in (".json", ".jsonl")]
    if rng.random() < 0.1:
        (out / ".pixmix").mkdir(exist_ok=True)
        books = [out / ".pixmix" / "trash.jsonl"]
        books[0].write_text('{"path":"000/000000.jpg"}\n')
    book = rng.choice(sorted(books))
    text = book.read_text()
    if book.name.startswith(ROWS):
        lines = text.splitlines()
        number = rng.randrange(len(lines))
        lines[number] = damaged(rng, lines[number])
        new = "\n".join(lines) + "\n"
    else:
        new = damaged(rng, text)
        if rng.random() < 0.5:
            new = with_its_hash(new)
    book.write_bytes(new.encode("utf-8", "surrogatepass"))
    how, words = rng.choice(sorted(commands(name, root, out).items()))
    code, err = call(*words, "-qq")
    told = [line for line in err.splitlines() if "warning:" not in line]
    if code in (0, 1, 2, 3) and len(told) <= 1 and "internal error" not in err:
        return None
    return f"{how} of {name} with {book.name}: {code}, {err[-300:]}\n  {new[:500]}"


@pytest.mark.parametrize(
    "seed", [1, *(pytest.param(n, marks=pytest.mark.slow) for n in range(2, 30))]
)
def test_a_damaged_book_is_one_line_under_every_command(place: Path, seed: int) -> None:
    rng = random.Random(seed)
    found = [wrong for wrong in (one_case(rng, place) for _ in range(40)) if wrong is not None]
    assert not found, "\n".join(found)


def recipe_in(file: Path) -> str:
    with Image.open(file) as picture:
        comment: bytes = picture.info["comment"]
    return comment.decode()


def test_damaged_recipes_are_skipped_and_named(place: Path, tmp_path: Path) -> None:
    rng = random.Random(3)
    texts = [recipe_in(file) for file in sorted((place / "fractals").glob("*/*.jpg"))]
    (tmp_path / "damaged").mkdir()
    for number in range(100):
        told = PngImagePlugin.PngInfo()
        text = damaged(rng, rng.choice(texts)).encode("latin1", "replace").decode("latin1")
        told.add_text("pixmix", text.replace("\0", "?"))
        Image.new("RGB", (8, 8)).save(tmp_path / "damaged" / f"{number}.png", pnginfo=told)
    code, err = call(
        *("generate-fractals", "--from", tmp_path / "damaged", "-o", tmp_path / "o", "-j", 1, "-qq")
    )
    assert code == 3, err
    lines = (tmp_path / "o" / "errors.jsonl").read_text().splitlines()
    errors = [json.loads(line) for line in lines]
    assert len(errors) > 60
    assert all(error["error"].startswith(error["from"]) for error in errors)


@pytest.mark.parametrize(
    "text", ["k = " + "[" * 100_000, "k = " + "{a=" * 5_000, "a." * 3_000 + "b=1", 'k = "'],
    ids=["lists", "tables", "dots", "cut off"],
)  # fmt: skip
def test_a_config_that_is_nested_without_end_is_refused_in_one_line(
    tmp_path: Path, text: str
) -> None:
    (tmp_path / "c.toml").write_text(f"[bake]\n{text}\n")
    code, err = call("bake", tmp_path, "--mixing-set", tmp_path, "--config", tmp_path / "c.toml")
    assert (code, len(err.splitlines())) == (2, 1)
    assert "c.toml" in err
    assert len(err) < 500
