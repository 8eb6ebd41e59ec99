"""Hooks: where they run, in which order, what they are told, and what a failure means."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci
from tests.support.waiting import wait_until

ORDER = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
OURS = str(Path("/proc/self/ns/mnt").readlink())


def hook(text: str, **more: Any) -> list[dict[str, Any]]:
    return [{"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin:/usr/bin"], **more}]


def telling(log: Path) -> dict[str, list[dict[str, Any]]]:
    """Return a hook of each kind that writes its name, its state and its mount namespace."""
    line = 'echo "{} $(readlink /proc/self/ns/mnt) $(cat)" >>{}'
    return {
        name: hook(line.format(name, "/log/hooks" if name == "startContainer" else log / "hooks"))
        for name in ORDER
    }


def with_log(oci: Oci, log: Path, *args: str, **changes: Any) -> str:
    """Return a bundle that sees a directory of the test at /log."""
    log.mkdir()
    bundle = oci.bundle(*args, **changes)
    file = bundle / "config.json"
    config = json.loads(file.read_text())
    mount = {"destination": "/log", "type": "bind", "source": str(log), "options": ["bind"]}
    config["mounts"].append(mount)
    config["root"]["readonly"] = False
    file.write_text(json.dumps(config))
    return str(bundle)


def test_order_namespaces_and_states(oci: Oci, tmp_path: Path) -> None:
    log = tmp_path / "log"
    script = "readlink /proc/self/ns/mnt >/log/program; exec sleep 1000"
    changes: dict[str, Any] = {"hooks": telling(log), "annotations": {"org.example.key": "value"}}
    bundle = with_log(oci, log, "sh", "-c", script, **changes)
    name = oci.name("all")

    def lines() -> list[tuple[str, str, dict[str, Any]]]:
        split = (line.split(" ", 2) for line in (log / "hooks").read_text().splitlines())
        return [(kind, space, json.loads(state)) for kind, space, state in split]

    oci("create", "--bundle", bundle, name)
    pid = oci.state(name)["pid"]
    assert [kind for kind, _, _ in lines()] == list(ORDER[:3])
    oci("start", name)
    wait_until(lambda: (log / "program").exists() and (log / "program").read_text().strip())
    inside = (log / "program").read_text().strip()
    oci("kill", name, "KILL")
    wait_until(lambda: oci.state(name)["status"] == "stopped")
    oci("delete", name)
    found = lines()
    assert [kind for kind, _, _ in found] == list(ORDER)
    spaces = [OURS, OURS, inside, inside, OURS, OURS]
    assert [space for _, space, _ in found] == spaces
    assert [state["status"] for _, _, state in found] == [
        "created", "creating", "creating", "created", "running", "stopped",
    ]  # fmt: skip
    assert [state["pid"] for _, _, state in found] == [pid, pid, 1, 1, pid, 0]
    for _, _, state in found:
        assert (state["id"], state["bundle"]) == (name, bundle)
        assert state["annotations"] == {"org.example.key": "value"}


def test_mounts_are_ready_and_the_hosts_tree_still_there(oci: Oci, tmp_path: Path) -> None:
    log = tmp_path / "log"
    text = f"ls {oci.rootfs}/proc/1/status {oci.rootfs}/dev/null {__file__} >{log}/seen"
    bundle = with_log(oci, log, "true", hooks={"createContainer": hook(text)})
    oci("run", "-b", bundle, oci.name("ready"))
    assert len((log / "seen").read_text().splitlines()) == 3
    assert not (oci.rootfs / "proc" / "1").exists()


def test_environment_and_place_of_a_hook_that_names_none(
    oci: Oci, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The caller's environment for the host's programs, the process's inside; the bundle."""
    monkeypatch.setenv("KNARR_OF_THE_CALLER", "yes")
    log = tmp_path / "log"

    def telling_env(name: str, target: str) -> list[dict[str, Any]]:
        text = f'echo "{name} $KNARR_OF_THE_CALLER$OF_THE_PROCESS $PWD" >>{target}/env'
        return [{"path": "/bin/sh", "args": ["sh", "-c", text]}]

    hooks = {
        kind: telling_env(kind, "/log" if kind == "startContainer" else str(log)) for kind in ORDER
    }
    bundle = with_log(oci, log, "true", hooks=hooks)
    file = Path(bundle) / "config.json"
    config = json.loads(file.read_text())
    config["process"]["env"].append("OF_THE_PROCESS=its")
    file.write_text(json.dumps(config))
    oci("run", "-b", bundle, oci.name("env"))
    lines = [line.split(" ") for line in (log / "env").read_text().splitlines()]
    assert [line[0] for line in lines] == list(ORDER)
    assert [line[1] for line in lines] == ["yes", "yes", "yes", "its", "yes", "yes"]
    assert [line[2] for line in lines[:4]] == [bundle, bundle, bundle, "/"]


@pytest.mark.parametrize(("env", "home"), [
    ([], "/tmp"), (["HOME="], "/tmp"), (["HOME=/mine"], "/mine"), (["HOME=/x", "HOME="], "/tmp"),
])  # fmt: skip
def test_home_of_a_hook_is_that_of_the_program(
    oci: Oci, tmp_path: Path, env: list[str], home: str
) -> None:
    """With runc it is there for who has the process's environment, whether that names it or not."""
    log = tmp_path / "log"
    script = "echo $HOME >>/log/home"
    hooks = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    bundle = with_log(oci, log, "sh", "-c", script, hooks=hooks)
    log.chmod(0o777)
    user = {"uid": 1000, "gid": 1000, "umask": 0}
    oci.change(
        Path(bundle),
        lambda config: config["process"].update(env=["PATH=/bin", *env], user=user),
    )
    (log / "home").touch()
    (log / "home").chmod(0o666)
    oci("run", "-b", bundle, oci.name("home"))
    assert (log / "home").read_text().split() == [home, home]


@pytest.mark.parametrize("kind", ORDER[:3])
def test_failure_at_create_undoes_it(oci: Oci, tmp_path: Path, kind: str) -> None:
    after = tmp_path / "after"
    hooks = {kind: hook("echo because >&2; exit 3"), "poststop": hook(f"cat >{after}")}
    bundle = str(oci.bundle("sleep", "1000", hooks=hooks))
    said = oci("create", "--bundle", bundle, oci.name("bad"), check=False)
    assert f"hooks.{kind}[0] (/bin/sh): exit status 3: because" in said
    assert json.loads(after.read_text())["status"] == "stopped"
    assert oci("list", "-q") == ""
    assert oci.groups() == []


@pytest.mark.parametrize("kind", ["startContainer", "poststart"])
def test_failure_at_start_ends_the_container(oci: Oci, kind: str) -> None:
    name = oci.name("bad")
    bundle = str(oci.bundle("sleep", "1000", hooks={kind: hook("exit 4")}))
    oci("create", "--bundle", bundle, name)
    said = oci("start", name, check=False)
    assert f"hooks.{kind}[0] (/bin/sh): exit status 4" in said
    assert oci.state(name)["status"] == "stopped"


def test_failure_of_poststop_is_a_warning_and_the_next_runs(oci: Oci, tmp_path: Path) -> None:
    name, after = oci.name("end"), tmp_path / "after"
    hooks = {"poststop": hook("exit 4") + hook(f"cat >{after}")}
    oci("create", "--bundle", str(oci.bundle("true", hooks=hooks)), name)
    oci("delete", "--force", name)
    assert after.exists()


def test_timeout_kills_the_hook_and_what_it_started(oci: Oci, tmp_path: Path) -> None:
    child = tmp_path / "child"
    text = f"sleep 1000 & echo $! >{child}; wait"
    bundle = str(oci.bundle("true", hooks={"createRuntime": hook(text, timeout=1)}))
    said = oci("create", "--bundle", bundle, oci.name("late"), check=False)
    assert "hooks.createRuntime[0] (/bin/sh): did not end within 1 s" in said
    stat = Path(f"/proc/{int(child.read_text())}/stat")
    wait_until(lambda: not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z")


def test_hook_that_is_not_there(oci: Oci) -> None:
    hooks = {"createRuntime": [{"path": "/no/such/hook"}]}
    bundle = str(oci.bundle("true", hooks=hooks))
    said = oci("create", "--bundle", bundle, oci.name("x"), check=False)
    assert "hooks.createRuntime[0] (/no/such/hook): exit status 127: No such file" in said
