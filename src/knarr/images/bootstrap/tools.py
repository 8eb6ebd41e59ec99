"""Debian's own tools, run with a clean environment and errors that say what was missing."""

from __future__ import annotations

import os
import shutil
import subprocess

from knarr.errors import Unavailable, Unsupported

_KEPT = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "TMPDIR")
_LAST_LINES = 3


def need(tool: str, package: str, purpose: str) -> str:
    """Return the path of a tool. Raises Unsupported naming the package that has it."""
    path = shutil.which(tool, path=environment()["PATH"])
    if path is None:
        raise Unsupported(f"{purpose} needs {tool}: apt-get install {package}")
    return path


def environment(**extra: str) -> dict[str, str]:
    """Return the environment the tools run with: no locale, proxies kept."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"PATH": path, "LC_ALL": "C.UTF-8", "HOME": "/root", **kept, **extra}


def run(argv: list[str], directory: str, purpose: str) -> bytes:
    """Run a tool to its end and return its output. Raises Unavailable with its last lines."""
    done = subprocess.run(
        argv,
        cwd=directory,
        env=environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        raise failed(purpose, done.stderr.decode("utf-8", "replace").splitlines())
    return done.stdout


def failed(purpose: str, lines: list[str]) -> Unavailable:
    """Return the error of a tool that ended with ``lines`` as its last words."""
    words = [line.strip() for line in lines if line.strip()]
    marked = [line for line in words if line.startswith(("E:", "W:", "Err:"))] or words
    return Unavailable(f"{purpose} failed: {' / '.join(marked[-_LAST_LINES:]) or 'no message'}")
