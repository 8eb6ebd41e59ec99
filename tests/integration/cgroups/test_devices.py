"""Devices that are not listed cannot be opened or made, whichever mechanism does it."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from knarr.cgroups import devicerules, files, manager, mounts
from knarr.cgroups.v2 import devices
from knarr.cgroups.v2.group import Group
from knarr.kernel import bpf

from .conftest import Process

pytestmark = pytest.mark.root
Start = Callable[[str], Process]
DENY = {"allow": False, "access": "rwm"}
NULL = {"allow": True, "type": "c", "major": 1, "minor": 3, "access": "rwm"}
ZERO = {"allow": True, "type": "c", "major": 1, "minor": 5, "access": "r"}

TRY = """
import errno
def attempt(act):
    try:
        act()
        return 'yes'
    except OSError as error:
        return errno.errorcode[error.errno]
def look(*_):
    made = '/dev/shm/knarr-node-' + str(os.getpid())
    print(
        attempt(lambda: os.close(os.open('/dev/null', os.O_RDWR))),
        attempt(lambda: os.close(os.open('/dev/zero', os.O_RDONLY))),
        attempt(lambda: os.close(os.open('/dev/zero', os.O_RDWR))),
        attempt(lambda: os.mknod(made, 0o20600, os.makedev(1, 5)) or os.unlink(made)),
    )
look()
for _ in sys.stdin:
    look()
"""


def test_what_is_not_listed_is_refused(make: Callable[..., Any], process: Start) -> None:
    group = make({"devices": [DENY, NULL]})
    worker = process(TRY)
    group.attach(worker.pid)
    worker.go()
    assert worker.line() == "yes EPERM EPERM EPERM"


def test_an_update_replaces_the_list(make: Callable[..., Any], process: Start) -> None:
    group = make({"devices": [DENY, NULL]})
    worker = process(TRY)
    group.attach(worker.pid)
    expected = {
        "yes yes EPERM EPERM": [DENY, NULL, ZERO],
        "EPERM yes EPERM EPERM": [DENY, ZERO],
        "EPERM EPERM EPERM EPERM": [DENY],
        "yes yes yes yes": [{"allow": True}],
        "yes EPERM EPERM EPERM": [DENY, NULL],
    }
    for text, rules in expected.items():
        group.update({"devices": rules})
        worker.go()
        assert worker.line() == text


@pytest.fixture
def unified() -> Iterator[Group]:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    found = [one for one in mounts.parse(files.read("/proc/self/mountinfo")) if one.version == 2]
    if not found:
        pytest.skip("needs a cgroup v2 mount")
    name = f"/knarr-test-bpf-{os.getpid()}"
    group = Group(name, found[0].mount_point + name)
    os.mkdir(group.directory)
    yield group
    group.destroy()


def test_the_program_in_the_kernel(unified: Group, process: Start) -> None:
    program = devices.load({"devices": [DENY, NULL, ZERO]})
    assert program is not None
    devices.attach(unified.directory, program)
    assert bpf.name(program) == devices.NAME
    os.close(program)
    worker = process(TRY)
    unified.attach(worker.pid)
    worker.go()
    assert worker.line() == "yes yes EPERM EPERM"


def test_the_program_of_another_stays_and_ours_is_replaced(unified: Group) -> None:
    other = bpf.load(bpf.PROG_TYPE_CGROUP_DEVICE, devices.program([]), "somebody")
    group = os.open(unified.directory, os.O_RDONLY)
    try:
        bpf.attach(group, other, bpf.CGROUP_DEVICE, bpf.F_ALLOW_MULTI)
        for _ in range(2):
            program = devices.load({"devices": [DENY]})
            assert program is not None
            devices.attach(unified.directory, program)
            os.close(program)
        names = []
        for number in bpf.attached(group, bpf.CGROUP_DEVICE):
            fd = bpf.open_id(number)
            names.append(bpf.name(fd))
            os.close(fd)
        assert names == ["somebody", devices.NAME]
    finally:
        os.close(group)
        os.close(other)


def test_the_usual_program_is_loaded_once_for_all_that_are_forked() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    usual = {"devices": devicerules.USUAL}
    held = devices.hold()
    for resources, known, same in (
        (usual, held, True),
        (usual, None, False),
        (usual, 2**31 - 2, False),  # of somebody who has ended
        ({"devices": [DENY]}, held, False),
    ):
        program = devices.load(resources, known)
        assert program is not None
        assert (bpf.identity(program) == held) is same
        assert bpf.name(program) == devices.NAME
        os.close(program)


def test_the_verifier_takes_a_long_list() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    manager.detect()
    rules = [
        {"allow": True, "type": "c", "major": 1, "minor": n, "access": "rw"} for n in range(400)
    ]
    program = devices.load({"devices": [DENY, *rules]})
    assert program is not None
    os.close(program)


def test_a_program_the_verifier_refuses_says_why() -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root")
    exit_without_verdict = b"\x95" + bytes(7)
    with pytest.raises(OSError, match="R0"):
        bpf.load(bpf.PROG_TYPE_CGROUP_DEVICE, exit_without_verdict, "bad")
