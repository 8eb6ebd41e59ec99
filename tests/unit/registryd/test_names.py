from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.registryd import names
from knarr.registryd.faults import Fault
from knarr.registryd.names import Route

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        ("/v2", Route("ping")),
        ("/v2/", Route("ping")),
        ("/v2/_catalog", Route("catalog")),
        ("/v2/a/tags/list", Route("tags", "a")),
        ("/v2/a/b/manifests/v1", Route("manifest", "a/b", "v1")),
        (f"/v2/a/blobs/{DIGEST}", Route("blob", "a", DIGEST)),
        ("/v2/a/blobs/uploads/", Route("uploads", "a")),
        ("/v2/a/blobs/uploads", Route("uploads", "a")),
        ("/v2/a/blobs/uploads/x-1", Route("upload", "a", "x-1")),
        (f"/v2/a/referrers/{DIGEST}", Route("referrers", "a", DIGEST)),
        # Components may be called as the API's own words are.
        ("/v2/tags/list/tags/list", Route("tags", "tags/list")),
        ("/v2/a/blobs/uploads/manifests/v1", Route("manifest", "a/blobs/uploads", "v1")),
        ("/v2/manifests/manifests/manifests", Route("manifest", "manifests", "manifests")),
    ],
)
def test_routes(path: str, wanted: Route) -> None:
    assert names.route(path) == wanted


@pytest.mark.parametrize(
    "path", ["/", "/v1/", "/v2/a", "/v2/a/tags", "/v3/a/tags/list", "/v2/a/b/c"]
)
def test_what_is_none(path: str) -> None:
    assert names.route(path) is None


@pytest.mark.parametrize(
    "name",
    ["A", "a//b", "/a", "a/", "..", "../a", "a/../b", "a..b", "-a", "a-", "a___b", "a b", "ä",
     "a" * 256, "a/_x", "a\n", "", "a/" * 3],
)  # fmt: skip
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(Fault) as caught:
        names.route(f"/v2/{name}/tags/list") or names.repository(name)
    assert caught.value.status == 400
    assert caught.value.errors[0]["code"] == "NAME_INVALID"


@pytest.mark.parametrize("name", ["a", "a/b", "a.b_c__d--e---f/0", "a" * 255])
def test_names(name: str) -> None:
    assert names.repository(name) == name


@given(st.text(alphabet="/._-aA0:%\\\n", max_size=40))
def test_whatever_passes_is_harmless(text: str) -> None:
    try:
        found = names.route("/v2/" + text)
    except Fault:
        return
    if found is not None and found.repository:
        assert ".." not in found.repository
        assert not found.repository.startswith("/")
        assert names.repository(found.repository) == found.repository
