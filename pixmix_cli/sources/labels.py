"""Labels: the one place that makes a class out of what a dataset says, whatever says it.

A label is a number or a name, wherever it stands: ` 3`, `3.0`, `+3`, `"3"` and the number 3 are the
same label in a CSV file, a tar, an array or a Parquet column.
"""

from __future__ import annotations

import array
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from numbers import Integral, Real

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.pictures import Warn
from pixmix_cli.storage.remote import AnyPath

MAX_CLASSES = 1_000_000  # beyond it a label is surely something else, an identifier or a hash

# White space, and what editors and other programs leave unseen: the byte order mark and its like.
# Not the other control characters: bytes 9 to 13 and 28 to 31 would vanish from binary labels.
_BLANK = " \t\r\n\xa0\u1680\u202f\u205f\u2060\u3000\ufeff" + "".join(
    map(chr, range(0x2000, 0x200C))
)
_QUOTED = re.compile(r"b?(['\"])((?:(?!\1).)*)\1", re.DOTALL)  # b'3' is how Python shows bytes
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_UNDECODED = re.compile(r"[\ud800-\udfff]")
_NUMBER = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?")  # digits of any script
_SEVERAL = re.compile(r"[\[(][\d\s,.;|]*[\])]|\d[\d.]*(?:\s*[,;|\s]\s*\d[\d.]*)+")
_MOST_DIGITS = 100  # of a number; what is longer is not computed
_HINT = "a whole number from 0, or a name, for each picture"

_MEND = "all numbers or all names, or a classes.json beside it that lists all names"


class UnusableLabelError(ValueError):
    """A label that is neither a whole number nor a name. Its text says why."""


def label_text(value: object) -> str:
    """A label as text: a name, or a number as it was written.

    value   text, or its bytes in UTF-8; a number
    raises  UnusableLabelError: empty, missing, a fraction, binary, a list, anything else
    """
    if isinstance(value, bytes):
        try:
            return _stripped(value.decode("utf-8"), value)
        except UnicodeDecodeError:
            raise UnusableLabelError(f"label {_shown(value)} is no UTF-8 text") from None
    if isinstance(value, str):
        return _stripped(value, value)
    if value is None:
        raise UnusableLabelError("the label is missing")
    if isinstance(value, bool):
        raise UnusableLabelError(f"label {value} is neither a number nor a name")
    if isinstance(value, Integral):
        return _in_range(str(int(value)), value)
    if isinstance(value, Real | Decimal):
        number = float(value)
        if number.is_integer():
            return _in_range(str(int(number)), value)
        raise UnusableLabelError(f"label {_shown(value)} is no whole number")
    kinds: dict[type, str] = {list: "a list", dict: "an object"}
    kind = kinds.get(type(value), f"of type {type(value).__name__}")
    raise UnusableLabelError(f"label {_shown(value)} is {kind}, neither a number nor a name")


def _stripped(text: str, value: object) -> str:
    """Text without blanks and quotes around it."""
    text = text.strip(_BLANK)
    quoted = _QUOTED.fullmatch(text)
    if quoted is not None:
        text = quoted[2].strip(_BLANK)
    if not text:
        raise UnusableLabelError(f"label {_shown(value)} is empty")
    if _CONTROL.search(text):
        raise UnusableLabelError(f"label {_shown(value)} holds control characters, as binary does")
    if _UNDECODED.search(text):
        raise UnusableLabelError(f"label {_shown(value)} is no UTF-8 text")
    if _SEVERAL.fullmatch(text):
        raise UnusableLabelError(f"label {_shown(value)} is a list of numbers")
    return _in_range(text, text)


def _in_range(text: str, value: object) -> str:
    """Text that is a name, or the number of a class."""
    number = number_of(text)
    problem = None if number is None else _problem_of(number)
    if problem is not None:
        raise UnusableLabelError(f"label {str(value)[:60]} {problem}")
    return text


def _problem_of(number: int | Decimal) -> str | None:
    """What is wrong with a number as a label; None where nothing is."""
    if not isinstance(number, int):
        return "is no whole number"
    return None if 0 <= number < MAX_CLASSES else f"is not one of 0 to {MAX_CLASSES - 1}"


def _shown(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:50]}... ({len(text)} characters)"


def label_in(record: Mapping[str, object], fields: Sequence[str]) -> object:
    """The value in a JSON object that is its label: of several the first that can be used.

    returns  None where there is none
    """
    present = [record[field] for field in fields if record.get(field) is not None]
    for value in present:
        try:
            label_text(value)
        except UnusableLabelError:
            continue
        return value
    return present[0] if present else None


def number_of(text: str) -> int | Decimal | None:
    """The number that a label is: whole, or a fraction, or None for a name."""
    if not _NUMBER.fullmatch(text):
        return None
    if len(text) > _MOST_DIGITS:
        return MAX_CLASSES
    number = Decimal(text)
    if number and number.adjusted() > 12:  # far too large, and too large to compute with
        return -1 if number < 0 else MAX_CLASSES
    return int(number) if number == number.to_integral_value() else number


class Labels:
    """Collects labels, numbers or names, one a picture, and numbers the classes at the end."""

    def __init__(self) -> None:
        """Start empty."""
        self._numbers: dict[str, int] = {}  # text: order of first appearance
        self._known: dict[tuple[type, object], int] = {}  # the same by the value: True is not 1
        self._found = array.array("i")
        self._unusable: list[tuple[int, str]] = []  # (picture, why) of the first
        self._unusable_count = 0

    def __len__(self) -> int:
        """How many were added."""
        return len(self._found)

    def add(self, value: object) -> None:
        """One picture's label, as `label_text` takes it; `finish` refuses what it refuses."""
        key = (type(value), value)
        try:
            self._found.append(self._known[key])
            return
        except (KeyError, TypeError):
            pass
        try:
            text = label_text(value)
        except UnusableLabelError as error:
            if not self._unusable:
                self._unusable.append((len(self._found), str(error)))
            self._unusable_count += 1
            self._found.append(-1)
            return
        self.add_name(text)
        self._known[key] = self._found[-1]

    def add_name(self, name: str) -> None:
        """One picture's label that is the name of its folder: any name that a folder can have."""
        self._found.append(self._numbers.setdefault(name, len(self._numbers)))

    def leave_out(self) -> None:
        """A picture that cannot be used and so needs no label: it gets 0."""
        self._found.append(-1)

    def extend(self, values: Iterable[object]) -> None:
        """Several pictures' labels."""
        for value in values:
            self.add(value)

    def finish(
        self,
        where: str,
        names: Sequence[str] | None = None,
        picture: Callable[[int], str] = lambda index: f"picture {index}",
        mend: str = _MEND,
    ) -> tuple[tuple[str, ...], array.array[int]]:
        """The classes and each picture's label.

        Labels that are all whole numbers stay as they are, and classes are called by the number
        unless `names` are known. Labels that are all names are those of `names`, else sorted.

        where    for the error message
        picture  the name of a picture, for the error message
        mend     of numbers beside names
        raises   InputError: a label that cannot be used, numbers beside names, a number below 0 or
                 absurdly large, a name or number that is not among the names
        """
        if self._unusable:
            index, reason = self._unusable[0]
            raise InputError(
                f"{where}: {reason}, of {picture(index)}; {self._unusable_count} of {len(self)} "
                "labels cannot be used",
                _HINT,
            )
        values = {text: number_of(text) for text in self._numbers}
        words = [text for text, value in values.items() if value is None]
        if words and names is None and len(words) < len(values):
            self._refuse_mixture(where, words, picture, mend)
        if words:
            known = sorted(words) if names is None else [_as_label(name) for name in names]
            place = {name: number for number, name in reversed(list(enumerate(known)))}
            strange = [text for text in (*words, *values) if text not in place]
            if strange:
                told = self._told(strange[:1], picture)
                raise InputError(f"{where}: label {told} is not one of the class names")
            labels = [place[text] for text in values]
            return tuple(names or known), self._numbered(labels)
        labels = []
        for text, value in values.items():
            problem = None if value is None else _problem_of(value)
            if problem is not None:  # folders may have any name
                told = self._told([text], picture)
                raise InputError(f"{where}: label {told} {problem}", _HINT)
            labels.append(int(value or 0))
        highest = max(labels, default=-1)
        if names is None:
            names = [str(number) for number in range(highest + 1)]
        elif highest >= len(names):
            raise InputError(
                f"{where}: label {highest} has no name, there are {len(names)} class names"
            )
        return tuple(names), self._numbered(labels)

    def _numbered(self, labels: Sequence[int]) -> array.array[int]:
        return array.array("i", (labels[n] if n >= 0 else 0 for n in self._found))

    def _refuse_mixture(
        self, where: str, words: list[str], picture: Callable[[int], str], mend: str
    ) -> None:
        numbers = [text for text in self._numbers if text not in set(words)]
        few, many = ("words", "numbers"), ("numbers", "words")
        odd, kinds = (words, few) if self._count(words) <= self._count(numbers) else (numbers, many)
        count = self._count(odd)
        raise InputError(
            f"{where}: {count} of {len(self)} labels are {kinds[0]}, the others {kinds[1]}: "
            f"{self._told(odd[:1], picture)}",
            mend,
        )

    def _told(self, texts: list[str], picture: Callable[[int], str]) -> str:
        """A label with a picture that has it, and how many have it."""
        index = self._found.index(self._numbers[texts[0]])
        text = texts[0] if number_of(texts[0]) is not None else _shown(texts[0])
        return f"{text[:60]} (of {picture(index)}, {self._count(texts)} in all)"

    def _count(self, texts: Iterable[str]) -> int:
        wanted = {self._numbers[text] for text in texts}
        return sum(number in wanted for number in self._found)


def _as_label(name: str) -> str:
    """A class name as labels are written; as it is where no label could be written so."""
    try:
        return label_text(name)
    except UnusableLabelError:
        return name


def names_beside(folder: AnyPath, warn: Warn) -> list[str] | None:
    """The class names in classes.json of a folder or of the one above it; None without one.

    warn  called when there is one that is no list of names
    """
    for place in (folder, folder.parent):
        file = place / "classes.json"
        if file.is_file():
            try:
                names = json.loads(file.read_bytes())
            except (OSError, StorageError, ValueError, RecursionError):
                names = None
            if isinstance(names, list) and all(isinstance(name, str) for name in names):
                return names
            warn(f"{file} is no JSON list of class names; not used")
    return None
