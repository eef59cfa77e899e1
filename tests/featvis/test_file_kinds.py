"""A file is what its first bytes say, whatever its name; each kind is named with a mend."""

from __future__ import annotations

import gzip
import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from featvis.errors import CheckpointError
from featvis.models import load_network

pytestmark = pytest.mark.torch

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def state() -> State:
    """A small network's random weights."""
    return load_network("squeezenet1_1", "random", seed=5).model.state_dict()


def refusal(path: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        load_network("squeezenet1_1", str(path))
    line = f"{caught.value} {caught.value.hint}"
    assert str(path) in line
    assert "\n" not in line
    assert len(line) < 600
    assert "weights_only" not in line
    return caught.value


@pytest.mark.parametrize(
    "name", ["model.pth", "MODEL.SAFETENSORS", "model", "model.ckpt", "x.onnx"]
)
def test_safetensors_are_read_by_any_name(tmp_path: Path, state: State, name: str) -> None:
    save_file({k: v.contiguous() for k, v in state.items()}, tmp_path / name)
    loaded = load_network("squeezenet1_1", str(tmp_path / name)).model.state_dict()
    assert all(torch.equal(loaded[k], state[k]) for k in state)


@pytest.mark.parametrize("name", ["model.safetensors", "MODEL.PTH", "model", "a.pth.tar", "m.bin"])
@pytest.mark.parametrize("zipped", [True, False])
def test_torch_files_old_and_new_are_read_by_any_name(
    tmp_path: Path, state: State, name: str, zipped: bool
) -> None:
    torch.save(state, tmp_path / name, _use_new_zipfile_serialization=zipped)
    loaded = load_network("squeezenet1_1", str(tmp_path / name)).model.state_dict()
    assert all(torch.equal(loaded[k], state[k]) for k in state)


def _zip_of(name: str) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, b"anything")
    return stream.getvalue()


KINDS: dict[str, tuple[bytes, str, str]] = {
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git-lfs", "lfs pull"),
    "html": (b"<!DOCTYPE html>\n<html>", "a web page", "download the file itself"),
    "xml after a BOM": (b"\xef\xbb\xbf\n<?xml version='1.0'?>", "a web page", "download"),
    "onnx": (b"\x08\x07\x12\x07pytorch\x1a\x051.9.0" + b"\1" * 99, "an ONNX model", "PyTorch"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "HDF5", "PyTorch"),
    "gzip": (gzip.compress(b"x" * 99), "packed by gzip", "gunzip"),
    "bzip2": (b"BZh91AY&SY", "packed by bzip2", "bunzip2"),
    "xz": (b"\xfd7zXZ\x00\x00", "packed by xz", "unxz"),
    "zstd": (b"\x28\xb5\x2f\xfd\x04", "packed by zstd", "unzstd"),
    "7z": (b"7z\xbc\xaf\x27\x1c\0", "a 7z archive", "unpack"),
    "tar": (b"model.pth".ljust(257, b"\0") + b"ustar\x0000" + b"\0" * 300, "a tar", "tar -xf"),
    "zip around a checkpoint": (_zip_of("in/m.pth"), "a zip file around in/m.pth", "unzip"),
    "npz": (_zip_of("weight.npy"), r"\.npz", "PyTorch"),
    "any zip": (_zip_of("readme.txt"), "a zip file without a checkpoint", "--weights FILE"),
    "pt2": (_zip_of("m/archive_format"), "an exported program", "PyTorch"),
    "npy": (b"\x93NUMPY\x01\0", "a NumPy array", "PyTorch"),
    "tflite": (b"\x1c\0\0\0TFL3" + b"\0" * 30, "TensorFlow Lite", "PyTorch"),
    "index": (b'{"metadata": {}, "weight_map": {}}', "index of a checkpoint", "one file"),
    "json": (b'{"error": "not found"}', "JSON", "weights beside it"),
    "text": (b"hello, this is text\n", "is text", "--weights FILE"),
    "picture": (b"\x89PNG\r\n\x1a\n" + b"\0" * 99, "a picture", "--weights FILE"),
    "empty": (b"", "is empty", "again"),
    "other pickle": (pickle.dumps({"a": 1}, protocol=4), "a pickle that torch", "torch.save"),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_another_kind_of_file_is_named_with_its_mend(tmp_path: Path, kind: str, name: str) -> None:
    content, what, mend = KINDS[kind]
    (tmp_path / name).write_bytes(content)
    error = refusal(tmp_path / name)
    assert error.args
    with pytest.raises(CheckpointError, match=what):
        raise error
    assert mend in (error.hint or "")


def test_a_folder_names_the_checkpoint_in_it(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").touch()
    assert f"--weights {tmp_path / 'model.safetensors'}" in (refusal(tmp_path).hint or "")


def test_a_distributed_checkpoint_names_the_tool_that_joins_it(tmp_path: Path) -> None:
    (tmp_path / ".metadata").touch()
    (tmp_path / "__0_0.distcp").write_bytes(_zip_of("data.pkl"))
    assert "dcp_to_torch" in (refusal(tmp_path).hint or "")
    assert "dcp_to_torch" in (refusal(tmp_path / "__0_0.distcp").hint or "")


def test_an_address_is_no_file() -> None:
    with pytest.raises(CheckpointError, match="is an address") as caught:
        load_network("squeezenet1_1", "https://example.org/model.pth")
    assert "download" in (caught.value.hint or "")


def test_one_flipped_bit_of_a_torch_file_is_found(tmp_path: Path, state: State) -> None:
    path = tmp_path / "bit.pth"
    torch.save(state, path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert "damaged" in str(refusal(path))


def test_a_torch_file_without_checksums_is_read(tmp_path: Path, state: State) -> None:
    torch.serialization.set_crc32_options(False)
    try:
        torch.save(state, tmp_path / "plain.pth")
    finally:
        torch.serialization.set_crc32_options(True)
    assert load_network("squeezenet1_1", str(tmp_path / "plain.pth")).lacks == {}


def test_a_zip_that_swells_is_not_unpacked(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.pth", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb/data.pkl", bytes(50_000_000))
    assert "far more than its own size" in str(refusal(tmp_path / "bomb.pth"))


@pytest.mark.parametrize("share", [0.3, 0.9])
def test_a_cut_safetensors_file_says_how_much_is_there(
    tmp_path: Path, state: State, share: float
) -> None:
    path = tmp_path / "cut.safetensors"
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    assert f"{int(len(whole) * share)} of {len(whole)} bytes" in str(refusal(path))


Header = Callable[[bytes], bytes]


@pytest.mark.parametrize("header", [b"{}", b'{"a": 3}', b'{"a": {"data_offsets": []}}', b"{{{{"])
def test_a_safetensors_header_that_makes_no_sense_is_refused(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header)
    refusal(tmp_path / "x.safetensors")
