"""A real S3 server (moto's) on this machine, behind a proxy that fails where a test wants it."""

from __future__ import annotations

import contextlib
import hashlib
import http.client
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

# what happens to a request: answered 503; connection closed before the answer; closed in the middle
# of the answer's body; a PUT answered 200 although nothing was stored
FAULTS = ("503", "drop", "cut", "lost")
Fault = Callable[[int, str, str], "str | None"]


class Proxy(ThreadingHTTPServer):
    """Forwards requests to a server and counts them; `fault` says which fail, and how."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, target: tuple[str, int]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target
        self.requests: list[str] = []  # "GET /bucket/key"
        self.fault: Fault = lambda number, method, path: None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is no news."""

    def reset(self) -> None:
        self.requests = []
        self.fault = lambda number, method, path: None


class _Handler(BaseHTTPRequestHandler):
    server: Proxy
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        server = self.server
        with server.lock:
            number = len(server.requests)
            server.requests.append(f"{self.command} {self.path}")
            fault = server.fault(number, self.command, self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if fault == "drop":
            self.close_connection = True
            return
        if fault == "503":
            self._answer(503, {}, b"<Error><Code>ServiceUnavailable</Code></Error>")
            return
        if fault == "lost" and self.command == "PUT":
            self._answer(200, {"ETag": '"0"'}, b"")
            return
        connection = http.client.HTTPConnection(*server.target, timeout=30)
        with contextlib.closing(connection):
            connection.request(self.command, self.path, body, dict(self.headers.items()))
            answer = connection.getresponse()
            data = answer.read()
        headers = dict(answer.getheaders())
        self._answer(answer.status, headers, data, cut=fault == "cut")

    def _answer(self, status: int, headers: dict[str, str], data: bytes, cut: bool = False) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                self.send_header(name, value)
        length = headers.get("Content-Length", str(len(data)))
        self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if cut else data)
        self.close_connection = self.close_connection or cut

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _forward


class ObjectStore:
    """The server as tests see it: a fresh bucket each."""

    def __init__(self, proxy: Proxy, client: Any) -> None:
        self.proxy = proxy
        self.client = client  # of boto3, past the proxy
        self.bucket = ""

    @property
    def url(self) -> str:
        return f"s3://{self.bucket}"

    def put(self, folder: Path, name: str) -> str:
        """Copy a folder's files; returns its URL."""
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                key = f"{name}/{path.relative_to(folder)}"
                self.client.put_object(Bucket=self.bucket, Key=key, Body=path.read_bytes())
        return f"{self.url}/{name}"

    def objects(self, name: str) -> dict[str, bytes]:
        """Key below a name -> content."""
        found = {}
        pages = self.client.get_paginator("list_objects_v2")
        for page in pages.paginate(Bucket=self.bucket, Prefix=f"{name}/"):
            for item in page.get("Contents", []):
                body = self.client.get_object(Bucket=self.bucket, Key=item["Key"])["Body"]
                found[item["Key"].removeprefix(f"{name}/")] = body.read()
        return found

    def tree(self, name: str) -> dict[str, str]:
        """Key below a name -> SHA-256, as conftest.tree tells of a folder."""
        return {k: hashlib.sha256(data).hexdigest() for k, data in self.objects(name).items()}


@contextlib.contextmanager
def running_store() -> Iterator[ObjectStore]:
    """Start the server and the proxy; skips the test where moto or s3fs is not installed."""
    pytest.importorskip("s3fs")
    pytest.importorskip("flask")
    server_module = pytest.importorskip("moto.server")
    import logging

    import boto3

    logging.getLogger("werkzeug").setLevel(logging.CRITICAL)  # a line a request
    server = server_module.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    proxy = Proxy((host, port))
    threading.Thread(target=proxy.serve_forever, daemon=True).start()
    client = boto3.client(
        "s3", endpoint_url=f"http://{host}:{port}", region_name="us-east-1",
        aws_access_key_id="test", aws_secret_access_key="test",
    )  # fmt: skip
    try:
        yield ObjectStore(proxy, client)
    finally:
        client.close()
        proxy.shutdown()
        proxy.server_close()
        server.stop()
