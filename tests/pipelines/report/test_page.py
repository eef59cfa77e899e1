"""Where the bars of the report stand, and what becomes of text that looks like HTML."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pixmix_cli.pipelines.report import page as report_page
from pixmix_cli.pipelines.report.draws_fit import Fit
from pixmix_cli.pipelines.report.page import (
    LEFT,
    WIDTH,
    address_of,
    bar_chart,
    blocks,
    page_of,
)
from pixmix_cli.pipelines.report.sections import Picture, SampleRow, Section, Tile


def test_the_largest_bar_fills_the_width_and_the_others_follow_their_counts() -> None:
    chart = bar_chart(["a", "b", "c"], [1, 4, 0])
    full = WIDTH - LEFT - 55
    assert [row.length for row in chart.rows] == pytest.approx([full / 4, full, 0])
    assert [row.rule for row in chart.rows] == [None, None, None]
    assert [row.y for row in chart.rows] == [0, 18, 36]
    assert chart.height == 3 * 18 + 2


def test_a_rule_stands_at_the_expected_share_and_the_number_beside_the_longer() -> None:
    chart = bar_chart(["a", "b"], [1, 3], [0.5, 0.5])
    full = WIDTH - LEFT - 55
    half = LEFT + 0.5 / 0.75 * full
    assert [row.rule for row in chart.rows] == pytest.approx([half, half])
    assert [row.end for row in chart.rows] == pytest.approx([half + 6, LEFT + full + 6])


def test_many_bars_are_thinner_and_none_are_no_error() -> None:
    assert bar_chart([str(n) for n in range(15)], [1] * 15).row == 15
    assert bar_chart([], []).rows == []
    assert [row.length for row in bar_chart(["a"], [0]).rows] == [0]


def test_a_long_name_is_cut() -> None:
    (row,) = bar_chart(["n" * 30], [1]).rows
    assert row.name == "n" * 17 + "…"


def test_ranges_of_a_measure_share_one_scale_with_the_peers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(report_page, "PEERS", {"slope": {"flam3": (None, 4.0, None)}})
    nothing = {one.name: {"median": None} for one in report_page.MEASURES}
    record = {**nothing, "slope": {"p10": 1.0, "median": 2.0, "p90": 3.0}}
    section = Section("some/set", "mixing", 2, [], record=record)
    (chart,) = report_page._range_charts([section])
    ours, peer = chart.rows
    unit = (WIDTH - LEFT - 45) / 4
    assert (ours.name, ours.kind, ours.text) == ("set", "bar", "2.00")
    assert ours.start == pytest.approx(LEFT + unit, abs=0.06)
    assert ours.length == pytest.approx(2 * unit, abs=0.11)
    assert ours.middle == pytest.approx(LEFT + 2 * unit, abs=0.06)
    assert (peer.name, peer.kind, peer.start, peer.length) == ("flam3", "peer", None, None)
    assert peer.middle == pytest.approx(LEFT + 4 * unit, abs=0.06)


def test_blocks_are_the_paragraphs_and_tables_of_markdown() -> None:
    text = "First.\n\n| a | b |\n|---|---|\n| 1 | **2** |\nSecond.\n| c |\n|---|\n"
    assert list(blocks(text)) == ["First.", [["a", "b"], ["1", "**2**"]], "Second.", [["c"]]]


class Texts(HTMLParser):
    """What a browser would show of a page, and the attributes of its images."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_text_of_a_baked_set_is_shown_as_it_is_and_makes_no_tag() -> None:
    evil = "</td><img src=x onerror=\"alert('1')\">&amp;"
    fit = Fit(evil, (evil, "b"), (30, 30), (0.5, 0.5), 0.0004)
    section = Section(
        "set",
        "baked",
        60,
        [("pictures", "60")],
        samples=[SampleRow(evil, None, ((None, (evil,)),))],
        fits=[fit],
        fitted=1234,
        classes=[(evil, 60), *((str(n), 1) for n in range(1200))],
        errors=[(evil, evil)],
        errors_left_out=2000,
    )
    page = page_of([section]).decode()
    reader = Texts()
    reader.feed(page)
    assert reader.texts.count(evil) == 1 + 1 + 2  # key, words, error's key and text
    assert any(text.startswith(evil) for text in reader.texts if text != evil)  # the fit's title
    assert reader.tags.count("img") == 1  # the dialog's
    assert reader.tags.count("td") == 1 + 2 + 2  # a fact, a sample and its copy, an error
    assert "differs from the recipe, p = 0.000" in page
    assert '<span class="bad">' in page
    assert "Draws of 1,234 pictures against the recipe" in page
    assert "Classes, of 1,260 pictures looked at" in page
    assert "and 1,101 more classes" in page
    assert "2,001 left out or unreadable" in page
    assert "and 2,000 more<" in page
    assert len(re.findall(r'<rect class="bar"', page)) == 2 + 100


def test_a_name_that_is_not_unicode_is_no_error() -> None:
    section = Section("name-\udcff", "baked", 0, [("made by", "\udcff")])
    assert b"<h2>name-?</h2>" in page_of([section])


SOME = Picture(b"\x89PNG...", 30, 20, (300, 200))


def test_every_picture_on_the_page_has_its_size_and_is_not_loaded_late() -> None:
    tile = Tile("a", "kind", "", SOME)
    mixing = Section("set", "mixing", 1, [], tiles=[tile])
    baked = Section("baked", "baked", 1, [], samples=[SampleRow("key", SOME, ((SOME, ()),))])
    page = page_of([mixing, baked]).decode()
    images = re.findall(r"<img [^>]*src=[^>]*>", page)
    assert len(images) == 3
    for image in images:
        assert 'width="30" height="20"' in image
        assert 'alt="' in image
    assert page.count('data-size="300 200"') == 3
    assert "lazy" not in page


def test_all_charts_are_drawn_at_one_scale() -> None:
    many = [(str(n), n + 1) for n in range(60)]
    fit = Fit("rounds", ("a", "b"), (30, 30), (0.5, 0.5), 0.5)
    section = Section("set", "baked", 60, [], fits=[fit], classes=many)
    page = page_of([section]).decode()
    widths = re.findall(r'<svg width="(\d+)" height="\d+" viewBox="0 0 (\d+) ', page)
    assert widths == [(str(WIDTH), str(WIDTH))] * 2
    assert page.count('<div class="charts">') == 2


def test_the_address_of_a_file_is_relative_to_the_page_and_quoted() -> None:
    assert address_of("sets/a b/c#1.png", Path("sets")) == "a%20b/c%231.png"
    assert address_of("/x/a.png", Path("/x/y")) == "../a.png"
    assert address_of("a\udcff.png", Path()) == "a%FF.png"
    assert address_of("", Path("sets")) == ""
