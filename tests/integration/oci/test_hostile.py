"""What nobody means well with: callers, images and moments that a served command meets."""

from __future__ import annotations

import os
import platform
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import ociserver, processes
from tests.support.bundles import Oci
from tests.support.ociserver import UNSERVED, Server
from tests.support.waiting import PATIENCE, wait_until

SLEEP = ("sleep", "1000")


@pytest.fixture
def served(served: Server) -> Server:
    """A server whose callers can make a container's process."""
    ociserver.need_clones()
    return served


def created(served: Server, line: list[str]) -> int:
    """Return the status of a command that leaves a process with its streams."""
    null = subprocess.DEVNULL
    with subprocess.Popen(line, env=served.environment, stdin=null, stdout=null) as caller:
        return caller.wait(PATIENCE)


def test_nobody_writes_to_the_file_of_what_waits(served: Server, oci: Oci) -> None:
    """An image may have that executed, as /proc/self/exe, and have it open afterwards."""
    name, bundle = oci.name("self"), str(oci.bundle(*SLEEP))
    line = served.words("create", "-b", bundle, name)
    assert created(served, line) == 0
    pid = oci.state(name)["pid"]
    assert processes.name(pid) == "knarr-oci"
    assert os.statvfs(f"/proc/{pid}/exe").f_flag & os.ST_RDONLY
    oci("delete", "--force", name)
    # Not started from a clone, as on a kernel that makes none.
    assert created(served, line[2:]) == UNSERVED
    assert oci("list", "-q") == ""


def test_more_descriptors_than_one_packet_closes(served: Server, oci: Oci) -> None:
    """The thin command carries out what it was sent, and nothing that stands behind."""
    name = oci.name("many")
    words = served.words("create", "-b", str(oci.bundle(*SLEEP)), name)
    script = "import os, sys; [os.set_inheritable(os.dup(0), True) for _ in range(700)]"
    script += "; os.execv(sys.argv[1], sys.argv[1:])"
    assert created(served, [sys.executable, "-c", script, *words]) == 0
    assert len(os.listdir(f"/proc/{oci.state(name)['pid']}/fd")) < 50
    oci("delete", "--force", name)


@pytest.mark.parametrize("limit", ["--fsize=1000000", "--data=16000000"])
def test_limits_that_a_worker_cannot_do_with(served: Server, oci: Oci, limit: str) -> None:
    """What that makes of the command is what it makes of the plain one."""
    words = served.words("create", "-b", str(oci.bundle(*SLEEP)), oci.name("limited"))
    assert created(served, ["prlimit", limit, *words]) == UNSERVED
    assert oci("list", "-q") == ""


def test_caller_that_is_killed_when_the_process_is_at_its_gate(
    served: Server, oci: Oci, tmp_path: Path
) -> None:
    """The process that waits there does not keep the worker waiting, with the container's lock."""
    name, bundle = oci.name("half"), oci.bundle(*SLEEP)
    for fifo in ("here", "go"):
        os.mkfifo(tmp_path / fifo)
    text = f"echo here >{tmp_path}/here; read word <{tmp_path}/go"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", text]}
    oci.change(bundle, lambda config: config.update(hooks={"createRuntime": [hook]}))
    with served.call("create", "-b", str(bundle), name) as caller:
        assert (tmp_path / "here").read_text() == "here\n"
        caller.send_signal(signal.SIGSTOP)
        pid = oci.state(name)["pid"]
        (tmp_path / "go").write_text("on\n")
        wait_until(lambda: len(sockets(pid)) < len(sockets(caller.pid)))
        caller.kill()
        caller.wait(PATIENCE)
    wait_until(lambda: not served.workers())
    assert served("delete", "--force", name) == (0, "", "")
    assert oci("list", "-q") == ""


def sockets(pid: int) -> list[str]:
    """Return the sockets that a process has open."""
    folder = Path(f"/proc/{pid}/fd")
    return [str(fd) for fd in folder.iterdir() if os.readlink(fd).startswith("socket:")]


REUSED = r"""
import os, socket, sys
script, root, directory, *before = sys.argv[1:]
def next_is(number):
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(number - 1))
say, hear = socket.socketpair()
pid = os.fork()
if pid == 0:
    call = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    call.connect(directory + "/command.sock")
    socket.send_fds(say, [b"x"], [call.fileno()])
    os._exit(0)
_, (fd,), _, _ = socket.recv_fds(hear, 1, 1)
os.waitpid(pid, 0)
call = socket.socket(fileno=fd)
assert call.recv(1) == b"H"
next_is(pid)
other = os.fork()
if other == 0:
    os.execv("/bin/sleep", ["sleep", "1000"])
assert other == pid
python = before[0]
info = os.stat("/")
words = ["knarr/1", python, f"{info.st_dev}:{info.st_ino}"]
words += [os.readlink(f"/proc/self/ns/{kind}") for kind in ("mnt", "user")]
words += ["18", "4", script, "--root", root, "list", "1", ""]
here = os.open(".", os.O_PATH)
socket.send_fds(call, ["\0".join(words).encode()], [0, 1, 2, here])
print(call.recv(64).decode())
os.kill(other, 9)
"""


def test_number_of_another_than_who_connected(oci: Oci, installation: Path, tmp_path: Path) -> None:
    """Who has the number of a caller that has gone is not taken for it."""
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            sock.getsockopt(socket.SOL_SOCKET, 77)  # SO_PEERPIDFD
        except OSError as error:
            if error.errno == 92:  # ENOPROTOOPT
                pytest.skip("this kernel does not say who connected but by number")
    server = Server(installation, tmp_path / "server", oci.root)
    python = str(installation / "bin" / "python3")
    (tmp_path / "reused.py").write_text(REUSED)
    text = """
    "$1" server & server=$!
    while [ ! -S "$3/command.sock" ]; do sleep 0.05; done
    "$4" "$5" "$1" "$2" "$3" "$4"
    kill $server; wait"""
    words = [str(server.script), str(oci.root), str(server.directory), python]
    done = subprocess.run(
        ["unshare", "--fork", "--pid", "--mount-proc", "--kill-child", "sh", "-c", text, "sh",
         *words, str(tmp_path / "reused.py")],
        env=server.environment, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("N\n", "")


def test_python_that_is_found_by_path(installation: Path, tmp_path: Path) -> None:
    """The script's words stay apart, however it has looked for its interpreter."""
    for folder in ("bin", "elsewhere", "server"):
        (tmp_path / folder).mkdir()
    script = tmp_path / "bin" / "knarr-oci"
    script.write_bytes((installation / "bin" / "knarr-oci").read_bytes())
    (tmp_path / "libexec").symlink_to(installation / "libexec")
    if not (tmp_path / "libexec" / "knarr" / f"client-{platform.machine()}").exists():
        pytest.skip("no native client for this machine")
    python = tmp_path / "elsewhere" / "python3"
    python.write_text("#!/bin/sh\nprintf '<%s>' \"$@\"\n")
    for program in (script, python):
        program.chmod(0o755)
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as nobody:
        nobody.bind(str(tmp_path / "server" / "command.sock"))
        done = subprocess.run(
            [str(script), "create", "-b", "x : *", "y"],
            capture_output=True, text=True, check=False, timeout=PATIENCE,
            env={"PATH": f"{tmp_path}/elsewhere:/bin", "KNARR_OCI_SERVER": f"{tmp_path}/server"},
        )  # fmt: skip
    assert done.stderr == ""
    assert done.stdout == f"<-I><-S><-E><{script}><create><-b><x : *><y>"
