"""What flags of ``run`` do inside a container, as its own processes see it."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from knarr import ContainerConfig, Engine, ExecConfig, Limits, errors
from knarr.engine.model import Device, ThrottleDevice, Ulimit

if TYPE_CHECKING:
    from knarr.engine.model import RunResult

V1_MEMORY = Path("/sys/fs/cgroup/memory/memory.limit_in_bytes").parent
needs_v1 = pytest.mark.skipif(not V1_MEMORY.exists(), reason="control groups v1 alone have it")


def run(engine: Engine, script: str, **options: Any) -> RunResult:
    options.setdefault("auto_remove", True)
    return engine.containers.run(ContainerConfig("busybox", ("sh", "-c", script), **options))


def lines(engine: Engine, script: str, **options: Any) -> list[str]:
    result = run(engine, script, **options)
    assert result.exit_code == 0, result.stderr
    return result.text.splitlines()


def host_config(engine: Engine, **options: Any) -> dict[str, Any]:
    container = engine.containers.create(ContainerConfig("busybox", ("true",), **options))
    found: dict[str, Any] = container.inspect()["HostConfig"]
    container.remove()
    return found


def test_extra_hosts(engine: Engine) -> None:
    hosts = ("db:10.0.0.7", "six:fe80::1")
    found = lines(engine, "cat /etc/hosts", extra_hosts=hosts)
    assert found[-2:] == ["10.0.0.7\tdb", "fe80::1\tsix"]
    assert host_config(engine, extra_hosts=hosts)["ExtraHosts"] == list(hosts)


def test_the_gateway_is_the_loopback_where_the_network_is_the_hosts(engine: Engine) -> None:
    wanted = ("up:host-gateway",)
    found = lines(engine, "cat /etc/hosts", extra_hosts=wanted, network="host")
    assert found[-1] == "127.0.0.1\tup"
    with pytest.raises(errors.InvalidArgument, match="unable to derive the IP value for host-gat"):
        run(engine, "true", extra_hosts=wanted)


def test_resolver(engine: Engine) -> None:
    options = {"dns": ("9.9.9.9", "::1"), "dns_search": ("a.org", "b.org"),
               "dns_options": ("ndots:2",)}  # fmt: skip
    assert lines(engine, "cat /etc/resolv.conf", **options) == [
        "nameserver 9.9.9.9", "nameserver ::1", "search a.org b.org", "options ndots:2",
    ]  # fmt: skip
    found = host_config(engine, **options)
    assert found["Dns"] == ["9.9.9.9", "::1"]
    assert found["DnsSearch"] == ["a.org", "b.org"]
    assert found["DnsOptions"] == ["ndots:2"]


def test_with_the_hosts_network_the_rest_of_the_resolver_is_the_hosts(engine: Engine) -> None:
    servers = [line for line in Path("/etc/resolv.conf").read_text().splitlines()
               if line.startswith("nameserver")]  # fmt: skip
    found = lines(engine, "cat /etc/resolv.conf", network="host", dns_search=(".",))
    assert [line for line in found if line.startswith("nameserver")] == servers
    assert not [line for line in found if line.startswith("search")]


def test_ulimits_of_the_container_and_of_commands_in_it(engine: Engine) -> None:
    limits = (Ulimit("nofile", 333, 444), Ulimit("core", 0, 0), Ulimit("nofile", 222, 444))
    config = ContainerConfig("busybox", ("sleep", "1000"), ulimits=limits)
    container = engine.containers.create(config)
    container.start()
    script = "ulimit -Sn; ulimit -Hn; ulimit -c"
    found = container.exec_run(ExecConfig(("sh", "-c", script)))
    assert found.text.split() == ["222", "444", "0"]
    pid = container.inspect()["State"]["Pid"]
    assert (
        "Max open files            222                  444"
        in Path(f"/proc/{pid}/limits").read_text()
    )
    assert container.inspect()["HostConfig"]["Ulimits"][0] == {
        "Name": "nofile", "Hard": 444, "Soft": 333,
    }  # fmt: skip
    container.remove(force=True)


def test_a_limit_above_ones_own_needs_the_privilege(engine: Engine) -> None:
    hard = 1 << 25
    limits = (Ulimit("nofile", hard, hard),)
    try:
        assert lines(engine, "ulimit -n", ulimits=limits) == [str(hard)]
    except errors.KnarrError as error:
        assert "error setting rlimit type 7" in str(error)


@pytest.mark.parametrize("private", [True, False])
def test_sysctls(engine: Engine, private: bool) -> None:
    values = {"net.core.somaxconn": "1234", "kernel.msgmax": "7777", "fs.mqueue.msg_max": "12",
              "net.ipv4.ip_unprivileged_port_start": "1000"}  # fmt: skip
    script = "cd /proc/sys; cat " + " ".join(
        name.replace(".", "/", 3) if name.startswith("net") else name.replace(".", "/")
        for name in values
    )
    found = lines(engine, script, sysctls=values, userns=None if private else "host")
    assert found == list(values.values())
    assert host_config(engine, sysctls=values)["Sysctls"] == values


@pytest.mark.parametrize(
    ("sysctls", "network", "message"),
    [
        ({"kernel.panic": "1"}, None, "sysctl 'kernel.panic' is not allowed"),
        ({"net.core.somaxconn": "1"}, "host", "not allowed in host network namespace"),
    ],
)
def test_sysctls_that_are_the_hosts(
    engine: Engine, sysctls: dict[str, str], network: str | None, message: str
) -> None:
    with pytest.raises(errors.InvalidArgument, match=message):
        run(engine, "true", sysctls=sysctls, network=network)


def test_groups_by_number_and_name(engine: Engine) -> None:
    script = "echo 'noise:x:77:' >> /etc/group; sleep 1000"
    config = ContainerConfig("busybox", ("sh", "-c", script), group_add=("2000", "root"), user="5")
    container = engine.containers.create(config)
    container.start()
    assert container.exec_run(ExecConfig(("id", "-G"))).text.split() == ["0", "2000"]
    assert container.inspect()["HostConfig"]["GroupAdd"] == ["2000", "root"]
    container.remove(force=True)
    assert lines(engine, "id -G", group_add=("2000",), user="5:6") == ["6 2000"]


def test_an_unknown_group(engine: Engine) -> None:
    with pytest.raises(errors.UnknownUser, match="unable to find group nosuch: no matching entr"):
        run(engine, "true", group_add=("nosuch",))


def test_oom_score(engine: Engine) -> None:
    assert lines(engine, "cat /proc/self/oom_score_adj", oom_score_adj=321) == ["321"]
    with pytest.raises(errors.InvalidArgument, match=r"Invalid value 1001, range for oom score"):
        run(engine, "true", oom_score_adj=1001)


def test_a_device_of_another_name(engine: Engine) -> None:
    devices = (Device("/dev/zero", "/dev/nought", "r"),)
    found = lines(engine, "head -c 3 /dev/nought | wc -c", devices=devices)
    assert found == ["3"]
    assert host_config(engine, devices=devices)["Devices"] == [
        {"PathOnHost": "/dev/zero", "PathInContainer": "/dev/nought", "CgroupPermissions": "r"}
    ]


def test_a_device_that_nobody_has_without_asking(engine: Engine) -> None:
    path = next((path for path in ("/dev/fuse", "/dev/net/tun") if os.path.exists(path)), "")
    if not path:
        pytest.skip("this machine has no device to try it with")
    number = os.stat(path).st_rdev
    numbers = f"{os.major(number)}:{os.minor(number)}"
    options: dict[str, Any] = {"userns": "host"}
    tried = f"mknod /k c {numbers.replace(':', ' ')}; exec 3</k"
    assert run(engine, tried, **options).exit_code != 0
    assert run(engine, tried, device_cgroup_rules=(f"c {numbers} r",), **options).exit_code == 0
    devices = (Device(path, path, "r"),)
    for userns in (None, "host"):
        assert run(engine, f"exec 3<{path}", devices=devices, userns=userns).exit_code == 0
        assert run(engine, f"exec 3>{path}", devices=devices, userns=userns).exit_code != 0


def test_a_device_whose_owner_the_container_has_no_id_for(engine: Engine, tmp_path: Path) -> None:
    """It was made an unmapped id's: opening that with O_CREAT, as ``>`` does, is refused."""
    node = str(tmp_path / "null")
    os.mknod(node, stat.S_IFCHR, os.makedev(1, 3))
    os.chown(node, 1 << 30, 1 << 30)
    os.chmod(node, 0o666)
    text = "echo gone > /dev/mine; stat -c %u:%g:%a /dev/mine"
    assert lines(engine, text, devices=(Device(node, "/dev/mine"),)) == ["65534:65534:666"]


def test_a_directory_of_devices(engine: Engine, tmp_path: Path) -> None:
    os.mknod(tmp_path / "one", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    (tmp_path / "file").write_text("no device")
    devices = (Device(str(tmp_path), "/dev/many"),)
    found = lines(engine, "ls /dev/many", devices=devices, userns="host")
    assert found == ["one"]


@pytest.mark.parametrize(
    ("path", "why"), [("/nowhere", "no such file or directory"), ("/etc", "not a device node")]
)
def test_what_is_no_device(engine: Engine, path: str, why: str) -> None:
    message = f'error gathering device information while adding custom device "{path}": {why}'
    with pytest.raises(errors.InvalidArgument) as caught:
        run(engine, "true", devices=(Device(path, path),))
    assert message in str(caught.value)


def test_a_control_group_elsewhere(engine: Engine) -> None:
    if "systemd" in engine.machine.cgroups.name:
        pytest.skip("slices have other names")
    parent = f"{engine.settings.cgroup_parent.rstrip('/')}/inner"
    config = ContainerConfig("busybox", ("sleep", "1000"), cgroup_parent=parent)
    container = engine.containers.create(config)
    container.start()
    pid = container.inspect()["State"]["Pid"]
    assert f"{parent}/{container.id}" in Path(f"/proc/{pid}/cgroup").read_text()
    assert container.inspect()["HostConfig"]["CgroupParent"] == parent
    container.remove(force=True)
    for left in (*Path("/sys/fs/cgroup").glob(f"*{parent}"), Path(f"/sys/fs/cgroup{parent}")):
        if left.is_dir():
            left.rmdir()
    with pytest.raises(errors.InvalidArgument, match="must not climb"):
        run(engine, "true", cgroup_parent="/a/../b")


@needs_v1
def test_swappiness_and_waiting_for_memory(engine: Engine) -> None:
    limits = Limits(memory=32 << 20, memory_swappiness=7, oom_kill_disable=True)
    script = "cd /sys/fs/cgroup/memory; cat memory.swappiness; head -1 memory.oom_control"
    assert lines(engine, script, limits=limits) == ["7", "oom_kill_disable 1"]
    found = host_config(engine, limits=limits)
    assert (found["MemorySwappiness"], found["OomKillDisable"]) == (7, True)


@pytest.mark.vm
@pytest.mark.skipif(V1_MEMORY.exists(), reason="control groups v1 have it")
def test_what_v2_does_not_have_is_left_out(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    limits = Limits(memory=32 << 20, memory_swappiness=7, oom_kill_disable=True)
    assert lines(engine, "cat /sys/fs/cgroup/memory.max", limits=limits) == [str(32 << 20)]
    said = [text for text in caplog.messages if text.endswith("discarded.")]
    assert said == [
        (
            "Your kernel does not support memory swappiness capabilities or the cgroup is not "
            "mounted. Memory swappiness discarded."
        ),
        "Your kernel does not support OomKillDisable. OomKillDisable discarded.",
    ]
    found = host_config(engine, limits=limits)
    assert (found["MemorySwappiness"], found["OomKillDisable"]) == (None, False)


def test_real_time_needs_the_kernels_help(engine: Engine) -> None:
    limits = Limits(cpu_rt_period=1_000_000, cpu_rt_runtime=100)
    group = Path(f"/sys/fs/cgroup/cpu{engine.settings.cgroup_parent}")
    if (group.parent / "cpu.rt_runtime_us").exists():
        group.mkdir(exist_ok=True)  # which gives to those below it what it has
        (group / "cpu.rt_runtime_us").write_text("1000")
    try:
        script = "cat /sys/fs/cgroup/cpu/cpu.rt_runtime_us"
        assert lines(engine, script, limits=limits) == ["100"]
    except errors.Unsupported as error:
        assert "kernel does not support CPU real-time scheduler" in str(error)


def test_a_weight_for_what_is_no_device(engine: Engine) -> None:
    limits = Limits(blkio_weight_device=(ThrottleDevice("/dev/nothing", 300),))
    with pytest.raises(errors.InvalidArgument, match="stat /dev/nothing: No such file"):
        run(engine, "true", limits=limits)
