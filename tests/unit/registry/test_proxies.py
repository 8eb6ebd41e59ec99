import pytest

from knarr.errors import InvalidArgument
from knarr.registry.proxies import Proxies


def proxied(no_proxy: str, host: str, port: int = 443) -> bool:
    return Proxies("", "http://proxy:3128", no_proxy).to("https", host, port) is not None


@pytest.mark.parametrize(
    ("no_proxy", "host", "through"),
    [
        ("", "ghcr.io", True),
        ("*", "ghcr.io", False),
        ("ghcr.io", "ghcr.io", False),
        ("ghcr.io", "pkg.ghcr.io", False),
        ("ghcr.io", "notghcr.io", True),
        (".ghcr.io", "ghcr.io", True),
        (".ghcr.io", "pkg.ghcr.io", False),
        ("*.ghcr.io", "pkg.ghcr.io", False),
        ("a, ghcr.io ,b", "GHCR.IO", False),
        ("ghcr.io:443", "ghcr.io", False),
        ("ghcr.io:80", "ghcr.io", True),
        ("10.0.0.0/8", "10.1.2.3", False),
        ("10.0.0.0/8", "11.1.2.3", True),
        ("10.0.0.0/8", "ghcr.io", True),
        ("10.1.2.3", "10.1.2.3", False),
        ("fd00::/8", "fd00::1", False),
        ("", "localhost", False),
        ("", "127.0.0.5", False),
        ("", "::1", False),
    ],
)
def test_no_proxy(no_proxy: str, host: str, through: bool) -> None:
    assert proxied(no_proxy, host) is through


def test_where_it_is_and_who_we_are_there() -> None:
    found = Proxies("http://us%40er:p%3Aw@proxy:8080").to("http", "example.org", 80)
    assert found is not None
    assert (found.host, found.port) == ("proxy", 8080)
    assert found.authorization == "Basic dXNAZXI6cDp3"
    assert Proxies("http://proxy").to("https", "example.org", 443) is None
    assert Proxies("proxy:1").to("http", "example.org", 80) == ("proxy", 1, None)


def test_upper_case_counts_first_and_the_file_last() -> None:
    both = {"HTTPS_PROXY": "http://one", "https_proxy": "http://two"}
    assert Proxies.from_environment(both).to("https", "x", 443) == ("one", 80, None)
    file = {"httpsProxy": "http://three", "noProxy": "y"}
    assert Proxies.from_environment({}, file).to("https", "x", 443) == ("three", 80, None)
    assert Proxies.from_environment({}, file).to("https", "y", 443) is None


@pytest.mark.parametrize("text", ["socks5://a", "http://", "http://a:b"])
def test_what_is_no_proxy_is_refused_without_its_password(text: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        Proxies(text.replace("://", "://me:secret@"))
    assert "secret" not in str(caught.value)
