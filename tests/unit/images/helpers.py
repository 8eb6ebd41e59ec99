"""What tests of the images room stand on: an index and a driver in memory, and tars by hand."""

from __future__ import annotations

import builtins
import contextlib
import gzip
import hashlib
import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

from knarr.content import digest as digests
from knarr.content import parts
from knarr.content.store import ContentStore
from knarr.errors import Conflict, InvalidArchive, NotFound
from knarr.images.index import ImageRecord, IndexRecord
from knarr.images.service import Images
from knarr.snapshots.driver import Change, DiskUsage, LayerSource
from knarr.spec.mount import Mount


class MemoryIndex:
    """``ImageIndex`` in two dicts, with containers set by hand."""

    def __init__(self) -> None:
        self.records: dict[str, ImageRecord] = {}
        self.names: dict[str, str] = {}
        self.containers: dict[str, list[str]] = {}
        self.sets: dict[str, IndexRecord] = {}
        self.of_sets: dict[str, str] = {}

    def add(self, record: ImageRecord) -> None:
        # Through JSON, as a database would keep it.
        self.records[record.id] = ImageRecord.from_dict(json.loads(json.dumps(record.to_dict())))

    def get(self, image_id: str) -> ImageRecord:
        if image_id not in self.records:
            raise NotFound(f"no image {image_id}")
        return self.records[image_id]

    def find(self, prefix: str) -> builtins.list[ImageRecord]:
        bare = prefix.removeprefix("sha256:")
        return [r for r in self.records.values() if r.id.removeprefix("sha256:").startswith(bare)]

    def remove(self, image_id: str) -> None:
        self.get(image_id)
        del self.records[image_id]
        self.names = {name: each for name, each in self.names.items() if each != image_id}
        self.of_sets = {name: each for name, each in self.of_sets.items() if name in self.names}

    def list(self) -> builtins.list[ImageRecord]:
        return list(self.records.values())

    def tag(self, ref: str, image_id: str, index_digest: str | None = None) -> None:
        self.get(image_id)
        self.names[ref] = image_id
        self.of_sets.pop(ref, None)
        if index_digest is not None:
            if index_digest not in self.sets:
                raise NotFound(index_digest)
            self.of_sets[ref] = index_digest

    def untag(self, ref: str) -> str:
        if ref not in self.names:
            raise NotFound(f"no tag {ref}")
        self.of_sets.pop(ref, None)
        return self.names.pop(ref)

    def resolve(self, ref: str) -> str | None:
        return self.names.get(ref)

    def tags(self, image_id: str) -> builtins.list[str]:
        return sorted(name for name, each in self.names.items() if each == image_id)

    def all_tags(self) -> dict[str, str]:
        return dict(self.names)

    def in_use(self, image_id: str) -> builtins.list[str]:
        return self.containers.get(image_id, [])

    def add_index(self, record: IndexRecord) -> None:
        known = self.sets.get(record.digest)
        value = (known.joined(record) if known else record).to_dict()
        self.sets[record.digest] = IndexRecord.from_dict(json.loads(json.dumps(value)))

    def drop_member(self, digest: str, image_id: str) -> None:
        if digest in self.sets:
            self.sets[digest] = self.sets[digest].without(image_id)

    def remove_index(self, digest: str) -> None:
        self.sets.pop(digest, None)
        self.of_sets = {name: each for name, each in self.of_sets.items() if each != digest}

    def get_index(self, digest: str) -> IndexRecord | None:
        return self.sets.get(digest)

    def indexes(self) -> builtins.list[IndexRecord]:
        return list(self.sets.values())

    def index_names(self) -> dict[str, str]:
        return dict(self.of_sets)


class MemoryDriver:
    """``Driver`` that keeps layers as names; only what the images room asks of one.

    folder: where it keeps their tars, if it does.
    """

    name = "memory"

    def __init__(self, folder: str | None = None) -> None:
        self.keeps_tars = folder is not None
        self.folder = folder or ""
        self.layers: dict[str, tuple[str | None, int]] = {}
        self.held: set[str] = set()
        self.damaged: set[str] = set()
        self.commits = 0

    def probe(self) -> None:
        return

    def has(self, chain_id: str) -> bool:
        return chain_id in self.layers

    def commit_layer(
        self,
        chain_id: str,
        parent_chain_id: str | None,
        source: LayerSource,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if parent_chain_id is not None and parent_chain_id not in self.layers:
            raise NotFound(parent_chain_id)
        assert chain_id == digests.chain_id(parent_chain_id, source.diff_id)
        if chain_id in self.layers:
            return
        with source.open() as stream:
            data = stream.read()
        if sha256(data) != source.diff_id:
            raise InvalidArchive(f"layer with diff id {source.diff_id} is corrupt")
        if progress is not None:
            progress(len(data))
        self.commits += 1
        if self.keeps_tars:
            self._write(chain_id, source, data)
        self.layers[chain_id] = (parent_chain_id, len(data))

    def _write(self, chain_id: str, source: LayerSource, data: bytes) -> None:
        path = self._path(chain_id)
        if source.blob_digest == source.diff_id and os.path.exists(source.blob_path or ""):
            os.link(source.blob_path or "", path)
        else:
            Path(path).write_bytes(data)

    def _path(self, chain_id: str) -> str:
        os.makedirs(self.folder, exist_ok=True)
        return f"{self.folder}/{chain_id}"

    def layer_tar(self, chain_id: str) -> str | None:
        if chain_id not in self.layers:
            raise NotFound(chain_id)
        return self._path(chain_id) if self.keeps_tars else None

    def mend_layer(self, chain_id: str, source: LayerSource) -> None:
        with source.open() as stream:
            data = stream.read()
        os.unlink(self._path(chain_id))
        self._write(chain_id, source, data)
        self.damaged.discard(chain_id)

    def prepare(self, key: str, chain_id: str | None, size: int | None = None) -> list[Mount]:
        raise AssertionError("images never prepare")

    def mounts(self, key: str) -> list[Mount]:
        raise AssertionError("images never mount")

    def view(self, chain_id: str) -> list[Mount]:
        raise AssertionError("images never mount")

    def is_untouched(self, key: str) -> bool:
        raise AssertionError("images have no writable layers")

    def copy(self, source: str, key: str) -> list[Mount]:
        raise AssertionError("images have no keys")

    def diff(self, key: str, apart: Collection[str] = ()) -> Iterator[Change]:
        raise AssertionError("images never diff")

    def export_diff(self, key: str, apart: Collection[str] = ()) -> Iterator[bytes]:
        raise AssertionError("images never diff")

    def usage(self, key: str) -> DiskUsage:
        raise AssertionError("images have no keys")

    def layer_size(self, chain_id: str) -> int:
        return self.layers[chain_id][1]

    def verify_layer(self, chain_id: str) -> None:
        if chain_id in self.damaged:
            raise InvalidArchive(f"layer {chain_id} is damaged on disk: its tar has another digest")

    def layer_disk(self, chain_id: str) -> int:
        if self.keeps_tars and os.stat(self._path(chain_id)).st_nlink > 1:
            return 0
        return self.layer_size(chain_id)

    def remove(self, key: str) -> None:
        raise AssertionError("images have no keys")

    def remove_layer(self, chain_id: str) -> None:
        if chain_id not in self.layers:
            raise NotFound(chain_id)
        if chain_id in self.held or any(parent == chain_id for parent, _ in self.layers.values()):
            raise Conflict(chain_id)
        del self.layers[chain_id]
        if self.keeps_tars:
            os.unlink(self._path(chain_id))

    def list_layers(self) -> list[str]:
        return list(self.layers)

    def list_keys(self) -> list[str]:
        return []

    def purge_trash(self) -> None:
        return

    def cleanup(self) -> None:
        return


def leave_part(store: ContentStore, digest: str) -> str:
    """Leave four bytes of a blob, as an interrupted download does; return their path."""
    part = parts.open_part(store, digest, 1000)
    assert part is not None
    with part:
        part.write(memoryview(b"some"))
    return part.path


class Room:
    """An images service over fakes, with what is below it in reach."""

    def __init__(self, path: str, *, keeps_tars: bool = False) -> None:
        self.path = path
        self.store = ContentStore(path)
        self.driver = MemoryDriver(f"{path}/layers" if keeps_tars else None)
        self.index = MemoryIndex()
        self.running: set[str] = set()
        self.images = Images(
            self.store, self.driver, self.index, is_running=self.running.__contains__
        )

    def blobs(self) -> set[str]:
        return {blob.digest for blob in self.store.walk()}

    def needed(self) -> set[str]:
        """The blobs that images and indexes refer to."""
        needed = {digest for record in self.index.list() for digest in record.blobs}
        return needed | {digest for each in self.index.indexes() for digest in each.blobs}


CONFIG = "application/vnd.oci.image.config.v1+json"


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def tar_of(files: dict[str, bytes | str | None]) -> bytes:
    """Return a tar of files; a str value is a symlink's target, None a directory."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, value in files.items():
            info = tarfile.TarInfo(name)
            if value is None:
                info.type, info.mode = tarfile.DIRTYPE, 0o755
            elif isinstance(value, str):
                info.type, info.linkname = tarfile.SYMTYPE, value
            else:
                info.size = len(value)
            tar.addfile(info, io.BytesIO(value) if isinstance(value, bytes) else None)
    return out.getvalue()


def layer(*names: str) -> bytes:
    """Return a layer with small files of these names."""
    return tar_of({name: f"content of {name}".encode() for name in names})


def config_of(layers: list[bytes], **fields: Any) -> bytes:
    """Return an image config for these uncompressed layers; fields replace the defaults."""
    document = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-02T03:04:05Z",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [sha256(each) for each in layers]},
        "history": [{"created_by": f"step {n}"} for n in range(len(layers))],
    } | fields
    return json.dumps(document).encode()


def docker_archive(
    layers: list[bytes], tags: list[str], *, config: bytes | None = None
) -> dict[str, bytes | str | None]:
    """Return the files of a docker-archive as older Docker and skopeo write it."""
    config = config_of(layers) if config is None else config
    files: dict[str, bytes | str | None] = {}
    paths = []
    for each in layers:
        path = f"{sha256(each)[7:]}.tar"
        files[path] = each
        paths.append(path)
    name = f"{sha256(config)[7:]}.json"
    files[name] = config
    entry = {"Config": name, "RepoTags": tags, "Layers": paths}
    files["manifest.json"] = json.dumps([entry]).encode()
    return files


def load(room: Room, layers: list[bytes], *tags: str, **fields: Any) -> str:
    """Load an image of these layers as a docker-archive; return its id."""
    files = docker_archive(layers, list(tags), config=config_of(layers, **fields))
    result = room.images.load(io.BytesIO(tar_of(files)))
    image_id: str = result.images[0].id
    return image_id


def at_once(acts: list[Callable[[], Any]], times: int) -> list[BaseException]:
    """Do each of the acts so many times, in threads of their own; return what they raised."""
    problems: list[BaseException] = []

    def run(act: Callable[[], Any]) -> None:
        try:
            for _ in range(times):
                act()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return problems


def remove_all(room: Room) -> None:
    """Remove every image there is; one that another thread has removed meanwhile is fine."""
    for image in room.images.list():
        with contextlib.suppress(NotFound):
            room.images.remove(image.id, force=True)


def descriptor(data: bytes, media_type: str, **fields: Any) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data)} | fields


class Layout:
    """The files of an OCI layout in the making."""

    def __init__(self) -> None:
        self.files: dict[str, bytes | str | None] = {
            "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'
        }
        self.entries: list[dict[str, Any]] = []

    def blob(self, data: bytes, media_type: str, **fields: Any) -> dict[str, Any]:
        self.files[f"blobs/sha256/{sha256(data)[7:]}"] = data
        return descriptor(data, media_type, **fields)

    def image(
        self,
        layers: list[bytes],
        name: str | None = None,
        *,
        config: bytes | None = None,
        compress: bool = True,
        top: bool = True,
        **fields: Any,
    ) -> dict[str, Any]:
        config = config_of(layers) if config is None else config
        kind = "application/vnd.oci.image.layer.v1.tar"
        packed = [gzip.compress(each, mtime=0) if compress else each for each in layers]
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(config, CONFIG),
            "layers": [self.blob(e, kind + "+gzip" if compress else kind) for e in packed],
        }
        return self.entry(manifest, name, top=top, **fields)

    def entry(
        self, document: dict[str, Any], name: str | None = None, *, top: bool = True, **fields: Any
    ) -> dict[str, Any]:
        entry = self.blob(json.dumps(document).encode(), document["mediaType"], **fields)
        if name is not None:
            entry["annotations"] = {"io.containerd.image.name": name}
        if top:
            self.entries.append(entry)
        return entry

    def attestation(self, about: dict[str, Any]) -> dict[str, Any]:
        """Return an entry such as build tools make, about the image of another entry."""
        manifest = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.blob(b'{"architecture":"unknown"}', CONFIG),
            "layers": [self.blob(b'{"predicate":{}}', "application/vnd.in-toto+json")],
        }
        entry = self.entry(manifest, top=False)
        return entry | {
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {
                "vnd.docker.reference.type": "attestation-manifest",
                "vnd.docker.reference.digest": about["digest"],
            },
        }

    def index(
        self, manifests: list[dict[str, Any]], name: str | None = None, *, top: bool = True
    ) -> dict[str, Any]:
        kind = "application/vnd.oci.image.index.v1+json"
        document = {"schemaVersion": 2, "mediaType": kind, "manifests": manifests}
        return self.entry(document, name, top=top)

    def digests(self) -> set[str]:
        """The digests of all blobs."""
        return {f"sha256:{name[13:]}" for name in self.files if name.startswith("blobs/")}

    def done(self) -> dict[str, bytes | str | None]:
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": self.entries,
        }
        return self.files | {"index.json": json.dumps(document).encode()}
