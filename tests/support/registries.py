"""A registry on a free port of the loopback, and a client that shows all of each answer."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from knarr.registryd.service import Options, Service
from knarr.web.limits import Limits
from knarr.web.listening import Address, listen

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def sha256(data: bytes) -> str:
    """Return the digest of data."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def basic(user: str, password: str) -> str:
    """Return an Authorization header."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@dataclass
class Answer:
    """Status, headers and body of an answer; ``code`` and ``text`` are of its first error."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        return str(self.json["errors"][0]["code"])

    @property
    def text(self) -> str:
        return str(self.json["errors"][0]["message"])

    def header(self, name: str) -> str:
        found = self.headers[name]
        assert found is not None, f"no {name} in {self.headers.items()}"
        return str(found)


class Client:
    """One connection that is kept open; made anew when the server has ended it."""

    def __init__(self, port: int, tls: ssl.SSLContext | None = None) -> None:
        self.port = port
        self.tls = tls
        self._link = self._connect()

    def _connect(self) -> http.client.HTTPConnection:
        if self.tls is not None:
            return http.client.HTTPSConnection("localhost", self.port, timeout=30, context=self.tls)
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send a request; headers are written with ``_`` for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._link.request(
            method, path, body, named, encode_chunked=named.get("Transfer-Encoding") == "chunked"
        )
        with self._link.getresponse() as got:
            return Answer(got.status, got.headers, got.read())

    def close(self) -> None:
        self._link.close()

    # --- what most tests need ---

    def push_blob(self, repository: str, data: bytes, algorithm: str = "sha256") -> str:
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        got = self("POST", f"/v2/{repository}/blobs/uploads/?digest={digest}", data)
        if got.status == 202:  # nothing to send
            got = self("PUT", f"{got.header('Location')}?digest={digest}", data)
        assert got.status == 201, got
        return digest

    def push_image(self, repository: str, tag: str = "", **members: Any) -> tuple[str, bytes]:
        """Push an image of one small layer; return digest and bytes of its manifest."""
        layer = f"layer of {repository} {sorted(members.items())}".encode()
        content = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self.descriptor(repository, b"{}", CONFIG),
            "layers": [self.descriptor(repository, layer, LAYER)],
            **members,
        }
        body = json.dumps(content).encode()
        got = self.push_manifest(repository, tag or sha256(body), body)
        assert got.status == 201, got
        return sha256(body), body

    def descriptor(self, repository: str, data: bytes, kind: str) -> dict[str, Any]:
        digest = self.push_blob(repository, data)
        return {"mediaType": kind, "digest": digest, "size": len(data)}

    def push_manifest(
        self, repository: str, reference: str, body: bytes, kind: str = MANIFEST
    ) -> Answer:
        return self("PUT", f"/v2/{repository}/manifests/{reference}", body, Content_Type=kind)


@dataclass
class Serving:
    """A registry that serves."""

    service: Service
    port: int
    tls: ssl.SSLContext | None = None

    def client(self) -> Client:
        return Client(self.port, self.tls)

    def raw(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)


@contextmanager
def serving(
    root: str,
    options: Options | None = None,
    *,
    limits: Limits | None = None,
    server_tls: ssl.SSLContext | None = None,
    client_tls: ssl.SSLContext | None = None,
) -> Iterator[Serving]:
    """Serve a directory from a thread of this process."""
    link = listen(Address("127.0.0.1", 0))
    port = link.getsockname()[1]
    with Service(root, [link], options or Options(), tls=server_tls, limits=limits) as service:
        thread = threading.Thread(target=service.serve)
        thread.start()
        try:
            yield Serving(service, port, client_tls)
        finally:
            service.stop()
            thread.join()
