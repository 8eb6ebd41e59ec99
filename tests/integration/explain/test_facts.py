"""Each fact of an explanation beside the file of the kernel where it stands."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr import BindMount, Container, ContainerConfig, Engine, Limits, Tmpfs, errors
from knarr.engine.model import Ulimit
from knarr.spec import capabilities
from tests.support import runtimes

Start = Callable[..., Container]
FILES = {"mount": "mnt", "network": "net"}


@pytest.fixture
def start(engine: Engine) -> Iterator[Start]:
    """Start a container that sleeps."""
    made = []

    def begin(**options: Any) -> Container:
        command = options.pop("command", ("sleep", "1000"))
        container = engine.containers.create(ContainerConfig("busybox", command, **options))
        made.append(container)
        container.start()
        return container

    yield begin
    for container in reversed(made):
        container.remove(force=True)


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {line.partition(":")[0]: line.partition(":")[2].strip() for line in lines}


def test_the_process(start: Start) -> None:
    container = start(user="1000:50", working_dir="/tmp", userns="host")
    found = container.explain()
    process = found["Process"]
    pid = container.state.pid
    assert (found["Running"], found["Status"], found["Name"]) == (True, "running", container.name)
    assert process["Pid"] == pid
    assert process["PidsInside"] == [1]
    assert process["Command"] == ["sleep", "1000"]
    assert process["Executable"] == os.readlink(f"/proc/{pid}/exe") == "/bin/busybox"
    assert process["WorkingDirectory"] == "/tmp"
    user = process["User"]
    assert [user[key] for key in ("Asked", "Uid", "Gid", "HostUid", "HostGid")] == [
        "1000:50", 1000, 50, 1000, 50,
    ]  # fmt: skip
    supervisor = process["Supervisor"]
    assert supervisor["Pid"] == int(status(pid)["PPid"])
    assert supervisor["Watches"]
    assert supervisor["Name"] == Path(f"/proc/{supervisor['Pid']}/comm").read_text().strip()
    ticks = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    assert process["StartTicks"] == int(ticks)


def test_ids_inside_and_on_the_host(engine: Engine, start: Start) -> None:
    if not engine.machine.private_users():
        pytest.skip("the machine maps no owners")
    container = start(user="1000")
    pid = container.state.pid
    found = container.explain()
    (entry,) = found["IdMap"]["Uid"]
    words = Path(f"/proc/{pid}/uid_map").read_text().split()
    assert [entry["Inside"], entry["Host"], entry["Size"]] == [int(word) for word in words]
    assert not found["IdMap"]["Identity"]
    user = found["Process"]["User"]
    assert (user["Uid"], user["HostUid"]) == (1000, entry["Host"] + 1000)
    assert user["HostUid"] == int(status(pid)["Uid"].split()[0])


@pytest.mark.parametrize("userns", [None, "host"])
def test_namespaces_have_the_kernels_inodes(start: Start, userns: str | None) -> None:
    container = start(userns=userns)
    found = {each["Type"]: each for each in container.explain()["Namespaces"]}
    assert len(found) == len(os.listdir("/proc/self/ns")) - 2  # and those "for_children"
    for kind, each in found.items():
        file = FILES.get(kind, kind)
        inode = os.stat(f"/proc/{container.state.pid}/ns/{file}").st_ino
        assert each["Inode"] == inode
        assert each["HostInode"] == os.stat(f"/proc/self/ns/{file}").st_ino
        assert each["Of"] == ("host" if inode == each["HostInode"] else "own")
    assert found["time"]["Of"] == "host"
    assert found["mount"]["Of"] == found["pid"]["Of"] == found["network"]["Of"] == "own"


def test_namespaces_of_another_container_and_the_hosts(start: Start) -> None:
    other = start(name="other", userns="host")
    shared = start(network="container:other", pid="container:other", ipc="host")
    found = {each["Type"]: each for each in shared.explain()["Namespaces"]}
    whose = {kind: (each["Of"], each["Container"]) for kind, each in found.items()}
    assert whose["network"] == whose["pid"] == ("container", "other")
    assert whose["ipc"] == ("host", "")
    assert whose["mount"] == ("own", "")
    theirs = {each["Type"]: each for each in other.explain()["Namespaces"]}
    assert theirs["network"]["SharedWith"] == theirs["pid"]["SharedWith"] == [shared.name]
    assert theirs["mount"]["SharedWith"] == []
    assert theirs["network"]["Inode"] == found["network"]["Inode"]
    assert shared.explain()["Process"]["PidsInside"] == [2]
    assert shared.explain()["Network"]["Mode"] == "container:other"


def test_the_root_file_system(engine: Engine, start: Start) -> None:
    container = start(read_only=True)
    root = container.explain()["Root"]
    assert root["Driver"] == engine.driver.name
    assert root["ReadOnly"]
    assert "ro" in root["Options"]
    record = engine.index.get(container.image_id)
    assert [layer["Digest"] for layer in root["Layers"]] == list(reversed(record.diff_ids))
    assert [layer["Size"] for layer in root["Layers"]] == list(reversed(record.layer_sizes))
    for layer in root["Layers"]:
        assert os.path.isdir(layer["Path"])
    graph = container.inspect()["GraphDriver"]["Data"]
    assert (root["Upper"], root["Work"]) == (graph["UpperDir"], graph["WorkDir"])
    line = next(
        line for line in Path(f"/proc/{container.state.pid}/mountinfo").read_text().splitlines()
        if line.split()[4] == "/"
    )  # fmt: skip
    assert root["Device"] == line.split()[2]
    assert root["Settings"] == line.split(" - ")[1].split()[2].split(",")


def test_mounts_are_those_of_mountinfo_with_their_reasons(start: Start, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    container = start(
        binds=(BindMount(str(tmp_path), "/data", read_only=True),),
        tmpfs=(Tmpfs("/scratch", ("size=1m",)),),
    )
    mounts = container.explain()["Mounts"]
    lines = Path(f"/proc/{container.state.pid}/mountinfo").read_text().splitlines()
    assert [each["Destination"] for each in mounts] == [line.split()[4] for line in lines]
    assert [each["Id"] for each in mounts] == [int(line.split()[0]) for line in lines]
    assert [each["Type"] for each in mounts] == [line.split(" - ")[1].split()[0] for line in lines]
    by = {each["Destination"]: each for each in mounts}
    assert by["/"]["Kind"] == "root"
    assert by["/proc"]["Kind"] == by["/dev/pts"]["Kind"] == "default"
    assert by["/etc/hosts"]["Kind"] == "file"
    assert by["/etc/hosts"]["Source"] == container.paths.files["/etc/hosts"]
    assert by["/scratch"]["Kind"] == "tmpfs"
    assert "size=1024k" in by["/scratch"]["Settings"]
    assert (by["/data"]["Kind"], by["/data"]["Source"]) == ("bind", str(tmp_path))
    assert "ro" in by["/data"]["Options"]
    assert by["/proc/sys"]["Kind"] == "read-only"
    assert by["/proc/keys"]["Kind"] == "masked"
    assert all(each["Why"] for each in mounts)
    assert not [each for each in mounts if each["Kind"] == "other"]


def test_what_is_mounted_below_a_directory_of_the_host(start: Start) -> None:
    container = start(binds=(BindMount("/sys", "/machine"),), userns="host")
    below = next(
        each for each in container.explain()["Mounts"]
        if each["Destination"] == "/machine/fs/cgroup"
    )  # fmt: skip
    assert below["Source"] == "/sys/fs/cgroup"
    assert (below["Kind"], below["Why"]) == ("bind", "comes along with /machine")


def test_control_groups_with_limits_and_use(start: Start) -> None:
    limits = Limits(memory=64 << 20, nano_cpus=500_000_000, pids=50)
    container = start(limits=limits)
    found = container.explain()["ControlGroups"]
    rows = {each["Name"]: each for each in found["Limits"]}
    assert rows["memory"]["Limit"] == 64 << 20
    assert rows["processor time"]["Limit"] * 2 == rows["processor time"]["Period"]
    assert rows["processes and threads"]["Limit"] == 50
    assert rows["processes and threads"]["Use"] == 1
    assert rows["memory"]["Asked"]
    assert not rows["processor weight"]["Asked"]
    for name in ("memory", "processes and threads"):
        assert Path(rows[name]["LimitFile"]).read_text().strip() == str(rows[name]["Limit"])
    assert 0 < rows["memory"]["Use"] < 64 << 20
    assert 0 < rows["processor time"]["Use"] < 10**10
    assert found["Processes"] == [container.state.pid]
    for controller, directory in found["Directories"].items():
        tasks = Path(directory, "cgroup.procs").read_text().split()
        assert str(container.state.pid) in tasks, controller
    assert found["Version"] in (1, 2)
    assert container.id in found["Path"]


def test_capabilities_are_those_of_the_process(start: Start) -> None:
    container = start(cap_drop=("CHOWN",), cap_add=("NET_ADMIN",))
    found = container.explain()["Capabilities"]
    lines = status(container.state.pid)
    for kind, line in (
        ("Effective", "CapEff"), ("Permitted", "CapPrm"), ("Inheritable", "CapInh"),
        ("Bounding", "CapBnd"), ("Ambient", "CapAmb"),
    ):  # fmt: skip
        assert found[kind] == capabilities.from_mask(int(lines[line], 16))
        assert int(found["Masks"][kind], 16) == int(lines[line], 16)
    assert found["Added"] == ["CAP_NET_ADMIN"]
    assert found["Dropped"] == ["CAP_CHOWN"]
    assert set(found["Default"]) == set(capabilities.DEFAULT)


def test_seccomp_says_what_the_filter_does(engine: Engine, start: Start) -> None:
    container = start()
    found = container.explain()["Seccomp"]
    assert found["Mode"] == "filter"
    assert status(container.state.pid)["Seccomp"] == "2"
    assert found["Profile"] == "default"
    assert found["Instructions"] * 8 == os.path.getsize(found["File"])
    assert {"read", "openat", "execve"} <= set(found["Allowed"])
    assert {"mount", "bpf", "keyctl"} <= set(found["Denied"])
    assert "clone" in found["Conditional"]
    assert sum(found["Answers"].values()) == len(found["Denied"])
    open_to_all = start(security_opt=("seccomp=unconfined", "no-new-privileges"))
    told = open_to_all.explain()
    assert (told["Seccomp"]["Mode"], told["Seccomp"]["Profile"]) == ("disabled", "unconfined")
    assert told["NoNewPrivileges"]
    assert not container.explain()["NoNewPrivileges"]


def test_limits_of_the_process(start: Start) -> None:
    container = start(ulimits=(Ulimit("nofile", 100, 200),))
    rows = {each["Name"]: each for each in container.explain()["ResourceLimits"]}
    assert (rows["RLIMIT_NOFILE"]["Soft"], rows["RLIMIT_NOFILE"]["Hard"]) == (100, 200)
    assert rows["RLIMIT_NOFILE"]["Asked"]
    assert not rows["RLIMIT_CORE"]["Asked"]
    assert len(rows) == len(Path("/proc/self/limits").read_text().splitlines()) - 1


def test_a_privileged_container_says_so(start: Start) -> None:
    found = start(privileged=True).explain()
    assert found["IdMap"]["Identity"]
    assert found["Seccomp"]["Mode"] == "disabled"
    assert found["ControlGroups"]["Devices"] == ["a *:* rwm"]
    texts = [each["Text"] for each in found["Hardening"] if not each["Holds"]]
    assert any("root inside is root of this host" in text for text in texts)
    assert any("there is no filter" in text for text in texts)
    assert "it has the host's devices, disks among them" in texts


def test_hardening_is_about_this_container(start: Start) -> None:
    limits = Limits(memory=64 << 20, nano_cpus=10**9, pids=50)
    held = {each["Text"]: each["Holds"] for each in start(limits=limits).explain()["Hardening"]}
    assert held["limited: memory, processor time, processes and threads"]
    loose = {each["Text"]: each["Holds"] for each in start(network="host").explain()["Hardening"]}
    assert not loose["nothing limits its memory: it can use up the machine's"]
    assert any("it uses the host's interfaces" in text for text in loose)


def test_what_is_mounted_of_the_host_is_told(start: Start, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "engine.sock"))
        binds = (
            BindMount(str(tmp_path), "/data"),
            BindMount(str(tmp_path), "/kept", read_only=True),
            BindMount(str(tmp_path / "engine.sock"), "/run/engine.sock"),
        )
        container = start(binds=binds, userns="host", security_opt=("seccomp=unconfined",))
        said = {each["Text"]: each["Holds"] for each in container.explain()["Hardening"]}
    assert said[f"it can change the host's {tmp_path}, at /data"] is False
    assert said[f"it can read the host's {tmp_path}, at /kept"] is True
    assert any("at /run/engine.sock it can talk to whoever listens" in text for text in said)
    assert any("it may make user namespaces" in text for text in said)
    default = {each["Text"] for each in start().explain()["Hardening"]}
    assert not any("it may make user namespaces" in text for text in default)


def test_one_with_cap_sys_admin_can_undo_its_mounts(start: Start) -> None:
    said = {each["Text"]: each["Holds"] for each in
            start(cap_add=("SYS_ADMIN",)).explain()["Hardening"]}  # fmt: skip
    assert (
        said["having CAP_SYS_ADMIN, it can undo what is hidden or read-only in its mounts"] is False
    )


def test_one_that_was_never_started_and_one_that_has_ended(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("sh", "-c", "exit 3"), limits=Limits(memory=64 << 20))
    container = engine.containers.create(config)
    found = container.explain()
    assert (found["Running"], found["Status"], found["Process"]["Pid"]) == (False, "created", 0)
    assert found["Process"]["ExitCode"] is None
    assert found["ControlGroups"]["Limits"][0]["Limit"] == 64 << 20
    assert "CAP_CHOWN" in found["Capabilities"]["Bounding"]
    assert "has not been started" in found["Start"]["Note"]
    assert found["Start"]["Steps"]
    container.start()
    assert container.wait().exit_code == 3
    ended = container.explain()
    assert (ended["Status"], ended["Process"]["ExitCode"]) == ("exited", 3)
    assert ended["Process"]["FinishedAt"] > ended["Process"]["StartedAt"]
    assert "not timed" in ended["Start"]["Note"]
    assert {each["Inode"] for each in ended["Namespaces"]} == {0}
    container.remove()
    with pytest.raises(errors.NotFound):
        container.explain()


def test_a_paused_one(start: Start) -> None:
    container = start()
    container.pause()
    found = container.explain()
    assert (found["Status"], found["Running"]) == ("paused", True)
    assert found["ControlGroups"]["Frozen"]
    assert found["Process"]["Pid"] == container.state.pid
    container.unpause()


def test_knarrs_init(start: Start) -> None:
    found = start(init=True).explain()["Process"]
    assert found["Init"]
    assert found["Command"] == ["sleep", "1000"]
    assert "knarr-init" in found["Executable"]


def test_one_that_another_runtime_has_made(start: Start, tmp_path: Path) -> None:
    runc = runtimes.find("runc", tmp_path)
    container = start(runtime=runc)
    found = container.explain()
    assert (found["Runtime"], found["Running"]) == (runc, True)
    namespaces = {each["Type"]: each for each in found["Namespaces"]}
    assert namespaces["pid"]["Inode"] == os.stat(f"/proc/{container.state.pid}/ns/pid").st_ino
    assert found["Seccomp"]["Mode"] == "filter"
    # Of that filter we have no copy, and of what was done inside no record.
    assert found["Seccomp"]["Denied"] == []
    steps = [each["Step"] for each in found["Start"]["Steps"]]
    assert steps == ["request", "control group", "pipes", "bundle", "create", "record", "command",
                     "published"]  # fmt: skip
    assert {each["Kind"] for each in found["Mounts"]} >= {"root", "default", "file", "masked"}
