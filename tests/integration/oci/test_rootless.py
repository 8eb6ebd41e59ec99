"""knarr-oci without root: an ordinary user, and root of a user namespace, as podman is."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.rootless import (
    AS_USER,
    GID,
    NESTED,
    SUBORDINATE,
    UID,
    UserOci,
    Users,
    mapping,
)
from tests.support.waiting import wait_until


@pytest.fixture(scope="module")
def users() -> Iterator[Users]:
    """What ordinary users can read."""
    made = Users()
    yield made
    made.close()


@pytest.fixture(params=[AS_USER, *NESTED], ids=["user", *NESTED])
def either(users: Users, request: pytest.FixtureRequest) -> Iterator[UserOci]:
    """The command as either kind of caller."""
    made = UserOci(users, request.param)
    yield made
    made.close()


@pytest.fixture
def user(users: Users) -> Iterator[UserOci]:
    """The command as an ordinary user."""
    made = UserOci(users)
    yield made
    made.close()


def test_spec_is_for_this_user(user: UserOci) -> None:
    """A user namespace with his ids, the network of the host and its sysfs, no limits."""
    config = json.loads((user.bundle("true") / "config.json").read_text())
    linux = config["linux"]
    assert {space["type"] for space in linux["namespaces"]} == {
        "pid", "ipc", "uts", "mount", "cgroup", "user"
    }  # fmt: skip
    assert linux["uidMappings"] == mapping((0, UID, 1))
    assert linux["gidMappings"] == mapping((0, GID, 1))
    assert "resources" not in linux
    mounts = {mount["destination"]: mount for mount in config["mounts"]}
    assert mounts["/sys"]["source"] == "/sys"
    assert "rbind" in mounts["/sys"]["options"]
    assert not any("gid=" in one for one in mounts["/dev/pts"]["options"])


def test_run(either: UserOci) -> None:
    """It is root inside, has the usual devices and a procfs of its own."""
    bundle = either.bundle("sh", "-c", "id -u; echo $$; echo x >/dev/null; ls /dev/full; exit 3")
    said = either("run", "--bundle", str(bundle), either.name("a"), status=3)
    assert said == "0\n1\n/dev/full\n"


def test_life(either: UserOci) -> None:
    """Create, start, exec, kill and delete by commands of their own."""
    name = either.name("a")
    bundle = either.bundle("sleep", "100")
    either("create", "--bundle", str(bundle), name)
    assert either.state(name)["status"] == "created"
    assert name in either("list")
    either("start", name)
    assert either.state(name)["status"] == "running"
    assert either("exec", name, "cat", "/proc/1/cmdline").split("\0")[:2] == ["sleep", "100"]
    assert either("exec", name, "sh", "-c", "id -u; exit 5", status=5) == "0\n"
    assert "is running" in either("delete", name, check=False)
    either("kill", name, "KILL")
    either("delete", "--force", name)
    assert either("list", "-q") == ""


def test_files_are_the_users(user: UserOci, tmp_path: Path) -> None:
    """What it writes belongs to the user, who has no other rights outside."""
    shared = user.folder / "shared"
    shared.mkdir()
    os.chown(shared, UID, GID)
    secret = user.folder / "secret"
    secret.mkdir(mode=0o700)
    (secret / "key").write_text("x")
    mounts = [
        {"destination": f"/tmp/{path.name}", "type": "bind", "source": str(path),
         "options": ["bind"]} for path in (shared, secret)
    ]  # fmt: skip
    script = "echo x >/tmp/shared/file; cat /tmp/secret/key"
    bundle = user.bundle("sh", "-c", script)
    user.change(bundle, lambda config: config["mounts"].extend(mounts))
    user.change(bundle, lambda config: config.update(root={"path": str(_own_root(user))}))
    said = user("run", "--bundle", str(bundle), user.name("a"), check=False)
    assert "ermission denied" in said
    found = (shared / "file").stat()
    assert (found.st_uid, found.st_gid) == (UID, GID)


def _own_root(user: UserOci) -> Path:
    """Return a tree that belongs to the user."""
    path = user.folder / "root"
    user.copy_root(path)
    for folder, _, names in os.walk(path):
        for name in ("", *names):
            os.lchown(os.path.join(folder, name), UID, GID)
    return path


def test_hooks_are_outside(either: UserOci) -> None:
    """Those of the caller's namespaces run there, in their order, and inside the others."""
    told = either.folder / "told"
    told.touch()
    os.chown(told, *either.ids)
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    script = f"echo $0 $(readlink /proc/self/ns/user /proc/self/ns/mnt) >>{told}; cat >/dev/null"
    hooks = {kind: [{"path": "/bin/sh", "args": [kind, "-c", script, kind]}] for kind in kinds}
    inside = f"echo $0 inside >>{told}"
    hooks["createContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", inside, "inner"]}]
    bundle = either.bundle("true", hooks=hooks)
    either("run", "--bundle", str(bundle), either.name("a"))
    lines = [line.split() for line in told.read_text().splitlines()]
    assert [line[0] for line in lines] == [
        "prestart", "createRuntime", "inner", "poststart", "poststop",
    ]  # fmt: skip
    spaces = {tuple(line[1:]) for line in lines if line[0] in kinds}
    assert len(spaces) == 1
    if either.before == AS_USER:
        assert spaces == {tuple(os.readlink(f"/proc/self/ns/{one}") for one in ("user", "mnt"))}


def test_a_hook_that_fails(user: UserOci) -> None:
    """Its words are in the message, and nothing is left."""
    hook = {"path": "/bin/sh", "args": ["sh", "-c", "echo no such thing; exit 4"]}
    bundle = user.bundle("true", hooks={"createRuntime": [hook]})
    said = user("run", "--bundle", str(bundle), user.name("a"), check=False)
    assert "hooks.createRuntime[0] (/bin/sh): exit status 4: no such thing" in said
    assert user("list", "-q") == ""


def test_several_ids(user: UserOci) -> None:
    """Subordinate ids are mapped by newuidmap and newgidmap, and can be taken inside."""
    _need_tools()
    user.as_subordinate()
    bundle = user.bundle("sh", "-c", "cat /proc/self/status; touch /tmp/file")
    own, others = (0, UID, 1), (1, SUBORDINATE, 1000)
    _change(user, bundle, uidMappings=mapping(own, others),
            gidMappings=mapping((0, GID, 1), others))  # fmt: skip
    ids = {"user": {"uid": 7, "gid": 8, "additionalGids": [9, 10]}}
    user.change(bundle, lambda config: config["process"].update(ids))
    said = user("run", "--bundle", str(bundle), user.name("a"))
    lines = dict(line.split(":\t", 1) for line in said.splitlines() if ":\t" in line)
    assert lines["Uid"].split() == ["7"] * 4
    assert lines["Groups"].split() == ["9", "10"]


def test_without_the_own_id(user: UserOci) -> None:
    """Root inside may be somebody else than the user, who still has the container's state."""
    _need_tools()
    user.as_subordinate()
    bundle = user.bundle("sleep", "100")
    ids = mapping((0, SUBORDINATE, 1000))
    _change(user, bundle, uidMappings=ids, gidMappings=ids)
    name = user.name("a")
    user("create", "--bundle", str(bundle), name)
    pid = user.state(name)["pid"]
    user("start", name)
    status = Path(f"/proc/{pid}/status").read_text()
    assert f"Uid:\t{SUBORDINATE}\t" in status
    assert user("exec", name, "id", "-u") == "0\n"
    user("delete", "--force", name)


def _need_tools() -> None:
    if not shutil.which("newuidmap"):
        pytest.skip("newuidmap is not installed (Debian: uidmap)")


def _change(user: UserOci, bundle: Path, **values: Any) -> None:
    user.change(bundle, lambda config: config["linux"].update(values))


def _refused(user: UserOci, bundle: Path) -> str:
    """Return the words of a create that leaves nothing."""
    said = user("create", "--bundle", str(bundle), user.name("a"), check=False)
    assert user("list", "-q") == ""
    return said


def test_ids_of_others(user: UserOci) -> None:
    """What /etc/subuid does not give is refused, and so is root of the machine."""
    _need_tools()
    user.as_subordinate(uids=0)
    bundle = user.bundle("true")
    _change(user, bundle, uidMappings=mapping((0, UID, 1), (1, SUBORDINATE, 10)))
    assert "linux.uidMappings: newuidmap: uid range" in _refused(user, bundle)
    _change(user, bundle, uidMappings=mapping((0, 0, 1)))
    assert "linux.uidMappings: id 0 of the host" in _refused(user, bundle)


def test_no_tools(user: UserOci) -> None:
    """Without newuidmap the message says what is missing, and for what."""
    user.before = f"env PATH={user.folder} {shutil.which('setpriv')} " + AS_USER[8:]
    user.always()
    bundle = user.bundle("true")
    _change(user, bundle, uidMappings=mapping((0, UID, 1), (1, SUBORDINATE, 10)))
    assert "linux.uidMappings: newuidmap: No such file or directory" in _refused(user, bundle)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"namespaces": [{"type": "mount"}]}, "linux.namespaces: without root a user namespace"),
        ({"uidMappings": []}, "linux.uidMappings: without root at least one"),
        ({"gidMappings": []}, "linux.gidMappings: without root at least one"),
        ({"namespaces": [{"type": "mount"}, {"type": "user", "path": "/proc/self/ns/user"}]},
         "linux.namespaces: a user namespace by path"),
        ({"resources": {"pids": {"limit": 5}}}, "linux.resources: need a control group"),
        ({"netDevices": {"dummy7": {}}}, "linux.netDevices: only root"),
        ({"cgroupsPath": "/knarr-test-rootless"}, "linux.cgroupsPath: /knarr-test-rootless"),
    ],
    ids=["no-userns", "no-uids", "no-gids", "userns-by-path", "limits", "devices", "path"],
)  # fmt: skip
def test_what_users_cannot_have(user: UserOci, values: dict[str, Any], words: str) -> None:
    """Each is named by its field."""
    bundle = user.bundle("true")
    _change(user, bundle, **values)
    assert words in _refused(user, bundle)


def _pts(options: list[str]) -> list[dict[str, Any]]:
    return [{"destination": "/dev/pts", "type": "devpts", "source": "x", "options": options}]


_SEEN = {
    "destination": "/tmp", "type": "bind", "source": "/usr", "options": ["bind"],
    "uidMappings": mapping((0, UID, 1)), "gidMappings": mapping((0, GID, 1)),
}  # fmt: skip


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1 << 30, "hard": 1 << 30}]},
         "process.rlimits: "),
        ({"user": {"uid": 5, "gid": 0}}, "process.user.uid: 5 is not in"),
        ({"mounts": [_SEEN]}, "mounts[0].uidMappings: "),
        ({"mounts": _pts(["gid=5"])}, "mounts[0]: mount devpts on /dev/pts"),
    ],
    ids=["rlimits", "ids", "seen-ids", "owner"],
)  # fmt: skip
def test_what_the_kernel_denies_users(user: UserOci, values: dict[str, Any], words: str) -> None:
    """The field is named."""
    bundle = user.bundle("true")
    user.change(
        bundle,
        lambda config: (config if "mounts" in values else config["process"]).update(values),
    )
    assert words in _refused(user, bundle)


def test_devices(either: UserOci) -> None:
    """They are the host's nodes, as nobody makes one in a user namespace."""
    bundle = either.bundle("ls", "-l", "/dev/other", "/dev/null")
    numbers = {"major": 1, "minor": 11}  # /dev/kmsg, which every host has and no container
    _change(either, bundle, devices=[{"path": "/dev/other", "type": "c", **numbers}])
    said = either("run", "--bundle", str(bundle), either.name("a"))
    assert " 1,  11 " in said
    _change(either, bundle, devices=[{"path": "/dev/other", "type": "c", "major": 250, "minor": 9}])
    assert "linux.devices: " in _refused(either, bundle)


def test_the_hosts_sysfs(user: UserOci) -> None:
    """The kernel mounts none for whoever does not own the network namespace: it is the host's."""
    script = "ls /sys/class >/dev/null && grep ' /sys ' /proc/mounts; echo x >/sys/file"
    bundle = user.bundle("sh", "-c", script)

    def change(config: dict[str, Any]) -> None:
        mounts = [one for one in config["mounts"] if not one["destination"].startswith("/sys")]
        sysfs = {"destination": "/sys", "type": "sysfs", "source": "sysfs"}
        config["mounts"] = [*mounts, sysfs]

    user.change(bundle, change)
    said = user("run", "--bundle", str(bundle), user.name("a"), check=False)
    assert "sysfs /sys sysfs ro," in said
    assert "Read-only file system" in said


def test_groups_that_are_denied(user: UserOci) -> None:
    """With one id the kernel lets nobody have supplementary groups."""
    bundle = user.bundle("true")
    user.change(bundle, lambda config: config["process"]["user"].update(additionalGids=[5]))
    assert "process.user.additionalGids" in _refused(user, bundle)


def test_a_root_of_others(user: UserOci) -> None:
    """Without XDG_RUNTIME_DIR the states would lie where only root may write."""
    user.root = Path("/run")
    user.always()
    said = user("list", check=False)
    assert "--root /run: belongs to another user" in said
    user.root = user.folder / "states"
    user.always()


def test_the_default_root(users: Users) -> None:
    """It is below XDG_RUNTIME_DIR, as with runc."""
    user = UserOci(users)
    own = user.folder / "runtime"
    own.mkdir(mode=0o700)
    os.chown(own, UID, GID)
    user.before = f"env XDG_RUNTIME_DIR={own} {AS_USER}"
    user.always()
    user.program.write_text(user.program.read_text().replace(f"--root {user.root}", ""))
    bundle = user.bundle("sleep", "100")
    user("run", "--detach", "--bundle", str(bundle), user.name("a"))
    assert (own / "knarr-oci" / user.name("a") / "state.json").stat().st_uid == UID
    user.close()


def test_the_interpreter_cannot_be_written(user: UserOci) -> None:
    """A script that is ``/proc/self/exe`` of the command finds a file that nobody can write."""
    own = user.folder / "python"
    shutil.copy(user.python, own)
    os.chown(own, UID, GID)
    user.python = str(own)
    user.always()
    root = _own_root(user)
    script = root / "script"
    script.write_text("#!/proc/self/exe\nopen('/proc/self/exe', 'r+b')\n")
    script.chmod(0o755)
    before = own.read_bytes()
    bundle = user.bundle("/script", root={"path": str(root)})
    user("run", "--bundle", str(bundle), user.name("a"), check=False)
    assert own.read_bytes() == before


def test_scores(user: UserOci) -> None:
    """A score is passed on to a further process; a lower one than the user's is left out."""
    name = user.name("a")
    bundle = user.bundle("sleep", "100")
    user.change(bundle, lambda config: config["process"].update(oomScoreAdj=123))
    user("run", "--detach", "--bundle", str(bundle), name)
    assert user("exec", name, "cat", "/proc/1/oom_score_adj", "/proc/self/oom_score_adj") == (
        "123\n123\n"
    )
    user("delete", "--force", name)
    user.change(bundle, lambda config: config["process"].update(oomScoreAdj=-5))
    said = user("run", "--detach", "--bundle", str(bundle), name, status=0)
    assert "process.oomScoreAdj: oom_score_adj -5: Permission denied, left as it is" in said
    user("exec", name, "true")


def test_namespaces_of_another(either: UserOci) -> None:
    """Entered by path, with hooks that run where the caller is all the same."""
    if either.before == AS_USER:
        pytest.skip("namespaces of another container belong to its own user namespace")
    first, second = either.name("a"), either.name("b")
    bundle = either.bundle("sleep", "100")
    kinds = [{"type": kind} for kind in ("mount", "pid", "ipc", "uts")]
    none: list[object] = []
    _change(either, bundle, namespaces=kinds, uidMappings=none, gidMappings=none)
    either("run", "--detach", "--bundle", str(bundle), first)
    pid = either.state(first)["pid"]
    told = either.folder / "told"
    told.touch()
    os.chown(told, *either.ids)
    script = f"readlink /proc/self/ns/pid >>{told}; cat >/dev/null"
    hooks = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", script]}]
             for kind in ("createRuntime", "poststop")}  # fmt: skip
    other = either.bundle("cat", "/proc/1/cmdline", hooks=hooks)
    joins = [{"type": kind, "path": f"/proc/{pid}/ns/{kind}"} for kind in ("pid", "ipc", "uts")]
    own = {"type": "user", "path": f"/proc/{pid}/ns/user"}
    _change(either, other, namespaces=[{"type": "mount"}, *joins, own])
    said = either("run", "--bundle", str(other), second)
    assert said.split("\0")[:2] == ["sleep", "100"]
    assert told.read_text() == (os.readlink("/proc/self/ns/pid") + "\n") * 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_ended_while_a_hook_runs(either: UserOci, number: signal.Signals) -> None:
    """The hook ends with the command; one that is asked to end leaves nothing either."""
    told = either.folder / "told"
    told.touch()
    os.chown(told, *either.ids)
    hold = f"echo $$ >>{told}; exec sleep 1000"
    hooks = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", hold]}],
        "poststop": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo stopped >>{told}"]}],
    }
    name = either.name("a")
    bundle = either.bundle("true", hooks=hooks)
    command = subprocess.Popen(
        [str(either.program), "create", "--bundle", str(bundle), name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    wait_until(lambda: told.read_text().endswith("\n"))
    hook = int(told.read_text())
    command.send_signal(number)
    assert command.wait(30) == (143 if number == signal.SIGTERM else -9)
    wait_until(lambda: not Path(f"/proc/{hook}").exists())
    if number == signal.SIGTERM:
        assert either("list", "-q") == ""
        assert told.read_text().split()[1:] == ["stopped"]
    either("delete", "--force", name)
    assert either("list", "-q") == ""
