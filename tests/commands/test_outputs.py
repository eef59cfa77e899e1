"""bake's outputs: equal shards, shard sizes in bytes, plain copies, DALI's index."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli, one_line_error, tree

SMALL = ["--size", "32", "--seed", "3", "-j", "1"]


def bake(cli: Cli, photos: Path, mixing: Path, out: Path, *more: object) -> str:
    code, _, err = cli("bake", photos, "--mixing-set", mixing, "-o", out, *SMALL, *more)
    assert code == 0, err
    return err


def names_in(path: Path) -> list[str]:
    with tarfile.open(path) as archive:
        return archive.getnames()


def member(path: Path, name: str) -> bytes:
    with tarfile.open(path) as archive:
        file = archive.extractfile(name)
        assert file is not None
        return file.read()


def shards_of(out: Path, copy: str = "copy-000") -> list[Path]:
    return sorted((out / copy).glob("*.tar"))


def test_padded_shards_are_equal_and_repeat_from_the_start_of_the_order(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    err = bake(cli, photos, mixing, out, "--shard-size", 10, "--pad")
    assert "warning" not in err
    shards = shards_of(out)
    assert [len(names_in(path)) for path in shards] == [30, 30, 30]
    first = [name for name in names_in(shards[0]) if name.endswith(".jpg")]
    padded = [name for name in names_in(shards[2]) if "-pad1.jpg" in name]
    assert [name.replace("-pad1", "") for name in padded] == first[:6]
    for name, repeated in zip(first, padded):
        assert member(shards[0], name) == member(shards[2], repeated)
        assert json.loads(member(shards[2], repeated.replace("jpg", "json")))["pad"] == 1
    assert json.loads(member(shards[0], first[0].replace("jpg", "json")))["pad"] == 0
    assert cli("verify", out, "--rebake-sample", 30, "-j", 1)[0] == 0


def test_padding_a_set_smaller_than_a_shard_repeats_it_several_times(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    bake(cli, photos, mixing, tmp_path / "o", "--shard-size", 60, "--pad")
    names = names_in(shards_of(tmp_path / "o")[0])
    assert len(names) == len(set(names)) == 180


def test_padding_fills_the_place_of_pictures_that_cannot_be_read(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source = tmp_path / "photos"
    shutil.copytree(photos, source)
    for name in ("c 0.jpg", "c 4.jpg"):
        (source / "cat" / name).write_bytes(b"no picture")
    out = tmp_path / "o"
    arguments = ["bake", source, "--mixing-set", mixing, "-o", out, *SMALL, "--pad"]
    assert cli(*arguments, "--shard-size", 10)[0] == 3
    for path in shards_of(out):
        names = names_in(path)
        assert len(names) == len(set(names)) == 30
    before = tree(out)
    assert cli(*arguments, "--shard-size", 10, "--resume")[0] == 3
    (out / "copy-000" / "000000.tar").unlink()
    code, told, err = cli("verify", out, "--repair", "-j", 1)
    assert code == 0, told + err
    assert tree(out) == before


def test_drop_last_leaves_whole_shards_only(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    bake(cli, photos, mixing, tmp_path / "o", "--shard-size", 10, "--drop-last")
    assert [len(names_in(path)) for path in shards_of(tmp_path / "o")] == [30, 30]
    assert cli("verify", tmp_path / "o", "--rebake-sample", 20, "-j", 1)[0] == 0
    code, _, err = cli(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "p", *SMALL, "--drop-last",
        "--shard-size", 25,
    )  # fmt: skip
    assert code == 2
    assert "would leave nothing" in one_line_error(err)


def test_unequal_shards_are_warned_of_once_and_q_silences_it(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    err = bake(cli, photos, mixing, tmp_path / "o", "--shard-size", 10)
    warnings = [line for line in err.splitlines() if "warning" in line]
    assert len(warnings) == 1
    assert "the last of 3 shards has 4 samples, the others 10" in warnings[0]
    assert "--pad or --drop-last" in warnings[0]
    assert "warning" not in bake(cli, photos, mixing, tmp_path / "p", "--shard-size", 10, "-q")
    assert "warning" not in bake(cli, photos, mixing, tmp_path / "q", "--shard-size", 12)


@pytest.mark.parametrize("option", ["--pad", "--drop-last"])
def test_equal_shards_of_a_format_without_shards_are_refused(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, option: str
) -> None:
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL, option]
    code, _, err = cli(*arguments, "--format", "npy")
    assert code == 2
    assert option in one_line_error(err)


def test_a_shard_size_in_bytes_is_met_roughly_and_always_the_same(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    for out in ("o", "p"):
        bake(cli, photos, mixing, tmp_path / out, "--shard-size", "30kB", "--copies", 2)
    assert tree(tmp_path / "o") == tree(tmp_path / "p")
    sizes = [path.stat().st_size for path in shards_of(tmp_path / "o")]
    assert len(sizes) > 2
    assert all(20_000 < size < 40_000 for size in sizes[:-1])
    bake(cli, photos, mixing, tmp_path / "o", "--shard-size", "30kB", "--copies", 3, "--resume")
    assert cli("verify", tmp_path / "o", "--rebake-sample", 72, "-j", 1)[0] == 0


@pytest.mark.parametrize("text", ["0", "-3", "1.5MB", "12 parsecs", "MB", "9" * 30])
def test_a_shard_size_that_says_nothing_is_refused(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, text: str
) -> None:
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o"]
    code, _, err = cli(*arguments, f"--shard-size={text}")
    assert code == 2
    assert "1000 or 256MB" in one_line_error(err)


def test_dali_index_tells_where_each_member_lies(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    bake(cli, photos, mixing, out, "--shard-size", 10, "--dali-index")
    for shard in shards_of(out):
        lines = shard.with_suffix(".idx").read_text().splitlines()
        names = names_in(shard)
        assert lines[0] == f"v1.2 {len(names) // 3}"
        data = shard.read_bytes()
        found = []
        for line in lines[1:]:
            words = line.split(" ")
            for extension, offset, size, name in zip(*(iter(words),) * 4):
                assert name.endswith(f".{extension}")
                assert data[int(offset) : int(offset) + int(size)] == member(shard, name)
                found.append(name)
        assert found == names


def test_a_lost_or_changed_dali_index_is_found_and_mended(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    bake(cli, photos, mixing, out, "--shard-size", 10, "--dali-index")
    before = tree(out)
    (out / "copy-000" / "000000.idx").unlink()
    (out / "copy-000" / "000001.idx").write_text("v1.2 0\n")
    (out / "copy-000" / "000009.idx").write_text("v1.2 0\n")
    assert cli("verify", out, "-j", 1)[0] == 1
    assert cli("verify", out, "--repair", "-j", 1)[0] == 0
    assert tree(out) == before
    bake(cli, photos, mixing, out, "--overwrite", "--shard-size", 10)
    assert not list(out.rglob("*.idx"))


@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "npy"])
def test_plain_copies_are_the_crop_and_flip_of_the_copy_of_the_same_number(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, layout: str
) -> None:
    from pixmix_cli.mixing.config import PixMixConfig
    from pixmix_cli.mixing.draws import Draws
    from pixmix_cli.mixing.pixmix import crop_original
    from pixmix_cli.storage.images import decode_rgb

    out, png = tmp_path / "o", ("--image-format", "png")
    bake(cli, photos, mixing, out, "--copies", 2, "--plain", 2, "--format", layout, *png)
    bake(cli, photos, mixing, tmp_path / "t", "--copies", 2, "--no-shuffle", *png)
    if layout == "npy":
        found = list(np.load(out / "plain-001" / "images.npy"))
    elif layout == "imagefolder":
        paths = sorted((out / "plain-001").rglob("*.png"))
        found = [np.array(Image.open(path)) for path in paths]
    else:
        names = sorted(n for n in names_in(shards_of(out, "plain-001")[0]) if n.endswith("png"))
        data = [member(shards_of(out, "plain-001")[0], name) for name in names]
        found = [np.array(Image.open(io.BytesIO(each))) for each in data]
    mixed = shards_of(tmp_path / "t", "copy-001")[0]
    records = [json.loads(member(mixed, n)) for n in names_in(mixed) if n.endswith("json")]
    assert len(found) == len(records) == 24
    for pixels, record in zip(found, records):
        told = {"mixing": 0, "mixing_offset": [0, 0], **json.loads(record["draws"])}
        original = decode_rgb((photos / record["key"]).read_bytes(), "")
        expected = crop_original(PixMixConfig(size=32), Draws.from_json(told), original)
        np.testing.assert_array_equal(pixels, expected)


@pytest.mark.parametrize("layout", ["webdataset", "imagefolder", "npy"])
def test_plain_copies_grow_verify_and_repair_like_others(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, layout: str
) -> None:
    out, more = tmp_path / "o", ("--format", layout, "--shard-size", 24)
    bake(cli, photos, mixing, out, *more)
    bake(cli, photos, mixing, out, *more, "--plain", 1, "--resume")
    whole = tree(out)
    bake(cli, photos, mixing, tmp_path / "p", *more, "--plain", 1)
    assert whole == tree(tmp_path / "p")
    assert cli("verify", out, "--rebake-sample", 48, "-j", 1)[:2] == (0, "")
    shutil.rmtree(out / "plain-000")
    assert cli("verify", out, "--repair", "-j", 1)[0] == 0
    assert tree(out) == whole


def test_the_card_of_a_set_with_plain_copies_names_two_configurations(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    bake(cli, photos, mixing, tmp_path / "o", "--copies", 2, "--plain", 1)
    for name, count in (("default", 48), ("plain", 24)):
        found = datasets.load_dataset(
            str(tmp_path / "o"), name, split="train", cache_dir=str(tmp_path / "c")
        )
        assert len(found) == count
