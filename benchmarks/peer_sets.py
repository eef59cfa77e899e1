"""Mixing sets as other fractal generators make them, as arms of benchmarks/safety.

    python -m benchmarks.peer_sets flam3 sets/flam3
    python -m benchmarks.peer_sets sprites sets/sprites

flam3    random genomes of `flam3-genome`, rendered by `flam3-render` (Debian's `flam3`) at 256
         px, 20 points a pixel, no density estimation; a genome that renders to nothing is passed
         over
sprites  affine systems on black, one a picture, drawn by benchmarks/plain_ifs.py (200,000 points,
         256 px): what plain IFS generators such as catalys1/fractal-pretraining make. The maps are
         those of our own pictures' first layers, so they are no worse than theirs.

200 pictures each, shrunk to 72 px, none left out by looks. The pixels of flam3 are the same
within a level in every run; of the sprites the systems are the same, the points are not.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import tempfile
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from PIL import Image

from benchmarks import plain_ifs
from benchmarks.fractals import with_attributes
from fractals import generate_fractal
from fractals.config import FractalConfig

SIDE, LARGE, COUNT = 72, 256, 200
POINTS = 200_000


def sprites() -> Iterator[Image.Image]:
    """Affine systems on black."""
    from pixmix_cli.seeding import Stream, rng_for

    config = FractalConfig(kind="affine", size=32)
    for index in count():
        recipe = generate_fractal(config, rng_for(7, Stream.FRACTALS, index)).recipe
        maps, cumulative, colors = plain_ifs.system(recipe["layers"][0])
        yield Image.fromarray(plain_ifs.picture(maps, cumulative, colors, POINTS, LARGE))


def flam3() -> Iterator[Image.Image]:
    """Random genomes of flam3's own."""
    changes = {"size": f"{LARGE} {LARGE}", "quality": "20", "estimator_radius": "0"}
    for seed in count():
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "out.png"
            environ = {
                **os.environ, "seed": str(seed), "isaac_seed": str(seed), "repeat": "1",
                "verbose": "0", "out": str(out), "format": "png",
            }  # fmt: skip
            genome = subprocess.run(["flam3-genome"], env=environ, capture_output=True, check=False)
            text = with_attributes(genome.stdout.decode(), changes)
            subprocess.run(
                ["flam3-render"], input=text.encode(), env=environ, capture_output=True, check=False
            )
            if out.exists():
                yield Image.open(out).convert("RGB")


def main() -> None:
    """Write 200 pictures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("kind", choices=["flam3", "sprites"])
    parser.add_argument("output", type=Path)
    asked = parser.parse_args()
    asked.output.mkdir(parents=True)
    makers = {"flam3": flam3, "sprites": sprites}
    for index, picture in zip(range(COUNT), makers[asked.kind]()):
        small = picture.resize((SIDE, SIDE), Image.Resampling.LANCZOS)
        small.save(asked.output / f"{index:03d}.png")


if __name__ == "__main__":
    main()
