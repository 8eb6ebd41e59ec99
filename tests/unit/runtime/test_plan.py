"""``plan``: what a spec becomes, and what it refuses by name."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.errors import KnarrError
from knarr.kernel.namespaces import CLONE_NEWCGROUP, CLONE_NEWNET, CLONE_NEWUSER
from knarr.runtime.fields import SpecError
from knarr.runtime.plan import plan
from knarr.runtime.steps.devices import Device
from tests.support.launch import spec

GOLDEN = """\
new namespaces: user mount pid network ipc uts cgroup
uid map 0 -> 536870912 (65536)
gid map 0 -> 536870912 (65536)
mount tree: private from the host's
attach root file system
host name box
loopback up
mount proc on /proc
mount tmpfs on /dev (mode=755,size=65536k)
mount devpts on /dev/pts (newinstance,ptmxmode=0666,mode=0620,gid=5)
mount sysfs on /sys
mount cgroup on /sys/fs/cgroup
mount mqueue on /dev/mqueue
mount tmpfs on /dev/shm (mode=1777,size=65536k)
device /dev/null (c 1:3)
device /dev/zero (c 1:5)
device /dev/full (c 1:7)
device /dev/random (c 1:8)
device /dev/urandom (c 1:9)
device /dev/tty (c 5:0)
links /dev/fd stdin stdout stderr ptmx
user root
working directory /
read-only /proc/bus /proc/fs /proc/irq /proc/sys /proc/sysrq-trigger
mask /proc/acpi /proc/interrupts /proc/kcore /proc/keys /proc/timer_list /sys/firmware
pivot root, let go of the host's tree
capabilities 0xa80425fb
exec sh -c true"""


def test_a_plan_reads_like_this() -> None:
    assert "\n".join(plan(spec("sh", "-c", "true")).describe()) == GOLDEN


def test_planning_leaves_the_spec_alone_and_is_repeatable() -> None:
    made = spec("sh")
    before = copy.deepcopy(made)
    assert plan(made).describe() == plan(made).describe()
    assert made == before


def test_everything_that_can_be_asked_for_shows() -> None:
    made = spec("/bin/true", userns=False)
    made["domainname"] = "sea"
    made["root"]["readonly"] = True
    made["process"] |= {
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "noNewPrivileges": True,
        "cwd": "/srv",
        "oomScoreAdj": -5,
    }
    made["process"]["user"] = {"uid": 7, "gid": 8, "additionalGids": [9, 8]}
    made["linux"] |= {
        "sysctl": {"net.core.somaxconn": "9", "kernel.msgmax": "1"},
        "rootfsPropagation": "rslave",
        "devices": [
            {"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229},
            {"path": "/dev/null", "type": "c", "major": 1, "minor": 3},
        ],
    }
    made["linux"]["namespaces"][1]["path"] = "/run/netns/x"
    made["mounts"].append({"destination": "v", "type": "none", "source": "/v", "options": ["ro"]})
    made_plan = plan(made)
    lines = made_plan.describe()
    for line in (
        "join /run/netns/x",
        "mount tree: slave of the host's",
        "host name box, domain sea",
        "bind /v on /v read-only",
        "device /dev/fuse (c 10:229)",
        "console (24x80)",
        "user 7:8",
        "working directory /srv",
        "sysctl kernel.msgmax=1 net.core.somaxconn=9",
        "root file system: read-only",
        "root file system: rslave",
        "no new privileges",
    ):
        assert line in lines, line
    assert "loopback up" not in lines, "a joined network is its owner's"
    assert sum("device /dev/null" in line for line in lines) == 1
    assert not made_plan.in_userns
    assert made_plan.oom_score_adj == -5
    assert made_plan.joins == ((CLONE_NEWNET, "/run/netns/x"),)
    assert made_plan.unshare_flags == CLONE_NEWCGROUP
    assert not made_plan.clone_flags & (CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWCGROUP)


def test_a_label_is_for_file_systems_that_have_none() -> None:
    made = spec("sh")
    made["linux"]["mountLabel"] = "system_u:object_r:container_file_t:s0:c1,c2"
    lines = [line for line in plan(made).describe() if line.startswith("mount ")]
    labelled = {
        line.split()[3] for line in lines if f"context={made['linux']['mountLabel']}" in line
    }
    assert labelled == {"/dev", "/dev/pts", "/dev/shm"}


def test_a_host_name_needs_a_place() -> None:
    """A namespace by path will do; without one it would be the host's name that changes."""
    made = spec("sh")
    made["hostname"] = "box"
    uts = next(entry for entry in made["linux"]["namespaces"] if entry["type"] == "uts")
    uts["path"] = "/run/uts/x"
    assert "host name box" in plan(made).describe()
    made["linux"]["sysctl"] = {"kernel.hostname": "other"}
    with pytest.raises(SpecError, match=r"linux\.sysctl: 'kernel\.hostname'"):
        plan(made)
    made["linux"]["sysctl"] = {"kernel.hostname": "box"}
    assert "host name box" in plan(made).describe()
    made["linux"]["sysctl"] = {}
    made["linux"]["namespaces"].remove(uts)
    with pytest.raises(SpecError, match="hostname: needs a uts namespace"):
        plan(made)


def drop(made: dict[str, Any], *path: str) -> None:
    for name in path[:-1]:
        made = made[name]
    del made[path[-1]]


def put(value: Any, *path: str | int) -> Any:
    def change(made: Any) -> None:
        for name in path[:-1]:
            made = made[name]
        made[path[-1]] = value

    return change


MOUNT = {"destination": "/x", "type": "tmpfs", "source": "", "options": []}
ONE_MAP = [{"containerID": 0, "size": 1}]


def scheduler(**values: object) -> Any:
    return put({"policy": "SCHED_OTHER", **values}, "process", "scheduler")


def io_priority(value: object) -> Any:
    return put({"class": "IOPRIO_CLASS_BE", "priority": value}, "process", "ioPriority")


def device(path: str, **values: object) -> Any:
    entry = {"path": path, "type": "c", "major": 1, "minor": 3, **values}
    return put([entry], "linux", "devices")


def mounted(entry: dict[str, Any], *options: str) -> Any:
    return lambda made: made["mounts"].append({**entry, "options": list(options)})


BAD = [
    ("process", lambda s: drop(s, "process")),
    ("process.args", put([], "process", "args")),
    ("process.args", lambda s: drop(s, "process", "args")),
    ("process.cwd", put("", "process", "cwd")),
    ("process.cwd", put("rel", "process", "cwd")),
    ("process.rlimits", put([{"type": "NOFILE", "soft": 1, "hard": 1}], "process", "rlimits")),
    ("process.rlimits", put([{"type": "RLIMIT_NO", "soft": 1, "hard": 1}], "process", "rlimits")),
    ("process.rlimits", put([{"soft": 1, "hard": 1}], "process", "rlimits")),
    (
        "process.rlimits",
        put([{"type": "RLIMIT_CPU", "soft": 1, "hard": 1}] * 2, "process", "rlimits"),
    ),
    ("process.rlimits", put([{"type": "RLIMIT_CPU", "soft": 1}], "process", "rlimits")),
    (
        "process.rlimits",
        put([{"type": "RLIMIT_CPU", "soft": "a", "hard": 1}], "process", "rlimits"),
    ),
    ("process.scheduler.policy", put({"policy": "X"}, "process", "scheduler")),
    (
        "process.scheduler.flags",
        put({"policy": "SCHED_OTHER", "flags": ["X"]}, "process", "scheduler"),
    ),
    ("process.ioPriority.class", put({"class": "X"}, "process", "ioPriority")),
    ("process.scheduler.nice", scheduler(nice="x")),
    ("process.scheduler.nice", scheduler(nice=20)),
    ("process.scheduler.nice", scheduler(nice=-21)),
    ("process.scheduler.priority", scheduler(priority=100)),
    ("process.scheduler.priority", scheduler(priority=-1)),
    ("process.scheduler.runtime", scheduler(runtime=1 << 64)),
    ("process.scheduler.deadline", scheduler(deadline=1.5)),
    ("process.scheduler.period", scheduler(period=True)),
    ("process.ioPriority.priority", io_priority(8)),
    ("process.ioPriority.priority", io_priority("x")),
    ("process.ioPriority.priority", io_priority(-1)),
    ("process.execCPUAffinity", put({"initial": "0-"}, "process", "execCPUAffinity")),
    ("process.selinuxLabel", lambda s: s["process"].update(apparmorProfile="a", selinuxLabel="b")),
    ("linux.namespaces", lambda s: s["linux"]["namespaces"].append({"type": "ipc", "path": "x"})),
    ("linux.namespaces", lambda s: s["linux"]["namespaces"].append({"type": "what"})),
    ("linux.namespaces", lambda s: s["linux"]["namespaces"].append({})),
    ("linux.namespaces", lambda s: s["linux"]["namespaces"].append({"type": "pid"})),
    ("linux.namespaces", put([{"type": "user"}], "linux", "namespaces")),
    ("linux.uidMappings", lambda s: drop(s, "linux", "uidMappings")),
    ("linux.gidMappings", put(ONE_MAP, "linux", "gidMappings")),
    ("linux.personality.domain", put({"domain": "BSD"}, "linux", "personality")),
    ("linux.seccomp.flags", put({"flags": ["X"]}, "linux", "seccomp")),
    ("linux.seccomp.listenerPath", put({"listenerPath": "/x"}, "linux", "seccomp")),
    ("linux.devices[0].path", put([{"type": "c"}], "linux", "devices")),
    ("linux.devices[0].type", put([{"path": "/dev/x"}], "linux", "devices")),
    ("linux.devices[0].type", put([{"path": "/dev/x", "type": "q"}], "linux", "devices")),
    ("linux.devices[0]: /dev/null is c 1:3", device("/dev/null", type="b", major=8, minor=0)),
    ("linux.devices[0]: /dev/null is c 1:3", device("/dev/null", minor=5)),
    ("linux.devices[0]: /dev/tty is c 5:0", device("/dev/tty", type="p")),
    ("linux.rootfsPropagation", put("bogus", "linux", "rootfsPropagation")),
    ("linux.intelRdt", put({"closID": "x"}, "linux", "intelRdt")),
    ("linux.memoryPolicy", put({"mode": "x"}, "linux", "memoryPolicy")),
    ("linux.netDevices", put({"eth0": {}}, "linux", "netDevices")),
    ("linux.timeOffsets", put({"monotonic": {}}, "linux", "timeOffsets")),
    ("linux.sysctl", put({"kernel.core_pattern": "x"}, "linux", "sysctl")),
    ("linux.sysctl", put({"net/../kernel/core_pattern": "x"}, "linux", "sysctl")),
    ("linux.sysctl", put({"net": "x"}, "linux", "sysctl")),
    ("linux.sysctl", put({"net..x": "x"}, "linux", "sysctl")),
    ("linux.sysctl", put({"": "x"}, "linux", "sysctl")),
    ("ociVersion", lambda s: drop(s, "ociVersion")),
    ("ociVersion", put("9.0.0", "ociVersion")),
    ("ociVersion", put("0.9.0", "ociVersion")),
    ("ociVersion", put("11.0", "ociVersion")),
    ("ociVersion", put(1, "ociVersion")),
    ("hooks", put({"prestart": [{"path": "/x"}]}, "hooks")),
    ("mounts[7].destination", lambda s: s["mounts"].append({"type": "tmpfs"})),
    ("mounts[7].uidMappings", lambda s: s["mounts"].append({**MOUNT, "uidMappings": ONE_MAP})),
    ("mounts[7].options: idmap needs a bind mount", mounted(MOUNT, "idmap")),
    ("mounts[7].options: idmap needs a bind mount", mounted(MOUNT, "ridmap")),
    ("/proc/sys", lambda s: s["mounts"].append({**MOUNT, "destination": "/proc/sys"})),
    ("/proc", lambda s: s["mounts"].append({**MOUNT, "destination": "/./proc//"})),
    ("/a/../b", lambda s: s["mounts"].append({**MOUNT, "destination": "/a/../b"})),
]


@pytest.mark.parametrize(("field", "change"), BAD, ids=lambda v: v if isinstance(v, str) else "")
def test_an_error_names_its_field(field: str, change: Any) -> None:
    made = spec("sh")
    change(made)
    with pytest.raises(SpecError) as caught:
        plan(made)
    assert field in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("option", ["idmap", "ridmap"])
def test_an_idmapped_mount_takes_the_ids_of_a_new_user_namespace(option: str) -> None:
    change = mounted({"destination": "/x", "type": "bind", "source": "/x"}, "rbind", option)
    made = spec("sh")
    change(made)
    plan(made)
    made = spec("sh", userns=False)
    change(made)
    with pytest.raises(
        SpecError, match=r"mounts\[7\].options: idmap needs uidMappings or a user namespace"
    ):
        plan(made)


def test_mode_and_owner_of_a_default_device_can_be_given() -> None:
    made = spec("sh")
    device("/dev/tty", major=5, minor=0, fileMode=0o620, uid=1, gid=5)(made)
    (found,) = (one for one in plan(made).steps if getattr(one, "path", "") == "/dev/tty")
    assert isinstance(found, Device)
    assert (found.major, found.minor, found.mode, found.uid, found.gid) == (5, 0, 0o620, 1, 5)
    usual = spec("sh")
    device("/dev/null", fileMode=0o666)(usual)
    assert plan(usual).describe() == plan(spec("sh")).describe()


@pytest.mark.parametrize(
    "value", ["private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "", None]
)
def test_a_propagation_of_the_root(value: str | None) -> None:
    made = spec("sh")
    made["linux"]["rootfsPropagation"] = value
    line = f"root file system: {value}"
    assert (line in plan(made).describe()) is bool(value)


def test_a_host_name_needs_a_namespace() -> None:
    made = spec("sh")
    made["linux"]["namespaces"] = [n for n in made["linux"]["namespaces"] if n["type"] != "uts"]
    with pytest.raises(SpecError, match="hostname"):
        plan(made)


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("net.core.somaxconn", "network"),
        ("kernel.sem", "ipc"),
        ("fs.mqueue.msg_max", "ipc"),
        ("kernel.domainname", "uts"),
    ],
)
def test_a_sysctl_needs_its_namespace(key: str, kind: str) -> None:
    made = spec("sh")
    del made["hostname"]
    made["linux"]["sysctl"] = {key: "1"}
    plan(made)
    made["linux"]["namespaces"] = [n for n in made["linux"]["namespaces"] if n["type"] != kind]
    with pytest.raises(SpecError, match=key):
        plan(made)


def test_a_sysctl_needs_a_procfs() -> None:
    made = spec("sh")
    made["linux"]["sysctl"] = {"kernel.msgmax": "1"}
    (proc,) = (entry for entry in made["mounts"] if entry["type"] == "proc")
    proc |= {"type": "bind", "source": "/host/file", "options": ["rbind"], "destination": "//proc"}
    with pytest.raises(SpecError, match=r"mounts\[0\]: '/host/file' on /proc, but linux.sysctl"):
        plan(made)
    made["mounts"].remove(proc)
    with pytest.raises(SpecError, match=r"mounts: none on /proc, but linux.sysctl"):
        plan(made)


def test_files_below_proc_that_may_be_covered() -> None:
    made = spec("sh")
    for name in (
        "cpuinfo",
        "meminfo",
        "uptime",
        "loadavg",
        "stat",
        "diskstats",
        "swaps",
        "net/dev",
    ):
        made["mounts"].append(
            {
                "destination": f"/proc/{name}",
                "type": "bind",
                "source": "/lxcfs",
                "options": ["bind"],
            }
        )
    plan(made)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=5,
)
FIELDS = ["hostname", "process", "mounts", "linux", "root", "hooks"]


@given(st.sampled_from(FIELDS), JSON)
def test_any_json_is_planned_or_refused(field: str, value: Any) -> None:
    """Wrong types end as an error, never as a plan that is half of what was asked."""
    made = spec("sh")
    made[field] = value
    try:
        plan(made)
    except (KnarrError, ValueError, TypeError, AttributeError, KeyError):
        return


@pytest.mark.parametrize("value", ["7", -1, 1 << 32, 1.0, True, None])
@pytest.mark.parametrize("field", ["umask", "height", "minor", "uid"])
def test_a_number_is_a_number(field: str, value: object) -> None:
    """A text in its place would become an address in a program of system calls."""
    made = spec("true")
    size = {"height": 24, "width": 80}
    entry = {"path": "/dev/x", "type": "c", "major": 1, "minor": 3}
    made["process"] |= {"terminal": True, "consoleSize": size}
    made["linux"]["devices"] = [entry]
    plan(made)
    places = {"umask": made["process"]["user"], "height": size, "minor": entry, "uid": entry}
    places[field][field] = value
    with pytest.raises(SpecError, match=rf"\.{field}: .*is not a number"):
        plan(made)
