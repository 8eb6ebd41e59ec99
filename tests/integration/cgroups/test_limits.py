"""Limits limit: the kernel is seen refusing, throttling and killing."""

import errno
import os
import signal
from collections.abc import Callable
from typing import Any

import pytest

from knarr.cgroups import files

from .conftest import Process, eventually

pytestmark = pytest.mark.root
Make = Callable[..., Any]
Start = Callable[[str], Process]
MIB = 1 << 20


def test_a_fork_beyond_the_limit_is_refused(make: Make, process: Start) -> None:
    group = make({"pids": {"limit": 2}})
    code = """
children = []
try:
    for _ in range(5):
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
        children.append(pid)
except OSError as error:
    print(len(children), error.errno)
for pid in children:
    os.kill(pid, 9)
"""
    worker = process(code)
    group.attach(worker.pid)
    assert worker.result() == f"1 {errno.EAGAIN}"
    assert group.stats()["pids"]["limit"] == 2


def test_memory_beyond_the_limit_kills_and_is_counted(make: Make, process: Start) -> None:
    limit = 32 * MIB
    group = make({"memory": {"limit": limit, "swap": limit}})
    worker = process("data = bytearray(96 << 20)\nprint('survived')")
    group.attach(worker.pid)
    assert group.oom_kills() == 0
    worker.go()
    assert worker.wait() == -signal.SIGKILL
    assert group.oom_kills() == 1
    memory = group.stats(detail=True)["memory"]
    assert memory["oom_kills"] == 1
    assert memory["limit"] == limit
    if memory["peak"] is not None:
        assert limit // 2 < memory["peak"] <= limit


def test_the_quota_throttles(make: Make, process: Start) -> None:
    group = make({"cpu": {"quota": 2000, "period": 100000}})
    worker = process("while True: pass")
    group.attach(worker.pid)
    worker.go()
    assert eventually(lambda: group.stats()["cpu"]["throttled_periods"] > 0)
    # The time is counted when the throttling of that period ends.
    assert eventually(lambda: group.stats()["cpu"]["throttled_ns"] > 0)
    cpu = group.stats()["cpu"]
    assert cpu["total_ns"] > 0
    assert abs(cpu["user_ns"] + cpu["system_ns"] - cpu["total_ns"]) < 10**7


def test_a_set_of_processors(make: Make, process: Start) -> None:
    group = make({"cpu": {"cpus": "0", "mems": "0"}})
    worker = process("print(sorted(os.sched_getaffinity(0)))")
    group.attach(worker.pid)
    assert worker.result() == "[0]"


def test_block_devices_are_accounted(make: Make, process: Start) -> None:
    # Outside /tmp, which may be in memory; and past the page cache, which v1 does not attribute.
    where = "/var/tmp"
    if os.major(os.stat(where).st_dev) == 0:
        pytest.skip("needs /var/tmp on a block device")
    group = make()
    code = f"""
import mmap
name = {where!r} + '/knarr-' + str(os.getpid())
fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_DIRECT)
os.unlink(name)
page = mmap.mmap(-1, 65536)
for _ in range(4):
    os.write(fd, page)
os.lseek(fd, 0, 0)
os.readv(fd, [page])
"""
    worker = process(code)
    group.attach(worker.pid)
    worker.result()
    io = group.stats()["io"]
    if io["write_bytes"] is None:
        pytest.skip("this kernel accounts no block devices")
    assert io["write_bytes"] >= 4 * 65536
    assert io["read_bytes"] >= 65536
    assert io["write_ops"] >= 1


def test_huge_pages(make: Make, machine: Any) -> None:
    sizes = os.listdir("/sys/kernel/mm/hugepages") if os.path.isdir("/sys/kernel/mm") else []
    known = {"hugepages-2048kB": "2MB"}
    size = next((known[one] for one in sizes if one in known), None)
    resources = {"hugepageLimits": [{"pageSize": size or "2MB", "limit": 4 * MIB}]}
    if size is None or machine.unsupported(resources):
        pytest.skip("needs huge pages and their controller")
    group = make(resources)
    pid = os.fork()
    if pid == 0:
        signal.pause()
    try:
        group.attach(pid)
        directory = group.paths.get("hugetlb") or group.paths["unified"]
        name = "limit_in_bytes" if "hugetlb" in group.paths else "max"
        assert files.read_int(f"{directory}/hugetlb.{size}.{name}") == 4 * MIB
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def memory_of(group: Any) -> tuple[int | None, int | None]:
    """Memory limit and limit of memory plus swap."""
    if directory := group.paths.get("memory"):
        both = files.read_int(f"{directory}/memory.memsw.limit_in_bytes")
        return group.stats()["memory"]["limit"], both
    limit = group.stats()["memory"]["limit"]
    swap = files.read_int(f"{group.paths['unified']}/memory.swap.max")
    return limit, None if swap is None or limit is None else limit + swap


def test_memory_and_swap_go_up_and_down(make: Make, process: Start) -> None:
    group = make({"memory": {"limit": 64 * MIB, "swap": 64 * MIB}})
    group.attach(process("").pid)
    if memory_of(group)[1] is None:
        pytest.skip("needs swap accounting")
    for limit, swap in ((256, 512), (128, 128), (64, 512), (512, 512), (64, 64)):
        group.update({"memory": {"limit": limit * MIB, "swap": swap * MIB}})
        assert memory_of(group) == (limit * MIB, swap * MIB)
    group.update({"memory": {"swap": 96 * MIB}})
    assert memory_of(group) == (64 * MIB, 96 * MIB)
    group.update({"memory": {"limit": -1}})
    assert memory_of(group)[0] is None


def test_update_leaves_alone_what_it_does_not_name(make: Make, process: Start) -> None:
    group = make({"pids": {"limit": 50}, "cpu": {"quota": 50000, "period": 100000}})
    group.attach(process("").pid)
    group.update({"cpu": {"period": 200000}})
    assert group.stats()["pids"]["limit"] == 50
    if directory := group.paths.get("cpu"):
        assert files.read_int(f"{directory}/cpu.cfs_quota_us") == 50000
        assert files.read_int(f"{directory}/cpu.cfs_period_us") == 200000
    else:
        assert files.read(f"{group.paths['unified']}/cpu.max") == "50000 200000\n"


def test_an_update_that_is_refused_changes_nothing(make: Make, process: Start) -> None:
    group = make({"pids": {"limit": 50}, "cpu": {"shares": 512}})
    group.attach(process("").pid)
    before = group.stats(), memory_of(group)
    with pytest.raises(OSError, match=r"cpu\.cpus"):
        group.update(
            {
                "pids": {"limit": 20},
                "memory": {"limit": 64 * MIB, "swap": 64 * MIB},
                "cpu": {"quota": 5000, "shares": 200, "cpus": "4000"},
            }
        )
    assert group.stats()["pids"]["limit"] == before[0]["pids"]["limit"] == 50
    assert memory_of(group) == before[1]
    if directory := group.paths.get("cpu"):
        assert files.read_int(f"{directory}/cpu.cfs_quota_us") == -1
        assert files.read_int(f"{directory}/cpu.shares") == 512
    else:
        assert files.read(f"{group.paths['unified']}/cpu.max") == "max 100000\n"


def test_check_before_update_refuses_a_limit_below_use(make: Make, process: Start) -> None:
    group = make({"memory": {"limit": 256 * MIB, "swap": 256 * MIB}})
    worker = process("data = bytearray(64 << 20)\nprint('there')\ntime.sleep(600)")
    group.attach(worker.pid)
    worker.go()
    assert worker.line() == "there"
    limit = group.stats()["memory"]["current"] - 4096
    with pytest.raises(OSError, match="in use") as caught:
        group.update({"memory": {"limit": limit, "checkBeforeUpdate": True}})
    assert caught.value.errno == errno.EBUSY
    assert worker.alive()


def test_burst_and_quota_in_both_orders(make: Make, machine: Any, process: Start) -> None:
    resources = {"cpu": {"quota": 50000, "period": 100000, "burst": 40000}}
    if machine.unsupported(resources):
        pytest.skip("needs kernel 5.14")
    group = make(resources)
    group.attach(process("").pid)
    for quota, burst in ((20000, 10000), (90000, 80000), (30000, 30000)):
        group.update({"cpu": {"quota": quota, "burst": burst}})
        name = "cpu.cfs_burst_us" if "cpu" in group.paths else "cpu.max.burst"
        directory = group.paths.get("cpu") or group.paths["unified"]
        assert files.read_int(f"{directory}/{name}") == burst


def test_an_absurd_value_is_refused_with_field_and_file(make: Make, process: Start) -> None:
    with pytest.raises(OSError, match=r"cpu\.(period|quota)") as caught:
        group = make({"cpu": {"period": 1, "quota": 50000}})
        group.attach(process("").pid)
    assert caught.value.errno == errno.EINVAL
    assert str(caught.value.filename).endswith(("cpu.max", "cpu.cfs_period_us"))


def test_an_update_can_be_the_first_to_need_a_controller(make: Make, process: Start) -> None:
    group = make()
    worker = process("print(sorted(os.sched_getaffinity(0)))")
    group.attach(worker.pid)
    group.update({"cpu": {"cpus": "0"}})
    assert worker.result() == "[0]"


def test_what_was_refused_need_not_be_put_back(make: Make, process: Start) -> None:
    group = make()
    if (directory := group.paths.get("blkio")) is None:
        pytest.skip("needs the files of cgroup v1")
    group.attach(process("").pid)
    with pytest.raises(OSError, match="throttleReadBpsDevice") as caught:
        group.update(
            {"blockIO": {"throttleReadBpsDevice": [{"major": 4095, "minor": 1, "rate": 1}]}}
        )
    assert "put back" not in str(caught.value)
    assert files.read(f"{directory}/blkio.throttle.read_bps_device") == ""
