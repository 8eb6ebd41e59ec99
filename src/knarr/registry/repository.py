"""``Registry`` and ``Repository``: the face of this room."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, NamedTuple, TypeVar

from knarr.content import digest as digests
from knarr.errors import InvalidArchive, InvalidArgument, KnarrError, NotFound, Unsupported
from knarr.registry import referring, uploads
from knarr.registry.blobs import BlobStream
from knarr.registry.credentials import Credential
from knarr.registry.endpoint import PULL, PUSH, RESOLVE
from knarr.registry.lanes import WideStream
from knarr.registry.session import DOCUMENT_LIMIT, Session, query
from knarr.registry.transport import Response

Got = TypeVar("Got")
_HTML = "html"
# Addresses of a foreign layer that are tried: an image can name any number.
_ELSEWHERE = 4
_LANE_ATTEMPTS = 2


class Manifest(NamedTuple):
    """A manifest as it came: its media type, its digest, its exact bytes."""

    media_type: str
    digest: str
    body: bytes


class Head(NamedTuple):
    """What is known of a manifest without having it; digest and size may be missing."""

    media_type: str
    digest: str
    size: int


class Registry(Session):
    """A registry by its name (``docker.io``, ``localhost:5000``); use as a context manager."""

    def repository(self, path: str) -> Repository:
        """Return the repository with this path (``library/busybox``)."""
        return Repository(self, path)

    def ping(self) -> None:
        """Ask the registry itself whether it is one and lets us in; errors as ``request``."""
        self.request("GET", "/", PUSH, what=f"registry {self.host}").close()

    def login(self, credential: Credential) -> str:
        """Check these credentials; return an identity token to keep instead of them, or "".

        Raises Denied when they are not accepted.
        """
        self.given = credential
        client = self.clients("")[-1]
        client.offline = client.authorizer.offline = True
        client.request("GET", "/", what=f"login to {self.host}").close()
        return client.authorizer.identity_token

    def catalog(self, page: int = 1000) -> Iterator[str]:
        """Yield the names of all repositories. Raises Unsupported where they cannot be listed."""
        scopes = ("registry:catalog:*",)
        try:
            for document in self.pages(f"/_catalog?n={page}", scopes, f"catalog of {self.host}"):
                for name in document.get("repositories") or ():
                    if isinstance(name, str):
                        yield name
        except NotFound:
            raise Unsupported(
                f"registry {self.host} does not list its repositories (it has no _catalog)"
            ) from None


class Repository:
    """One repository of a registry. Safe for threads."""

    def __init__(self, registry: Session, path: str) -> None:
        self.registry = registry
        self.path = path
        self.pulling = (f"repository:{path}:pull",)
        self.pushing = (f"repository:{path}:pull,push",)
        self.deleting = (f"repository:{path}:delete,pull",)
        # Uploads that the registry began when it was asked for a mount.
        self._begun: dict[str, str] = {}
        # Which mirrors gave bytes of a blob.
        self._mirrored: dict[str, set[str]] = {}

    def __str__(self) -> str:
        """Return ``host/path``."""
        return f"{self.registry.host}/{self.path}"

    def manifest(self, reference: str, accept: Iterable[str]) -> Manifest:
        """Return the manifest of a tag or digest, in one of the media types of ``accept``.

        Its bytes have the digest that was asked for, or that the registry names for the tag.
        Raises Missing, Denied, Prohibited; InvalidArchive for a lie, or for more than 4 MiB.
        """
        what = f"manifest {reference} of {self}"
        while True:
            response = self._get_manifest("GET", reference, accept, what)
            try:
                return _manifest(response, reference, what)
            except InvalidArchive as error:
                if not self.registry.distrust((response.mirror,), str(error)):
                    raise

    def head_manifest(self, reference: str, accept: Iterable[str]) -> Head | None:
        """Return what a tag or digest stands for, None when there is no such manifest."""
        what = f"manifest {reference} of {self}"
        try:
            response = self._get_manifest("HEAD", reference, accept, what)
        except NotFound:
            return None
        length, said = response.header("Content-Length"), response.header("Docker-Content-Digest")
        response.close()
        size = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0
        return Head(_media_type(response), said if digests.is_valid(said) else "", size)

    def put_manifest(self, reference: str, media_type: str, body: bytes) -> str:
        """Store a manifest under a tag or its digest and return its digest.

        Where the registry keeps no referrers, one that has a subject is put on the list of
        that by the rules for such registries. Raises Refused.
        """
        digest = digests.of(body, reference.partition(":")[0] if ":" in reference else "sha256")
        if ":" in reference and reference != digest:
            raise InvalidArgument(f"a manifest with digest {digest} cannot be put as {reference}")
        response = self.registry.request(
            "PUT", f"/{self.path}/manifests/{reference}", PUSH,
            what=f"manifest {reference} of {self}", repository=self.path, scopes=self.pushing,
            headers={"Content-Type": media_type}, body=body, wanted=(200, 201, 202),
        )  # fmt: skip
        knows_subject = bool(response.header("OCI-Subject"))
        said = response.header("Docker-Content-Digest")
        response.start(0)
        if digests.is_valid(said) and said.startswith("sha256:") and said != digest:
            raise InvalidArchive(f"{self}: the registry stored {said} instead of {digest}")
        if not knows_subject:
            referring.note(self, media_type, digest, body)
        return digest

    def delete_manifest(self, reference: str) -> None:
        """Delete a manifest by digest, or a tag where the registry can. Raises Refused."""
        self.registry.request(
            "DELETE", f"/{self.path}/manifests/{reference}", PUSH,
            what=f"manifest {reference} of {self}", repository=self.path, scopes=self.deleting,
            wanted=(200, 202, 204),
        ).start(0)  # fmt: skip

    def blob(self, digest: str, *, offset: int = 0, urls: Sequence[str] = ()) -> WideStream:
        """Return the bytes of a blob from ``offset`` on; they are not verified here.

        A large one may come over several connections. urls: where a foreign layer is to be had,
        asked before the registry. Raises Missing and the like, InvalidArgument for a malformed
        digest.
        """
        digests.parse(digest)
        what = f"blob {digest[:19]} of {self}"

        def fetch(start: int, end: int | None) -> Response:
            last = "" if end is None else str(end - 1)
            headers = {"Range": f"bytes={start}-{last}"} if start or last else {}
            failed: KnarrError | None = None
            for url in [each for each in urls if "://" in each][:_ELSEWHERE]:
                try:
                    return self._get_blob(url, headers, what, attempts=2)
                except KnarrError as error:
                    if closed.is_set():
                        raise
                    failed = error
            try:
                response = self._get_blob(f"/{self.path}/blobs/{digest}", headers, what)
            except NotFound as error:
                raise failed or error from None
            if response.mirror:
                self._mirrored.setdefault(digest, set()).add(response.mirror)
            return response

        def begin(start: int, end: int | None) -> BlobStream:
            patience = self.registry.patience
            if end is not None:  # what does not come so comes over one connection
                patience = replace(patience, attempts=min(patience.attempts, _LANE_ATTEMPTS))
            return BlobStream(fetch, start, patience, closed, what, end)

        closed = self.registry.transport.connections.closed
        return WideStream(begin, offset, self.registry.width, self.registry.spare)

    def is_mirrored(self, digest: str) -> bool:
        """Return whether bytes of a blob came from a mirror, also one that is asked no more."""
        return digest in self._mirrored

    def distrust(self, digest: str, error: InvalidArchive) -> bool:
        """Ask the mirrors that gave wrong bytes of a blob no more, and say so.

        Return whether there was such a mirror: then the blob is to be had once more.
        """
        return self.registry.distrust(tuple(self._mirrored.get(digest, ())), str(error))

    def right(
        self, digest: str, get: Callable[[], Got], anew: Callable[[], None] = lambda: None
    ) -> Got:
        """Return what ``get`` makes of a blob, done again for as long as mirrors give wrong bytes.

        anew: is called in between. Raises what ``get`` raises, InvalidArchive for wrong bytes of
        the registry itself.
        """
        while True:
            try:
                return get()
            except InvalidArchive as error:
                if not self.distrust(digest, error):
                    raise
                anew()

    def has_blob(self, digest: str) -> int | None:
        """Return the blob's size in bytes, None when the repository does not have it."""
        digests.parse(digest)
        try:
            response = self.registry.request(
                "HEAD", f"/{self.path}/blobs/{digest}", PUSH, what=f"blob {digest[:19]} of {self}",
                repository=self.path, scopes=self.pushing,
            )  # fmt: skip
        except NotFound:
            return None
        length = response.header("Content-Length")
        response.close()
        return int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0

    def delete_blob(self, digest: str) -> None:
        """Delete a blob. Raises Refused, also where the registry does not allow it."""
        self.registry.request(
            "DELETE", f"/{self.path}/blobs/{digest}", PUSH, what=f"blob {digest[:19]} of {self}",
            repository=self.path, scopes=self.deleting, wanted=(200, 202, 204),
        ).start(0)  # fmt: skip

    def mount(self, digest: str, source_path: str | None) -> bool:
        """Have the registry take a blob over from another of its repositories.

        source_path: which one, None leaves it to the registry. Returns whether it did.
        """
        scopes: tuple[str, ...] = self.pushing
        if source_path is not None:
            scopes = (*scopes, f"repository:{source_path}:pull")
        location = uploads.mount(self, digest, source_path, scopes)
        if location is None:
            return True
        self._begun[digest] = location
        return False

    def push_blob(
        self,
        digest: str,
        size: int,
        open: Callable[[int], BinaryIO],
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Upload a blob of ``size`` bytes; ``open(offset)`` returns it from there.

        An upload that is cut off goes on where the registry says it has got to. Raises
        Refused, Unreachable and the like; what was begun is taken back then.
        """
        digests.parse(digest)
        begun = self._begun.pop(digest, None)
        uploads.push(self, digest, uploads.Source(size, open, progress), begun)

    def tags(self, last: str | None = None, n: int | None = None) -> Iterator[str]:
        """Yield the tags in the registry's order, those after ``last``; n: how many a page."""
        path = f"/{self.path}/tags/list{query(n=n, last=last)}"
        for document in self.registry.pages(path, self.pulling, f"tags of {self}"):
            for tag in document.get("tags") or ():
                if isinstance(tag, str):
                    yield tag

    def referrers(self, digest: str, artifact_type: str | None = None) -> list[dict[str, Any]]:
        """Return the descriptors of the manifests whose subject is ``digest``."""
        return referring.referrers(self, digest, artifact_type)

    def _get_manifest(
        self, method: str, reference: str, accept: Iterable[str], what: str
    ) -> Response:
        by_digest = digests.is_valid(reference)
        return self.registry.request(
            method, f"/{self.path}/manifests/{reference}", PULL if by_digest else RESOLVE,
            what=what, repository=self.path, scopes=self.pulling,
            headers={"Accept": ", ".join(accept)},
        )  # fmt: skip

    def _get_blob(
        self, path: str, headers: dict[str, str], what: str, attempts: int | None = None
    ) -> Response:
        return self.registry.request(
            "GET", path, PULL, what=what, repository=self.path, scopes=self.pulling,
            headers=headers, wanted=(200, 206, 416) if headers else (200,), attempts=attempts,
        )  # fmt: skip


def _manifest(response: Response, reference: str, what: str) -> Manifest:
    """Return a manifest, whose bytes have the digest that was asked for. Raises InvalidArchive."""
    asked = digests.is_valid(reference)
    media_type = _media_type(response)
    said = response.header("Docker-Content-Digest")
    body = response.read(DOCUMENT_LIMIT, what)
    if _HTML in media_type:
        raise InvalidArchive(f"{what}: the answer is a web page and no manifest")
    wanted = reference if asked else said if digests.is_valid(said) else None
    found = digests.of(body, wanted.partition(":")[0] if wanted else "sha256")
    if wanted is not None and wanted != found:
        raise InvalidArchive(f"{what} is corrupt: its bytes have digest {found}, not {wanted}")
    return Manifest(media_type, found, body)


def _media_type(response: Response) -> str:
    return response.header("Content-Type").partition(";")[0].strip().lower()
