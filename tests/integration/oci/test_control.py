"""pause, resume, update; and what list and ps show, beside runc's."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from knarr.cgroups import files
from knarr.cgroups.manager import detect
from tests.support.bundles import Oci
from tests.support.waiting import wait_until

SLEEP = ("sleep", "1000")
COUNT = ("sh", "-c", "while :; do echo x; sleep 0.01; done")
MIB = 1 << 20


def running(oci: Oci, name: str, *args: str, out: Path | None = None, **changes: object) -> int:
    """Start a container in the background; return its process."""
    bundle = oci.bundle(*(args or SLEEP), **changes)
    with (out or oci.folder / "null").open("w") as stdout:
        subprocess.run(
            [str(oci.program), "run", "-d", "-b", str(bundle), name],
            stdin=subprocess.DEVNULL, stdout=stdout, check=True, timeout=60,
        )  # fmt: skip
    return int(oci.state(name)["pid"])


def stopped(oci: Oci, name: str) -> bool:
    return bool(oci.state(name)["status"] == "stopped")


def places(oci: Oci, name: str) -> dict[str, str]:
    """The directories of a container's group by controller."""
    where = json.loads((oci.root / name / "state.json").read_text())["cgroup"]
    return detect(where["manager"]).open(where["path"]).paths


def value(oci: Oci, name: str, v1: str, v2: str) -> str:
    """What a control file of a container says; v2: without the controller in its name on v1."""
    controller, _, _ = v1.partition(".")
    paths = places(oci, name)
    if directory := paths.get(controller):
        return files.read(f"{directory}/{v1}").strip()
    return files.read(f"{paths['unified']}/{v2}").strip()


def test_pause_and_resume(oci: Oci, tmp_path: Path) -> None:
    name = oci.name("still")
    out = tmp_path / "out"
    running(oci, name, *COUNT, out=out)
    wait_until(lambda: out.stat().st_size > 0)
    oci("pause", name)
    assert oci.state(name)["status"] == "paused"
    assert json.loads(oci("list", "-f", "json"))[0]["status"] == "paused"
    size = out.stat().st_size
    for _ in range(3):
        oci("state", name)  # as long as a few of its lines would take
    assert out.stat().st_size == size
    assert "container not running" in oci("pause", name, check=False)
    assert "it is paused, not stopped" in oci("delete", name, check=False)
    assert "it is paused, not created" in oci("start", name, check=False)
    oci("resume", name)
    assert oci.state(name)["status"] == "running"
    wait_until(lambda: out.stat().st_size > size)
    assert "container not paused" in oci("resume", name, check=False)
    assert "does not exist" in oci("pause", oci.name("nobody"), check=False)


def test_pause_is_for_executed_commands_too(oci: Oci, tmp_path: Path) -> None:
    name = oci.name("execs")
    running(oci, name)
    out = tmp_path / "out"
    with out.open("w") as stdout:
        subprocess.run(
            [str(oci.program), "exec", "-d", name, *COUNT],
            stdin=subprocess.DEVNULL, stdout=stdout, check=True, timeout=60,
        )  # fmt: skip
    wait_until(lambda: out.stat().st_size > 0)
    oci("pause", name)
    size = out.stat().st_size
    for _ in range(3):
        oci("state", name)
    assert out.stat().st_size == size
    oci("resume", name)
    wait_until(lambda: out.stat().st_size > size)


def test_created_container_can_be_paused(oci: Oci) -> None:
    name = oci.name("early")
    oci("create", "--bundle", str(oci.bundle(*SLEEP)), name)
    oci("pause", name)
    assert oci.state(name)["status"] == "paused"
    assert "it is paused, not created" in oci("start", name, check=False)
    oci("resume", name)
    assert oci.state(name)["status"] == "created"
    oci("start", name)
    oci("kill", name, "KILL")
    wait_until(lambda: stopped(oci, name))
    assert "container not running" in oci("pause", name, check=False)


@pytest.mark.parametrize("words", [("kill",), ("kill", "--all"), ("delete", "--force")])
def test_paused_container_dies(oci: Oci, words: tuple[str, ...]) -> None:
    name = oci.name("frozen")
    pid = running(oci, name)
    oci("pause", name)
    oci(*words, name, *(("KILL",) if words[0] == "kill" else ()))
    wait_until(lambda: not Path(f"/proc/{pid}/ns/pid").exists())
    if words[0] == "kill":
        wait_until(lambda: stopped(oci, name))


def test_a_signal_waits_until_the_container_goes_on(oci: Oci) -> None:
    name = oci.name("later")
    running(oci, name, "sh", "-c", "trap 'exit 3' TERM; while :; do sleep 0.01; done")
    oci("pause", name)
    oci("kill", name, "TERM")
    assert oci.state(name)["status"] == "paused"
    oci("resume", name)
    wait_until(lambda: stopped(oci, name))


def test_signal_that_is_none_asks_whether_it_lives(oci: Oci) -> None:
    name = oci.name("alive")
    oci("create", "--bundle", str(oci.bundle(*SLEEP)), name)
    oci("kill", name, "0")
    assert oci.state(name)["status"] == "created"
    oci("kill", name, "KILL")
    assert "container not running" in oci("kill", name, "0", check=False)


def without_pids(oci: Oci) -> list[dict[str, str]]:
    """The usual namespaces less that of process ids."""
    return [{"type": kind} for kind in ("network", "ipc", "uts", "mount", "cgroup")]


@pytest.mark.parametrize("words", [("kill",), ("kill", "--all"), ("delete", "--force")])
def test_all_die_where_the_namespace_of_pids_is_the_hosts(oci: Oci, words: tuple[str, ...]) -> None:
    """Also those that fork meanwhile, and those whose first process has gone."""
    name = oci.name("shared")
    bundle = oci.bundle("sh", "-c", "(while :; do sleep 0.5 & sleep 0.02; done) & exec sleep 1000")
    config = json.loads((bundle / "config.json").read_text())
    config["linux"]["namespaces"] = without_pids(oci)
    config["linux"]["resources"]["pids"] = {"limit": 60}
    (bundle / "config.json").write_text(json.dumps(config))
    subprocess.run(
        [str(oci.program), "run", "-d", "-b", str(bundle), name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60,
    )  # fmt: skip
    wait_until(lambda: len(json.loads(oci("ps", "-f", "json", name))) > 5)
    os.kill(oci.state(name)["pid"], signal.SIGKILL)
    wait_until(lambda: stopped(oci, name))
    assert json.loads(oci("ps", "-f", "json", name))
    assert "container not running" in oci("kill", name, "TERM", check=False)
    oci(*words, name, *(("KILL",) if words[0] == "kill" else ()))
    if words[0] == "kill":
        assert json.loads(oci("ps", "-f", "json", name)) == []
        oci("kill", "--all", name, "KILL")  # nobody is left, which is what was asked for
        assert "container not running" in oci("kill", name, "KILL", check=False)


def test_update_by_flags(oci: Oci) -> None:
    name = oci.name("flags")
    running(oci, name)
    oci(
        "update", "--memory", "64M", "--memory-swap", "96m", "--memory-reservation=32M",
        "--cpu-period", "50000", "--cpu-quota", "20000", "--cpu-burst", "10000",
        "--cpu-share", "512", "--cpuset-cpus", "0", "--cpuset-mems", "0", "--pids-limit", "77",
        name,
    )  # fmt: skip
    if (directory := places(oci, name).get("memory")) is None:
        pytest.skip("needs the limits of cgroup v1")
    assert files.read_int(f"{directory}/memory.limit_in_bytes") == 64 * MIB
    assert files.read_int(f"{directory}/memory.memsw.limit_in_bytes") == 96 * MIB
    assert files.read_int(f"{directory}/memory.soft_limit_in_bytes") == 32 * MIB
    for file, wanted in (
        ("cpu.cfs_period_us", "50000"), ("cpu.cfs_quota_us", "20000"),
        ("cpu.cfs_burst_us", "10000"), ("cpu.shares", "512"), ("cpuset.cpus", "0"),
        ("pids.max", "77"),
    ):  # fmt: skip
        assert value(oci, name, file, file) == wanted, file
    oci("update", name, "--memory", "128M", "--memory-swap", "128M")
    assert files.read_int(f"{directory}/memory.memsw.limit_in_bytes") == 128 * MIB
    oci("update", name, "--memory", "-1", "--pids-limit", "-1", "--cpu-quota", "-1")
    assert (files.read_int(f"{directory}/memory.limit_in_bytes") or 0) > 2**60
    assert value(oci, name, "pids.max", "pids.max") == "max"
    assert value(oci, name, "cpu.cfs_quota_us", "") == "-1"
    oci("update", "--pids-limit", "0", "--cpu-idle", "1", name)
    assert value(oci, name, "pids.max", "pids.max") == "1"
    assert value(oci, name, "cpu.idle", "cpu.idle") == "1"
    if Path(places(oci, name)["blkio"], "blkio.bfq.weight").exists():
        oci("update", "--blkio-weight", "200", name)
        assert value(oci, name, "blkio.bfq.weight", "") == "200"
    else:
        assert "blockIO.weight" in oci("update", "--blkio-weight", "200", name, check=False)
    oci("update", "--cpu-idle", "0", "--cpu-share", "300", name)
    assert value(oci, name, "cpu.shares", "") == "300"


def test_update_by_file_and_standard_input(oci: Oci, tmp_path: Path) -> None:
    name = oci.name("file")
    running(oci, name)
    file = tmp_path / "resources.json"
    file.write_text('{"pids": {"limit": 30}, "cpu": {"shares": 200, "quota": null}, "x": 1}')
    oci("update", "--resources", str(file), "--pids-limit", "5", name)
    assert value(oci, name, "pids.max", "pids.max") == "30"
    subprocess.run(
        [str(oci.program), "update", "-r", "-", name],
        input=b'{"pids": {"limit": 40}}', check=True, timeout=60,
    )  # fmt: skip
    assert value(oci, name, "pids.max", "pids.max") == "40"
    kept = json.loads((oci.root / name / "config.json").read_text())["linux"]["resources"]
    assert kept["pids"] == {"limit": 40}
    assert kept["cpu"] == {"shares": 200}
    file.write_text("[")
    assert "is not JSON" in oci("update", "-r", str(file), name, check=False)
    file.write_text('{"pids": 3}')
    assert "pids: expected an object" in oci("update", "-r", str(file), name, check=False)


def test_update_of_other_states(oci: Oci) -> None:
    name = oci.name("states")
    oci("create", "--bundle", str(oci.bundle(*SLEEP)), name)
    oci("update", "--pids-limit", "11", name)
    assert value(oci, name, "pids.max", "pids.max") == "11"
    oci("start", name)
    oci("pause", name)
    oci("update", "--pids-limit", "12", name)
    assert oci.state(name)["status"] == "paused"
    assert value(oci, name, "pids.max", "pids.max") == "12"
    oci("kill", name, "KILL")
    wait_until(lambda: stopped(oci, name))
    assert "container not running" in oci("update", "--pids-limit", "13", name, check=False)


def test_refused_update_changes_nothing(oci: Oci) -> None:
    name = oci.name("whole")
    running(oci, name)
    before = (oci.root / name / "config.json").read_text()
    words = ("--memory", "64M", "--pids-limit", "9", "--cpu-share", "77", "--cpuset-cpus", "4000")
    assert "cpu.cpus cannot be set" in oci("update", *words, name, check=False)
    assert value(oci, name, "pids.max", "pids.max") == "max"
    assert (oci.root / name / "config.json").read_text() == before
    for flags, text in (
        (("--memory", "5x"), "--memory: invalid size: '5x'"),
        (("--cpu-quota", "much"), "--cpu-quota: 'much' is not a whole number"),
        (("--cpu-idle", "2"), "cpu.idle: 2 is not in the range"),
        (("--blkio-weight", "5"), "blockIO.weight: 5 is not in the range"),
        (("--l3-cache-schema", "L3:0=f"), "L3 cache schema is not enabled"),
        (("--mem-bw-schema", "MB:0=20"), "memory bandwidth schema is not enabled"),
        (("--nosuch", "1"), "no such flag"),
    ):
        if "enabled" in text and " - resctrl " in Path("/proc/self/mountinfo").read_text():
            text = "Intel RDT"
        assert text in oci("update", *flags, name, check=False), flags


def test_update_leaves_devices_alone(oci: Oci) -> None:
    name = oci.name("devices")
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rw"},
    ]
    running(oci, name, linux=linux_of(oci, resources={"devices": rules}))
    if (directory := places(oci, name).get("devices")) is None:
        pytest.skip("needs the list of cgroup v1")
    before = files.read(f"{directory}/devices.list")
    assert "c 10:200 rw" in before
    oci("update", "--pids-limit", "9", name)
    assert files.read(f"{directory}/devices.list") == before
    text = json.dumps({"devices": [rules[0]]})
    subprocess.run(
        [str(oci.program), "update", "-r", "-", name], input=text.encode(), check=True, timeout=60
    )
    after = files.read(f"{directory}/devices.list")
    assert "c 10:200 rw" not in after
    assert "c 1:3 rwm" in after  # what every container has


def linux_of(oci: Oci, **changes: object) -> dict[str, object]:
    """The usual ``linux`` of a configuration with other fields."""
    config = json.loads((oci.bundle(*SLEEP) / "config.json").read_text())
    found: dict[str, object] = config["linux"] | changes
    return found


@pytest.fixture
def runc(oci: Oci) -> Iterator[Oci]:
    """runc with the same bundle folder and a root of its own."""
    if shutil.which("runc") is None:
        pytest.skip("needs runc")
    made = Oci(oci.folder, oci.rootfs)
    made.root = oci.folder / "runc"
    made.program = oci.folder / "runc.sh"
    made.program.write_text(f'#!/bin/sh\nexec runc --root {made.root} "$@"\n')
    made.program.chmod(0o755)
    yield made
    for name in made("list", "-q").split():
        made("delete", "--force", name)


def test_list_of_a_root_that_is_not_there(oci: Oci) -> None:
    """An error, as with runc, where somebody has named it; nothing is made."""
    for flags in ((), ("-q",), ("--format", "json")):
        said = oci("--root", str(oci.folder / "nowhere"), "list", *flags, check=False)
        assert f"--root {oci.folder}/nowhere: there is no such directory" in said
    assert not (oci.folder / "nowhere").exists()


@pytest.mark.peer
def test_list_state_and_ps_say_what_runc_says(oci: Oci, runc: Oci) -> None:
    """Line by line, less pids and times."""

    def plain(text: str, name: str) -> str:
        text = text.replace(name, "NAME")
        text = re.sub(r'(bundle"?[-:"/ ]*)?/[^ ",]*bundle-[0-9a-f]{8}', "BUNDLE", text)
        text = re.sub(r"20\d\d-\d\d-\d\dT[0-9:.]+Z", "TIME", text)
        text = re.sub("CREATED +OWNER", "CREATED OWNER", text)  # as wide as the time has digits
        text = re.sub(r'"ociVersion": ?"[^"]*"', "VERSION", text)  # runc's is its library's
        return re.sub(r"\b\d{2,}\b", "N", text)

    said = []
    for command in (runc, oci):
        empty = (command("list", "-f", "json"), command("list")) if command is oci else None
        name = oci.name("same")
        changes = {"annotations": {"org.test": "1"}, "ociVersion": "1.0.2"}
        linux = linux_of(oci, cgroupsPath=f"/{name}-{command.root.name}")
        bundle = oci.bundle(*SLEEP, linux=linux, **changes)
        subprocess.run(
            [str(command.program), "run", "-d", "-b", str(bundle), name],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60,
        )  # fmt: skip
        state = json.loads(command("state", name))
        state["owner"] = "root"  # runc leaves it empty here
        said.append(
            [
                plain(command("list"), name),
                plain(command("list", "--format", "json"), name),
                plain(json.dumps(state), name),
                plain(command("ps", name, "-o", "pid,comm"), name),
                plain(command("ps", "--format", "json", name), name),
            ]
        )
        command("delete", "--force", name)
        if empty is not None:
            assert empty == (command("list", "-f", "json"), command("list"))
    assert said[0] == said[1]
    assert oci("list", "-f", "json") == runc("list", "-f", "json") == "null\n"
    assert oci("list") == runc("list")


@pytest.fixture
def in_front(oci: Oci) -> Iterator[subprocess.Popen[bytes]]:
    """A container that somebody waits for; its name is the last word."""
    bundle = str(oci.bundle("sh", "-c", "echo ready; exec sleep 1000"))
    line = [str(oci.program), "run", "-b", bundle, oci.name("front")]
    with subprocess.Popen(line, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process
        process.kill()


def test_commands_while_somebody_waits(oci: Oci, in_front: subprocess.Popen[bytes]) -> None:
    """The one that waits changes nothing until the program has ended."""
    name = oci.name("front")
    oci("pause", name)
    oci("update", "--pids-limit", "50", name)
    oci("resume", name)
    oci("kill", name, "KILL")
    assert in_front.wait(60) == 128 + 9
    assert oci("list", "-q") == ""


def test_delete_while_somebody_waits(oci: Oci, in_front: subprocess.Popen[bytes]) -> None:
    """What has the name afterwards is another, and none of its business."""
    name = oci.name("front")
    oci("pause", name)  # until it has begun to wait
    oci("resume", name)
    os.kill(in_front.pid, signal.SIGSTOP)
    oci("delete", "--force", name)
    oci("create", "-b", str(oci.bundle("sleep", "1000")), name)
    os.kill(in_front.pid, signal.SIGCONT)
    assert in_front.wait(60) == 128 + 9
    assert oci.state(name)["status"] == "created"
