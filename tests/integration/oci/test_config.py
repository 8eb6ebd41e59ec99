"""What is wrong with a configuration is named by its field, and leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci

IDS = [{"containerID": 0, "hostID": 1000, "size": 1}]
BAD: list[tuple[str, Any, str]] = [
    ("ociVersion", "2.0.0", "ociVersion"),
    ("ociVersion", None, "ociVersion: is missing"),
    ("ociVersion", 1, "ociVersion: 1 is not a text"),
    ("ociVersion", "1.x", "ociVersion: '1.x' is not a version"),
    ("root", None, "root.path: is missing"),
    ("root", {"path": "/no/such/tree"}, "root.path: /no/such/tree is not a directory"),
    ("root", [], "root: expected an object"),
    ("root", {"path": "/proc/1/root/x"}, "root.path: "),
    ("process", None, "process: is missing"),
    ("process.args", [], "process.args: is empty"),
    ("process.args", "sh", "process.args: expected a list"),
    ("process.args", [1], "process.args[0]: 1 is not a text"),
    ("process.args", ["a\0b"], "process.args[0]: has a NUL byte"),
    ("process.cwd", "relative", "process.cwd"),
    ("process.user", {"uid": True}, "process.user.uid: True is not a whole number"),
    ("process.user", {"uid": -1}, "process.user.uid: -1"),
    ("process.user", {"gid": (1 << 32) - 1}, "process.user.gid: 4294967295"),
    ("process.rlimits", [{"type": "RLIMIT_X", "soft": 1, "hard": 1}], "process.rlimits"),
    ("process.scheduler", {"policy": "SCHED_X"}, "process.scheduler.policy"),
    ("process.ioPriority", {"class": "X"}, "process.ioPriority.class"),
    ("process.execCPUAffinity", {"initial": "0-"}, "process.execCPUAffinity.initial"),
    ("process.oomScoreAdj", 4000, "process.oomScoreAdj: 4000 is not from -1000 to 1000"),
    ("mounts", {}, "mounts: expected a list"),
    ("mounts", [{"type": "proc"}], "mounts[0].destination"),
    ("mounts", [{"destination": "/x", "type": "nosuchfs"}], "nosuchfs"),
    ("mounts", [{"destination": "/proc/1", "type": "tmpfs"}], "/proc/1"),
    ("mounts", [{"destination": "/a", "type": "bind", "source": "/no/such", "options": ["bind"]}],
     "/no/such"),
    ("mounts", [{"destination": "/tmp", "type": "proc", "options": ["tmpcopyup"]}],
     "mounts[0].options: tmpcopyup needs a tmpfs"),
    ("mounts", [{"destination": "/a", "source": "/", "options": ["bind", "idmap"]}],
     "mounts[0].options: idmap needs uidMappings or a user namespace"),
    ("mounts", [{"destination": "/a", "type": "tmpfs", "options": ["ridmap"]}],
     "mounts[0].options: idmap needs a bind mount"),
    ("mounts", [{"destination": "/a", "source": "/", "options": ["bind"], "uidMappings": IDS}],
     "mounts[0].gidMappings: is missing"),
    ("mounts", [{"destination": "/a", "type": "tmpfs", "uidMappings": IDS, "gidMappings": IDS}],
     "mounts[0].uidMappings: needs a bind mount"),
    ("mounts", [{"destination": "/a", "source": "/proc", "options": ["bind"], "uidMappings": IDS,
                 "gidMappings": IDS}], "mounts[0].uidMappings: /proc: Invalid argument"),
    ("mounts", [{"destination": "/tmp"}], "mounts[0].type: is missing"),
    ("mounts", [{"destination": "/tmp", "options": ["bind"]}], "mounts[0].source: is missing"),
    ("mounts", [{"destination": "/dev/shm", "options": ["remount", "tmpcopyup"], "type": "tmpfs"}],
     "mounts[0].options: tmpcopyup cannot"),
    ("mounts", [{"destination": "/etc", "options": ["remount", "ro"]}],
     "fspick: Invalid argument: /etc"),
    ("hooks", {"prestart": [{"path": "relative"}]}, "hooks.prestart[0].path"),
    ("hooks", {"poststop": [{"path": "/x", "timeout": 0}]}, "hooks.poststop[0].timeout"),
    ("hooks", {"poststop": {}}, "hooks.poststop: expected a list"),
    ("annotations", {"a": 1}, "annotations.a: 1 is not a text"),
    ("linux.namespaces", [{"type": "x"}], "linux.namespaces: 'x'"),
    ("linux.namespaces", [{"type": "uts"}, {"type": "user"}], "linux.namespaces: a user namespace"),
    ("linux.resources", {"pids": {"limit": "x"}}, "linux.resources.pids.limit"),
    ("linux.cgroupsPath", "/a/../..", "linux.cgroupsPath"),
    ("linux.cgroupsPath", 7, "linux.cgroupsPath: 7 is not a text"),
    ("linux.seccomp", {"defaultAction": "X"}, "linux.seccomp"),
    ("linux.seccomp", {"defaultAction": "SCMP_ACT_ALLOW", "listenerMetadata": "x"},
     "linux.seccomp.listenerMetadata"),
    ("linux.sysctl", {"kernel.panic": "1"}, "linux.sysctl: 'kernel.panic'"),
    ("linux.rootfsPropagation", "sideways", "linux.rootfsPropagation"),
    ("linux.personality", {"domain": "X"}, "linux.personality.domain"),
    ("linux.devices", [{"path": "/dev/x", "type": "z"}], "linux.devices[0].type"),
    ("linux.intelRdt", {"closID": ".."}, "linux.intelRdt.closID: '..'"),
    ("linux.timeOffsets", {"boottime": {"secs": 1}}, "linux.timeOffsets"),
    ("linux.uidMappings", [{"containerID": 0, "hostID": 1, "size": 1}], "linux.uidMappings"),
]  # fmt: skip


def changed(oci: Oci, field: str, value: Any) -> Path:
    bundle = oci.bundle("true")
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    *path, last = field.split(".")
    inner = config
    for name in path:
        inner = inner[name]
    inner[last] = value
    file.write_text(json.dumps(config))
    return bundle


@pytest.mark.parametrize(("field", "value", "said"), BAD, ids=[f"{b[0]}-{b[2]}" for b in BAD])
def test_field_is_named_and_nothing_left(oci: Oci, field: str, value: Any, said: str) -> None:
    bundle = changed(oci, field, value)
    text = oci("create", "--bundle", str(bundle), oci.name("bad"), check=False)
    assert said in text
    assert "Traceback" not in text
    assert oci("list", "-q") == ""
    assert oci.groups() == []


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff\xfe", b"[" * 100000, b'{"a":' * 70])
def test_file_that_is_no_configuration(oci: Oci, data: bytes) -> None:
    bundle = oci.bundle("true")
    (bundle / "config.json").write_bytes(data)
    text = oci("create", "--bundle", str(bundle), oci.name("bad"), check=False)
    assert "config.json" in text
    assert "Traceback" not in text


def test_file_that_is_too_large_or_none(oci: Oci) -> None:
    bundle = oci.bundle("true")
    with (bundle / "config.json").open("wb") as file:
        file.truncate((16 << 20) + 1)
    assert "more than" in oci("create", "-b", str(bundle), oci.name("bad"), check=False)
    (bundle / "config.json").unlink()
    assert "No such file" in oci("create", "-b", str(bundle), oci.name("bad"), check=False)


def test_unknown_fields_are_left_alone(oci: Oci) -> None:
    bundle = changed(oci, "process.somethingNew", {"a": [1, None]})
    oci("run", "-b", str(bundle), oci.name("new"))


def test_errors_in_json_for_callers_that_parse_them(oci: Oci, tmp_path: Path) -> None:
    log = tmp_path / "log.json"
    bundle = str(changed(oci, "process.cwd", "relative"))
    words = ("--log", str(log), "--log-format", "json", "create", "-b", bundle, oci.name("bad"))
    assert "process.cwd" in oci(*words, check=False)
    (line,) = map(json.loads, log.read_text().splitlines())
    assert line["level"] == "error"
    assert line["msg"].startswith("process.cwd")
    assert line["time"].endswith("Z")


@pytest.mark.parametrize(
    "words", [("nosuch",), ("--nosuch", "list"), ("list", "--format", "xml"), ("kill",), ("state",)]
)
def test_command_lines_that_are_none(oci: Oci, words: tuple[str, ...]) -> None:
    assert "knarr-oci: " in oci(*words, check=False)


def test_shares_of_caches_need_the_kernels_file_system(oci: Oci) -> None:
    if any(" - resctrl " in line for line in Path("/proc/self/mountinfo").read_text().splitlines()):
        pytest.skip("resctrl is mounted here")
    for value in ({}, {"closID": "x"}, {"schemata": ["L3:0=f"], "enableMonitoring": True}):
        bundle = changed(oci, "linux.intelRdt", value)
        text = oci("create", "-b", str(bundle), oci.name("bad"), check=False)
        assert "linux.intelRdt: no resctrl file system is mounted" in text
        assert oci("list", "-q") == ""
        assert oci.groups() == []
