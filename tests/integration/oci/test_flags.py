"""Flags of create and run that change how a container is made."""

from __future__ import annotations

import secrets
import subprocess
import sys
from pathlib import Path

import pytest

from knarr.kernel.libc import NUMBERS
from tests.support.bundles import Oci

TREE = """
cat /proc/self/mountinfo; echo; ls /; ls /proc/1/root/proc/sys | wc -l; cat /proc/1/comm
"""


def test_a_root_that_is_moved(oci: Oci) -> None:
    """As for a root on a RAM disk: the same tree, over the host's and not in its place."""
    path = str(oci.bundle("sh", "-c", TREE))
    plain = oci("run", "-b", path, oci.name("pivot")).split("\n\n")
    moved = oci("run", "--no-pivot", "-b", path, oci.name("moved")).split("\n\n")
    assert moved[1] == plain[1]
    # Nothing of the host's is to be seen of the tree from inside the root.
    places = [[line.split()[4] for line in text.splitlines()] for text in (plain[0], moved[0])]
    assert sorted(places[1]) == sorted(places[0])


def test_a_moved_root_leaves_none_of_the_hosts_procfs_below(oci: Oci) -> None:
    name = oci.name("below")
    path = oci.bundle("sleep", "1000", linux={"maskedPaths": [], "readonlyPaths": []})
    oci("run", "-d", "--no-pivot", "-b", str(path), name)
    pid = oci.state(name)["pid"]
    kinds = [line.partition(" - ")[2].split()[0]
             for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines()]  # fmt: skip
    assert kinds.count("proc") == 1
    assert kinds.count("sysfs") == 1
    assert oci("exec", name, "cat", "/proc/1/comm") == "sleep\n"
    oci("delete", "--force", name)


@pytest.mark.parametrize("hook", ["createContainer", "startContainer"])
def test_hooks_of_a_container_with_a_moved_root(oci: Oci, hook: str) -> None:
    """Before the move they see the host's tree, after it the container's."""
    program = "/bin/busybox" if hook == "startContainer" else "/bin/sh"
    args = ["sh", "-c", "test -e /proc/self/status"]
    hooks = {hook: [{"path": program, "args": args}]}
    path = oci.bundle("true", hooks=hooks)
    oci("run", "--no-pivot", "-b", str(path), oci.name("hook"))


def test_a_moved_root_in_a_user_namespace(oci: Oci) -> None:
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    kinds = ("user", "pid", "mount", "uts", "ipc", "network", "cgroup")
    linux = {"namespaces": [{"type": kind} for kind in kinds], "uidMappings": ids,
             "gidMappings": ids, "resources": {}}  # fmt: skip
    path = oci.bundle("cat", "/proc/1/comm", linux=linux, root={"path": "rootfs"})
    subprocess.run(["cp", "-a", str(oci.rootfs), str(path / "rootfs")], check=True)
    subprocess.run(["chown", "-hR", "100000:100000", str(path / "rootfs")], check=True)
    assert oci("run", "--no-pivot", "-b", str(path), oci.name("user")) == "cat\n"


def test_a_failure_with_a_moved_root_is_told(oci: Oci) -> None:
    name = oci.name("late")
    path = oci.bundle("true", process={"cwd": "/etc/passwd"})
    oci("create", "--no-pivot", "-b", str(path), name)
    assert "Not a directory" in oci("start", name, check=False)
    oci("delete", "--force", name)


JOIN = """
import ctypes, os, sys
if ctypes.CDLL(None).syscall(int(sys.argv[1]), 1, sys.argv[2].encode(), 0, 0, 0) < 0:
    sys.exit(77)
os.execv(sys.argv[3], sys.argv[3:])
"""


def keys(oci: Oci, name: str, *flags: str) -> str:
    """Return what somebody who owns no key sees of keys: those of the session that it has."""
    path = oci.bundle("cat", "/proc/keys", linux={"maskedPaths": []},
                      process={"user": {"uid": 12345, "gid": 12345}})  # fmt: skip
    words = [str(oci.program), "run", *flags, "-b", str(path), oci.name("keys")]
    number = str(NUMBERS["keyctl"])
    done = subprocess.run(
        [sys.executable, "-c", JOIN, number, name, *words],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False, timeout=60,
    )  # fmt: skip
    if done.returncode == 77 or not Path("/proc/keys").exists():
        pytest.skip("this kernel has no keys (CONFIG_KEYS)")
    assert done.returncode == 0
    return done.stdout


def test_the_callers_keys_are_not_the_containers(oci: Oci) -> None:
    """See keyrings(7), session-keyring(7)."""
    name = f"knarr-{secrets.token_hex(8)}"
    assert name not in keys(oci, name)
    assert name in keys(oci, name, "--no-new-keyring")
