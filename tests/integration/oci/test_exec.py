"""Further commands in a container: what they are, what they say, and what is said when not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from knarr.cgroups import files, mounts, places
from knarr.cgroups.manager import detect
from tests.support.bundles import Oci
from tests.support.execs import Execs, user_namespace
from tests.support.waiting import wait_until


@pytest.fixture
def box(oci: Oci) -> Execs:
    return Execs(oci, "box").start()


def test_command_and_its_status(box: Execs) -> None:
    assert box("ID", "echo", "hello") == "hello\n"
    assert box("ID", "sh", "-c", "exit 42", status=42) == ""
    assert box("ID", "sh", "-c", "kill -9 $$", status=137) == ""
    # What follows the name is the command's, flags too.
    assert box("ID", "echo", "--tty", "-d") == "--tty -d\n"


def test_command_is_in_the_containers_namespaces_and_groups(box: Execs) -> None:
    kinds = ("pid", "net", "ipc", "uts", "mnt", "cgroup")
    inside = box("ID", "sh", "-c", "readlink /proc/self/ns/pid; hostname; cat /proc/self/cgroup")
    assert inside.splitlines()[1] == "knarr"
    pid = box.detached("ID", "sleep", "1000")
    for kind in kinds:
        assert os.readlink(f"/proc/{pid}/ns/{kind}") == os.readlink(f"/proc/{box.pid}/ns/{kind}")
    groups = Path(f"/proc/{pid}/cgroup").read_text()
    assert groups == Path(f"/proc/{box.pid}/cgroup").read_text()
    assert box.name in groups


def test_failures_are_told_with_a_status_of_their_own(box: Execs, tmp_path: Path) -> None:
    missing = box("ID", "nosuch", status=255)
    assert missing == 'knarr-oci: exec: "nosuch": executable file not found in $PATH\n'
    assert "permission denied" in box("ID", "/etc/passwd", status=255)
    assert "no such file or directory" in box("ID", "/no/such", status=255)
    assert 'container "none" does not exist' in box("none", "true", status=255)
    said = box("--cwd", "/nosuch", "ID", "true", status=255)
    assert 'working directory "/nosuch": No such file or directory' in said
    assert "expected the container's id and a command" in box("ID", status=255)
    assert "there is no such flag" in box("--nosuch", "ID", "true", status=255)
    said = box("--pid-file", str(tmp_path / "no" / "pid"), "ID", "sleep", "1000", status=255)
    assert "No such file or directory" in said
    assert json.loads(box.oci("ps", "--format", "json", box.name)) == [box.pid]


def test_container_that_has_ended(box: Execs) -> None:
    os.kill(box.pid, signal.SIGKILL)
    wait_until(lambda: box.oci.state(box.name)["status"] == "stopped")
    assert "container not running" in box("ID", "true", status=255)


def test_created_container_can_be_looked_into(oci: Oci) -> None:
    box = Execs(oci, "waits")
    assert box("ID", "echo", "there") == "there\n"
    assert oci.state(box.name)["status"] == "created"
    box.start()


def test_paused_container(box: Execs) -> None:
    group = detect("cgroupfs").open(f"/knarr-oci-{box.name}")
    group.freeze()
    try:
        assert "cannot exec in a paused container" in box("ID", "true", status=255)
        with subprocess.Popen(
            box.words("--ignore-paused", "ID", "echo", "late"), stdout=subprocess.PIPE
        ) as process:
            wait_until(lambda: len(group.procs()) == 2)
            group.thaw()
            assert process.communicate(timeout=60)[0] == b"late\n"
    finally:
        group.thaw()


def test_flags_change_the_containers_process(box: Execs) -> None:
    assert box("--cwd", "/bin", "ID", "pwd") == "/bin\n"
    found = box("--env", "ONE=1", "-e", "TWO=2=2", "ID", "env").splitlines()
    assert {"ONE=1", "TWO=2=2", "HOME=/root"} <= set(found)
    assert box("-u", "1000:100", "-g", "5", "-g", "6", "ID", "id", "-G") == "100 5 6\n"
    assert box("--no-new-privs=false", "ID", "grep", "NoNewPrivs", "/proc/self/status").split() == [
        "NoNewPrivs:", "0",
    ]  # fmt: skip
    assert "is not known" in box("--cap", "CAP_NOSUCH", "ID", "true", status=255)
    assert "expected NAME=VALUE" in box("--env", "NAME", "ID", "true", status=255)


def test_home_is_that_of_the_user(box: Execs) -> None:
    """Of who has no entry it is the root; runc's tests ask for it."""
    assert box("-u", "1000", "ID", "sh", "-c", "echo $HOME") == "/tmp\n"
    assert box("-u", "999", "ID", "sh", "-c", "echo $HOME") == "/\n"


@pytest.mark.parametrize("env", [["HOME="], ["HOME=/x", "HOME="], []])
def test_home_that_is_empty_is_none(oci: Oci, env: list[str]) -> None:
    """Of the container's program, and of further ones: with runc it is so."""
    bundle = oci.bundle("sh", "-c", "echo $HOME")
    oci.change(bundle, lambda config: config["process"].update(env=["PATH=/bin", *env]))
    assert oci("run", "--bundle", str(bundle), oci.name("home")) == "/root\n"
    box = Execs(oci, "box").start()
    assert box.process("sh", "-c", "echo $HOME", env=["PATH=/bin", *env]) == "/root\n"


def test_user_by_name_has_the_groups_of_the_name(box: Execs) -> None:
    assert box("-u", "alice", "ID", "id").startswith("uid=1000(alice) gid=1000(alice)")
    assert "unable to find user nobody-knows" in box("-u", "nobody-knows", "ID", "id", status=255)


@pytest.mark.parametrize(
    ("user", "ids"),
    [("0", "0 0"), ("1", "1 0"), ("1:2", "1 2"), ("001", "1 0"), ("4294967294", "4294967294 0")],
)
def test_numeric_users(box: Execs, user: str, ids: str) -> None:
    assert box("-u", user, "ID", "sh", "-c", "echo $(id -u) $(id -g)") == ids + "\n"


@pytest.mark.parametrize("user", [
    "4294967295", "4294967296", "18446744073709551616", "-1", "+1", "-0", "1:4294967295", "1:-1",
    ":1", "1:", ":", "1:2:3", "alice:4294967296",
])  # fmt: skip
def test_users_that_are_none(box: Execs, user: str) -> None:
    """CVE-2026-30892, CVE-2026-46680: never root by accident, and digits are no name."""
    assert "--user" in box("-u", user, "ID", "id", status=255)


def test_process_object(box: Execs) -> None:
    script = "id; umask; pwd; ulimit -n; cat /proc/self/oom_score_adj; echo $A"
    said = box.process(
        "sh", "-c", script, cwd="/tmp", env=["PATH=/bin", "A=b"], oomScoreAdj=500,
        user={"uid": 1000, "gid": 100, "umask": 0o27, "additionalGids": [7]},
        rlimits=[{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}],
    ).splitlines()  # fmt: skip
    assert said[0].startswith("uid=1000(alice) gid=100")
    assert said[1:] == ["0027", "/tmp", "100", "500", "b"]


def test_what_a_process_object_leaves_out_is_the_containers(oci: Oci) -> None:
    rlimits = [{"type": "RLIMIT_NOFILE", "soft": 77, "hard": 78}]
    box = Execs(oci, "like", process={"rlimits": rlimits, "oomScoreAdj": 300}).start()
    said = box.process(
        "sh", "-c", "ulimit -n; cat /proc/self/oom_score_adj; grep Cap /proc/$$/status"
    )
    lines = said.split()
    assert lines[:2] == ["77", "300"]
    assert lines[lines.index("CapEff:") + 1] == "0000000020000420"


def test_raised_limits(box: Execs) -> None:
    """Above those of the caller, which nobody inside may set."""
    rlimits = [{"type": "RLIMIT_CORE", "soft": 4096, "hard": 8192}]
    file = box.file("sh", "-c", "ulimit -c", rlimits=rlimits)
    line = ["prlimit", "--core=0:0", *box.words("--process", str(file), "ID")]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    if "operation not permitted" in done.stderr:
        pytest.skip("this machine has no CAP_SYS_RESOURCE to give")
    assert done.stdout == "8\n"


@pytest.mark.parametrize(("fields", "named"), [
    ({"args": []}, "process.args"),
    ({"cwd": "tmp"}, "process.cwd"),
    ({"user": {"uid": -1}}, "process.user.uid"),
    ({"user": {"uid": 1, "additionalGids": [1 << 32]}}, "process.user.additionalGids[0]"),
    ({"user": {"uid": "0"}}, "process.user.uid"),
    ({"rlimits": [{"type": "RLIMIT_NOSUCH", "soft": 1, "hard": 1}]}, "process.rlimits"),
    ({"oomScoreAdj": 1001}, "process.oomScoreAdj"),
    ({"scheduler": {"policy": "SCHED_NOSUCH"}}, "process.scheduler.policy"),
    ({"ioPriority": {"class": "IOPRIO_CLASS_NOSUCH"}}, "process.ioPriority.class"),
    ({"execCPUAffinity": {"initial": "0-"}}, "process.execCPUAffinity.initial"),
    ({"execCPUAffinity": {"final": "3-1"}}, "process.execCPUAffinity.final"),
    ({"execCPUAffinity": {"final": ","}}, "process.execCPUAffinity.final"),
    ({"execCPUAffinity": {"final": "8192"}}, "process.execCPUAffinity.final"),
    ({"execCPUAffinity": {"final": "8191"}}, "process.execCPUAffinity.final"),
    ({"execCPUAffinity": {"final": 1}}, "process.execCPUAffinity.final"),
    ({"terminal": True, "consoleSize": {"height": -1}}, "process.consoleSize.height"),
    ({"env": "A=b"}, "process.env"),
])  # fmt: skip
def test_process_objects_that_are_none(box: Execs, fields: dict[str, object], named: str) -> None:
    assert named in box.process("true", status=255, **fields)


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense", '{"args": ["true"], "cwd": null}'])
def test_process_files_that_are_none(box: Execs, tmp_path: Path, text: str) -> None:
    path = tmp_path / "process.json"
    path.write_text(text)
    assert "knarr-oci: " in box("--process", str(path), "ID", status=255)
    assert "is not a file" in box("--process", "/dev/null", "ID", status=255)


@pytest.mark.parametrize("words", [("-e", "A=b"), ("--cap", "CAP_KILL"), ("-u", "1")])
def test_process_file_and_flags_exclude_each_other(box: Execs, words: tuple[str, ...]) -> None:
    file = str(box.file("true"))
    assert "is not for --process" in box("-p", file, *words, "ID", status=255)
    assert "its file names the command" in box("-p", file, "ID", "true", status=255)


def test_processors(box: Execs) -> None:
    """Before the group is entered the first, after it the second; else all that there are."""
    show = ("grep", "Cpus_allowed_list", "/proc/self/status")
    every = sorted(os.sched_getaffinity(0))
    first, last = str(every[0]), str(every[-1])
    affinity = {"initial": first, "final": last}
    assert box.process(*show, execCPUAffinity=affinity).split()[1] == last
    whole = Path("/proc/self/status").read_text().partition("Cpus_allowed_list:")[2].split()[0]
    assert box.process(*show, execCPUAffinity={"initial": first}).split()[1] == whole
    line = ["taskset", "-c", first, *box.words("ID", *show)]
    done = subprocess.run(line, capture_output=True, text=True, check=True)
    assert done.stdout.split()[1] == whole


def test_programs_are_bound_to_no_processor_of_their_caller(oci: Oci) -> None:
    show = ("grep", "Cpus_allowed_list", "/proc/self/status")
    first = str(min(os.sched_getaffinity(0)))
    line = ["taskset", "-c", first, str(oci.program), "run", "-b", str(oci.bundle(*show))]
    done = subprocess.run([*line, oci.name("all")], capture_output=True, text=True, check=True)
    whole = Path("/proc/self/status").read_text().partition("Cpus_allowed_list:")[2].split()[0]
    assert done.stdout.split()[1] == whole


def test_v2_group_that_the_container_has_as_well(oci: Oci) -> None:
    """A command is born in it, without the locks of a move."""
    box = Execs(oci, "both").start()
    found = places.find(f"/knarr-oci-{box.name}")
    made = None
    if "unified" not in found:
        every = mounts.parse(files.read("/proc/self/mountinfo"))
        points = [one.mount_point for one in every if one.version == 2]
        if not points:
            pytest.skip("no cgroup v2 is mounted")
        made = Path(f"{points[0]}/knarr-oci-{box.name}")
        made.mkdir()
    try:
        groups = Path(f"/proc/{box.detached('ID', 'sleep', '1000')}/cgroup").read_text()
        assert f"0::/knarr-oci-{box.name}\n" in groups
        pid = int((oci.folder / "pid").read_text())
        assert places.unified_of(pid) == (str(made) if made else found["unified"])
    finally:
        oci("delete", "--force", box.name)
    assert made is None or not made.exists()


def test_sub_groups(oci: Oci) -> None:
    box = Execs(oci, "groups").start()
    group = detect("cgroupfs").open(f"/knarr-oci-{box.name}")
    child = group.child("sub")
    try:
        (directory,) = {at for at in child.paths.values() if os.path.isdir(at)}
        controllers = [name for name, at in child.paths.items() if at == directory]
        wanted = "sub" if controllers == ["unified"] else f"{','.join(controllers)}:sub"
        assert box("--cgroup", wanted, "ID", "cat", "/proc/self/cgroup").count("/sub\n") == 1
        said = box("--cgroup", "nosuch", "ID", "true", status=255)
        assert "adding pid 0 to" in said
        assert "No such file" in said
        assert "bad sub cgroup path" in box("--cgroup", "a/../..", "ID", "true", status=255)
        assert box("--cgroup", "/", "ID", "cat", "/proc/self/cgroup").count("/sub\n") == 0
        if controllers != ["unified"]:
            said = box("--cgroup", "nosuch:/", "ID", "true", status=255)
            assert "unknown controller nosuch" in said
    finally:
        child.destroy()


def test_where_the_machine_code_cannot_run(box: Execs) -> None:
    """There the same operations are carried out by an interpreter, in memory of its own."""
    environment = {**os.environ, "KNARR_TEST_INTERPRETER": "1", "LISTEN_FDS": "1"}
    line = ["bash", "-c", 'exec 3</dev/null; exec "$@"', "bash"]
    line += box.words("-u", "alice", "ID", "sh", "-c", "id -un; echo $HOME; echo $LISTEN_PID $$")
    done = subprocess.run(line, capture_output=True, text=True, check=True, env=environment)
    name, home, listens, own = done.stdout.split()
    assert (name, home, listens) == ("alice", "/tmp", own)
    file = str(box.file("cat", "/proc/self/oom_score_adj", oomScoreAdj=321))
    assert box("--process", file, "ID", env=environment | {"LISTEN_FDS": ""}) == "321\n"


def test_user_namespace(oci: Oci, tmp_path: Path) -> None:
    box = Execs(oci, "mapped", **user_namespace(oci, tmp_path)).start()
    said = box("ID", "sh", "-c", "id -u; cat /proc/self/uid_map; echo said >/dev/stderr")
    assert said.split() == ["0", "0", "100000", "2000"]
    done = box.run("-u", "1000", "ID", "sh", "-c", "id -u; echo said >/dev/stderr")
    assert (done.stdout, done.stderr) == ("1000\n", "said\n")
    assert "process.user.uid: 2000 is not in linux.uidMappings" in box(
        "-u", "2000", "ID", "true", status=255
    )


def test_user_namespace_by_path(oci: Oci, tmp_path: Path) -> None:
    """Its configuration need not say which ids it has: the process itself does."""
    changes = user_namespace(oci, tmp_path)
    first = Execs(oci, "first", **changes).start()
    kinds = [entry for entry in changes["linux"]["namespaces"] if entry["type"] != "user"]
    path = f"/proc/{first.pid}/ns/user"
    changes["linux"] = {"namespaces": [*kinds, {"type": "user", "path": path}]}
    box = Execs(oci, "second", **changes).start()
    done = box.run("-u", "1000", "ID", "sh", "-c", "id -u; echo said >/dev/stderr")
    assert (done.stdout, done.stderr) == ("1000\n", "said\n")


def test_time_namespace(oci: Oci) -> None:
    kinds = ("pid", "network", "ipc", "uts", "mount", "cgroup", "time")
    offsets = {"boottime": {"secs": 1 << 30, "nanosecs": 0}}
    namespaces = [{"type": kind} for kind in kinds]
    linux = {"namespaces": namespaces, "timeOffsets": offsets}
    box = Execs(oci, "time", linux=linux).start()
    assert float(box("ID", "cut", "-d", " ", "-f", "1", "/proc/uptime")) > 1 << 30
    pid = box.detached("ID", "sleep", "1000")
    assert os.readlink(f"/proc/{pid}/ns/time") == os.readlink(f"/proc/{box.pid}/ns/time")


def test_filter_is_the_containers(oci: Oci) -> None:
    calls = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 88}]
    profile = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}
    box = Execs(oci, "filtered", linux={"seccomp": profile}).start()
    assert "Socket operation on non-socket" in box("ID", "mkdir", "/tmp/new", status=1)
