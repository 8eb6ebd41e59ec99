"""What a worker of ``knarr-oci server`` leaves to its caller, and that this does it then."""

from __future__ import annotations

import os
import secrets
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci
from tests.support.ociserver import UNSERVED, Server
from tests.support.waiting import PATIENCE


@pytest.fixture
def server(served: Server) -> Server:
    """A server that listens."""
    return served


def called(server: Server, before: list[str], *words: str, **options: Any) -> int:
    """Return the status of a caller behind these words."""
    chosen = {"stdin": subprocess.DEVNULL, "env": server.environment, **options}
    line = [*before, *server.words(*words)]
    return subprocess.run(line, check=False, timeout=PATIENCE, **chosen).returncode


OTHERS = {
    "network": ["unshare", "--net"],
    "mounts": ["unshare", "--mount"],
    "host name": ["unshare", "--uts"],
    "messages": ["unshare", "--ipc"],
    "control groups": ["unshare", "--cgroup"],
    "processes": ["unshare", "--pid", "--fork"],
    "times": ["unshare", "--time", "--fork"],
    "users": ["unshare", "--user", "--map-root-user"],
    "fewer capabilities": ["setpriv", "--bounding-set", "-net_raw"],
    "inheritable capabilities": ["setpriv", "--inh-caps", "+chown"],
    "no new privileges": ["setpriv", "--no-new-privs"],
    "group": ["setpriv", "--groups", "4"],
    "another user's": ["setpriv", "--egid", "65534", "--clear-groups"],
    "batches": ["chrt", "--batch", "0"],
    "idle": ["chrt", "--idle", "0"],
    "real time": ["chrt", "--rr", "1"],
    "input and output": ["ionice", "-c", "3"],
    "personality": ["setarch", "--addr-no-randomize"],
    "dumps": ["sh", "-c", 'echo 0x7 >/proc/self/coredump_filter; exec "$@"', "sh"],
}


@pytest.mark.parametrize("what", OTHERS)
def test_callers_that_are_not_as_a_worker_is(server: Server, what: str) -> None:
    probe = subprocess.run([*OTHERS[what], "true"], capture_output=True, text=True, check=False)
    if probe.returncode:
        pytest.skip(f"not here: {probe.stderr.strip()}")
    assert called(server, OTHERS[what], "list") == UNSERVED
    assert called(server, [], "list") == 0


def test_caller_with_a_filter(server: Server) -> None:
    """What a filter denies to a hook it has to deny (seccomp(2))."""
    script = (
        "import ctypes, os, struct, sys; allow = struct.pack('HBBI', 6, 0, 0, 0x7FFF0000);"
        "code = ctypes.create_string_buffer(allow);"
        "program = ctypes.create_string_buffer(struct.pack('HxxxxxxQ', 1, ctypes.addressof(code)));"
        "assert ctypes.CDLL(None).prctl(22, 2, program) == 0; os.execv(sys.argv[1], sys.argv[1:])"
    )
    assert called(server, ["python3", "-c", script], "list") == UNSERVED


def test_caller_in_another_root(server: Server, tmp_path: Path) -> None:
    inside = tmp_path / "root"
    inside.mkdir()
    line = [
        "unshare", "--mount", "sh", "-c",
        f'mount --rbind / {inside} && exec chroot {inside} "$@"', "sh",
    ]  # fmt: skip
    assert called(server, line, "list") == UNSERVED


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--help",),
        ("--version",),
        ("run", "--help"),
        ("list", "-h"),
        ("exec", "x", "true"),
        ("ps", "x"),
        ("events", "x"),
        ("update", "x"),
        ("features",),
        ("spec",),
        ("server",),
        ("nonsense",),
        ("list", "--nonsense"),
        ("--nonsense", "list"),
        ("--cgroup-manager", "disabled", "list"),
        ("run", "--preserve-fds", "1", "x"),
        ("run", "--console-socket", "/nowhere", "x"),
    ],
)
def test_words_that_are_the_callers_own_affair(server: Server, words: tuple[str, ...]) -> None:
    assert server(*words)[0] == UNSERVED


def run_with(server: Server, oci: Oci, act: Callable[[dict[str, Any]], object], **more: Any) -> int:
    bundle = oci.bundle("true")
    oci.change(bundle, act)
    return called(server, [], "run", "-b", str(bundle), oci.name(secrets.token_hex(4)), **more)


def test_terminal(server: Server, oci: Oci) -> None:
    """Its size is that of the caller's, who is told when it changes."""
    assert run_with(server, oci, lambda config: config["process"].update(terminal=True)) == UNSERVED
    assert run_with(server, oci, lambda config: config["process"].update(terminal=False)) == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_words_that_are_written_otherwise(
    server: Server, oci: Oci, group: Path, encoding: str
) -> None:
    """What is looked for in a bundle is found as it is read."""
    bundle = oci.bundle("true")
    oci.change(bundle, lambda config: config.update(hooks={"poststop": [{"path": "/bin/true"}]}))
    config = bundle / "config.json"
    config.write_text(config.read_text().replace('"hooks"', r'"\u0068ooks"'), encoding)
    there = ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"]
    assert called(server, there, "run", "-b", str(bundle), oci.name("a")) == UNSERVED


def test_descriptors_of_a_listener(server: Server, oci: Oci) -> None:
    environment = {**server.environment, "LISTEN_FDS": "1"}
    assert run_with(server, oci, lambda _: None, env=environment) == UNSERVED
    assert run_with(server, oci, lambda _: None) == 0


@pytest.fixture
def group() -> Iterator[Path]:
    """Another control group of the hierarchy in which there is least to be counted."""
    top = Path("/sys/fs/cgroup")
    names = ("freezer", "pids", "unified", ".")
    where = next(top / name for name in names if (top / name / "cgroup.procs").exists())
    made = where / f"t{secrets.token_hex(6)}"
    made.mkdir()
    yield made
    made.rmdir()


def test_hooks_of_a_caller_in_another_group(server: Server, oci: Oci, group: Path) -> None:
    """They stay in the group of who starts them; a container without any has its own."""
    hook = {"hooks": {"poststart": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true"}]}}
    plain, hooked = oci.bundle("true"), oci.bundle("true")
    oci.change(hooked, lambda config: config.update(hook))
    there = ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"]
    run = ("run", "-b", str(hooked))
    assert called(server, [], *run, oci.name("a")) == 0
    assert called(server, there, *run, oci.name("b")) == UNSERVED
    name = oci.name("c")
    oci("create", "-b", str(hooked), name)
    assert called(server, there, "start", name) == UNSERVED
    assert called(server, [], "start", name) == 0
    assert called(server, there, "delete", "--force", name) == UNSERVED
    assert called(server, [], "delete", "--force", name) == 0
    assert called(server, there, "list") == 0
    if group.parent.name not in ("unified", "."):
        assert called(server, there, "run", "-b", str(plain), oci.name("d")) == 0


def test_hooks_of_a_caller_with_signals_blocked(server: Server, oci: Oci) -> None:
    """They have them blocked; and a program in the foreground gets all signals but those."""
    blocking = [
        "python3", "-c", ("import os, signal, sys; signal.pthread_sigmask(0, [10]);"
                          "os.execvp(sys.argv[1], sys.argv[1:])"),
    ]  # fmt: skip
    plain, hooked = oci.bundle("true"), oci.bundle("true")
    hook = {"hooks": {"poststop": [{"path": "/bin/true"}]}}
    oci.change(hooked, lambda config: config.update(hook))
    assert called(server, blocking, "run", "-b", str(plain), oci.name("a")) == UNSERVED
    oci("create", "-b", str(hooked), oci.name("b"))
    assert called(server, blocking, "delete", "--force", oci.name("b")) == UNSERVED
    assert called(server, [], "delete", "--force", oci.name("b")) == 0
    oci("create", "-b", str(plain), oci.name("c"))
    assert called(server, blocking, "delete", "--force", oci.name("c")) == 0


def test_container_of_a_caller_in_another_group_of_v2(server: Server, oci: Oci) -> None:
    """On a hybrid machine a container need not join one: it stays in that of its caller."""
    top = Path("/sys/fs/cgroup/unified")
    if not (top / "cgroup.procs").exists():
        pytest.skip("this machine is not hybrid")
    bundle = oci.bundle("true")
    group = top / oci.name("other")
    group.mkdir()
    there = ["sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"]
    status = called(server, there, "run", "-b", str(bundle), oci.name("apart"))
    group.rmdir()
    assert status == UNSERVED


def test_signals_that_the_caller_ignores(server: Server, oci: Oci) -> None:
    """The command itself passes them on to the program; the client does not get to know them."""
    line = ["sh", "-c", 'trap "" QUIT; exec "$@"', "sh"]
    assert called(server, line, "list") == 0
    words = ("run", "-b", str(oci.bundle("true")), oci.name("deaf"))
    assert called(server, line, *words) == UNSERVED
    assert called(server, [], *words) == 0


def test_one_of_the_standard_descriptors_is_closed(server: Server) -> None:
    for closed in range(3):
        line = ["sh", "-c", f'exec "$@" {closed}>&-', "sh"]
        assert called(server, line, "list") == UNSERVED


def test_off_is_off(server: Server) -> None:
    environment = {**server.environment, "KNARR_SERVER": "off"}
    assert called(server, [], "list", env=environment) == UNSERVED
    environment["KNARR_SERVER"] = "start"
    assert called(server, [], "list", env=environment) == 0


def test_arguments_and_environment_that_fit_no_packet(server: Server) -> None:
    large = {f"V{number}": "x" * 100_000 for number in range(6)}
    assert called(server, [], "list", env={**server.environment, **large}) == UNSERVED


@pytest.mark.parametrize("words", [["unshare", "--uts"], ["chrt", "--batch", "0"], []])
def test_the_caller_does_it_then(server: Server, oci: Oci, words: list[str]) -> None:
    """By the script: what the client executes is the command as if there were no server."""
    bundle = oci.bundle("sh", "-c", "read word; echo $word; exit 5")
    line = [*words, str(server.script), "--root", str(server.root), "run", "-b", str(bundle)]
    done = subprocess.run(
        [*line, oci.name("itself")],
        input=b"word\n", env=server.environment, capture_output=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (5, b"word\n", b"")
    assert oci("list", "-q") == ""


def test_limits_that_a_worker_may_not_have(server: Server, oci: Oci) -> None:
    """Without CAP_SYS_RESOURCE nobody raises a limit again: the caller's own is higher there."""
    low = Server(server.script.parents[1], server.directory.parent / "low", oci.root)
    words = ("prlimit", "--core=0:0", "setpriv", "--bounding-set", "-sys_resource")
    low.up(*words)
    drop = list(words[2:])
    assert called(low, drop, "list") == UNSERVED
    assert called(low, list(words), "list") == 0
    low.close()


def test_another_installation(server: Server, tmp_path: Path) -> None:
    """Whose python is another: its package may be."""
    python = str(server.script.parent / "python3")
    line = [str(tmp_path / "python3") if word == python else word for word in server.words("list")]
    (tmp_path / "python3").symlink_to(os.path.realpath(python))
    done = subprocess.run(line, env=server.environment, check=False, timeout=PATIENCE)
    assert done.returncode == UNSERVED
