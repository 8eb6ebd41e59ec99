"""What a process has beside its rights: limits, scheduling, names, personality, memory policy."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci

STAT = ("sh", "-c", "cat /proc/self/stat")
_NICE, _RT_PRIORITY, _POLICY = 16, 37, 38  # fields of proc_pid_stat(5) behind the name


def ran(oci: Oci, *args: str, **changes: Any) -> str:
    return oci("run", "-b", str(oci.bundle(*args, **changes)), oci.name("set"))


def refused(oci: Oci, *args: str, **changes: Any) -> str:
    return oci("run", "-b", str(oci.bundle(*args, **changes)), oci.name("set"), check=False)


# A new group of cgroup v1 has no time for real-time processes until it is given some.
REAL_TIME = {"resources": {"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 1000000}}}


def real_time() -> dict[str, Any]:
    return REAL_TIME if Path("/sys/fs/cgroup/cpu/cpu.rt_runtime_us").exists() else {}


def scheduled(oci: Oci, **scheduler: Any) -> list[int]:
    said = ran(oci, *STAT, process={"scheduler": scheduler}, linux=real_time())
    fields = said.rpartition(")")[2].split()
    return [int(fields[index]) for index in (_POLICY, _RT_PRIORITY, _NICE)]


def needs_policy(policy: int, priority: int) -> None:
    """Skip where even the machine's root may not: a group without real time (sched(7))."""
    pid = os.fork()
    if pid == 0:
        try:
            os.sched_setscheduler(0, policy, os.sched_param(priority))
        except OSError:
            os._exit(1)
        os._exit(0)
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]):
        pytest.skip("this machine gives its root no real-time scheduling")


@pytest.mark.parametrize(("policy", "number", "nice"), [
    ("SCHED_OTHER", 0, 7), ("SCHED_BATCH", 3, 19), ("SCHED_IDLE", 5, 0),
])  # fmt: skip
def test_fair_policies(oci: Oci, policy: str, number: int, nice: int) -> None:
    assert scheduled(oci, policy=policy, nice=nice) == [number, 0, nice]


@pytest.mark.parametrize(("policy", "number"), [("SCHED_FIFO", 1), ("SCHED_RR", 2)])
def test_real_time_policies(oci: Oci, policy: str, number: int) -> None:
    needs_policy(number, 10)
    assert scheduled(oci, policy=policy, priority=10)[:2] == [number, 10]


def test_what_is_reset_on_a_fork(oci: Oci) -> None:
    """The shell has the policy, and what it forks has not."""
    needs_policy(os.SCHED_FIFO, 10)
    flags = ["SCHED_FLAG_RESET_ON_FORK"]
    scheduler = {"policy": "SCHED_FIFO", "priority": 10, "flags": flags}
    look = "read line </proc/self/stat; echo $line; cat /proc/self/stat; true"
    process = {"scheduler": scheduler}
    said = ran(oci, "sh", "-c", look, process=process, linux=real_time()).splitlines()
    assert [line.rpartition(")")[2].split()[_POLICY] for line in said] == ["1", "0"]


@pytest.mark.parametrize("period", [{}, {"period": 20_000_000}])
def test_a_deadline(oci: Oci, period: dict[str, int]) -> None:
    times = {"runtime": 10_000_000, "deadline": 20_000_000, **period}
    scheduler = {"policy": "SCHED_DEADLINE", "flags": ["SCHED_FLAG_RESET_ON_FORK"], **times}
    said = ran(oci, "cat", "/proc/self/stat", process={"scheduler": scheduler}, linux=real_time())
    assert said.rpartition(")")[2].split()[_POLICY] == "6"


@pytest.mark.parametrize(("scheduler", "said"), [
    ({"policy": "SCHED_FIFO"}, "process.scheduler.priority: SCHED_FIFO needs one"),
    ({"policy": "SCHED_FIFO", "priority": 100}, "process.scheduler.priority: 100"),
    ({"policy": "SCHED_FIFO", "priority": 1, "nice": 1}, "process.scheduler.nice: SCHED_FIFO has"),
    ({"policy": "SCHED_OTHER", "priority": 1}, "process.scheduler.priority: SCHED_OTHER has none"),
    ({"policy": "SCHED_IDLE", "nice": 1}, "process.scheduler.nice: SCHED_IDLE has none"),
    ({"policy": "SCHED_OTHER", "nice": 20}, "process.scheduler.nice: 20"),
    ({"policy": "SCHED_OTHER", "nice": -21}, "process.scheduler.nice: -21"),
    ({"policy": "SCHED_BATCH", "runtime": 5}, "process.scheduler.runtime: SCHED_BATCH has none"),
    ({"policy": "SCHED_OTHER", "flags": ["X"]}, "process.scheduler.flags: 'X'"),
    ({"policy": "SCHED_ISO"}, "process.scheduler: Invalid argument"),
    ({"nice": 1}, "process.scheduler.policy: None"),
    ({"policy": "SCHED_DEADLINE", "deadline": 20_000_000}, "process.scheduler.runtime: is missing"),
    ({"policy": "SCHED_DEADLINE", "runtime": 2000}, "process.scheduler.deadline: is missing"),
    ({"policy": "SCHED_DEADLINE", "runtime": 30_000_000, "deadline": 20_000_000},
     "process.scheduler.runtime: is longer than the deadline"),
    ({"policy": "SCHED_DEADLINE", "runtime": 2000, "deadline": 3000, "period": 2500},
     "process.scheduler.deadline: is longer than the period"),
    ({"policy": "SCHED_DEADLINE", "runtime": 1023, "deadline": 2000}, "process.scheduler: Invalid"),
    ({"policy": "SCHED_DEADLINE", "runtime": 1 << 64}, "process.scheduler.runtime"),
    ({"policy": "SCHED_DEADLINE", "runtime": (1 << 63) + 1, "deadline": (1 << 63) + 2},
     "process.scheduler: Invalid"),
])  # fmt: skip
def test_schedulers_that_are_none(oci: Oci, scheduler: dict[str, Any], said: str) -> None:
    assert said in refused(oci, "true", process={"scheduler": scheduler})


@pytest.mark.parametrize(("kind", "priority", "shown"), [
    ("IOPRIO_CLASS_RT", 3, "realtime: prio 3"), ("IOPRIO_CLASS_BE", 6, "best-effort: prio 6"),
    ("IOPRIO_CLASS_IDLE", 0, "idle"),
])  # fmt: skip
def test_io_priority(oci: Oci, kind: str, priority: int, shown: str) -> None:
    priorities = {"class": kind, "priority": priority}
    said = ran(oci, "sh", "-c", "ionice -p $$", process={"ioPriority": priorities})
    assert said.startswith(shown)


@pytest.mark.parametrize(("value", "said"), [
    ({"class": "IOPRIO_CLASS_BE", "priority": 8}, "process.ioPriority.priority: 8"),
    ({"class": "IOPRIO_CLASS_NONE"}, "process.ioPriority.class"), ({"priority": 1}, "class: None"),
])  # fmt: skip
def test_io_priorities_that_are_none(oci: Oci, value: dict[str, Any], said: str) -> None:
    assert said in refused(oci, "true", process={"ioPriority": value})


LIMITS = {
    "RLIMIT_CPU": ("Max cpu time", 1000), "RLIMIT_FSIZE": ("Max file size", 1 << 20),
    "RLIMIT_DATA": ("Max data size", 1 << 28), "RLIMIT_STACK": ("Max stack size", 1 << 21),
    "RLIMIT_CORE": ("Max core file size", 0), "RLIMIT_RSS": ("Max resident set", 1 << 28),
    "RLIMIT_NPROC": ("Max processes", 100), "RLIMIT_NOFILE": ("Max open files", 64),
    "RLIMIT_MEMLOCK": ("Max locked memory", 4096), "RLIMIT_AS": ("Max address space", 1 << 30),
    "RLIMIT_LOCKS": ("Max file locks", 7), "RLIMIT_SIGPENDING": ("Max pending signals", 9),
    "RLIMIT_MSGQUEUE": ("Max msgqueue size", 4096), "RLIMIT_NICE": ("Max nice priority", 0),
    "RLIMIT_RTPRIO": ("Max realtime priority", 0), "RLIMIT_RTTIME": ("Max realtime timeout", 99),
}  # fmt: skip


def test_every_limit(oci: Oci) -> None:
    limits = [{"type": kind, "soft": soft, "hard": soft} for kind, (_, soft) in LIMITS.items()]
    said = ran(oci, "cat", "/proc/self/limits", process={"rlimits": limits})
    for title, soft in LIMITS.values():
        assert re.search(rf"^{title}\D* {soft} +{soft} ", said, re.MULTILINE), (title, said)


@pytest.mark.parametrize(("limits", "said"), [
    ([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": 2}] * 2, "process.rlimits: 'RLIMIT_NOFILE' is"),
    ([{"type": "RLIMIT_OFILE", "soft": 1, "hard": 2}], "process.rlimits: 'RLIMIT_OFILE'"),
    ([{"type": "RLIM_INFINITY", "soft": 1, "hard": 2}], "process.rlimits: 'RLIM_INFINITY'"),
    ([{"type": "RLIMIT_CPU", "soft": 3, "hard": 2}], "process.rlimits[0].soft: is above hard"),
    ([{"type": "RLIMIT_CPU", "soft": (1 << 64) - 1, "hard": 2}], "process.rlimits[0].soft: is"),
    ([{"type": "RLIMIT_CPU", "soft": 3}], "process.rlimits: RLIMIT_CPU needs soft and hard"),
    ([{"type": "RLIMIT_CPU", "soft": 1, "hard": 1 << 64}], "process.rlimits[0].hard: 1844674407"),
])  # fmt: skip
def test_limits_that_are_none(oci: Oci, limits: list[dict[str, Any]], said: str) -> None:
    assert said in refused(oci, "true", process={"rlimits": limits})


def test_umask(oci: Oci) -> None:
    user = {"uid": 0, "gid": 0, "umask": 0o27}
    assert ran(oci, "sh", "-c", "umask", process={"user": user}) == "0027\n"
    assert "process.user.umask" in refused(oci, "true", process={"user": {"umask": 0o1000}})


def test_names(oci: Oci) -> None:
    look = "hostname; cat /proc/sys/kernel/domainname"
    said = ran(oci, "sh", "-c", look, hostname="n" * 64, domainname="example.org")
    assert said.split() == ["n" * 64, "example.org"]


@pytest.mark.parametrize("field", ["hostname", "domainname"])
def test_names_that_cannot_be(oci: Oci, field: str) -> None:
    assert f"{field}: has more than 64" in refused(oci, "true", **{field: "n" * 65})
    linux = {"namespaces": [{"type": "mount"}, {"type": "pid"}]}
    names = {"hostname": "", "domainname": "", field: "x"}
    assert f"{field}: needs a uts namespace" in refused(oci, "true", linux=linux, **names)


def test_size_of_a_console_that_is_none(oci: Oci) -> None:
    process = {"terminal": True, "consoleSize": {"height": 65536, "width": 1}}
    assert "process.consoleSize.height: 65536" in refused(oci, "true", process=process)


@pytest.mark.parametrize(("domain", "pattern"), [("LINUX32", "i.86|armv.*"), ("LINUX", None)])
def test_personality(oci: Oci, domain: str, pattern: str | None) -> None:
    said = ran(oci, "uname", "-m", linux={"personality": {"domain": domain}}).strip()
    assert re.fullmatch(pattern or os.uname().machine, said)


@pytest.mark.parametrize(("value", "said"), [
    ({"flags": []}, "linux.personality.domain: is missing"),
    ({"domain": "LINUX", "flags": ["ADDR_NO_RANDOMIZE"]}, "linux.personality.flags"),
])  # fmt: skip
def test_personalities_that_are_none(oci: Oci, value: dict[str, Any], said: str) -> None:
    assert said in refused(oci, "true", linux={"personality": value})


def needs_nodes() -> None:
    if not Path("/proc/self/numa_maps").exists():
        pytest.skip("this kernel knows no memory policies (CONFIG_NUMA)")


@pytest.mark.parametrize(("mode", "nodes", "flags", "shown"), [
    ("MPOL_DEFAULT", "", [], "default"), ("MPOL_LOCAL", "", [], "local"),
    ("MPOL_BIND", "0", [], "bind:0"), ("MPOL_BIND", "0", ["MPOL_F_STATIC_NODES"], "bind=static:0"),
    ("MPOL_PREFERRED", "0", ["MPOL_F_RELATIVE_NODES"], "prefer=relative:0"),
    ("MPOL_PREFERRED_MANY", "0", [], "prefer (many):0"),
    ("MPOL_INTERLEAVE", "0-0", [], "interleave:0"),
    ("MPOL_BIND", "0", ["MPOL_F_NUMA_BALANCING"], "bind"),
])  # fmt: skip
def test_memory_policy(oci: Oci, mode: str, nodes: str, flags: list[str], shown: str) -> None:
    needs_nodes()
    policy = {"mode": mode, "nodes": nodes, "flags": flags}
    said = ran(oci, "cat", "/proc/self/numa_maps", linux={"memoryPolicy": policy})
    assert said.splitlines()[0].split(" ", 1)[1].startswith(shown)


@pytest.mark.parametrize(("policy", "said"), [
    ({}, "linux.memoryPolicy.mode: is missing"),
    ({"mode": "MPOL_X"}, "linux.memoryPolicy.mode: 'MPOL_X'"),
    ({"mode": "MPOL_BIND", "flags": ["X"]}, "linux.memoryPolicy.flags: 'X'"),
    ({"mode": "MPOL_BIND", "nodes": "bad"}, "linux.memoryPolicy.nodes: 'bad'"),
    ({"mode": "MPOL_BIND", "nodes": "10284838"}, "linux.memoryPolicy.nodes"),
    ({"mode": "MPOL_BIND", "nodes": "1024"}, "linux.memoryPolicy.nodes: 1024"),
    ({"mode": "MPOL_INTERLEAVE"}, "linux.memoryPolicy: "),
    ({"mode": "MPOL_DEFAULT", "nodes": "0"}, "linux.memoryPolicy: "),
    ({"mode": "MPOL_PREFERRED", "nodes": "0", "flags": ["MPOL_F_RELATIVE_NODES",
                                                        "MPOL_F_STATIC_NODES"]},
     "linux.memoryPolicy: "),
])  # fmt: skip
def test_memory_policies_that_are_none(oci: Oci, policy: dict[str, Any], said: str) -> None:
    assert said in refused(oci, "true", linux={"memoryPolicy": policy})
