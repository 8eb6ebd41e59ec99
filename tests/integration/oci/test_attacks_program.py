"""Attacks on the program of the host that makes a container: its file, its memory, its libraries.

Each test tries one; it passes when the attack fails.
"""

from __future__ import annotations

import ctypes
import os
import struct
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import SOURCES, Oci

_IN_OPEN = 0x20

# Runs as the interpreter of the host, which the kernel has executed for ``/proc/self/exe``.
_OVERWRITE = """#!/proc/self/exe
import os, sys
print("the interpreter runs:", os.readlink("/proc/self/exe"))
for path in ("/proc/self/exe", "/proc/thread-self/exe"):
    if os.access(path, os.W_OK):
        sys.exit("it can be written to")
    try:
        open(path, "r+b").close()
        sys.exit("it was opened for writing")
    except OSError as error:
        print(error.strerror)
sys.exit(5)
"""


def _system() -> list[dict[str, Any]]:
    """Return mounts with which the host's interpreter runs in a container."""
    places = {"/usr", "/lib", "/lib64", sys.base_prefix}
    return [
        {"destination": place, "type": "bind", "source": place, "options": ["rbind", "ro"]}
        for place in sorted(places)
        if os.path.isdir(place)
    ]


@pytest.fixture
def script(oci: Oci, tmp_path: Path) -> Path:
    """A bundle whose root has a script for the host's interpreter at /evil."""
    bundle = oci.bundle("/evil", root={"path": "rootfs"})
    oci.copy_root(bundle / "rootfs")
    evil = bundle / "rootfs" / "evil"
    evil.write_text(_OVERWRITE)
    evil.chmod(0o755)
    oci.change(bundle, lambda config: config["mounts"].extend(_system()))
    return bundle


def test_script_that_runs_the_hosts_interpreter(oci: Oci, script: Path) -> None:
    """CVE-2019-5736: a script's first line is followed by the kernel, past every check of names."""
    said = oci("run", "-b", str(script), oci.name("script"), status=5)
    assert "the interpreter runs" in said
    assert "can be written to" not in said


def test_library_loader_that_is_the_hosts_interpreter(oci: Oci, script: Path) -> None:
    """CVE-2019-5736: a program of the image whose loader (PT_INTERP) is /proc/self/exe."""
    python = Path(sys.executable).resolve().read_bytes()
    for loader in (b"/lib64/ld-linux-x86-64.so.2\0", b"/lib/ld-linux-aarch64.so.1\0"):
        python = python.replace(loader, b"/proc/self/exe".ljust(len(loader), b"\0"))
    assert b"/proc/self/exe\0" in python
    program = script / "rootfs" / "program"
    program.write_bytes(python)
    program.chmod(0o755)
    oci.change(script, lambda config: config["process"].update(args=["/program", "/evil"]))
    name = oci.name("loader")
    oci("create", "-b", str(script), name)
    assert os.statvfs(f"/proc/{oci.state(name)['pid']}/exe").f_flag & os.ST_RDONLY
    oci("start", name, status=None)  # two programs for one place in memory: the kernel says no


def test_hook_inside_that_runs_the_hosts_interpreter(oci: Oci, script: Path) -> None:
    """CVE-2019-5736: the path of a startContainer hook is looked up in the container."""
    hook = {"hooks": {"startContainer": [{"path": "/evil"}]}}
    oci.change(script, lambda config: config.update(hook))
    oci.change(script, lambda config: config["process"].update(args=["true"]))
    name = oci.name("hook")
    oci("create", "-b", str(script), name)
    said = oci("start", name, check=False)
    assert "hooks.startContainer[0] (/evil): exit status 5: the interpreter runs" in said


_POISON = (
    "lib/libnss_files.so.2", "lib/libnss_compat.so.2", "lib64/ld-linux-x86-64.so.2",
    "lib/x86_64-linux-gnu/libc.so.6", "lib/x86_64-linux-gnu/libnss_files.so.2",
    "usr/lib/x86_64-linux-gnu/gconv/gconv-modules", "usr/lib/locale/locale-archive",
    "usr/lib/locale/C.utf8/LC_CTYPE", "usr/share/zoneinfo/UTC", "etc/nsswitch.conf",
    "etc/ld.so.cache", "etc/ld.so.preload", "etc/localtime", "etc/resolv.conf", "etc/hosts",
)  # fmt: skip
_MODULES = ("os", "colorsys", "encodings/idna", "encodings/punycode", "traceback", "linecache",
            "pwd", "json/__init__", "subprocess", "signal", "shutil", "warnings", "knarr/__init__",
            "knarr/oci/lifecycle", "knarr/runtime/errors")  # fmt: skip


def poisoned(root: Path) -> dict[int, Path]:
    """Fill a root with what an interpreter, a C library or we could look for; watch it all.

    Returns directories by their watch, and the descriptor of the watches as -1's.
    """
    libraries = {os.path.dirname(os.__file__), *sys.path, str(SOURCES), "/usr/lib/python3"}
    places = [root / name for name in _POISON]
    for folder in libraries:
        if folder.startswith("/"):
            places += [Path(f"{root}{folder}/{name}.py") for name in _MODULES]
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text("raise SystemExit('poison')\n")
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    watched: dict[int, Path] = {}
    for parent in sorted({place.parent for place in places}):
        number = libc.inotify_add_watch(fd, bytes(parent), _IN_OPEN)
        assert number > 0
        watched[number] = parent
    watched[-1] = Path(f"/proc/self/fd/{fd}")
    return watched


def opened(watched: dict[int, Path]) -> set[str]:
    """Return the files below what is watched that somebody has opened (inotify(7))."""
    fd = int(watched[-1].name)
    found: set[str] = set()
    while True:
        try:
            data = os.read(fd, 65536)
        except BlockingIOError:
            return found
        at = 0
        while at < len(data):
            number, _, _, size = struct.unpack_from("=iIII", data, at)
            name = data[at + 16 : at + 16 + size].rstrip(b"\0").decode()
            found.add(f"{watched[number]}/{name}")
            at += 16 + size


@pytest.mark.parametrize("hooked", [False, True])
def test_nothing_of_the_root_is_loaded(oci: Oci, hooked: bool) -> None:
    """CVE-2019-14271 and its kin: no module, library, locale or name service of the image.

    What is opened in there is what the program needs: passwd, for a home directory.
    """
    bundle = oci.bundle("sh", "-c", "true")
    root = bundle / "rootfs"
    oci.copy_root(root)
    (root / "etc" / "passwd").write_text("root:x:0:0::/root:/bin/sh\n")
    watched = poisoned(root)
    oci.change(bundle, lambda config: config.update(root={"path": "rootfs"}))
    if hooked:
        hooks: dict[str, Any] = {
            kind: [{"path": "/bin/true"}] for kind in ("createContainer", "poststart")
        }
        hooks["startContainer"] = [{"path": "/bin/busybox", "args": ["busybox", "true"]}]
        oci.change(bundle, lambda config: config.update(hooks=hooks))
    name = oci.name("poison")
    oci("create", "-b", str(bundle), name)
    oci("start", name)
    oci("exec", name, "true", status=None)
    oci("delete", "--force", name)
    found = opened(watched)
    os.close(int(watched[-1].name))
    assert {path.removeprefix(str(root)) for path in found} <= {"/etc/passwd", "/etc/group"}


def test_interpreter_that_fails_inside_opens_nothing_either(oci: Oci) -> None:
    """An error's text comes from outside: no traceback is made in there, which opens sources."""
    bundle = oci.bundle("sh")
    root = bundle / "rootfs"
    oci.copy_root(root)
    watched = poisoned(root)

    def change(config: dict[str, Any]) -> None:
        config["root"] = {"path": "rootfs"}
        config["hooks"] = {"startContainer": [{"path": "/no/such/hook"}]}

    oci.change(bundle, change)
    name = oci.name("fails")
    oci("create", "-b", str(bundle), name)
    assert "hooks.startContainer[0] (/no/such/hook)" in oci("start", name, status=1)
    oci.change(
        bundle, lambda config: config["process"].update(cwd="/no/such/\u00e9", args=["\u00e9"])
    )
    oci("create", "-b", str(bundle), oci.name("fails2"), status=1)
    found = opened(watched)
    os.close(int(watched[-1].name))
    assert {path.removeprefix(str(root)) for path in found} <= {"/etc/passwd", "/etc/group"}
