"""Control groups of an ordinary user: where some are handed to him, and with a systemd of his own.

On cgroup v2 alone; elsewhere the kernel hands nothing to users.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.oci.test_unified import has_all_controllers
from tests.support.rootless import AS_USER, GID, UID, UserOci, Users
from tests.support.waiting import wait_until

pytestmark = pytest.mark.vm
ROOT = Path("/sys/fs/cgroup")
UNITS = Path("/run/systemd/system")
LIMITS = {"pids": {"limit": 17}, "memory": {"limit": 64 << 20}}
# What pam_systemd and logind do for a user, who here has no name.
_DROP_IN = """[Service]
User=
PAMName=
Environment=XDG_RUNTIME_DIR={runtime} HOME={runtime}
ExecStartPre=/bin/sh -c 'cd {group} && chown {uid} . cgroup.procs cgroup.subtree_control'
ExecStart=
ExecStart={user} /lib/systemd/systemd --user
"""
_NO_DIRECTORY = """[Service]
ExecStart=
ExecStart=/bin/true
ExecStop=
"""


@pytest.fixture
def users() -> Iterator[Users]:
    """What ordinary users can read."""
    if not has_all_controllers():
        pytest.skip("needs cgroup v2 alone, with its controllers")
    made = Users()
    yield made
    made.close()


def _inside(user: UserOci, group: Path, env: str = "") -> None:
    """Have every command begin in a group."""
    script = user.folder / "as-user"
    script.write_text(
        f'#!/bin/sh\necho $$ >{group}/cgroup.procs && exec env {env} {AS_USER} "$@"\n'
    )
    script.chmod(0o755)
    user.before = str(script)
    user.always()


def _remove(user: UserOci) -> None:
    """Remove containers, and have later commands begin where the test is."""
    for name in user("list", "-q").split():
        user("delete", "--force", name)
    user.before = AS_USER
    user.always()


@pytest.fixture
def delegated(users: Users) -> Iterator[tuple[UserOci, Path]]:
    """The command in a group that belongs to the user, and the group above that does too."""
    user = UserOci(users)
    group = ROOT / f"{user.prefix}user"
    group.mkdir()
    (ROOT / "cgroup.subtree_control").write_text("+pids +memory")
    (group / "cgroup.subtree_control").write_text("+pids +memory")
    (group / "inner").mkdir()
    for path in (group, group / "cgroup.procs", group / "cgroup.subtree_control"):
        os.chown(path, UID, GID)
    _inside(user, group / "inner")
    yield user, group
    _remove(user)
    wait_until(lambda: not (group / "inner/cgroup.procs").read_text())
    (group / "inner").rmdir()
    group.rmdir()
    user.close()


def test_a_group_beside_the_users_own(delegated: tuple[UserOci, Path]) -> None:
    """Its limits hold, it can stand still and be counted, and goes with the container."""
    user, group = delegated
    name = user.name("a")
    bundle = user.bundle("sleep", "100")
    user.change(bundle, lambda config: config["linux"].update(resources=LIMITS))
    user("run", "--detach", "--bundle", str(bundle), name)
    own = group / f"knarr-oci-{name}"
    assert (own / "pids.max").read_text() == "17\n"
    assert (own / "memory.max").read_text() == f"{64 << 20}\n"
    assert str(user.state(name)["pid"]) in (own / "cgroup.procs").read_text().split()
    user("exec", "--detach", name, "sleep", "101")
    assert len(user("ps", "--format", "json", name).split(",")) == 2
    user("pause", name)
    assert user.state(name)["status"] == "paused"
    user("resume", name)
    user("update", "--pids-limit", "18", name)
    assert (own / "pids.max").read_text() == "18\n"
    assert json.loads(user("events", "--stats", name))["data"]["pids"]["current"] == 2
    user("delete", "--force", name)
    assert not own.exists()


def test_a_group_that_is_not_the_users(users: Users) -> None:
    """There is none; a limit, or a place that was named, is an error."""
    user = UserOci(users)
    name = user.name("a")
    bundle = user.bundle("true")
    user("run", "--bundle", str(bundle), name)
    assert user.groups() == []
    user.change(bundle, lambda config: config["linux"].update(resources=LIMITS))
    said = user("run", "--bundle", str(bundle), name, check=False)
    assert "linux.resources: need a control group" in said
    user.change(bundle, lambda config: config["linux"].update(cgroupsPath=f"/{name}"))
    assert f"linux.cgroupsPath: /{name}" in user("run", "--bundle", str(bundle), name, check=False)
    user.close()


@pytest.fixture
def session(users: Users) -> Iterator[tuple[UserOci, Path]]:
    """The command below a systemd of the user's, and the group of that."""
    if not UNITS.is_dir() or not shutil.which("systemctl"):
        pytest.skip("needs systemd as process 1")
    user = UserOci(users)
    runtime = user.folder / "runtime"
    runtime.mkdir(mode=0o700)
    os.chown(runtime, UID, GID)
    names = (f"user@{UID}.service", f"user-runtime-dir@{UID}.service")
    group = ROOT / f"user.slice/user-{UID}.slice/{names[0]}"
    setpriv = f"{shutil.which('setpriv')} {AS_USER.partition(' ')[2]}"
    drop_in = _DROP_IN.format(runtime=runtime, group=group, uid=UID, user=setpriv)
    for name, text in zip(names, (drop_in, _NO_DIRECTORY), strict=True):
        (UNITS / f"{name}.d").mkdir()
        (UNITS / f"{name}.d/test.conf").write_text(text)
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    subprocess.run(["systemctl", "start", names[0]], check=True, timeout=120)
    (group / "test").mkdir()
    os.chown(group / "test/cgroup.procs", UID, GID)
    _inside(user, group / "test", f"XDG_RUNTIME_DIR={runtime}")
    user.always("--systemd-cgroup")
    yield user, group
    _remove(user)
    subprocess.run(["systemctl", "stop", names[0]], check=True, timeout=120)
    for name in names:
        shutil.rmtree(UNITS / f"{name}.d")
    subprocess.run(["systemctl", "daemon-reload"], check=True)
    user.close()


def test_a_scope_of_the_users_systemd(session: tuple[UserOci, Path]) -> None:
    """As podman asks for one: in the user's slice, with limits, and gone with the container."""
    user, group = session
    name = user.name("a")
    bundle = user.bundle("sleep", "100")
    values = {"cgroupsPath": f"user.slice:test:{name}", "resources": LIMITS}
    user.change(bundle, lambda config: config["linux"].update(values))
    user("run", "--detach", "--bundle", str(bundle), name)
    scope = group / f"user.slice/test-{name}.scope"
    assert (scope / "container/pids.max").read_text() == "17\n"
    assert str(user.state(name)["pid"]) in (scope / "container/cgroup.procs").read_text().split()
    user("exec", name, "true")
    user("pause", name)
    assert user.state(name)["status"] == "paused"
    user("delete", "--force", name)
    assert not scope.exists()
