"""Other OCI runtimes as tests find them: by name, by path, and such as do not do what they say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

NAMES = ("runc", "crun", "knarr-oci")
UNIFIED = Path("/sys/fs/cgroup/unified")
# crun refuses machines that have both versions of control groups, unless it does not see one.
COVERED = """
exec unshare --mount --propagation slave sh -c \
    'mount -t tmpfs cover {unified} && exec {program} "$@"' crun "$@"
"""
OURS = 'exec "{python}" -m knarr.oci "$@"'


def script(path: Path, text: str) -> str:
    """Write a shell script that is a runtime; return its path."""
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)
    return str(path)


def find(name: str, folder: Path) -> str:
    """Return what ``--runtime`` takes for one of NAMES; the test is skipped where it is not there.

    folder: for a script, where one is needed.
    """
    if name == "knarr-oci":
        return script(folder / name, OURS.format(python=sys.executable))
    program = shutil.which(name, path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip(f"{name} is not installed")
    if name == "crun" and UNIFIED.is_dir():
        if shutil.which("unshare") is None:
            pytest.skip("crun refuses hybrid machines, and there is no unshare to hide that")
        return script(folder / name, COVERED.format(unified=UNIFIED, program=program))
    return name


def can(runtime: str, verb: str) -> bool:
    """Return whether a runtime knows a command."""
    program = runtime if os.path.isabs(runtime) else shutil.which(runtime) or runtime
    answer = subprocess.run([program, verb, "--help"], capture_output=True, timeout=60, check=False)
    return answer.returncode == 0
