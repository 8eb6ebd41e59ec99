"""``knarr explain`` and ``knarr run --explain``: what is printed where, and how they end."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from knarr import BindMount, ContainerConfig, Engine

Knarr = Callable[..., "subprocess.CompletedProcess[bytes]"]
GOLDEN = Path(__file__).parent / "golden" / "default.json"
SECTIONS = (
    "Process", "Namespaces: ", "Id map: ", "Root file system: ", "Mounts: ", "Control groups: ",
    "Capabilities: ", "Seccomp: ", "Other confinement", "Network: ", "What an attacker inside ",
    "Steps of its start",
)  # fmt: skip


def headings(text: str) -> list[str]:
    return [line for line in text.splitlines()[2:] if line and not line.startswith(" ")]


def test_the_sections_in_their_order(knarr: Knarr) -> None:
    assert knarr("run", "-d", "--name", "web", "busybox", "sleep", "1000").returncode == 0
    done = knarr("explain", "web")
    text = done.stdout.decode()
    assert done.stderr == b""
    assert [line.startswith(words) for line, words in zip(headings(text), SECTIONS, strict=True)]
    pid = json.loads(knarr("inspect", "web").stdout)[0]["State"]["Pid"]
    assert f"is process {pid} of this host" in text
    for kind in ("mnt", "net", "pid", "ipc", "uts", "cgroup"):
        assert str(os.stat(f"/proc/{pid}/ns/{kind}").st_ino) in text
        assert str(os.stat(f"/proc/self/ns/{kind}").st_ino) in text
    assert "not timed: it was not started with --explain" in text
    assert "\033" not in text
    assert len(knarr("explain", "--calls", "web").stdout) > 2 * len(done.stdout)
    assert (
        knarr("container", "explain", "web").stdout.splitlines()[:2]
        == text.encode().splitlines()[:2]
    )


def test_json_and_templates(knarr: Knarr) -> None:
    knarr("create", "--name", "web", "busybox", "sleep", "1000")
    found = json.loads(knarr("explain", "--format", "json", "web").stdout)
    assert found["Name"] == "web"
    assert found["Running"] is False
    told = knarr("explain", "-f", "{{.Status}} {{len .Namespaces}}", "web").stdout.decode()
    assert told == f"created {len(found['Namespaces'])}\n"
    calls = json.loads(knarr("explain", "--calls", "--format", "json", "web").stdout)
    assert {call["Outcome"] for each in calls["Start"]["Steps"] for call in each["Calls"]} == {
        "planned"
    }
    bad = knarr("explain", "-f", "{{.Status", "web")
    assert bad.returncode == 64
    assert bad.stdout == b""


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("explain", "nope"), 1, "Error: No such container: nope"),
        (("explain",), 1, "knarr: 'knarr explain' requires 1 argument"),
        (("explain", "one", "two"), 1, "knarr: 'knarr explain' requires 1 argument"),
        (("explain", "--nope", "one"), 125, "unknown flag: --nope"),
        (("run", "--explain", "--rm", "busybox", "nope"), 127, "executable file not found"),
        (("run", "--explain", "--rm", "busybox", "/etc/passwd"), 126, "permission denied"),
        (("run", "--explain=perhaps", "busybox"), 125, 'invalid argument "perhaps"'),
        (("run", "--explain", "nope"), 125, "nope"),
        (("create", "--explain", "busybox"), 125, "unknown flag: --explain"),
    ],
)
def test_what_is_wrong(knarr: Knarr, words: tuple[str, ...], code: int, text: str) -> None:
    done = knarr(*words)
    assert (done.returncode, done.stdout) == (code, b"")
    assert text in done.stderr.decode()
    assert b"Namespaces: " not in done.stderr
    assert knarr("ps", "-aq").stdout == b""


def test_run_keeps_output_and_exit_code(knarr: Knarr) -> None:
    done = knarr(
        "run", "--rm", "-i", "--explain", "busybox", "sh", "-c", "cat; exit 7", stdin=b"hi"
    )
    assert (done.returncode, done.stdout) == (7, b"hi")
    text = done.stderr.decode()
    assert [line.startswith(words) for line, words in zip(headings(text), SECTIONS, strict=True)]
    assert "ms from the request to the container that runs" in text
    assert knarr("ps", "-aq").stdout == b""


def test_in_the_background_only_the_id_is_printed(knarr: Knarr) -> None:
    done = knarr("run", "-d", "--explain", "busybox", "sleep", "1000")
    assert re.fullmatch(rb"[0-9a-f]{64}\n", done.stdout)
    name = done.stdout.decode().strip()
    assert f"ID stands for {name}" in done.stderr.decode()
    # The times stay with the container.
    found = json.loads(knarr("explain", "--format", "json", name).stdout)
    assert found["Start"]["Timed"]


def test_start_of_a_container_that_is_there(knarr: Knarr) -> None:
    """Its times are those of this start; of one that runs already it is told how it is."""
    knarr("create", "--name", "made", "busybox", "sh", "-c", "echo out; sleep 1000")
    done = knarr("start", "--explain", "made")
    assert (done.returncode, done.stdout) == (0, b"made\n")
    assert "ms from the request to the container that runs" in done.stderr.decode()
    assert json.loads(knarr("explain", "--format", "json", "made").stdout)["Start"]["Timed"]
    done = knarr("start", "--explain", "made")
    assert (done.returncode, done.stdout) == (0, b"made\n")
    assert "Steps of its start" in done.stderr.decode()
    knarr("kill", "made")
    knarr("wait", "made")
    assert knarr("start", "made").stderr == b""
    assert not json.loads(knarr("explain", "--format", "json", "made").stdout)["Start"]["Timed"]


def test_start_that_is_attached_keeps_output_and_exit_code(knarr: Knarr) -> None:
    knarr("create", "--name", "made", "busybox", "sh", "-c", "echo out; exit 7")
    done = knarr("start", "--explain", "-a", "made")
    assert (done.returncode, done.stdout) == (7, b"out\n")
    assert "ms from the request to the container that runs" in done.stderr.decode()
    knarr("create", "--name", "bad", "busybox", "nope")
    done = knarr("start", "--explain", "bad")
    assert done.returncode == 1
    assert b"Steps of its start" not in done.stderr


def test_start_that_fails_in_namespaces_that_were_made_ahead(knarr: Knarr) -> None:
    """It was waited for without an end: its process stood still for the signal that ends it."""
    for _ in range(3):
        done = knarr("run", "--rm", "--explain", "busybox", "nope", timeout=60)
        assert done.returncode == 127
        assert b"executable file not found" in done.stderr


def test_nobody_has_to_read_the_explanation(knarr: Knarr, environment: dict[str, str]) -> None:
    assert knarr("images").returncode == 0
    words = "knarr run --rm --explain busybox echo out 2>/dev/full"
    done = subprocess.run(["sh", "-c", words], env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (0, b"out\n")


def test_names_move_no_cursor(engine: Engine, knarr: Knarr, tmp_path: Path) -> None:
    hostile = tmp_path / "a\x1b[2Jb\nc"
    hostile.mkdir()
    config = ContainerConfig(
        "busybox", ("sh", "-c", "sleep 1000 # \x1b[2J"), name="evil",
        binds=(BindMount(str(hostile), "/data"),),
    )  # fmt: skip
    container = engine.containers.create(config)
    container.start()
    text = knarr("explain", "--calls", "evil").stdout.decode()
    assert "\x1b" not in text
    assert "a?[2Jb?c" in text
    mounts = json.loads(knarr("explain", "--format", "json", "evil").stdout)["Mounts"]
    assert str(hostile) in [each["Source"] for each in mounts]


def normal(found: dict[str, Any], name: str) -> dict[str, Any]:
    """Return what is the same of every default container, on every machine."""
    text = json.dumps(found).replace(found["Id"], "ID").replace(found["Id"][:12], "ID")
    facts = json.loads(text.replace(name, "NAME"))
    process = facts["Process"]
    return {
        "Process": {key: process[key] for key in ("PidsInside", "Command", "Init", "Terminal",
                                                  "WorkingDirectory", "OomScoreAdj")},
        "User": {key: process["User"][key] for key in ("Asked", "Uid", "Gid", "Groups")},
        "Namespaces": {each["Type"]: each["Of"] for each in facts["Namespaces"]},
        "IdMap": [(each["Inside"], each["Size"]) for each in facts["IdMap"]["Uid"]],
        "Mounts": sorted(
            f"{each['Destination']} {each['Kind']}: {each['Why']}"
            for each in facts["Mounts"]
            # Which of others there are depends on the kernel.
            if not each["Destination"].startswith("/sys/fs/cgroup/")
            and each["Kind"] not in ("masked", "read-only")
        ),
        "Capabilities": {
            key: facts["Capabilities"][key]
            for key in ("Effective", "Inheritable", "Bounding", "Ambient", "Added", "Dropped")
        },
        "Seccomp": [facts["Seccomp"][key] for key in ("Mode", "Profile", "Conditional")],
        "NoNewPrivileges": facts["NoNewPrivileges"],
        "Network": [facts["Network"]["Mode"],
                    [each["Name"] for each in facts["Network"]["Interfaces"]]],
        "Hardening": [
            ("+ " if each["Holds"] else "- ") + re.sub("[0-9]+|, among.*", "N", each["Text"])
            for each in facts["Hardening"]
            if not each["Text"].startswith("the security module")
        ],
        "Steps": [
            f"{each['By']} {each['Step'].partition(' /sys/devices/system')[0]}: {each['Meaning']}"
            for each in facts["Start"]["Steps"]
            if each["Step"] not in ("cgroup", "create", "keeper", "mount cgroup on /sys/fs/cgroup")
            and not each["Step"].startswith(("mask ", "mount cgroup2 on "))
            # Both work at the same time, so how these lie between the others is chance.
            and (each["By"] == "process" or each["Step"] in ("request", "control group"))
        ],
    }  # fmt: skip


def test_a_default_container_is_explained_as_ever(engine: Engine, knarr: Knarr) -> None:
    """``KNARR_WRITE_GOLDEN=1`` writes the file anew; read the difference."""
    if not engine.machine.private_users():
        pytest.skip("the machine maps no owners")
    assert knarr("run", "-d", "--explain", "--name", "usual", "busybox", "sleep", "1000").stdout
    found = json.loads(knarr("explain", "--format", "json", "usual").stdout)
    text = json.dumps(normal(found, "usual"), indent=1) + "\n"
    data = engine.settings.data_root
    text = text.replace(data, "DATA")
    if os.environ.get("KNARR_WRITE_GOLDEN"):
        GOLDEN.write_text(text)
    assert text == GOLDEN.read_text()
