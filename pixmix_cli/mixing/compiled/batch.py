"""Many small pictures in one compiled call: their draws, crops and mixing, for the cifar geometry.

At 32 pixels the arithmetic of a picture takes microseconds, as long as a handful of Python calls.
The draws here are those of `draws.draw`, number by number: the same Philox stream, the same
decisions (tested), of the paper's two operations; a record is a row of floats and no object.
"""

from __future__ import annotations

import numpy as np

from pixmix_cli.mixing.compiled import augment as augment_kernels
from pixmix_cli.mixing.compiled import mix
from pixmix_cli.mixing.compiled.philox import begin, uniform
from pixmix_kernels import entry, kernel
from pixmix_kernels.arrays import F64, I64, U8, U64, F64x2, F64x3, I64x2, U8x2, U64x2

# Columns of a sample's head: what `mix.render`'s record does not hold.
ROUNDS, FLIP, TOP, LEFT, MIXING, VERTICAL, HORIZONTAL, USES_MIXING = range(8)
HEAD = 8
LARGEST_ANGLE = 30  # degrees, at severity 10


@kernel
def _below(n: int, stream: U64) -> int:
    return min(int(uniform(stream) * n), n - 1)


@kernel
def _draw_augmentation(
    operations: int, severity: float, size: int, rotations: F64x2, stream: U64, row: F64
) -> None:
    """As draws.draw_augmentation, onto a record's row."""
    code = _below(operations, stream)
    row[mix.CODE] = code
    if code in (augment_kernels.AUTOCONTRAST, augment_kernels.EQUALIZE):
        return
    level = 0.1 + (severity - 0.1) * uniform(stream)
    if code == augment_kernels.POSTERIZE:
        row[mix.VALUE] = max(1, 4 - int(level * 4 / 10))
    elif code == augment_kernels.SOLARIZE:
        row[mix.VALUE] = 256 - int(level * 256 / 10)
    elif code >= augment_kernels.COLOR:
        row[mix.VALUE] = level * 1.8 / 10 + 0.1
    else:
        sign = -1 if uniform(stream) < 0.5 else 1
        if code == augment_kernels.ROTATE:
            degrees = sign * int(level * 30 / 10)
            row[mix.VALUE] = degrees
            for i in range(6):
                row[mix.MATRIX + i] = rotations[degrees + LARGEST_ANGLE, i]
        elif code == augment_kernels.SHEAR_X or code == augment_kernels.SHEAR_Y:
            shear = sign * (level * 0.3 / 10)
            row[mix.VALUE] = shear
            row[mix.MATRIX] = 1.0
            row[mix.MATRIX + 4] = 1.0
            row[mix.MATRIX + (1 if code == augment_kernels.SHEAR_X else 3)] = shear
        else:
            row[mix.VALUE] = sign * int(level * (size / 3) / 10)


@entry
def draw_many(
    keys: U64x2,
    recipe: tuple[int, int, int, int],
    severity: float,
    inverse_beta: float,
    mixing_count: int,
    rotations: F64x2,
    stream: U64,
    heads: F64x2,
    records: F64x3,
) -> None:
    """The draws of many samples, as draws.draw makes them in the cifar geometry.

    keys          (m, 2) uint64: each sample's Philox key, low half first
    recipe        size and padding in pixels, k, and how many of ALL_OPS are used
    inverse_beta  1 / beta
    rotations     (2 * LARGEST_ANGLE + 1, 6) float64: the matrix of each whole angle
    stream        (philox.STREAM,) uint64, scratch
    heads         (m, HEAD) float64, written
    records       (m, 1 + k, mix.COLUMNS) float64, written: rows beyond a sample's rounds are 0
    """
    size, padding, k, operations = recipe
    for i in range(keys.shape[0]):
        begin(stream, keys[i, 0], keys[i, 1])
        head, record = heads[i], records[i]
        record[:] = 0.0
        head[MIXING] = _below(mixing_count, stream)
        head[VERTICAL] = uniform(stream)
        head[HORIZONTAL] = uniform(stream)
        head[FLIP] = 1.0 if uniform(stream) < 0.5 else 0.0
        head[TOP] = _below(2 * padding + 1, stream) - padding
        head[LEFT] = _below(2 * padding + 1, stream) - padding
        rounds = _below(k + 1, stream)
        head[ROUNDS] = rounds
        head[USES_MIXING] = 0.0
        record[0, mix.CODE] = augment_kernels.NOTHING
        if uniform(stream) < 0.5:
            _draw_augmentation(operations, severity, size, rotations, stream, record[0])
        for r in range(1, rounds + 1):
            row = record[r]
            row[mix.CODE] = augment_kernels.NOTHING
            if uniform(stream) < 0.5:
                _draw_augmentation(operations, severity, size, rotations, stream, row)
            else:
                head[USES_MIXING] = 1.0
            row[mix.OPERATION] = mix.ADD if uniform(stream) < 0.5 else mix.MULTIPLY
            inside = uniform(stream) < 0.5
            first = uniform(stream) ** inverse_beta
            second = 1 - uniform(stream) ** inverse_beta
            a = first if inside else 1 + (1 - first)
            b = second if inside else -second
            row[mix.A], row[mix.B] = np.float32(a), np.float32(b)


@kernel
def _crop(square: U8, size: int, top: int, left: int, flip: bool, out: U8) -> None:
    """The crop at (top, left) of the square, first mirrored if asked, in black.

    square, out  (size * size * 3,) uint8
    """
    n = size * 3
    for y in range(size):
        row = out[y * n : (y + 1) * n]
        if not 0 <= y + top < size:
            augment_kernels.blacken(row)
            continue
        source = square[(y + top) * n : (y + top + 1) * n]
        for x in range(size):
            at = x + left
            if not 0 <= at < size:
                row[3 * x] = row[3 * x + 1] = row[3 * x + 2] = 0
                continue
            at = 3 * (size - 1 - at if flip else at)
            row[3 * x], row[3 * x + 1], row[3 * x + 2] = source[at], source[at + 1], source[at + 2]


@entry
def crop_kept(
    kept: U8, places: I64, sides: I64x2, heads: F64x2, users: I64, size: int, out: U8x2
) -> None:
    """Crops of mixing pictures that lie one after the other in memory.

    kept    (bytes,) uint8
    places  (count,) int64: where picture i begins; its height and width are sides[i], (count, 2)
    heads   (m, HEAD) float64, of `draw_many`
    users   (u,) int64: the samples to do, whose pictures are all there
    out     (m, size * size * 3) uint8: the rows in `users` are written
    """
    for u in range(users.shape[0]):
        head = heads[users[u]]
        index = int(head[MIXING])
        height, width = sides[index, 0], sides[index, 1]
        top = int(head[VERTICAL] * (height - size + 1))
        left = int(head[HORIZONTAL] * (width - size + 1))
        begin = places[index] + (top * width + left) * 3
        augment_kernels.cut_square(kept, begin, width, size, out[users[u]])


@entry
def render_many(
    heads: F64x2,
    records: F64x3,
    squares: U8x2,
    which: I64,
    mixing: U8x2,
    size: int,
    nothing: U8x2,
    work: mix.Workspace,
    original: U8,
    out: U8x2,
) -> None:
    """The pictures of many samples.

    heads, records  from `draw_many`
    squares         (s, size * size * 3) uint8: originals
    which           (m,) int64: each sample's original among them
    mixing          (m, size * size * 3) uint8: each sample's crop of its mixing picture, where used
    nothing         (0, 0) uint8
    original        (size * size * 3,) uint8, scratch
    out             (m, size * size * 3) uint8, written
    """
    for i in range(heads.shape[0]):
        head = heads[i]
        _crop(squares[which[i]], size, int(head[TOP]), int(head[LEFT]), head[FLIP] > 0.0, original)
        record = records[i, : 1 + int(head[ROUNDS])]
        mix.render(record, original, mixing[i], nothing, size, size, work, out[i])
