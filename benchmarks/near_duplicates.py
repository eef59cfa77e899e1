"""Near-duplicates of `inspect`: the search beside comparing every picture with every other.

    python -m benchmarks.near_duplicates photos/train -n 50000
    python -m benchmarks.near_duplicates --random -n 20000

Both run in turn in one process, on the same pictures of 16 px; CPU seconds and the peak of what
they allocate. The ratio is what counts. Random pictures are the worst case: no axis parts them.
"""

from __future__ import annotations

import argparse
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.pipelines.inspect.likeness import likeness
from pixmix_cli.pipelines.inspect.measures import shrink
from pixmix_cli.pipelines.inspect.summary import LISTED, NEAR, NEAR_SIDE, THUMBNAIL
from pixmix_cli.sources.find import find_pictures
from pixmix_cli.storage.images import decode_rgb

U8 = NDArray[np.uint8]
Found = tuple[int, float]  # pairs below the limit, the least distance of all

ROWS = 512  # pictures compared with all others at once


def all_pairs(thumbnails: U8) -> Found:
    """Every picture with every other of about its brightness, in float32."""
    n = len(thumbnails)
    flat = thumbnails.reshape(n, -1).astype(np.float32) / np.float32(255.0)
    mean = flat.mean(axis=1, dtype=np.float64)
    order = np.argsort(mean, kind="stable")
    flat, mean = flat[order], mean[order]
    flat -= flat.mean(axis=0)
    squares = np.einsum("ij,ij->i", flat, flat, dtype=np.float64)
    pairs, least = 0, np.inf
    for top in range(0, n - 1, ROWS):
        rows = np.arange(top, min(top + ROWS, n))
        # the means of two pictures never differ by more than the pictures do
        reach = max(NEAR, min(least, 1.0)) + 1e-5
        columns = np.arange(top, int(np.searchsorted(mean, mean[rows[-1]] + reach, side="right")))
        distance = squares[rows, None] + squares[None, columns]
        distance -= 2.0 * (flat[rows] @ flat[columns].T)
        distance[np.arange(len(rows))[:, None] >= np.arange(len(columns))[None, :]] = np.inf
        distance = np.sqrt(np.maximum(distance, 0.0) / flat.shape[1])
        least = min(least, float(distance.min(initial=np.inf)))
        pairs += int(np.count_nonzero(distance < NEAR))
    return pairs, least


def search(thumbnails: U8) -> Found:
    """What `inspect` does."""
    found = likeness(thumbnails, NEAR, LISTED)
    assert found.least is not None
    return found.pairs, found.least


def measured(work: Callable[[U8], Found], thumbnails: U8) -> tuple[Found, float, float]:
    """What was found, CPU seconds, and the peak of MB allocated."""
    tracemalloc.start()
    begin = time.process_time()
    found = work(thumbnails)
    seconds = time.process_time() - begin
    peak = tracemalloc.get_traced_memory()[1] / 1e6
    tracemalloc.stop()
    return found, seconds, peak


def thumbnails_of(path: Path, most: int) -> U8:
    """Pictures of a set, evenly spaced, at the size at which they are compared."""
    refs = find_pictures(path, print)
    small = [
        shrink(shrink(decode_rgb(ref.read(), ref.name), THUMBNAIL), NEAR_SIDE)
        for ref in (refs[i * len(refs) // most] for i in range(min(most, len(refs))))
    ]
    return np.rint(small).astype(np.uint8)


def main() -> None:
    """Measure both and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("path", nargs="?", type=Path)
    parser.add_argument("--random", action="store_true")
    parser.add_argument("-n", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.random == (options.path is not None):
        parser.error("a PATH or --random")
    if options.random:
        shape = (options.n, NEAR_SIDE, NEAR_SIDE, 3)
        pictures = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    else:
        pictures = thumbnails_of(options.path, options.n)
    for _ in range(options.rounds):
        (straight, before, high), (found, after, low) = (
            measured(work, pictures) for work in (all_pairs, search)
        )
        same = found[0] == straight[0] and abs(found[1] - straight[1]) < 1e-3
        print(
            f"{len(pictures):,} pictures: all pairs {before:.2f} s, {high:.0f} MB; search "
            f"{after:.2f} s, {low:.0f} MB; {before / after:.1f} times; "
            f"{found[0]} pairs, closest {found[1]:.3f}, {'the same' if same else 'NOT THE SAME'}",
            flush=True,
        )


if __name__ == "__main__":
    main()
