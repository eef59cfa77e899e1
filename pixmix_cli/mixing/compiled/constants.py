"""Numbers that a kernel and the LLVM code emitted for it have to agree on."""

from __future__ import annotations

LOWER_BITS = 11  # of the lower part of a weight of `vectors`; a weight of 1 is 2**24
TOGETHER = 24  # bytes looked up at once by `lookups`: whole pixels, and whole words of entries
SEVERAL = 16  # values that `powers` does at once
BIN_BITS = 6  # a table of powers has 2**6 bins an octave
BIN_INSIDE = 23 - BIN_BITS  # bits of a float32's place inside its bin
BIN_HALF = 1 << (BIN_INSIDE - 1)
