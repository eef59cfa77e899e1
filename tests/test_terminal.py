"""What reaches the terminal: nothing that it would obey instead of showing it."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import threading
import time
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from pixmix_cli.terminal import StdoutSink, Terminal, printable, say, say_traceback
from tests.conftest import Cli, picture

# Unicode's Bidi_Control (PropList.txt), and what ends a line
TURNING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029"
EVIL = "b\x1b[2J\r\x9b31m\x7f\u202e"


def obeyed(text: str) -> list[str]:
    """The characters of a text that a terminal would obey, but for ends of lines."""
    return [
        c for c in text if (unicodedata.category(c) in ("Cc", "Cs") and c != "\n") or c in TURNING
    ]


def test_every_control_character_is_escaped_and_nothing_else() -> None:
    for code in range(sys.maxunicode + 1):
        text = chr(code)
        if obeyed(text) or text == "\n":
            assert printable(text).isascii()
            assert printable(text).isprintable()
        else:
            assert printable(text) == text


def test_a_byte_that_is_no_utf_8_is_shown_as_that_byte() -> None:
    assert printable(b"caf\xe9 \x9b".decode("utf-8", "surrogateescape")) == r"caf\xe9 \x9b"


def test_a_message_is_one_printable_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{EVIL}\nend")
    out = capsys.readouterr().err
    assert (out.count("\n"), obeyed(out)) == (1, [])
    assert out == "b\\x1b[2J\\r\\x9b31m\\x7f\\u202e end\n"


def test_a_traceback_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    say_traceback(ValueError, ValueError(EVIL), None)
    assert obeyed(capsys.readouterr().err) == []


@pytest.mark.parametrize("at_terminal", [True, False])
def test_a_path_is_exact_in_a_pipe_and_printable_on_a_terminal(
    at_terminal: bool, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: at_terminal)
    Terminal().emit({"path": f"{EVIL}/1.jpg"}, "out")
    out = capsys.readouterr().out
    assert out == (f"out/{printable(EVIL)}/1.jpg\n" if at_terminal else f"out/{EVIL}/1.jpg\n")


def test_records_are_printable_and_still_exact_json(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal(as_json=True).emit({"path": EVIL})
    out = capsys.readouterr().out
    assert obeyed(out) == []
    assert json.loads(out) == {"path": EVIL}


def test_lines_for_people_are_printable(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().line(f"{EVIL}: is missing")
    assert obeyed(capsys.readouterr().out) == []


def test_names_of_files_and_classes_cannot_speak_to_the_terminal(
    cli: Cli, mixing: Path, tmp_path: Path
) -> None:
    from PIL import Image

    for name in ("a", EVIL, "c\x1b]0;title\x07"):
        (tmp_path / "in" / name).mkdir(parents=True)
    Image.fromarray(picture(1, 30, 30)).save(tmp_path / "in" / "a" / "x.png")
    (tmp_path / "in" / EVIL / "z.jpg").write_bytes(b"junk")
    arguments = [
        "bake",
        tmp_path / "in",
        "--mixing-set",
        mixing,
        "-o",
        tmp_path / "o",
        "--size",
        32,
    ]
    code, out, err = cli(*arguments, "--on-error", "fail")
    assert code == 1
    assert r"b\x1b[2J\r\x9b31m\x7f\u202e/z.jpg" in err
    assert obeyed(out + err) == []
    assert cli(*arguments, "--resume")[0] == 3
    for command in (["verify", tmp_path / "o"], ["inspect", tmp_path / "in"]):
        _, out, err = cli(*command)
        assert obeyed(out + err) == []


def test_lines_reach_a_stream_of_text_that_has_no_bytes() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as text:
        Terminal().emit({"path": "1.jpg"}, "out")
    assert text.getvalue() == "out/1.jpg\n"


LONG = bytes(range(256)) * 4096  # many times what a pipe holds


def put_bytes() -> bytes:
    StdoutSink().write(LONG)
    return LONG


def put_paths() -> bytes:
    paths = [f"{number:06d}/{'long' * 50}.jpg" for number in range(1000)]
    for path in paths:
        Terminal().emit({"path": path})
    return "".join(f"{path}\n" for path in paths).encode()


@pytest.mark.parametrize("put", [put_bytes, put_paths])
@pytest.mark.parametrize("buffered", [True, False])
def test_a_pipe_that_does_not_block_gets_all_of_stdout(
    put: Callable[[], bytes], buffered: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a buffer, as after `python -u`, a stream takes what fits and says so to nobody."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    came: list[bytes] = []

    def read_slowly() -> None:
        while block := os.read(reading, 1 << 14):
            came.append(block)
            time.sleep(0.001)
        os.close(reading)

    raw = io.FileIO(writing, "w")
    stream = io.BufferedWriter(raw) if buffered else raw
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(stream, "utf-8", write_through=True))
    reader = threading.Thread(target=read_slowly)
    reader.start()
    expected = put()
    with contextlib.suppress(BlockingIOError):
        sys.stdout.close()
    reader.join()
    assert b"".join(came) == expected
