"""Elementary functions in plain float64 arithmetic.

The C library picks its sin, exp and pow by processor, and their last bits differ. A recipe drawn
with them would differ between machines, and so would every pixel after it. These use only
+, -, * and /, which IEEE 754 fixes to the bit. Not for hot loops: see kernels for those.
"""

from __future__ import annotations

__all__ = ["PI", "cosine", "exponential", "logarithm", "power", "sine"]

PI = 3.141592653589793
_LN2 = 0.6931471805599453
_SINE_DIVISORS = [float((2 * k) * (2 * k + 1)) for k in range(1, 11)]


def sine(x: float) -> float:
    """sin x, |x| <= 1e6, error below 1e-10: reduced to [-pi/2, pi/2], then Taylor's series."""
    turns = round(x / PI)  # rounds half to even, exactly, on every machine
    r = x - turns * PI
    z = r * r
    term = r
    total = r
    for divisor in _SINE_DIVISORS:
        term = -term * z / divisor
        total += term
    return -total if turns % 2 else total


def cosine(x: float) -> float:
    """cos x, |x| <= 1e6, error below 1e-10."""
    return sine(x + 0.5 * PI)


def exponential(x: float) -> float:
    """e to the x, |x| <= 700, relative error below 1e-13."""
    k = round(x / _LN2)
    r = x - k * _LN2
    term = 1.0
    total = 1.0
    for n in range(1, 18):
        term = term * r / n
        total += term
    # powers of two are exact, whichever way they are made
    return total * float(2**k) if k >= 0 else total / float(2**-k)


def logarithm(x: float) -> float:
    """Natural logarithm of x, 1e-300 < x < 1e300, absolute error below 1e-13."""
    k = 0
    while x > 1.4142135623730951:
        x *= 0.5
        k += 1
    while x < 0.7071067811865476:
        x *= 2.0
        k -= 1
    z = (x - 1.0) / (x + 1.0)
    z2 = z * z
    term = z
    total = z
    for n in range(1, 16):
        term *= z2
        total += term / (2 * n + 1)
    return 2.0 * total + k * _LN2


def power(x: float, y: float) -> float:
    """x to the y for x >= 0; 0 where x is 0."""
    return 0.0 if x <= 0.0 else exponential(y * logarithm(x))
