"""What a container of another runtime sees and may do is what its configuration says."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from knarr import (
    BindMount,
    ContainerConfig,
    Engine,
    ExecConfig,
    Sandbox,
    Settings,
    Tmpfs,
    errors,
)
from knarr.engine.model import Device, HealthCheck, Ulimit
from knarr.engine.waiting import await_supervisor
from knarr.kernel import mounts
from tests.integration.runtimes.conftest import Box
from tests.support.waiting import wait_until

CAPABILITIES = 0xA80425FB  # Docker's fourteen


def status(text: str) -> dict[str, str]:
    """Return /proc/self/status as a dictionary."""
    return dict(re.findall(r"^(\w+):\s*(.*)$", text, re.MULTILINE))


def test_rights(box: Box) -> None:
    usual = status(box.run("cat", "/proc/self/status").text)
    assert [int(usual[name], 16) for name in ("CapEff", "CapBnd", "CapInh", "CapAmb")] == [
        CAPABILITIES, CAPABILITIES, 0, 0,
    ]  # fmt: skip
    assert (usual["NoNewPrivs"], usual["Seccomp"]) == ("0", "2")
    none = status(
        box.run(
            "cat", "/proc/self/status", cap_drop=("ALL",), cap_add=("KILL",),
            security_opt=("no-new-privileges", "seccomp=unconfined"),
        ).text
    )  # fmt: skip
    assert (int(none["CapEff"], 16), none["NoNewPrivs"], none["Seccomp"]) == (1 << 5, "1", "0")


def test_the_whole_seccomp_profile_reaches_it(box: Box, tmp_path: Path) -> None:
    """Not only the head that a container of knarr's own keeps."""
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {"names": ["nosuchcall"], "action": "SCMP_ACT_ERRNO"},
        ],
    }
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile), encoding="utf-8")
    result = box.sh("mkdir /new; touch /file && echo made", security_opt=(f"seccomp={path}",))
    assert (result.stdout, b"No space left" in result.stderr) == (b"made\n", True)
    assert b"Operation not permitted" in box.sh("unshare -U true").stderr


def test_a_user_by_name_with_groups(box: Box) -> None:
    made = box.engine.containers.create(box.config("sleep", "600"))
    made.start()
    made.exec_run(ExecConfig(("sh", "-c", _ACCOUNTS))) if _has_exec(box) else pytest.skip("no exec")
    made.stop(timeout=0)
    image = made.commit("people:1")
    del image
    result = box.engine.containers.run(
        ContainerConfig(
            "people:1", ("sh", "-c", "id; echo $HOME; echo to > /dev/stdout"), user="ann",
            group_add=("tools",), runtime=box.runtime, auto_remove=True,
            tmpfs=(Tmpfs("/x"),),
        )
    )  # fmt: skip
    assert result.text == (
        "uid=700(ann) gid=701(crew) groups=701(crew),702(tools)\n/home/ann\nto\n"
    )
    check = HealthCheck(("CMD", "id", "-un"), interval=50_000_000)
    web = box.engine.containers.launch(
        ContainerConfig(
            "people:1", ("sleep", "600"), user="ann", tmpfs=(Tmpfs("/x"),), health=check,
            runtime=box.runtime,
        ),
        attach=False,
    ).container  # fmt: skip
    wait_until(lambda: web.health.log)
    assert web.health.log[0].output == "ann\n"
    assert web.exec_run(ExecConfig(("id", "-un"))).stdout == b"ann\n"
    with pytest.raises(errors.UnknownUser, match="unable to find user bob"):
        box.run("true", user="bob", tmpfs=(Tmpfs("/x"),))


_ACCOUNTS = (
    "echo ann:x:700:701::/home/ann:/bin/sh > /etc/passwd;"
    "printf 'crew:x:701:\\ntools:x:702:\\n' > /etc/group"
)


def _has_exec(box: Box) -> bool:
    from tests.support import runtimes

    return runtimes.can(box.runtime, "exec")


def test_names_files_and_limits(box: Box) -> None:
    result = box.sh(
        "hostname; cat /proc/sys/kernel/domainname; cat /etc/hostname; pwd; echo $A; ulimit -n;"
        "cat /proc/sys/net/ipv4/ip_default_ttl; cat /proc/self/oom_score_adj; grep db /etc/hosts",
        hostname="web", domainname="lab", working_dir="/tmp", env=("A=b",), oom_score_adj=500,
        ulimits=(Ulimit("nofile", 99, 99),), sysctls={"net.ipv4.ip_default_ttl": "77"},
        extra_hosts=("db:10.0.0.7",),
    )  # fmt: skip
    assert result.text.split() == [
        "web", "lab", "web.lab", "/tmp", "b", "99", "77", "500", "10.0.0.7", "db",
    ]  # fmt: skip


def test_a_read_only_root(box: Box) -> None:
    result = box.sh(
        "touch /file; touch /tmp/file && echo ok", read_only=True, tmpfs=(Tmpfs("/tmp"),)
    )
    assert (result.stdout, b"Read-only file system" in result.stderr) == (b"ok\n", True)


def test_volumes(box: Box, tmp_path: Path) -> None:
    """Owners are mapped; what is mounted below a read-only one is read-only too."""
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("text", encoding="utf-8")
    single = tmp_path / "single"
    single.write_text("one", encoding="utf-8")
    binds = (
        BindMount(str(data), "/data"),
        BindMount(str(data), "/kept", read_only=True),
        BindMount("/sys/fs", "/deep", read_only=True),
        BindMount(str(single), "/etc/single", read_only=True),
        BindMount(str(tmp_path / "new" / "folder"), "/new"),
    )
    result = box.sh(
        "cat /data/file /etc/single; stat -c %u /data/file; touch /data/mine;"
        "touch /kept/no || echo kept; echo x > /etc/single || echo single; touch /new/it;"
        "grep ' /deep' /proc/self/mountinfo | grep -v ' ro,' || echo deep",
        binds=binds,
    )
    assert result.text.split() == ["textone0", "kept", "single", "deep"]
    assert (os.stat(data / "mine").st_uid, (tmp_path / "new/folder/it").exists()) == (0, True)
    assert sorted(os.listdir(data)) == ["file", "mine"]


def test_a_device(box: Box) -> None:
    result = box.sh(
        "ls -l /dev/fuse | cut -c1; test -c /dev/null && echo null",
        devices=(Device("/dev/fuse", "/dev/fuse"),),
    )
    if not os.path.exists("/dev/fuse"):
        pytest.skip("no /dev/fuse here")
    assert result.text.split() == ["c", "null"]


def test_privileged_and_the_hosts_namespaces(box: Box) -> None:
    own = {kind: os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "ipc", "uts", "user")}
    text = "for each in pid ipc uts user; do readlink /proc/self/ns/$each; done"
    shared = box.sh(text, pid="host", ipc="host", uts="host", userns="host").text.split()
    assert shared == list(own.values())
    assert box.sh("mount -t tmpfs x /tmp && echo ok", privileged=True).stdout == b"ok\n"


def test_orphans_in_the_hosts_pid_namespace_are_not_the_supervisors(box: Box) -> None:
    """They would stay zombies for as long as the container lives."""
    web = box.launch("sh", "-c", "(sleep 0.1 &) ; echo ready; exec sleep 600", pid="host")
    supervisor = json.loads(Path(web.paths.state).read_bytes())["supervisor_pid"]
    wait_until(lambda: b"ready" in b"".join(entry.data for entry in web.logs()))
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children")
    wait_until(lambda: len(web.top().processes) == 1)
    wait_until(lambda: children.read_text().split() == [str(web.state.pid)])


def test_namespaces_of_another_container(box: Box) -> None:
    """One of knarr's own and one of the other runtime see each other, both ways."""
    first = box.engine.containers.launch(
        ContainerConfig("busybox", ("sleep", "600"), name="first", ipc="shareable"), attach=False
    ).container
    first.exec_run(ExecConfig(("touch", "/dev/shm/there")))
    said = {"network": "container:first", "ipc": "container:first", "pid": "container:first"}
    try:
        result = box.sh("ls /dev/shm; ps | grep -c 'sleep 600'", **said)
    except errors.KnarrError as error:
        assert "user namespace" in str(error), error  # not every runtime joins one
    else:
        assert result.text.split()[0] == "there"
    box.launch("sleep", "601", name="second")
    config = ContainerConfig("busybox", ("ps",), pid="container:second", auto_remove=True)
    assert b"sleep 601" in box.engine.containers.run(config).stdout


def test_a_sandbox(runc_box: Box) -> None:
    settings = runc_box.engine.settings
    own = {name: getattr(settings, name) for name in settings.__slots__}
    with (
        Engine(Settings(**{**own, "runtime": "runc"})) as engine,
        Sandbox("busybox", engine=engine) as sandbox,
    ):
        assert sandbox.container.config.runtime == "runc"
        assert sandbox.run("echo", "hello").stdout == b"hello\n"
        with sandbox.fork() as other:
            assert other.run("echo", "there").stdout == b"there\n"


@pytest.mark.parametrize("propagation", ["rslave", "rshared"])
def test_what_is_mounted_later_is_seen(box: Box, tmp_path: Path, propagation: str) -> None:
    """And what is mounted and unmounted for the container does not change the host."""
    outer = tmp_path / "outer"
    outer.mkdir()
    mounts.mount("x", str(outer), "tmpfs")
    try:
        mounts.mount(None, str(outer), None, mounts.MS_SHARED)
        (outer / "inner").mkdir()
        bind = BindMount(str(outer), "/outer", propagation=propagation)
        text = "while ! test -e /outer/inner/file; do sleep 0.05; done; echo seen"
        web = box.launch("sh", "-c", text, binds=(bind,), userns="host")
        mounts.mount("y", str(outer / "inner"), "tmpfs")
        (outer / "inner" / "file").touch()
        assert web.wait(60).exit_code == 0
        await_supervisor(web.paths)
        assert (outer / "inner" / "file").exists()
        mounts.umount2(str(outer / "inner"))
    finally:
        mounts.umount2(str(outer), mounts.MNT_DETACH)


def test_the_bundle_asks_for_nothing_that_only_knarr_knows(runc_box: Box, tmp_path: Path) -> None:
    """And what it names as sources is mounted where the host does not see it."""
    binds = (BindMount(str(tmp_path), "/data", read_only=True),)
    web = runc_box.launch("sleep", "600", binds=binds, domainname="lab", group_add=("7",))
    text = Path(web.paths.run, "bundle", "config.json").read_text()
    spec = json.loads(text)
    assert spec["ociVersion"] == "1.0.2"
    assert not re.search(r"x-knarr|idmap|rro|domainname", text)
    assert spec["process"]["user"] == {"uid": 0, "gid": 0, "additionalGids": [0, 7]}
    assert len(spec["linux"]["seccomp"]["syscalls"]) > 1
    sources = [each["source"] for each in spec["mounts"] if each["type"] == "bind"]
    assert len(sources) == 4
    for path in (spec["root"]["path"], *sources):
        assert not os.path.exists(path)
    seen = Path("/proc/self/mountinfo").read_text()
    assert os.path.dirname(sources[0]) + "/" not in seen
