"""Attacks by a container on who enters it later. Each test tries one, and passes when it fails."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.bundles import Oci
from tests.support.execs import Execs, halted, user_namespace

# What anybody in the container tries with it.
_LOOK = """
for one in /proc/[0-9]*; do grep -q python $one/comm && pid=${one#/proc/}; done
cd /proc/$pid
for one in exe cwd root fd/*; do readlink $one && echo opened $one; done
for one in exe environ maps mem fd/* cwd/. root/.; do ls -d $one/. && echo opened $one; done
for one in exe environ maps mem fd/*; do (head -c 1 <$one >/dev/null) && echo opened $one; done
ls map_files | grep . && echo opened map_files
(echo x >>exe) && echo opened exe for writing
echo looked at $(cut -c 1-6 comm)
"""


CAPS = ("CHOWN", "DAC_OVERRIDE", "FSETID", "FOWNER", "MKNOD", "NET_RAW", "SETGID", "SETUID",
        "SETFCAP", "SETPCAP", "NET_BIND_SERVICE", "SYS_CHROOT", "KILL", "AUDIT_WRITE")  # fmt: skip


@pytest.mark.parametrize("mapped", [False, True])
def test_nobody_inside_looks_into_who_enters(oci: Oci, tmp_path: Path, mapped: bool) -> None:
    """CVE-2016-9962, CVE-2019-5736: with all that engines give by default; mapped, with all."""
    box = Execs(oci, "eyes", **(user_namespace(oci, tmp_path) if mapped else {})).start()
    caps = [word for name in (*CAPS, *(("SYS_PTRACE",) * mapped)) for word in ("--cap", name)]
    with halted(box, "ID", "true") as process:
        said = box(*caps, "ID", "sh", "-c", _LOOK)
    assert process.returncode == 0
    assert "looked at python" in said
    assert "opened" not in said


def test_interpreter_is_read_only_even_for_who_may_look(oci: Oci) -> None:
    """With rights over the host's processes its file can be seen, and never be written."""
    box = Execs(oci, "rights").start()
    file = box.oci.folder / "pid"
    line = box.words("-d", "--pid-file", str(file), "ID", "sleep", "1000")
    box.oci("pause", box.name)
    try:
        line.insert(2, "--ignore-paused")
        with subprocess.Popen(line) as process:
            stopped = f"/proc/{process.pid}/exe"
            while not os.statvfs(stopped).f_flag & os.ST_RDONLY:
                assert process.poll() is None
            box.oci("resume", box.name)
            assert process.wait(60) == 0
    finally:
        if box.oci.state(box.name)["status"] == "paused":
            box.oci("resume", box.name)
    assert os.readlink(f"/proc/{file.read_text()}/exe").endswith("busybox")


@pytest.mark.parametrize(("number", "kept"), [(3, 0), (7, 0), (11, 0), (16, 0), (17, 0), (3, 1)])
def test_working_directory_through_a_descriptor(oci: Oci, number: int, kept: int) -> None:
    """CVE-2024-21626: what the caller, or exec, has open is no way out, even where it is let in."""
    box = Execs(oci, "cwd").start()
    line = ["bash", "-c", f'exec {number}</; exec "$@"', "bash"]
    words = ("--preserve-fds", str(kept), "--cwd", f"/proc/self/fd/{number}", "ID", "ls")
    line += box.words(*words)
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 255
    assert f'working directory "/proc/self/fd/{number}"' in done.stderr
    assert ("is outside the root" in done.stderr) == bool(kept)
    assert done.stdout == ""


def test_descriptors_of_the_caller_do_not_get_in(oci: Oci) -> None:
    box = Execs(oci, "fds").start()
    line = ["bash", "-c", 'exec 3</ 7</ 200</; exec "$@"', "bash"]
    line += box.words("ID", "sh", "-c", "for fd in /proc/self/fd/*; do echo ${fd##*/}; done")
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    # The glob's own directory is open while it is read.
    assert set(done.stdout.split()) <= {"0", "1", "2", "3"}
    line[-1] = "readlink /proc/$$/fd/3 || echo none"
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "none\n"


def test_fake_procfs_gets_nothing_that_is_written(oci: Oci) -> None:
    """CVE-2019-16884, CVE-2025-52881: label and score are not written to what stands on /proc."""
    box = Execs(oci, "fake").start()
    script = """
    mount -t tmpfs none /proc
    mkdir -p /proc/self/attr/apparmor /proc/thread-self/attr/apparmor /proc/self/attr/selinux
    for one in oom_score_adj self/attr/exec self/attr/apparmor/exec thread-self/attr/exec \\
        thread-self/attr/apparmor/exec self/oom_score_adj thread-self/oom_score_adj
    do : >/proc/$one; done
    for pid in $(seq 2 40); do mkdir /proc/$pid; : >/proc/$pid/oom_score_adj; done
    """
    box("--cap", "SYS_ADMIN", "ID", "sh", "-c", script)
    files = "find /proc -type f -size +0c"
    assert box("ID", "sh", "-c", files) == ""
    label = box("--apparmor", "no-such-profile", "ID", "true", status=255)
    assert 'apparmor: "no-such-profile" cannot be applied' in label
    pid = box.detached("--process", str(box.file("sleep", "1000", oomScoreAdj=777)), "ID")
    assert Path(f"/proc/{pid}/oom_score_adj").read_text() == "777\n"
    assert box("ID", "sh", "-c", files) == ""


def test_score_is_the_commands_alone(oci: Oci) -> None:
    """The process that enters shares memory with who stays outside."""
    box = Execs(oci, "score").start()
    own = Path("/proc/self/oom_score_adj").read_text()
    file = str(box.file("sh", "-c", "echo; read word", oomScoreAdj=777))
    line = box.words("--process", file, "ID")
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"\n"
        assert Path(f"/proc/{process.pid}/oom_score_adj").read_text() == own


def test_inheritable_capabilities_are_none_unless_asked(oci: Oci) -> None:
    """CVE-2022-29162: with them a program of another user would get what --cap gives."""
    box = Execs(oci, "caps").start()
    show = ("grep", "^Cap", "/proc/self/status")
    found = dict(line.split() for line in box("--cap", "NET_RAW", "ID", *show).splitlines())
    assert int(found["CapEff:"], 16) >> 13 & 1
    assert int(found["CapBnd:"], 16) >> 13 & 1
    assert int(found["CapInh:"], 16) == int(found["CapAmb:"], 16) == 0
    found = dict(
        line.split() for line in box("-u", "1000", "--cap", "NET_RAW", "ID", *show).splitlines()
    )
    assert int(found["CapEff:"], 16) == int(found["CapPrm:"], 16) == int(found["CapAmb:"], 16) == 0
    sets = {"bounding": ["CAP_KILL"], "permitted": ["CAP_KILL"], "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"], "effective": ["CAP_KILL"]}  # fmt: skip
    found = dict(
        line.split()
        for line in box.process(*show, user={"uid": 1000}, capabilities=sets).splitlines()
    )
    assert {int(word, 16) for word in found.values()} == {1 << 5}


def test_groups_of_the_caller_are_left_behind(oci: Oci) -> None:
    """CVE-2022-36109: of a further process they are those of its user and nothing else."""
    box = Execs(oci, "groups").start()
    line = box.words("-u", "1000:100", "-g", "7", "ID", "id", "-G")
    options = {"extra_groups": [4, 5, 6]}
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60, **options)  # type: ignore[call-overload]
    assert set(done.stdout.split()) == {"100", "7"}
    line = box.words("-u", "1000:100", "ID", "grep", "^Groups:", "/proc/self/status")
    done = subprocess.run(line, capture_output=True, text=True, check=True, timeout=60, **options)  # type: ignore[call-overload]
    assert done.stdout.split() == ["Groups:"]


@pytest.fixture
def hostile(oci: Oci, tmp_path: Path) -> Execs:
    """A container with a root of its own, for files that lie."""
    root = tmp_path / "root"
    oci.copy_root(root)
    return Execs(oci, "hostile", root={"path": str(root)}).start()


def test_name_of_digits_in_the_images_files(hostile: Execs, tmp_path: Path) -> None:
    """CVE-2016-3697, CVE-2026-46680: a number is never looked up."""
    passwd = "".join(f"{name}:x:0:0::/root:\n" for name in ("1000", "4294967296", "-1", "+1"))
    (tmp_path / "root/etc/passwd").write_text(passwd)
    assert hostile("-u", "1000", "ID", "id", "-u") == "1000\n"
    for user in ("4294967296", "-1", "+1"):
        assert "--user" in hostile("-u", user, "ID", "id", status=255)


@pytest.mark.parametrize("kind", ["fifo", "device", "outside", "magic", "huge", "directory"])
def test_passwd_that_is_no_file(hostile: Execs, tmp_path: Path, kind: str) -> None:
    """Nothing of the host is read for it, no device is opened, and nobody waits."""
    passwd = tmp_path / "root/etc/passwd"
    passwd.unlink()
    outside = tmp_path / "outside"
    outside.write_text("eve:x:4321:0::/:\n")
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "device":
        os.mknod(passwd, 0o020666, os.makedev(1, 5))
    elif kind == "outside":
        passwd.symlink_to("../" * 40 + str(outside)[1:])
    elif kind == "magic":
        passwd.symlink_to(f"/proc/self/root/{outside}")
    elif kind == "huge":
        passwd.write_bytes(b"x" * (4 << 20) + b"\neve:x:0:0::/:\n")
    else:
        passwd.mkdir()
    said = hostile("-u", "eve", "ID", "id", status=255)
    assert "eve" in said or "/etc/passwd" in said


def test_terminal_where_the_containers_devpts_is_none(oci: Oci) -> None:
    """CVE-2025-52565: what is opened for a terminal is a terminal, of a devpts of the container."""
    box = Execs(oci, "pts").start()
    script = "mount -t tmpfs none /dev/pts; ln -s /proc/self/exe /dev/pts/ptmx"
    box("--cap", "SYS_ADMIN", "ID", "sh", "-c", script)
    assert "symbolic links" in box("-t", "ID", "true", status=255)
    box("--cap", "SYS_ADMIN", "ID", "sh", "-c", "rm /dev/pts/ptmx; echo >/dev/pts/ptmx")
    assert "/dev/pts" in box("-t", "ID", "true", status=255)


def test_program_that_is_the_interpreter(oci: Oci) -> None:
    """CVE-2019-5736: also by a link of the image."""
    box = Execs(oci, "self").start()
    said = box("ID", "/proc/self/exe", status=255)
    assert 'exec: "/proc/self/exe": leads through /proc' in said
    box("ID", "ln", "-s", "/proc/self/exe", "/tmp/evil")
    try:
        assert "leads through /proc" in box("ID", "/tmp/evil", status=255)
    finally:
        box("ID", "rm", "/tmp/evil")


def test_half_made_container_is_not_entered(oci: Oci) -> None:
    """While its root is the host's there is nothing to enter."""
    ready = oci.folder / "ready"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo >{ready}; exec sleep 1000"]}
    bundle = oci.bundle("sleep", "1000", hooks={"createRuntime": [hook]})
    name = oci.name("half")
    line = [str(oci.program), "create", "--bundle", str(bundle), name]
    with subprocess.Popen(line) as process:
        while not ready.exists():
            assert process.poll() is None
        said = oci("exec", name, "ls", "/", check=False)
        process.terminate()
        process.wait(60)
    assert f'container not running: "{name}" is creating' in said
