"""A registry made by hand that does what a test tells it, also what no registry should."""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
_PATH = re.compile(r"/v2/(?P<name>[a-z0-9/._-]+?)/(?P<kind>manifests|blobs)/(?P<what>[^/]+)$")
_UPLOAD = re.compile(r"/v2/(?P<name>[a-z0-9/._-]+?)/blobs/uploads/(?P<id>\w*)$")


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Request(BaseHTTPRequestHandler):
    """One request; hooks look at it first, and may answer it with ``reply``."""

    protocol_version = "HTTP/1.1"
    server: Server

    def reply(
        self,
        status: int,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        *,
        length: int | None = None,
    ) -> None:
        """Answer; ``length`` lies about the body's, and the connection ends after it then."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body) if length is None else length))
        if length is not None:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, status: int, value: Any, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self.reply(status, body, {"Content-Type": "application/json", **(headers or {})})

    def error(self, status: int, code: str, message: str, **headers: str) -> None:
        self.json(
            status,
            {"errors": [{"code": code, "message": message}]},
            {name.replace("_", "-"): value for name, value in headers.items()},
        )

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def handle_any(self) -> None:
        registry = self.server.registry
        with registry.lock:
            registry.log.append((self.command, self.path, dict(self.headers.items())))
        for hook in registry.hooks:
            if hook(self):
                return
        registry.serve(self)

    do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


Hook = Callable[[Request], bool]


class Server(ThreadingHTTPServer):
    daemon_threads = True
    registry: FakeRegistry

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is nothing to tell."""


class FakeRegistry:
    """Serves ``blobs`` and ``manifests``; ``hooks`` come first; ``log`` has all requests."""

    def __init__(self) -> None:
        self.hooks: list[Hook] = []
        self.log: list[tuple[str, str, dict[str, str]]] = []
        self.blobs: dict[str, bytes] = {}
        self.manifests: dict[str, tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.lock = threading.Lock()
        self.host = ""
        self.scheme = "http"

    def add_blob(self, data: bytes) -> str:
        digest = digest_of(data)
        self.blobs[digest] = data
        return digest

    def add_manifest(self, tag: str, value: Any, media_type: str = OCI_MANIFEST) -> str:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        digest = digest_of(body)
        self.manifests[tag] = self.manifests[digest] = (media_type, body)
        return digest

    def asked(self, method: str, part: str) -> list[dict[str, str]]:
        """Return the headers of all requests with this method and part of a path."""
        return [headers for verb, path, headers in self.log if verb == method and part in path]

    def serve(self, request: Request) -> None:
        path = urlsplit(request.path).path
        upload, found = _UPLOAD.match(path), _PATH.match(path)
        if path == "/v2/":
            request.json(200, {})
        elif upload:
            self._upload(request, upload["name"], upload["id"])
        elif found and found["kind"] == "manifests":
            self._manifest(request, found["what"])
        elif found:
            self._blob(request, found["what"])
        else:
            request.error(404, "NAME_UNKNOWN", "repository name not known to registry")

    def _manifest(self, request: Request, what: str) -> None:
        if request.command == "PUT":
            body = request.body()
            self.add_manifest(what, body, request.headers["Content-Type"])
            request.reply(201, b"", {"Docker-Content-Digest": digest_of(body)})
        elif what not in self.manifests:
            request.error(404, "MANIFEST_UNKNOWN", "manifest unknown")
        else:
            media_type, body = self.manifests[what]
            headers = {"Content-Type": media_type, "Docker-Content-Digest": digest_of(body)}
            request.reply(200, body, headers)

    def _blob(self, request: Request, what: str) -> None:
        if what not in self.blobs:
            request.error(404, "BLOB_UNKNOWN", "blob unknown to registry")
            return
        send(request, self.blobs[what])

    def _upload(self, request: Request, name: str, identity: str) -> None:
        query = parse_qs(urlsplit(request.path).query)
        if request.command == "POST":
            mount = query.get("mount", [""])[0]
            if mount in self.blobs and "from" in query:
                request.reply(201, b"", {"Location": f"/v2/{name}/blobs/{mount}"})
                return
            identity = f"u{len(self.uploads)}"
            self.uploads[identity] = bytearray()
            request.reply(202, b"", self._where(name, identity))
            return
        if identity not in self.uploads:
            request.error(404, "BLOB_UPLOAD_UNKNOWN", "blob upload unknown")
            return
        data = self.uploads[identity]
        if request.command == "GET":
            request.reply(204, b"", self._where(name, identity))
        elif request.command == "DELETE":
            del self.uploads[identity]
            request.reply(204)
        elif request.command == "PATCH":
            body = request.body()
            start = int(request.headers.get("Content-Range", f"{len(data)}-").split("-")[0])
            if start != len(data):
                request.reply(416, b"", self._where(name, identity))
                return
            data += body
            request.reply(202, b"", self._where(name, identity))
        else:
            data += request.body()
            wanted = query["digest"][0]
            if digest_of(bytes(data)) != wanted:
                request.error(400, "DIGEST_INVALID", "provided digest did not match")
                return
            self.blobs[wanted] = bytes(data)
            del self.uploads[identity]
            request.reply(201, b"", {"Location": f"/v2/{name}/blobs/{wanted}"})

    def _where(self, name: str, identity: str) -> dict[str, str]:
        last = max(len(self.uploads[identity]) - 1, 0)
        return {"Location": f"/v2/{name}/blobs/uploads/{identity}?state=x", "Range": f"0-{last}"}


def send(request: Request, data: bytes, *, upto: int | None = None) -> None:
    """Send a blob, or the part that is asked for; with ``upto`` it is cut off after that byte."""
    start, end = 0, len(data)
    wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range") or "")
    headers = {"Content-Type": "application/octet-stream", "Accept-Ranges": "bytes"}
    status = 200
    if wanted:
        start, status = int(wanted[1]), 206
        end = min(int(wanted[2]) + 1, end) if wanted[2] else end
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
    if start >= len(data) > 0:
        request.reply(416)
        return
    if upto is None:
        request.reply(status, data[start:end], headers)
    else:
        request.reply(status, data[start : min(upto, end)], headers, length=end - start)


@contextmanager
def serving(context: ssl.SSLContext | None = None) -> Iterator[FakeRegistry]:
    """Run a registry on a port of its own until the block ends."""
    registry = FakeRegistry()
    server = Server(("127.0.0.1", 0), Request)
    server.registry = registry
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        registry.scheme = "https"
    registry.host = f"127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield registry
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
