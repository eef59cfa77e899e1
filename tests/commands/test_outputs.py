"""bake's outputs: equal shards, shard sizes in bytes, plain copies, DALI's index."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import Cli, Run, command_line, environment, one_line_error, tree

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
    from pixmix_cli.mixing.mixer import crop_original
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


def test_hugging_face_datasets_reads_parquet_with_pictures_and_class_names(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    import datasets

    out, png = tmp_path / "o", ("--image-format", "png")
    bake(cli, photos, mixing, out, "--format", "parquet", "--copies", 2, "--shard-size", 10, *png)
    bake(cli, photos, mixing, tmp_path / "t", "--copies", 2, "--shard-size", 10, *png)
    for arguments in (
        {"path": "parquet", "data_files": {"train": str(out / "copy-*" / "*.parquet")}},
        {"path": str(out)},  # by the dataset card alone
    ):
        found = datasets.load_dataset(**arguments, split="train", cache_dir=str(tmp_path / "c"))
        assert found.features["label"].names == ["cat", "dog", "zebra finch"]
        assert sorted(found["label"]) == sorted([0, 1, 2] * 16)
    first = found[0]
    assert first["key"].split("/")[0] == ["cat", "dog", "zebra finch"][first["label"]]
    shard = shards_of(tmp_path / "t")[0]
    data, _, text = (member(shard, name) for name in names_in(shard)[:3])
    record = json.loads(text)
    assert (record["key"], record["draws"]) == (first["key"], first["draws"])
    np.testing.assert_array_equal(np.array(first["image"]), np.array(Image.open(io.BytesIO(data))))


@pytest.mark.process
def test_parquet_has_the_same_bytes_for_any_workers_and_can_be_mended(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    out, more = tmp_path / "o", ("--format", "parquet", "--shard-size", 10, "--plain", 1, "--pad")
    bake(cli, photos, mixing, out, *more)
    bake(cli, photos, mixing, tmp_path / "p", *more, "-j", 2)
    whole = tree(out)
    assert whole == tree(tmp_path / "p")
    assert cli("verify", out, "--rebake-sample", 60, "-j", 1)[:2] == (0, "")
    path = out / "copy-000" / "000001.parquet"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    (out / "plain-000" / "000002.parquet").write_bytes(b"PAR1")
    code, told, _ = cli("verify", out, "-j", 1)
    assert code == 1
    assert "000001.parquet: is not what was written" in told
    assert "000002.parquet: " in told
    assert cli("verify", out, "--repair", "-j", 1)[0] == 0
    assert tree(out) == whole


def test_parquet_without_pyarrow_is_one_line_that_says_what_to_install(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o"]
    code, _, err = cli(*arguments, "--format", "parquet")
    assert code == 2
    assert "pip install 'pixmix[parquet]'" in one_line_error(err)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stream_holds_every_copy_in_the_plans_order(
    pixmix: Run, cli: Cli, photos: Path, mixing: Path, tmp_path: Path, workers: int
) -> None:
    more = ("--copies", 2, "--plain", 1, "--shard-size", 10)
    bake(cli, photos, mixing, tmp_path / "o", *more)
    done = pixmix(
        "bake", photos, "--mixing-set", mixing, "-o", "-", *SMALL[:4], *more, "-j", workers,
        text=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert isinstance(done.stdout, bytes)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as archive:
        streamed = {m.name: archive.extractfile(m).read() for m in archive}
    stored = {
        f"{copy}/{name}": member(path, name)
        for copy in ("copy-000", "copy-001", "plain-000")
        for path in shards_of(tmp_path / "o", copy)
        for name in names_in(path)
    }
    assert list(streamed.items()) == list(stored.items())


@pytest.mark.process
def test_a_stream_into_head_ends_quietly_and_one_into_webdataset_is_read(
    photos: Path, mixing: Path, tmp_path: Path
) -> None:
    import webdataset as wds

    arguments = ["bake", photos, "--mixing-set", mixing, "-o", "-", *SMALL, "--copies", 2]
    command = " ".join(f"'{a}'" for a in command_line(arguments))
    done = subprocess.run(
        ["bash", "-c", f"{command} | head -c 2000 | wc -c; exit ${{PIPESTATUS[0]}}"],
        capture_output=True, env=environment(), check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout.strip(), done.stderr) == (141, b"2000", b"")
    with (tmp_path / "all.tar").open("wb") as file:
        subprocess.run(command_line(arguments), stdout=file, env=environment(), check=True)
    dataset = wds.WebDataset(str(tmp_path / "all.tar"), shardshuffle=False).decode("pil")
    assert len(list(dataset.to_tuple("jpg", "cls"))) == 48


def test_a_stream_tells_of_skipped_pictures_and_exits_3(
    photos: Path, mixing: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    source = tmp_path / "photos"
    shutil.copytree(photos, source)
    (source / "cat" / "c 0.jpg").write_bytes(b"no picture")
    from pixmix_cli.main import run

    arguments = ["bake", source, "--mixing-set", mixing, "-o", "-", *SMALL, "--copies", 2]
    assert run([str(a) for a in arguments]) == 3
    out, err = capfdbinary.readouterr()
    with tarfile.open(fileobj=io.BytesIO(out)) as archive:
        assert len(archive.getnames()) == 46 * 3
    assert b"left out: cat/c 0.jpg" in err
    assert b"2 skipped" in err


@pytest.mark.parametrize(
    ("more", "told"),
    [(["--resume"], "need a folder"), (["--format", "npy"], "streams a tar")],
)
def test_a_stream_that_makes_no_sense_is_refused(
    cli: Cli, photos: Path, mixing: Path, more: list[str], told: str
) -> None:
    code, out, err = cli("bake", photos, "--mixing-set", mixing, "-o", "-", *SMALL, *more)
    assert (code, out) == (2, "")
    assert told in one_line_error(err)


def test_more_skipped_pictures_than_max_errors_stop_the_run(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source = tmp_path / "photos"
    shutil.copytree(photos, source)
    for name in ("c 0.jpg", "c 4.jpg", "c 1.png"):
        (source / "cat" / name).write_bytes(b"no picture")
    arguments = ["bake", source, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL]
    more = ["--shard-size", 4, "--no-shuffle"]
    code, _, err = cli(*arguments, *more, "--max-errors", 2)
    assert code == 1
    assert "3 pictures cannot be used, more than --max-errors 2; the last: " in one_line_error(err)
    assert not (tmp_path / "o" / "manifest.json").exists()
    code, _, err = cli(*arguments, *more, "--max-errors", 3, "--resume")
    assert code == 3, err
    assert len((tmp_path / "o" / "errors.jsonl").read_text().splitlines()) == 3


def test_progress_in_json_tells_rates_shards_and_errors(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    source = tmp_path / "photos"
    shutil.copytree(photos, source)
    (source / "cat" / "c 0.jpg").write_bytes(b"no picture")
    code, _, err = cli(
        "bake", source, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL, "--copies", 2,
        "--shard-size", 12, "--progress", "json",
    )  # fmt: skip
    assert code == 3
    last = json.loads([line for line in err.splitlines() if line.startswith("{")][-1])
    assert (last["done"], last["total"]) == (48, 48)
    assert (last["shards_done"], last["shards"], last["errors"]) == (4, 4, 1)
    assert last["rate"] > 0
    assert last["bytes_per_s"] > 0
    assert last["eta_s"] == 0


def test_a_bar_tells_rates_shards_and_errors(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    code, _, err = cli(
        "bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL, "--progress", "bar"
    )
    assert code == 0
    assert "MB/s, 1/1 shards" in err


def test_a_dry_run_estimates_the_time_too(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    arguments = ["bake", photos, "--mixing-set", mixing, "-o", tmp_path / "o", *SMALL]
    code, out, _ = cli(*arguments, "--copies", 1000, "--dry-run", "--json")
    assert code == 0
    assert json.loads(out)["estimated_seconds"] > 0


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_records_of_a_report_are_those_of_mixed_copies_in_every_format_with_draws(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path, layout: str
) -> None:
    from pixmix_cli.pipelines.report.sections import records_of

    out = tmp_path / "o"
    bake(cli, photos, mixing, out, "--format", layout, "--copies", 2, "--plain", 2)
    manifest = json.loads((out / "manifest.json").read_text())
    records = list(records_of(out, manifest, 1000))
    assert len(records) == 48
    assert {record.copy for record in records} == {0, 1}
    assert all(record.draws is not None for record in records)
    assert len({record.key for record in records}) == 24


def test_a_sheet_of_a_padded_set_without_records_is_drawn(
    cli: Cli, photos: Path, mixing: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    bake(cli, photos, mixing, out, "--shard-size", 30, "--pad", "--no-draws-json")
    code, _, err = cli("preview", out, "-o", tmp_path / "sheet.png", "--count", 30)
    assert code == 0, err
