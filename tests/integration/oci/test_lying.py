"""Bundles, states and command lines that are not what they seem: an error, and nothing is left."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from pathlib import Path
from typing import IO, Any

import pytest

from tests.support.bundles import Oci


def refused(oci: Oci, bundle: Path, *words: str) -> str:
    """Have create fail, and see that nothing is left; return what it said."""
    said = oci("create", "-b", str(bundle), *words, oci.name("lie"), status=1)
    assert "Traceback" not in said
    assert oci("list", "-q") == ""
    assert [path.name for path in oci.root.glob("[!@]*")] == []
    assert oci.groups() == []
    return said


@pytest.mark.parametrize("kind", ["fifo", "socket", "directory", "device", "loop", "proc"])
def test_configuration_that_is_no_file(oci: Oci, kind: str) -> None:
    bundle = oci.bundle("true")
    file = bundle / "config.json"
    file.unlink()
    if kind == "fifo":
        os.mkfifo(file)  # whoever opens it to read waits for a writer
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(str(file))
    elif kind == "directory":
        file.mkdir()
    else:
        places = {"device": "/dev/zero", "loop": "config.json", "proc": "/proc/kmsg"}
        file.symlink_to(places[kind])
    assert "config.json" in refused(oci, bundle)


def test_configuration_that_changes_while_it_is_read(oci: Oci) -> None:
    """Whatever is read is one whole configuration or none, and what was read is kept."""
    bundle = oci.bundle("true")
    good = (bundle / "config.json").read_text()
    flips = """
import os, sys
good, bad = sys.argv[1], '{"ociVersion": "1.0.0", "root":' + " " * 100000
while os.getppid() != 1:
    for text in (good, bad, good[:200], ""):
        with open(sys.argv[2], "w") as file:
            file.write(text)
        print(flush=True)
"""
    words = ["python3", "-c", flips, good, str(bundle / "config.json")]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        try:
            for number in range(8):
                name = oci.name(f"n{number}")
                said = oci("create", "-b", str(bundle), name, status=None)
                assert "Traceback" not in said
                if oci("list", "-q"):
                    kept = json.loads((oci.root / name / "config.json").read_text())
                    assert kept["process"]["args"] == ["true"]
                oci("delete", "--force", name)
        finally:
            other.stdout.close()
            other.kill()


@pytest.mark.parametrize("kind", ["file", "missing", "fifo", "dangling", "loop", "device", "long"])
def test_root_that_is_no_directory(oci: Oci, kind: str) -> None:
    bundle = oci.bundle("true", root={"path": "rootfs"})
    root = bundle / "rootfs"
    if kind == "file":
        root.touch()
    elif kind == "fifo":
        os.mkfifo(root)
    elif kind == "long":
        oci.change(bundle, lambda config: config.update(root={"path": "a/" * 3000}))
    elif kind != "missing":
        root.symlink_to({"dangling": "/no/such", "loop": "rootfs", "device": "/dev/null"}[kind])
    assert "root.path" in refused(oci, bundle)


def test_root_by_a_link_is_where_it_leads(oci: Oci) -> None:
    bundle = oci.bundle("true", root={"path": "rootfs"})
    (bundle / "rootfs").symlink_to(oci.rootfs)
    oci("create", "-b", str(bundle), oci.name("link"))
    assert oci.state(oci.name("link"))["rootfs"] == str(oci.rootfs)


@pytest.mark.parametrize(
    ("kind", "path"),
    [("network", "fifo"), ("network", "/dev/zero"), ("network", "/proc/self/ns/uts"),
     ("pid", "/no/such"), ("ipc", "/proc/self/exe"), ("uts", "relative"), ("network", "file")],
)  # fmt: skip
def test_namespace_that_is_none(oci: Oci, kind: str, path: str) -> None:
    bundle = oci.bundle("true")
    os.mkfifo(bundle / "fifo")
    (bundle / "file").touch()
    where = str(bundle / path) if path in ("fifo", "file") else path

    def change(config: dict[str, Any]) -> None:
        for entry in config["linux"]["namespaces"]:
            if entry["type"] == kind:
                entry["path"] = where

    oci.change(bundle, change)
    said = refused(oci, bundle)
    assert "linux.namespaces" in said
    assert where in said


@pytest.mark.parametrize("kind", ["directory", "missing", "link"])
def test_pid_file_that_cannot_be(oci: Oci, kind: str, tmp_path: Path) -> None:
    place = tmp_path / "place"
    if kind == "directory":
        place.mkdir()
        (place / "inner").touch()
    elif kind == "missing":
        place = tmp_path / "no" / "such"
    else:
        (tmp_path / "victim").write_text("host")
        place.symlink_to(tmp_path / "victim")
    bundle = oci.bundle("sleep", "1000")
    if kind == "link":  # it is replaced, not followed
        oci("create", "-b", str(bundle), "--pid-file", str(place), oci.name("x"))
        assert (tmp_path / "victim").read_text() == "host"
        assert place.read_text() == str(oci.state(oci.name("x"))["pid"])
        return
    refused(oci, bundle, "--pid-file", str(place))
    assert list(tmp_path.glob("place.*")) == []


@pytest.mark.parametrize("kind", ["file", "missing", "long", "datagram", "deaf"])
def test_console_socket_that_is_none(oci: Oci, kind: str, tmp_path: Path) -> None:
    place = tmp_path / "socket"
    sock = None
    if kind == "file":
        place.touch()
    elif kind == "long":
        place = tmp_path / ("x" * 200)
    elif kind in ("datagram", "deaf"):
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM if kind == "datagram" else 1)
        sock.bind(str(place))
    bundle = oci.bundle("sh")
    oci.change(bundle, lambda config: config["process"].update(terminal=True))
    assert "console" in refused(oci, bundle, "--console-socket", str(place))
    if sock is not None:
        sock.close()


def test_place_of_states_that_others_can_write_to(oci: Oci) -> None:
    """What stands in there is believed: pids to kill, groups to remove."""
    bundle = oci.bundle("true")
    oci.root.mkdir(exist_ok=True)
    oci.root.chmod(0o777)
    said = oci("create", "-b", str(bundle), oci.name("x"), status=1)
    oci.root.chmod(0o700)
    assert "others can write" in said
    assert list(oci.root.iterdir()) == []


def test_place_of_states_that_is_a_file(oci: Oci) -> None:
    oci.root.rmdir()
    oci.root.touch()
    bundle = oci.bundle("true")
    for words in (("create", "-b", str(bundle), "x"), ("state", "x"), ("delete", "x"), ("list",)):
        assert "Traceback" not in oci(*words, status=1)
    oci.root.unlink()
    oci.root.mkdir()


@pytest.mark.parametrize("kind", ["file", "link", "empty", "garbage", "fifo"])
def test_state_that_is_none(oci: Oci, kind: str, tmp_path: Path) -> None:
    """A container of this name exists to create; delete --force takes it away, not more."""
    name = oci.name("odd")
    oci("list")
    oci.root.mkdir(exist_ok=True)
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("host")
    place = oci.root / name
    if kind == "file":
        place.touch()
    elif kind == "link":
        place.symlink_to(outside)
    else:
        place.mkdir()
        if kind == "garbage":
            (place / "state.json").write_text('{"pid": "x"')
        elif kind == "fifo":
            os.mkfifo(place / "state.json")
    bundle = oci.bundle("true")
    said = oci("create", "-b", str(bundle), name, status=1)
    assert "container with id exists" in said
    for words in (("state", name), ("start", name), ("kill", name), ("ps", name)):
        assert "Traceback" not in oci(*words, status=None)
    oci("delete", "--force", name)
    assert not os.path.lexists(place)
    assert sorted(path.name for path in outside.iterdir()) == ["file"]


def test_many_creates_of_one_name(oci: Oci) -> None:
    """One wins, the others say that it is there, and nothing is left of theirs."""
    name = oci.name("one")
    bundle = oci.bundle("sleep", "1000")
    words = [str(oci.program), "create", "-b", str(bundle), name]
    ends: list[tuple[subprocess.Popen[bytes], IO[str]]] = []
    out: IO[str]
    for _ in range(25):
        out = (oci.folder / f"out-{len(ends)}").open("w+")
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        ends.append((process, out))
    said = []
    for process, written in ends:
        status = process.wait(120)
        written.seek(0)
        said.append((status, written.read().strip()))
        written.close()
    assert min(said) == (0, "")
    assert set(sorted(said)[1:]) == {(1, f"knarr-oci: container with id exists: {name}")}
    assert oci.state(name)["status"] == "created"
    assert [path.name for path in oci.root.glob("[!@]*")] == [name]
    assert oci("start", name) == ""
    oci("delete", "--force", name)
    assert oci.groups() == []


@pytest.mark.parametrize("count", [400, 441])
def test_more_mounts_than_there_are_descriptors(oci: Oci, count: int) -> None:
    bind = {"type": "bind", "source": "/tmp", "options": ["bind"]}
    more = [bind | {"destination": f"/tmp/m{number}"} for number in range(count)]
    bundle = oci.bundle("true")
    oci.change(bundle, lambda config: config["mounts"].extend(more))
    with oci.file_limit(300):
        said = refused(oci, bundle)
    assert "mounts" in said


def test_hundreds_of_mounts(oci: Oci) -> None:
    more: list[dict[str, Any]] = [
        {"destination": f"/tmp/b{number}", "type": "bind", "source": "/tmp", "options": ["rbind"]}
        for number in range(430)
    ]
    more += [{"destination": f"/tmp/t{number}", "type": "tmpfs"} for number in range(500)]
    bundle = oci.bundle("sh", "-c", "wc -l </proc/self/mountinfo")
    oci.change(bundle, lambda config: config["mounts"].extend(more))
    assert int(oci("run", "-b", str(bundle), oci.name("many"))) > 930
