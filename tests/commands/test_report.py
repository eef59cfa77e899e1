"""pixmix report: one page, self-contained, about any sets."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixmix_cli.pipelines.report.page import page_of
from pixmix_cli.pipelines.report.sections import Picture, Section, Tile
from pixmix_cli.storage.images import encode
from tests.conftest import Cli, one_line_error, picture

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


@pytest.fixture(scope="module")
def baked(photos: Path, mixing: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small baked set of each format."""
    from pixmix_cli.main import run

    root = tmp_path_factory.mktemp("baked")
    for name in ("webdataset", "imagefolder", "npy"):
        words = ["bake", photos, "--mixing-set", mixing, "--size", "32", "--copies", "2", "-j", "1"]
        assert run([*map(str, words), "--format", name, "-o", str(root / name), "-qq"]) == 0
    return {name: root / name for name in ("webdataset", "imagefolder", "npy")}


def write(cli: Cli, page: Path, *words: object) -> str:
    code, out, err = cli("report", *words, "-o", page, "-j", "1")
    assert code == 0, err
    assert out == f"{page}\n"
    return page.read_text(encoding="utf-8")


def test_a_page_needs_nothing_but_itself(
    cli: Cli, mixing: Path, baked: dict[str, Path], tmp_path: Path
) -> None:
    text = write(cli, tmp_path / "r.html", mixing, *baked.values())
    assert not re.search(r"\s(src|href)=\"(?!data:)", text)
    assert "@import" not in text
    assert "url(" not in text
    assert "default-src 'none'" in text
    assert len(text) < 10_000_000
    for path in (mixing, *baked.values()):
        assert f"<h2>{path}</h2>" in text


def test_the_same_sets_give_the_same_page(cli: Cli, mixing: Path, tmp_path: Path) -> None:
    first = write(cli, tmp_path / "a.html", mixing)
    assert first == write(cli, tmp_path / "b.html", mixing)


def test_a_baked_set_shows_its_draws_in_words_and_against_the_recipe(
    cli: Cli, baked: dict[str, Path], tmp_path: Path
) -> None:
    for name in ("webdataset", "imagefolder"):
        text = write(cli, tmp_path / f"{name}.html", baked[name], "--samples", "24")
        assert re.search(r"<li>(add|multiply) a=\d\.\d\d b=-?\d\.\d\d with (m\d\.png|deep)", text)
        assert "Draws of 48 pictures against the recipe" in text
        assert "too few to test" in text or "as prescribed" in text
        assert "Classes, of 48 pictures" in text
        assert "zebra finch" in text
    text = write(cli, tmp_path / "npy.html", baked["npy"])
    assert "keeps no draws" in text
    assert "Classes, of 24 pictures" in text


def test_originals_that_are_gone_are_said_to_be(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(photos, source)
    words = ["--mixing-set", mixing, "--size", "24", "-o", tmp_path / "out", "-j", "1", "-qq"]
    assert cli("bake", source, *words)[0] == 0
    shutil.rmtree(source)
    assert "not there" in write(cli, tmp_path / "r.html", tmp_path / "out")


def test_broken_pictures_are_listed(cli: Cli, tmp_path: Path) -> None:
    for number in range(3):
        Image.fromarray(picture(number, 40, 40)).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    text = write(cli, tmp_path / "r.html", tmp_path)
    assert "1 left out or unreadable" in text
    assert "broken.png" in text


def test_the_safety_benchmark_s_tables_and_figure_are_shown(cli: Cli, tmp_path: Path) -> None:
    out = tmp_path / "safety"
    out.mkdir()
    run = {"training": {"epochs": 3}, "machine": {"device": "CPU", "torch": "2.14"}}
    results = {"command": "python -m benchmarks.safety --smoke", "runs": [run, run]}
    (out / "results.json").write_text(json.dumps(results))
    table = "| arm | error |\n|---|---|\n| plain | **.1 <b>** |\n\nMinus plain.\n"
    (out / "table.md").write_text(table)
    Image.fromarray(picture(1, 30, 30)).save(out / "safety.png")
    text = write(cli, tmp_path / "r.html", out)
    assert "<tr><th>arm</th><th>error</th></tr>" in text
    assert "<td class=n><b>.1 &lt;b&gt;</b></td>" in text
    assert "<p>Minus plain.</p>" in text
    assert "data:image/png" in text
    assert "python -m benchmarks.safety --smoke" in text
    (out / "results.json").write_text("{}")
    code, _, err = cli("report", out, "-o", tmp_path / "again.html")
    assert code == 2
    assert "results.json is damaged" in one_line_error(err)


def test_whatever_a_name_or_recipe_holds_is_only_text() -> None:
    evil = '"><script>alert(1)</script>&'
    tile = Tile(evil, evil, evil, Picture(b"", 1, 1, (1, 1)), evil)
    section = Section(evil, "mixing", 1, [(evil, evil)], tiles=[tile], errors=[(evil, evil)])
    text = page_of([section]).decode()
    assert "<script>alert" not in text
    assert text.count("<script>") == 1


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["no-such-set"], "does not exist"),
        (["."], "holds no pictures"),
    ],
)
def test_a_set_that_is_not_there_is_one_line(
    cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], hint: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = cli("report", *words, "-o", "r.html")
    assert (code, out) == (2, "")
    assert hint in one_line_error(err)
    assert not Path("r.html").exists()


def test_a_page_that_is_there_is_not_replaced_unasked(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    page = tmp_path / "r.html"
    page.write_text("mine")
    code, _, err = cli("report", mixing, "-o", page)
    assert code == 2
    assert "--overwrite" in one_line_error(err)
    assert page.read_text() == "mine"
    assert cli("report", mixing, "-o", page, "--overwrite", "-j", "1")[0] == 0
    assert page.read_text().startswith("<!doctype html>")


def browse(page: str, profile: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Open a page in headless Chromium, which may not reach any network."""
    assert CHROMIUM is not None
    quiet = [
        "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        "--enable-logging=stderr", f"--user-data-dir={profile}", "--hide-scrollbars",
        "--window-size=1200,1600",
    ]  # fmt: skip
    return subprocess.run(
        [CHROMIUM, *quiet, *words, page], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_the_page_loads_filters_and_looks_right_in_a_browser(
    cli: Cli, tmp_path: Path, baked: dict[str, Path]
) -> None:
    for number, kind in enumerate(("red", "red", "blue")):
        (tmp_path / "set" / kind).mkdir(parents=True, exist_ok=True)
        colour = (220, 20, 20) if kind == "red" else (20, 20, 220)
        pixels = np.full((64, 64, 3), colour, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "set" / kind / f"{number}.png")
    page = tmp_path / "r.html"
    write(cli, page, tmp_path / "set", baked["webdataset"])
    done = browse(f"{page.as_uri()}#kind=red", tmp_path / "profile", "--dump-dom")
    assert done.returncode == 0, done.stderr
    assert "CONSOLE" not in done.stderr, done.stderr
    assert "2 of 3 shown" in done.stdout
    assert len(re.findall(r"<button [^>]*data-kind=\"blue\"[^>]* hidden", done.stdout)) == 1
    for kind, shown, gone in (("red", "red", "blue"), ("blue", "blue", "red")):
        shot = tmp_path / f"{kind}.png"
        browse(f"{page.as_uri()}#kind={kind}", tmp_path / "profile", f"--screenshot={shot}")
        pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
        red = (np.abs(pixels - (220, 20, 20)).max(2) < 12).mean()
        blue = (np.abs(pixels - (20, 20, 220)).max(2) < 12).mean()
        areas = {"red": red, "blue": blue}
        assert areas[shown] > 0.003, areas  # a tile is at least 104 x 104 of 1200 x 1600 pixels
        assert areas[gone] < 0.0005, areas


def test_progress_ends_where_it_said(
    cli: Cli, mixing: Path, baked: dict[str, Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(mixing, broken)
    (broken / "torn.png").write_bytes(b"no picture")
    words = [broken, *baked.values(), "-o", tmp_path / "r.html", "-j", 1, "--progress", "json"]
    code, _, err = cli("report", *words)
    assert code == 0, err
    last = json.loads(err.splitlines()[-1])
    assert last["done"] == last["total"]
    assert last["total"] >= 7 + 2 * 7 + 48  # tiles, measured and compared, draws


DRIVEN = """<script>
const seen = [];
const press = key => document.activeElement.dispatchEvent(
  new KeyboardEvent('keydown', {key, bubbles: true}));
const note = () => seen.push([dialog.open, dialog.querySelector('h3').textContent,
  dialog.querySelector('p').textContent, dialog.querySelector('.recipe').innerHTML].join('|'));
document.querySelector('.gallery button').click(); note();
press('ArrowRight'); note();
press('ArrowRight'); note();
press('ArrowLeft'); note();
dialog.querySelector('button[value="1"]').click(); note();
document.querySelectorAll('.samples .picture')[1].click(); note();
document.querySelector('select').value = 'blue';
document.querySelector('select').dispatchEvent(new Event('input', {bubbles: true}));
seen.push(location.hash);
dialog.close();
dialog.addEventListener('close', () => {
  seen.push(document.activeElement.dataset.name);
  document.body.append(Object.assign(document.createElement('pre'),
    {id: 'seen', textContent: JSON.stringify(seen)}));
});
</script></body>"""


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium: apt-get install chromium")
def test_the_enlarged_view_shows_recipes_and_draws_and_moves_by_arrow_keys(
    cli: Cli, tmp_path: Path, baked: dict[str, Path]
) -> None:
    recipe = {"kind": "flame", "center": [1, 2], "layers": [{"weight": 0.5}], "evil": "<b>x</b>"}
    for number, kind in enumerate(("red", "red", "blue")):
        folder = tmp_path / "set" / kind
        folder.mkdir(parents=True, exist_ok=True)
        data = encode(picture(number, 300, 400), "png", recipe=json.dumps(recipe))
        (folder / f"{number}.png").write_bytes(data)
    text = write(cli, tmp_path / "r.html", tmp_path / "set", baked["webdataset"])
    page = tmp_path / "driven.html"
    page.write_text(text.replace("</body>", DRIVEN), encoding="utf-8")
    done = browse(page.as_uri(), tmp_path / "profile", "--dump-dom", "--virtual-time-budget=2000")
    assert "CONSOLE" not in done.stderr, done.stderr
    (found,) = re.findall(r'<pre id="seen">(.*?)</pre>', done.stdout, re.DOTALL)
    *views, address, focused = json.loads(html.unescape(found))
    names = [view.split("|")[1] for view in views[:5]]
    assert names == ["blue/2.png", "red/0.png", "red/1.png", "red/0.png", "red/1.png"]
    first = views[0].split("|", 3)
    assert first[0] == "true"
    assert first[2].startswith("1 of 3 · 400 × 300 px · blue")
    assert "<th>kind</th><td>flame</td>" in first[3]
    assert "<th>center</th><td>1, 2</td>" in first[3]
    assert "<details><summary>1 entry</summary>" in first[3]
    assert "&lt;b&gt;x&lt;/b&gt;" in first[3]
    assert re.search(r", copy 0\|.*<ol><li>", views[5])
    assert address == "#kind=blue"
    assert focused.endswith(", copy 0")
