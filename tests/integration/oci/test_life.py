"""A container's life by knarr-oci: create, start, signals, removal; and what is left of it."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests.support.bundles import Oci
from tests.support.waiting import wait_until

PR_SET_CHILD_SUBREAPER = 36
SLEEP = ("sleep", "1000")


def stopped(oci: Oci, name: str) -> bool:
    return bool(oci.state(name)["status"] == "stopped")


def test_create_start_kill_delete(oci: Oci) -> None:
    name = oci.name("life")
    bundle = oci.bundle("sh", "-c", "echo started >/mark; exec sleep 1000", root={"path": "rootfs"})
    (bundle / "rootfs").mkdir()
    subprocess.run(["cp", "-a", f"{oci.rootfs}/.", str(bundle / "rootfs")], check=True)
    pid_file = bundle / "pid"
    oci("create", "--bundle", str(bundle), "--pid-file", str(pid_file), name)
    state = oci.state(name)
    assert state["status"] == "created"
    assert state["bundle"] == str(bundle)
    assert pid_file.read_text() == str(state["pid"])
    assert not (bundle / "rootfs" / "mark").exists()
    assert "is created" not in oci("start", name)
    wait_until((bundle / "rootfs" / "mark").exists)
    assert oci.state(name)["status"] == "running"
    assert "it is running, not created" in oci("start", name, check=False)
    assert "it is running, not stopped" in oci("delete", name, check=False)
    assert json.loads(oci("ps", "--format", "json", name)) == [state["pid"]]
    assert "sleep 1000" in oci("ps", name)
    oci("kill", name, "KILL")
    wait_until(lambda: stopped(oci, name))
    assert oci.state(name)["pid"] == 0
    assert "container not running" in oci("kill", name, "TERM", check=False)
    oci("delete", name)
    assert "does not exist" in oci("state", name, check=False)
    assert "does not exist" in oci("delete", name, check=False)
    oci("delete", "--force", name)


def test_configuration_is_that_of_create(oci: Oci, tmp_path: Path) -> None:
    name = oci.name("kept")
    bundle = oci.bundle("sh", "-c", "echo first")
    with (tmp_path / "out").open("w") as out:
        subprocess.run(
            [str(oci.program), "create", "--bundle", str(bundle), name],
            stdin=subprocess.DEVNULL, stdout=out, check=True, timeout=60,
        )  # fmt: skip
    (bundle / "config.json").write_text("{}")
    oci("start", name)
    wait_until(lambda: stopped(oci, name))
    assert (tmp_path / "out").read_text() == "first\n"


def test_another_file_than_config_json(oci: Oci, tmp_path: Path) -> None:
    bundle = oci.bundle("echo", "other")
    (bundle / "config.json").rename(bundle / "other.json")
    assert "config.json" in oci("run", "-b", str(bundle), oci.name("none"), check=False)
    for path in ("other.json", str(bundle / "other.json")):
        assert oci("run", "-b", str(bundle), "--config", path, oci.name("other")) == "other\n"


def test_a_container_that_is_kept_after_its_end(oci: Oci) -> None:
    name = oci.name("kept")
    said = oci("run", "--keep", "-b", str(oci.bundle("sh", "-c", "exit 5")), name, check=False)
    assert said == ""
    assert oci.state(name)["status"] == "stopped"
    oci("delete", name)


def test_process_becomes_the_callers_and_outlives_the_command(oci: Oci) -> None:
    """As conmon and containerd's shim need it: their child, once create has ended."""
    name = oci.name("child")
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        oci("create", "--bundle", str(oci.bundle("sh", "-c", "exit 9")), name)
        pid = oci.state(name)["pid"]
        stat = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        assert int(stat[1]) == os.getpid()
        oci("start", name)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 9
    finally:
        libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
    oci("delete", name)


@pytest.mark.parametrize("text", ["TERM", "SIGTERM", "15", "KILL"])
def test_signal_ends_a_created_container(oci: Oci, text: str) -> None:
    name = oci.name("early")
    oci("create", "--bundle", str(oci.bundle(*SLEEP)), name)
    oci("kill", name, text)
    assert stopped(oci, name)
    assert "not created" in oci("start", name, check=False)


def test_delete_of_a_created_container(oci: Oci) -> None:
    name = oci.name("unused")
    oci("create", "--bundle", str(oci.bundle(*SLEEP)), name)
    pid = oci.state(name)["pid"]
    assert "it is created, not stopped" in oci("delete", name, check=False)
    assert oci.state(name)["status"] == "created"
    oci("delete", "--force", name)
    wait_until(lambda: not Path(f"/proc/{pid}/ns/pid").exists())


def test_delete_of_a_process_that_somebody_froze(oci: Oci) -> None:
    """In a group that is not the container's, so it is not ours to thaw."""
    freezer = Path("/sys/fs/cgroup/freezer")
    if not (freezer / "cgroup.procs").exists():
        pytest.skip("this machine has no freezer of cgroup v1")
    name, group = oci.name("cold"), freezer / oci.name("others")
    oci("run", "--detach", "--bundle", str(oci.bundle(*SLEEP)), name)
    pid = oci.state(name)["pid"]
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(pid))
        (group / "freezer.state").write_text("FROZEN")
        assert "does not end: it is frozen" in oci("delete", "--force", name, check=False)
    finally:
        (group / "freezer.state").write_text("THAWED")
        wait_until(lambda: not (group / "cgroup.procs").read_text())
        group.rmdir()
    oci("delete", "--force", name)


def test_name_in_use(oci: Oci) -> None:
    name = oci.name("one")
    bundle = str(oci.bundle(*SLEEP))
    oci("create", "--bundle", bundle, name)
    assert "container with id exists" in oci("create", "--bundle", bundle, name, check=False)
    assert oci.state(name)["status"] == "created"


@pytest.mark.parametrize("name", ["../x", "a/b", ".", "..", "@seccomp", "a b", "", "x" * 256])
def test_names_that_are_paths_or_none(oci: Oci, name: str) -> None:
    said = oci("create", "--bundle", str(oci.bundle(*SLEEP)), name, check=False)
    assert "container id" in said


def test_run_has_the_programs_status(oci: Oci) -> None:
    bundle = str(oci.bundle("sh", "-c", "exit 7"))
    done = subprocess.run([str(oci.program), "run", "-b", bundle, oci.name("seven")], check=False)
    assert done.returncode == 7
    assert oci("list", "-q") == ""


def test_run_passes_signals_on(oci: Oci) -> None:
    script = "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done"
    bundle = str(oci.bundle("sh", "-c", script))
    with subprocess.Popen(
        [str(oci.program), "run", "-b", bundle, oci.name("trap")],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 5
    assert oci("list", "-q") == ""


def test_run_detached(oci: Oci) -> None:
    name = oci.name("away")
    subprocess.run(
        [str(oci.program), "run", "-d", "-b", str(oci.bundle(*SLEEP)), name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60,
    )  # fmt: skip
    (listed,) = json.loads(oci("list", "--format", "json"))
    assert (listed["id"], listed["status"]) == (name, "running")
    assert oci("list").splitlines()[1].split()[0] == name


def test_program_that_is_not_there(oci: Oci) -> None:
    said = oci("create", "--bundle", str(oci.bundle("nosuch")), oci.name("none"), check=False)
    assert 'exec: "nosuch": executable file not found in $PATH' in said


def test_failure_after_the_gate_is_told_by_start(oci: Oci) -> None:
    """Who made the program's process has gone: the reason comes from its memory."""
    name = oci.name("script")
    bundle = oci.bundle("/tmp/script", root={"path": "rootfs"})
    (bundle / "rootfs").mkdir()
    subprocess.run(["cp", "-a", f"{oci.rootfs}/.", str(bundle / "rootfs")], check=True)
    script = bundle / "rootfs" / "tmp" / "script"
    script.write_text("#!/no/such/interpreter\n")
    script.chmod(0o755)
    oci("create", "--bundle", str(bundle), name)
    assert 'exec: "/tmp/script": no such file' in oci("start", name, check=False)
    assert stopped(oci, name)


def test_leftovers_of_a_killed_create_are_removed(oci: Oci) -> None:
    """Killed in a hook: the half-made process dies with it, and delete takes back the rest."""
    name = oci.name("killed")
    ready = oci.folder / "ready"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo $$ >{ready}; exec sleep 1000"]}
    bundle = oci.bundle(*SLEEP, hooks={"createRuntime": [hook]})
    with subprocess.Popen([str(oci.program), "create", "--bundle", str(bundle), name]) as process:
        wait_until(lambda: ready.exists() and ready.read_text().strip())
        pid = oci.state(name)["pid"]
        assert oci.state(name)["status"] == "creating"
        process.kill()
    os.kill(int(ready.read_text()), signal.SIGKILL)
    wait_until(lambda: not Path(f"/proc/{pid}/ns/pid").exists())
    wait_until(lambda: stopped(oci, name))
    assert oci.groups()
    oci("delete", "--force", name)


def test_create_that_is_interrupted_leaves_nothing(oci: Oci) -> None:
    ready = oci.folder / "ready"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", f"echo >{ready}; exec sleep 1000"]}
    bundle = oci.bundle(*SLEEP, hooks={"createRuntime": [hook]})
    words = [str(oci.program), "create", "--bundle", str(bundle), oci.name("stop")]
    with subprocess.Popen(words) as process:
        wait_until(ready.exists)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert oci("list", "-q") == ""
    assert oci.groups() == []
