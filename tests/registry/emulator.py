"""A small Cloud Storage: the part of the JSON API that the real client uses, over HTTP, in this process.

It keeps objects in memory, honours `ifGenerationMatch`, takes multipart and resumable uploads, pages its listings, and
can be told to fail.
"""

import base64
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

PAGE = 3
"""Objects in a page of a listing: small, so that every listing of the tests has several."""


@dataclass
class Bucket:
    """What the emulator holds and how it is to behave."""

    objects: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)
    uploads: dict[str, tuple[str, bool, bytearray]] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    failures: list[int] = field(default_factory=list)
    """Status codes of the next answers."""
    lose_answers: int = 0
    """So many of the next uploads are carried out, but answered with 503."""
    corrupt_downloads: bool = False


@contextmanager
def serve(bucket: Bucket, host: str = "127.0.0.1") -> Iterator[str]:
    """Serve `bucket` under any bucket name, and return the address for STORAGE_EMULATOR_HOST."""
    server = ThreadingHTTPServer((host, 0), type("Handler", (_Handler,), {"bucket": bucket}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://{host}:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    bucket: Bucket
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path, query = self._arrive()
        if re.fullmatch(r"/storage/v1/b/[^/]+", path):  # the client asks in the background, at a time of its own
            self._answer(200, {"name": path.rpartition("/")[2]})
            return
        if self._fail():
            return
        if re.fullmatch(r"/storage/v1/b/[^/]+/o", path):
            self._list(query)
        elif match := re.fullmatch(r"/(?:download/)?storage/v1/b/[^/]+/o/(.+)", path):
            self._download(unquote(match[1]))
        else:
            self._answer(404, {"error": {"code": 404, "message": path}})

    def do_POST(self) -> None:
        path, query = self._arrive()
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._fail():
            return
        once = query.get("ifGenerationMatch") == "0"
        if query.get("uploadType") == "multipart":
            metadata, content = _split_multipart(self.headers["Content-Type"], body)
            self._create(metadata["name"], content, once)
        elif query.get("uploadType") == "resumable":
            number = str(len(self.bucket.uploads))
            self.bucket.uploads[number] = (json.loads(body)["name"], once, bytearray())
            location = f"http://{self.headers['Host']}{path}?uploadType=resumable&upload_id={number}"
            self._answer(200, {}, {"Location": location})
        else:
            self._answer(400, {"error": {"code": 400, "message": "uploadType"}})

    def do_PUT(self) -> None:
        _, query = self._arrive()
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self._fail():
            return
        name, once, received = self.bucket.uploads[query["upload_id"]]
        first, last, total = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", self.headers["Content-Range"]).groups()
        received[int(first) :] = content
        if total != "*" and int(last) + 1 == int(total):
            self._create(name, bytes(received), once)
        else:
            self._answer(308, None, {"Range": f"bytes=0-{len(received) - 1}"})

    def _arrive(self) -> tuple[str, dict[str, str]]:
        self.bucket.requests.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        return parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()}

    def _fail(self) -> bool:
        if not self.bucket.failures:
            return False
        status = self.bucket.failures.pop(0)
        self._answer(status, {"error": {"code": status, "message": "as told"}})
        return True

    def _create(self, name: str, content: bytes, once: bool) -> None:
        with self.bucket.lock:
            taken = once and name in self.bucket.objects
            if not taken:
                self.bucket.objects[name] = content
        if taken:
            self._answer(412, {"error": {"code": 412, "message": "conditionNotMet"}})
        elif self.bucket.lose_answers:
            self.bucket.lose_answers -= 1
            self._answer(503, {"error": {"code": 503, "message": "the answer was lost"}})
        else:
            self._answer(200, _resource(name, content))

    def _list(self, query: dict[str, str]) -> None:
        names = sorted(name for name in self.bucket.objects if name.startswith(query.get("prefix", "")))
        start = int(query.get("pageToken", 0))
        page: dict[str, Any] = {
            "items": [_resource(name, self.bucket.objects[name]) for name in names[start : start + PAGE]]
        }
        if start + PAGE < len(names):
            page["nextPageToken"] = str(start + PAGE)
        self._answer(200, page)

    def _download(self, name: str) -> None:
        content = self.bucket.objects.get(name)
        if content is None:
            self._answer(404, {"error": {"code": 404, "message": name}})
            return
        headers = {"X-Goog-Hash": f"crc32c={_checksum(content)}", "X-Goog-Generation": "1"}
        self._send(200, content[:-1] + b"?" if self.bucket.corrupt_downloads else content, headers)

    def _answer(self, status: int, document: Any, headers: dict[str, str] | None = None) -> None:
        content = b"" if document is None else json.dumps(document).encode()
        self._send(status, content, {"Content-Type": "application/json", **(headers or {})})

    def _send(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)


def _checksum(content: bytes) -> str:
    return base64.b64encode(google_crc32c.Checksum(content).digest()).decode()


def _resource(name: str, content: bytes) -> dict[str, str]:
    return {"name": name, "size": str(len(content)), "generation": "1", "crc32c": _checksum(content)}


def _split_multipart(content_type: str, body: bytes) -> tuple[dict[str, Any], bytes]:
    boundary = re.search(r'boundary="?([^";]+)', content_type)[1].encode()
    _, metadata, content, _ = body.split(b"--" + boundary)
    return json.loads(_payload(metadata)), _payload(content)


def _payload(part: bytes) -> bytes:
    return part.partition(b"\r\n\r\n")[2].removesuffix(b"\r\n")
