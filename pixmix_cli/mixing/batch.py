"""Batches of small pictures in the cifar geometry: the same pictures as one at a time, sooner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from pixmix_cli.mixing.augmentations import disagreeing, rotation
from pixmix_cli.mixing.compiled import augment as augment_kernels
from pixmix_cli.mixing.compiled import batch as batch_kernels
from pixmix_cli.mixing.compiled import mix, philox
from pixmix_cli.mixing.compiled import sample as sample_kernels
from pixmix_cli.mixing.config import PAPER_OPERATIONS, PixMixConfig
from pixmix_cli.mixing.draws import ALL_OPS, BASE_OPS
from pixmix_cli.mixing.mixer import mixing_corner
from pixmix_cli.mixing.uniforms import as_numbers
from pixmix_kernels import bound

U8 = NDArray[np.uint8]
I64 = NDArray[np.int64]
F64 = NDArray[np.float64]

MAX_SIZE = 96  # px: beyond it a picture's own arithmetic outweighs what a batch saves
MAX_K = 16  # rounds: a batch holds room for all
KEPT_BYTES = 32 << 20  # of mixing pictures that a compiled call may cut from: 8,600 of 36 px
MAX_KEPT = 1 << 20  # numbers that the mixing picture is drawn from; a weighted choice has more
_UNSEEN, _NO_ROOM = -1, -2  # places of mixing pictures


def possible(config: PixMixConfig) -> bool:
    """Whether this recipe can be done in batches, with this Pillow."""
    small = config.size <= MAX_SIZE and config.k <= MAX_K
    plain = config.geometry == "cifar" and config.operations == PAPER_OPERATIONS
    return plain and small and not disagreeing()


def _recipe(config: PixMixConfig) -> tuple[int, int, int, int]:
    """What `draw_many` takes."""
    return config.size, config.padding, config.k, len(ALL_OPS if config.all_ops else BASE_OPS)


def _rotations(size: int) -> NDArray[np.float64]:
    angles = range(-batch_kernels.LARGEST_ANGLE, batch_kernels.LARGEST_ANGLE + 1)
    return np.array([rotation(angle, size) for angle in angles])


def _settle_crops(config: PixMixConfig, heads: NDArray[np.float64]) -> None:
    """Undo the flips and crops that the recipe has switched off."""
    if not config.flip:
        heads[:, batch_kernels.FLIP] = 0
    if config.crop != "random":
        heads[:, [batch_kernels.TOP, batch_kernels.LEFT]] = 0


class SmallMixer:
    """PixMix on one small picture at a time: a batch of one, without a batch's preparations.

    Not for several threads.
    """

    def __init__(self, config: PixMixConfig, mixing_count: int) -> None:
        """As BatchMixer. Only for recipes that are `possible`."""
        self._config, size = config, config.size
        flat = size * size * 3
        self._keys = np.empty((1, 2), np.uint64)
        self._heads = np.empty((1, batch_kernels.HEAD))
        records = np.empty((1, 1 + config.k, mix.COLUMNS))
        self._square = np.empty((1, flat), np.uint8)
        self._mixing = np.zeros((1, flat), np.uint8)
        self._out = np.empty((1, flat), np.uint8)
        self._draw = bound(
            batch_kernels.draw_many, self._keys, _recipe(config), float(config.severity),
            1 / config.beta, mixing_count, _rotations(size), np.empty(philox.STREAM, np.uint64),
            self._heads, records,
        )  # fmt: skip
        self._render = bound(
            batch_kernels.render_many, self._heads, records, self._square, np.zeros(1, np.int64),
            self._mixing, size, sample_kernels.NOTHING, mix.workspace(size, size),
            np.empty(flat, np.uint8), self._out,
        )  # fmt: skip

    def __call__(self, key: bytes, square: U8, mixing_picture: Callable[[int], U8]) -> U8:
        """Draw and mix.

        key             the sample's Philox key
        square          (size, size, 3) uint8: the original, fitted
        mixing_picture  as for BatchMixer
        returns         (size, size, 3) uint8, a new array
        """
        self._keys[:] = as_numbers([key])
        self._draw()
        _settle_crops(self._config, self._heads)
        size, head = self._config.size, self._heads[0].tolist()
        if head[batch_kernels.USES_MIXING]:
            picture = mixing_picture(int(head[batch_kernels.MIXING]))
            offset = head[batch_kernels.VERTICAL], head[batch_kernels.HORIZONTAL]
            top, left = mixing_corner(size, offset, picture)
            crop = self._mixing.reshape(size, size, 3)
            crop[:] = picture[top : top + size, left : left + size]
        self._square.reshape(size, size, 3)[:] = square
        self._render()
        return self._out.reshape(size, size, 3).copy()


class Batch(NamedTuple):
    """Pictures made together, and what was drawn for them.

    pixels   (m, size, size, 3) uint8
    heads    (m, HEAD) float64, as `draw_many` writes them
    records  (m, 1 + k, COLUMNS) float64, likewise: the start, the rounds, and what is unused
    mixing   (m,) int64: index of the mixing picture in its set; -1 where none was used
    """

    pixels: U8
    heads: F64
    records: F64
    mixing: I64


class BatchMixer:
    """PixMix on many samples at once, with its scratch memory. Not for several threads."""

    def __init__(self, config: PixMixConfig, mixing_count: int) -> None:
        """Set up for one recipe and so many numbers that the mixing picture is drawn from."""
        self._config = config
        self._mixing_count = mixing_count
        size = config.size
        self._rotations = _rotations(size)
        self._work = mix.workspace(size, size)
        self._stream = np.empty(philox.STREAM, np.uint64)
        self._original = np.empty(size * size * 3, np.uint8)
        count = mixing_count if mixing_count <= MAX_KEPT else 0
        self._kept = np.empty(KEPT_BYTES if count else 0, np.uint8)
        self._used = 0
        self._places = np.full(count, _UNSEEN)
        self._indices = np.zeros(count, np.int64)  # of what a number stands for, where it is kept
        self._sides = np.zeros((count, 2), np.int64)
        self._mixing = np.zeros((0, size, size, 3), np.uint8)

    def draw(self, keys: Sequence[bytes]) -> tuple[F64, F64]:
        """The heads and records of samples, from their 128-bit Philox keys, little-endian."""
        config = self._config
        heads = np.empty((len(keys), batch_kernels.HEAD))
        records = np.empty((len(keys), 1 + config.k, mix.COLUMNS))
        batch_kernels.draw_many(
            as_numbers(keys), _recipe(config), float(config.severity), 1 / config.beta,
            self._mixing_count, self._rotations, self._stream, heads, records,
        )  # fmt: skip
        _settle_crops(config, heads)
        return heads, records

    def __call__(
        self,
        keys: Sequence[bytes],
        squares: U8,
        which: I64,
        mixing_picture: Callable[[int], tuple[int, U8]],
        plain: NDArray[np.bool_] | None = None,
    ) -> Batch:
        """Draw and mix a batch.

        keys            a sample's Philox key each, see `draw`
        squares         (s, size, size, 3) uint8, C-contiguous: the originals, fitted
        which           (m,) int64: each sample's original
        mixing_picture  gives what a drawn number stands for: its index in the set, and (h, w, 3)
                        uint8 with both sides >= size
        plain           (m,) samples that are only cropped and flipped; None: none of them
        returns         new arrays
        """
        size = self._config.size
        heads, records = self.draw(keys)
        if plain is not None:
            heads[plain, batch_kernels.ROUNDS] = 0
            heads[plain, batch_kernels.USES_MIXING] = 0
            records[plain, 0, mix.CODE] = augment_kernels.NOTHING
        if len(self._mixing) < len(keys):
            self._mixing = np.zeros((len(keys), size, size, 3), np.uint8)
        mixing = self._cut_mixing(heads, mixing_picture)
        out = np.empty((len(keys), size, size, 3), np.uint8)
        batch_kernels.render_many(
            heads, records, squares.reshape(len(squares), -1), which,
            self._mixing.reshape(len(self._mixing), -1), size, sample_kernels.NOTHING, self._work,
            self._original, out.reshape(len(out), -1),
        )  # fmt: skip
        return Batch(out, heads, records, mixing)

    def _cut_mixing(self, heads: F64, mixing_picture: Callable[[int], tuple[int, U8]]) -> I64:
        """Write the mixing picture's crop of each sample that uses one to self._mixing.

        returns  (m,) int64, its index; -1 for the others
        """
        size = self._config.size
        indices = np.full(len(heads), -1)
        users = np.flatnonzero(heads[:, batch_kernels.USES_MIXING])
        if len(self._places):
            drawn = heads[users, batch_kernels.MIXING].astype(np.int64)
            for number in np.unique(drawn[self._places[drawn] == _UNSEEN]).tolist():
                self._keep(number, *mixing_picture(number))
            is_kept = self._places[drawn] >= 0
            batch_kernels.crop_kept(
                self._kept, self._places, self._sides, heads, users[is_kept], size,
                self._mixing.reshape(len(self._mixing), -1),
            )  # fmt: skip
            indices[users[is_kept]] = self._indices[drawn[is_kept]]
            users = users[~is_kept]
        columns = [batch_kernels.MIXING, batch_kernels.VERTICAL, batch_kernels.HORIZONTAL]
        for i, (index, vertical, horizontal) in zip(
            users.tolist(), heads[users][:, columns].tolist()
        ):
            indices[i], picture = mixing_picture(int(index))
            top, left = mixing_corner(size, (vertical, horizontal), picture)
            self._mixing[i] = picture[top : top + size, left : left + size]
        return indices

    def _keep(self, number: int, index: int, picture: U8) -> None:
        """Keep what a drawn number stands for, if there is room."""
        end = self._used + picture.size
        if end > len(self._kept):
            self._places[number] = _NO_ROOM
            return
        self._kept[self._used : end] = picture.reshape(-1)
        self._places[number] = self._used
        self._sides[number] = picture.shape[:2]
        self._indices[number] = index
        self._used = end
