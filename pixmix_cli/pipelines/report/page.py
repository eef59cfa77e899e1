"""report: the gathered sections as one HTML page that needs no network and no server."""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from html import escape

import numpy as np

from pixmix_cli.pipelines.inspect import summary as inspect
from pixmix_cli.pipelines.report.draws_fit import Fit
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
ROW, LEFT, WIDTH = 22, 125, 400  # pixels of a chart: height of a row, room for names, whole width

_STYLE = """
:root { color-scheme: light dark; --ink: #1c1d21; --dim: #666a73; --paper: #fff; --card: #f4f5f7;
  --line: #d9dce1; --mark: #2f6fde; --peer: #9aa0aa; --bad: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e9ec; --dim: #9aa0aa; --paper: #16171a;
  --card: #202227; --line: #34373e; --mark: #7aa7ff; --peer: #737983; --bad: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 24px; max-width: 1180px; color: var(--ink);
  background: var(--paper); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 24px; margin: 0 0 4px; } h2 { font-size: 19px; margin: 36px 0 8px;
  border-top: 1px solid var(--line); padding-top: 20px; overflow-wrap: anywhere; }
h3 { font-size: 15px; margin: 22px 0 6px; }
p, .dim { color: var(--dim); } table { border-collapse: collapse; font-size: 14px; }
.wide { overflow-x: auto; } td, th { text-align: left; padding: 3px 14px 3px 0;
  vertical-align: top; overflow-wrap: anywhere; }
th { font-weight: 600; overflow-wrap: normal; }
td.n { font-variant-numeric: tabular-nums; white-space: nowrap; }
svg { max-width: 100%; height: auto; display: block; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg .dim { fill: var(--dim); } .bar { fill: var(--mark); } .peer { fill: var(--peer); }
.rule { stroke: var(--ink); stroke-width: 1.5; } .axis { stroke: var(--line); }
.charts { display: grid; gap: 4px 28px;
  grid-template-columns: repeat(auto-fill, minmax(330px, 1fr)); }
.filters { display: flex; gap: 12px; flex-wrap: wrap; margin: 8px 0 12px; align-items: center; }
select, input { font: inherit; color: inherit; background: var(--card); padding: 3px 8px;
  border: 1px solid var(--line); border-radius: 6px; }
.gallery { display: grid; gap: 6px; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); }
.gallery button { padding: 0; border: 0; background: var(--card); cursor: zoom-in;
  aspect-ratio: 1; }
.gallery img { width: 100%; height: 100%; object-fit: cover; display: block; }
button:focus-visible, select:focus-visible, input:focus-visible {
  outline: 3px solid var(--mark); }
.samples td { padding: 4px 8px 10px 0; width: 172px; font-size: 12px; color: var(--dim); }
.samples img { display: block; max-width: 160px; image-rendering: auto; }
.figure { background: #fff; border-radius: 8px; max-width: min(680px, 100%); }
.bad { color: var(--bad); font-weight: 600; }
dialog { max-width: min(720px, 92vw); border: 1px solid var(--line); border-radius: 10px;
  color: var(--ink); background: var(--paper); }
dialog img { width: min(480px, 80vw); display: block; margin: 0 auto 10px; }
dialog pre { white-space: pre-wrap; overflow-wrap: anywhere; font-size: 12px; max-height: 30vh;
  overflow: auto; background: var(--card); padding: 8px; }
[hidden] { display: none !important; }
@media print { .filters, dialog { display: none; } body { max-width: none; padding: 0; }
  .gallery { grid-template-columns: repeat(10, 1fr); } section { break-before: page; }
  section:first-of-type { break-before: auto; } }
"""

_SCRIPT = """
'use strict';
for (const section of document.querySelectorAll('section.mixing')) {
  const kind = section.querySelector('select'), text = section.querySelector('input');
  const count = section.querySelector('output');
  const tiles = [...section.querySelectorAll('.gallery button')];
  const filter = () => {
    const word = text.value.toLowerCase();
    let shown = 0;
    for (const tile of tiles) {
      const fits = (!kind.value || tile.dataset.kind === kind.value) &&
        (!word || (tile.dataset.name + ' ' + tile.dataset.recipe).toLowerCase().includes(word));
      tile.hidden = !fits;
      shown += fits;
    }
    count.textContent = shown + ' of ' + tiles.length + ' shown';
  };
  kind.addEventListener('change', filter);
  text.addEventListener('input', filter);
  const wished = new URLSearchParams(location.hash.slice(1));
  if (wished.has('kind')) kind.value = wished.get('kind');
  if (wished.has('text')) text.value = wished.get('text');
  filter();
}
const dialog = document.querySelector('dialog');
document.addEventListener('click', event => {
  const tile = event.target.closest('.gallery button');
  if (!tile) return;
  dialog.querySelector('img').src = tile.querySelector('img').src;
  dialog.querySelector('img').alt = tile.dataset.name;
  dialog.querySelector('h3').textContent = tile.dataset.name;
  dialog.querySelector('pre').textContent = tile.dataset.recipe || 'carries no recipe';
  dialog.showModal();
});
document.addEventListener('keydown', event => {
  const tile = event.target.closest && event.target.closest('.gallery button');
  const step = {ArrowRight: 1, ArrowLeft: -1}[event.key];
  if (!tile || !step) return;
  const shown = [...tile.parentElement.children].filter(one => !one.hidden);
  const next = shown[shown.indexOf(tile) + step];
  if (next) { next.focus(); event.preventDefault(); }
});
"""

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'"


def page_of(sections: Sequence[Section]) -> bytes:
    """The page, UTF-8. The same sections give the same bytes."""
    parts = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>pixmix report</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        "<h1>pixmix report</h1>\n"
        f"<p>{escape(', '.join(one.path for one in sections))}</p>\n"
    ]
    measured = [one for one in sections if one.record is not None]
    if measured:
        parts.append(_measures(measured))
    for section in sections:
        parts.append(f'<section class="{section.kind}">\n<h2>{escape(section.path)}</h2>\n')
        parts.append(_facts(section))
        body = {"mixing": _gallery, "baked": _baked, "safety": _safety}[section.kind]
        parts.extend(body(section))
        parts.extend(_errors(section))
        parts.append("</section>\n")
    parts.append(
        '<dialog aria-label="picture"><img alt=""><h3></h3><pre></pre>'
        '<form method="dialog"><button autofocus>Close</button></form></dialog>\n'
        f"<script>{_SCRIPT}</script>\n</body>\n</html>\n"
    )
    return "".join(parts).encode("utf-8", "replace")


def _measures(sections: Sequence[Section]) -> str:
    records = [one.record for one in sections if one.record is not None]
    table = _table(inspect.rows_of(records), named=True)
    charts = "".join(_strip(one, sections) for one in inspect.MEASURES)
    return (
        "<h2>Measures</h2>\n"
        "<p>Median [10 %, 90 %] over the pictures. Grey: catalys1/fractal-pretraining and flam3, "
        "200 random pictures each at 512 px; a dot where only the median is known.</p>\n"
        f"{table}"
        f'<div class="charts">{charts}</div>\n'
    )


def _table(rows: Sequence[Sequence[str]], *, named: bool = False) -> str:
    """Rows as a table, the heading first.

    named  the first cell of each row is a heading too
    """
    lines = []
    for number, cells in enumerate(rows):
        shown = []
        for place, cell in enumerate(cells):
            heading = number == 0 or (named and place == 0)
            tag, end = ("th", "th") if heading else ("td class=n", "td")
            shown.append(f"<{tag}>{_bold(cell)}</{end}>")
        lines.append(f"<tr>{''.join(shown)}</tr>\n")
    return f'<div class="wide"><table>\n{"".join(lines)}</table></div>\n'


def _strip(measure: inspect.Measure, sections: Sequence[Section]) -> str:
    """Ranges of one measure, a row a set, the peers' below."""
    rows: list[tuple[str, str, float | None, float, float | None]] = []
    for section in sections:
        assert section.record is not None
        spread = section.record[measure.name]
        if spread["median"] is not None:
            name = section.path.rstrip("/").rpartition("/")[2]
            rows.append((name, "bar", spread["p10"], spread["median"], spread["p90"]))
    for name, (low, middle, high) in PEERS.get(measure.name, {}).items():
        rows.append((name, "peer", low, middle, high))
    if not rows:
        return ""
    ends = [value for row in rows for value in row[2:] if value is not None]
    low_end, high_end = min(0.0, *ends), max(ends)
    scale = (WIDTH - LEFT - 45) / ((high_end - low_end) or 1)
    out = []
    for number, (name, kind, low, middle, high) in enumerate(rows):
        y = number * ROW + 4

        def x(value: float) -> float:
            return round(LEFT + (value - low_end) * scale, 1)

        out.append(f'<text x="0" y="{y + 12}">{escape(_cut(name))}</text>')
        if low is not None and high is not None:
            width = max(1.0, x(high) - x(low))
            out.append(
                f'<rect class="{kind}" x="{x(low)}" y="{y + 3}" width="{width:.1f}" height="10" '
                'rx="3" opacity=".45"/>'
            )
        out.append(f'<circle class="{kind}" cx="{x(middle)}" cy="{y + 8}" r="4.5"/>')
        end = x(middle if high is None else high) + 8
        text = f"{middle:.{measure.decimals}f}"
        out.append(f'<text class="dim" x="{end:.1f}" y="{y + 12}">{text}</text>')
    height = len(rows) * ROW + 6
    label = escape(measure.label)
    return (
        f'<figure style="margin:0"><h3>{label}</h3>'
        f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{label}">'
        f"{''.join(out)}</svg></figure>\n"
    )


def _cut(name: str, most: int = 18) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _facts(section: Section) -> str:
    rows = "".join(
        f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>\n"
        for name, value in section.facts
    )
    summary = ", ".join(f"{name}: {value}" for name, value in section.facts[:2])
    return f"<details><summary>{escape(summary)}</summary><table>{rows}</table></details>\n"


def _image(data: bytes, alt: str) -> str:
    text = base64.b64encode(data).decode("ascii")
    return f'<img loading="lazy" alt="{escape(alt)}" src="data:image/jpeg;base64,{text}">'


def _gallery(section: Section) -> Iterator[str]:
    kinds = sorted({tile.kind for tile in section.tiles})
    options = "".join(f'<option value="{escape(k)}">{escape(k)}</option>' for k in kinds)
    yield (
        '<div class="filters"><label>kind <select><option value="">all</option>'
        f'{options}</select></label> <label>name or recipe <input type="search"></label> '
        "<output></output></div>\n"
        '<div class="gallery">\n'
    )
    for tile in section.tiles:
        yield (
            f'<button data-kind="{escape(tile.kind)}" data-name="{escape(tile.name)}" '
            f'data-recipe="{escape(tile.recipe)}">{_image(tile.data, tile.name)}</button>\n'
        )
    yield "</div>\n"


def _baked(section: Section) -> Iterator[str]:
    yield '<h3>Originals and their copies</h3>\n<div class="wide"><table class="samples">\n'
    for row in section.samples:
        cells = [(row.original, row.key), *row.copies]
        yield "<tr>" + "".join(_cell(data, text, row.key) for data, text in cells) + "</tr>\n"
    yield "</table></div>\n"
    if section.fits:
        yield (
            f"<h3>Draws of {section.fitted:,} pictures against the recipe</h3>\n"
            "<p>Bars: found. Lines: prescribed. p: Pearson's chi-square test; below .001 the draws "
            'differ from the recipe.</p>\n<div class="charts">'
        )
        for fit in section.fits:
            yield _histogram(fit)
        yield "</div>\n"
    else:
        yield "<p>This set keeps no draws beside its pictures, so they cannot be tested here.</p>\n"
    if section.classes:
        total = sum(count for _, count in section.classes)
        yield f"<h3>Classes, of {total:,} pictures looked at</h3>\n"
        names = tuple(name for name, _ in section.classes[:100])
        counts = tuple(count for _, count in section.classes[:100])
        yield _bars(names, counts, None)
        if len(section.classes) > 100:
            yield f"<p>and {len(section.classes) - 100:,} more classes</p>\n"


def _safety(section: Section) -> Iterator[str]:
    yield "<h3>Does it make classifiers safer?</h3>\n"
    if section.figure:
        text = base64.b64encode(section.figure).decode("ascii")
        label = "five safety measures, a line an arm"
        yield f'<img class="figure" alt="{label}" src="data:image/png;base64,{text}">\n'
    yield from _markdown(section.tables)


def _markdown(text: str) -> Iterator[str]:
    """Tables and paragraphs; bold cells stay bold."""
    rows: list[list[str]] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("|"):
            cells = [cell.strip() for cell in line.strip("|").split("|")]
            if set(line) != {"|", "-"}:
                rows.append(cells)
            continue
        if rows:
            yield _table(rows)
            rows = []
        if line:
            yield f"<p>{escape(line)}</p>\n"


def _bold(cell: str) -> str:
    if cell.startswith("**") and cell.endswith("**") and len(cell) > 4:
        return f"<b>{escape(cell[2:-2])}</b>"
    return escape(cell)


def _cell(data: bytes | None, text: str, alt: str) -> str:
    picture = "<span>not there</span>" if data is None else _image(data, alt)
    return f"<td>{picture}{escape(text)}</td>"


def _histogram(fit: Fit) -> str:
    p = "" if fit.p is None else f", p = {fit.p:.3f}"
    wrong = ' class="bad"' if fit.verdict.startswith("differs") else ' class="dim"'
    title = f"{escape(fit.title)} <span{wrong}>{fit.verdict}{p}</span>"
    bars = _bars(fit.names, fit.counts, fit.expected)
    return f'<figure style="margin:0"><h3>{title}</h3>{bars}</figure>\n'


def _bars(names: Sequence[str], counts: Sequence[int], expected: Sequence[float] | None) -> str:
    """Horizontal bars; a line across each where `expected` shares are given."""
    row = 12 if len(names) > 14 else 18
    total = sum(counts) or 1
    shares = np.array(counts) / total
    largest = max(float(shares.max(initial=0)), *(expected or ()), 1e-9)
    scale = (WIDTH - LEFT - 55) / largest
    out = []
    for number, (name, count, share) in enumerate(zip(names, counts, shares.tolist(), strict=True)):
        y = number * row
        out.append(
            f'<text x="0" y="{y + row - 4}">{escape(_cut(name))}</text>'
            f'<rect class="bar" x="{LEFT}" y="{y + 1}" width="{share * scale:.1f}" '
            f'height="{row - 3}" opacity=".75"/>'
        )
        if expected is not None:
            x = LEFT + expected[number] * scale
            out.append(
                f'<line class="rule" x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{y + row - 1}"/>'
            )
        end = LEFT + max(share, 0 if expected is None else expected[number]) * scale + 6
        out.append(f'<text class="dim" x="{end:.1f}" y="{y + row - 4}">{count:,}</text>')
    return f'<svg viewBox="0 0 {WIDTH} {len(names) * row + 2}" role="img">{"".join(out)}</svg>\n'


def _errors(section: Section) -> Iterator[str]:
    if not section.errors:
        return
    total = len(section.errors) + section.errors_left_out
    yield f'<h3 class="bad">{total:,} left out or unreadable</h3>\n<table>\n'
    for key, text in section.errors:
        yield f"<tr><td>{escape(key)}</td><td>{escape(text)}</td></tr>\n"
    yield "</table>\n"
    if section.errors_left_out:
        yield f"<p>and {section.errors_left_out:,} more</p>\n"
