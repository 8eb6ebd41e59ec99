"""From argv of run to a ContainerConfig."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.cli import container_config, verbs
from knarr.engine import serial
from knarr.engine.model import (
    BindMount,
    ContainerConfig,
    Device,
    HealthCheck,
    Limits,
    RestartPolicy,
    ThrottleDevice,
    Tmpfs,
    Ulimit,
)
from knarr.errors import InvalidArgument

ENVIRON = {"HOME": "/root", "LANG": "C.UTF-8"}


def config(*argv: str) -> ContainerConfig:
    return container_config.from_args(verbs.load("run").parse(list(argv)), ENVIRON)


def test_the_shortest_one_is_all_defaults() -> None:
    assert config("busybox") == ContainerConfig(image="busybox")


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ("--pid web", "--pid: invalid PID mode"),
        ("--pid container:", "--pid: invalid PID mode"),
        ("--uts container:web", "--uts: invalid UTS mode"),
        ("--cgroupns web", "--cgroupns: invalid CGROUP mode"),
        ("--memory-swappiness 101", "invalid value: 101. Valid memory swappiness range is 0-100"),
        ("--no-healthcheck --health-cmd x", "--no-healthcheck conflicts with --health-* options"),
        (
            "--no-healthcheck --health-retries 2",
            "--no-healthcheck conflicts with --health-* options",
        ),
        ("--health-interval -1s", "--health-interval cannot be negative"),
        ("--health-timeout -1s", "--health-timeout cannot be negative"),
        ("--health-retries -1", "--health-retries cannot be negative"),
        ("--health-start-period -1s", "--health-start-period cannot be negative"),
        ("--health-start-interval -1s", "--health-start-interval cannot be negative"),
        ("--health-interval 3ns", "Interval in Healthcheck cannot be less than 1ms"),
        ("--device a:b:c:d", "bad format for path: a:b:c:d"),
        ("--device /dev/n*:/dev/m", "device with * suffix can't have dst: /dev/n*:/dev/m"),
    ],
)
def test_words_for_what_cannot_be(argv: str, message: str) -> None:
    with pytest.raises(InvalidArgument) as caught:
        config(*argv.split(), "busybox")
    assert str(caught.value) == message


def test_health_checks() -> None:
    assert config("--no-healthcheck", "busybox").health == HealthCheck(("NONE",))
    assert config("--health-cmd", "", "--health-retries", "0", "busybox").health is None
    assert config("--health-interval", "1m30s", "busybox").health == HealthCheck(
        interval=90 * 10**9
    )
    made = config(
        "--health-cmd", "test -e /ok", "--health-interval", "1.5s", "--health-timeout", "300ms",
        "--health-retries", "2", "--health-start-period", "1h", "--health-start-interval", "1s",
        "busybox",
    )  # fmt: skip
    assert made.health == HealthCheck(
        ("CMD-SHELL", "test -e /ok"), 1_500_000_000, 300_000_000, 3600 * 10**9, 10**9, 2
    )


def test_whose_namespaces() -> None:
    made = config(
        "--pid", "container:a", "--ipc", "host", "--uts", "host", "--cgroupns", "private",
        "--network", "container:b", "busybox",
    )  # fmt: skip
    assert (made.pid, made.ipc, made.uts, made.cgroupns) == (
        "container:a", "host", "host", "private",
    )  # fmt: skip
    assert made.network == "container:b"


def test_hosts_resolver_and_limits(tmp_path: Path) -> None:
    (tmp_path / "labels").write_text("# of the file\na=1\nb=2\n")
    made = config(
        "--add-host", "db=10.0.0.7", "--dns", "9.9.9.9", "--dns-opt", "ndots:2", "--dns-search",
        "a.org", "--ulimit", "nofile=1:2", "--sysctl", "net.core.somaxconn=9", "--group-add", "x",
        "--oom-score-adj", "-5", "--label-file", str(tmp_path / "labels"), "-l", "b=3",
        "--cgroup-parent", "/x", "--device", "/dev/null:/dev/no:r", "--device-cgroup-rule",
        "c 1:3 r", "--memory-swappiness", "0", "--oom-kill-disable", "--blkio-weight-device",
        "/dev/sda:10", "--cpu-rt-period", "5", "--cpu-rt-runtime", "4", "-q", "--volumes-from", "a",
        "busybox",
    )  # fmt: skip
    assert made == ContainerConfig(
        image="busybox",
        extra_hosts=("db:10.0.0.7",),
        dns=("9.9.9.9",),
        dns_options=("ndots:2",),
        dns_search=("a.org",),
        ulimits=(Ulimit("nofile", 1, 2),),
        sysctls={"net.core.somaxconn": "9"},
        group_add=("x",),
        oom_score_adj=-5,
        labels={"a": "1", "b": "3"},
        cgroup_parent="/x",
        devices=(Device("/dev/null", "/dev/no", "r"),),
        device_cgroup_rules=("c 1:3 r",),
        limits=Limits(
            memory_swappiness=0,
            oom_kill_disable=True,
            blkio_weight_device=(ThrottleDevice("/dev/sda", 10),),
            cpu_rt_period=5,
            cpu_rt_runtime=4,
        ),
        volumes_from=("a",),
    )
    assert serial.decode(serial.encode(made)) == made


def test_everything_at_once() -> None:
    argv = (
        "-it --rm --name web --entrypoint /bin/sh -e A=1 -e LANG -e NOPE -w /srv -u 1:2 -h box "
        "--domainname lab -l tier=web -l bare --annotation a=b --init --stop-signal INT "
        "--stop-timeout 3 --read-only --tmpfs /tmp:size=1m -v /a:/b:ro --cap-add NET_ADMIN "
        "--cap-drop ALL --security-opt no-new-privileges --privileged --userns host "
        "--network host --pull never --platform linux/arm64 --shm-size 1m "
        "-m 256m --memory-swap -1 --memory-reservation 1m --cpus 1.5 -c 512 --cpu-period 100 "
        "--cpu-quota 50 --cpuset-cpus 0 --cpuset-mems 0 --pids-limit 9 --blkio-weight 300 "
        "--device-read-bps /dev/sda:1k --device-write-bps /dev/sda:2k "
        "--device-read-iops /dev/sda:3 --device-write-iops /dev/sda:4 img cmd -x"
    )
    assert config(*argv.split()) == ContainerConfig(
        image="img",
        command=("cmd", "-x"),
        name="web",
        entrypoint=("/bin/sh",),
        env=("A=1", "LANG=C.UTF-8", "NOPE"),
        working_dir="/srv",
        user="1:2",
        hostname="box",
        domainname="lab",
        labels={"tier": "web", "bare": ""},
        annotations={"a": "b"},
        tty=True,
        open_stdin=True,
        auto_remove=True,
        init=True,
        stop_signal="INT",
        stop_timeout=3,
        read_only=True,
        tmpfs=(Tmpfs("/tmp", ("size=1m",)),),
        binds=(BindMount("/a", "/b", read_only=True),),
        cap_add=("NET_ADMIN",),
        cap_drop=("ALL",),
        security_opt=("no-new-privileges",),
        privileged=True,
        userns="host",
        network="host",
        pull="never",
        platform="linux/arm64",
        shm_size=1024**2,
        limits=Limits(
            memory=256 * 1024**2,
            memory_swap=-1,
            memory_reservation=1024**2,
            nano_cpus=15 * 10**8,
            cpu_shares=512,
            cpu_period=100,
            cpu_quota=50,
            cpuset_cpus="0",
            cpuset_mems="0",
            pids=9,
            blkio_weight=300,
            device_read_bps=(ThrottleDevice("/dev/sda", 1024),),
            device_write_bps=(ThrottleDevice("/dev/sda", 2048),),
            device_read_iops=(ThrottleDevice("/dev/sda", 3),),
            device_write_iops=(ThrottleDevice("/dev/sda", 4),),
        ),
    )


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("no", RestartPolicy()),
        ("always", RestartPolicy("always")),
        ("on-failure", RestartPolicy("on-failure")),
        ("on-failure:4", RestartPolicy("on-failure", 4)),
        ("unless-stopped", RestartPolicy("unless-stopped")),
    ],
)
def test_restart_policies(text: str, policy: RestartPolicy) -> None:
    assert config("--restart", text, "busybox").restart == policy


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("on-failure:x", "maximum retry count must be an integer"),
        ("always:3", "maximum retry count can only be used with 'on-failure'"),
        ("often", "unknown policy 'often'"),
    ],
)
def test_what_is_no_restart_policy(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        config("--restart", text, "busybox")


def test_an_empty_entrypoint_clears_the_images() -> None:
    assert config("--entrypoint", "", "img").entrypoint == ("",)
    assert config("img").entrypoint is None


def test_networks_by_name() -> None:
    assert config("img").network is None
    for name in ("bridge", "web", "none", "container:web"):
        assert config("--net", name, "img").network == name
        assert config("--network", name, "img").endpoints is None


def test_a_relative_working_directory_is_refused() -> None:
    with pytest.raises(InvalidArgument, match="needs to be an absolute path"):
        config("-w", "srv", "img")


def test_env_file_comes_before_env(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"\xef\xbb\xbf# comment\n\nA=1\n  B=two words \nHOME\nNOPE\n")
    env = config("-e", "A=2", "--env-file", str(file), "img").env
    assert env == ("A=1", "B=two words ", "HOME=/root", "NOPE", "A=2")


@pytest.mark.parametrize(
    ("text", "message"),
    [(b"A B=1\n", "contains whitespaces"), (b"=x\n", "no variable name"), (b"\xff\n", "utf8")],
)
def test_env_file_refuses(tmp_path: Path, text: bytes, message: str) -> None:
    file = tmp_path / "env"
    file.write_bytes(text)
    with pytest.raises(InvalidArgument, match=message):
        config("--env-file", str(file), "img")


def test_a_missing_env_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidArgument, match=f"open {tmp_path}/none: No such file"):
        config("--env-file", f"{tmp_path}/none", "img")
