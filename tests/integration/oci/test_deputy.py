"""``create`` and ``run --detach`` by a server: the container is the caller's child all the same."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ociserver, processes
from tests.support.bundles import Oci
from tests.support.ociserver import UNSERVED, Server
from tests.support.waiting import PATIENCE, wait_until

PR_SET_CHILD_SUBREAPER = 36
SLEEP = ("sleep", "1000")


@pytest.fixture
def served(served: Server) -> Server:
    """A server whose callers can make a container's process."""
    ociserver.need_clones()
    return served


@pytest.fixture
def subreaper() -> Iterator[None]:
    """Have orphans of this process become its children, as conmon and containerd's shim do."""
    prctl = ctypes.CDLL(None).prctl
    assert prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    yield
    assert prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


def made(served: Server, *words: str, **options: Any) -> tuple[int, str]:
    """Return status and error output of a command that leaves a process with its streams."""
    null = subprocess.DEVNULL
    with served.call(*words, stdin=null, stdout=null, stderr=subprocess.PIPE, **options) as caller:
        assert caller.stderr is not None
        # A container's process keeps the stream: what is said before the caller ends counts.
        caller.wait(PATIENCE)
        os.set_blocking(caller.stderr.fileno(), False)
        return caller.returncode, (caller.stderr.read() or b"").decode()


def created(served: Server, oci: Oci, bundle: Path, name: str, *words: str) -> int:
    """Return the pid of a container that a worker has created."""
    assert made(served, "create", "-b", str(bundle), *words, name) == (0, "")
    return int(oci.state(name)["pid"])


@pytest.mark.usefixtures("subreaper")
def test_it_is_the_childs_of_who_called(served: Server, oci: Oci) -> None:
    name = oci.name("mine")
    pid = created(served, oci, oci.bundle("sh", "-c", "exit 7"), name)
    assert processes.children(os.getpid()).count(pid) == 1
    assert served("start", name) == (0, "", "")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    assert served("delete", name) == (0, "", "")


@pytest.mark.usefixtures("subreaper")
def test_detached_too(served: Server, oci: Oci) -> None:
    name = oci.name("away")
    assert made(served, "run", "-d", "-b", str(oci.bundle(*SLEEP)), name) == (0, "")
    pid = int(oci.state(name)["pid"])
    assert pid in processes.children(os.getpid())
    assert served("delete", "--force", name) == (0, "", "")
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL


LOOK = f"""{ociserver.LOOK}
sed 's/^[0-9]* [0-9]* [0-9]*:[0-9]*//; s/master:[0-9]*//' /proc/self/mountinfo | grep -v ' /run/'
ls -l /dev | cut -c1-40; hostname"""
CHANGES: dict[str, dict[str, Any]] = {
    "as it is": {},
    "mounts": {
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/srv", "type": "none", "source": "/etc", "options": ["rbind", "rro"]},
            {"destination": "/mnt", "type": "bind", "source": "/usr", "options": ["bind", "ro"]},
            {"destination": "/tmp", "type": "tmpfs", "source": "t", "options": ["size=1m"]},
        ]
    },
    "a user namespace": {
        "linux": {
            "namespaces": [
                {"type": kind} for kind in ("user", "pid", "ipc", "uts", "mount", "network")
            ],
            "uidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
            "gidMappings": [{"containerID": 0, "hostID": 100000, "size": 65536}],
        }
    },
    "a filter": {
        "linux": {
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["chroot"], "action": "SCMP_ACT_ERRNO"}],
            }
        }
    },
    "a user by number": {
        "process": {
            "user": {"uid": 12, "gid": 34, "additionalGids": [5, 6], "umask": 7},
            "cwd": "/",
            "env": ["PATH=/bin", *(f"V{number}={'v' * number * 40}" for number in range(60))],
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
            "oomScoreAdj": 77,
        }
    },
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize(
    "prepared", [[], ["nice", "-n", "5", "prlimit", "--core=0", "taskset", "-c", "0"]], ids=str
)
def test_it_is_as_the_plain_command_makes_it(
    served: Server, oci: Oci, tmp_path: Path, what: str, prepared: list[str]
) -> None:
    bundle = oci.bundle("sh", "-c", LOOK, **CHANGES[what])
    said, name = [], oci.name("one")
    for server in ("off", ""):
        # Through the script, which starts the client from a file that nobody can write to.
        environment = {**served.environment, "KNARR_SERVER": server}
        line = [*prepared, str(served.script), "--root", str(served.root)]
        out = tmp_path / f"out{server}"
        with out.open("w") as file:
            subprocess.run(
                [*line, "create", "-b", str(bundle), name],
                env=environment, stdin=subprocess.DEVNULL, stdout=file, stderr=file, check=True,
                timeout=PATIENCE, umask=0o22,
            )  # fmt: skip
        wait_until(lambda: oci.state(name)["status"] == "created")
        pid = oci.state(name)["pid"]
        assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY
        oci("start", name)
        wait_until(lambda: oci.state(name)["status"] == "stopped")
        oci("delete", name)
        said.append(out.read_text())
    assert "Max open files" in said[0]
    assert said[0] == said[1]


def test_namespaces_by_path(served: Server, oci: Oci) -> None:
    first = oci.name("first")
    pid = created(served, oci, oci.bundle(*SLEEP), first)
    kinds = ("network", "ipc", "uts", "pid")
    files = {"network": "net"}
    given = [{"type": kind, "path": f"/proc/{pid}/ns/{files.get(kind, kind)}"} for kind in kinds]
    second = oci.name("second")
    bundle = oci.bundle(*SLEEP, hostname="", linux={"namespaces": [*given, {"type": "mount"}]})
    other = created(served, oci, bundle, second)
    for kind in ("net", "ipc", "uts", "pid"):
        assert os.readlink(f"/proc/{other}/ns/{kind}") == os.readlink(f"/proc/{pid}/ns/{kind}")
    wrong = [{"type": "network", "path": "/etc/passwd"}, {"type": "mount"}]
    nowhere = oci.bundle(*SLEEP, hostname="", linux={"namespaces": wrong})
    said = "knarr-oci: linux.namespaces: /etc/passwd: is no namespace, not of kind network\n"
    assert made(served, "create", "-b", str(nowhere), oci.name("third")) == (1, said)
    for name in (second, first):
        oci("delete", "--force", name)


def test_what_fails_says_the_same_and_leaves_nothing(
    served: Server, oci: Oci, tmp_path: Path
) -> None:
    for changes in (
        {"process": {"args": ["/nosuch"]}},
        {"mounts": [{"destination": "/x", "type": "nosuch", "source": "x"}]},
        {"linux": {"sysctl": {"net.nosuch": "1"}}},
        {"root": {"path": "/nosuch"}},
    ):
        line = [str(served.script), "--root", str(served.root), "create"]
        line += ["-b", str(oci.bundle("true", **changes)), oci.name("fails")]
        answers = []
        for server in ("off", ""):
            with (tmp_path / "said").open("w+") as said:
                done = subprocess.run(
                    line, env={**served.environment, "KNARR_SERVER": server}, stdout=said,
                    stderr=said, stdin=subprocess.DEVNULL, check=False, timeout=PATIENCE,
                )  # fmt: skip
                said.seek(0)
                answers.append((done.returncode, said.read()))
        assert answers[0] == answers[1]
        assert answers[0][0] == 1
        assert oci("list", "-q") == ""


def test_only_standard_descriptors(served: Server, oci: Oci, tmp_path: Path) -> None:
    """Nor does the process that waits keep open what its caller had: a reader waits for that."""
    name = oci.name("fds")
    reader, writer = os.pipe()
    pid = created_with(served, oci, oci.bundle("sh", "-c", "ls /proc/self/fd >/said"), name, writer)
    os.close(writer)
    assert os.read(reader, 1) == b""
    os.close(reader)
    oci("start", name)
    wait_until(lambda: oci.state(name)["status"] == "stopped")
    assert (oci.rootfs / "said").read_text().split() == ["0", "1", "2", "3"]
    (oci.rootfs / "said").unlink()
    oci("delete", name)
    assert pid


def created_with(served: Server, oci: Oci, bundle: Path, name: str, fd: int) -> int:
    assert made(served, "create", "-b", str(bundle), name, pass_fds=[fd]) == (0, "")
    return int(oci.state(name)["pid"])


def test_hooks(served: Server, oci: Oci, tmp_path: Path) -> None:
    kinds = ("createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    text = f"cat >>{tmp_path}/told; echo >>{tmp_path}/told"
    bundle = oci.bundle("true")
    inside = {"path": "/bin/true"}
    outside = {"path": "/bin/sh", "args": ["sh", "-c", text]}
    hooks = {kind: [inside if kind == "startContainer" else outside] for kind in kinds}
    oci.change(bundle, lambda config: config.update(hooks=hooks))
    name = oci.name("hooks")
    created(served, oci, bundle, name)
    assert served("start", name) == (0, "", "")
    wait_until(lambda: oci.state(name)["status"] == "stopped")
    assert served("delete", name) == (0, "", "")
    told = [json.loads(line) for line in (tmp_path / "told").read_text().splitlines()]
    assert [each["status"] for each in told] == ["creating", "creating", "running", "stopped"]


def test_waits_in_little_memory(served: Server, oci: Oci) -> None:
    """It shares nothing with an interpreter: what it needs of the program are copies of pages."""
    name = oci.name("small")
    pid = created(served, oci, oci.bundle(*SLEEP), name)
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    size = next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:"))
    assert size < 1024  # KiB
    oci("delete", "--force", name)


@pytest.mark.parametrize("who", ["caller", "worker"])
def test_killed_while_it_makes_a_container(
    served: Server, oci: Oci, tmp_path: Path, who: str
) -> None:
    name, bundle = oci.name("half"), oci.bundle(*SLEEP)
    os.mkfifo(tmp_path / "fifo")
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo $$ >{tmp_path}/fifo; exec sleep 1000"]}
    oci.change(bundle, lambda config: config.update(hooks={"createRuntime": [hook]}))
    with served.call("create", "-b", str(bundle), name) as caller:
        with (tmp_path / "fifo").open() as fifo:
            at_hook = int(fifo.readline())
        pid = oci.state(name)["pid"]
        end = Path(f"/proc/{pid}")
        (worker,) = served.workers()
        os.kill(caller.pid if who == "caller" else worker, signal.SIGKILL)
        caller.wait(PATIENCE)
        os.kill(at_hook, signal.SIGKILL)
    wait_until(lambda: not served.workers())
    wait_until(lambda: not end.exists())
    assert served("delete", "--force", name) == (0, "", "")
    assert oci("list", "-q") == ""


@pytest.mark.parametrize(
    "linux",
    [
        {"namespaces": [{"type": "pid"}]},  # the caller's mount namespace
        {"namespaces": [{"type": "mount"}, {"type": "time"}]},
    ],
    ids=["mounts", "time"],
)
def test_what_only_the_command_itself_can_do(
    served: Server, oci: Oci, linux: dict[str, Any]
) -> None:
    bundle = oci.bundle(
        "true", hostname="", linux={"readonlyPaths": [], "maskedPaths": [], **linux}
    )
    assert made(served, "create", "-b", str(bundle), oci.name("x")) == (UNSERVED, "")
    assert oci("list", "-q") == ""


def test_many_at_once(served: Server, oci: Oci) -> None:
    bundle = str(oci.bundle(*SLEEP))
    null = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    names = [oci.name(f"m{number}") for number in range(8)]
    callers = [served.call("create", "-b", bundle, name, **null) for name in names]
    assert [caller.wait(PATIENCE) for caller in callers] == [0] * 8
    assert {oci.state(name)["status"] for name in names} == {"created"}
    for name in names:
        assert served("delete", "--force", name) == (0, "", "")


if sys.byteorder != "little":  # as the thin command's numbers are
    pytestmark = pytest.mark.skip("no thin command for this machine")
