"""Attacks by what stands in the root file system, and by who changes it meanwhile.

Each test tries one; it passes when nothing of the host's is touched and no wall is missing.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci


def root_of(oci: Oci, bundle: Path) -> Path:
    """Return a root of the bundle's own, which may be changed."""
    oci.copy_root(bundle / "rootfs")
    oci.change(bundle, lambda config: config.update(root={"path": "rootfs"}))
    return bundle / "rootfs"


def change_process(oci: Oci, bundle: Path, **values: Any) -> None:
    oci.change(bundle, lambda config: config["process"].update(values))


def mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source, "options": list(options)}


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Path]:
    """A directory of the host that must stay as it is."""
    path = tmp_path / "trap"
    path.mkdir()
    (path / "victim").write_text("host")
    yield path
    assert [entry.name for entry in path.iterdir()] == ["victim"]
    assert (path / "victim").read_text() == "host"


def swapping(volume: Path, target: str, stop: threading.Event) -> None:
    """Have ``a`` be a directory and a link to ``target`` in turns, as fast as can be."""
    a, b, c = (str(volume / name) for name in "abc")
    while not stop.is_set():
        try:
            os.rename(a, c)
            os.rename(b, a)
            os.rename(c, b)
        except OSError:
            for name in (a, b, c):  # what was missing was made meanwhile, or is mounted on
                if os.path.isdir(name) and not os.path.islink(name):
                    shutil.rmtree(name, ignore_errors=True)
                else:
                    Path(name).unlink(missing_ok=True)
            if not os.path.lexists(a):
                os.mkdir(a)
            if not os.path.lexists(b):
                os.symlink(target, b)


@pytest.mark.parametrize("where", ["volume", "root"])
def test_directory_that_becomes_a_link_while_containers_start(
    oci: Oci, tmp_path: Path, trap: Path, where: str
) -> None:
    """CVE-2021-30465, CVE-2019-18837, CVE-2024-45310: a destination is resolved once, in the root.

    What is missing in there is made as well: no directory and no file appears on the host.
    """
    bundle = oci.bundle("sh", "-c", "echo mark >/data/a/in/mark; echo mark >/data/a/file; true")
    root = root_of(oci, bundle)
    (root / "data").mkdir()
    volume = root / "data"
    if where == "volume":
        volume = tmp_path / "volume"
        volume.mkdir()
    (volume / "a").mkdir()
    (volume / "b").symlink_to(f"/../../../../..{trap}")
    (tmp_path / "source").write_text("source")
    more = [mount("/data", "bind", str(volume), "rbind")] if where == "volume" else []
    more += [mount("/data/a/in", "tmpfs", "tmpfs"),
             mount("/data/a/new/er", "tmpfs", "tmpfs"),
             mount("/data/a/file", "bind", str(tmp_path / "source"), "bind")]  # fmt: skip
    oci.change(bundle, lambda config: config["mounts"].extend(more))
    oci.change(bundle, lambda config: config["process"].update(cwd="/data/a/cwd"))
    stop = threading.Event()
    thread = threading.Thread(target=swapping, args=(volume, f"/../../../../..{trap}", stop))
    thread.start()
    try:
        for number in range(12):
            oci("run", "-b", str(bundle), oci.name(f"race{number}"), status=None)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("where", ["maskedPaths", "readonlyPaths"])
def test_protected_path_that_becomes_a_link(oci: Oci, trap: Path, where: str) -> None:
    """CVE-2025-31133: the mask lies on what was looked at, or there is no container."""
    script = "readlink /data/a || { cat /data/a/secret; echo x >/data/a/secret; }; true"
    bundle = oci.bundle("sh", "-c", script)
    root = root_of(oci, bundle)
    (root / "data" / "a").mkdir(parents=True)
    (root / "data" / "a" / "secret").write_text("open")
    (root / "data" / "b").symlink_to(f"/../../../../..{trap}")
    oci.change(bundle, lambda config: config["linux"][where].append("/data/a"))
    stop = threading.Event()
    target = f"/../../../../..{trap}"
    thread = threading.Thread(target=swapping, args=(root / "data", target, stop))
    thread.start()
    try:
        for number in range(12):
            oci("run", "-b", str(bundle), oci.name(f"mask{number}"), status=None)
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("kind", ["link", "file", "missing", "device", "directory"])
def test_mask_does_not_depend_on_the_roots_null(oci: Oci, trap: Path, kind: str) -> None:
    """CVE-2025-31133: a false /dev/null is not what a file is masked with."""
    script = (
        "cat /secret /proc/timer_list; echo x >/secret; echo x >/dev/null; stat -c %t:%T /secret"
    )
    bundle = oci.bundle("sh", "-c", script)
    root = root_of(oci, bundle)
    (root / "secret").write_text("open secret")
    null = root / "dev" / "null"
    if kind == "link":
        null.symlink_to(f"/../../../..{trap}/victim")
    elif kind == "file":
        null.write_text("open secret")
    elif kind == "device":
        os.mknod(null, 0o20666, os.makedev(1, 5))
    elif kind == "directory":
        null.mkdir()

    def change(config: dict[str, Any]) -> None:
        config["mounts"] = [one for one in config["mounts"] if "/dev" not in one["destination"]]
        config["linux"]["maskedPaths"] = ["/secret", "/proc/timer_list"]

    oci.change(bundle, change)
    said = oci("run", "-b", str(bundle), oci.name("null"), status=None)
    assert "open secret" not in said
    if kind in ("missing", "file", "link"):
        assert (root / "secret").read_text() == "open secret"


@pytest.mark.parametrize("link", ["/proc", "/sys", "/dev", "/dev/pts", "/sys/fs/cgroup"])
def test_system_directory_that_leads_to_the_host(oci: Oci, trap: Path, link: str) -> None:
    """CVE-2019-19921, CVE-2023-27561, CVE-2025-54867, CVE-2026-41579: never outside, at no step."""
    bundle = oci.bundle("true")
    root = root_of(oci, bundle)
    place = root / link[1:]
    if place.is_dir():
        shutil.rmtree(place)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.symlink_to(f"/../../../../..{trap}")
    if link.count("/") > 1:  # else a mount hides it
        above = str(Path(link).parent)
        oci.change(bundle, lambda config: config.update(
            mounts=[one for one in config["mounts"]
                    if one["destination"] not in ("/dev", "/sys", above)]))  # fmt: skip
    oci("run", "-b", str(bundle), oci.name("link"), status=None)


@pytest.mark.parametrize(
    "entry",
    [mount("/proc", "tmpfs", "tmpfs"), mount("/proc/sys", "tmpfs", "tmpfs"),
     mount("/proc/self/attr", "bind", "/tmp", "bind"), mount("/proc", "bind", "/tmp", "bind"),
     mount("/link", "bind", "/tmp", "bind"), mount("/link/sys", "tmpfs", "tmpfs"),
     mount("/link/1/attr", "tmpfs", "tmpfs"), mount("/link/sys/net", "bind", "/tmp", "bind")],
    ids=lambda entry: f"{entry['type']}-{entry['destination']}",
)  # fmt: skip
def test_mount_that_stands_in_for_proc(oci: Oci, entry: dict[str, Any]) -> None:
    """CVE-2019-16884, CVE-2025-52881: what is written to /proc reaches the kernel, or is an error.

    ``/link`` is the image's, so a volume's place can lead into /proc without naming it.
    """
    bundle = oci.bundle("true")
    root = root_of(oci, bundle)
    (root / "link").symlink_to("/proc")
    oci.change(bundle, lambda config: config["mounts"].append(entry))
    oci.change(bundle, lambda config: config["linux"].update(
        sysctl={"net.ipv4.ip_forward": "1"}))  # fmt: skip
    said = oci("run", "-b", str(bundle), oci.name("proc"), status=1)
    assert "mounts[7]: " in said or "mounts: " in said


def test_terminal_of_a_hostile_root(oci: Oci, tmp_path: Path, trap: Path) -> None:
    """CVE-2025-52565: console and pts are links; the terminal comes from the kernel's devpts."""
    for name in ("console", "ptmx", "tty", "pts/0", "pts/ptmx"):
        bundle = oci.bundle("sh", "-c", "echo said; true")
        root = root_of(oci, bundle)
        place = root / "dev" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(f"/../../../../..{trap}/victim")

        def change(config: dict[str, Any], name: str = name) -> None:
            gone = ("/dev", "/dev/pts") if name.startswith("pts") else ("/dev",)
            config["mounts"] = [one for one in config["mounts"] if one["destination"] not in gone]
            config["process"]["terminal"] = True

        oci.change(bundle, change)
        with socket.socket(socket.AF_UNIX) as server:
            where = tmp_path / f"s-{name.replace('/', '-')}"
            server.bind(str(where))
            server.listen()
            words = ("create", "-b", str(bundle), "--console-socket", str(where))
            said = oci(*words, oci.name(name.replace("/", "-")), status=None)
            assert "Traceback" not in said


def test_descriptors_and_directories_of_the_caller(oci: Oci) -> None:
    """CVE-2024-21626: what came along is closed before anything of the image is looked at."""
    bundle = oci.bundle("sh", "-c", "ls -l /proc/self/fd; cat /proc/self/cwd/etc/shadow; pwd")
    for number in (3, 5, 9, 20):
        change_process(oci, bundle, cwd=f"/proc/self/fd/{number}")
        leaked = [os.open("/", os.O_RDONLY | os.O_DIRECTORY) for _ in range(30)]
        try:
            done = subprocess.run(
                [str(oci.program), "run", "-b", str(bundle), oci.name(f"fd{number}")],
                stdin=subprocess.DEVNULL, capture_output=True, check=False,
                pass_fds=leaked, timeout=60,
            )  # fmt: skip
        finally:
            for fd in leaked:
                os.close(fd)
        assert done.returncode != 0
        assert b"working directory" in done.stderr
    change_process(oci, bundle, cwd="/", args=["ls", "/proc/self/fd"])
    fd = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        done = subprocess.run(
            [str(oci.program), "run", "-b", str(bundle), oci.name("fds")],
            stdin=subprocess.DEVNULL, capture_output=True, check=True, pass_fds=[fd], timeout=60,
        )  # fmt: skip
    finally:
        os.close(fd)
    assert done.stdout.split() == [b"0", b"1", b"2", b"3"]  # 3: ls has the directory open
