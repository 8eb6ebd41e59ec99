"""Attacks on the program of the host that makes a container: its file, its memory, its libraries.

Each test tries one; it passes when the attack fails.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci

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
