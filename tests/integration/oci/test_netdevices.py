"""Network devices that a container gets: moved, renamed, with their addresses; or back again."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci
from tests.support.waiting import wait_until


def ip(*words: str) -> str:
    done = subprocess.run(["ip", *words], check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


def shown(name: str) -> Any:
    return json.loads(ip("-j", "addr", "show", "dev", name))[0]


def is_there(name: str) -> bool:
    return Path(f"/sys/class/net/{name}").exists()


@pytest.fixture
def device() -> Iterator[str]:
    """A device of the host with lasting addresses and others."""
    name = f"kd{secrets.token_hex(4)}"
    ip("link", "add", name, "type", "veth", "peer", "name", f"{name}p")
    ip("link", "set", f"{name}p", "up")
    ip("link", "set", name, "mtu", "1400", "address", "02:00:00:11:22:33", "up")
    ip("addr", "add", "192.0.2.7/24", "dev", name)
    ip("addr", "add", "192.0.2.8/32", "peer", "198.51.100.1/32", "dev", name)
    ip("addr", "add", "2001:db8::7/64", "dev", name, "nodad")
    ip("addr", "add", "192.0.2.9/24", "dev", name, "valid_lft", "1000", "preferred_lft", "1000")
    ip("addr", "add", "169.254.7.7/16", "scope", "link", "dev", name)
    yield name
    # The kernel may be about to remove it, with the namespace that the other end is in.
    subprocess.run(["ip", "link", "del", f"{name}p"], check=False, stderr=subprocess.DEVNULL)
    assert not is_there(f"{name}p")


LOOK = "ip addr show dev {0}; ip -o link; cat /sys/class/net/{0}/address"


def looked(oci: Oci, devices: dict[str, Any], inside: str, **linux: Any) -> str:
    path = oci.bundle("sh", "-c", LOOK.format(inside), linux={"netDevices": devices, **linux})
    return oci("run", "-b", str(path), oci.name("net"))


def test_a_device_comes_with_its_lasting_addresses(oci: Oci, device: str) -> None:
    said = looked(oci, {device: {}}, device)
    assert "mtu 1400" in said
    assert ",UP" in said
    assert "02:00:00:11:22:33" in said
    for address in ("192.0.2.7/24", "192.0.2.8 peer 198.51.100.1/32", "2001:db8::7/64"):
        assert address in said, said
    for address in ("192.0.2.9", "169.254.7.7"):
        assert address not in said, said
    assert not is_there(device)  # it ended with the namespace


def test_a_device_under_another_name(oci: Oci, device: str) -> None:
    said = looked(oci, {device: {"name": "inside0"}}, "inside0")
    assert "192.0.2.7/24" in said
    assert device not in said


def test_a_name_that_the_kernel_completes(oci: Oci, device: str) -> None:
    said = looked(oci, {device: {"name": "fab%d"}}, "fab0")
    assert "192.0.2.7/24" in said


def test_a_namespace_by_path_keeps_the_device(oci: Oci, device: str) -> None:
    process = subprocess.Popen(["unshare", "--net", "sleep", "1000"])
    try:
        path = f"/proc/{process.pid}/ns/net"
        own = os.readlink("/proc/self/ns/net")
        wait_until(lambda: os.readlink(path) != own)
        kinds = ("pid", "mount", "uts")
        namespaces = [{"type": kind} for kind in kinds] + [{"type": "network", "path": path}]
        said = looked(oci, {device: {"name": "stays"}}, "stays", namespaces=namespaces)
        assert "192.0.2.7/24" in said
        # The name is taken there now.
        again = oci.bundle("true", linux={"netDevices": {"lo": {"name": "stays"}},
                                          "namespaces": namespaces})  # fmt: skip
        text = oci("create", "-b", str(again), oci.name("again"), check=False)
        assert "linux.netDevices.lo: the container has a device stays already" in text
    finally:
        process.kill()
        process.wait()


def same(before: Any, after: Any) -> None:
    for one in (before, after):
        one.pop("ifindex")
    # What is not lasting is lost on the way; a process that failed at once was given nothing.
    kept, found = (
        [entry for entry in one["addr_info"] if entry["scope"] == "global" and
         "dynamic" not in entry]
        for one in (before, after)
    )  # fmt: skip
    for entry in (*kept, *found):
        entry.pop("label", None)
    assert sorted(map(json.dumps, found)) == sorted(map(json.dumps, kept))
    assert (before["flags"], before["address"]) == (after["flags"], after["address"])


@pytest.mark.parametrize("way", ["hook", "second", "gate"])
def test_what_fails_gives_the_device_back(oci: Oci, device: str, way: str) -> None:
    before = shown(device)
    devices: dict[str, Any] = {device: {"name": "inside0"}}
    changes: dict[str, Any] = {}
    if way == "hook":
        changes["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    elif way == "second":
        devices["zz-none"] = {}
    else:
        changes["process"] = {"args": ["no-such-program"]}
    path = oci.bundle("true", linux={"netDevices": devices}, **changes)
    text = oci("create", "-b", str(path), oci.name("bad"), check=False)
    assert {"hook": "createRuntime", "second": "linux.netDevices.zz-none: there is no such device",
            "gate": "executable file not found"}[way] in text  # fmt: skip
    same(before, shown(device))


@pytest.mark.parametrize(("devices", "said"), [
    ({"no-such": {}}, "linux.netDevices.no-such: there is no such device"),
    ({"lo": {"name": "lo"}}, "linux.netDevices.lo: the container has a device lo already"),
    ({"lo": {"name": "other"}}, "linux.netDevices.lo: "),
    ({"a" * 16: {}}, "is no name of a device"),
    ({"lo": {"name": "a b"}}, "linux.netDevices.lo: 'a b' is no name of a device"),
    ({"lo": {"name": "a/b"}}, "'a/b' is no name of a device"),
    ({"lo": {"name": "a%s"}}, "linux.netDevices.lo.name: 'a%s' has another % than one %d"),
    ({"lo": []}, "linux.netDevices.lo: expected an object"),
    ({"lo": {"name": 1}}, "linux.netDevices.lo.name: 1 is not a text"),
])  # fmt: skip
def test_devices_that_cannot_be_moved(oci: Oci, devices: dict[str, Any], said: str) -> None:
    path = oci.bundle("true", linux={"netDevices": devices})
    assert said in oci("create", "-b", str(path), oci.name("bad"), check=False)
    assert oci("list", "-q") == ""


def test_devices_need_a_namespace(oci: Oci, device: str) -> None:
    for namespaces, said in (
        ([], "linux.netDevices: needs a network namespace"),
        ([{"type": "network", "path": "/proc/self/ns/net"}],
         "linux.netDevices: the network namespace is the host's own"),
    ):  # fmt: skip
        linux = {"netDevices": {device: {}},
                 "namespaces": [{"type": "mount"}, {"type": "uts"}, *namespaces]}  # fmt: skip
        path = oci.bundle("true", linux=linux)
        assert said in oci("create", "-b", str(path), oci.name("bad"), check=False)
    assert is_there(device)
