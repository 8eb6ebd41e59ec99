"""Namespaces of a bundle: made, or entered by path; what a path leads to is looked at."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci

KINDS = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "user": "user", "time": "time",
         "cgroup": "cgroup"}  # fmt: skip
IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
LOOK = "for n in /proc/self/ns/*; do readlink $n; done"


class Other:
    """A process in namespaces of its own."""

    def __init__(self, *flags: str) -> None:
        words = ["unshare", "--fork", "--kill-child", *flags]
        script = "echo ready; exec sleep 1000"
        self.process = subprocess.Popen(
            [*words, "sh", "-c", script], stdout=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"
        children = f"/proc/{self.process.pid}/task/{self.process.pid}/children"
        self.pid = int(Path(children).read_text())
        for name in ("uid_map", "gid_map") if "--user" in flags else ():
            Path(f"/proc/{self.pid}/{name}").write_text("0 0 65536")

    def path(self, kind: str) -> str:
        return f"/proc/{self.pid}/ns/{KINDS.get(kind, kind)}"

    def close(self) -> None:
        # By itself: whoever executes something in a user namespace forgets whose death is its own.
        os.kill(self.pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture(scope="module")
def other() -> Iterator[Other]:
    made = Other("--pid", "--net", "--ipc", "--uts", "--cgroup", "--time", "--boottime", "5000000")
    yield made
    made.close()


@pytest.fixture(scope="module")
def mapped() -> Iterator[Other]:
    made = Other("--user", "--pid", "--net", "--ipc", "--uts", "--cgroup")
    yield made
    made.close()


def entries(*kinds: str, **paths: str) -> list[dict[str, str]]:
    """Return new namespaces, and those by path."""
    return [*({"type": kind} for kind in kinds),
            *({"type": kind, "path": path} for kind, path in paths.items())]  # fmt: skip


def ran(oci: Oci, *args: str, **linux: Any) -> str:
    return oci("run", "-b", str(oci.bundle(*args, linux=linux)), oci.name("ns"))


def refused(oci: Oci, **linux: Any) -> str:
    path = oci.bundle("true", linux=linux, hostname="")
    return oci("run", "-b", str(path), oci.name("ns"), check=False)


@pytest.mark.parametrize("kind", ["network", "ipc", "uts", "cgroup", "pid"])
def test_one_of_each_kind_by_path(oci: Oci, other: Other, kind: str) -> None:
    rest = {"pid", "network", "ipc", "uts", "mount", "cgroup"} - {kind}
    said = ran(oci, "readlink", f"/proc/self/ns/{KINDS[kind]}",
               namespaces=entries(*rest, **{kind: other.path(kind)}))  # fmt: skip
    assert said.strip() == os.readlink(other.path(kind))


def test_all_of_them_by_path(oci: Oci, other: Other) -> None:
    kinds = ("network", "ipc", "uts", "cgroup", "pid", "time")
    namespaces = entries("mount", **{kind: other.path(kind) for kind in kinds})
    found = ran(oci, "sh", "-c", LOOK, namespaces=namespaces)
    for kind in kinds:
        assert os.readlink(other.path(kind)) in found.split()


UPTIME = ("sh", "-c", "cut -d. -f1 /proc/uptime; readlink /proc/self/ns/time")


def test_a_new_time_namespace_has_its_offsets(oci: Oci) -> None:
    offsets = {"boottime": {"secs": 1_000_000, "nanosecs": 5}, "monotonic": {"secs": 7}}
    kinds = ("pid", "mount", "time", "uts")
    uptime, link = ran(oci, *UPTIME, namespaces=entries(*kinds), timeOffsets=offsets).split()
    assert abs(int(uptime) - 1_000_000 - time.clock_gettime(time.CLOCK_BOOTTIME)) < 60
    assert link != os.readlink("/proc/self/ns/time")


def test_a_time_namespace_without_offsets_and_one_with_a_user_namespace(oci: Oci) -> None:
    kinds = ("pid", "mount", "time", "uts", "network", "ipc")
    _, link = ran(oci, *UPTIME, namespaces=entries(*kinds)).split()
    assert link != os.readlink("/proc/self/ns/time")
    maps = {"uidMappings": IDS, "gidMappings": IDS}
    offsets = {"boottime": {"secs": 1_000_000}}
    namespaces = entries(*kinds, "user", "cgroup")
    uptime, _ = ran(oci, *UPTIME, namespaces=namespaces, timeOffsets=offsets, **maps).split()
    assert int(uptime) > 1_000_000


def test_a_time_namespace_by_path(oci: Oci, other: Other) -> None:
    namespaces = entries("pid", "mount", "uts", time=other.path("time"))
    uptime, link = ran(oci, *UPTIME, namespaces=namespaces).split()
    assert int(uptime) > 5_000_000
    assert link == os.readlink(other.path("time"))


def test_the_callers_clock_is_not_the_containers(oci: Oci, tmp_path: Path) -> None:
    """Hooks of the caller's namespaces see its clock, and the state finds the process again."""
    name = oci.name("hooks")
    look = "readlink /proc/thread-self/ns/time"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"{look} >>{tmp_path}/seen"]}
    inside = {"path": "/bin/sh", "args": ["sh", "-c", f"{look} >>{tmp_path}/in"]}
    offsets = {"boottime": {"secs": 1000}}
    linux = {"namespaces": entries("pid", "mount", "time", "uts"), "timeOffsets": offsets}
    path = oci.bundle("sleep", "1000", linux=linux, hooks={
        "createRuntime": [hook], "poststart": [hook], "createContainer": [inside],
    })  # fmt: skip
    oci("create", "-b", str(path), name)
    assert oci.state(name)["status"] == "created"
    oci("start", name)
    state = oci.state(name)
    assert state["status"] == "running"
    own = os.readlink("/proc/self/ns/time")
    assert (tmp_path / "seen").read_text().split() == [own, own]
    container = os.readlink(f"/proc/{state['pid']}/ns/time")
    assert container != own
    assert (tmp_path / "in").read_text().split() == [container]
    oci("delete", "--force", name)


def test_a_program_that_fails_in_a_time_namespace_says_why(oci: Oci) -> None:
    linux = {"namespaces": entries("pid", "mount", "time", "uts")}
    path = oci.bundle("true", linux=linux, process={"cwd": "/etc/passwd"})
    assert "Not a directory" in oci("run", "-b", str(path), oci.name("bad"), check=False)


@pytest.mark.parametrize(("offsets", "said"), [
    ({"realtime": {"secs": 1}}, "linux.timeOffsets: 'realtime'"),
    ({"boottime": {"nanosecs": 1_000_000_000}}, "linux.timeOffsets.boottime.nanosecs"),
    ({"boottime": {"secs": -1_000_000_000_000}}, "linux.timeOffsets: "),
    ({"boottime": {"secs": "x"}}, "linux.timeOffsets.boottime.secs"),
])  # fmt: skip
def test_offsets_that_are_none(oci: Oci, offsets: dict[str, Any], said: str) -> None:
    namespaces = entries("pid", "mount", "time")
    assert said in refused(oci, namespaces=namespaces, timeOffsets=offsets)


def test_offsets_need_a_new_namespace(oci: Oci, other: Other) -> None:
    offsets = {"boottime": {"secs": 1}}
    for namespaces in (entries("mount"), entries("mount", time=other.path("time"))):
        said = refused(oci, namespaces=namespaces, timeOffsets=offsets)
        assert "linux.timeOffsets: needs a new time namespace" in said


def test_a_user_namespace_by_path_with_what_belongs_to_it(oci: Oci, mapped: Other) -> None:
    """As podman has it in a pod: the ids are those of the namespace, told or not."""
    kinds = ("user", "network", "ipc", "uts", "cgroup")
    paths = {kind: mapped.path(kind) for kind in kinds}
    look = f"cat /proc/self/uid_map; id -u; {LOOK}"
    all_ids = [{"containerID": 0, "hostID": 0, "size": 65536}]
    for maps in ({}, {"uidMappings": all_ids, "gidMappings": all_ids}):
        namespaces = entries("pid", "mount", **paths)
        said = ran(oci, "sh", "-c", look, namespaces=namespaces, **maps).split()
        assert said[:4] == ["0", "0", "65536", "0"]
        for kind in kinds:
            assert os.readlink(mapped.path(kind)) in said


def test_a_user_namespace_by_path_and_all_else_new(oci: Oci, mapped: Other) -> None:
    namespaces = entries(
        "pid", "mount", "cgroup", "network", "ipc", "uts", user=mapped.path("user")
    )
    name = oci.name("user")
    path = oci.bundle("sleep", "1000", linux={"namespaces": namespaces})
    oci("create", "-b", str(path), name)
    pid = oci.state(name)["pid"]
    assert os.readlink(f"/proc/{pid}/ns/user") == os.readlink(mapped.path("user"))
    assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
    oci("start", name)
    assert oci.state(name)["status"] == "running"
    oci("delete", "--force", name)


def test_maps_that_are_not_those_of_the_namespace(oci: Oci, mapped: Other) -> None:
    namespaces = entries("pid", "mount", user=mapped.path("user"))
    said = refused(oci, namespaces=namespaces, uidMappings=IDS, gidMappings=IDS)
    assert "linux.uidMappings: are not those of the user namespace" in said


def test_a_network_namespace_that_is_not_of_the_user_namespace(
    oci: Oci, other: Other, mapped: Other
) -> None:
    namespaces = entries("pid", "mount", user=mapped.path("user"), network=other.path("network"))
    assert "linux.namespaces: cannot enter" in refused(oci, namespaces=namespaces)


def test_paths_that_lead_elsewhere(oci: Oci, other: Other, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    for kind in ("network", "uts", "user", "time", "pid"):
        wrong = "ipc"
        said = refused(oci, namespaces=entries("mount", **{kind: other.path(wrong)}))
        assert f"linux.namespaces: {other.path(wrong)}: is a namespace of kind ipc" in said
        said = refused(oci, namespaces=entries("mount", **{kind: str(tmp_path / "fifo")}))
        assert f"linux.namespaces: {tmp_path}/fifo: is no namespace" in said
        said = refused(oci, namespaces=entries("mount", **{kind: f"{tmp_path}/none"}))
        assert f"linux.namespaces: {tmp_path}/none: No such file" in said
        said = refused(oci, namespaces=entries("mount", **{kind: "relative"}))
        assert "linux.namespaces: 'relative' is not an absolute path" in said
    assert json.loads(oci("list", "--format", "json")) is None


@pytest.mark.parametrize("kind", [*KINDS, "mount"])
def test_a_kind_that_is_given_twice(oci: Oci, kind: str) -> None:
    assert f"{kind!r} is given twice" in refused(oci, namespaces=entries("mount", kind, kind))


def test_a_command_in_a_container_with_a_time_namespace(oci: Oci, other: Other) -> None:
    offsets = {"boottime": {"secs": 1_000_000}}
    made = {"namespaces": entries("pid", "mount", "time", "uts"), "timeOffsets": offsets}
    joined = {"namespaces": entries("pid", "mount", "uts", time=other.path("time"))}
    for number, linux in enumerate((made, joined)):
        name = oci.name(f"exec{number}")
        oci("run", "-d", "-b", str(oci.bundle("sleep", "1000", linux=linux)), name)
        uptime, link = oci("exec", name, *UPTIME).split()
        assert int(uptime) > 1_000_000
        assert link == os.readlink(f"/proc/{oci.state(name)['pid']}/ns/time")
        assert "executable file not found" in oci("exec", name, "no-such-command", status=None)
        oci("delete", "--force", name)


def test_a_command_in_a_container_with_anothers_user_namespace(oci: Oci, mapped: Other) -> None:
    namespaces = entries("pid", "mount", "network", "ipc", "uts", "cgroup",
                         user=mapped.path("user"))  # fmt: skip
    name = oci.name("exec")
    path = oci.bundle("sleep", "1000", linux={"namespaces": namespaces})
    oci("run", "-d", "-b", str(path), name)
    assert oci("exec", name, "readlink", "/proc/self/ns/user").strip() == os.readlink(
        mapped.path("user")
    )
    oci("delete", "--force", name)
