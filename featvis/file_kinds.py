"""What kind of file a checkpoint is, by its first bytes: its name may say anything."""

from __future__ import annotations

import json
import os
import zipfile
import zlib
from pathlib import Path

from featvis.errors import CheckpointError, one_line, plain

TORCH, OLD_TORCH, SAFETENSORS = "torch", "old torch", "safetensors"
PICKLE, UNKNOWN = "pickle", "unknown"

_HEAD = 512  # bytes that are looked at; a tar says so at 257
_LARGEST_HEADER = 100_000_000  # bytes of a safetensors header, as its own reader has it
_LARGEST_SWELLING = 200  # a zip that unpacks to more than so many times its size is a trap
_BLOCK = 1 << 20
# torch's old format opens with this number, pickled; 2 is the protocol that torch.save takes
_OLD_MAGIC = b"\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19."

_AGAIN = "copy or download it again and compare its hash"
_EXPORT = "a PyTorch checkpoint of it: torch.save(model.state_dict(), FILE)"
# first bytes -> (what it is, how to mend it)
_SIGNS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "is a git-lfs pointer, not the file itself",
        "git lfs pull in its repository, or download the file itself",
    ),
    (b"\x89HDF\r\n\x1a\n", "is an HDF5 file (of Keras, or MATLAB)", _EXPORT),
    (b"\x1f\x8b", "is packed by gzip", "gunzip it, and name the file that comes out"),
    (b"BZh", "is packed by bzip2", "bunzip2 it, and name the file that comes out"),
    (b"\xfd7zXZ\x00", "is packed by xz", "unxz it, and name the file that comes out"),
    (b"\x28\xb5\x2f\xfd", "is packed by zstd", "unzstd it, and name the file that comes out"),
    (b"7z\xbc\xaf\x27\x1c", "is a 7z archive", "unpack it, and name the file in it"),
    (b"Rar!", "is a RAR archive", "unpack it, and name the file in it"),
    (b"\x93NUMPY", "is a NumPy array", _EXPORT),
    (b"GGUF", "is a GGUF file of a language model", "a checkpoint of a classification network"),
    (b"\x89PNG", "is a picture, no checkpoint", "--weights FILE"),
    (b"\xff\xd8\xff", "is a picture, no checkpoint", "--weights FILE"),
    (b"%PDF", "is a PDF, no checkpoint", "--weights FILE"),
)


def kind_of(path: Path) -> str:
    """TORCH, OLD_TORCH, SAFETENSORS, a PICKLE of another writer, or UNKNOWN.

    raises  CheckpointError that names any other kind of file, and what is missing, empty, a folder,
            cut short or no regular file
    """
    check_regular(path)
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        raise unreadable(path, error) from error
    if not head:
        raise CheckpointError(f"{path} is empty (0 bytes).", hint=_AGAIN)
    if head.startswith(b"PK"):
        _check_zip(path, head)
        return TORCH
    if head[2:].startswith(_OLD_MAGIC):
        return OLD_TORCH
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length < 1 << 40:
        _check_safetensors(path, length, size)
        return SAFETENSORS
    if head[0] == 0x80 and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return PICKLE
    named = _named(head, path.suffix.lower())
    if named is not None:
        what, mend = named
        raise CheckpointError(f"{path} {what}.", hint=mend)
    if path.suffix.lower() == ".safetensors":
        raise CheckpointError(
            f"{path} is damaged, cut short, or no checkpoint (no safetensors header).", hint=_AGAIN
        )
    return UNKNOWN


def _named(head: bytes, suffix: str) -> tuple[str, str] | None:
    """What a file that is no checkpoint is, and how to mend it; None where nothing tells."""
    for sign, what, mend in _SIGNS:
        if head.startswith(sign):
            return what, mend
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if text.startswith(b"<"):
        return (
            "is a web page or an error message in XML, saved in the file's place",
            "download the file itself; the page may ask to sign in or to confirm",
        )
    if text.startswith((b"{", b"[")):
        if b'"weight_map"' in head or b'"metadata"' in head:
            return (
                "is the index of a checkpoint in several parts",
                "a checkpoint in one file: save_pretrained(FOLDER, max_shard_size='100GB')",
            )
        return "is JSON text, no checkpoint", "the file with the weights beside it"
    if head[257:262] == b"ustar":
        return "is a tar archive", "tar -xf, and name the file in it"
    if head[4:8] == b"TFL3":
        return "is a TensorFlow Lite model", _EXPORT
    onnx = head[:1] == b"\x08" and head[1] < 32 and head[2:3] in (b"\x12", b"\x1a", b":", b"B")
    if suffix == ".onnx" or (len(head) > 2 and onnx):
        return "is an ONNX model", _EXPORT
    if suffix == ".distcp":
        return _DISTRIBUTED
    if all(byte >= 32 or byte in b"\t\r\n" for byte in head):
        return "is text, no checkpoint", "--weights FILE of a checkpoint"
    return None


_DISTRIBUTED = (
    "is a part of a distributed checkpoint",
    "python -m torch.distributed.checkpoint.format_utils dcp_to_torch FOLDER FILE",
)


def check_regular(path: Path) -> None:
    """Raise CheckpointError for what is missing, unreadable, or a pipe that may never end."""
    try:
        there, folder = path.exists(), path.is_dir()
        if there and not folder and not path.is_file():
            raise CheckpointError(
                f"{path} cannot be read: it is no regular file.", hint="--weights FILE"
            )
        if not folder:
            with path.open("rb") as file:
                file.read(1)
    except CheckpointError:
        raise
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise unreadable(path, error) from error
    if folder:
        raise _folder(path)


def unreadable(path: Path, error: Exception) -> CheckpointError:
    """The error for a file that cannot be opened or read to its end."""
    reason = getattr(error, "strerror", None) or one_line(error)
    return CheckpointError(
        f"{plain(str(path))} cannot be read: {reason}.", hint="--weights FILE, DEFAULT or random"
    )


def _folder(path: Path) -> CheckpointError:
    """The error for a folder, which may hold a checkpoint."""
    if (path / ".metadata").exists():
        return CheckpointError(
            f"{path} cannot be read: it is a folder, a distributed checkpoint.",
            hint=f"python -m torch.distributed.checkpoint.format_utils dcp_to_torch {path} FILE",
        )
    try:
        names = sorted(os.listdir(path))
    except OSError as error:
        return unreadable(path, error)
    inside = [n for n in names if n.lower().endswith((".safetensors", ".pth", ".pt", ".bin"))]
    if "data.pkl" in names:
        return CheckpointError(
            f"{path} cannot be read: it is a folder, an unpacked checkpoint.",
            hint="the .pth file that it was unpacked from",
        )
    return CheckpointError(
        f"{path} cannot be read: it is a folder.",
        hint=f"--weights {path / inside[0]}" if inside else "--weights FILE",
    )


def _check_zip(path: Path, head: bytes) -> None:
    """Raise CheckpointError unless a zip file is one of torch's and whole, by its checksums."""
    if path.suffix.lower() == ".distcp":
        raise CheckpointError(f"{path} {_DISTRIBUTED[0]}.", hint=_DISTRIBUTED[1])
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            _check_names(path, [member.filename for member in members])
            if sum(m.file_size for m in members) > _LARGEST_SWELLING * path.stat().st_size:
                raise CheckpointError(
                    f"{path} is a zip file that unpacks to far more than its own size.",
                    hint=_AGAIN,
                )
            for member in members:
                if member.CRC == 0:  # torch.serialization.set_crc32_options(False)
                    continue
                with archive.open(member) as stream:
                    while stream.read(_BLOCK):
                        pass
    except CheckpointError:
        raise
    except (
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
        OSError,
        RuntimeError,
        NotImplementedError,
        ValueError,
        OverflowError,
    ) as error:
        raise CheckpointError(
            f"{path} is damaged or cut short ({one_line(error)}).", hint=_AGAIN
        ) from error


def _check_names(path: Path, names: list[str]) -> None:
    """Raise CheckpointError for a zip file that torch.save did not write."""
    ends = {name.rpartition("/")[2] for name in names}
    if "constants.pkl" in ends or any("/code/" in name for name in names):
        raise CheckpointError(
            f"{path} is a TorchScript archive, which is a program; it was refused unread.",
            hint="save only tensors: torch.save(model.state_dict(), FILE), or safetensors",
        )
    if "data.pkl" in ends:
        return
    checkpoints = [n for n in names if n.lower().endswith((".pth", ".pt", ".safetensors", ".bin"))]
    if {"archive_format", "serialized_exported_program.json"} & ends or path.suffix == ".pt2":
        what, mend = "is an exported program (.pt2)", _EXPORT
    elif checkpoints:
        inside = plain(checkpoints[0])
        what, mend = f"is a zip file around {inside}", f"unzip it, then --weights {inside}"
    elif any(name.endswith(".npy") for name in names):
        what, mend = "is an archive of NumPy arrays (.npz)", _EXPORT
    elif "model.weights.h5" in ends:
        what, mend = "is a Keras model", _EXPORT
    else:
        what, mend = "is a zip file without a checkpoint in it", "--weights FILE of a checkpoint"
    raise CheckpointError(f"{path} {what}.", hint=mend)


def _check_safetensors(path: Path, length: int, size: int) -> None:
    """Raise CheckpointError unless the header of a safetensors file fits its length."""
    if 8 + length > size or length > _LARGEST_HEADER:
        raise CheckpointError(
            f"{path} is damaged or cut short: its safetensors header is {length} bytes long, the "
            f"file {size}.",
            hint=_AGAIN,
        )
    try:
        with path.open("rb") as file:
            file.seek(8)
            header = json.loads(file.read(length))
        ends = [entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"]
        wanted = 8 + length + max(map(int, ends), default=0)
    except OSError as error:
        raise unreadable(path, error) from error
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged, cut short, or no checkpoint (its safetensors header makes no "
            "sense).",
            hint=_AGAIN,
        ) from error
    if size < wanted:
        raise CheckpointError(
            f"{path} is cut short: {size} of {wanted} bytes are there.", hint=_AGAIN
        )
