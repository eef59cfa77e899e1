"""Every error that pixmix raises on purpose.

PixMixError                 1   could not finish
├── InputError              2   what the user named cannot be used as it is
│   ├── OutputExistsError   2   the output is there already
│   ├── OutputBusyError     2   another run is writing it
│   └── ResumeMismatchError 2   it was made with other settings or inputs
├── PictureError            1   one picture cannot be read
├── StorageError            1   a file could not be written or read (no space, no permission)
│   └── ArchiveError        2   a tar is compressed, cut short or broken
├── DeviceLostError         1   a GPU has too little memory, or stopped working
└── WorkerDiedError         1   a worker process died, again and again, on the same piece of work

Each message says what and where; `hint` says how to mend it; `page` is a section of docs/errors.md.
All end up on one line of stderr.
"""

from __future__ import annotations

import errno

from pixmix_cli.limits import explain


class PixMixError(Exception):
    """Base of the tree: a message for the user, a hint how to mend it, an exit code."""

    exit_code = 1
    page: str | None = None  # section of docs/errors.md that tells more

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __reduce__(self) -> tuple[type, tuple[str, str | None], dict[str, str | None]]:
        """Pickle by message and hint, so that errors cross from a worker process unharmed."""
        return type(self), (self.message, self.hint), {"page": self.page}

    def __str__(self) -> str:
        """Message and hint on one line."""
        text = " ".join(self.message.split("\n"))
        if self.hint is None:
            return text
        return f"{text.rstrip('.')}. Try: {self.hint}"


class InputError(PixMixError):
    """What the user named (a path, an option's value) cannot be used as it is."""

    exit_code = 2


class OutputExistsError(InputError):
    """The output is there already and neither --resume nor --overwrite was given."""

    page = "the-output-is-there-already"


class OutputBusyError(InputError):
    """Another run holds the lock of this output."""

    page = "another-run-is-writing-there"


class ResumeMismatchError(InputError):
    """--resume on an output that was made with other settings or other inputs."""

    page = "other-settings-or-other-inputs"


class PictureError(PixMixError):
    """One picture cannot be read: `message` names it and says why."""


class StorageError(PixMixError):
    """A file could not be written or read."""

    @classmethod
    def from_os_error(
        cls, error: OSError, path: str | None, doing: str = "writing"
    ) -> StorageError:
        """A StorageError in words for what the operating system said.

        error  the OSError that was caught
        path   the file or folder being worked on; None where that is not known
        doing  "writing" or "reading"
        """
        what = f"{doing} {path}"
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            full = cls(
                "no space left" if path is None else f"no space left while {what}",
                "free some space, then the same command with --resume",
            )
            full.page = "no-space-left"
            return full
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and path is not None:
            return cls(f"no permission for {what}", "another place, or its permissions")
        reason, hint = explain(error) or (error.strerror or str(error), None)
        if path is None:
            return cls(reason, hint or "again with --debug")
        return cls(f"{what} failed: {reason}", hint)


class ArchiveError(StorageError):
    """A tar cannot be used as it is: compressed, cut short, broken, or with parts left out."""

    exit_code = 2


class DeviceLostError(PixMixError):
    """A GPU has too little memory for the smallest batch, or stopped working."""

    page = "the-gpu"


class WorkerDiedError(PixMixError):
    """A worker process died repeatedly (killed, out of memory, or a crash in a decoder)."""

    page = "a-worker-died"
