from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from knarr.content import digest as digests
from knarr.registryd.document import LIMIT
from knarr.registryd.service import Options
from knarr.registryd.tagrules import TagRules
from tests.support.registries import INDEX, LAYER, MANIFEST, Client, Serving, serving, sha256

AT = "/v2/team/app/manifests/"
SCHEMA_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"


def test_push_and_pull_by_tag_and_digest(client: Client) -> None:
    digest, body = client.push_image("team/app", "v1")
    for reference in ("v1", digest):
        got = client("GET", AT + reference)
        assert got.status == 200
        assert got.body == body
        assert got.header("Content-Type") == MANIFEST
        assert got.header("Docker-Content-Digest") == digest
        head = client("HEAD", AT + reference)
        assert (head.status, head.body) == (200, b"")
        assert head.header("Content-Length") == str(len(body))


def test_the_bytes_stay_what_they_were(client: Client) -> None:
    _, body = client.push_image("team/app")
    odd = b" \n" + body.replace(b'"schemaVersion": 2', b'"schemaVersion" :\t2') + b"\n\n"
    assert client.push_manifest("team/app", "odd", odd).status == 201
    assert client("GET", AT + "odd").body == odd


def test_a_manifest_that_did_not_change_is_not_sent(client: Client) -> None:
    digest, _ = client.push_image("team/app", "v1")
    tag = client("GET", AT + "v1").header("ETag")
    assert tag == f'"{digest}"'
    assert client("GET", AT + "v1", If_None_Match=tag).status == 304


def test_what_is_not_there(client: Client) -> None:
    assert client("GET", AT + "v1").code == "NAME_UNKNOWN"
    client.push_image("team/app", "v1")
    for reference in ("v2", sha256(b"other")):
        got = client("GET", AT + reference)
        assert (got.status, got.code) == (404, "MANIFEST_UNKNOWN")
        assert client("DELETE", AT + reference).status == 404


def test_by_a_digest_that_is_another(client: Client) -> None:
    _, body = client.push_image("team/app")
    for reference in (sha256(b"other"), "sha256:baddigeststring", "md5:" + "0" * 32):
        got = client.push_manifest("team/app", reference, body)
        assert (got.status, got.code) == (400, "DIGEST_INVALID")


def test_by_sha512(client: Client) -> None:
    _, body = client.push_image("team/app")
    digest = digests.of(body, "sha512")
    got = client.push_manifest("team/app", f"{digest}?tag=strong", body)
    assert got.status == 201
    assert got.header("Docker-Content-Digest") == digest
    assert client("HEAD", AT + "strong").header("Docker-Content-Digest") == digest


def test_tags_beside_a_digest(client: Client) -> None:
    digest, body = client.push_image("team/app")
    tags = [f"t{number}" for number in range(12)]
    query = "&".join(f"tag={tag}" for tag in tags)
    got = client.push_manifest("team/app", f"{digest}?{query}", body)
    assert got.status == 201
    assert got.headers.get_all("OCI-Tag") == tags
    assert client("GET", "/v2/team/app/tags/list").json["tags"] == sorted(tags)
    assert client.push_manifest("team/app", f"{digest}?tag=no/tag", body).status == 400
    many = "&".join(f"tag=t{number}" for number in range(150))
    assert client.push_manifest("team/app", f"{digest}?{many}", body).status == 414


def test_missing_blobs_are_all_named(client: Client) -> None:
    _, body = client.push_image("team/app")
    content = json.loads(body)
    missing = [sha256(b"one"), sha256(b"two")]
    content["layers"] += [{"mediaType": LAYER, "digest": each, "size": 3} for each in missing]
    got = client.push_manifest("team/app", "v1", json.dumps(content).encode())
    assert got.status == 404
    assert [each["detail"]["digest"] for each in got.json["errors"]] == missing
    assert got.code == "MANIFEST_BLOB_UNKNOWN"
    assert client("GET", AT + "v1").status == 404


def test_blobs_of_another_repository_do_not_count(client: Client) -> None:
    _, body = client.push_image("team/app")
    assert client.push_manifest("team/other", "v1", body).code == "MANIFEST_BLOB_UNKNOWN"


def test_layers_that_are_not_to_be_distributed_need_not_be_there(client: Client) -> None:
    foreign = {
        "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        "digest": sha256(b"windows"),
        "size": 7,
        "urls": ["https://example.com/x"],
    }
    client.push_image("team/app", "v1", layers=[foreign])


def test_an_index_may_be_sparse(client: Client) -> None:
    digest, body = client.push_image("team/app")
    entries = [
        {"mediaType": MANIFEST, "digest": digest, "size": len(body)},
        {"mediaType": MANIFEST, "digest": sha256(b"not here"), "size": 8},
    ]
    index = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()
    assert client.push_manifest("team/app", "all", index, INDEX).status == 201
    assert client("GET", AT + "all").header("Content-Type") == INDEX


def test_the_largest_manifest(client: Client) -> None:
    _, body = client.push_image("team/app")
    content = json.loads(body)
    content["annotations"] = {"filler": ""}
    content["annotations"]["filler"] = "x" * (LIMIT - len(json.dumps(content)))
    body = json.dumps(content).encode()
    assert len(body) == LIMIT
    assert client.push_manifest("team/app", "big", body).status == 201
    got = client.push_manifest("team/app", "bigger", body + b"\n")
    assert (got.status, got.code) == (413, "MANIFEST_INVALID")
    pieces = (body + b"\n" for _ in range(1))
    chunked = client("PUT", AT + "chunks", pieces, Transfer_Encoding="chunked")
    assert chunked.status == 413


@pytest.mark.parametrize(
    ("body", "kind", "said"),
    [
        (b"no json", MANIFEST, "not JSON"),
        (b"\xff", MANIFEST, "not JSON"),
        (b"[" * 100_000, MANIFEST, "not JSON"),
        (b"[]", MANIFEST, "not a JSON object"),
        (b'{"mediaType": 5}', MANIFEST, "mediaType"),
        (b'{"mediaType": "%s"}' % INDEX.encode(), MANIFEST, "Content-Type"),
        (b'{"schemaVersion": 1}', SCHEMA_1, "schema 1"),
        (b"{}", "text/html", "Content-Type"),
        (b'{"layers": {}}', MANIFEST, "layers"),
        (b'{"layers": [5]}', MANIFEST, "layers[0]"),
        (b'{"layers": [{"digest": "../../etc/passwd", "size": 1}]}', MANIFEST, "layers[0].digest"),
        (b'{"config": {"digest": "sha256:%s", "size": -1}}' % (b"0" * 64), MANIFEST, "config.size"),
        (b'{"subject": "x"}', MANIFEST, "subject"),
        (b'{"annotations": {"a": 5}}', MANIFEST, "annotations"),
        (b'{"annotations": ["a"]}', MANIFEST, "annotations"),
        (b'{"x": NaN}', MANIFEST, "NaN is no number"),
        (b'{"manifests": [{"digest": 5, "size": 1}]}', INDEX, "manifests[0].digest"),
        (b'{"manifests": [], "layers": []}', INDEX, "it has manifests"),
        (b'{"manifests": [], "config": {}}', "application/x+json", "it has manifests"),
        (b'{"manifests": []}', MANIFEST, "it has manifests"),
        (b'{"layers": []}', INDEX, "type is that of an index"),
    ],
)  # fmt: skip
def test_what_is_no_manifest(client: Client, body: bytes, kind: str, said: str) -> None:
    got = client.push_manifest("team/app", "v1", body, kind)
    assert (got.status, got.code) == (400, "MANIFEST_INVALID")
    assert said in got.text


def test_a_wrong_size_is_found_when_it_is_pushed(client: Client) -> None:
    _, body = client.push_image("team/app")
    content = json.loads(body)
    content["layers"][0]["size"] += 1
    got = client.push_manifest("team/app", "v1", json.dumps(content).encode())
    assert (got.status, got.code) == (400, "MANIFEST_INVALID")


def test_types_of_later_days(client: Client) -> None:
    body = b'{"mediaType": "application/vnd.example.thing.v9+json", "thing": [1, 2]}'
    got = client.push_manifest("team/app", "v1", body, "application/vnd.example.thing.v9+json")
    assert got.status == 201
    assert client("GET", AT + "v1").header("Content-Type").endswith("thing.v9+json")


@pytest.mark.parametrize("tag", ["-x", ".x", "a" * 129, "ä", "a%20b", "a%2Fb"])
def test_what_is_no_tag(client: Client, tag: str) -> None:
    from urllib.parse import quote

    _, body = client.push_image("team/app")
    got = client.push_manifest("team/app", quote(tag, safe="%"), body)
    assert got.status in (400, 404)
    for method in ("GET", "HEAD", "DELETE"):
        assert client(method, AT + quote(tag, safe="%")).status == 404


def test_tags_move(client: Client) -> None:
    client.push_image("team/app", "v1")
    second, _ = client.push_image("team/app", "v1", annotations={"second": "yes"})
    assert client("HEAD", AT + "v1").header("Docker-Content-Digest") == second


def test_delete_of_a_tag_leaves_the_manifest(client: Client) -> None:
    digest, _ = client.push_image("team/app", "v1")
    assert client("DELETE", AT + "v1").status == 202
    assert client("HEAD", AT + "v1").status == 404
    assert client("HEAD", AT + digest).status == 200
    assert client("GET", "/v2/team/app/tags/list").json == {"name": "team/app", "tags": []}


def test_delete_of_a_manifest_takes_its_tags(client: Client) -> None:
    digest, body = client.push_image("team/app", "v1")
    client.push_manifest("team/app", "v2", body)
    client.push_image("team/app", "other", annotations={"other": "yes"})
    assert client("DELETE", AT + digest).status == 202
    assert client("GET", "/v2/team/app/tags/list").json["tags"] == ["other"]
    assert client("HEAD", AT + digest).status == 404


def test_immutable_tags(tmp_path: Path) -> None:
    rules = TagRules(("*",), ("latest", "play/*:*"))
    with serving(str(tmp_path), Options(rules)) as registry:
        client = registry.client()
        first, body = client.push_image("team/app", "v1")
        client.push_manifest("team/app", "latest", body)
        assert client.push_manifest("team/app", "v1", body).status == 201  # the same again
        second, body = client.push_image("team/app", annotations={"second": "yes"})
        got = client.push_manifest("team/app", "v1", body)
        assert (got.status, got.code) == (409, "DENIED")
        assert got.text == (
            f"tag team/app:v1 is immutable here and stands for {first}: push under another tag"
        )
        # All tags of one request, or none.
        got = client.push_manifest("team/app", f"{second}?tag=v2&tag=v1", body)
        assert got.status == 409
        assert client("HEAD", AT + "v2").status == 404
        assert client.push_manifest("team/app", "latest", body).status == 201
        for reference in ("v1", first):
            assert client("DELETE", AT + reference).code == "DENIED"
        assert client("HEAD", AT + "v1").header("Docker-Content-Digest") == first
        # Nor does what it stands for become something else under the same digest.
        plain = b'{"schemaVersion": 2, "manifests": []}'
        assert client.push_manifest("team/app", "v3", plain, INDEX).status == 201
        got = client.push_manifest("team/app", sha256(plain), plain, "application/x+json")
        assert (got.status, got.code) == (409, "DENIED")
        assert client("HEAD", AT + "v3").header("Content-Type") == INDEX
        client.push_image("play/toy", "v1")
        client.push_image("play/toy", "v1", annotations={"moved": "yes"})
        client.close()


def test_a_manifest_that_was_lost_from_the_disk(client: Client, registry: Serving) -> None:
    digest, _ = client.push_image("team/app", "v1")
    os.unlink(registry.service.shelf.store.path(digest))
    assert client("GET", AT + "v1").status == 500


_TEXTS = st.sampled_from(["", "x", "\ud800", "ä\0", MANIFEST, INDEX, sha256(b"x"), "application/x"])
_VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), _TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["digest", "size", "mediaType", "urls", "annotations"]), inner
        ),
    ),
    max_leaves=8,
)
_MEMBERS = ["schemaVersion", "mediaType", "config", "layers", "manifests", "blobs", "subject",
            "artifactType", "annotations"]  # fmt: skip


@settings(max_examples=300)
@given(content=st.dictionaries(st.sampled_from(_MEMBERS), _VALUES))
def test_whatever_is_in_a_manifest_is_taken_or_refused(
    fuzzed: Client, content: dict[str, Any]
) -> None:
    body = json.dumps(content).encode()
    got = fuzzed.push_manifest("team/app", "v1", body)
    assert got.status in (201, 400, 404), got
    if got.status == 201:
        assert fuzzed("GET", AT + "v1").body == body
        subject = got.headers["OCI-Subject"]
        if subject:
            assert fuzzed("GET", f"/v2/team/app/referrers/{subject}").json["manifests"]


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with serving(str(tmp_path_factory.mktemp("fuzzed"))) as made:
        client = made.client()
        yield client
        client.close()


# --- referrers ----------------------------------------------------------------------------------


def referrer(client: Client, subject: dict[str, Any], **members: Any) -> str:
    digest, _ = client.push_image("team/app", subject=subject, **members)
    return digest


def listed(client: Client, digest: str, query: str = "") -> list[dict[str, Any]]:
    got = client("GET", f"/v2/team/app/referrers/{digest}{query}")
    assert got.status == 200
    assert got.header("Content-Type") == INDEX
    assert got.json["mediaType"] == INDEX
    assert got.json["schemaVersion"] == 2
    return list(got.json["manifests"])


def test_referrers(client: Client) -> None:
    digest, body = client.push_image("team/app", "v1")
    subject = {"mediaType": MANIFEST, "digest": digest, "size": len(body)}
    notes = {"org.example.kind": "sbom"}
    sbom = referrer(client, subject, artifactType="application/sbom", annotations=notes)
    plain = referrer(client, subject)
    found = {each["digest"]: each for each in listed(client, digest)}
    assert set(found) == {sbom, plain}
    assert found[sbom]["artifactType"] == "application/sbom"
    assert found[sbom]["annotations"] == notes
    assert found[plain]["artifactType"] == "application/vnd.oci.image.config.v1+json"
    assert found[plain]["mediaType"] == MANIFEST
    got = client("GET", f"/v2/team/app/referrers/{digest}?artifactType=application/sbom")
    assert got.header("OCI-Filters-Applied") == "artifactType"
    assert [each["digest"] for each in got.json["manifests"]] == [sbom]
    client("DELETE", AT + sbom)
    assert [each["digest"] for each in listed(client, digest)] == [plain]


def test_a_push_with_a_subject_says_so(client: Client) -> None:
    subject = {"mediaType": MANIFEST, "digest": sha256(b"not here yet"), "size": 12}
    digest = referrer(client, subject)
    body = client("GET", AT + digest).body
    assert client.push_manifest("team/app", digest, body).header("OCI-Subject") == subject["digest"]
    assert [each["digest"] for each in listed(client, subject["digest"])] == [digest]


def test_an_index_without_artifact_type_is_a_referrer_without(client: Client) -> None:
    subject = {"mediaType": MANIFEST, "digest": sha256(b"x"), "size": 1}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [], "subject": subject}
    client.push_manifest("team/app", "index", json.dumps(index).encode(), INDEX)
    (found,) = listed(client, sha256(b"x"))
    assert "artifactType" not in found


def test_nothing_refers(client: Client) -> None:
    assert listed(client, sha256(b"never seen")) == []
    assert client("GET", "/v2/team/app/referrers/v1").code == "DIGEST_INVALID"


def test_referrers_come_in_pages(client: Client) -> None:
    subject = {"mediaType": MANIFEST, "digest": sha256(b"subject"), "size": 7}
    wanted = {
        referrer(client, subject, annotations={"n": str(number), "much": "x" * 1_200_000})
        for number in range(4)
    }
    path, found, pages = f"/v2/team/app/referrers/{subject['digest']}", [], 0
    while path:
        got = client("GET", path)
        assert len(got.body) < 4 * 1024 * 1024
        found += [each["digest"] for each in got.json["manifests"]]
        link = got.headers["Link"]
        path = link.partition(">")[0][1:] if link else ""
        pages += 1
    assert pages == 2
    assert set(found) == wanted
    assert len(found) == 4


def test_a_referrer_that_no_list_can_hold_is_shown_without_annotations(client: Client) -> None:
    subject = {"mediaType": MANIFEST, "digest": sha256(b"subject"), "size": 7}
    content = {"schemaVersion": 2, "manifests": [], "subject": subject,
               "annotations": {"much": "é" * 1_000_000}}  # fmt: skip
    body = json.dumps(content, ensure_ascii=False).encode()
    digest = sha256(body)
    assert client.push_manifest("team/app", digest, body, INDEX).status == 201
    got = client("GET", f"/v2/team/app/referrers/{subject['digest']}")
    assert len(got.body) < 4 * 1024 * 1024
    assert got.json["manifests"] == [{"mediaType": INDEX, "digest": digest, "size": len(body)}]
