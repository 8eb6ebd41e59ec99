from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr.config import Settings
from tests.support.registries import Client, sha256

if TYPE_CHECKING:
    from tests.conftest import Command
    from tests.integration.registryd.conftest import Served

    Serve = Callable[..., Served]

DATA = os.urandom(3_000_000)
DIGEST = sha256(DATA)


@pytest.fixture(params=["on", "off"])
def environment(environment: dict[str, str], request: pytest.FixtureRequest) -> dict[str, str]:
    """With the command server and without."""
    return {**environment, "KNARR_SERVER": request.param}


def test_it_serves_below_the_root_and_ends_when_told(serve: Serve, settings: Settings) -> None:
    served = serve()
    assert served.said == f"Serving {settings.data_root}/registry on http://127.0.0.1:{served.port}"
    client = Client(served.port)
    client.push_image("team/app", "v1")
    client.close()
    assert served.end() == 0
    again = serve()
    client = Client(again.port)
    assert client("GET", "/v2/team/app/tags/list").json["tags"] == ["v1"]
    client.close()
    assert again.end(signal.SIGINT) == 0


def test_a_request_under_way_is_finished(serve: Serve) -> None:
    served = serve()
    head = b"POST /v2/a/blobs/uploads/?digest=%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n"
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as link:
        link.sendall(head % (DIGEST.encode(), len(DATA)) + DATA[:1000])
        served.process.send_signal(signal.SIGTERM)
        link.sendall(DATA[1000:])
        assert link.recv(1000).startswith(b"HTTP/1.1 201")
    assert served.process.wait(30) == 0


def test_a_second_signal_ends_it_at_once(serve: Serve) -> None:
    served = serve()
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as link:
        link.sendall(b"POST /v2/a/blobs/uploads/ HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n1")
        served.process.send_signal(signal.SIGTERM)
        # Refused as soon as the first signal has been heard.
        while True:
            try:
                socket.create_connection(("127.0.0.1", served.port), timeout=30).close()
            except (ConnectionRefusedError, ConnectionResetError):
                break
        assert served.end() == -signal.SIGTERM


def test_killed_in_the_middle_of_a_push_it_goes_on_where_it_was(
    serve: Serve, settings: Settings
) -> None:
    served = serve()
    client = Client(served.port)
    where = client("POST", "/v2/a/blobs/uploads/", b"").header("Location")
    client("PATCH", where, DATA[:1_000_000])
    with socket.create_connection(("127.0.0.1", served.port), timeout=30) as link:
        head = f"PATCH {where} HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"
        link.sendall(head.encode() + DATA[1_000_000:1_500_000])
        while client("GET", where).header("Range") != "0-1499999":
            pass
        worker = _listener(served.port)
        os.kill(worker, signal.SIGKILL)
    served.process.wait(30)
    client.close()
    again = serve()
    client = Client(again.port)
    assert client("GET", where).header("Range") == "0-1499999"
    got = client("PUT", f"{where}?digest={DIGEST}", DATA[1_500_000:])
    assert got.status == 201
    assert client("GET", f"/v2/a/blobs/{DIGEST}").body == DATA
    client.close()


def _listener(port: int) -> int:
    """Return the pid of the process that listens on a port of the loopback."""
    wanted = ""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        words = line.split()
        if words[1].endswith(f":{port:04X}") and words[3] == "0A":
            wanted = f"socket:[{words[9]}]"
    assert wanted
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(os.readlink(fd) == wanted for fd in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue
    raise AssertionError(f"nobody listens on {port}")


def test_killed_at_any_moment_what_was_acknowledged_is_there(serve: Serve) -> None:
    for turn in range(4):
        served = serve()
        pushed: list[str] = []
        ended = threading.Event()

        def push(pushed: list[str], port: int, ended: threading.Event, name: str) -> None:
            client = Client(port)
            try:
                for number in range(1000):
                    pushed.append(client.push_image(name, f"t{number}", annotations={"n": name})[0])
                    if number == 5:
                        ended.set()
            except (OSError, AssertionError):
                pass  # killed
            except Exception:  # http.client's own
                pass
            finally:
                client.close()

        thread = threading.Thread(target=push, args=(pushed, served.port, ended, f"r{turn}"))
        thread.start()
        assert ended.wait(60)
        os.kill(_listener(served.port), signal.SIGKILL)
        served.process.wait(30)
        thread.join()
        again = serve()
        client = Client(again.port)
        for number in range(len(pushed)):
            got = client("GET", f"/v2/r{turn}/manifests/t{number}")
            assert sha256(got.body) == pushed[number]
            for layer in got.json["layers"]:
                found = client("GET", f"/v2/r{turn}/blobs/{layer['digest']}")
                assert sha256(found.body) == layer["digest"]
        client.close()
        assert again.end() == 0


def test_a_unix_socket(serve: Serve, tmp_path: Path) -> None:
    served = serve(listen=f"unix://{tmp_path}/s")
    assert served.said.endswith(f"on unix://{tmp_path}/s")
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(f"{tmp_path}/s")
        link.sendall(b"GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert link.recv(1000).startswith(b"HTTP/1.1 200")
    assert served.end() == 0
    assert not os.path.exists(f"{tmp_path}/s")


def test_requests_are_logged(serve: Serve, tmp_path: Path) -> None:
    served = serve()
    client = Client(served.port)
    client("GET", "/v2/%1b%5b2Jx/tags/list")
    client("GET", "/v2/team/%C3%A4/tags/list")
    client.close()
    served.end()
    log = (tmp_path / "registry.log").read_text()
    assert " 127.0.0.1 - GET /v2/team/ä/tags/list 400 " in log
    assert "\x1b" not in log


def test_gc(serve: Serve, knarr: Command) -> None:
    assert b"there is none" in knarr("registry", "gc").stderr
    served = serve()
    client = Client(served.port)
    digest = client.push_blob("a", DATA)
    client("DELETE", f"/v2/a/blobs/{digest}")
    loose = client.push_blob("a", b"loose")
    client.close()
    said = knarr("registry", "gc", "--dry-run").stdout.decode()
    assert said == f"Would delete: {digest} (3MB)\nSpace to reclaim: 3MB\n"
    said = knarr("registry", "gc").stdout.decode()
    assert said == f"Deleted: {digest} (3MB)\nTotal reclaimed space: 3MB\n"
    said = knarr("registry", "gc", "--grace", "0", "-q").stdout.decode()
    assert said == "Total reclaimed space: 5B\n"
    assert loose


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--listen", "nowhere"), "want HOST:PORT"),
        (("--tls-key", "x"), "need --tls-cert"),
        (("--tls-cert", "/none"), "No such file"),
        (("--htpasswd", "/none"), "No such file"),
        (("--mutable-tag", "x"), "exceptions"),
        (("--gc-every", "1ms"), "at least one second"),
        (("--quota", "team=x"), "--quota team=x: "),
        (("--access", "x"), "--access needs --htpasswd"),
        (("--anonymous-pull",), "--anonymous-pull needs --htpasswd"),
        (("--htpasswd", "x", "--access", "y", "--anonymous-pull"), 'pull = ["anonymous"]'),
        (("--htpasswd", "x", "--token-realm", "here"), "want https://HOST/token"),
        (("--max-connections", "1"), "--max-connections 1: from 8 to 4096"),
        (("--webhook", "ftp://x"), "--webhook ftp://x: want http://"),
        (("--proxy", "A=b"), "cannot begin a repository's name"),
        (("extra",), "accepts no arguments"),
    ],
)
def test_what_is_wrong_is_said(knarr: Command, words: tuple[str, ...], said: str) -> None:
    done = knarr("registry", "serve", *words)
    assert done.returncode in (1, 125)
    assert said in done.stderr.decode()


def test_an_address_and_a_directory_in_use(serve: Serve, knarr: Command, tmp_path: Path) -> None:
    served = serve()
    taken = f"127.0.0.1:{served.port}"
    done = knarr("registry", "serve", "--root", str(tmp_path / "r"), "--listen", taken)
    assert done.stderr.decode() == f"Error: address {taken}: Address already in use\n"
    done = knarr("registry", "serve", "--listen", "127.0.0.1:0")
    assert "another process serves it already" in done.stderr.decode()


def test_a_mirror_of_this_machine_does_not_ask_itself(
    serve: Serve, knarr: Command, environment: dict[str, str], tmp_path: Path
) -> None:
    """hosts.toml names our registry as the mirror of one whose copies it has."""
    upstream = serve("--root", str(tmp_path / "upstream"))
    host = f"127.0.0.1:{upstream.port}"
    folder = tmp_path / "certs.d" / host
    folder.mkdir(parents=True)
    environment["KNARR_CERTS_D"] = str(tmp_path / "certs.d")
    assert knarr("tag", "busybox", f"{host}/team/busybox:v1").returncode == 0
    pushed = knarr("push", "-q", f"{host}/team/busybox:v1")
    assert pushed.returncode == 0, pushed.stderr
    assert knarr("rmi", "-f", "busybox", f"{host}/team/busybox:v1").returncode == 0
    mirror = serve("--root", str(tmp_path / "mirror"), "--proxy", f"up={host}")
    (folder / "hosts.toml").write_text(
        f'server = "http://{host}"\n[host."http://127.0.0.1:{mirror.port}"]\n'
        'capabilities = ["pull", "resolve"]\n'
    )
    pulled = knarr("pull", "-q", f"{host}/team/busybox:v1")
    assert pulled.returncode == 0, pulled.stderr
    upstream.end()
    client = Client(mirror.port)
    got = client("GET", "/v2/up/team/busybox/manifests/v1")
    assert got.status == 200
    for each in (got.json["config"], *got.json["layers"]):
        found = client("GET", f"/v2/up/team/busybox/blobs/{each['digest']}")
        assert sha256(found.body) == each["digest"]
    client.close()


@pytest.mark.parametrize("how", [(), ("--tokens",), ("--anonymous-pull",)])
def test_users_log_in_push_and_pull(
    serve: Serve, knarr: Command, environment: dict[str, str], tmp_path: Path, how: tuple[str, ...]
) -> None:
    from knarr.registryd.htpasswd import Crypt

    environment["DOCKER_CONFIG"] = str(tmp_path / "docker")
    hashed = Crypt()("secret", "$2y$05$abcdefghijklmnopqrstuu")
    (tmp_path / "users").write_text(f"alice:{hashed}\n")
    served = serve("--htpasswd", str(tmp_path / "users"), *how)
    name = f"127.0.0.1:{served.port}/team/busybox:v1"
    knarr("tag", "busybox", name)
    assert knarr("push", "-q", name).returncode == 1
    login = ("login", "-u", "alice", "--password-stdin", f"127.0.0.1:{served.port}")
    assert knarr(*login, stdin=b"wrong").returncode == 1
    done = knarr(*login, stdin=b"secret")
    assert done.returncode == 0, done.stderr
    done = knarr("push", "-q", name)
    assert done.returncode == 0, done.stderr
    knarr("rmi", "-f", "busybox", name)
    done = knarr("pull", "-q", name)
    assert done.returncode == 0, done.stderr
    knarr("logout", f"127.0.0.1:{served.port}")
    assert knarr("pull", "-q", name).returncode == ("--anonymous-pull" not in how)
    knarr("tag", "busybox", f"{name}2")
    assert knarr("push", "-q", f"{name}2").returncode == 1
    log = (tmp_path / "registry.log").read_text()
    assert " 127.0.0.1 alice PUT /v2/team/busybox/manifests/v1 201 " in log
