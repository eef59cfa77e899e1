"""Pictures: the same bytes wherever they are made, the same look at every size, no duds."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from fractals import Fractal, FractalConfig, generate_fractal, render_recipe, warm_up
from pixmix_cli.pipelines.inspect import measures

pytestmark = pytest.mark.long

SMALL = FractalConfig(size=96)


def _make(seed: int, config: FractalConfig = SMALL) -> Fractal:
    return generate_fractal(config, np.random.default_rng(seed))


def _digest() -> str:
    digest = hashlib.sha256()
    for kind in ("affine", "flame"):
        for seed in range(5):
            fractal = _make(seed, FractalConfig(kind, size=80))
            digest.update(fractal.pixels.tobytes())
            digest.update(json.dumps(fractal.recipe).encode())
    return digest.hexdigest()


def _digest_elsewhere(**environment: str) -> str:
    code = "from tests.fractals.test_generate import _digest; print(_digest())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@pytest.mark.process
def test_another_process_makes_the_same_bytes() -> None:
    assert _digest_elsewhere() == _digest()


@pytest.mark.process
def test_a_processor_without_wide_vectors_makes_the_same_bytes() -> None:
    # kernels for plain x86-64, and NumPy without its dispatched loops
    assert (
        _digest_elsewhere(
            PIXMIX_KERNELS="x86-64" if platform.machine() == "x86_64" else "auto",
            NPY_DISABLE_CPU_FEATURES="X86_V3 X86_V4 AVX2 FMA3 AVX512F AVX512_SKX",
        )
        == _digest()
    )


def test_threads_make_the_same_bytes() -> None:
    expected = [_make(seed).pixels for seed in range(6)]
    with ThreadPoolExecutor(3) as pool:
        threaded = list(pool.map(lambda seed: _make(seed).pixels, range(6)))
    assert all((a == b).all() for a, b in zip(expected, threaded, strict=True))


def test_a_picture_does_not_depend_on_those_made_before() -> None:
    alone = _make(5).pixels
    for seed in range(4):
        _make(seed)
    assert (_make(5).pixels == alone).all()


@pytest.mark.parametrize("kind", ["mixed", "affine", "flame"])
def test_a_recipe_read_back_from_json_gives_the_same_bytes(kind: str) -> None:
    for seed in range(6):
        fractal = _make(seed, FractalConfig(kind, size=70, points_per_pixel=3.0))
        recipe = json.loads(json.dumps(fractal.recipe, allow_nan=False))
        assert (render_recipe(recipe) == fractal.pixels).all()


def test_a_seed_gives_the_same_recipe_at_every_size() -> None:
    recipes = [dict(_make(3, FractalConfig(size=size)).recipe) for size in (7, 64, 150)]
    for recipe in recipes:
        del recipe["size"]
    assert recipes[0] == recipes[1] == recipes[2]


@pytest.mark.parametrize("size", [1, 7, 32, 63, 127, 300])
def test_every_size_gives_a_picture_of_that_size(size: int) -> None:
    pixels = _make(1, FractalConfig(size=size)).pixels
    assert pixels.shape == (size, size, 3)
    assert pixels.dtype == np.uint8


def test_a_side_of_two_thousand_looks_like_the_small_one() -> None:
    recipe = _make(4).recipe
    large = render_recipe(recipe, 2048, 2.0)
    small = render_recipe(recipe, 256)
    difference = measures.shrink(large, 32) - measures.shrink(small, 32)
    assert np.sqrt((difference**2).mean()) < 20.0


def _apart(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((measures.shrink(a, 32) - measures.shrink(b, 32)) ** 2).mean()))


def test_exposure_does_not_depend_on_the_size() -> None:
    differences = []
    for seed in range(12):
        recipe = _make(seed).recipe
        pictures = [render_recipe(recipe, size) for size in (64, 256, 512)]
        differences += [_apart(pictures[0], pictures[1]), _apart(pictures[1], pictures[2])]
    # levels of 255, RMS at 32 px; pictures of different recipes are about 80 apart
    assert np.median(differences) < 9.0
    assert max(differences) < 16.0


def test_exposure_hardly_depends_on_the_number_of_points() -> None:
    differences = []
    for seed in range(12):
        recipe = _make(seed).recipe
        differences.append(
            _apart(render_recipe(recipe, 512, 8.0), render_recipe(recipe, 512, 32.0))
        )
    # what is left is the smoothing of scarce points
    assert np.median(differences) < 11.0
    assert max(differences) < 18.0


def test_every_channel_uses_its_full_range_at_training_size() -> None:
    for seed in range(12):
        small = measures.shrink(_make(seed, FractalConfig(size=128)).pixels, 32)
        spans = np.percentile(small, 97, axis=(0, 1)) - np.percentile(small, 3, axis=(0, 1))
        assert spans.min() > 100.0


def test_no_blank_and_no_pale_picture_among_forty() -> None:
    for seed in range(40):
        pixels = _make(seed, FractalConfig(size=128)).pixels
        assert measures.active_share(pixels.astype(float)) > 0.3
        assert measures.contrast_at_32(pixels) > 38.0
        assert measures.colorfulness(pixels.astype(float)) > 20.0


def test_mixed_is_a_quarter_affine() -> None:
    kinds = [_make(seed, FractalConfig(size=16)).recipe["kind"] for seed in range(80)]
    assert 8 <= kinds.count("affine") <= 32  # mean 20, standard deviation 3.9


@pytest.mark.parametrize("kind", ["affine", "flame"])
def test_kind_is_what_was_asked_for_in_every_layer(kind: str) -> None:
    recipe = _make(0, FractalConfig(kind, size=16)).recipe
    assert {layer["kind"] for layer in recipe["layers"]} == {kind}


def test_rejected_candidates_are_counted() -> None:
    counts = [_make(seed, FractalConfig(size=16)).rejected for seed in range(20)]
    assert min(counts) >= 0
    assert sum(counts) > 0


def test_warming_up_twice_is_harmless() -> None:
    warm_up()
    warm_up()


def test_only_streams_that_numpy_promises_to_keep_are_drawn_from() -> None:
    class Strict:
        """A generator that has nothing but random and integers."""

        def __init__(self, seed: int) -> None:
            rng = np.random.default_rng(seed)
            self.random, self.integers = rng.random, rng.integers

    fractal = generate_fractal(SMALL, Strict(2))  # type: ignore[arg-type]
    assert (fractal.pixels == _make(2).pixels).all()
