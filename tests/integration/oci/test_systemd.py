"""--systemd-cgroup: what systemd knows of a container's scope, and what it does to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.cgroups import files, mounts
from tests.integration.oci.test_control import SLEEP, linux_of, places, running, stopped
from tests.support.bundles import Oci
from tests.support.waiting import wait_until

MIB = 1 << 20


@pytest.fixture
def scoped(oci: Oci) -> Oci:
    """The command with systemd's scopes."""
    versions = {one.version for one in mounts.parse(files.read("/proc/self/mountinfo"))}
    if not Path("/run/systemd/system").is_dir() or versions != {2}:
        pytest.skip("needs systemd as process 1, and cgroup v2 alone")
    oci.always("--systemd-cgroup")
    return oci


def systemctl(*words: str) -> str:
    done = subprocess.run(
        ["systemctl", *words], capture_output=True, text=True, check=False, timeout=100
    )
    return done.stdout


def shown(unit: str, *properties: str) -> dict[str, str]:
    """What systemd says of a unit."""
    said = systemctl("show", unit, *(f"--property={one}" for one in properties))
    return dict(line.split("=", 1) for line in said.splitlines())


def scope_of(oci: Oci, name: str) -> Path:
    """The directory of a container's scope."""
    return Path(places(oci, name)["unified"]).parent


def in_scope(scope: Path) -> list[str]:
    return [pid for file in scope.rglob("cgroup.procs") for pid in file.read_text().split()]


def test_a_scope_of_its_own_for_as_long_as_the_container_is(scoped: Oci) -> None:
    name = scoped.name("scope")
    limits = {"memory": {"limit": 64 * MIB}, "pids": {"limit": 20}}
    running(scoped, name, linux=linux_of(scoped, resources=limits))
    unit = f"knarr-oci-{name}.scope"
    properties = ("ActiveState", "Delegate", "Slice", "ControlGroup", "Transient", "TasksMax")
    assert shown(unit, *properties) == {
        "ActiveState": "active",
        "Delegate": "yes",
        "Slice": "system.slice",
        "ControlGroup": f"/system.slice/{unit}",
        "Transient": "yes",
        "TasksMax": "infinity",
    }
    scope = scope_of(scoped, name)
    assert scope == Path(f"/sys/fs/cgroup/system.slice/{unit}")
    assert str(scoped.state(name)["pid"]) in (scope / "container/cgroup.procs").read_text().split()
    assert scoped("exec", name, "cat", "/proc/self/cgroup") == "0::/\n"

    scoped("kill", name, "KILL")
    wait_until(lambda: stopped(scoped, name))
    assert shown(unit, "ActiveState") == {"ActiveState": "active"}  # the figures are still asked
    (keeper,) = in_scope(scope)
    words = Path(f"/proc/{keeper}/cmdline")
    wait_until(lambda: words.read_bytes() == b"knarr-keeper\0")  # of a few pages
    scoped("delete", name)
    assert shown(unit, "LoadState") == {"LoadState": "not-found"}
    assert not scope.exists()
    assert not Path(f"/proc/{keeper}/ns/pid").exists()


def test_slice_prefix_and_name(scoped: Oci) -> None:
    """A slice lies in that whose name it begins with, and systemd makes them all."""
    top = scoped.prefix.rstrip("-")
    name = scoped.name("placed")
    running(scoped, name, linux=linux_of(scoped, cgroupsPath=f"{top}-deep.slice:libpod:{name}"))
    place = f"/{top}.slice/{top}-deep.slice/libpod-{name}.scope"
    assert scope_of(scoped, name) == Path(f"/sys/fs/cgroup{place}")
    assert shown(f"libpod-{name}.scope", "ControlGroup") == {"ControlGroup": place}
    scoped("delete", "--force", name)
    systemctl("stop", f"{top}.slice")


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("relative/path", "systemd takes slice:prefix:name"),
        ("a:b", "systemd takes slice:prefix:name"),
        ("machine:b:c", "'machine' is not the name of a slice"),
        ("a--b.slice:x:y", "'a--b.slice' is not the name of a slice"),
        ("system.slice:x:a b", "'x-a b' is not the name of a scope"),
        ("../up.slice:x:y", "'../up.slice' is not the name of a slice"),
    ],
)
def test_paths_that_name_no_scope(scoped: Oci, path: str, text: str) -> None:
    bundle = str(scoped.bundle(*SLEEP, linux=linux_of(scoped, cgroupsPath=path)))
    said = scoped("create", "--bundle", bundle, scoped.name("bad"), check=False)
    assert f"linux.cgroupsPath: cgroup path {path!r}: " in said
    assert text in said
    assert scoped("list", "-q") == ""


def test_limits_stay_when_systemd_is_loaded_anew(scoped: Oci) -> None:
    name = scoped.name("again")
    limits = {"memory": {"limit": 64 * MIB}, "cpu": {"shares": 512}, "pids": {"limit": 20}}
    running(scoped, name, linux=linux_of(scoped, resources=limits))
    group = Path(places(scoped, name)["unified"])
    kept = [group / file for file in ("memory.max", "cpu.weight", "pids.max")]
    before = [file.read_text() for file in kept]
    assert before == [f"{64 * MIB}\n", "59\n", "20\n"]
    systemctl("daemon-reload")
    assert [file.read_text() for file in kept] == before
    scoped("update", "--pids-limit", "30", name)
    systemctl("daemon-reexec")
    wait_until(lambda: shown(f"knarr-oci-{name}.scope", "ActiveState")["ActiveState"] == "active")
    assert [file.read_text() for file in kept] == [*before[:2], "30\n"]
    assert scoped.state(name)["status"] == "running"


def test_the_administrator_stops_the_scope(scoped: Oci) -> None:
    """The container ends with it; its state and its name stay until ``delete``."""
    name = scoped.name("ended")
    running(scoped, name, "sh", "-c", "trap exit TERM; while :; do sleep 0.02; done")
    scope = scope_of(scoped, name)
    systemctl("stop", f"knarr-oci-{name}.scope")
    assert not scope.exists()
    assert scoped.state(name)["status"] == "stopped"
    assert "container not running" in scoped("pause", name, check=False)
    scoped("delete", name)
    assert scoped("list", "-q") == ""


@pytest.fixture
def others_scope(scoped: Oci) -> Iterator[str]:
    """A scope that somebody else has made, with a process in it."""
    unit = f"knarr-oci-{scoped.name('other')}.scope"
    with subprocess.Popen(["systemd-run", "--quiet", "--scope", f"--unit={unit}", *SLEEP]) as made:
        wait_until(lambda: shown(unit, "ActiveState") == {"ActiveState": "active"})
        yield unit
        assert made.poll() is None
        made.kill()
    wait_until(lambda: shown(unit, "LoadState") == {"LoadState": "not-found"})


def test_scope_of_somebody_else_is_refused_and_stays(scoped: Oci, others_scope: str) -> None:
    name = scoped.name("thief")
    path = f"system.slice::{others_scope.removesuffix('.scope')}"
    bundle = str(scoped.bundle(*SLEEP, linux=linux_of(scoped, cgroupsPath=path)))
    said = scoped("create", "--bundle", bundle, name, check=False)
    assert "container's cgroup is not empty: 1 process(es) found" in said
    assert shown(others_scope, "ActiveState") == {"ActiveState": "active"}
    assert scoped("list", "-q") == ""


def test_container_whose_scope_is_in_use_is_refused(scoped: Oci) -> None:
    name = scoped.name("first")
    linux = linux_of(scoped, cgroupsPath=f"system.slice:same:{name}")
    running(scoped, name, linux=linux)
    bundle = str(scoped.bundle(*SLEEP, linux=linux))
    said = scoped("create", "--bundle", bundle, scoped.name("second"), check=False)
    assert "container's cgroup is not empty: 2 process(es) found" in said
    assert scoped.state(name)["status"] == "running"


def test_refused_limits_leave_no_scope(scoped: Oci) -> None:
    name = scoped.name("refused")
    linux = linux_of(scoped, resources={"cpu": {"cpus": "4000"}})
    bundle = str(scoped.bundle(*SLEEP, linux=linux))
    said = scoped("create", "--bundle", bundle, name, check=False)
    assert "linux.resources: cpu.cpus cannot be set to '4000'" in said
    assert shown(f"knarr-oci-{name}.scope", "LoadState") == {"LoadState": "not-found"}


def test_life_and_control(scoped: Oci) -> None:
    """Each command by the scope that the first one made, without a word on who made it."""
    name = scoped.name("life")
    bundle = scoped.bundle("sh", "-c", "trap 'exit 7' TERM; while :; do sleep 0.02; done")
    scoped("create", "--bundle", str(bundle), name)
    group = Path(places(scoped, name)["unified"])
    scoped.always()
    scoped("start", name)
    scoped("pause", name)
    assert (group / "cgroup.freeze").read_text() == "1\n"
    assert scoped.state(name)["status"] == "paused"
    scoped("resume", name)
    assert scoped.state(name)["status"] == "running"
    scoped("update", "--pids-limit", "25", name)
    assert (group / "pids.max").read_text() == "25\n"
    assert json.loads(scoped("ps", "-f", "json", name))[0] == scoped.state(name)["pid"]
    assert json.loads(scoped("events", "--stats", name))["data"]["pids"]["limit"] == 25
    scoped("exec", "-d", name, *SLEEP)
    wait_until(lambda: len(in_scope(group)) >= 2)
    scoped("kill", "--all", name, "KILL")
    wait_until(lambda: stopped(scoped, name))
    assert in_scope(group) == []
    scoped("delete", name)


def test_commands_of_a_container_with_a_user_namespace(scoped: Oci) -> None:
    """They enter the group, in which nobody from there can be born; it is its root's to divide."""
    ids = [{"containerID": 0, "hostID": 100000, "size": 65536}]
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")
    name = scoped.name("mapped")
    config = json.loads((scoped.bundle(*SLEEP) / "config.json").read_text())
    for entry in config["mounts"]:
        if entry["type"] == "cgroup":
            entry["options"] = ["nosuid", "noexec", "nodev", "rw"]
    linux = linux_of(scoped, namespaces=[{"type": kind} for kind in kinds],
                     uidMappings=ids, gidMappings=ids)  # fmt: skip
    running(scoped, name, linux=linux, mounts=config["mounts"])
    group = Path(places(scoped, name)["unified"])
    assert scoped("exec", name, "cat", "/proc/self/cgroup") == "0::/\n"
    assert scoped("exec", name, "mkdir", "/sys/fs/cgroup/own") == ""
    assert (group / "own").stat().st_uid == 100000
    assert group.parent.stat().st_uid == 0
    assert "Permission denied" in scoped(
        "exec", name, "sh", "-c", "echo max >/sys/fs/cgroup/pids.max", check=False
    )


def test_delete_with_force_takes_all_of_the_scope(scoped: Oci) -> None:
    name = scoped.name("force")
    kinds = ("network", "ipc", "uts", "mount", "cgroup")
    linux = linux_of(scoped, namespaces=[{"type": kind} for kind in kinds])
    running(scoped, name, "sh", "-c", "trap '' TERM; sleep 999 & exec sleep 1000", linux=linux)
    scope = scope_of(scoped, name)
    wait_until(lambda: len(in_scope(scope)) == 3)
    pids = in_scope(scope)
    os.kill(scoped.state(name)["pid"], signal.SIGKILL)
    scoped("delete", "--force", name)
    assert not scope.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}/ns/pid").exists()]


def test_create_that_is_killed_leaves_what_delete_finds(scoped: Oci) -> None:
    """In the middle of it: a hook has it wait."""
    name = scoped.name("killed")
    started = scoped.folder / "started"
    hook = scoped.folder / "hook"
    hook.write_text(
        f"#!/bin/sh\necho $$ >{started}.new\nmv {started}.new {started}\nexec sleep 1000\n"
    )
    hook.chmod(0o755)
    bundle = scoped.bundle(*SLEEP, hooks={"createRuntime": [{"path": str(hook)}]})
    words = [str(scoped.program), "create", "--bundle", str(bundle), name]
    with subprocess.Popen(words, stdin=subprocess.DEVNULL) as process:
        wait_until(started.exists)
        scope = scope_of(scoped, name)
        pids = in_scope(scope)
        assert len(pids) == 2
        process.kill()
    hooked = started.read_text().strip()
    wait_until(lambda: not Path(f"/proc/{hooked}/ns/pid").exists())  # it goes with ``create``
    scoped("delete", "--force", name)
    assert not scope.exists()
    assert not [pid for pid in pids if Path(f"/proc/{pid}/ns/pid").exists()]
    assert shown(f"knarr-oci-{name}.scope", "LoadState") == {"LoadState": "not-found"}
