"""Device nodes of a bundle: made anywhere in the root, of every kind; what is there must match."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci

USERNS = ("user", "pid", "mount", "uts", "ipc", "network", "cgroup")
IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def bundle(oci: Oci, *args: str, devices: list[dict[str, Any]], **linux: Any) -> Path:
    """Return a bundle with a root of its own, and these devices."""
    linux = {"devices": devices, "resources": {}, **linux}
    path = oci.bundle(*args, root={"path": "rootfs"}, linux=linux)
    subprocess.run(["cp", "-a", str(oci.rootfs), str(path / "rootfs")], check=True)
    return path


def test_every_kind_with_mode_and_owner(oci: Oci) -> None:
    devices: list[dict[str, Any]] = [
        {"path": "/dev/char", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 7,
         "gid": 8},
        {"path": "/dev/unbuffered", "type": "u", "major": 1, "minor": 5, "fileMode": 0o604},
        {"path": "/dev/deep/er/block", "type": "b", "major": 259, "minor": 70000},
        {"path": "/dev/fifo", "type": "p", "fileMode": 0o622},
        {"path": "/opt/outside", "type": "c", "major": 1, "minor": 3},
    ]  # fmt: skip
    look = " ".join(device["path"] for device in devices)
    path = bundle(oci, "sh", "-c", f"stat -c '%n %F %a %u:%g %t:%T' {look}", devices=devices)
    said = oci("run", "-b", str(path), oci.name("nodes")).splitlines()
    assert said == [
        "/dev/char character special file 640 7:8 1:3",
        "/dev/unbuffered character special file 604 0:0 1:5",
        "/dev/deep/er/block block special file 666 0:0 103:11170",
        "/dev/fifo fifo 622 0:0 0:0",
        "/opt/outside character special file 666 0:0 1:3",
    ]
    found = (path / "rootfs" / "opt" / "outside").lstat()
    assert stat.S_ISCHR(found.st_mode)


@pytest.mark.parametrize("there", ["file", "other", "block", "fifo", "link"])
def test_a_file_that_is_another_is_an_error(oci: Oci, there: str) -> None:
    path = bundle(oci, "true", devices=[{"path": "/opt/x", "type": "c", "major": 1, "minor": 3}])
    place = path / "rootfs" / "opt" / "x"
    place.parent.mkdir(exist_ok=True)
    if there == "file":
        place.touch()
    elif there == "other":
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif there == "block":
        os.mknod(place, stat.S_IFBLK | 0o666, os.makedev(1, 3))
    elif there == "fifo":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/null")
    text = oci("create", "-b", str(path), oci.name("bad"), check=False)
    assert "linux.devices" in text
    assert "/opt/x" in text
    assert oci("list", "-q") == ""


def test_a_file_that_is_the_same_is_taken(oci: Oci) -> None:
    devices: list[dict[str, Any]] = [
        {"path": "/opt/x", "type": "c", "major": 1, "minor": 3, "uid": 5, "gid": 6},
        {"path": "/opt/fifo", "type": "p"},
    ]
    path = bundle(oci, "stat", "-c", "%u:%g", "/opt/x", "/opt/fifo", devices=devices)
    (path / "rootfs" / "opt").mkdir(exist_ok=True)
    os.mknod(path / "rootfs" / "opt" / "x", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mkfifo(path / "rootfs" / "opt" / "fifo")
    assert oci("run", "-b", str(path), oci.name("same")) == "5:6\n0:0\n"


def test_a_path_that_ends_in_slashes(oci: Oci) -> None:
    """A node has a name all the same: crun takes it."""
    path = bundle(oci, "stat", "-c", "%F", "/opt/x", devices=[{"path": "/opt/x//", "type": "p"}])
    assert oci("run", "-b", str(path), oci.name("slash")) == "fifo\n"


def test_nodes_that_the_host_has_not_in_a_user_namespace(oci: Oci) -> None:
    """They are made outside, with the mode and owner that are asked for, and can be used."""
    devices: list[dict[str, Any]] = [
        {"path": "/dev/block", "type": "b", "major": 259, "minor": 70000, "fileMode": 0o157,
         "uid": 10, "gid": 11},
        {"path": "/opt/deep/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640},
    ]  # fmt: skip
    maps = {"uidMappings": IDS, "gidMappings": IDS}
    namespaces = [{"type": kind} for kind in USERNS]
    look = (
        "stat -c '%F %a %u:%g %t:%T' /dev/block /opt/deep/zero; head -c 4 /opt/deep/zero | "
        "od -An -tx1; grep -c ' / / ' /proc/self/mountinfo; grep /opt/deep/zero /proc/mounts"
    )
    path = bundle(oci, "sh", "-c", look, devices=devices, namespaces=namespaces, **maps)
    subprocess.run(["chown", "-hR", "100000:100000", str(path / "rootfs")], check=True)
    said = oci("run", "-b", str(path), oci.name("made")).splitlines()
    assert said[:3] == [
        "block special file 157 10:11 103:11170", "character special file 640 0:0 1:5",
        " 00 00 00 00",
    ]  # fmt: skip
    assert said[3] == "0"
    assert {"nosuid", "noexec"} <= set(said[4].split()[3].split(","))
    devices[0]["uid"] = 70000
    path = bundle(oci, "true", devices=devices, namespaces=namespaces, **maps)
    subprocess.run(["chown", "-hR", "100000:100000", str(path / "rootfs")], check=True)
    text = oci("create", "-b", str(path), oci.name("owner"), check=False)
    assert "linux.devices: /dev/block: its owner 70000:11 has no ids in the user namespace" in text


def test_the_usual_nodes_in_a_user_namespace_have_no_more_than_they_need(oci: Oci) -> None:
    maps = {"uidMappings": IDS, "gidMappings": IDS}
    namespaces = [{"type": kind} for kind in USERNS]
    path = bundle(oci, "grep", " /dev/null ", "/proc/mounts", devices=[], namespaces=namespaces,
                  **maps)  # fmt: skip
    subprocess.run(["chown", "-hR", "100000:100000", str(path / "rootfs")], check=True)
    options = oci("run", "-b", str(path), oci.name("usual")).split()[3].split(",")
    assert {"nosuid", "noexec"} <= set(options)
    assert "nodev" not in options


def test_nodes_in_a_user_namespace_are_the_hosts(oci: Oci) -> None:
    devices: list[dict[str, Any]] = [
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/fifo", "type": "p"},
    ]
    maps = {"uidMappings": IDS, "gidMappings": IDS}
    namespaces = [{"type": kind} for kind in USERNS]
    look = "stat -c '%F %t:%T' /dev/mine /dev/fifo /dev/null; head -c 4 /dev/mine | od -An -tx1"
    path = bundle(oci, "sh", "-c", look, devices=devices, namespaces=namespaces, **maps)
    subprocess.run(["chown", "-hR", "100000:100000", str(path / "rootfs")], check=True)
    said = oci("run", "-b", str(path), oci.name("user")).splitlines()
    assert said == ["character special file 1:5", "fifo 0:0", "character special file 1:3",
                    " 00 00 00 00"]  # fmt: skip


@pytest.mark.parametrize(("device", "said"), [
    ({"path": "/dev/null", "type": "b", "major": 1, "minor": 3}, "linux.devices[0]: /dev/null is"),
    ({"path": "/dev/null", "type": "c", "major": 1, "minor": 5}, "linux.devices[0]: /dev/null is"),
    ({"path": "/dev/x", "type": "c", "major": 5000, "minor": 1}, "linux.devices[0].major: 5000"),
    ({"path": "dev/x", "type": "p"}, "linux.devices[0].path"),
    ({"path": "//", "type": "p"}, "linux.devices[0].path"),
    ({"path": "/dev/../x", "type": "p"}, "linux.devices[0].path"),
    ({"path": "/dev/x"}, "linux.devices[0].type: is missing"),
    ({"path": "/dev/x", "type": "p", "fileMode": -1}, "linux.devices[0].fileMode"),
])  # fmt: skip
def test_devices_that_are_none(oci: Oci, device: dict[str, Any], said: str) -> None:
    path = oci.bundle("true", linux={"devices": [device]})
    assert said in oci("create", "-b", str(path), oci.name("bad"), check=False)
