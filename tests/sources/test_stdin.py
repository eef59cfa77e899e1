"""stdin is read to its end, whatever the pipe is set to."""

from __future__ import annotations

import os
import sys
import threading
import time

import pytest

from pixmix_cli.sources import stdin


@pytest.mark.parametrize("blocks", [True, False])
def test_nothing_yet_is_not_the_end(blocks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.set_blocking(reading, blocks)
    parts = [b"a/1.jpg\n" * 1000, b"b/2.jpg\n" * 100_000, b"c/3.jpg\n"]

    def write_slowly() -> None:
        for part in parts:
            time.sleep(0.05)
            rest = memoryview(part)
            while rest:
                rest = rest[os.write(writing, rest) :]
        os.close(writing)

    with os.fdopen(reading) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        writer = threading.Thread(target=write_slowly)
        writer.start()
        came = stdin.stream()
        head = came.read(512)
        rest = came.read()
        writer.join()
    assert len(head) == 512
    assert head + rest == b"".join(parts)


def test_an_empty_stdin_is_at_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    os.close(writing)
    with os.fdopen(reading) as stream:
        monkeypatch.setattr(sys, "stdin", stream)
        assert stdin.stream().read(512) == b""
