"""A container's ports of the host: kept as long as it runs, whoever is killed, and no longer."""

from __future__ import annotations

import errno
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from knarr.engine.model import HostPort
from knarr.engine.ports import plan, reserve
from knarr.kernel import nftables
from knarr.kernel.nftables import Nftables
from knarr.networks.firewall import Firewall
from knarr.runtime import hostports, portmap
from knarr.supervisor import rundir, state, undo
from knarr.supervisor.client import LaunchFailed
from tests.integration.supervisor.conftest import base, box
from tests.support.launch import Box, Running, Spec
from tests.support.waiting import wait_until

__all__ = ["base", "box"]
pytestmark = pytest.mark.usefixtures("firewall")

TABLE = "knarr-test"
AT = plan.Addresses("172.17.0.2", "")


@pytest.fixture
def firewall(nethost: object) -> None:
    del nethost
    Firewall(TABLE).install([])


def request(box: Box, *args: str, **more: Any) -> tuple[Spec, int]:
    """Return what starts a container with port 80 at 8080, and the descriptor for that."""
    taken = reserve.reserve(plan.groups([HostPort(80, first=8080, last=8080)], AT))
    ports = {"table": TABLE, "bindings": taken.bindings}
    return box.request(*args, ports=ports, ports_kept=0, **more), taken.handle


def started(box: Box, *args: str, **more: Any) -> Running:
    asked, handle = request(box, *args, **more)
    try:
        return box.send(asked, (handle,))
    finally:
        os.close(handle)


def is_kept() -> bool:
    try:
        hostports.bind("tcp", "0.0.0.0", 8080).close()
    except OSError as error:
        assert error.errno == errno.EADDRINUSE
        return True
    return False


def is_published() -> bool:
    with Nftables() as link:
        key = nftables.pack(bytes((6,)), (8080).to_bytes(2, "big"))
        return link.find(nftables.INET, TABLE, portmap.ANY4.name, key) is not None


@pytest.mark.parametrize("tty", [False, True])
def test_they_are_free_when_the_end_is_told(box: Box, tty: bool) -> None:
    one = started(box, "sh", "-c", "echo up; read x", stdin=True, tty=tty)
    one.until(b"up")
    assert (is_kept(), is_published()) == (True, True)
    assert one.kill().code == 137
    assert (is_kept(), is_published()) == (False, False)
    one.settled()
    assert undo.pending(str(one.run_dir)) == []


def test_a_successor_of_a_killed_supervisor_keeps_them(box: Box) -> None:
    one = started(box, "sleep", "600")
    killed, one.client = one.supervisor, None
    os.kill(killed, signal.SIGKILL)
    wait_until(lambda: one.supervisor != killed)
    wait_until(is_kept)
    assert is_published()
    one.kill()
    assert (is_kept(), is_published()) == (False, False)


def test_of_one_that_cannot_be_started_nothing_is_left(box: Box) -> None:
    asked, handle = request(box, "/nothing/like/it")
    with pytest.raises(LaunchFailed, match="no such file"):
        box.send(asked, (handle,), attach=False)
    os.close(handle)
    assert not is_published()
    wait_until(lambda: not is_kept())
    assert undo.pending(asked["run_dir"]) == []


def test_without_the_firewall_nothing_is_started(box: Box) -> None:
    with Nftables() as link:
        link.commit([nftables.delete_table(nftables.INET, TABLE)])
    asked, handle = request(box, "sleep", "600")
    with pytest.raises(LaunchFailed, match=f"publish 0.0.0.0:8080:80/tcp: table inet {TABLE}"):
        box.send(asked, (handle,), attach=False)
    os.close(handle)
    wait_until(lambda: not is_kept())


@pytest.mark.parametrize(
    "point", ["undo:ports", "created", "running", "started", "exited", "recorded"]
)
def test_whoever_is_killed_nothing_is_left(
    box: Box, point: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, handle = request(box, "true")
    monkeypatch.setenv(undo.CRASH_VARIABLE, point)
    try:
        box.running.remove(box.send(asked, (handle,), attach=False))
    except LaunchFailed as error:
        assert error.kind == "launcher"
    os.close(handle)
    monkeypatch.delenv(undo.CRASH_VARIABLE)
    run_dir = asked["run_dir"]
    wait_until(lambda: not rundir.is_locked(run_dir) and not _runs(run_dir))
    assert undo.replay(run_dir) == []
    assert (is_kept(), is_published()) == (False, False)
    box.launcher.quit()


def _runs(run_dir: str) -> bool:
    found = state.read(run_dir)
    return found is not None and state.alive(found)


def test_what_a_dead_container_left_to_undo_is_not_its_successors_port(box: Box) -> None:
    one = started(box, "true")
    assert one.exit().code == 0
    one.settled()
    second = started(box, "sleep", "600")
    bindings = [{**each, "ip": "172.17.0.7"} for each in second.state["ports"]["bindings"]]
    record = json.dumps(["ports", {"table": TABLE, "bindings": bindings}])
    Path(one.run_dir, "undo").write_text(f"{record}\n")
    assert undo.replay(str(one.run_dir)) == []
    assert is_published()
    second.kill()


@pytest.fixture(autouse=True)
def _launcher_ends(box: Box) -> Iterator[None]:
    yield
    box.launcher.quit()
