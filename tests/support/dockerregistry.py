"""Debian's docker-registry on a port of its own, and skopeo to put images there."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_CONFIG = """\
version: 0.1
log: {{level: info, accesslog: {{disabled: true}}}}
storage:
  filesystem: {{rootdirectory: {folder}}}
  delete: {{enabled: true}}
http: {{addr: "127.0.0.1:0"{extra}}}
{more}"""
_LISTENING = re.compile(r"listening on \[?[0-9.:]*?\]?:(\d+)")


@contextmanager
def running(folder: Path, extra: str = "", more: str = "") -> Iterator[str]:
    """Run the server with its data in ``folder``; yields ``localhost:PORT``.

    extra: YAML within ``http``; more: YAML of its own.
    """
    if shutil.which("docker-registry") is None:
        pytest.skip("docker-registry is not installed")
    config = folder / "registry.yml"
    config.write_text(_CONFIG.format(folder=folder / "registry", extra=extra, more=more))
    with subprocess.Popen(
        ["docker-registry", "serve", config], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    ) as server:
        try:
            assert server.stderr is not None
            port = None
            for line in server.stderr:
                found = _LISTENING.search(line.decode())
                if found:
                    port = found[1]
                    break
            assert port, "docker-registry did not start"
            # It says a line about each request, and stops when nobody reads them.
            threading.Thread(target=server.stderr.read, daemon=True).start()
            yield f"localhost:{port}"
        finally:
            server.kill()


def skopeo(*words: str | Path) -> str:
    """Run skopeo without TLS and return its output."""
    if shutil.which("skopeo") is None:
        pytest.skip("skopeo is not installed")
    action, *rest = [str(word) for word in words]
    tls = {"copy": ["--dest-tls-verify=false", "--src-tls-verify=false", "-q"]}
    flags = tls.get(action, ["--tls-verify=false"])
    done = subprocess.run(
        ["skopeo", action, *flags, *rest], capture_output=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()
