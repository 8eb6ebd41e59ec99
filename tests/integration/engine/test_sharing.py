"""Namespaces of the host and of other containers, seen from inside."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Iterator
from typing import Any

import pytest

from knarr import Container, ContainerConfig, Engine, ExecConfig, errors
from knarr.engine.model import RunResult
from tests.support.waiting import wait_until


def run(engine: Engine, script: str, **options: Any) -> RunResult:
    config = ContainerConfig("busybox", ("sh", "-c", script), auto_remove=True, **options)
    return engine.containers.run(config)


def namespace(kind: str, pid: int | str = "self") -> str:
    return os.readlink(f"/proc/{pid}/ns/{kind}")


def pid_of(container: Container) -> int:
    return int(container.inspect()["State"]["Pid"])


@pytest.fixture(params=["private", "host"])
def other(engine: Engine, request: pytest.FixtureRequest) -> Iterator[Container]:
    """A container that runs, with a user namespace of its own and without one."""
    userns = None if request.param == "private" else "host"
    config = ContainerConfig(
        "busybox", ("sleep", "1000"), name="other", hostname="otherhost", userns=userns,
        extra_hosts=("db:10.0.0.7",),
    )  # fmt: skip
    container = engine.containers.create(config)
    container.start()
    yield container
    container.remove(force=True)


def test_the_network_of_another_container(engine: Engine, other: Container) -> None:
    config = ContainerConfig("busybox", ("sleep", "1000"), network="container:other")
    container = engine.containers.create(config)
    container.start()
    assert namespace("net", pid_of(container)) == namespace("net", pid_of(other))
    assert namespace("user", pid_of(container)) == namespace("user", pid_of(other))
    assert namespace("pid", pid_of(container)) != namespace("pid", pid_of(other))
    assert namespace("mnt", pid_of(container)) != namespace("mnt", pid_of(other))
    found = container.exec_run(ExecConfig(("sh", "-c", "hostname; cat /etc/hosts; id -u")))
    assert found.text.splitlines()[0] == "otherhost"
    assert "10.0.0.7\tdb" in found.text
    assert found.text.splitlines()[-1] == "0"
    told = container.inspect()
    assert told["HostConfig"]["NetworkMode"] == f"container:{other.id}"
    assert told["Config"]["Hostname"] == "otherhost"
    assert told["HostsPath"] == other.inspect()["HostsPath"]
    container.remove(force=True)


def test_the_processes_of_another_container(engine: Engine, other: Container) -> None:
    result = run(engine, "cat /proc/1/cmdline; echo; echo $$", pid="container:other")
    lines = result.text.splitlines()
    assert lines[0].startswith("sleep")
    assert int(lines[1]) > 1
    assert run(engine, "kill -0 1; exit $?", pid="container:other").exit_code == 0


def test_what_shares_the_processes_ends_with_them(engine: Engine, other: Container) -> None:
    config = ContainerConfig("busybox", ("sleep", "1000"), pid="container:other")
    container = engine.containers.create(config)
    container.start()
    other.kill()
    assert container.wait().exit_code == 137
    container.remove()


def test_files_are_the_containers_own_whoevers_ids_it_has(engine: Engine, other: Container) -> None:
    config = ContainerConfig(
        "busybox", ("sleep", "1000"), pid="container:other", network="container:other"
    )
    container = engine.containers.create(config)
    container.start()
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("f")
        member.uid = 5
        tar.addfile(member)
    archive.seek(0)
    container.put_archive("/root", archive)
    script = "touch /root/g; stat -c %u /root/f /root/g"
    assert container.exec_run(ExecConfig(("sh", "-c", script))).text.split() == ["5", "0"]
    container.remove(force=True)


def states_of_children(pid: int) -> list[str]:
    """Return the state of each child, a letter of proc_pid_stat(5)."""
    found = []
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = file.read().split()
    for child in children:
        try:
            with open(f"/proc/{child}/stat") as file:
                found.append(file.read().rpartition(")")[2].split()[0])
        except FileNotFoundError:
            continue  # it has been waited for
    return found


def test_no_zombie_stays_beside_it(engine: Engine, other: Container) -> None:
    config = ContainerConfig("busybox", ("sleep", "1000"), network="container:other")
    run(engine, "true", network="none")  # the next one has a keeper that it cannot use
    container = engine.containers.create(config)
    container.start()
    with open(f"/proc/{pid_of(container)}/stat") as file:
        supervisor = int(file.read().rpartition(")")[2].split()[1])
    wait_until(lambda: "Z" not in states_of_children(supervisor))
    container.remove(force=True)


def test_one_that_does_not_run_cannot_be_joined(engine: Engine) -> None:
    other = engine.containers.create(ContainerConfig("busybox", ("true",), name="still"))
    for kind, words in (("network", "network"), ("pid", "PID")):
        options: dict[str, Any] = {kind: "container:still"}
        with pytest.raises(errors.Conflict) as caught:
            run(engine, "true", **options)
        assert str(caught.value) == f"cannot join {words} of a non running container: {other.id}"
    other.remove()


def test_the_hosts_namespaces(engine: Engine) -> None:
    for option, kind in (("pid", "pid"), ("uts", "uts"), ("ipc", "ipc"), ("cgroupns", "cgroup")):
        options: dict[str, Any] = {option: "host"}
        found = run(engine, f"readlink /proc/self/ns/{kind}", **options).text.strip()
        assert found == namespace(kind), option
    assert run(engine, "hostname", uts="host").text.strip() == os.uname().nodename
    assert run(engine, "readlink /proc/self/ns/cgroup", cgroupns="private").text.strip() != (
        namespace("cgroup")
    )


def test_shared_memory(engine: Engine) -> None:
    name = f"knarr-test-{os.getpid()}"
    try:
        run(engine, f"echo seen > /dev/shm/{name}", ipc="host")
        with open(f"/dev/shm/{name}") as file:
            assert file.read() == "seen\n"
    finally:
        os.unlink(f"/dev/shm/{name}")
    assert run(engine, "grep -c ' /dev/shm ' /proc/mounts", ipc="none").text == "0\n"
    assert run(engine, "grep -c ' /dev/shm ' /proc/mounts", ipc="private").text == "1\n"


@pytest.mark.parametrize("userns", [None, "host"])
def test_the_memory_of_another_container(
    engine: Engine, userns: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    config = ContainerConfig(
        "busybox", ("sleep", "1000"), name="donor", ipc="shareable", userns=userns
    )
    donor = engine.containers.create(config)
    donor.start()
    script = "echo given > /dev/shm/f; ipcmk -Q >/dev/null 2>&1; readlink /proc/self/ns/ipc"
    theirs = donor.exec_run(ExecConfig(("sh", "-c", script))).text
    script = "cat /dev/shm/f; echo back > /dev/shm/g; readlink /proc/self/ns/ipc"
    result = run(engine, script, ipc="container:donor")
    assert result.text == "given\n" + theirs
    assert donor.exec_run(ExecConfig(("cat", "/dev/shm/g"))).text == "back\n"
    assert caplog.messages == []  # its ids are right: it is of the same user namespace
    donor.remove(force=True)


def test_memory_that_is_not_to_be_shared(engine: Engine) -> None:
    other = engine.containers.create(ContainerConfig("busybox", ("sleep", "1000"), name="own"))
    other.start()
    with pytest.raises(errors.Conflict) as caught:
        run(engine, "true", ipc="container:own")
    assert str(caught.value) == (
        f"can't join IPC of container {other.id}: non-shareable IPC "
        "(hint: use IpcMode:shareable for the donor container)"
    )
    other.remove(force=True)


def test_inspect_tells_whose_they_are(engine: Engine) -> None:
    config = ContainerConfig("busybox", pid="host", ipc="host", uts="host", cgroupns="host")
    found = engine.containers.create(config).inspect()["HostConfig"]
    assert (found["PidMode"], found["IpcMode"], found["UTSMode"]) == ("host", "host", "host")
    assert (found["CgroupnsMode"], found["UsernsMode"]) == ("host", "host")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"network": "container:"},
         "Invalid network mode: invalid container format container:<name|id>"),
        ({"network": "container:x", "hostname": "h"},
         "conflicting options: hostname and the network mode"),
        ({"network": "container:x", "dns": ("1.1.1.1",)},
         "conflicting options: dns and the network mode"),
        ({"network": "container:x", "extra_hosts": ("a:1.1.1.1",)},
         "conflicting options: custom host-to-IP mapping and the network mode"),
        ({"pid": "other"}, "invalid PID mode: other"),
        ({"pid": "container:"}, "invalid PID mode: container:"),
        ({"ipc": "other"}, "invalid IPC mode: other"),
        ({"uts": "container:x"}, "invalid UTS mode: container:x"),
        ({"uts": "host", "hostname": "h"}, "conflicting options: hostname and the UTS mode"),
        ({"cgroupns": "other"}, "invalid cgroup namespace mode: other"),
        ({"userns": "container:x"}, "invalid USER mode: container:x"),
        ({"userns": "private", "pid": "host"},
         "cannot share the host PID namespace when user namespaces are enabled"),
        ({"ipc": "host", "sysctls": {"kernel.msgmax": "1"}},
         "sysctl 'kernel.msgmax' is not allowed in the hosts ipc namespace"),
    ],
)  # fmt: skip
def test_what_cannot_be(engine: Engine, options: dict[str, Any], message: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        engine.containers.create(ContainerConfig("busybox", **options))
    assert str(caught.value) == message


def test_nobodys_namespaces(engine: Engine) -> None:
    with pytest.raises(errors.NotFound, match="No such container: nobody"):
        run(engine, "true", network="container:nobody")
