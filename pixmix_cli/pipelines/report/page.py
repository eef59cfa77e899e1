"""report: the gathered sections as one HTML page that needs no network and no server.

The words, the tags, the style and the script are in `templates`; here is what they show.
"""

from __future__ import annotations

import base64
import os
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2

from pixmix_cli.pipelines.inspect.summary import MEASURES, MISSED, Measure, rows_of
from pixmix_cli.pipelines.report.sections import Section

# Median [p10, p90] at 512 px, n = 200 each (docs/lab/2026-11-22-prototype-fractals.md).
# None: not measured.
PEERS: dict[str, dict[str, tuple[float | None, float, float | None]]] = {
    "active": {"catalys1": (0.10, 0.26, 0.52), "flam3": (0.12, 0.46, 0.86)},
    "colorfulness": {"catalys1": (75, 103, 140), "flam3": (7, 26, 53)},
    "hue": {"catalys1": (None, 4.3, None), "flam3": (None, 2.1, None)},
    "slope": {"catalys1": (None, 2.3, None), "flam3": (None, 2.5, None)},
    "contrast": {"catalys1": (None, 34, None), "flam3": (None, 31, None)},
}
ROW, LEFT, WIDTH = 22, 125, 360  # pixels of a chart: height of a row, room for names, whole width


def page_of(sections: Sequence[Section], folder: Path | None = None) -> bytes:
    """The page, UTF-8. The same sections give the same bytes.

    folder  where it will lie: the addresses of picture files are relative to it
    """
    measured = [one for one in sections if one.record is not None]
    records = [one.record for one in measured if one.record is not None]
    here = Path.cwd() if folder is None else folder
    text = (
        _templates()
        .get_template("page.html")
        .render(
            address=lambda file: address_of(file, here),
            sections=sections,
            measures=rows_of(records) if records else [],
            charts=list(_range_charts(measured)),
        )
    )
    return text.encode("utf-8", "replace")


def address_of(file: str, folder: Path) -> str:
    """The address of a file from a page in a folder, "" for no file."""
    if not file:
        return ""
    relative = os.path.relpath(os.path.abspath(file), os.path.abspath(folder))
    return urllib.parse.quote(relative.replace(os.sep, "/"), errors="surrogateescape")


def _templates() -> jinja2.Environment:
    """Everything that a template shows is text, and escaped, unless the template wrote it."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pixmix_cli.pipelines.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda data: base64.b64encode(data).decode("ascii")
    environment.globals.update(bar_chart=bar_chart, blocks=blocks, missed=MISSED)
    return environment


@dataclass(frozen=True, slots=True)
class RangeRow:
    """A set's or a peer's range of a measure: places and lengths in pixels.

    kind    "bar" for a set, "peer"
    start   of the range from 10 to 90 %, with its length; None where only the median is known
    middle  the median
    end     where the text begins
    """

    name: str
    kind: str
    y: int
    start: float | None
    length: float | None
    middle: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class RangeChart:
    """One measure, a row a set, the peers' below."""

    label: str
    rows: list[RangeRow]
    width: int
    height: int


def _range_charts(sections: Sequence[Section]) -> Iterator[RangeChart]:
    """The measures that a set or a peer has a median of."""
    for measure in MEASURES:
        rows: list[tuple[str, str, float | None, float, float | None]] = []
        for section in sections:
            assert section.record is not None
            spread = section.record[measure.name]
            if spread["median"] is not None:
                name = section.path.rstrip("/").rpartition("/")[2]
                rows.append((name, "bar", spread["p10"], spread["median"], spread["p90"]))
        for name, (low, middle, high) in PEERS.get(measure.name, {}).items():
            rows.append((name, "peer", low, middle, high))
        if rows:
            yield _range_chart(measure, rows)


def _range_chart(
    measure: Measure,
    rows: Sequence[tuple[str, str, float | None, float, float | None]],
) -> RangeChart:
    """rows  name, kind, 10 %, median, 90 %"""
    ends = [value for row in rows for value in row[2:] if value is not None]
    low_end, high_end = min(0.0, *ends), max(ends)
    scale = (WIDTH - LEFT - 45) / ((high_end - low_end) or 1)

    def x(value: float) -> float:
        return round(LEFT + (value - low_end) * scale, 1)

    shown = []
    for number, (name, kind, low, middle, high) in enumerate(rows):
        start = length = None
        if low is not None and high is not None:
            start, length = x(low), max(1.0, x(high) - x(low))
        end = x(middle if high is None else high) + 8
        text = f"{middle:.{measure.decimals}f}"
        y = number * ROW + 4
        shown.append(RangeRow(_cut(name), kind, y, start, length, x(middle), end, text))
    return RangeChart(measure.label, shown, WIDTH, len(rows) * ROW + 6)


@dataclass(frozen=True, slots=True)
class BarRow:
    """A count as a bar: places and lengths in pixels.

    rule  where the line of the expected share stands, or None
    end   where the number begins
    """

    name: str
    y: int
    length: float
    rule: float | None
    end: float
    count: int


@dataclass(frozen=True, slots=True)
class BarChart:
    """Horizontal bars; `row` is the height of one, `left` where they begin."""

    rows: list[BarRow]
    row: int
    left: int
    width: int
    height: int


def bar_chart(
    names: Sequence[str], counts: Sequence[int], expected: Sequence[float] | None = None
) -> BarChart:
    """Bars of counts, and a line across each where `expected` shares are given."""
    row = 15 if len(names) > 14 else 18
    total = sum(counts) or 1
    shares = [count / total for count in counts]
    scale = (WIDTH - LEFT - 55) / max([*shares, *(expected or ()), 1e-9])
    rows = []
    for number, (name, count, share) in enumerate(zip(names, counts, shares, strict=True)):
        wanted = None if expected is None else expected[number]
        rule = None if wanted is None else LEFT + wanted * scale
        end = LEFT + max(share, wanted or 0) * scale + 6
        rows.append(BarRow(_cut(name), number * row, share * scale, rule, end, count))
    return BarChart(rows, row, LEFT, WIDTH, len(names) * row + 2)


def _cut(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def blocks(text: str) -> Iterator[str | list[list[str]]]:
    """What the safety benchmark writes: Markdown of paragraphs and tables.

    yields  a paragraph's text, or a table's rows, the heading first
    """
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            if set(line) != {"|", "-"}:
                rows.append([cell.strip() for cell in line.strip("|").split("|")])
            continue
        if rows:
            yield rows
            rows = []
        if line:
            yield line
