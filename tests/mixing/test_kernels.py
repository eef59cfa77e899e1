"""The compiled arithmetic against itself uncompiled, and against NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from pixmix_cli.mixing.compiled.mix import ADD, BLOCK, MULTIPLY
from tests.compiled import in_python, kernels, lookups, powers
from tests.naive import pixmix_oracle

F32 = NDArray[np.float32]
F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]
LENGTHS = [3, 6, 21, BLOCK - 3, BLOCK, BLOCK + 3, 2 * BLOCK + 39]
# (a, b) of both branches, with their limits
WEIGHTS = [(1.0, 0.0), (0.7, 0.25), (2.0**-20, 1.0), (1.3, -0.6), (2.0, -1.0), (1.0, -(2.0**-24))]


def _power(base: F64, exponent: float, kernel: Callable[..., None] = powers.power) -> F64:
    out = base.copy()
    kernel(out, exponent, np.empty_like(out), np.empty_like(out))
    return out


def _bases(n: int) -> F64:
    """0, the limits, halves and doubles, neighbours of sqrt(2), then 1e-37 to 2 evenly by size."""
    rng = np.random.default_rng(n)
    root = np.sqrt(2.0)
    special = [0.0, 1e-37, float(np.float32(1e-37)), 2.0**-24, 2.0**-23, 2.0**-149]
    special += [0.5, 1.0, np.nextafter(1.0, 0), np.nextafter(1.0, 2), 2.0]
    special += [root, np.nextafter(root, 0), np.nextafter(root, 2), root / 2]
    special += [float(np.float32(v) / np.float32(255) * 2) for v in range(256)]
    return np.concatenate([special, np.exp(rng.uniform(np.log(1e-37), np.log(2), n))])[:n]


@pytest.mark.parametrize(("low", "high"), [(0.0, 2.0), (-1.0, 0.0)])
def test_power_is_within_1e_13_of_the_c_librarys(low: float, high: float) -> None:
    # Measured: 2e-14, at exponent 2 and the smallest bases.
    bases = _bases(3 * BLOCK + 5)
    bases = bases[bases > 0]
    exponents = np.random.default_rng(2).uniform(low, high, 60)
    for exponent in [low, high, 2.0**-149, -(2.0**-149), *exponents.tolist()]:
        want = np.power(bases, exponent)
        np.testing.assert_allclose(_power(bases, exponent), want, rtol=1e-13, atol=0)


def test_power_of_zero_is_zero_for_every_weight_above_zero() -> None:
    zeros = np.zeros(5)
    for exponent in (2.0**-149, 0.5, 1.0, 2.0):
        np.testing.assert_array_equal(_power(zeros, exponent), zeros)


def test_exponent_zero_gives_exactly_one() -> None:
    bases = _bases(1000)
    np.testing.assert_array_equal(_power(bases[bases > 0], 0.0), 1.0)


def test_base_one_gives_exactly_one() -> None:
    for exponent in (-1.0, -0.3, 0.0, 2.0**-149, 0.7, 1.0, 2.0):
        np.testing.assert_array_equal(_power(np.ones(3), exponent), 1.0)


@pytest.mark.parametrize("exponent", [-1.0, 0.0, 1.0, 2.0])
def test_powers_of_two_to_a_whole_exponent_are_exact(exponent: float) -> None:
    bases = 2.0 ** np.arange(-120.0, 2.0)
    np.testing.assert_array_equal(_power(bases, exponent), bases**exponent)


def test_exponent_one_gives_back_every_float32() -> None:
    bases = np.random.default_rng(1).uniform(0, 2, 20_000).astype(np.float32)
    back = _power(bases.astype(np.float64), 1.0).astype(np.float32)
    np.testing.assert_array_equal(back, bases)


@pytest.mark.parametrize("exponent", [-1.0, -0.37, 0.0, 2.0**-149, 0.61, 1.0, 1.999, 2.0])
def test_power_uncompiled_gives_the_compiled_bytes(exponent: float) -> None:
    bases = _bases(600)
    uncompiled = _power(bases, exponent, in_python(powers.power))
    assert uncompiled.tobytes() == _power(bases, exponent).tobytes()


def test_load_is_division_by_255() -> None:
    every = np.arange(256, dtype=np.uint8)
    for kernel in (kernels.load, in_python(kernels.load)):
        out = np.empty(256, np.float32)
        kernel(every, out)
        np.testing.assert_array_equal(out, every.astype(np.float32) / np.float32(255))


@pytest.mark.parametrize("n", LENGTHS)
def test_store_rounds_to_nearest_byte(n: int) -> None:
    halves = (np.arange(255) + 0.5) / 255
    near = [halves, np.nextafter(halves, 0), [0.0, 1.0, 2.0**-149, np.nextafter(1.0, 0)]]
    values = np.concatenate([*near, np.random.default_rng(n).random(n)]).astype(np.float32)
    want = np.floor(values * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    for kernel in (kernels.store, in_python(kernels.store)):
        out = np.empty(len(values), np.uint8)
        kernel(values, out)
        np.testing.assert_array_equal(out, want)


def test_store_after_load_gives_back_every_byte() -> None:
    every = np.arange(256, dtype=np.uint8)
    x, back = np.empty(256, np.float32), np.empty(256, np.uint8)
    kernels.load(every, x)
    kernels.store(x, back)
    np.testing.assert_array_equal(back, every)


def _inputs(n: int) -> tuple[F32, U8]:
    rng = np.random.default_rng(n)
    x = rng.random(n).astype(np.float32)
    x[::5], x[1::7], x[2::11] = 0, 1, np.float32(2.0**-24)
    other = rng.integers(0, 256, n).astype(np.uint8)
    other[::3], other[1::13] = 0, 255
    return x, other


def _power_by_table(x: F32, exponent: float, at_once: int, compiled: bool = True) -> F32:
    """Of so many values a call."""
    run = (lambda kernel: kernel) if compiled else in_python
    sides, table = np.empty(powers.SIDES), np.empty((powers.ROWS, 2))
    filled, out = np.empty(1, np.int64), np.empty_like(x)
    places, scratch = np.empty(at_once, np.int32), np.empty((3, BLOCK))
    m, e = scratch[:2, : powers.SIDES]
    run(powers.begin_table)(exponent, m, e, sides, table, filled)
    for begin in range(0, len(x), at_once):
        part, result = x[begin : begin + at_once], out[begin : begin + at_once]
        with np.errstate(over="ignore"):  # uncompiled, 0 - 1 warns
            run(powers.power_of_double)(
                part, exponent, sides, table, filled, places, scratch, result
            )
    return out


def _operation(operation: int, x: F32, other: U8, a: float, b: float, compiled: bool = True) -> F32:
    """One round on the picture x, as `render` does it by tables."""
    run = (lambda kernel: kernel) if compiled else in_python
    table, tables = np.empty(256, np.float32), np.empty((3, 256), np.float32)
    second, out = np.empty_like(x), np.empty_like(x)
    if operation == ADD:
        run(kernels.add_table)(b, table)
    else:
        run(kernels.multiply_table)(b, False, *np.empty((3, 256)), table)
    tables[:] = table
    lookups.gather(other, tables, False, second)
    if operation == ADD:
        run(kernels.add_floats)(x, a, second, out)
    else:  # by less than SEVERAL, what is vector code otherwise can run uncompiled
        at_once = BLOCK if compiled else powers.SEVERAL - 1
        run(kernels.multiply)(_power_by_table(x, a, at_once, compiled), second, out)
    return out


def _add(x: F32, other: U8, a: float, b: float, compiled: bool = True) -> F32:
    return _operation(ADD, x, other, a, b, compiled)


def _multiply(x: F32, other: U8, a: float, b: float, compiled: bool = True) -> F32:
    return _operation(MULTIPLY, x, other, a, b, compiled)


def _float32(weights: tuple[float, float]) -> tuple[float, float]:
    return float(np.float32(weights[0])), float(np.float32(weights[1]))


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_add_is_the_oracles_to_the_bit(n: int, weights: tuple[float, float]) -> None:
    x, other = _inputs(n)
    a, b = _float32(weights)
    y = other.astype(np.float32) / np.float32(255)
    want = pixmix_oracle.add(x, y, np.float32(a), np.float32(b))
    want = np.clip(want, np.float32(0), np.float32(1))
    np.testing.assert_array_equal(_add(x, other, a, b), want)


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_multiply_is_the_oracles_to_the_bit(n: int, weights: tuple[float, float]) -> None:
    x, other = _inputs(n)
    a, b = _float32(weights)
    y = other.astype(np.float32) / np.float32(255)
    want = pixmix_oracle.multiply(x, y, np.float32(a), np.float32(b), pixmix_oracle.rounded_power)
    want = np.clip(want, np.float32(0), np.float32(1))
    got = _multiply(x, other, a, b)
    if a == 2:  # a square may lie exactly between two float32: there the last bit is free
        np.testing.assert_array_max_ulp(got, want, maxulp=1)
        assert (got != want).sum() <= 3
    else:
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_multiply_is_near_the_same_sum_in_float64(weights: tuple[float, float]) -> None:
    x, other = _inputs(2 * BLOCK + 39)
    a, b = _float32(weights)
    y = np.maximum(other / 255 * 2, 1e-37)
    want = np.clip((2 * x.astype(np.float64)) ** a * y**b / 2, 0, 1)
    np.testing.assert_allclose(_multiply(x, other, a, b), want, rtol=4e-7, atol=1e-45)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_add_and_multiply_uncompiled_give_the_compiled_bytes(
    weights: tuple[float, float],
) -> None:
    x, other = _inputs(BLOCK + 21)
    a, b = _float32(weights)
    for operation in (_add, _multiply):
        uncompiled = operation(x, other, a, b, compiled=False)
        assert uncompiled.tobytes() == operation(x, other, a, b).tobytes()


@pytest.mark.parametrize("n", LENGTHS)
@pytest.mark.parametrize("weights", WEIGHTS)
def test_adding_bytes_by_arithmetic_gives_the_bits_of_the_table(
    n: int, weights: tuple[float, float]
) -> None:
    x, other = _inputs(n)
    a, b = _float32(weights)
    out = np.empty_like(x)
    kernels.add_bytes(x, a, other, b, out)
    assert out.tobytes() == _add(x, other, a, b).tobytes()
    in_python(kernels.add_bytes)(x, a, other, b, out)
    assert out.tobytes() == _add(x, other, a, b).tobytes()


def test_adding_any_byte_by_arithmetic_gives_the_bits_of_the_table() -> None:
    every = np.tile(np.arange(256, dtype=np.uint8), 3)
    x, out = np.full(len(every), np.float32(0.5)), np.empty(len(every), np.float32)
    for b in np.random.default_rng(4).uniform(-1, 1, 50).astype(np.float32).tolist():
        kernels.add_bytes(x, 1.0, every, b, out)
        assert out.tobytes() == _add(x, every, 1.0, b).tobytes()


@pytest.mark.parametrize("alike", [False, True])
@pytest.mark.parametrize("kind", [np.float32, np.uint8])
@pytest.mark.parametrize("n", LENGTHS)
def test_gather_looks_every_byte_up_in_its_channels_table(
    n: int, kind: type[Any], alike: bool
) -> None:
    rng = np.random.default_rng(n)
    tables = rng.integers(0, 256, (3, 256)).astype(kind)
    flat = rng.integers(0, 256, n).astype(np.uint8)
    channels = np.zeros(n, int) if alike else np.arange(n) % 3
    out = np.empty(n, kind)
    lookups.gather(flat, tables, alike, out)
    np.testing.assert_array_equal(out, tables[channels, flat])


@pytest.mark.parametrize("exponent", [-0.5, 0.0, 2.0**-30, 0.37, 1.0, 1.73, 2.0, 3.7])
@pytest.mark.parametrize("least", [1e-2, 1e-8, 1e-20])
def test_powers_of_many_at_once_are_the_bits_of_one_at_a_time(
    exponent: float, least: float
) -> None:
    rng = np.random.default_rng(6)
    x = np.exp(rng.uniform(np.log(least), 0, BLOCK)).astype(np.float32)
    x[::5], x[1::7] = 0, 1
    together = _power_by_table(x, exponent, BLOCK)
    assert together.tobytes() == _power_by_table(x, exponent, 1).tobytes()


@pytest.mark.parametrize("exponent", [0.0, 2.0**-30, 0.37, 1.0, 1.73, 2.0])
def test_power_by_table_is_the_power_of_every_size_of_number(exponent: float) -> None:
    rng = np.random.default_rng(3)
    sizes = np.exp(rng.uniform(np.log(1e-37), 0, 3 * 600))
    x = np.concatenate([sizes, 2.0 ** -np.arange(60), 1 - 2.0 ** -np.arange(1, 25), [0.0] * 3])
    x = x[: len(x) // 3 * 3].astype(np.float32)
    other = np.full(len(x), 127, np.uint8)  # b = 0: multiplies by 1, then by a half
    quarter = (x / np.float32(4)).astype(np.float32)
    got = _multiply(quarter, other, exponent, 0.0)
    doubled = quarter.astype(np.float64) * 2
    want = np.where(doubled > 0, doubled, exponent == 0) ** exponent
    want = np.minimum(want.astype(np.float32) * np.float32(0.5), np.float32(1))
    np.testing.assert_array_max_ulp(got, want, maxulp=1)
    assert (got != want).sum() <= 1


def test_an_exponent_that_no_draw_gives_is_done_all_the_same() -> None:
    x, other = _inputs(300)
    x = np.maximum(x, np.float32(1e-3))
    for a in (-0.5, 3.7):
        want = pixmix_oracle.multiply(
            x, other.astype(np.float32) / np.float32(255), np.float32(a), np.float32(0.3),
            pixmix_oracle.rounded_power,
        )  # fmt: skip
        got = _multiply(x, other, float(np.float32(a)), float(np.float32(0.3)))
        np.testing.assert_array_equal(got, np.clip(want, np.float32(0), np.float32(1)))
