from pathlib import Path

import pytest

from knarr.errors import InvalidArgument
from knarr.registry.endpoint import Endpoint
from knarr.registry.hosts import Hosts


def endpoints(folder: Path, host: str, *insecure: str) -> list[Endpoint]:
    return Hosts((str(folder),), insecure).endpoints(host)


def write(folder: Path, host: str, **files: str) -> None:
    (folder / host).mkdir(parents=True)
    for name, text in files.items():
        (folder / host / name.replace("_", ".")).write_text(text)


@pytest.mark.parametrize(
    ("host", "base"),
    [
        ("docker.io", "https://registry-1.docker.io/v2"),
        ("ghcr.io", "https://ghcr.io/v2"),
        ("reg.lan:5000", "https://reg.lan:5000/v2"),
        ("localhost:5000", "http://localhost:5000/v2"),
        ("127.0.0.9", "http://127.0.0.9/v2"),
        ("[::1]:5000", "http://[::1]:5000/v2"),
    ],
)
def test_a_registry_without_files(tmp_path: Path, host: str, base: str) -> None:
    (only,) = endpoints(tmp_path, host)
    assert only.base == base
    assert only.alternative == ("https" if base.startswith("http:") else "")


@pytest.mark.parametrize("insecure", ["reg.lan:5000", "10.0.0.0/8,reg.lan:5000"])
def test_insecure_registries(tmp_path: Path, insecure: str) -> None:
    (only,) = endpoints(tmp_path, "reg.lan:5000", *insecure.split(","))
    assert (only.scheme, only.alternative, only.tls.verify) == ("https", "http", False)
    (address,) = endpoints(tmp_path, "10.2.3.4:5000", "10.0.0.0/8")
    assert address.alternative == "http"
    (secure,) = endpoints(tmp_path, "11.2.3.4:5000", "10.0.0.0/8")
    assert (secure.alternative, secure.tls.verify) == ("", True)


def test_docker_s_certificates(tmp_path: Path) -> None:
    write(tmp_path, "reg.lan:5000", ca_crt="", me_cert="", me_key="")
    (only,) = endpoints(tmp_path, "reg.lan:5000")
    folder = f"{tmp_path}/reg.lan:5000"
    assert only.tls.authorities == (f"{folder}/ca.crt",)
    assert only.tls.clients == ((f"{folder}/me.cert", f"{folder}/me.key"),)
    assert only.tls.verify


@pytest.mark.parametrize(("file", "lacks"), [("me_cert", "me.key"), ("me_key", "me.cert")])
def test_half_a_certificate(tmp_path: Path, file: str, lacks: str) -> None:
    write(tmp_path, "reg.lan", **{file: ""})
    with pytest.raises(InvalidArgument, match=f"{lacks} is missing"):
        endpoints(tmp_path, "reg.lan")


def test_mirrors_in_their_order(tmp_path: Path) -> None:
    write(tmp_path, "docker.io", hosts_toml="""
        server = "https://registry-1.docker.io"
        [host."https://one.example"]
          capabilities = ["pull", "resolve"]
          ca = "one.pem"
          client = [["a.cert", "a.key"], ["b.cert", ""]]
          [host."https://one.example".header]
            x-team = ["blue", "green"]
        [host."http://two.example:5000/v2/hub"]
          capabilities = ["pull"]
          override_path = true
          dial_timeout = "1m500ms"
          skip_verify = true
    """)  # fmt: skip
    one, two, last = endpoints(tmp_path, "docker.io")
    assert one.base == "https://one.example/v2"
    assert one.capabilities == {"pull", "resolve"}
    assert one.tls.authorities == (f"{tmp_path}/docker.io/one.pem",)
    assert one.tls.clients[1] == (f"{tmp_path}/docker.io/b.cert", "")
    assert one.headers == (("x-team", "blue"), ("x-team", "green"))
    assert (two.base, two.namespace) == ("http://two.example:5000/v2/hub", "docker.io")
    assert (one.connect, two.connect) == (0.0, 60.5)
    assert (last.base, last.namespace) == ("https://registry-1.docker.io/v2", "")


def test_the_default_is_for_the_rest(tmp_path: Path) -> None:
    write(tmp_path, "_default", hosts_toml='[host."https://cache.lan"]\ncapabilities = "pull"')
    write(tmp_path, "own.lan", hosts_toml='server = "http://own.lan:80"')
    assert [each.host for each in endpoints(tmp_path, "quay.io")] == ["cache.lan", "quay.io"]
    assert [each.host for each in endpoints(tmp_path, "own.lan")] == ["own.lan:80"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("x = 1", "'x' is not known"),
        ("[host", "hosts.toml: "),
        ("server = 1", "no text"),
        ('server = "ftp://a"', "no http or https address"),
        ('[host."https://u:p@a"]', "no http or https address"),
        ('[host."https://a"]\ncapabilities = ["fly"]', "'fly' is none of"),
        ('[host."https://a"]\nca = 1', "ca is no text"),
        ('[host."https://a"]\ndial_timeout = "soon"', "is no duration"),
        ('[host."https://a"]\ndial_timeout = 5', "is no duration"),
        ('[host."https://a"]\nclient = [["a"]]', "client is no path"),
    ],
)
def test_what_makes_no_sense_names_the_file(tmp_path: Path, text: str, reason: str) -> None:
    write(tmp_path, "reg.lan", hosts_toml=text)
    with pytest.raises(InvalidArgument, match=r"hosts\.toml") as caught:
        endpoints(tmp_path, "reg.lan")
    assert reason in str(caught.value)


@pytest.mark.parametrize("host", ["", "a/b", "a b", "http://a", "a:b", "../x"])
def test_what_is_no_host(tmp_path: Path, host: str) -> None:
    with pytest.raises(InvalidArgument):
        endpoints(tmp_path, host)
