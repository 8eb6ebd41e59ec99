"""Attacks that other runtimes fell for, tried on a real container."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci


def with_process(oci: Oci, *args: str, **values: Any) -> str:
    bundle = oci.bundle(*args)
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    config["process"] |= values
    file.write_text(json.dumps(config))
    return str(bundle)


def test_program_that_is_the_interpreter(oci: Oci) -> None:
    """CVE-2019-5736: what /proc/self/exe leads to is the host's."""
    said = oci("create", "-b", str(oci.bundle("/proc/self/exe")), oci.name("x"), check=False)
    assert 'exec: "/proc/self/exe": leads through /proc' in said


@pytest.mark.parametrize("number", [3, 7, 11])
def test_working_directory_through_a_descriptor(oci: Oci, number: int) -> None:
    """CVE-2024-21626: no directory of the host is open when the working directory is entered."""
    name = oci.name("cwd")
    bundle = with_process(oci, "ls", cwd=f"/proc/self/fd/{number}")
    place = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        oci("create", "-b", bundle, name)
        said = oci("start", name, check=False)
    finally:
        os.close(place)
    assert f'working directory "/proc/self/fd/{number}"' in said


def test_root_with_links_for_proc_and_dev(oci: Oci, tmp_path: Path) -> None:
    """CVE-2019-19921, CVE-2026-41579: what the root says /dev and /proc are leads nowhere."""
    outside = tmp_path / "outside"
    outside.mkdir()
    for link in ("proc", "dev"):
        root = tmp_path / f"root-{link}"
        subprocess.run(["cp", "-a", f"{oci.rootfs}/.", str(root)], check=True)
        shutil.rmtree(root / link)  # a container without a /dev of its own has left nodes there
        (root / link).symlink_to(outside)
        bundle = oci.bundle("true", root={"path": str(root)})
        oci("create", "-b", str(bundle), oci.name(link), check=False)
    assert list(outside.iterdir()) == []


def test_joined_pid_namespace_sees_no_writable_interpreter(oci: Oci) -> None:
    """Who is there already, with rights over the host's users, could write to it by /proc."""
    first, second = oci.name("first"), oci.name("second")
    oci("run", "-d", "-b", str(oci.bundle("sleep", "1000")), first)
    pid = oci.state(first)["pid"]
    bundle = oci.bundle("sleep", "1000")
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    for entry in config["linux"]["namespaces"]:
        if entry["type"] == "pid":
            entry["path"] = f"/proc/{pid}/ns/pid"
    file.write_text(json.dumps(config))
    oci("create", "-b", str(bundle), second)
    waiting = oci.state(second)["pid"]
    assert os.statvfs(f"/proc/{waiting}/exe").f_flag & os.ST_RDONLY
    oci("start", second)
    assert oci.state(second)["status"] == "running"


def test_nothing_of_the_root_reaches_the_hosts_mounts(oci: Oci) -> None:
    """The root lies on a shared mount: what is mounted in the container is not seen outside."""
    shared = oci.folder / "shared"
    shared.mkdir()
    subprocess.run(["mount", "--bind", str(oci.rootfs), str(shared)], check=True)
    try:
        subprocess.run(["mount", "--make-shared", str(shared)], check=True)
        bundle = oci.bundle("sleep", "1000", root={"path": str(shared)})
        oci("create", "-b", str(bundle), oci.name("shared"))
        assert f"{shared}/" not in Path("/proc/self/mountinfo").read_text()
    finally:
        oci("delete", "--force", oci.name("shared"))
        subprocess.run(["umount", str(shared)], check=True)
