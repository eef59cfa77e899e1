"""Near-duplicates of a set: all pairs closer than a limit, and the closest pair of all.

The pairs are those that comparing every picture with every other would find, decided in whole
numbers. Most pairs are never looked at: pictures are put into leaves of a k-d tree (Bentley 1975)
over the principal axes of the set, and a distance along some axes never exceeds the distance. What
the leaves' boxes, then the axes, leave over is compared in full.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
I64 = NDArray[np.int64]

AXES = 64  # of the largest variance: along them most pairs are far enough apart already
FEW_AXES = 16  # of these, where a picture is held against a leaf's box
LEAF = 256  # pictures of a leaf, which are compared with another leaf's at once
TOGETHER = 16  # leaves that one is compared with at once: products of small blocks take longer
SAMPLE = 4096  # pictures that the axes are taken from
CHECKED = 2048  # pairs compared in full at once: 2048 * 768 differences fit a core's cache
FIRST = 64  # and before that, in the hope of a closer pair that rules the others out
DENSE = 64  # one pair in so many left over: a product of whole blocks is then the cheaper way
DENSE_RUN = 15  # blocks, after one in which the axes ruled out too little
ROUNDING = 2.0**-22  # of float32, twice, of the largest term of a sum


class Likeness(NamedTuple):
    """What `likeness` found."""

    pairs: int  # closer than the limit
    closest: tuple[tuple[int, int, float], ...]  # (i, j, distance), i < j, the closest first
    least: float | None  # distance of the closest pair of all; None with fewer than two pictures


def nothing(count: int) -> None:
    """Progress that nobody looks at."""


def likeness(
    thumbnails: U8, limit: float, listed: int, done: Callable[[int], object] = nothing
) -> Likeness:
    """Pairs of pictures that are nearly the same, and the closest pair of all.

    thumbnails  (n, ...) uint8
    limit       RMS distance in [0, 1]; a pair is below it
    listed      pairs named at most; all are counted
    done        called with pictures compared since the last time, n in all
    returns     the same for any order of work; about 300 bytes a picture are needed beside
                `thumbnails`, and time grows with the pairs that are nearly as close as the closest
    """
    n = len(thumbnails)
    if n < 2:
        done(n)
        return Likeness(0, (), None)
    flat = thumbnails.reshape(n, -1)
    groups = _same(flat)
    done(n - len(groups.first))
    found = _Found(flat, groups, limit, listed)
    found.search(done)
    scale = 255.0 * flat.shape[1] ** 0.5
    closest = tuple((i, j, round(ssd**0.5 / scale, 5)) for ssd, i, j in found.closest())
    least = 0.0 if len(groups.first) < n else found.least**0.5 / scale
    return Likeness(found.pairs, closest, least)


class _Groups(NamedTuple):
    """Pictures that are the same to the last level; most are alone.

    members  (n,) the pictures, a group after the other, each ascending
    start    (g + 1,) where each group begins in it
    first    (g,) the first picture of each
    counts   (g,) how many they are
    """

    members: I64
    start: I64
    first: I64
    counts: I64


def _same(flat: U8) -> _Groups:
    whole = np.ascontiguousarray(flat).view(np.dtype((np.void, flat.shape[1])))[:, 0]
    order = np.argsort(whole, kind="stable")
    new = np.ones(len(order) + 1, bool)
    for begin in range(1, len(order), CHECKED):
        here = order[begin - 1 : begin + CHECKED]
        new[begin : begin + len(here) - 1] = (flat[here[1:]] != flat[here[:-1]]).any(axis=1)
    start = np.flatnonzero(new)
    return _Groups(order, start, order[start[:-1]], np.diff(start))


class _Found:
    """What is found while groups are compared; all distances are sums of squared differences.

    pairs  below the limit so far
    least  of two groups so far
    """

    def __init__(self, flat: U8, groups: _Groups, limit: float, listed: int) -> None:
        self._flat, self._groups, self._listed = flat, groups, listed
        self._limit = limit * limit * 255.0**2 * flat.shape[1]
        counts = groups.counts
        self.pairs = int((counts * (counts - 1) // 2).sum()) if limit > 0 else 0
        self.least = np.inf
        self._close: list[tuple[int, int, int]] = []  # distance, and the first pictures of groups
        self._cutoff = np.inf  # of those listed: larger ones are counted only
        self._dense = 0  # blocks to come that are compared by whole pictures at once
        self._kept: tuple[_Leaf | None, F32] = None, np.empty((0, 0), np.float32)

    def search(self, done: Callable[[int], object]) -> None:
        """Compare all groups."""
        first, counts = self._groups.first, self._groups.counts
        if len(first) == 1:
            done(1)
            return
        axes, places = _along_axes(self._flat, first)
        self._compare_neighbours(first[np.argsort(places[:, 0], kind="stable")])
        leaves = _leaves(places, first, counts, axes)
        del places
        for leaf in leaves:
            self._compare(leaf, leaf)
        low = np.array([leaf.low for leaf in leaves])
        high = np.array([leaf.high for leaf in leaves])
        for number, leaf in enumerate(leaves):
            others = _others(number, len(leaves))
            gaps = np.maximum(low[others] - leaf.high, leaf.low - high[others]).clip(0.0)
            apart = np.einsum("ij,ij->i", gaps, gaps)
            order = np.argsort(apart, kind="stable")
            while len(order := order[apart[order] <= self._reach + axes.spare]):
                here, order = order[:TOGETHER], order[TOGETHER:]
                near = _near(leaf, [leaves[others[place]] for place in here], self._reach)
                if len(near.rows):
                    self._compare(leaf, near)
            done(len(leaf.rows))

    def _compare_neighbours(self, order: I64) -> None:
        """Look at a picture and the next only, for a closest pair to begin with."""
        for begin in range(0, len(order) - 1, CHECKED):
            here = order[begin : begin + CHECKED + 1]
            self.least = min(self.least, float(self._apart(here[1:], here[:-1]).min()))

    def _apart(self, first: I64, second: I64) -> I64:
        """Sums of squared differences of pictures, pair by pair."""
        gaps = self._flat[first].astype(np.int32)
        gaps -= self._flat[second]
        gaps *= gaps
        return gaps.sum(axis=1, dtype=np.int64)

    def closest(self) -> list[tuple[int, int, int]]:
        """(distance, i, j) of the pairs to list, in order."""
        if self._limit <= 0:
            return []
        found = list(itertools.islice(self._copies(), self._listed))
        if len(found) < self._listed:
            found.extend(self._between_groups())
        return sorted(found)[: self._listed]

    def _copies(self) -> Iterator[tuple[int, int, int]]:
        """Pairs that are the same, by the first picture, then by the second."""
        several = np.flatnonzero(self._groups.counts > 1)
        runs = [self._members(int(group)) for group in several]
        places = sorted((int(i), run, k) for run, one in enumerate(runs) for k, i in enumerate(one))
        for i, run, k in places:
            for j in runs[run][k + 1 :]:
                yield 0, i, int(j)

    def _between_groups(self) -> Iterator[tuple[int, int, int]]:
        place = {int(first): group for group, first in enumerate(self._groups.first)}
        for ssd, i, j in self._close:
            for one, other in itertools.product(self._members(place[i]), self._members(place[j])):
                yield ssd, int(min(one, other)), int(max(one, other))

    def _members(self, group: int) -> I64:
        start = self._groups.start
        return self._groups.members[start[group] : start[group + 1]]

    @property
    def _reach(self) -> float:
        """Pairs further apart are of no interest."""
        return max(self._limit, self.least)

    def _compare(self, one: _Leaf, other: _Leaf) -> None:
        """All pairs of two leaves, or of one with itself."""
        if self._dense:
            self._dense -= 1
            self._compare_in_full(one, other)
            return
        at_least = _distances(one.along, other.along, one is other).ravel()
        at_least -= np.float32(one.axes.spare)
        if at_least.min() > self._reach:
            return
        if np.count_nonzero(at_least <= self._reach) * DENSE > len(at_least):
            self._dense = DENSE_RUN
            self._compare_in_full(one, other)
        else:
            self._check(one, other, *_nearest_first(at_least, self._reach))

    def _distances_in_full(self, one: _Leaf, other: _Leaf) -> F32:
        if self._kept[0] is not one:  # it meets many others in turn
            self._kept = one, one.axes.centred(self._flat[one.rows])
        if one is other:
            return _distances(self._kept[1], self._kept[1], True)
        return _distances(self._kept[1], one.axes.centred(self._flat[other.rows]), False)

    def _compare_in_full(self, one: _Leaf, other: _Leaf) -> None:
        """The same by whole pictures: all distances but for rounding, so few need another look."""
        spare = one.axes.spare_in_full
        at_least = self._distances_in_full(one, other).ravel()
        at_least -= np.float32(spare)
        if self._cutoff < np.inf:  # some are below the limit for certain, and not to be listed
            beyond = max(self._cutoff, self.least)
            counted = (at_least < self._limit - 2 * spare) & (at_least > beyond)
            rows, columns = np.divmod(np.flatnonzero(counted), len(other.rows))
            self.pairs += int((one.counts[rows] * other.counts[columns]).sum())
            at_least[counted] = np.inf
        self._check(one, other, *_nearest_first(at_least, self._reach))

    def _check(self, one: _Leaf, other: _Leaf, pairs: I64, at_least: F32) -> None:
        """Compare pairs of rows in full.

        pairs     row * len(other.rows) + column
        at_least  of each pair, what its distance does not fall below
        """
        step = FIRST
        while len(pairs):
            here, pairs = pairs[:step], pairs[step:]
            at_least = at_least[step:]
            rows, columns = np.divmod(here, len(other.rows))
            first, second = one.rows[rows], other.rows[columns]
            ssd = self._apart(first, second)
            self.least = min(self.least, float(ssd.min()))
            close = np.flatnonzero(ssd < self._limit)
            if len(close):
                self.pairs += int((one.counts[rows[close]] * other.counts[columns[close]]).sum())
                self._note(ssd[close], first[close], second[close])
            kept = at_least <= self._reach
            if not kept.all():
                pairs, at_least = pairs[kept], at_least[kept]
            step = CHECKED

    def _note(self, ssd: I64, first: I64, second: I64) -> None:
        """Keep what may be listed."""
        kept = ssd <= self._cutoff
        low, high = np.minimum(first, second)[kept], np.maximum(first, second)[kept]
        self._close.extend(zip(ssd[kept].tolist(), low.tolist(), high.tolist()))
        if len(self._close) > self._listed:
            self._close = sorted(self._close)[: self._listed]
            self._cutoff = self._close[-1][0] if self._close else -1


def _nearest_first(at_least: F32, reach: float) -> tuple[I64, F32]:
    """Places of what is within reach, in order of size, and its sizes."""
    if at_least.min() > reach:
        return np.empty(0, np.int64), at_least[:0]
    places = np.flatnonzero(at_least <= reach)
    places = places[np.argsort(at_least[places])]
    return places, at_least[places]


class _Axes(NamedTuple):
    """Orthonormal axes, and what float32 may lose.

    mean           (d,) float64, levels
    basis          (d, m) float64
    spare          of squared distances along the axes
    spare_in_full  of squared distances of whole pictures
    """

    mean: F64
    basis: F64
    spare: float
    spare_in_full: float

    def centred(self, rows: U8) -> F32:
        """Whole pictures as `_distances` takes them."""
        return _with_squares(rows.astype(np.float32) - self.mean.astype(np.float32))


class _Leaf(NamedTuple):
    """Some pictures that lie near each other.

    rows       (r,) their numbers
    counts     (r,) how many are the same
    along      (r, m + 2) their places along the axes, as `_distances` takes them
    low, high  (m,) the box around them
    """

    rows: I64
    counts: I64
    along: F32
    low: F32
    high: F32
    axes: _Axes


def _along_axes(flat: U8, rows: I64) -> tuple[_Axes, F32]:
    """The principal axes of some pictures, and the places of all along them, (g, m)."""
    sample = flat[rows[:: -(-len(rows) // SAMPLE)]].astype(np.float64)
    mean = sample.mean(axis=0)
    sample -= mean
    basis = _principal_axes(sample)
    places = np.empty((len(rows), basis.shape[1]), np.float32)
    largest = 0.0
    for begin in range(0, len(rows), CHECKED):
        block = flat[rows[begin : begin + CHECKED]] - mean
        places[begin : begin + CHECKED] = block @ basis
        largest = max(largest, float(np.einsum("ij,ij->i", block, block).max()))
    unit = ROUNDING * largest
    axes = _Axes(mean, basis, unit * (basis.shape[1] + 8), unit * (len(mean) + 8))
    return axes, places


def _principal_axes(sample: F64) -> F64:
    """About the first principal axes, by orthogonal iteration from some of the rows.

    sample   (n, d), of mean 0
    returns  (d, m) orthonormal, m <= AXES, d and n; how near they are to the principal ones changes
             the time that a search takes and nothing else
    """
    basis = sample[:: -(-len(sample) // AXES)].T
    for _ in range(2):
        basis = np.linalg.qr(sample.T @ (sample @ basis))[0]
    along = sample @ basis
    return np.asarray(basis @ np.linalg.eigh(along.T @ along)[1][:, ::-1])


def _leaves(places: F32, first: I64, counts: I64, axes: _Axes) -> list[_Leaf]:
    """Halved along the widest side until they are small."""
    leaves = []
    stack = [np.arange(len(first))]
    while stack:
        rows = stack.pop()
        along = places[rows]
        low, high = along.min(axis=0), along.max(axis=0)
        if len(rows) > LEAF:
            widest, middle = int((high - low).argmax()), len(rows) // 2
            order = np.argpartition(along[:, widest], middle)
            stack.extend((rows[order[middle:]], rows[order[:middle]]))
            continue
        leaves.append(_Leaf(first[rows], counts[rows], _with_squares(along), low, high, axes))
    return leaves


def _near(leaf: _Leaf, others: list[_Leaf], reach: float) -> _Leaf:
    """Of the pictures of other leaves, those that are not too far from the box of this one."""
    rows, counts, along = (np.concatenate(parts) for parts in list(zip(*others, strict=True))[:3])
    places = along[:, : min(FEW_AXES, len(leaf.low))]
    gaps = places - places.clip(leaf.low[: places.shape[1]], leaf.high[: places.shape[1]])
    kept = np.einsum("ij,ij->i", gaps, gaps) <= reach + leaf.axes.spare
    return _Leaf(rows[kept], counts[kept], along[kept], leaf.low, leaf.high, leaf.axes)


def _others(number: int, count: int) -> I64:
    """The leaves that one is compared with: the next half, in a ring, so that each has as many."""
    steps = np.arange(1, (count + 1) // 2 + (count % 2 == 0 and number < count // 2))
    return (number + steps) % count


def _with_squares(rows: F32) -> F32:
    """Rows, then half their squares, then -1: see `_distances`."""
    wide = np.empty((len(rows), rows.shape[1] + 2), np.float32)
    wide[:, :-2] = rows
    wide[:, -2] = 0.5 * np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    wide[:, -1] = -1.0
    return wide


def _distances(one: F32, other: F32, same: bool) -> F32:
    """Squared distances of all pairs of rows, in one product: x^2 + y^2 - 2 x y.

    same     the two are one block: of (i, j) and (j, i) one counts, and a row not with itself
    returns  (len(one), len(other)); infinite where it does not count
    """
    turned = other * np.float32(2.0)
    turned[:, :-2] *= -1.0
    turned[:, -2:] = turned[:, :-3:-1] * np.float32(-1.0)
    product = one @ turned.T
    if same:
        product[np.tril_indices(len(product))] = np.inf
    return product
