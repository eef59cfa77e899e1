"""The thirteen augmentations, compiled, each with the bytes of Pillow. Strict IEEE, no libm.

A pointwise augmentation is a table of 256 bytes a channel, to be composed with whatever is done to
the bytes next. The others write a picture. Pictures are (h, w, 3) uint8, C-contiguous, or flat,
(h * w * 3,), as said; what comes from outside a picture is black.

source  Pillow: ImageOps.py, ImageEnhance.py, libImaging/Geometry.c, Blend.c, Convert.c, Filter.c
"""

from __future__ import annotations

import numpy as np

from pixmix_cli.mixing.compiled import vectors
from pixmix_kernels import kernel
from pixmix_kernels.arrays import F64, I32, U8, F64x2, I32x2, U8x2

# Codes of the augmentations: their places in draws.ALL_OPS.
(AUTOCONTRAST, EQUALIZE, POSTERIZE, ROTATE, SOLARIZE) = range(5)
(SHEAR_X, SHEAR_Y, TRANSLATE_X, TRANSLATE_Y) = range(5, 9)
(COLOR, CONTRAST, BRIGHTNESS, SHARPNESS) = range(9, 13)
PREPARED = 13  # the picture was made by someone else
NOTHING = -1  # no augmentation

# A shear moves each line by a whole number of pixels and a fraction f of one: a + f (b - a), cut
# off. With 23 bits of f that is right in int32 unless f (b - a) comes nearer to a whole number than
# _CLOSE, in 2**-23, for some difference b - a of bytes; such lines are done in float64.
_FRACTION_BITS = 23
_FRACTION_ONE = float(1 << _FRACTION_BITS)
_FRACTION_MASK = (1 << _FRACTION_BITS) - 1
_CLOSE = 160  # more than the error, 127.5, of 255 times a fraction rounded to 23 bits


@kernel
def is_pointwise(code: int) -> bool:
    """Whether an augmentation maps bytes to bytes, a channel at a time."""
    return code in (NOTHING, AUTOCONTRAST, EQUALIZE, POSTERIZE, SOLARIZE, CONTRAST, BRIGHTNESS)


@kernel
def _blend(first: np.int32, second: np.int32, alpha: np.float32) -> np.uint8:
    """Pillow's blend of two bytes: first + alpha (second - first) in float32, cut to a byte."""
    value = np.float32(first) + alpha * np.float32(np.int32(second - first))
    value = value if value > np.float32(0) else np.float32(0)
    value = value if value < np.float32(255) else np.float32(255)
    return np.uint8(np.int32(value))


@kernel
def _grey(red: np.int32, green: np.int32, blue: np.int32) -> np.int32:
    """Pillow's luma, ITU-R 601-2 in 16 bits."""
    weighted = red * np.int32(19595) + green * np.int32(38470) + blue * np.int32(7471)
    return np.int32(np.int32(weighted + np.int32(0x8000)) >> np.int32(16))


@kernel
def copy(source: U8, target: U8) -> None:
    """Copy bytes; a loop, because Numba's slice assignment takes twenty times as long."""
    for i in range(source.shape[0]):
        target[i] = source[i]


@kernel
def blacken(target: U8) -> None:
    """Set bytes to 0."""
    for i in range(target.shape[0]):
        target[i] = 0


@kernel
def cut_square(source: U8, begin: int, width: int, size: int, out: U8) -> None:
    """A square of a picture that is `width` pixels wide, its first byte source[begin].

    source  (m,) uint8
    out     (size * size * 3,) uint8, written
    """
    n = size * 3
    for y in range(size):
        at = begin + y * width * 3
        copy(source[at : at + n], out[y * n : (y + 1) * n])


@kernel
def histogram(flat: U8, counts: I32x2) -> None:
    """counts[c, v] = how often channel c has value v; flat (n * 3,), counts (3, 256) int32."""
    counts[:] = 0
    red, green, blue = counts[0], counts[1], counts[2]
    for i in range(flat.shape[0] // 3):
        red[flat[3 * i]] += 1
        green[flat[3 * i + 1]] += 1
        blue[flat[3 * i + 2]] += 1


@kernel
def mean_grey(flat: U8) -> int:
    """The picture's mean luma, rounded half up."""
    n = flat.shape[0] // 3
    total = np.int64(0)
    for begin in range(0, n, 4096):  # a block's sum fits 32 bits, which makes the loop a vector one
        block = flat[3 * begin : 3 * min(begin + 4096, n)]
        part = np.int32(0)
        for i in range(block.shape[0] // 3):
            red, green = np.int32(block[3 * i]), np.int32(block[3 * i + 1])
            part = np.int32(part + _grey(red, green, np.int32(block[3 * i + 2])))
        total += part
    return int(np.float64(total) / np.float64(n) + 0.5)


@kernel
def _autocontrast_table(counts: I32, table: U8) -> None:
    low, high = 0, 255
    while low < 255 and counts[low] == 0:
        low += 1
    while high > 0 and counts[high] == 0:
        high -= 1
    if high <= low:
        for v in range(256):
            table[v] = v
        return
    scale = 255.0 / (high - low)
    offset = -low * scale
    for v in range(256):
        value = int(v * scale + offset)
        table[v] = min(max(value, 0), 255)


@kernel
def _equalize_table(counts: I32, table: U8) -> None:
    total, last, kinds = 0, 0, 0
    for v in range(256):
        if counts[v] > 0:
            total += counts[v]
            last = counts[v]
            kinds += 1
    step = (total - last) // 255
    if kinds <= 1 or step == 0:
        for v in range(256):
            table[v] = v
        return
    n = step // 2
    for v in range(256):
        table[v] = min(n // step, 255)
        n += counts[v]


@kernel
def byte_tables(code: int, value: float, flat: U8, counts: I32x2, tables: U8x2) -> bool:
    """Write a pointwise augmentation of a picture as tables.

    code     one of which `is_pointwise` is true
    value    as in draws.Augmentation; 0 where there is none
    flat     (n * 3,) uint8, the picture
    counts   (3, 256) int32, scratch
    tables   (3, 256) uint8, written
    returns  whether the three are equal
    """
    if code in (AUTOCONTRAST, EQUALIZE):
        histogram(flat, counts)
        for c in range(3):
            if code == AUTOCONTRAST:
                _autocontrast_table(counts[c], tables[c])
            else:
                _equalize_table(counts[c], tables[c])
        return False
    first = tables[0]
    if code == POSTERIZE:
        mask = ~((1 << (8 - int(value))) - 1)
        for v in range(256):
            first[v] = v & mask
    elif code == SOLARIZE:
        threshold = int(value)
        for v in range(256):
            first[v] = v if v < threshold else 255 - v
    elif code in (CONTRAST, BRIGHTNESS):
        ground = mean_grey(flat) if code == CONTRAST else 0
        alpha = np.float32(value)
        for v in range(256):
            first[v] = _blend(np.int32(ground), np.int32(v), alpha)
    else:
        for v in range(256):
            first[v] = v
    for c in range(1, 3):
        for v in range(256):
            tables[c, v] = first[v]
    return True


@kernel
def color(flat: U8, value: float, out: U8) -> None:
    """Blend with the picture's own grey; flat and out (n * 3,)."""
    alpha = np.float32(value)
    for i in range(flat.shape[0] // 3):
        red, green = np.int32(flat[3 * i]), np.int32(flat[3 * i + 1])
        blue = np.int32(flat[3 * i + 2])
        grey = _grey(red, green, blue)
        out[3 * i] = _blend(grey, red, alpha)
        out[3 * i + 1] = _blend(grey, green, alpha)
        out[3 * i + 2] = _blend(grey, blue, alpha)


@kernel
def sharpness(flat: U8, height: int, width: int, value: float, out: U8) -> None:
    """Blend with a copy smoothed by the weights 1 1 1, 1 5 1, 1 1 1; the border stays as it is.

    Pillow smooths in float32 and rounds; thirteenths are never half-way between two bytes, so whole
    numbers give the same.
    """
    alpha = np.float32(value)
    n = width * 3
    if height < 3 or width < 3:
        copy(flat, out)
        return
    copy(flat[:n], out[:n])
    copy(flat[(height - 1) * n :], out[(height - 1) * n :])
    for y in range(1, height - 1):
        row = flat[y * n : (y + 1) * n]
        above = flat[(y - 1) * n : y * n]
        below = flat[(y + 1) * n : (y + 2) * n]
        above0, above1, above2 = above[: n - 6], above[3 : n - 3], above[6:]
        here0, here1, here2 = row[: n - 6], row[3 : n - 3], row[6:]
        below0, below1, below2 = below[: n - 6], below[3 : n - 3], below[6:]
        target = out[y * n + 3 : (y + 1) * n - 3]
        for i in range(n - 6):
            here = np.int32(here1[i])
            # (2 sum + 13) / 26, cut off, by a multiplication that is exact for sums of 13 bytes
            total = np.int32(
                np.int32(above0[i])
                + np.int32(above1[i])
                + np.int32(above2[i])
                + np.int32(here0[i])
                + np.int32(5) * here
                + np.int32(here2[i])
                + np.int32(below0[i])
                + np.int32(below1[i])
                + np.int32(below2[i])
            )
            scaled = np.int32((np.int32(2) * total + np.int32(13)) * np.int32(80660))
            target[i] = _blend(np.int32(scaled >> np.int32(21)), here, alpha)
        copy(row[:3], out[y * n : y * n + 3])
        copy(row[n - 3 :], out[(y + 1) * n - 3 : (y + 1) * n])


@kernel
def affine(
    flat: U8, height: int, width: int, matrix: F64, places: I32, shares: F64x2, out: U8
) -> None:
    """Output pixel (x, y) taken, bilinear, from (a x + b y + c, d x + e y + f) of the picture.

    flat, out  (height * width * 3,) uint8, not the same
    matrix     (6,) float64: a b c d e f, for pixel centres
    places     (width,) int32, scratch
    shares     (2, width) float64, scratch
    """
    a, b, c = matrix[0], matrix[1], matrix[2]
    d, e, f = matrix[3], matrix[4], matrix[5]
    n = width * 3
    us, vs = shares[0], shares[1]
    for y in range(height):
        y_in = y + 0.5
        for x in range(width):
            x_in = x + 0.5
            us[x] = a * x_in + b * y_in + c
            vs[x] = d * x_in + e * y_in + f
        # Pixels first..last - 1 have all four neighbours inside: u and v only rise or only fall.
        first, last = 0, width - 1  # a pixel done at once touches the byte behind it
        while first < last and not _is_inside(us[first], vs[first], height, width):
            first += 1
        while last > first and not _is_inside(us[last - 1], vs[last - 1], height, width):
            last -= 1
        begin, end = 0, width  # pixels before and behind are black
        while begin < first and not _is_in_picture(us[begin], vs[begin], height, width):
            begin += 1
        while end > last and not _is_in_picture(us[end - 1], vs[end - 1], height, width):
            end -= 1
        blacken(out[y * n : y * n + 3 * begin])
        for x in range(begin, first):
            _sample(flat, height, width, us[x], vs[x], out, y * n + 3 * x)
        if first < last:
            to = out[y * n + 3 * first :]
            _inner(flat, n, us[first:last], vs[first:last], places[first:last], to)
        for x in range(last, end):
            _sample(flat, height, width, us[x], vs[x], out, y * n + 3 * x)
        blacken(out[y * n + 3 * end : (y + 1) * n])


@kernel
def _inner(flat: U8, n: int, us: F64, vs: F64, places: I32, out: U8) -> None:
    """`_sample` of points that `_is_inside`, without its questions.

    n       bytes of a row of the picture
    us, vs  (m,) float64, the points, overwritten
    places  (m,) int32, scratch
    out     (3 * m + 1 or more,) uint8, written
    """
    for x in range(us.shape[0]):
        u, v = us[x] - 0.5, vs[x] - 0.5
        left, top = np.int32(u), np.int32(v)
        # the shares of right and lower neighbours, in place: with more arrays to tell apart the
        # compiler makes no vectors
        us[x], vs[x] = u - np.float64(left), v - np.float64(top)
        places[x] = np.int32(np.int32(top * np.int32(n)) + np.int32(np.int32(3) * left))
    for x in range(us.shape[0]):
        upper = int(places[x])
        vectors.between(flat, upper, upper + n, us[x], vs[x], out, 3 * x)


@kernel
def _is_inside(u: float, v: float, height: int, width: int) -> bool:
    """Whether all four neighbours of a point, and a pixel behind them, lie in the picture."""
    return u >= 0.5 and u < width - 1.5 and v >= 0.5 and v < height - 1.5


@kernel
def _is_in_picture(u: float, v: float, height: int, width: int) -> bool:
    """Whether a point is not black."""
    return u >= 0.0 and u < width and v >= 0.0 and v < height


@kernel
def _sample(flat: U8, height: int, width: int, u: float, v: float, out: U8, to: int) -> None:
    """The pixel at out[to] from the point (u, v)."""
    if not _is_in_picture(u, v, height, width):
        out[to] = out[to + 1] = out[to + 2] = 0
        return
    u -= 0.5
    v -= 0.5
    x = int(u + 1.0) - 1  # the floor: u and v are above -1
    y = int(v + 1.0) - 1
    if x > u:
        x -= 1
    if y > v:
        y -= 1
    du, dv = u - x, v - y
    left, right = max(x, 0), min(x + 1, width - 1)
    top = max(y, 0)
    up = top * width * 3
    has_below = y + 1 < height
    down = (y + 1) * width * 3
    for c in range(3):
        p, q = np.float64(flat[up + 3 * left + c]), np.float64(flat[up + 3 * right + c])
        value = p + (q - p) * du
        if has_below:
            p, q = np.float64(flat[down + 3 * left + c]), np.float64(flat[down + 3 * right + c])
            value = value + ((p + (q - p) * du) - value) * dv
        out[to + c] = np.uint8(np.int32(value))


@kernel
def translate(flat: U8, height: int, width: int, right: int, down: int, out: U8) -> None:
    """Output pixel (x, y) taken from (x + right, y + down), both whole numbers."""
    n = width * 3
    gap = min(abs(right), width) * 3
    for y in range(height):
        row = out[y * n : (y + 1) * n]
        if not 0 <= y + down < height:
            blacken(row)
            continue
        source = flat[(y + down) * n : (y + down + 1) * n]
        if right >= 0:
            copy(source[gap:], row[: n - gap])
            blacken(row[n - gap :])
        else:
            blacken(row[:gap])
            copy(source[: n - gap], row[gap:])


@kernel
def _scaled_fraction(fraction: float) -> np.int32:
    """A fraction of a pixel in 23 bits; -1 where it cannot be done in whole numbers (see above)."""
    scaled = np.int32(fraction * _FRACTION_ONE + 0.5)
    close = np.int32(0)
    for difference in range(1, 256):
        rest = (np.int32(difference) * scaled + np.int32(_CLOSE)) & np.int32(_FRACTION_MASK)
        close = np.int32(close + (np.int32(1) if np.int32(rest) < np.int32(2 * _CLOSE) else 0))
    return scaled if close == 0 else np.int32(-1)


@kernel
def shear_x(flat: U8, height: int, width: int, matrix: F64, out: U8) -> None:
    """`affine` for a matrix (1, s, 0, 0, 1, 0): each row by one fraction of a pixel."""
    n = width * 3
    shear = matrix[1]
    for y in range(height):
        row = out[y * n : (y + 1) * n]
        source = flat[y * n : (y + 1) * n]
        shift = shear * (y + 0.5)
        whole = int(np.floor(shift))
        fraction = shift - whole
        # output pixels whose both neighbours lie inside; a fraction so small that rounding could
        # take it over a border is not done in whole numbers
        first, last = max(0, -whole), min(width, width - 1 - whole)
        scaled = _scaled_fraction(fraction)
        if first >= last or scaled < 0:
            for x in range(width):
                u = x + 0.5 + shift
                _sample(flat, height, width, u, y + 0.5, out, y * n + 3 * x)
            continue
        count, place = 3 * (last - first), 3 * (first + whole)
        lefts = source[place : place + count]
        rights = source[place + 3 : place + 3 + count]
        target = row[3 * first : 3 * last]
        for i in range(count):
            p = np.int32(lefts[i])
            step = np.int32((np.int32(rights[i]) - p) * scaled)
            target[i] = np.uint8(np.int32(p + (step >> np.int32(_FRACTION_BITS))))
        begin, end = 0, width  # pixels before and behind are black
        while begin < first and begin + 0.5 + shift < 0.0:
            begin += 1
        while end > last and end - 0.5 + shift >= width:
            end -= 1
        blacken(row[: 3 * begin])
        for x in range(begin, first):
            _sample(flat, height, width, x + 0.5 + shift, y + 0.5, out, y * n + 3 * x)
        for x in range(last, end):
            _sample(flat, height, width, x + 0.5 + shift, y + 0.5, out, y * n + 3 * x)
        blacken(row[3 * end :])


@kernel
def shear_y(
    flat: U8, height: int, width: int, matrix: F64, wholes: I32, scaled: I32, out: U8
) -> None:
    """`affine` for a matrix (1, 0, 0, s, 1, 0): each column by one fraction of a pixel.

    wholes  (width,) int32, scratch
    scaled  (width * 3,) int32, scratch
    """
    n = width * 3
    shear = matrix[3]
    for x in range(width):
        shift = shear * (x + 0.5)
        wholes[x] = int(np.floor(shift))
        value = _scaled_fraction(shift - np.floor(shift))
        scaled[3 * x] = scaled[3 * x + 1] = scaled[3 * x + 2] = value
    for y in range(height):
        # as in `affine`; columns move the more the further right they are, in one direction
        first, last = 0, width - 1
        while first < last and not 0 <= y + wholes[first] < height - 1:
            first += 1
        while last > first and not 0 <= y + wholes[last - 1] < height - 1:
            last -= 1
        begin, end = 0, width
        while begin < first and not -2 < y + wholes[begin] < height:
            begin += 1
        while end > last and not -2 < y + wholes[end - 1] < height:
            end -= 1
        blacken(out[y * n : y * n + 3 * begin])
        for x in range(begin, first):
            v = shear * (x + 0.5) + (y + 0.5)
            _sample(flat, height, width, x + 0.5, v, out, y * n + 3 * x)
        if first < last:
            at = y * n + 3 * first
            _inner_columns(flat, at, n, wholes[first:last], scaled[3 * first :], out[at:])
        for x in range(last, end):
            v = shear * (x + 0.5) + (y + 0.5)
            _sample(flat, height, width, x + 0.5, v, out, y * n + 3 * x)
        blacken(out[y * n + 3 * end : (y + 1) * n])
    for x in range(width):
        if scaled[3 * x] < 0:
            for y in range(height):
                v = shear * (x + 0.5) + (y + 0.5)
                _sample(flat, height, width, x + 0.5, v, out, y * n + 3 * x)


@kernel
def _inner_columns(flat: U8, begin: int, n: int, wholes: I32, scaled: I32, out: U8) -> None:
    """Neighbouring pixels of a row, each from its column so many rows on and the row below that.

    begin   where they are in flat
    n       bytes of a row of the picture
    wholes  (m,) int32, whole rows
    scaled  (3 * m + 1 or more,) int32, share of the row below, in 2**-_FRACTION_BITS, of each byte
    out     (3 * m + 1 or more,) uint8, written
    """
    bits = np.int32(_FRACTION_BITS)
    m, x = wholes.shape[0], 0
    while x < m:
        upper = begin + int(wholes[x]) * n + 3 * x
        four = x + 5 <= m and wholes[x] == wholes[x + 3]
        vectors.shared(flat, upper, upper + n, scaled, 3 * x, bits, out, 3 * x, four)
        x += 4 if four else 1


@kernel
def augment(
    code: int,
    value: float,
    matrix: F64,
    flat: U8,
    height: int,
    width: int,
    wholes: I32,
    scaled: I32,
    shares: F64x2,
    out: U8,
) -> None:
    """An augmented copy, for the augmentations that are not pointwise.

    value           as in draws.Augmentation
    matrix          (6,) float64 for rotations and shears
    wholes, scaled  (width,) and (width * 3,) int32, scratch
    shares          (2, width) float64, scratch
    """
    if code == COLOR:
        color(flat, value, out)
    elif code == SHARPNESS:
        sharpness(flat, height, width, value, out)
    elif code == SHEAR_X:
        shear_x(flat, height, width, matrix, out)
    elif code == SHEAR_Y:
        shear_y(flat, height, width, matrix, wholes, scaled, out)
    elif code == TRANSLATE_X:
        translate(flat, height, width, int(value), 0, out)
    elif code == TRANSLATE_Y:
        translate(flat, height, width, 0, int(value), out)
    else:
        affine(flat, height, width, matrix, wholes, shares, out)
