"""Attacks by rights: groups, capabilities, control groups, ids. Each passes when it fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from knarr.kernel import caps
from tests.support.bundles import Oci

DOCKERS = ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW",
           "CAP_SETGID", "CAP_SETUID", "CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE",
           "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE"]  # fmt: skip


def change_process(oci: Oci, bundle: Path, **values: Any) -> None:
    oci.change(bundle, lambda config: config["process"].update(values))


def with_capabilities(*names: str) -> dict[str, Any]:
    return {kind: list(names) for kind in ("bounding", "effective", "permitted")}


def private_users(config: dict[str, Any]) -> None:
    config["linux"]["namespaces"].append({"type": "user"})
    for kind in ("uidMappings", "gidMappings"):
        config["linux"][kind] = [{"containerID": 0, "hostID": 100000, "size": 1000}]


def test_no_capability_is_inheritable_unless_asked(oci: Oci) -> None:
    """CVE-2022-24769, CVE-2022-29162, CVE-2022-27650: nor ambient."""
    bundle = oci.bundle("grep", "Cap", "/proc/self/status")
    oci.change(bundle, lambda config: config["process"].update(
        capabilities=with_capabilities(*DOCKERS)))  # fmt: skip
    lines = dict(line.split(":\t") for line in oci(*words(oci, bundle, "caps")).splitlines())
    assert int(lines["CapInh"], 16) == int(lines["CapAmb"], 16) == 0
    assert int(lines["CapBnd"], 16) == int(lines["CapPrm"], 16) == caps_of(DOCKERS)


def caps_of(names: list[str]) -> int:
    from knarr.spec.capabilities import mask

    return mask(names) & caps.permitted(in_userns=False)


def words(oci: Oci, bundle: Path, name: str) -> tuple[str, ...]:
    return ("run", "-b", str(bundle), oci.name(name))


@pytest.mark.parametrize("userns", [False, True])
def test_groups_of_the_caller_are_not_the_programs(oci: Oci, userns: bool) -> None:
    """CVE-2022-36109, CVE-2023-25173: the supplementary groups are those that are named.

    Engines name the user's own beside them; crun's tests ask a runtime not to add it.
    """
    before = os.getgroups()
    os.setgroups([4, 6, 20])
    try:
        for more, expected in (([], set()), ([8, 9], {"8", "9"}), ([7], {"7"})):
            bundle = oci.bundle("grep", "Groups", "/proc/self/status")
            if userns:
                oci.change(bundle, private_users)
            user = {"uid": 0, "gid": 7, "additionalGids": more}
            change_process(oci, bundle, user=user)
            said = oci(*words(oci, bundle, "groups" + "".join(map(str, more))))
            assert set(said.split(":")[1].split()) == expected
    finally:
        os.setgroups(before)


def test_ids_that_are_not_mapped_are_nobodys(oci: Oci) -> None:
    """setgroups(2) in a user namespace: only groups that the map has, and no other user either."""
    for field, user in (
        ("process.user.uid", {"uid": 1000, "gid": 0}),
        ("process.user.gid", {"uid": 0, "gid": 1000}),
        ("process.user.additionalGids[1]", {"uid": 0, "gid": 0, "additionalGids": [1, 100000]}),
    ):
        bundle = oci.bundle("true")
        oci.change(bundle, private_users)
        change_process(oci, bundle, user=user)
        said = oci("create", "-b", str(bundle), oci.name("ids"), status=1)
        assert f"{field}: " in said


def test_group_cannot_be_dropped_to_pass_a_permission(oci: Oci) -> None:
    """A file that a group may not read stays shut: leaving the group needs a capability."""
    bundle = oci.bundle("sh", "-c", "cat /shut; id -G; setpriv --clear-groups cat /shut; true")
    oci.copy_root(bundle / "rootfs")
    oci.change(bundle, lambda config: config.update(root={"path": "rootfs"}))
    shut = bundle / "rootfs" / "shut"
    shut.write_text("secret")
    os.chown(shut, 0, 50)
    shut.chmod(0o604)
    user = {"uid": 1000, "gid": 1000, "additionalGids": [50]}
    oci.change(bundle, lambda config: config["process"].update(user=user))
    assert "secret" not in oci(*words(oci, bundle, "shut"))


_ESCAPE = """
for d in /sys/fs/cgroup /sys/fs/cgroup/*; do
  mount -o remount,rw $d; mount -o remount,rw,bind $d
  [ -e $d/release_agent ] && echo /evil >$d/release_agent && echo agent
  [ -e $d/cgroup.procs ] || continue
  mkdir $d/x && echo made; echo 1 >$d/notify_on_release && echo notify
  echo 1 >$d/cgroup.procs && echo moved
done 2>/dev/null
mkdir -p /m
for c in memory pids cpu devices freezer rdma; do
  mount -t cgroup -o $c c /m || continue
  echo /evil >/m/release_agent && echo agent; mkdir /m/x && echo made
done 2>/dev/null
mount -t cgroup2 c /m 2>/dev/null && echo mounted
true
"""


@pytest.mark.parametrize("cgroupns", [True, False])
def test_release_agent_and_control_groups_of_the_host(oci: Oci, cgroupns: bool) -> None:
    """CVE-2022-0492, CVE-2023-25809: with docker's capabilities nothing of a group can be set."""
    bundle = oci.bundle("sh", "-c", _ESCAPE)
    before = {path: path.read_text() for path in Path("/sys/fs/cgroup").glob("*/release_agent")}

    def change(config: dict[str, Any]) -> None:
        config["process"]["capabilities"] = with_capabilities(*DOCKERS)
        if not cgroupns:
            config["linux"]["namespaces"] = [
                one for one in config["linux"]["namespaces"] if one["type"] != "cgroup"
            ]

    oci.change(bundle, change)
    assert oci(*words(oci, bundle, "agent")) == ""
    for path, text in before.items():
        assert path.read_text() == text


def test_release_agent_by_who_may_mount(oci: Oci) -> None:
    """CVE-2022-0492 with CAP_SYS_ADMIN: the group that is the root in there is not the host's."""
    bundle = oci.bundle("sh", "-c", _ESCAPE)
    before = {path: path.read_text() for path in Path("/sys/fs/cgroup").glob("*/release_agent")}
    oci.change(bundle, private_users)
    oci.change(bundle, lambda config: config["process"].update(
        capabilities=with_capabilities(*DOCKERS, "CAP_SYS_ADMIN")))  # fmt: skip
    assert not {"agent", "made", "moved"} & set(oci(*words(oci, bundle, "agent")).split())
    for path, text in before.items():
        assert path.read_text() == text


def test_device_of_the_host_cannot_be_made_and_opened(oci: Oci) -> None:
    """CAP_MKNOD is docker's default: what stands between it and the disk is the group's rule."""
    numbers = [line.split()[:2] for line in Path("/proc/partitions").read_text().splitlines()[2:]]
    major, minor = numbers[0] if numbers else ("8", "0")
    script = (f"mknod /dev/evil b {major} {minor} && echo made; cat /dev/evil | head -c 1 | wc -c;"
              "mknod /dev/m c 1 1; head -c 1 /dev/m | wc -c")  # fmt: skip
    bundle = oci.bundle("sh", "-c", script)

    def change(config: dict[str, Any]) -> None:
        config["process"]["capabilities"] = with_capabilities(*DOCKERS)
        config["linux"]["resources"] = {"devices": [{"allow": False, "access": "rwm"}]}

    oci.change(bundle, change)
    assert oci(*words(oci, bundle, "node")).split()[-2:] == ["0", "0"]


def test_process_in_the_container_has_no_writable_way_to_kernel_settings(oci: Oci) -> None:
    """What masks and read-only paths are for: core_pattern, sysrq, the modules' helper."""
    script = """
for f in /proc/sys/kernel/core_pattern /proc/sysrq-trigger /proc/sys/kernel/modprobe \
  /proc/sys/vm/panic_on_oom /sys/kernel/uevent_helper /proc/irq/default_smp_affinity; do
  ( echo "$(cat $f 2>/dev/null)" >$f ) 2>/dev/null && echo wrote $f
done
[ -s /proc/kcore ] && echo kcore; [ -s /proc/timer_list ] && echo timers; true
"""
    bundle = oci.bundle("sh", "-c", script)
    oci.change(bundle, lambda config: config["process"].update(
        capabilities=with_capabilities(*DOCKERS)))  # fmt: skip
    assert oci(*words(oci, bundle, "kernel")) == ""


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("network", "net.ipv4.ip_default_ttl"),
        ("ipc", "kernel.msgmax"),
        ("uts", "kernel.domainname"),
    ],
)
def test_parameters_of_the_host_by_the_path_of_its_namespace(oci: Oci, kind: str, key: str) -> None:
    """A namespace by path need not be another one: its parameters would be the host's."""
    file = Path("/proc/sys") / key.replace(".", "/")
    before = file.read_text()
    bundle = oci.bundle("true")

    def change(config: dict[str, Any]) -> None:
        name = {"network": "net"}.get(kind, kind)
        for entry in config["linux"]["namespaces"]:
            if entry["type"] == kind:
                entry["path"] = f"/proc/self/ns/{name}"
        config["linux"]["sysctl"] = {key: "77"}

    oci.change(bundle, change)
    said = oci("create", "-b", str(bundle), oci.name("host"), status=1)
    assert f"linux.sysctl: '{key}' would be the host's" in said
    assert file.read_text() == before
