"""Wrappers of system calls: what they return, and errors that name call and path."""

from __future__ import annotations

import ctypes
import errno
import os
import select
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from knarr.kernel import (
    caps,
    clone,
    files,
    inotify,
    libc,
    mounts,
    namespaces,
    process,
    seccomp,
    timer,
    tty,
)


def test_an_error_names_call_and_path(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        files.openat2(-100, str(tmp_path / "missing"), os.O_RDONLY)
    assert "openat2" in str(caught.value)
    assert caught.value.filename == str(tmp_path / "missing")
    with pytest.raises(OSError) as other:
        libc.syscall("pidfd_open", -5, ctypes.c_uint(0))
    assert other.value.errno == errno.EINVAL
    assert "pidfd_open" in str(other.value)
    with pytest.raises(OSError) as third:
        mounts.umount2("/nonexistent/x")
    assert third.value.filename == "/nonexistent/x"


def test_openat2_is_close_on_exec_and_scoped(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc")
    root = os.open(tmp_path, os.O_PATH)
    fd = files.openat2(root, "/", os.O_PATH, 0, files.RESOLVE_IN_ROOT)
    assert not os.get_inheritable(fd)
    assert os.path.samestat(os.fstat(fd), os.fstat(root))
    os.close(fd)
    for resolve, code in (
        (files.RESOLVE_BENEATH, errno.EXDEV),
        (files.RESOLVE_NO_SYMLINKS, errno.ELOOP),
        (files.RESOLVE_IN_ROOT, errno.ENOENT),
    ):
        with pytest.raises(OSError) as caught:
            files.openat2(root, "link", os.O_PATH, 0, resolve)
        assert caught.value.errno == code
    os.close(root)


def test_a_path_that_is_no_text(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / name).touch()
    os.close(files.openat2(-100, str(tmp_path / name), os.O_RDONLY))


def test_close_range() -> None:
    pid = os.fork()
    if pid == 0:
        fds = [os.open("/", os.O_RDONLY) for _ in range(5)]
        files.close_range(fds[1], fds[3])
        alive = [fd for fd in fds if os.path.exists(f"/proc/self/fd/{fd}")]
        os._exit(0 if alive == [fds[0], fds[4]] else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_close_range_marks_for_execve() -> None:
    pid = os.fork()
    if pid == 0:
        fds = [os.dup2(0, 100 + number) for number in range(5)]
        files.close_range(fds[1], fds[3], files.CLOSE_RANGE_CLOEXEC)
        kept = [os.get_inheritable(fd) for fd in fds]
        os._exit(0 if kept == [True, False, False, False, True] else 1)
    assert os.waitpid(pid, 0)[1] == 0


def test_keeping_only_some_descriptors() -> None:
    code = """
import os
from knarr.kernel.files import keep_only
fds = [os.dup(0) for _ in range(6)]
keep_only(fds[4], -1, fds[1], 0)
print([os.path.exists(f"/proc/self/fd/{fd}") for fd in (0, 1, 2, *fds)])
"""
    kept = [True, True, True, False, True, False, False, True, False]
    assert in_child(code) == f"{kept}\n"


def test_an_alarm() -> None:
    fd = timer.create()
    try:
        assert not os.get_inheritable(fd)
        assert select.select([fd], [], [], 0)[0] == []
        timer.clear(fd)  # nothing to take note of
        timer.arm(fd, 3600 * 10**9)
        assert select.select([fd], [], [], 0)[0] == []
        timer.arm(fd, 0)
        assert select.select([fd], [], [], 30)[0] == [fd]
        timer.clear(fd)
        assert select.select([fd], [], [], 0)[0] == []
        timer.arm(fd, 1)
        timer.disarm(fd)
        assert select.select([fd], [], [], 0)[0] == []
    finally:
        os.close(fd)


def test_kinds_of_file_systems() -> None:
    fd = os.open("/proc", os.O_PATH)
    assert files.fstatfs_type(fd) == files.PROC_SUPER_MAGIC
    os.close(fd)


def test_exchanging_names(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    fd = os.open(tmp_path, os.O_RDONLY)
    files.renameat2(fd, "a", fd, "b", files.RENAME_EXCHANGE)
    assert (tmp_path / "a").read_text() == "b"
    with pytest.raises(FileExistsError):
        files.renameat2(fd, "a", fd, "b", files.RENAME_NOREPLACE)
    files.syncfs(fd)
    os.close(fd)


def test_clone3_returns_in_parent_and_child() -> None:
    pid, pidfd = clone.clone3(0)
    if pid == 0:
        os._exit(7 if pidfd == -1 else 1)
    assert not os.get_inheritable(pidfd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 7
    with pytest.raises(ProcessLookupError):
        process.pidfd_send_signal(pidfd, 9)
    os.close(pidfd)


def test_clone3_reports_what_the_kernel_refuses() -> None:
    with pytest.raises(OSError) as caught:
        clone.clone3(namespaces.CLONE_NEWUSER | 0x200)  # CLONE_FS with CLONE_NEWUSER
    assert caught.value.errno == errno.EINVAL
    assert "clone3" in str(caught.value)


def test_a_signal_through_a_pid_descriptor() -> None:
    child = subprocess.Popen(["sleep", "100"])
    pidfd = process.pidfd_open(child.pid)
    process.pidfd_send_signal(pidfd, signal.SIGTERM)
    assert child.wait() == -signal.SIGTERM
    os.close(pidfd)


def test_a_process_whose_session_outlived_it_is_gone() -> None:
    """Its number is in use still, and kernels differ in what they say of it."""
    leader = subprocess.Popen(
        ["sh", "-c", "sleep 100 >/dev/null & echo $!"], stdout=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    out, _ = leader.communicate()
    try:
        with pytest.raises(ProcessLookupError):
            process.pidfd_open(leader.pid)
    finally:
        os.kill(int(out), signal.SIGKILL)


def test_a_running_process_has_no_exit_status() -> None:
    pidfd = process.pidfd_open(os.getppid())
    # Its parent reaps nothing here: the wait is cut short by asking for ourselves only.
    os.close(pidfd)
    child = subprocess.Popen(["sh", "-c", "exit 9"])
    pidfd = process.pidfd_open(child.pid)
    child.wait()
    status = process.pidfd_exit_status(pidfd)
    assert status is None or os.waitstatus_to_exitcode(status) == 9
    os.close(pidfd)


def in_child(code: str) -> str:
    """Run lines in a bare interpreter with the wrappers, since they change the process for good."""
    source = Path(libc.__file__).parents[2]
    lines = f"import sys; sys.path.insert(0, {str(source)!r})\n{code}"
    done = subprocess.run(
        ["python3", "-I", "-S", "-c", lines], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_all_signals_get_their_default_back() -> None:
    out = in_child("""
import signal, ctypes, os
from knarr.kernel import process
for n in signal.valid_signals() - {9, 19}: signal.signal(n, signal.SIG_IGN)
process.default_signals()
print(next(l for l in open('/proc/self/status') if l.startswith('SigIgn')).split()[1])
""")
    assert int(out, 16) == 0


def test_switches_of_a_process() -> None:
    out = in_child("""
from knarr.kernel import process
process.set_dumpable(False); process.set_name("knarr-test-name-that-is-long")
process.set_no_new_privs(); process.set_pdeathsig(0)
print(open('/proc/self/comm').read().strip())
print([l.split()[1] for l in open('/proc/self/status') if l.startswith('NoNewPrivs')])
""")
    assert out.split() == ["knarr-test-name", "['1']"]


def test_priority_of_input_and_output() -> None:
    out = in_child("""
import os
from knarr.kernel import process
from knarr.kernel.libc import syscall
syscall("ioprio_set", 1, 0, 2 << 13 | 6)
print(process.io_priority(0), process.io_priority(os.getpid()))
""")
    assert out.split() == [str(2 << 13 | 6)] * 2


def test_capabilities_are_read_as_the_kernel_shows_them() -> None:
    shown = {
        line.split(":")[0]: int(line.split()[1], 16)
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith("Cap")
    }
    assert caps.capget() == (shown["CapEff"], shown["CapPrm"], shown["CapInh"])


def test_a_filter_has_to_be_whole_instructions() -> None:
    for program in (b"", b"1234567"):
        with pytest.raises(ValueError):
            seccomp.FilterProgram(program)


def test_namespace_types() -> None:
    for flag, name in namespaces.NAMESPACES.values():
        fd = os.open(f"/proc/self/ns/{name}", os.O_RDONLY)
        assert namespaces.namespace_type(fd) == flag
        os.close(fd)
    with pytest.raises(OSError), socket.socket() as sock:
        namespaces.namespace_type(sock.fileno())


def test_terminals() -> None:
    master, slave = os.openpty()
    tty.set_size(master, 33, 99)
    assert tty.get_size(slave) == (33, 99)
    for fd in (master, slave):
        os.close(fd)


def test_watching_a_directory(tmp_path: Path) -> None:
    fd = inotify.init()
    inotify.add_watch(fd, str(tmp_path), inotify.IN_CREATE)
    (tmp_path / "a").touch()
    (tmp_path / "b").touch()
    assert inotify.drain(fd) == 2
    assert inotify.drain(fd) == 0
    os.close(fd)


@pytest.mark.parametrize("name", sorted(libc.NUMBERS))
def test_every_number_is_that_of_a_call(name: str) -> None:
    """On this architecture: the kernel knows the call (a bad argument is not ENOSYS).

    In a child, which some of them change and one of them ends.
    """
    if name in ("clone3", "pivot_root"):
        return
    pid = os.fork()
    if pid == 0:
        result = libc.LIBC.syscall(ctypes.c_long(libc.NUMBERS[name]), -1, -1, -1, -1, -1, -1)
        os._exit(1 if result == -1 and ctypes.get_errno() == errno.ENOSYS else 0)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert status == (255 if name == "exit_group" else 0)
