from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import Any

from knarr.registryd import garbage
from knarr.registryd.garbage import Report, Retention
from knarr.registryd.service import Options
from tests.support.registries import INDEX, MANIFEST, Client, Serving, serving, sha256
from tests.support.waiting import wait_until


def collect(registry: Serving, **options: Any) -> Report:
    return garbage.collect(registry.service.shelf, grace=-1, **options)


def there(registry: Serving) -> set[str]:
    return {each.digest for each in registry.service.shelf.store.walk()}


def test_what_is_needed_stays(client: Client, registry: Serving) -> None:
    client.push_image("team/app", "v1")
    before = there(registry)
    assert collect(registry) == Report((), ())
    assert there(registry) == before
    assert len(before) == 3


def test_a_blob_goes_when_the_last_repository_has_let_go(client: Client, registry: Serving) -> None:
    digest = client.push_blob("a", b"shared")
    client.push_blob("b", b"shared")
    client("DELETE", f"/v2/a/blobs/{digest}")
    assert garbage.collect(registry.service.shelf).files == ()
    client("DELETE", f"/v2/b/blobs/{digest}")
    report = garbage.collect(registry.service.shelf)
    assert [each.digest for each in report.files] == [digest]
    assert report.size == 6
    assert there(registry) == set()


def test_what_was_pushed_just_now_is_spared(client: Client, registry: Serving) -> None:
    digest = client.push_blob("a", b"its manifest comes soon")
    assert garbage.collect(registry.service.shelf, grace=3600).files == ()
    assert client("HEAD", f"/v2/a/blobs/{digest}").status == 200
    assert [each.digest for each in collect(registry).files] == [digest]
    assert client("HEAD", f"/v2/a/blobs/{digest}").status == 404


def test_deleted_manifests_free_their_blobs(client: Client, registry: Serving) -> None:
    digest, _ = client.push_image("team/app", "v1")
    client("DELETE", f"/v2/team/app/manifests/{digest}")
    assert len(collect(registry).files) == 3
    assert there(registry) == set()
    assert client("GET", "/v2/team/app/tags/list").code == "NAME_UNKNOWN"


def test_untagged_manifests(client: Client, registry: Serving) -> None:
    child, body = client.push_image("team/app", annotations={"child": "yes"})
    entry = {"mediaType": MANIFEST, "digest": child, "size": len(body)}
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}).encode()
    client.push_manifest("team/app", "all", index, INDEX)
    about = {"mediaType": INDEX, "digest": sha256(index), "size": len(index)}
    sbom, _ = client.push_image("team/app", subject=about)
    loose, _ = client.push_image("team/app", annotations={"loose": "yes"})
    assert collect(registry).manifests == ()
    assert collect(registry, untagged=True).manifests == (("team/app", loose),)
    # Without its tag the index goes, and with it what only it kept.
    client("DELETE", "/v2/team/app/manifests/all")
    gone = {digest for _, digest in collect(registry, untagged=True).manifests}
    assert gone == {child, sha256(index), sbom}
    assert there(registry) == set()


def test_dry_run_says_the_same_and_does_nothing(client: Client, registry: Serving) -> None:
    client.push_image("team/app")
    client.push_blob("team/app", b"loose")
    before = there(registry)
    said = collect(registry, untagged=True, dry_run=True)
    assert there(registry) == before
    done = collect(registry, untagged=True)
    assert said.manifests == done.manifests
    assert set(said.files) == set(done.files)
    assert len(done.files) == 4


def test_the_last_tags_are_kept(client: Client, registry: Serving) -> None:
    for tag in ("v1", "a", "b", "c", "latest", "d"):
        client.push_image("team/app", tag, annotations={"tag": tag})
    client.push_image("other", "old")
    _, body = client.push_image("team/app", annotations={"tag": "a"})
    client.push_manifest("team/app", "a", body)  # pushed again: it is a new one
    wanted = Retention(2, ("v*", "team/app:latest"))
    said = collect(registry, retention=wanted, dry_run=True)
    done = collect(registry, retention=wanted)
    assert set(done.tags) == {("team/app", "b"), ("team/app", "c")}
    assert set(said.tags) == set(done.tags)
    assert len(done.manifests) == 2
    assert client("GET", "/v2/team/app/tags/list").json["tags"] == ["a", "d", "latest", "v1"]
    assert client("GET", "/v2/other/tags/list").json["tags"] == ["old"]
    assert collect(registry, retention=wanted) == Report((), ())


def test_tags_within_the_grace_are_kept(client: Client, registry: Serving) -> None:
    client.push_image("team/app", "a")
    report = garbage.collect(registry.service.shelf, retention=Retention(0), grace=3600)
    assert report == Report((), ())


def test_uploads_expire(client: Client, registry: Serving) -> None:
    where = client("POST", "/v2/a/blobs/uploads/", b"").header("Location")
    folder = Path(registry.service.shelf.root, "uploads")
    assert collect(registry).uploads == 0
    (upload,) = folder.glob("*.*")
    for file in folder.iterdir():
        os.utime(file, (0, 0))
    client("GET", where)  # asking counts
    assert collect(registry).uploads == 0
    os.utime(upload, (0, 0))
    assert collect(registry).uploads == 1
    assert client("GET", where).code == "BLOB_UPLOAD_UNKNOWN"
    assert list(folder.iterdir()) == []


def test_pushes_and_pulls_while_garbage_is_collected(tmp_path: Path) -> None:
    """With a grace that is longer than a push nothing that is pushed is ever missing."""
    with serving(str(tmp_path), Options(collect_every=None)) as registry:
        ended = threading.Event()
        failures: list[BaseException] = []

        def collector() -> None:
            try:
                while not ended.is_set():
                    garbage.collect(registry.service.shelf, grace=60, untagged=True)
            except BaseException as error:
                failures.append(error)

        def pusher(number: int) -> None:
            client = registry.client()
            try:
                for turn in range(15):
                    tag = f"t{turn}"
                    digest, body = client.push_image(f"r{number}", tag, annotations={"n": tag})
                    assert client("GET", f"/v2/r{number}/manifests/{tag}").body == body
                    for layer in json.loads(body)["layers"]:
                        got = client("GET", f"/v2/r{number}/blobs/{layer['digest']}")
                        assert got.status == 200
                    client("DELETE", f"/v2/r{number}/manifests/{digest}")
            except BaseException as error:
                failures.append(error)
            finally:
                client.close()

        keeper = threading.Thread(target=collector)
        keeper.start()
        threads = [threading.Thread(target=pusher, args=(number,)) for number in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        ended.set()
        keeper.join()
        assert not failures


def test_a_server_collects_by_itself(tmp_path: Path) -> None:
    with serving(str(tmp_path), Options(collect_every=0.05, grace=-1)) as registry:
        client = registry.client()
        client.push_blob("a", b"nobody wants it")
        wait_until(lambda: not there(registry))
        client.close()
