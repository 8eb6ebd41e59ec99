from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from knarr.engine import speccontext
from knarr.engine.hostdevices import host_devices
from knarr.engine.model import ContainerConfig, Limits, ThrottleDevice
from knarr.engine.security.users import ResolvedUser
from knarr.engine.speccontext import (
    BuildContext,
    gather,
    kernel_version,
    wants_user_namespace,
)
from knarr.errors import InvalidArgument


def gathered(**config: Any) -> BuildContext:
    return gather(
        ContainerConfig(image="x", **config), id="ab" * 32, cgroups_path="/knarr/x", files={},
        user=ResolvedUser(),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("6.1.0-13-amd64", (6, 1)), ("5.15", (5, 15)), ("6.18-rc1", (6, 18)), ("6", (6, 0)),
        ("", (0, 0)), ("odd.release", (0, 0)),
    ],
)  # fmt: skip
def test_kernel_version(release: str, expected: tuple[int, int]) -> None:
    assert kernel_version(release) == expected


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({}, True),
        ({"userns": "host"}, False),
        ({"privileged": True}, False),
        ({"network": "host"}, False),
        ({"network": "none"}, True),
        ({"userns": "private", "privileged": True}, True),
    ],
)
def test_who_gets_a_user_namespace(config: dict[str, Any], expected: bool) -> None:
    assert wants_user_namespace(ContainerConfig(image="x", **config)) is expected


def test_facts_of_this_machine() -> None:
    context = gathered(limits=Limits(cpuset_cpus="0"))
    assert context.machine == os.uname().machine
    assert context.kernel == kernel_version(os.uname().release)
    assert context.cpu_count == os.cpu_count()
    assert context.cpus is not None
    assert "0" in context.cpus
    assert context.hostname is None
    assert context.host_devices == ()


def test_host_network_has_the_hosts_name() -> None:
    assert gathered(network="host").hostname == os.uname().nodename


def test_profile_files_are_read(tmp_path: Path) -> None:
    path = tmp_path / "profile.json"
    path.write_text(json.dumps({"defaultAction": "SCMP_ACT_LOG"}))
    found = gathered(security_opt=(f"seccomp={path}",)).profiles
    assert found == {str(path): path.read_text()}
    for word in ("unconfined", "builtin", '{"defaultAction":"SCMP_ACT_LOG"}'):
        assert gathered(security_opt=(f"seccomp={word}",)).profiles == {}


def test_profile_files_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidArgument, match=r"opening seccomp profile .* failed: No such file"):
        gathered(security_opt=(f"seccomp={tmp_path}/none",))
    path = tmp_path / "binary"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidArgument, match="is not UTF-8"):
        gathered(security_opt=(f"seccomp={path}",))
    monkeypatch.setattr(speccontext, "PROFILE_LIMIT", 1)
    with pytest.raises(InvalidArgument, match="larger than 1 bytes"):
        gathered(security_opt=(f"seccomp={path}",))


def test_numbers_of_throttled_devices() -> None:
    device = (ThrottleDevice("/dev/null", 1),)
    assert gathered(limits=Limits(device_read_bps=device)).device_numbers == {"/dev/null": (1, 3)}
    missing = (ThrottleDevice("/dev/no-such-device", 1),)
    with pytest.raises(InvalidArgument, match="stat /dev/no-such-device: No such file"):
        gathered(limits=Limits(device_write_iops=missing))


def test_host_devices_are_nodes_only() -> None:
    found = {device.path: device for device in host_devices()}
    assert (found["/dev/null"].type, found["/dev/null"].major, found["/dev/null"].minor) == (
        "c",
        1,
        3,
    )
    assert not [path for path in found if path.startswith(("/dev/pts/", "/dev/shm/"))]
    assert "/dev/console" not in found
    assert list(found) == sorted(found, key=lambda path: (os.path.dirname(path), path))


def test_privileged_gets_the_hosts_devices() -> None:
    assert "/dev/null" in [device.path for device in gathered(privileged=True).host_devices]
