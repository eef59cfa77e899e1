"""What can go wrong in `featvis`.

```
FeatVisError(ValueError)          a setting that cannot work, or any of:
├── UnknownModelError             no such architecture, or no such named weights
├── UnknownLayerError             no such layer, or one that never runs on its own
├── ChannelRangeError             the layer has fewer channels than asked for
├── CheckpointError               unreadable, unsafe, or of another architecture
├── WeightsUnavailableError       the download failed and nothing is cached
└── DeviceError                   the asked-for device is not there
```

Every message is one line that says what and where; `hint` says how to mend it.
"""

from __future__ import annotations

from collections.abc import Iterable


class FeatVisError(ValueError):
    """Root of this package's errors.

    message  one line: what is wrong, and where
    hint     one line without the leading "Try:", or None where nothing sensible can be said
    """

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint


class UnknownModelError(FeatVisError):
    """No architecture, or no weights, of that name."""


class UnknownLayerError(FeatVisError):
    """No layer matches, or the module exists but its output is never seen."""


class ChannelRangeError(FeatVisError):
    """A channel number outside the layer's range, or text that is no channel list."""


class CheckpointError(FeatVisError):
    """A weights file that is unreadable, unsafe, or made for another architecture."""


class WeightsUnavailableError(FeatVisError):
    """Published weights that are neither cached nor downloadable right now."""


class DeviceError(FeatVisError):
    """The device that was asked for does not exist here."""


def some(items: Iterable[str], count: int = 3) -> str:
    """The first few of `items`, for a message, each on one line and of bounded length."""
    items = list(items)
    return ", ".join(map(plain, items[:count])) + (", …" if len(items) > count else "")


def plain(text: str, limit: int = 120) -> str:
    """`text` without characters that move the cursor, cut in the middle beyond `limit`."""
    text = "".join(c if c.isprintable() else "?" for c in text)
    return text if len(text) <= limit else f"{text[: limit // 2]}…{text[1 - limit // 2 :]}"


def one_line(error: object, limit: int = 160) -> str:
    """What `error` says, on one line and at most `limit` characters long."""
    text = plain(" ".join(str(error).split()), 10 * limit) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
