import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.errors import InvalidArgument
from knarr.images.reference import Reference

SHA256 = "sha256:" + "0123456789abcdef" * 4
SHA512 = "sha512:" + "0123456789abcdef" * 8


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("library/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("library/a/b", "docker.io/library/a/b:latest", "library/a/b:latest"),
        ("ghcr.io/x/y:v1", "ghcr.io/x/y:v1", "ghcr.io/x/y:v1"),
        ("ghcr.io/y", "ghcr.io/y:latest", "ghcr.io/y:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("host:5000/app:t", "host:5000/app:t", "host:5000/app:t"),
        ("HOST/app", "HOST/app:latest", "HOST/app:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("xn--n3h.com/app", "xn--n3h.com/app:latest", "xn--n3h.com/app:latest"),
        ("localhost", "docker.io/library/localhost:latest", "localhost:latest"),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest"),
        ("app:_x.Y-1", "docker.io/library/app:_x.Y-1", "app:_x.Y-1"),
        (f"app@{SHA256}", f"docker.io/library/app@{SHA256}", f"app@{SHA256}"),
        (f"app:1@{SHA512}", f"docker.io/library/app:1@{SHA512}", f"app:1@{SHA512}"),
    ],
)
def test_parses_and_shows(text: str, full: str, familiar: str) -> None:
    reference = Reference.parse(text)
    assert str(reference) == full
    assert reference.familiar() == familiar
    assert Reference.parse(full) == Reference.parse(familiar) == reference


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("x" * 2000, "too long"),
        ("Busybox", "lower case"),
        ("library/Foo", "lower case"),
        ("a//b", "a name is made of"),
        ("/a", "a name is made of"),
        ("a/", "a name is made of"),
        ("-a", "a name is made of"),
        ("a_", "a name is made of"),
        ("a..b", "a name is made of"),
        ("a___b", "a name is made of"),
        ("a b", "a name is made of"),
        ("naïve", "a name is made of"),
        ("a:", "tag"),
        ("a:.x", "tag"),
        ("a:" + "t" * 129, "tag"),
        ("a:t\n", "tag"),
        ("a\n", "a name is made of"),
        (":tag", "a name is made of"),
        ("-x.com/a", "host name"),
        ("x.com:port/a", "host name"),
        ("a@", "digest"),
        ("a@sha256:abc", "digest"),
        ("a@md5:" + "0" * 32, "digest"),
        ("a@sha256:" + "A" * 64, "digest"),
        ("0" * 64, "image id"),
        ("https://ghcr.io/a", "host name"),
        ("x.com/" + "a" * 260, "longer than 255"),
    ],
)
def test_refuses_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(InvalidArgument, match=reason):
        Reference.parse(text)


def test_a_name_of_255_characters_is_the_longest() -> None:
    assert Reference.parse("x.com/" + "a" * 249).path == "a" * 249
    with pytest.raises(InvalidArgument, match="longer"):
        Reference.parse("x.com/" + "a" * 250)


def test_without_the_default_tag_a_bare_name_stays_bare() -> None:
    assert Reference.parse("busybox", default_tag=False).tag is None
    assert Reference.parse("busybox:1", default_tag=False).tag == "1"


def test_with_tag_and_with_digest_exchange_the_end() -> None:
    reference = Reference.parse(f"ghcr.io/a:1@{SHA256}")
    assert str(reference.with_tag("2")) == "ghcr.io/a:2"
    assert str(reference.with_digest(SHA512)) == f"ghcr.io/a@{SHA512}"
    with pytest.raises(InvalidArgument, match="tag"):
        reference.with_tag("no good")
    with pytest.raises(InvalidArgument, match="digest"):
        reference.with_digest("sha256:no")


@given(st.text(alphabet="aA0._-/:@[]", max_size=40))
def test_what_parses_survives_a_round_trip(text: str) -> None:
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        return
    assert Reference.parse(str(reference)) == reference
    assert Reference.parse(reference.familiar()) == reference
