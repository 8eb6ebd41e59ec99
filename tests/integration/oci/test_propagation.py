"""Mounts and the root: their order, how they propagate, and what labels them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci
from tests.support.waiting import wait_until

IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]


def changed(bundle: Path, change: Any) -> str:
    """Return the bundle after its configuration was changed by a function."""
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    change(config)
    file.write_text(json.dumps(config))
    return str(bundle)


def mountinfo(text: str) -> dict[str, str]:
    """Return the optional fields (proc_pid_mountinfo(5)) by place, in their order."""
    rows = (line.split(" - ")[0].split(" ", 6) for line in text.splitlines())
    return {row[4]: row[6] if len(row) > 6 else "" for row in rows}


@pytest.fixture
def shared(tmp_path: Path, rootfs: Path) -> Iterator[Path]:
    """A directory on a shared mount of its own, with the root file system in it."""
    path = tmp_path / "shared"
    path.mkdir()
    (rootfs / "mnt").mkdir(exist_ok=True)
    subprocess.run(["mount", "--bind", str(rootfs), str(path)], check=True)
    try:
        subprocess.run(["mount", "--make-private", str(path)], check=True)
        subprocess.run(["mount", "--make-shared", str(path)], check=True)
        yield path
    finally:
        subprocess.run(["umount", "--recursive", str(path)], check=True)


@pytest.mark.parametrize("userns", [False, True])
def test_order_of_mounts(oci: Oci, tmp_path: Path, userns: bool) -> None:
    """/proc/PID/mountinfo has them in the order of ``mounts[]``, whatever each is made of."""
    source, file = tmp_path / "source", tmp_path / "file"
    source.mkdir()
    file.write_text("content")
    tmp_path.chmod(0o755)
    bind = {"type": "none", "source": str(source)}

    def change(config: dict[str, Any]) -> None:
        config["mounts"] = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/mnt/a", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/mnt/a/b", "options": ["bind", "ro"], **bind},
            {"destination": "/mnt/c", "type": "tmpfs", "source": "tmpfs"},
            {"destination": "/mnt/c/d", "options": ["rbind", "rslave"], **bind},
            {"destination": "/mnt/c/f", "options": ["bind"], **bind, "source": str(file)},
            {"destination": "/mnt/e", "type": "tmpfs", "source": "tmpfs"},
        ]
        for field in ("maskedPaths", "readonlyPaths"):
            config["linux"].pop(field, None)
        if userns:
            config["linux"]["namespaces"].append({"type": "user"})
            config["linux"] |= {"uidMappings": IDS, "gidMappings": IDS}

    script = "cat /mnt/c/f >&2; cat /proc/self/mountinfo"
    bundle = changed(oci.bundle("sh", "-c", script), change)
    places = list(mountinfo(oci("run", "-b", bundle, oci.name("order"))))
    wanted = ["/", "/proc", "/mnt/a", "/mnt/a/b", "/mnt/c", "/mnt/c/d", "/mnt/c/f", "/mnt/e"]
    assert [place for place in places if not place.startswith("/dev")] == wanted


@pytest.mark.parametrize(
    ("asked", "seen"),
    [("shared", "shared:"), ("rshared", "shared:"), ("slave", "master:"), ("rslave", "master:"),
     ("private", ""), ("rprivate", ""), ("unbindable", "unbindable"),
     ("runbindable", "unbindable")],
)  # fmt: skip
def test_propagation_of_the_root(oci: Oci, shared: Path, asked: str, seen: str) -> None:
    def change(config: dict[str, Any]) -> None:
        config["linux"]["rootfsPropagation"] = asked
        config["root"]["path"] = str(shared)

    bundle = changed(oci.bundle("cat", "/proc/self/mountinfo"), change)
    root = mountinfo(oci("run", "-b", bundle, oci.name("root")))["/"]
    assert root.startswith(seen) if seen else root == ""


@pytest.mark.parametrize(
    ("asked", "comes"), [("slave", True), ("shared", True), ("private", False)]
)
def test_what_is_mounted_on_the_host_later(
    oci: Oci, shared: Path, tmp_path: Path, asked: str, comes: bool
) -> None:
    """It is seen below a root that is a slave of the host's; nothing goes the other way."""
    script = "touch /tmp/begun; until [ -e /tmp/go ]; do sleep 0.1; done; grep -c /mnt /proc/mounts"

    def change(config: dict[str, Any]) -> None:
        config["linux"]["rootfsPropagation"] = asked
        config["root"]["path"] = str(shared)
        mount = {"destination": "/tmp", "source": str(tmp_path / "talk"), "options": ["bind"]}
        config["mounts"].append(mount)

    talk = tmp_path / "talk"
    talk.mkdir()
    name, out = oci.name("late"), tmp_path / "seen"
    bundle = changed(oci.bundle("sh", "-c", f"{script} >/tmp/seen"), change)
    oci("run", "--detach", "-b", bundle, name)
    wait_until((talk / "begun").exists)
    assert f"{shared}/" not in Path("/proc/self/mountinfo").read_text()
    subprocess.run(["mount", "-t", "tmpfs", "none", str(shared / "mnt")], check=True)
    (talk / "go").touch()
    wait_until(lambda: oci.state(name)["status"] == "stopped")
    assert (talk / "seen").read_text() == f"{int(comes)}\n"
    assert not out.exists()


def test_label_without_selinux(oci: Oci) -> None:
    """Nothing can be labelled there: that is said, and no error."""
    if "selinuxfs" in Path("/proc/filesystems").read_text():
        pytest.skip("the kernel has SELinux")
    bundle = changed(
        oci.bundle("true"),
        lambda config: config["linux"].update(mountLabel="system_u:object_r:container_file_t:s0"),
    )
    log = oci.folder / "log"
    oci("--log", str(log), "run", "-b", bundle, oci.name("label"))
    assert "linux.mountLabel: without SELinux" in log.read_text()


@pytest.mark.parametrize("option", ["rprivate", "rslave", "rshared", "runbindable"])
def test_what_the_host_has_mounted_below_a_source_stays(
    oci: Oci, shared: Path, option: str
) -> None:
    """Where the source is on a shared mount, as all are on a machine with systemd."""
    (shared / "tmp").mkdir(exist_ok=True)
    below = shared / "tmp"
    subprocess.run(["mount", "-t", "tmpfs", "below", str(below)], check=True)
    (below / "file").touch()
    place = {"destination": "/mnt", "type": "bind", "source": str(shared)}
    look = "ls /mnt/tmp; grep -c ' /mnt/tmp ' /proc/mounts"
    bundle = changed(
        oci.bundle("sh", "-c", look),
        lambda config: config["mounts"].append(place | {"options": ["rbind", option]}),
    )
    assert oci("run", "-b", bundle, oci.name("below")) == "file\n1\n"
    assert below.is_mount()
    assert (below / "file").exists()
