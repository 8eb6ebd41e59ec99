"""pull, push, login, logout, search and run --pull as commands, with a registry made by hand."""

import base64
import json
import os
import pty
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.support.fakeimages import put_image
from tests.support.fakeregistry import FakeRegistry, Request, serving
from tests.unit.images.helpers import layer


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with serving() as registry:
        yield registry


@pytest.fixture
def home(tmp_path: Path, environment: dict[str, str]) -> Path:
    """Where the command finds and keeps credentials; not the tester's own."""
    environment["HOME"] = str(tmp_path)
    environment.pop("DOCKER_CONFIG", None)
    return tmp_path


def basic(name: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


def wants(fake: FakeRegistry, name: str, password: str) -> None:
    def hook(request: Request) -> bool:
        if request.headers["Authorization"] == basic(name, password):
            return False
        request.body()
        request.error(401, "UNAUTHORIZED", "authentication required",
                      WWW_Authenticate='Basic realm="test"')  # fmt: skip
        return True

    fake.hooks.append(hook)


def test_pull_says_what_docker_says(home: Path, knarr: Command, fake: FakeRegistry) -> None:
    first, second = layer("a"), layer("b")
    manifest = put_image(fake, "latest", [first, second])
    done = knarr("pull", f"{fake.host}/team/app")
    lines = done.stdout.decode().splitlines()
    assert (done.returncode, done.stderr) == (0, b"")
    assert lines[:2] == ["Using default tag: latest", "latest: Pulling from team/app"]
    for each in manifest["layers"]:
        name = each["digest"][7:19]
        steps = [line.partition(": ")[2] for line in lines if line.startswith(name)]
        assert steps == ["Pulling fs layer", "Verifying Checksum", "Download complete",
                         "Pull complete"]  # fmt: skip
    assert re.fullmatch(r"Digest: sha256:[0-9a-f]{64}", lines[-3])
    assert lines[-2:] == [
        f"Status: Downloaded newer image for {fake.host}/team/app:latest",
        f"{fake.host}/team/app:latest",
    ]
    again = knarr("pull", f"{fake.host}/team/app").stdout.decode().splitlines()
    assert again[2:] == [
        lines[-3], f"Status: Image is up to date for {fake.host}/team/app:latest", lines[-1]
    ]  # fmt: skip
    assert knarr("pull", "-q", f"{fake.host}/team/app").stdout.decode() == lines[-1] + "\n"


def test_pull_on_a_terminal_paints_bars(
    home: Path, knarr: Command, environment: dict[str, str], fake: FakeRegistry
) -> None:
    put_image(fake, "1", [layer("a")])
    master, slave = pty.openpty()
    with subprocess.Popen(
        [knarr("version").args[0], "pull", f"{fake.host}/app:1"],
        env=environment | {"TERM": "xterm"}, stdin=slave, stdout=slave, stderr=slave,
    ) as process:  # fmt: skip
        os.close(slave)
        seen = b""
        try:
            while chunk := os.read(master, 65536):
                seen += chunk
        except OSError:
            pass  # the terminal's other end is closed
    os.close(master)
    assert process.returncode == 0
    assert b"\x1b[1A\r\x1b[2K" in seen
    assert b": Pull complete" in seen
    assert seen.rstrip().endswith(b"/app:1")


def test_what_cannot_be_pulled(home: Path, knarr: Command, fake: FakeRegistry) -> None:
    fake.hooks.append(lambda request: "/secret/" in request.path and _denied(request))
    unknown = "not found: manifest unknown: manifest unknown"
    denied = "pull access denied for {}, repository does not exist or may require 'knarr login'"
    for name, text in (
        ("app:1", f"manifest for {fake.host}/app:1 {unknown}"),
        (
            "secret:1",
            denied.format(f"{fake.host}/secret")
            + ": denied: requested access to the resource is denied",
        ),
    ):
        done = knarr("pull", f"{fake.host}/{name}")
        assert (done.returncode, done.stdout, done.stderr.decode()) == (1, b"", f"Error: {text}\n")
    done = knarr("pull", "-a", f"{fake.host}/app:1")
    assert (done.returncode, done.stderr) == (1, b"Error: tag can't be used with --all-tags/-a\n")


def _denied(request: Request) -> bool:
    request.error(403, "DENIED", "requested access to the resource is denied")
    return True


def test_run_pulls_what_is_missing(home: Path, knarr: Command, fake: FakeRegistry) -> None:
    name = f"{fake.host}/busybox:1"
    assert knarr("tag", "busybox", name).returncode == 0
    assert knarr("push", name).returncode == 0
    assert knarr("rmi", name).returncode == 0
    done = knarr("run", "--rm", name, "echo", "hi")
    assert (done.returncode, done.stdout) == (0, b"hi\n")
    lines = done.stderr.decode().splitlines()
    assert lines[0] == f"Unable to find image '{name}' locally"
    assert lines[-1] == f"Status: Downloaded newer image for {name}"
    assert knarr("run", "--rm", name, "echo", "hi").stderr == b""
    fake.log.clear()
    always = knarr("run", "--rm", "--pull", "always", name, "true")
    assert always.stderr.decode().splitlines()[-1] == f"Status: Image is up to date for {name}"
    assert fake.asked("HEAD", "manifests")
    knarr("rmi", name)
    never = knarr("run", "--pull", "never", name, "true")
    assert never.returncode == 125
    assert never.stderr.decode().startswith(f"knarr: No such image: {name}")
    quiet = knarr("create", "-q", name, "true")
    assert (quiet.returncode, quiet.stderr) == (0, b"")


def test_push_says_what_docker_says(home: Path, knarr: Command, fake: FakeRegistry) -> None:
    name = f"{fake.host}/busybox"
    knarr("tag", "busybox", name)
    done = knarr("push", name)
    lines = done.stdout.decode().splitlines()
    assert lines[:2] == ["Using default tag: latest", f"The push refers to repository [{name}]"]
    assert [line.partition(": ")[2] for line in lines[2:-1]] == ["Preparing", "Pushed"]
    assert re.fullmatch(r"latest: digest: sha256:[0-9a-f]{64} size: \d+", lines[-1])
    assert knarr("push", "-q", name).stdout.decode() == f"{name}:latest\n"
    digests = knarr("image", "inspect", "-f", "{{json .RepoDigests}}", "busybox").stdout
    assert json.loads(digests) == [f"{name}@{lines[-1].split()[2]}"]
    missing = knarr("push", f"{fake.host}/nothing")
    assert missing.returncode == 1
    assert missing.stderr.decode() == (
        f"Error: An image does not exist locally with the tag: {fake.host}/nothing\n"
    )


def test_login_and_logout(home: Path, knarr: Command, fake: FakeRegistry) -> None:
    put_image(fake, "1", [layer("a")])
    wants(fake, "me", "pw")
    name = f"{fake.host}/app:1"
    refused = knarr("pull", name)
    assert refused.returncode == 1
    assert b"no basic auth credentials" in refused.stderr
    wrong = knarr("login", "-u", "me", "--password-stdin", fake.host, stdin=b"wrong\n")
    assert wrong.returncode == 1
    assert b"unauthorized: authentication required" in wrong.stderr
    done = knarr("login", "-u", "me", "--password-stdin", fake.host, stdin=b"pw\n")
    assert (done.returncode, done.stdout) == (0, b"Login Succeeded\n")
    config = home / ".docker/config.json"
    assert f"stored unencrypted in '{config}'" in done.stderr.decode()
    assert json.loads(config.read_text()) == {
        "auths": {fake.host: {"auth": base64.b64encode(b"me:pw").decode()}}
    }
    assert knarr("pull", "-q", name).returncode == 0
    again = knarr("login", fake.host)
    assert b"Authenticating with existing credentials... [Username: me]" in again.stderr
    assert again.stdout == b"Login Succeeded\n"
    gone = knarr("logout", fake.host)
    assert gone.stdout.decode() == f"Removing login credentials for {fake.host}\n"
    assert json.loads(config.read_text()) == {"auths": {}}


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("--password-stdin",), "the --password-stdin option requires --username to be set"),
        (("-u", "a", "-p", "b", "--password-stdin"), "cannot specify both --password and"),
        (("-u", "", "-p", "b"), "username is empty"),
        (("-u", "a", "-p", ""), "password is empty"),
        (("-u", "a", "--password-stdin"), "password is empty"),
        (("-u", "a"), "cannot perform an interactive login from a non-TTY device"),
        ((), "cannot perform an interactive login from a non-TTY device"),
    ],
)
def test_logins_that_docker_refuses(
    home: Path, knarr: Command, words: tuple[str, ...], text: str
) -> None:
    done = knarr("login", *words, "reg.invalid", stdin=b"\n")
    assert done.returncode == 1
    assert text in done.stderr.decode()


def test_a_password_on_the_command_line_is_warned_of(
    home: Path, knarr: Command, fake: FakeRegistry
) -> None:
    done = knarr("login", "-u", "me", "-p", "pw", fake.host)
    assert done.stderr.decode().startswith("WARNING! Using --password via the CLI is insecure.")


def test_login_on_a_terminal(
    home: Path, knarr: Command, environment: dict[str, str], fake: FakeRegistry
) -> None:
    wants(fake, "me", "s3cret")
    master, slave = pty.openpty()
    with subprocess.Popen(
        [knarr("version").args[0], "login", fake.host],
        env=environment, stdin=slave, stdout=slave, stderr=slave,
    ) as process:  # fmt: skip
        os.close(slave)
        seen, answers = b"", [(b"Username: ", b"me\n"), (b"Password: ", b"s3cret\n")]
        try:
            while chunk := os.read(master, 65536):
                seen += chunk
                if answers and seen.endswith(answers[0][0]):
                    os.write(master, answers.pop(0)[1])
        except OSError:
            pass  # the terminal's other end is closed
    os.close(master)
    assert process.returncode == 0
    assert b"Login Succeeded" in seen
    assert b"s3cret" not in seen


def test_search(home: Path, knarr: Command, fake: FakeRegistry) -> None:
    def catalog(request: Request) -> bool:
        if "/_catalog" in request.path:
            request.json(200, {"repositories": ["team/app", "team/base", "other"]})
        return "/_catalog" in request.path

    fake.hooks.append(catalog)
    listed = knarr("search", f"{fake.host}/team").stdout.decode().splitlines()
    assert listed[0].split() == ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]
    assert [line.split()[0] for line in listed[1:]] == [
        f"{fake.host}/team/app", f"{fake.host}/team/base"
    ]  # fmt: skip


def test_search_of_docker_hub(
    home: Path, knarr: Command, environment: dict[str, str], fake: FakeRegistry, tmp_path: Path
) -> None:
    def hub(request: Request) -> bool:
        request.json(200, {"results": [
            {"name": "nginx", "description": "Official build of\nNginx.", "star_count": 20000,
             "is_official": True},
            {"name": "a/nginx", "description": "x" * 60, "star_count": 3},
        ]})  # fmt: skip
        return True

    fake.hooks.append(hub)
    folder = tmp_path / "certs.d" / "docker.io"
    folder.mkdir(parents=True)
    (folder / "hosts.toml").write_text(f'server = "http://{fake.host}"')
    environment["KNARR_CERTS_D"] = str(tmp_path / "certs.d")
    done = knarr("search", "--limit", "2", "nginx").stdout.decode()
    assert fake.log[-1][1] == "/v1/search?q=nginx&n=2"
    assert re.search(r"nginx +Official build of Nginx\. +20000 +\[OK\]", done)
    assert "x" * 44 + "…" in done
    official = knarr("search", "-f", "is-official=true", "--format", "{{.Name}}", "nginx")
    assert official.stdout == b"nginx\n"
    stars = knarr("search", "--no-trunc", "-f", "stars=4", "--format", "json", "nginx")
    assert json.loads(stars.stdout)["IsOfficial"] == "true"
    for words, text in (
        (("--limit", "101", "x"), "limit 101 is outside the range of [1, 100]"),
        (("-f", "a=b", "x"), "invalid filter 'a'"),
        (("https://a/b",), "should not have a scheme"),
    ):
        wrong = knarr("search", *words)
        assert wrong.returncode == 1
        assert text in wrong.stderr.decode()


def test_manifest_lists(home: Path, knarr: Command, fake: FakeRegistry) -> None:
    target = f"{fake.host}/team/app:1"
    for tag in ("amd64", "arm64"):
        put_image(fake, tag, [layer(tag)])
    members = [f"{fake.host}/team/app:amd64", f"{fake.host}/elsewhere/app:arm64"]
    created = knarr("manifest", "create", target, *members)
    assert created.stdout.decode() == f"Created manifest list {target}\n"
    again = knarr("manifest", "create", target, members[0])
    assert again.returncode == 1
    assert b"refusing to amend an existing manifest list with no --amend flag" in again.stderr
    words = ("--arch", "arm64", "--variant", "v8", "--os-features", "a", target, members[1])
    assert knarr("manifest", "annotate", *words).returncode == 0
    local = json.loads(knarr("manifest", "inspect", target).stdout)
    assert [each["platform"] for each in local["manifests"]] == [
        {"architecture": "amd64", "os": "linux"},
        {"architecture": "arm64", "os": "linux", "os.features": ["a"], "variant": "v8"},
    ]
    one = json.loads(knarr("manifest", "inspect", target, members[0]).stdout)
    assert one == json.loads(fake.manifests["amd64"][1])
    pushed = knarr("manifest", "push", "--purge", target).stdout.decode().splitlines()
    arm = local["manifests"][1]["digest"]
    assert pushed[0] == f"Pushed ref {fake.host}/team/app@{arm} with digest: {arm}"
    remote = knarr("manifest", "inspect", target)
    assert json.loads(remote.stdout) == local
    assert remote.stdout.startswith(b'{\n\t"schemaVersion": 2')
    verbose = json.loads(knarr("manifest", "inspect", "-v", target).stdout)
    assert [each["Descriptor"]["digest"] for each in verbose] == [
        each["digest"] for each in local["manifests"]
    ]
    assert knarr("pull", "-q", "--platform", "linux/amd64", target).returncode == 0
    gone = knarr("manifest", "rm", target)
    assert (gone.returncode, gone.stderr.decode()) == (1, f"Error: No such manifest: {target}\n")
    for wrong, text in (
        (("inspect", f"{fake.host}/x:9"), f"no such manifest: {fake.host}/x:9"),
        (("annotate", target, members[0]), f"No such manifest: {target}"),
        (("create", "other.io/x", members[0]), "from a different registry than the target"),
        (("create", f"{fake.host}/x", target), "is a manifest list"),
    ):
        done = knarr("manifest", *wrong)
        assert done.returncode == 1
        assert text in done.stderr.decode()


def test_a_pull_by_digest_is_listed_by_its_repository(
    home: Path, knarr: Command, fake: FakeRegistry
) -> None:
    put_image(fake, "1", [layer("a")])
    digest = next(name for name in fake.manifests if name.startswith("sha256:"))
    knarr("pull", "-q", f"{fake.host}/app@{digest}")
    listed = knarr("images", "--digests", "--format", "{{.Repository}} {{.Tag}} {{.Digest}}")
    assert f"{fake.host}/app <none> {digest}" in listed.stdout.decode().splitlines()
    knarr("pull", "-q", f"{fake.host}/app:1")
    again = knarr("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().splitlines()
    assert f"{fake.host}/app:1" in again
    assert f"{fake.host}/app:<none>" not in again


def test_a_repository_and_digest_are_a_name_that_can_go(
    home: Path, knarr: Command, fake: FakeRegistry
) -> None:
    put_image(fake, "1", [layer("a")])
    digest = next(name for name in fake.manifests if name.startswith("sha256:"))
    name = f"{fake.host}/app@{digest}"
    knarr("pull", "-q", name)
    knarr("tag", name, "mine:1")
    assert knarr("rmi", name).stdout.decode() == f"Untagged: {name}\n"
    listed = knarr("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.decode().split()
    assert [each for each in listed if each != "busybox:latest"] == ["mine:1"]
    knarr("pull", "-q", name)
    knarr("rmi", "mine:1")
    last = knarr("rmi", name).stdout.decode().splitlines()
    assert last[0] == f"Untagged: {name}"
    assert last[1].startswith("Deleted: sha256:")
    assert knarr("images", "--format", "{{.Repository}}").stdout.decode().split() == ["busybox"]
