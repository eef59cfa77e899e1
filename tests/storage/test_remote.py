"""Files elsewhere: what is read is what lies there, whatever the network does meanwhile."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pixmix_cli.errors import InputError, StorageError
from pixmix_cli.sources.mixing_set import open_mixing_set
from pixmix_cli.sources.open import open_source
from pixmix_cli.sources.pictures import Ahead
from pixmix_cli.sources.source import Source
from pixmix_cli.storage import remote, tar
from pixmix_cli.storage.remote import Url
from tests.object_store import FAULTS, ObjectStore


def no_warning(text: str) -> None:
    raise AssertionError(text)


def seen(source: Source) -> dict[str, Any]:
    """All that a source tells, with the pictures' bytes, but for where it lies."""
    refs = list(source.pictures)
    ahead = Ahead(refs)
    return {
        "kind": source.kind,
        "classes": source.classes,
        "labels": list(source.labels),
        "digest": source.digest,
        "pictures": [(ref.name, ref.length, ahead.read(ref)) for ref in refs],
    }


@pytest.fixture
def memory() -> Iterator[str]:
    import fsspec

    system = fsspec.filesystem("memory")
    yield "memory://here"
    system.store.clear()
    system.pseudo_dirs[:] = [""]


def copy_to_memory(folder: Path, url: str) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    for path in folder.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{url}/{path.relative_to(folder)}", path.read_bytes())


def make_tar(path: Path, samples: dict[str, bytes], **options: Any) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    with tarfile.open(path, "w", **options) as archive:
        for name, data in samples.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three tars of twelve samples: pictures of 90 kB and of 90 bytes, labels in .cls."""
    folder = tmp_path_factory.mktemp("shards")
    for shard in range(3):
        samples: dict[str, bytes] = {}
        for i in range(12):
            size = 90_000 if i < 6 else 90
            samples[f"s{shard}-{i}.jpg"] = bytes([shard, i]) * (size // 2)
            samples[f"s{shard}-{i}.cls"] = str(i % 5).encode()
        make_tar(folder / f"{shard:03d}.tar", samples)
    return folder


@pytest.mark.parametrize(
    ("text", "name", "stem", "suffix", "parent"),
    [
        ("s3://bucket/a b/c.tar", "c.tar", "c", ".tar", "s3://bucket/a b"),
        ("https://host/x/y.tar?sig=a/b", "y.tar", "y", ".tar", "https://host/x/y.tar?sig=a"),
        ("s3://bucket/folder/", "folder", "folder", "", "s3://bucket"),
        ("s3://bucket", "bucket", "bucket", "", "s3://bucket"),
    ],
)
def test_parts_of_a_url_are_those_of_a_path(
    text: str, name: str, stem: str, suffix: str, parent: str
) -> None:
    url = Url(text)
    assert (url.name, url.stem, url.suffix, str(url.parent)) == (name, stem, suffix, parent)


@pytest.mark.parametrize("text", ["photos", "/a/b", "c:x", "a:/b", "-", "fractals:2", "://x"])
def test_a_local_path_is_no_url(text: str) -> None:
    assert not remote.is_url(text)


def test_an_imagefolder_in_memory_is_the_local_one(memory: str, photos: Path) -> None:
    copy_to_memory(photos, memory)
    assert seen(open_source(Url(memory), no_warning)) == seen(open_source(photos, no_warning))


def test_an_imagefolder_on_s3_is_the_local_one(s3: ObjectStore, photos: Path) -> None:
    url = s3.put(photos, "photos")
    assert seen(open_source(Url(url), no_warning)) == seen(open_source(photos, no_warning))


def test_tars_on_s3_are_the_local_ones(s3: ObjectStore, shards: Path) -> None:
    url = s3.put(shards, "shards")
    assert seen(open_source(Url(url), no_warning)) == seen(open_source(shards, no_warning))


def test_a_pattern_on_s3_names_the_tars_that_it_names_locally(
    s3: ObjectStore, shards: Path
) -> None:
    url = s3.put(shards, "shards")
    for pattern in ("{001..002}.tar", "00[12].tar"):
        there = open_source(Url(f"{url}/{pattern}"), no_warning)
        assert seen(there) == seen(open_source(shards / pattern, no_warning))


def test_a_tar_is_listed_without_fetching_its_large_pictures(s3: ObjectStore, shards: Path) -> None:
    url = s3.put(shards, "shards")
    fetched = []
    plain_read = remote.read

    def counting(text: str, offset: int = 0, length: int = -1) -> bytes:
        fetched.append(length)
        return plain_read(text, offset, length)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "read", counting)
        open_source(Url(f"{url}/000.tar"), no_warning)
    assert sum(fetched) < (shards / "000.tar").stat().st_size / 2


def test_an_unusual_tar_is_read_by_the_standard_library(
    memory: str, tmp_path: Path, photos: Path
) -> None:
    make_tar(
        tmp_path / "t" / "a.tar", {"a.jpg": b"x" * 700, "a.cls": b"0"},
        format=tarfile.PAX_FORMAT, pax_headers={"hdrcharset": "BINARY"},
    )  # fmt: skip
    copy_to_memory(tmp_path / "t", memory)
    found = list(tar.members(Url(f"{memory}/a.tar")))
    assert found == list(tar.members(tmp_path / "t" / "a.tar"))


def test_a_truncated_tar_elsewhere_is_named_by_its_url(memory: str, shards: Path) -> None:
    import fsspec

    data = (shards / "000.tar").read_bytes()[:100_000]
    fsspec.filesystem("memory").pipe_file(f"{memory}/cut.tar", data)
    with pytest.raises(StorageError, match=r"memory://here/cut.tar is truncated at"):
        list(tar.members(Url(f"{memory}/cut.tar")))


def test_a_list_elsewhere_names_pictures_beside_it(memory: str, photos: Path) -> None:
    copy_to_memory(photos, memory)
    import fsspec

    text = "path,label\ncat/c 0.jpg,a\ndog/d 1.png,b\n"
    fsspec.filesystem("memory").pipe_file(f"{memory}/list.csv", text.encode())
    source = open_source(Url(f"{memory}/list.csv"), no_warning)
    assert source.classes == ("a", "b")
    assert source.pictures[0].read() == (photos / "cat" / "c 0.jpg").read_bytes()


def test_a_local_list_may_name_urls(memory: str, photos: Path, tmp_path: Path) -> None:
    copy_to_memory(photos, memory)
    names = [f"{memory}/cat/c 0.jpg", str(photos / "dog" / "d 1.png")]
    lines = [json.dumps({"path": name, "label": i}) for i, name in enumerate(names)]
    (tmp_path / "list.jsonl").write_text("\n".join(lines))
    source = open_source(tmp_path / "list.jsonl", no_warning)
    assert [ref.read() for ref in source.pictures] == [
        (photos / "cat" / "c 0.jpg").read_bytes(), (photos / "dog" / "d 1.png").read_bytes(),
    ]  # fmt: skip


def test_arrays_elsewhere_are_copied_and_are_the_local_ones(memory: str, tmp_path: Path) -> None:
    import numpy as np

    folder = tmp_path / "arrays"
    folder.mkdir()
    np.save(folder / "images.npy", np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3))
    np.save(folder / "labels.npy", np.array([1, 0]))
    copy_to_memory(folder, memory)
    source = open_source(Url(memory), no_warning)
    assert seen(source) == seen(open_source(folder, no_warning))
    assert source.path == memory


def test_a_mixing_set_on_s3_has_the_local_ones_digest_and_pictures(
    s3: ObjectStore, mixing: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "mixing"
    pictures = {path.name: path.read_bytes() for path in mixing.rglob("*.png")}
    make_tar(folder / "deep" / "some.tar", pictures)
    for name, data in pictures.items():
        (folder / name).write_bytes(data)
    there = open_mixing_set([Url(s3.put(folder, "mixing"))], no_warning)
    here = open_mixing_set([folder], no_warning)
    assert there.digest == here.digest
    assert [ref.read() for ref in there.pictures] == [ref.read() for ref in here.pictures]


def test_a_replaced_mixing_picture_of_equal_length_is_another_version(
    s3: ObjectStore, mixing: Path
) -> None:
    url = s3.put(mixing, "mixing")
    before = open_mixing_set([Url(url)], no_warning).pictures.versions
    same = open_mixing_set([Url(url)], no_warning).pictures.versions
    length = len((mixing / "m1.png").read_bytes())
    s3.client.put_object(Bucket=s3.bucket, Key="mixing/m1.png", Body=b"x" * length)
    after = open_mixing_set([Url(url)], no_warning).pictures.versions
    assert before == same != after


@pytest.mark.parametrize("fault", FAULTS[:3])
def test_reading_goes_on_after_faults(s3: ObjectStore, shards: Path, fault: str) -> None:
    url = s3.put(shards, "shards")
    s3.proxy.fault = lambda number, method, path: fault if number % 3 == 1 else None
    assert seen(open_source(Url(url), no_warning)) == seen(open_source(shards, no_warning))
    assert len(s3.proxy.requests) > 3


def test_a_store_that_only_fails_is_given_up_in_one_line(s3: ObjectStore) -> None:
    s3.proxy.fault = lambda number, method, path: "503"
    with pytest.raises(StorageError, match=r"looking at s3://.* failed 6 times"):
        open_source(Url(f"{s3.url}/photos"), no_warning)
    assert len(s3.proxy.requests) == remote.ATTEMPTS


def test_what_is_not_there_is_said_at_once(s3: ObjectStore) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_source(Url(f"{s3.url}/photos"), no_warning)


def test_a_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    import fsspec

    def missing(*args: object, **options: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec, "filesystem", missing)
    remote.filesystem.cache_clear()
    with pytest.raises(InputError) as raised:
        open_source(Url("gs://bucket/photos"), no_warning)
    assert raised.value.hint == "pip install 'pixmix[gs]'"


def test_an_unknown_protocol_is_refused() -> None:
    with pytest.raises(InputError, match="ftp:// is no kind of address"):
        open_source(Url("ftp://host/photos"), no_warning)


@pytest.mark.server
def test_a_web_server_without_ranges_serves_tars_and_lists(shards: Path, tmp_path: Path) -> None:
    pytest.importorskip("aiohttp")
    import functools
    from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(shards)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        url = f"http://127.0.0.1:{server.server_address[1]}"
        there = open_source(Url(f"{url}/{{000..001}}.tar"), no_warning)
        assert seen(there) == seen(open_source(shards / "{000..001}.tar", no_warning))
        with pytest.raises(InputError, match="folders of a web server cannot be listed"):
            open_source(Url(url), no_warning)
    finally:
        server.shutdown()
        server.server_close()


def test_an_upload_that_arrives_otherwise_is_sent_again(
    memory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fsspec

    system = fsspec.filesystem("memory")
    plain, spoiled = system.put_file, iter([b"other bytes", b"short"])

    def put_file(local: str, name: str) -> None:
        data = next(spoiled, None)
        if data is None:
            plain(local, name)
        else:
            system.pipe_file(name, data)

    monkeypatch.setattr(system, "put_file", put_file)
    monkeypatch.setattr(remote, "FIRST_PAUSE", 0)
    (tmp_path / "x").write_bytes(b"right bytes")
    remote.upload(tmp_path / "x", f"{memory}/x", hashlib.sha256(b"right bytes").hexdigest())
    assert system.cat_file(f"{memory}/x") == b"right bytes"


def test_an_upload_that_never_arrives_is_an_error(s3: ObjectStore, tmp_path: Path) -> None:
    s3.proxy.fault = lambda number, method, path: "lost"
    (tmp_path / "x").write_bytes(b"bytes")
    with pytest.raises(StorageError, match=r"writing s3://.* failed 6 times: the store took it"):
        remote.upload(tmp_path / "x", f"{s3.url}/x", hashlib.sha256(b"bytes").hexdigest())
