"""The picture of `inspect --plot`: the spread of each measure over each set, and thumbnails."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from pixmix_cli.pipelines.inspect.summary import MEASURES, THUMBNAIL, Summary, counted

U8 = NDArray[np.uint8]
F64 = NDArray[np.float64]
Color = tuple[int, int, int]

# Okabe and Ito (2008): told apart by colour-blind eyes too
COLORS: tuple[Color, ...] = (
    (0, 114, 178), (230, 159, 0), (0, 158, 115), (213, 94, 0), (204, 121, 167), (86, 180, 233),
)  # fmt: skip
PAPER, INK, FAINT = (255, 255, 255), (40, 40, 40), (205, 205, 205)
FINER = 2  # drawn so much larger and shrunk: Pillow's polygons have hard edges
# pixels of the finished picture
MARGIN, COLUMNS, PANEL_WIDTH, PANEL_HEIGHT, GAP = 28, 4, 264, 176, 24
HEAD, FOOT = 26, 22  # of a panel: its title and its axis
STRIP = 36  # thumbnails a set
TEXT, SMALL_TEXT = 15, 12
BINS = 96
SMOOTHING = 2.5  # bins: standard deviation of the Gaussian that the histogram is smoothed by


def draw(summaries: Sequence[Summary], records: Sequence[dict[str, Any]]) -> U8:
    """The plot.

    returns  (h, w, 3) uint8
    """
    panels = [(one.label, [s.column(one.name) for s in summaries]) for one in MEASURES]
    panels.append(("distance at 32 px", [s.distances() for s in summaries]))
    rows = -(-len(panels) // COLUMNS)
    width = 2 * MARGIN + COLUMNS * PANEL_WIDTH + (COLUMNS - 1) * GAP
    strips_top = MARGIN + rows * (PANEL_HEIGHT + GAP)
    height = strips_top + len(summaries) * (HEAD + THUMBNAIL + GAP) + MARGIN - GAP
    paper = Image.new("RGB", (width * FINER, height * FINER), PAPER)
    for number, (title, columns) in enumerate(panels):
        row, column = divmod(number, COLUMNS)
        left = MARGIN + column * (PANEL_WIDTH + GAP)
        _panel(paper, left, MARGIN + row * (PANEL_HEIGHT + GAP), title, columns)
    pen = ImageDraw.Draw(paper)
    for number, record in enumerate(records):
        top = strips_top + number * (HEAD + THUMBNAIL + GAP)
        color = COLORS[number % len(COLORS)]
        pen.ellipse(_scaled(MARGIN, top + 4, MARGIN + 12, top + 16), color)
        text = f"{record['path']}: {counted(record['pictures'], 'picture')}"
        _write(pen, MARGIN + 20, top + 10, text, TEXT, INK, "lm")
    paper = paper.resize((width, height), Image.Resampling.BOX)
    for number, summary in enumerate(summaries):
        top = strips_top + number * (HEAD + THUMBNAIL + GAP) + HEAD
        paper.paste(Image.fromarray(_strip(summary.thumbnails, width - 2 * MARGIN)), (MARGIN, top))
    return np.asarray(paper)


def _scaled(*values: float) -> tuple[float, ...]:
    return tuple(value * FINER for value in values)


def _write(
    pen: ImageDraw.ImageDraw, x: float, y: float, text: str, size: int, color: Color, anchor: str
) -> None:
    font = ImageFont.load_default(size * FINER)
    pen.text((x * FINER, y * FINER), text, color, font, anchor=anchor)


def _panel(paper: Image.Image, left: int, top: int, title: str, columns: Sequence[F64]) -> None:
    """One measure: a hill a set, each with a line at its median."""
    pen = ImageDraw.Draw(paper)
    _write(pen, left, top + HEAD / 2, title, TEXT, INK, "lm")
    base = top + PANEL_HEIGHT - FOOT
    known = [values for values in columns if len(values)]
    if known:
        low = min(float(np.percentile(values, 0.5)) for values in known)
        high = max(float(np.percentile(values, 99.5)) for values in known)
        spare = max(0.08 * (high - low), 1e-3)
        low, high = low - spare, high + spare
        hills = [_hill(values, low, high) for values in columns]
        scale = (PANEL_HEIGHT - HEAD - FOOT - 6) / max(float(hill.max()) for hill in hills)
        for number, (values, hill) in enumerate(zip(columns, hills, strict=True)):
            if len(values):
                middle = (float(np.median(values)) - low) / (high - low)
                _fill(paper, left, base, hill * scale, middle, COLORS[number % len(COLORS)])
        pen = ImageDraw.Draw(paper)
        for tick in _ticks(low, high):
            x = left + PANEL_WIDTH * (tick - low) / (high - low)
            pen.line(_scaled(x, base, x, base + 4), FAINT, FINER)
            _write(pen, x, base + 7, f"{tick:g}", SMALL_TEXT, INK, "ma")
    pen.line(_scaled(left, base, left + PANEL_WIDTH, base), FAINT, FINER)


def _hill(values: F64, low: float, high: float) -> F64:
    """The density of values over BINS places from low to high, smoothed; sums to 1."""
    counts = np.histogram(np.clip(values, low, high), BINS, (low, high))[0]
    reach = np.arange(-8, 9)
    kernel = np.exp(-0.5 * (reach / SMOOTHING) ** 2)
    return np.convolve(counts / max(len(values), 1), kernel / kernel.sum(), "same")


def _fill(
    paper: Image.Image, left: int, base: int, heights: F64, middle: float, color: Color
) -> None:
    xs = left + (np.arange(BINS) + 0.5) * PANEL_WIDTH / BINS
    edge = [_scaled(x, base - h) for x, h in zip(xs, heights, strict=True)]
    mask = Image.new("L", paper.size)
    ends = [_scaled(left, base), *edge, _scaled(left + PANEL_WIDTH, base)]
    ImageDraw.Draw(mask).polygon(ends, fill=90)  # of 255: what lies behind shines through
    paper.paste(Image.new("RGB", paper.size, color), (0, 0), mask)
    pen = ImageDraw.Draw(paper)
    pen.line(edge, color, 2 * FINER, joint="curve")
    x = left + PANEL_WIDTH * middle
    top = base - float(np.interp(middle * BINS - 0.5, np.arange(BINS), heights))
    pen.line(_scaled(x, base, x, top), color, FINER)


def _ticks(low: float, high: float) -> F64:
    """Three to seven round numbers between low and high."""
    raw = (high - low) / 5.0
    power = 10.0 ** np.floor(np.log10(raw))
    step = float(next(m * power for m in (1.0, 2.0, 5.0, 10.0) if m * power >= raw))
    # + 0.0: no tick is called -0
    return np.arange(np.ceil(low / step), np.floor(high / step) + 1.0) * step + 0.0


def _strip(thumbnails: Sequence[bytes], width: int) -> U8:
    """Evenly spaced thumbnails in a row, as people who train at 32 px see them."""
    strip = np.full((THUMBNAIL, width, 3), 255, np.uint8)
    count = min(STRIP, len(thumbnails), (width + 2) // (THUMBNAIL + 2))
    for k in range(count):
        pixels = np.frombuffer(thumbnails[k * len(thumbnails) // count], np.uint8)
        left = k * (THUMBNAIL + 2)
        strip[:, left : left + THUMBNAIL] = pixels.reshape(THUMBNAIL, THUMBNAIL, 3)
    return strip
