"""The draws of one baked picture, as records hold them: made one by one, or out of a batch.

A batch's draws are rows of numbers. Their JSON is put together from pieces, which takes a tenth of
the time of making objects of them and giving these to a JSON encoder.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from pixmix_cli.mixing.batch import Batch
from pixmix_cli.mixing.compiled import mix
from pixmix_cli.mixing.config import OPERATIONS
from pixmix_cli.mixing.draws import ALL_OPS, EXTRA_OPS, UNLEVELLED_OPS, Draws, DrawsJson
from pixmix_cli.storage.files import canonical_json, json_text


class Drawn(Protocol):
    """Every decision that made a picture, with the mixing picture's name where one was used."""

    def to_json(self) -> DrawsJson:
        """As rows hold it."""

    def text(self) -> str:
        """The same as canonical JSON."""


@dataclass(frozen=True, slots=True)
class DrawnAlone:
    """Of a picture that was made by itself. mixing: the mixing picture's name, if one was used."""

    draws: Draws
    mixing: str | None

    def to_json(self) -> DrawsJson:
        """As rows hold it."""
        record = self.draws.to_json()
        if self.mixing is None:
            del record["mixing"], record["mixing_offset"]
        else:
            record["mixing_picture"] = self.mixing
        return record

    def text(self) -> str:
        """The same as canonical JSON."""
        return canonical_json(self.to_json())


@dataclass(frozen=True, slots=True)
class DrawnInBatch:
    """Of a picture that was made in a batch, by the two operations of the paper.

    size   side of the picture, pixels
    head   as `draw_many` writes it
    steps  rows of COLUMNS, of the start and of each round, and of what follows and is unused
    used   index and name of the mixing picture, if one was used
    """

    size: int
    head: Sequence[float]
    steps: Sequence[Sequence[float]]
    used: tuple[int, str] | None

    def to_json(self) -> DrawsJson:
        """As rows hold it."""
        record: DrawsJson = json.loads(self.text())
        return record

    def text(self) -> str:
        """The same as canonical JSON."""
        rounds, flip, top, left, _, vertical, horizontal, _ = self.head
        (code, _, _, _, value), *steps = self.steps
        start = "null" if code < 0 else _augmentation(code, value)
        mixing = ""
        if self.used is not None:
            index, name = self.used
            mixing = (
                f'"mixing":{index},"mixing_offset":[{vertical!r},{horizontal!r}],'
                f'"mixing_picture":{json_text(name)},'
            )
        told = ",".join(
            f'{{"a":{a!r},"b":{b!r},"operation":{_OPERATIONS[int(operation)]},'
            f'"with":{_MIXING if code < 0 else _augmentation(code, value)}}}'
            for code, operation, a, b, value in steps[: int(rounds)]
        )
        return (
            f'{{"crop":[{int(top)},{int(left)},{self.size},{self.size}],'
            f'"flip":{"true" if flip else "false"},{mixing}"rounds":[{told}],"start":{start}}}'
        )


COLUMNS = [mix.CODE, mix.OPERATION, mix.A, mix.B, mix.VALUE]  # of a row: what records tell
_MIXING = '"mixing"'
_OPERATIONS = [json_text(name) for name in OPERATIONS]
_WHOLE = [name not in (*EXTRA_OPS, "shear_x", "shear_y") for name in ALL_OPS]
_UNLEVELLED = [f'{{"name":"{name}"}}' if name in UNLEVELLED_OPS else "" for name in ALL_OPS]
_LEVELLED = [f'{{"name":"{name}","value":' for name in ALL_OPS]


def _augmentation(code: float, value: float) -> str:
    place = int(code)
    text = f"{int(value)}" if _WHOLE[place] else repr(value)
    return _UNLEVELLED[place] or f"{_LEVELLED[place]}{text}}}"


def drawn_in(batch: Batch, size: int, name: Callable[[int], str]) -> Iterator[DrawnInBatch]:
    """The draws of each picture of a batch.

    size  side of the pictures, pixels
    name  gives the name of a mixing picture by its index
    """
    steps = np.ascontiguousarray(batch.records[:, :, COLUMNS])
    for head, rows, index in zip(batch.heads.tolist(), steps.tolist(), batch.mixing.tolist()):
        yield DrawnInBatch(size, head, rows, None if index < 0 else (index, name(index)))
