"""Configurations with every field, and what hypothesis makes of them as an enemy would."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

Json = Any
Path = tuple[str | int, ...]

_IDS = [{"containerID": 0, "hostID": 100000, "size": 65536}]
_HOOK = {"path": "/bin/true", "args": ["true", "x"], "env": ["A=b"], "timeout": 5}


def _process() -> dict[str, Any]:
    return {
        "terminal": True,
        "consoleSize": {"height": 24, "width": 80},
        "cwd": "/",
        "env": ["PATH=/bin:/usr/bin", "TERM=xterm"],
        "args": ["sh", "-c", "true"],
        "user": {"uid": 0, "gid": 0, "umask": 18, "additionalGids": [5, 6]},
        "capabilities": {
            kind: ["CAP_KILL", "CAP_AUDIT_WRITE"]
            for kind in ("bounding", "effective", "permitted", "inheritable", "ambient")
        },
        "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 512, "hard": 1024}],
        "noNewPrivileges": True,
        "oomScoreAdj": 100,
        "apparmorProfile": "",
        "selinuxLabel": "",
        "scheduler": {"policy": "SCHED_OTHER", "nice": 5, "priority": 0, "flags": [],
                      "runtime": 0, "deadline": 0, "period": 0},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 4},
        "execCPUAffinity": {"initial": "0", "final": "0-3"},
    }  # fmt: skip


def _resources() -> dict[str, Any]:
    return {
        "devices": [{"allow": False, "access": "rwm"},
                    {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rw"}],
        "memory": {"limit": 1 << 28, "reservation": 1 << 27, "swap": 1 << 29,
                   "swappiness": 0, "disableOOMKiller": False, "useHierarchy": True,
                   "checkBeforeUpdate": False},
        "cpu": {"shares": 512, "quota": 50000, "period": 100000, "burst": 0,
                "cpus": "0", "mems": "0", "idle": 0},
        "pids": {"limit": 100},
        "blockIO": {"weight": 500,
                    "weightDevice": [{"major": 8, "minor": 0, "weight": 500}],
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}]},
        "hugepageLimits": [{"pageSize": "2MB", "limit": 0}],
        "network": {"classID": 1048577, "priorities": [{"name": "lo", "priority": 5}]},
        "rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}},
        "unified": {"pids.max": "100"},
    }  # fmt: skip


def _linux() -> dict[str, Any]:
    return {
        "namespaces": [{"type": kind} for kind in (
            "pid", "network", "ipc", "uts", "mount", "cgroup", "time")],
        "devices": [{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229,
                     "fileMode": 438, "uid": 0, "gid": 0}],
        "cgroupsPath": "/knarr-test/x",
        "resources": _resources(),
        "rootfsPropagation": "private",
        "seccomp": {
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64"],
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "listenerPath": "/run/agent", "listenerMetadata": "about",
            "syscalls": [{"names": ["getcwd", "chmod"], "action": "SCMP_ACT_ERRNO",
                          "errnoRet": 1,
                          "args": [{"index": 0, "value": 1, "valueTwo": 2,
                                    "op": "SCMP_CMP_MASKED_EQ"}]}],
        },
        "maskedPaths": ["/proc/kcore", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys", "/proc/bus"],
        "sysctl": {"net.ipv4.ip_forward": "1", "kernel.msgmax": "65536"},
        "personality": {"domain": "LINUX", "flags": []},
        "timeOffsets": {"monotonic": {"secs": 100, "nanosecs": 5}, "boottime": {"secs": -1}},
        "memoryPolicy": {"mode": "MPOL_BIND", "nodes": "0", "flags": ["MPOL_F_STATIC_NODES"]},
        "netDevices": {"eth7": {"name": "eth0"}},
        "mountLabel": "",
        "intelRdt": {"closID": "gold", "l3CacheSchema": "L3:0=f", "memBwSchema": "MB:0=20",
                     "schemata": ["L2:0=f"], "enableMonitoring": False},
    }  # fmt: skip


def full() -> dict[str, Any]:
    """Return a configuration in which every field that this runtime reads has a value it takes."""
    return {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "box",
        "domainname": "example.org",
        "annotations": {"org.example.key": "value"},
        "process": _process(),
        "mounts": [
            {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid"]},
            {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["mode=755"]},
            {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
             "options": ["newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
            {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
            {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
             "options": ["ro"]},
            {"destination": "/data", "type": "bind", "source": "/tmp", "options": ["rbind", "rro"]},
        ],
        "hooks": {kind: [copy.deepcopy(_HOOK)] for kind in (
            "prestart", "createRuntime", "createContainer", "startContainer", "poststart",
            "poststop")},
        "linux": _linux(),
    }  # fmt: skip


def private_users() -> dict[str, Any]:
    """Return one with a user namespace, in which other things are possible."""
    made = full()
    made["linux"]["namespaces"].append({"type": "user"})
    made["linux"] |= {"uidMappings": copy.deepcopy(_IDS), "gidMappings": copy.deepcopy(_IDS)}
    made["mounts"][-1] |= {"uidMappings": copy.deepcopy(_IDS), "gidMappings": copy.deepcopy(_IDS)}
    made["mounts"][-1]["options"].append("idmap")
    return made


def anywhere() -> dict[str, Any]:
    """Return one that can be carried out on most machines, and quickly."""
    made = full()
    made["process"]["terminal"] = False
    made["linux"]["resources"] = {
        name: value
        for name, value in made["linux"]["resources"].items()
        if name in ("devices", "pids")
    }
    made["hooks"] = {kind: made["hooks"][kind] for kind in ("createRuntime", "poststop")}
    for field in ("netDevices", "intelRdt"):  # no machine has these
        del made["linux"][field]
    made["linux"]["devices"] = [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]
    return made


_TEXTS = [
    "", " ", "\0", "a\0b", "/", "//", ".", "..", "../..", "/..", "/../../etc", "relative/path",
    "/proc/self/exe", "/proc/1/root", "/proc/self/fd/3", "/dev/null", "a\nb", "\x7f\x1b[31m",
    "\ud800", "/\udcff\ud800", "\udc80", "é" * 200, "😀", "A" * 255,
    "LONG", "DEEP", "-1", "0x10", "None", "%s%n{0}", "=", "=x", "x=", "rbind", "bind,ro", "ro",
    "idmap", "ridmap",
    "shared", "tmpcopyup", "size=999999999999999999999", "proc", "cgroup2", "overlay", "nosuchfs",
    "SCMP_ACT_NOTIFY", "SCMP_ACT_ERRNO", "SCMP_ACT_TRACE", "SCHED_DEADLINE", "SCHED_FIFO",
    "RLIMIT_INFINITY", "RLIMIT_NOFILE", "RLIMIT_CORE", "CAP_SYS_ADMIN", "cap_kill", "user", "time",
    "mount", "1.0.0", "1.", "2.0.0", "1.99999999999999999999.0", "c", "b", "p", "a", "net.x",
    "net/../kernel/panic", "kernel.msgmax", "net.." , "max", "0-999999", "1-0", "0,", "\u202e",
]  # fmt: skip
_NUMBERS = [
    0, 1, -1, -2, 7, 19, 20, 99, 100, 255, 511, 1000, 1001, 4095, 4096, 65535, 65536, 1 << 20,
    (1 << 31) - 1, 1 << 31, -(1 << 31), -(1 << 31) - 1, (1 << 32) - 2, (1 << 32) - 1, 1 << 32,
    (1 << 63) - 1, 1 << 63, -(1 << 63), -(1 << 63) - 1, (1 << 64) - 1, 1 << 64, 10**30, -(10**30),
    10**400,
]  # fmt: skip
_FLOATS = [0.0, -0.0, 1.5, 1e308, -1e-308, float("nan"), float("inf"), float("-inf")]
_ALONE: list[Json] = [None, True, False, [], {}, [None], {"": None}, [[]], [{}], {"a": {}}]

_LARGE = {"LONG": "A" * 70000, "DEEP": "/a" * 3000}
texts = st.sampled_from(_TEXTS).map(lambda text: _LARGE.get(text, text))
scalars = st.one_of(
    texts, st.sampled_from(_NUMBERS), st.sampled_from(_FLOATS),
    st.sampled_from(_ALONE), st.integers(), st.text(max_size=12),
    st.text(st.characters(exclude_categories=()), max_size=4),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


def places(value: Json, path: Path = ()) -> list[Path]:
    """Return the paths of everything in a configuration but itself."""
    found: list[Path] = [path] if path else []
    if isinstance(value, dict):
        for key in value:
            found += places(value[key], (*path, key))
    elif isinstance(value, list):
        for index in range(len(value)):
            found += places(value[index], (*path, index))
    return found


def at(value: Json, path: Path) -> Json:
    """Return what stands at a path."""
    for part in path:
        value = value[part]
    return value


def _mutate(draw: st.DrawFn, config: dict[str, Any]) -> None:
    path = draw(st.sampled_from(places(config)))
    parent, last = at(config, path[:-1]), path[-1]
    old = parent[last]
    kind = draw(st.integers(0, 13))
    if kind <= 1:
        parent[last] = copy.deepcopy(draw(scalars))
    elif kind <= 4 and type(old) is int:
        parent[last] = draw(st.sampled_from(_NUMBERS) | st.integers())
    elif kind <= 4 and type(old) is str:
        parent[last] = draw(texts | st.text(max_size=8))
    elif kind <= 4 and isinstance(old, list) and old:
        old.insert(0, copy.deepcopy(draw(st.sampled_from(old) | scalars)))
    elif kind == 5:
        parent[last] = draw(values)
    elif kind == 6:
        del parent[last]
    elif kind == 7 and isinstance(old, list):
        old *= draw(st.sampled_from([0, 2, 30, 600]))
    elif kind == 8 and isinstance(parent, dict):
        parent[draw(st.sampled_from([str(last).upper(), f" {last}", "", "\ud800", "x" * 300]))] = (
            old
        )
    elif kind == 9:
        other = draw(st.sampled_from(places(config)))
        parent[last] = copy.deepcopy(at(config, other))
    elif kind == 10:
        for _ in range(draw(st.sampled_from([1, 2, 70]))):
            old = [old] if draw(st.booleans()) else {"a": old}
        parent[last] = old
    elif isinstance(old, int):
        parent[last] = old + draw(st.integers(-3, 3))
    elif isinstance(old, str):
        parent[last] = old + draw(st.sampled_from(_TEXTS))


@st.composite
def configs(draw: st.DrawFn, *bases: Callable[[], dict[str, Any]]) -> bytes:
    """A config.json that was correct until somebody changed up to four things in it."""
    config = draw(st.sampled_from(bases))()
    for _ in range(draw(st.integers(1, 4))):
        _mutate(draw, config)
    text = json.dumps(config)
    if draw(st.integers(0, 9)) == 0:
        # A key twice: the last one counts.
        text = text.replace('"process": {', '"process": [], "process": {"cwd": 7, ', 1)
    if draw(st.integers(0, 19)) == 0:
        cut = draw(st.integers(0, len(text)))
        text = text[:cut] + draw(st.sampled_from(["", "}", "\x00", "\ud800", ",", "NaN"]))
    data = text.encode("utf-8", "surrogatepass")
    if draw(st.integers(0, 29)) == 0:
        data = draw(st.sampled_from([b"\xff\xfe", b"\xef\xbb\xbf", b"\0"])) + data
    return data


@st.composite
def processes(draw: st.DrawFn) -> bytes:
    """A process.json, as for exec, that was correct until somebody changed it."""
    process = anywhere()["process"]
    for _ in range(draw(st.integers(1, 3))):
        _mutate(draw, process)
    return json.dumps(process).encode("utf-8", "surrogatepass")
