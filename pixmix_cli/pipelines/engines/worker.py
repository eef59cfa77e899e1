"""A worker process of the local engine: takes tasks from its parent and sends back what they give.

It has one socket to its parent, whose other end nobody else holds: when either ends the other sees
it at once, even in the middle of a message.

A message is its length and the number of the task it is about, then a pickle. To an interpreter of
its own the parent first sends the runner's maker and its context; a forked one has them and first
sends its number. Then come tasks from the parent, and from the worker None once, when it has begun,
and a result or a `Failure` for each task.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import struct
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

HEAD = struct.Struct("<Qq")  # length in bytes of what follows, number of its task
BEGIN = -1  # in a task's place: the message is about the worker itself
BLOCK = 1 << 18  # bytes read at once

_place = 0


@dataclass(frozen=True, slots=True)
class Failure:
    """What was raised instead of a result.

    text  its traceback in the worker
    """

    error: BaseException
    text: str


class ParentGoneError(Exception):
    """Nobody wants results any more."""


def place() -> int:
    """This worker's place among those of its parent, from 0; 0 in the parent itself."""
    return _place


def main(place: int, channel: int, life: int, stderr: int) -> None:
    """Work until the parent ends, in an interpreter of its own. Never returns.

    place    among the parent's workers, from 0
    channel  descriptor of the socket to the parent
    life     of a pipe that gives its end when the parent has ended
    stderr   of what becomes stderr once the worker has begun; until then the parent reads it
    """
    settle((channel, life, stderr))
    with contextlib.suppress(ParentGoneError):
        _, message = _receive(channel)
        _work(place, channel, life, stderr, lambda: pickle.loads(message))
    os._exit(1)


def serve(
    place: int,
    channel: int,
    life: int,
    stderr: int,
    make_runner: Callable[..., Callable[[Any], Any]],
    context: tuple[Any, ...],
) -> None:
    """As `main`, in a process that was forked and has the runner's maker already."""
    with contextlib.suppress(ParentGoneError):
        _send(channel, BEGIN, pickle.dumps(os.getpid()))
        _work(place, channel, life, stderr, lambda: (make_runner, context))
    os._exit(1)


def settle(descriptors: tuple[int, ...]) -> None:
    """What a worker's interpreter does first; `descriptors` are not for programs it may start."""
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # these reach the parent, too, which ends us
    for descriptor in descriptors:
        os.set_inheritable(descriptor, False)
    if not sys.warnoptions:  # the parent has said these already
        warnings.filterwarnings("ignore", module=r"pixmix_cli\.")


def _work(
    place: int, channel: int, life: int, stderr: int, beginning: Callable[[], tuple[Any, Any]]
) -> None:
    """Make the runner, then do tasks.

    beginning  gives the runner's maker and its context
    """
    global _place
    _place = place
    out_of_memory = pickle.dumps(Failure(MemoryError(), ""))  # while there is memory for it
    try:
        # a task may take long, and does not look at the channel meanwhile
        threading.Thread(target=_end_with_parent, args=(life,), daemon=True).start()
        make_runner, context = beginning()
        del beginning
        runner: Callable[[Any], Any] = make_runner(*context)
    except BaseException as error:
        _send(channel, BEGIN, _packed(_failure(error), out_of_memory))
        while True:
            _receive(channel)  # the parent ends us when it has read that
    os.dup2(stderr, 2)
    os.close(stderr)
    _send(channel, BEGIN, pickle.dumps(None))
    while True:
        number, message = _receive(channel)
        try:
            result = runner(pickle.loads(message))
        except BaseException as error:
            result = _failure(error)
        del message
        packed = _packed(result, out_of_memory)
        del result
        _send(channel, number, packed)


def _end_with_parent(life: int) -> None:
    """End this process when the parent is gone, even by kill -9: nobody wants its work then."""
    with contextlib.suppress(OSError):
        os.read(life, 1)
    os._exit(1)


def _failure(error: BaseException) -> Failure:
    """The error and where it was raised, so that both can be sent."""
    text = "".join(traceback.format_exception(type(error), error, error.__traceback__))
    error = error.with_traceback(None)
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:  # it holds a lock, or takes other arguments than it keeps
        error = RuntimeError(f"{type(error).__name__}: {error}")
    return Failure(error, text)


def _packed(value: Any, out_of_memory: bytes) -> bytes:
    try:
        return pickle.dumps(value, pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        return out_of_memory
    except Exception as error:
        return pickle.dumps(_failure(error))


def _send(channel: int, number: int, data: bytes) -> None:
    for part in (HEAD.pack(len(data), number), data):
        rest = memoryview(part)
        while rest:
            try:
                rest = rest[os.write(channel, rest) :]
            except OSError:
                raise ParentGoneError from None


def _receive(channel: int) -> tuple[int, bytearray]:
    """The next message's task and its pickle."""
    length, number = HEAD.unpack(_read(channel, HEAD.size))
    return number, _read(channel, length)


def _read(channel: int, length: int) -> bytearray:
    data = bytearray()
    while len(data) < length:
        try:
            block = os.read(channel, min(BLOCK, length - len(data)))
        except OSError:
            block = b""
        if not block:
            raise ParentGoneError
        data += block
    return data
