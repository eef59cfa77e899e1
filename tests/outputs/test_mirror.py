"""A bucket's keys need not be names of files: the mirror holds those that are, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pixmix_cli.errors import StorageError
from pixmix_cli.outputs.mirror import refresh
from pixmix_cli.storage import remote
from pixmix_cli.storage.remote import Entry, Url
from tests.conftest import Cli, tree
from tests.object_store import ObjectStore

KEYS = [
    "../x.jpg", "../../../x.jpg", "/tmp/x.jpg", "//x.jpg", "a//b.jpg", "nul\0.jpg", "./z.jpg",
    "x/./z.jpg", "x/../../../z.json", ".pixmix/../../q.json", "l" * 900 + ".jpg", "é" * 200,
    "manifest.json/../../w.jsonl", "manifest.json/x", "", "a/", "errors.jsonl/x",
    "000/000009.jpg/x",
]  # fmt: skip


def names_below(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


@pytest.fixture
def keys(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a bucket lists, to be filled."""
    listed: list[str] = []

    def files_below(root: Url) -> Iterator[tuple[str, Entry]]:
        for key in listed:
            yield key, Entry(key.rpartition("/")[2], f"{root}/{key}", 4, "")

    monkeypatch.setattr(remote, "files_below", files_below)
    monkeypatch.setattr(remote, "read", lambda path: b"{}")
    return listed


@pytest.mark.parametrize("key", KEYS)
def test_a_key_that_is_no_name_of_a_file_is_passed_over(
    tmp_path: Path, keys: list[str], key: str
) -> None:
    mirror = tmp_path / "deep" / "deep" / "deep" / "mirror"
    mirror.mkdir(parents=True)
    keys += ["manifest.json", key, "000/000000.jpg"]
    refresh(mirror, Url("memory://out"))
    assert names_below(mirror) == ["000/000000.jpg", "manifest.json"]
    assert len(names_below(tmp_path)) == 2


@pytest.mark.parametrize(
    "key", ["../../../../../../../../tmp/x.jpg", "manifest.json/x", "a//b.jpg"]
)
def test_strange_keys_beside_a_set_in_a_bucket_harm_no_command(
    cli: Cli, s3: ObjectStore, tmp_path: Path, key: str
) -> None:
    make: list[Any] = ["generate-fractals", "-n", 2, "--size", 16, "-j", 1, "-qq"]
    make += ["-o", f"{s3.url}/out"]
    assert cli(*make)[0] == 0
    s3.client.put_object(Bucket=s3.bucket, Key=f"out/{key}", Body=b"strange")
    before = tree(tmp_path)
    for words in (
        ["verify", f"{s3.url}/out", "-j", 1],
        [*make, "--resume"],
        [*make, "--overwrite"],
    ):
        code, _, err = cli(*words)
        assert code == 0, err
    assert s3.client.get_object(Bucket=s3.bucket, Key=f"out/{key}")["Body"].read() == b"strange"
    assert tree(tmp_path) == before


def test_an_address_that_sends_on_to_a_file_of_this_machine_is_refused(tmp_path: Path) -> None:
    import http.server
    import threading

    (tmp_path / "secret.txt").write_text("secret")

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", f"file://{tmp_path}/secret.txt")
            self.end_headers()

        do_HEAD = do_GET

        def log_message(self, *words: object) -> None:
            """Quiet."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_address[1]}/x.jpg"
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(remote, "ATTEMPTS", 1)
            with pytest.raises((StorageError, FileNotFoundError)):
                remote.read(url)
        server.shutdown()
