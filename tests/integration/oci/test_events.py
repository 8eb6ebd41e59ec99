"""events: figures and kills in runc's form, until the container ends."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
from pathlib import Path
from typing import IO, Any

import pytest

from tests.integration.oci.test_control import places, running, stopped
from tests.support.bundles import Oci
from tests.support.waiting import wait_until

MIB = 1 << 20


def lines_of(out: IO[bytes] | None) -> Any:
    assert out is not None
    return (json.loads(line) for line in out)


def follow(oci: Oci, name: str, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [str(oci.program), "events", *words, name],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
    )  # fmt: skip


def test_stats_once(oci: Oci) -> None:
    name = oci.name("once")
    limits = {"pids": {"limit": 50}, "memory": {"limit": 64 * MIB}}
    bundle = oci.bundle("sh", "-c", "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done; sleep 1000")
    config = json.loads((bundle / "config.json").read_text())
    config["linux"]["resources"] |= limits
    (bundle / "config.json").write_text(json.dumps(config))
    subprocess.run(
        [str(oci.program), "run", "-d", "-b", str(bundle), name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60,
    )  # fmt: skip
    text = oci("events", "--stats", name)
    assert text.startswith(f'{{"type":"stats","id":"{name}","data":{{')
    (line,) = text.splitlines()
    data = json.loads(line)["data"]
    assert data["pids"] == {"current": data["pids"]["current"], "limit": 50}
    assert 1 <= data["pids"]["current"] <= 2
    assert data["memory"]["usage"]["limit"] == 64 * MIB
    assert 0 < data["memory"]["usage"]["usage"] <= data["memory"]["usage"]["max"] <= 64 * MIB
    assert data["memory"]["raw"]["pgfault"] > 0
    usage = data["cpu"]["usage"]
    assert usage["total"] > 0
    if "percpu" in usage:
        assert sum(usage["percpu"]) <= usage["total"]
        assert len(usage["percpu_user"]) == len(usage["percpu"])
    at = places(oci, name)
    own = "cpuset" in at or Path(at["unified"], "cpuset.cpus").exists()  # v2: when it is asked for
    assert bool(data["cpuset"]["cpus"]) == own
    assert data["network_interfaces"] is None
    for size, used in data["hugetlb"].items():
        assert size.endswith(("KB", "MB", "GB"))
        assert used["usage"] == 0
    oci("pause", name)
    assert json.loads(oci("events", "--stats", name))["type"] == "stats"
    oci("kill", name, "KILL")
    wait_until(lambda: stopped(oci, name))
    assert "container not running" in oci("events", "--stats", name, check=False)


@pytest.mark.peer
def test_stats_have_the_fields_of_runcs(oci: Oci, tmp_path: Path) -> None:
    if shutil.which("runc") is None:
        pytest.skip("needs runc")
    name = oci.name("fields")
    root = ("runc", "--root", str(tmp_path / "runc"))
    bundle = str(oci.bundle("sleep", "1000"))
    subprocess.run(
        [*root, "run", "-d", "-b", bundle, name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60,
    )  # fmt: skip
    try:
        done = subprocess.run([*root, "events", "--stats", name], capture_output=True, check=True)
        theirs = json.loads(done.stdout)
        theirs["data"]["blkio"] = {}  # has the disks that something was read from
    finally:
        subprocess.run([*root, "delete", "--force", name], check=True)
    running(oci, name)
    ours = json.loads(oci("events", "--stats", name))
    assert missing(theirs, ours) == []


def missing(theirs: Any, ours: Any, where: str = "") -> list[str]:
    """The fields that one has and the other has not, or as another type."""
    if isinstance(theirs, dict) and isinstance(ours, dict):
        found = []
        for key, value in theirs.items():
            if key not in ours:
                found.append(f"{where}.{key}")
            else:
                found += missing(value, ours[key], f"{where}.{key}")
        return found
    return [] if type(theirs) is type(ours) else [where]


def test_stream_ends_with_the_container(oci: Oci) -> None:
    name = oci.name("stream")
    running(oci, name)
    with follow(oci, name, "--interval", "30ms") as process:
        lines = lines_of(process.stdout)
        found = [next(lines) for _ in range(3)]
        assert [(one["type"], one["id"]) for one in found] == [("stats", name)] * 3
        totals = [one["data"]["cpu"]["usage"]["total"] for one in found]
        assert totals == sorted(totals)
        oci("kill", name, "KILL")
        process.communicate(timeout=60)  # lines that nobody reads would have it wait
        assert process.returncode == 0


def test_stream_ends_when_nobody_reads(oci: Oci) -> None:
    """Long before the next line is due."""
    name = oci.name("reader")
    running(oci, name)
    process = follow(oci, name, "--interval", "1h")
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(60) == 0


def test_stream_can_be_interrupted(oci: Oci) -> None:
    name = oci.name("term")
    running(oci, name)
    with follow(oci, name, "--interval", "20ms") as process:
        next(lines_of(process.stdout))
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 128 + signal.SIGTERM
    assert oci.state(name)["status"] == "running"


def test_kill_for_want_of_memory_is_told(oci: Oci) -> None:
    """First of a child, by which the container goes on; then of its first process."""
    name = oci.name("oom")
    go = oci.folder / "go"
    go.mkdir()
    hog = "tail -c 200m /dev/zero >/dev/null"
    bundle = oci.bundle(
        "sh", "-c", f"until [ -e /go/1 ]; do sleep 0.02; done; {hog}; "
        f"until [ -e /go/2 ]; do sleep 0.02; done; exec {hog}",
    )  # fmt: skip
    config = json.loads((bundle / "config.json").read_text())
    config["linux"]["resources"]["memory"] = {"limit": 32 * MIB, "swap": 32 * MIB}
    config["mounts"].append(
        {"destination": "/go", "type": "bind", "source": str(go), "options": ["bind"]}
    )
    config["root"]["readonly"] = False
    (oci.rootfs / "go").mkdir(exist_ok=True)
    (bundle / "config.json").write_text(json.dumps(config))
    subprocess.run(
        [str(oci.program), "run", "-d", "-b", str(bundle), name],
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True, timeout=60,
    )  # fmt: skip
    with follow(oci, name, "--interval", "50ms") as process:
        lines = lines_of(process.stdout)
        assert next(lines)["type"] == "stats"
        (go / "1").touch()
        assert next(one for one in lines if one["type"] == "oom") == {"type": "oom", "id": name}
        (go / "2").touch()
        assert {"type": "oom", "id": name} in list(lines)
        assert process.wait(60) == 0


@pytest.mark.parametrize("text", ["0", "0s", "-1s", "5", "soon"])
def test_bad_interval(oci: Oci, text: str) -> None:
    name = oci.name("bad")
    running(oci, name)
    assert "--interval" in oci("events", "--interval", text, name, check=False)
