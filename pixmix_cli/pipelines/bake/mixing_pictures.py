"""A worker's mixing pictures: decoded and resized, kept in memory and on disk."""

from __future__ import annotations

import contextlib
from pathlib import Path

import numpy as np

from pixmix_cli.errors import PictureError, PixMixError
from pixmix_cli.mixing.mixer import (
    U8,
    resize_shorter_side,
)
from pixmix_cli.outputs.rows import SkippedSample
from pixmix_cli.sources import picture_cache
from pixmix_cli.sources.mixing_set import MixingSet
from pixmix_cli.sources.picture_cache import PictureCache
from pixmix_cli.sources.pictures import PictureRef, PixelsRef
from pixmix_cli.storage import images
from pixmix_cli.units import MAX_PIXELS

KEPT_BYTES = 64 << 20  # resized mixing pictures kept in a worker's memory: 320 at 256 x 256
MAX_ASPECT = 50  # of a mixing picture: 1 x 5000 px would need 1 GB at a shorter side of 256
RESIZE = "1"  # raise it when mixing pictures would be resized to other bytes


def cache_key(mixing: MixingSet, shorter_side: int, max_pixels: int, folder: Path) -> str:
    """The place of a set, decoded and resized, in a cache folder, with room made for it.

    shorter_side, max_pixels  as for MixingPictures
    """
    versions = {"resize": RESIZE, **images.reader(), **images.codec("jpeg")}
    made_how = f"{shorter_side} {max_pixels} {versions}"
    pictures = mixing.pictures
    key = picture_cache.identity(pictures, made_how, pictures.versions)
    picture_cache.make_room(folder, key)
    return key


def _check_not_thin(picture: U8, name: str) -> None:
    """Refuse a mixing picture whose shorter side could be enlarged to size only at absurd cost."""
    height, width = picture.shape[:2]
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise PictureError(
            f"{name}: {width} x {height} pixels is too thin to crop squares from "
            f"(at most {MAX_ASPECT} to 1)"
        )


def _decoded(ref: PictureRef, max_pixels: int) -> U8:
    """(h, w, 3) uint8. Raises PixMixError, before reading or decoding what is too large."""
    if isinstance(ref, PixelsRef):
        images.check_pixels(*ref.layout[:2], ref.name, max_pixels)
        return np.ascontiguousarray(ref.pixels())
    images.check_length(ref.length, ref.name, max_pixels)
    return images.decode_rgb(ref.read(), ref.name, max_pixels=max_pixels)


class MixingPictures:
    """The mixing set, decoded and resized: from memory, else from the disk cache, else made."""

    def __init__(
        self,
        mixing: MixingSet,
        shorter_side: int,
        on_disk: PictureCache | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> None:
        """Start with nothing in memory.

        shorter_side  pixels, as PixMixConfig.mixing_size
        max_pixels    of a picture before it is resized; larger ones count as broken
        """
        self._mixing = mixing
        self._side = shorter_side
        self._on_disk = on_disk
        self._max_pixels = max_pixels
        self._kept: dict[int, U8] = {}
        self._bytes = 0
        self._broken: set[int] = set()
        self._untold: list[tuple[int, str]] = []  # of them, not yet in a row

    def get(self, drawn: int, on_error: str) -> tuple[int, U8]:
        """The mixing picture that a drawn number stands for, or the next one that can be read.

        returns its index in the set, and (h, w, 3) uint8
        raises  PictureError when it is broken and on_error is "fail", or when all are broken
        """
        count, index = len(self._mixing.pictures), self._mixing.pick(drawn)
        picture = self._kept.get(index)
        if picture is not None and self._bytes <= KEPT_BYTES // 2:
            return index, picture  # with so much room left it does not matter which was used last
        for candidate in ((index + step) % count for step in range(count)):
            if candidate in self._broken:
                continue
            picture = self._kept.pop(candidate, None)
            if picture is None:
                try:
                    picture = self._load(candidate)
                except PixMixError as error:
                    if on_error == "fail":
                        raise PictureError(
                            f"mixing set: {error.message}",
                            "--on-error skip to mix in the next picture instead and list it",
                        ) from None
                    self._broken.add(candidate)
                    self._untold.append((candidate, error.message))
                    continue
                self._bytes += picture.nbytes
            self._kept[candidate] = picture  # now the latest used: dictionaries keep order
            while self._bytes > KEPT_BYTES and len(self._kept) > 1:
                oldest = next(iter(self._kept))
                self._bytes -= self._kept.pop(oldest).nbytes
            return candidate, picture
        raise PictureError(
            f"none of the {count} pictures of the mixing set can be read", "another --mixing-set"
        )

    def load_all(self) -> None:
        """Put every picture that can be read into the cache on disk."""
        for number in range(len(self._mixing.pictures)):
            with contextlib.suppress(PixMixError):  # told when it is drawn
                self._load(number)

    def _load(self, number: int) -> U8:
        if self._on_disk is not None:
            picture = self._on_disk.get(number)
            if picture is not None:
                return picture
        ref = self._mixing.pictures[number]
        decoded = _decoded(ref, self._max_pixels)
        _check_not_thin(decoded, ref.name)
        picture = resize_shorter_side(decoded, self._side)
        if self._on_disk is not None:
            self._on_disk.put(number, picture)
        return picture

    def errors(self) -> list[SkippedSample]:
        """A row for each mixing picture found broken since the last call."""
        found, self._untold = self._untold, []
        return [
            SkippedSample(
                error=reason,
                index=index,
                key=self._mixing.pictures[index].name,
                shard=-1,
                copy=-1,
            )
            for index, reason in found
        ]
