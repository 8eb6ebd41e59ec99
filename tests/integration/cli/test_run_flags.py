"""Flags of ``run`` through the installed command: what happens, the words, the exit codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.installations import Installation


def test_many_at_once(box: Installation, tmp_path: Path) -> None:
    (tmp_path / "env").write_text("FROM_FILE=1\n")
    (tmp_path / "labels").write_text("tier=web\n")
    code, out, err = box.run(
        "run", "-q", "--rm", "--env-file", str(tmp_path / "env"), "--label-file",
        str(tmp_path / "labels"), "--add-host", "db=10.0.0.7", "--dns", "9.9.9.9", "--ulimit",
        "nofile=99:100", "--sysctl", "net.ipv4.ip_unprivileged_port_start=77", "--group-add", "55",
        "--shm-size", "1m", "--mount", f"type=bind,source={tmp_path},target=/data,readonly",
        "--mount", "type=tmpfs,target=/scratch,tmpfs-size=1m", "--oom-score-adj", "100", "--device",
        "/dev/null:/dev/nothing", "busybox", "sh", "-c",
        "echo $FROM_FILE; grep db /etc/hosts; cat /etc/resolv.conf; ulimit -n; id -G;"
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start /data/env /proc/self/oom_score_adj;"
        "df -k /dev/shm /scratch | awk '{print $2}' | tail -2; echo gone > /dev/nothing",
    )  # fmt: skip
    assert (code, err) == (0, b"")
    assert out.decode().splitlines() == [
        "1", "10.0.0.7\tdb", "nameserver 9.9.9.9", "99", "0 55", "77", "FROM_FILE=1", "100",
        "1024", "1024",
    ]  # fmt: skip


def test_limits_that_the_machine_cannot_keep_are_left_out_with_a_warning(box: Installation) -> None:
    """Here: on a machine without control groups."""
    code, out, err = box.run(
        "run", "-d", "--name", "web", "-m", "64m", "--oom-kill-disable", "--pids-limit", "7",
        "busybox", "sleep", "1000", KNARR_CGROUP_MANAGER="none",
    )  # fmt: skip
    assert (code, len(out)) == (0, 65), err
    nothing = "or the cgroup is not mounted."
    assert err.decode().splitlines() == [
        (
            "WARNING: Your kernel does not support memory limit capabilities "
            f"{nothing} Limitation discarded."
        ),
        "WARNING: Your kernel does not support OomKillDisable. OomKillDisable discarded.",
        (
            "WARNING: Your kernel does not support PIDs limit capabilities "
            f"{nothing} PIDs limit discarded."
        ),
    ]
    form = "{{with .HostConfig}}{{.Memory}} {{.OomKillDisable}}{{end}}"
    assert box.run("inspect", "-f", form, "web")[1] == b"0 false\n"
    assert box.run("rm", "-f", "web", KNARR_CGROUP_MANAGER="none")[0] == 0


def test_another_containers_namespaces(box: Installation) -> None:
    assert (
        box.run("run", "-d", "--name", "web", "-h", "webhost", "busybox", "sleep", "1000")[0] == 0
    )
    code, out, err = box.run(
        "run", "--rm", "--network", "container:web", "--pid", "container:web", "busybox",
        "sh", "-c", "hostname; cat /proc/1/comm",
    )  # fmt: skip
    assert (code, out, err) == (0, b"webhost\nsleep\n", b"")
    assert box.run("rm", "-f", "web")[0] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--ulimit", "files=1"),
         'invalid argument "files=1" for "--ulimit" flag: invalid ulimit type: files'),
        (("--sysctl", "kernel.panic=1"),
         "for \"--sysctl\" flag: sysctl 'kernel.panic=1' is not allowed"),
        (("--dns", "x"), "IP address is not correctly formatted: x"),
        (("--pid", "web"), "--pid: invalid PID mode"),
        (("--oom-score-adj", "2000"),
         "Invalid value 2000, range for oom score adj is [-1000, 1000]"),
        (("--network", "container:nobody"), "No such container: nobody"),
        (("--volumes-from", "nobody"), "No such container: nobody"),
        (("--device", "/nowhere"), 'adding custom device "/nowhere": no such file or directory'),
        (("--mount", "type=bind,src=/no/where,dst=/x"),
         'invalid mount config for type "bind": bind source path does not exist: /no/where'),
        (("--gpus", "all"), "--gpus: there is no driver for GPUs"),
        (("--link", "a:b"), "--link: gone from Docker"),
        (("--kernel-memory", "1g"), "--kernel-memory: gone from Linux; use --memory"),
        (("--storage-opt", "size=1g"), "--storage-opt: the writable layer has no quota"),
        (("--isolation", "hyperv"), "--isolation: only Docker on Windows has it"),
    ],
)  # fmt: skip
def test_what_is_refused(box: Installation, words: tuple[str, ...], message: str) -> None:
    code, out, err = box.run("run", "--rm", *words, "busybox", "true")
    assert (code, out) == (125, b"")
    assert message in err.decode()
