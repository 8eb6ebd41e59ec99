import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest

from knarr.errors import InvalidArgument, Unavailable
from knarr.registry.credentials import Credential, Credentials

HUB = "https://index.docker.io/v1/"


def auth(name: str, password: str) -> str:
    return base64.b64encode(f"{name}:{password}".encode()).decode()


def configure(home: dict[str, str], **fields: Any) -> Credentials:
    folder = Path(home["HOME"]) / ".docker"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(fields))
    return Credentials(home)


def helper(home: dict[str, str], name: str, script: str) -> Path:
    """Install a docker-credential-NAME that notes what it was given."""
    program = Path(home["PATH"].split(":")[0]) / f"docker-credential-{name}"
    program.parent.mkdir(exist_ok=True)
    log = program.with_suffix(".log")
    program.write_text(f'#!/bin/sh\n{{ echo "$1"; cat; }} >> {log}\n{script}\n')
    program.chmod(0o755)
    return log


def test_none(home: dict[str, str]) -> None:
    assert Credentials(home).get("ghcr.io").is_empty


@pytest.mark.parametrize(
    ("entry", "found"),
    [
        ({"auth": auth("me", "a:b")}, Credential("me", "a:b")),
        ({"username": "me", "password": "pw"}, Credential("me", "pw")),
        (
            {"auth": auth("me", ""), "identitytoken": "id"},
            Credential("me", identity_token="id"),
        ),
        ({"registrytoken": "tok"}, Credential(registry_token="tok")),
        ({"auth": auth("me", "pw\0\0")}, Credential("me", "pw")),
    ],
)
def test_entries(home: dict[str, str], entry: dict[str, str], found: Credential) -> None:
    assert configure(home, auths={"ghcr.io": entry}).get("ghcr.io") == found


@pytest.mark.parametrize(
    ("key", "host"),
    [
        (HUB, "docker.io"),
        ("localhost:5000", "localhost:5000"),
        ("https://ghcr.io", "ghcr.io"),
        ("https://ghcr.io/v1/", "ghcr.io"),
    ],
)
def test_keys_of_old_and_new(home: dict[str, str], key: str, host: str) -> None:
    found = configure(home, auths={key: {"auth": auth("me", "pw")}})
    assert found.get(host).password == "pw"
    assert found.get("other.io").is_empty


def test_secrets_are_not_shown(home: dict[str, str]) -> None:
    assert "pw" not in repr(Credential("me", "pw", "pw", "pw"))
    del home


def test_a_helper_comes_before_the_file(home: dict[str, str]) -> None:
    log = helper(home, "ecr", 'echo \'{"ServerURL":"x","Username":"AWS","Secret":"s3"}\'')
    found = configure(
        home, credHelpers={"1.ecr.aws": "ecr"}, auths={"1.ecr.aws": {"auth": auth("a", "b")}}
    )
    assert found.get("1.ecr.aws") == Credential("AWS", "s3")
    assert log.read_text() == "get\n1.ecr.aws"


def test_a_general_helper_and_an_identity_token(home: dict[str, str]) -> None:
    log = helper(home, "store", 'echo \'{"Username":"<token>","Secret":"id"}\'')
    assert configure(home, credsStore="store").get("docker.io") == Credential(identity_token="id")
    assert log.read_text() == f"get\n{HUB}"


def test_a_helper_that_has_none(home: dict[str, str]) -> None:
    helper(home, "store", "echo credentials not found in native keychain; exit 1")
    found = configure(home, credsStore="store", auths={"x.io": {"auth": auth("a", "b")}})
    assert found.get("x.io") == Credential("a", "b")


@pytest.mark.parametrize(
    ("script", "reason"),
    [("echo locked; exit 1", "locked"), ("echo '['", "no JSON"), ("echo '[]'", "no JSON")],
)
def test_a_helper_that_fails(home: dict[str, str], script: str, reason: str) -> None:
    helper(home, "store", script)
    with pytest.raises(Unavailable, match=reason):
        configure(home, credsStore="store").get("x.io")


def test_a_helper_that_is_not_there(home: dict[str, str]) -> None:
    with pytest.raises(Unavailable, match="docker-credential-gone is not installed"):
        configure(home, credsStore="gone").get("x.io")
    with pytest.raises(InvalidArgument):
        configure(home, credsStore="../x").get("x.io")


def test_the_variable_comes_first(home: dict[str, str]) -> None:
    configure(home, auths={"x.io": {"auth": auth("file", "pw")}})
    home["DOCKER_AUTH_CONFIG"] = json.dumps({"auths": {"x.io": {"auth": auth("env", "pw")}}})
    assert Credentials(home).get("x.io").username == "env"


def test_podman_s_file_goes_down_to_repositories(home: dict[str, str], tmp_path: Path) -> None:
    file = tmp_path / "auth.json"
    home["REGISTRY_AUTH_FILE"] = str(file)
    entries = {"x.io": "all", "x.io/team": "team", "x.io/team/app": "app"}
    file.write_text(
        json.dumps({"auths": {key: {"auth": auth(who, "pw")} for key, who in entries.items()}})
    )
    found = Credentials(home)
    assert found.get("x.io", "team/app").username == "app"
    assert found.get("x.io", "team/other/deep").username == "team"
    assert found.get("x.io", "teams").username == "all"
    assert configure(home, auths={"x.io": {"auth": auth("d", "p")}}).get("x.io").username == "d"


def test_a_login_is_kept_beside_all_else(home: dict[str, str]) -> None:
    kept = configure(home, psFormat="x", auths={"a.io": {"auth": auth("a", "b")}})
    assert kept.store("docker.io", Credential("me", "pw")) == kept.path
    assert kept.get("docker.io") == Credential("me", "pw")
    document = json.loads(Path(kept.path).read_text())
    assert document["psFormat"] == "x"
    assert set(document["auths"]) == {"a.io", HUB}
    assert kept.store("docker.io", Credential("me", "pw")) == ""  # nothing changed


def test_a_new_file_is_its_owner_s_alone(home: dict[str, str]) -> None:
    kept = Credentials(home)
    assert kept.store("x.io", Credential("me", identity_token="id")) == ""  # no password in it
    assert stat.S_IMODE(Path(kept.path).stat().st_mode) == 0o600
    assert kept.get("x.io").identity_token == "id"
    assert list(Path(kept.path).parent.iterdir()) == [Path(kept.path)]


def test_a_helper_keeps_and_forgets(home: dict[str, str]) -> None:
    log = helper(home, "store", "true")
    kept = configure(home, credsStore="store")
    assert kept.store("x.io", Credential("me", "pw")) == ""
    kept.erase("x.io")
    said = log.read_text()
    assert '"ServerURL": "x.io", "Username": "me", "Secret": "pw"' in said
    assert said.endswith("erase\nx.io")


def test_logout_takes_every_spelling(home: dict[str, str]) -> None:
    entries = ("x.io", "https://x.io/v1/", "http://x.io", "y.io", HUB)
    kept = configure(home, auths={key: {"auth": auth("a", "b")} for key in entries})
    kept.erase("x.io")
    assert set(json.loads(Path(kept.path).read_text())["auths"]) == {"y.io", HUB}
    kept.erase("docker.io")
    assert set(json.loads(Path(kept.path).read_text())["auths"]) == {"y.io"}


def test_only_meta_headers_go_to_registries(home: dict[str, str]) -> None:
    kept = configure(home, HttpHeaders={"X-Meta-Team": "a", "Authorization": "b"})
    assert kept.headers() == {"X-Meta-Team": "a"}


@pytest.mark.parametrize("text", ["[", "[]", '{"auths": 1}', '{"auths": {"x.io": 1}}',
                                  '{"auths": {"x.io": {"auth": "%"}}}'])  # fmt: skip
def test_a_file_that_makes_no_sense(home: dict[str, str], text: str) -> None:
    kept = configure(home)
    Path(kept.path).write_text(text)
    with pytest.raises(InvalidArgument):
        kept.get("x.io")
