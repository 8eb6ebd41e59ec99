"""A docker-archive of one static busybox, made without knarr's own image code."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

FOLDERS = ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "usr", "usr/bin", "var")
FILES = {
    "etc/passwd": "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/tmp:/bin/sh\n",
    "etc/group": "root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n",
}


def layer() -> bytes:
    """Return the image's only layer, an uncompressed tar with fixed times and owners."""
    program = shutil.which("busybox")
    if program is None:
        raise FileNotFoundError("busybox is missing: apt-get install busybox-static")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, kind: bytes, mode: int, data: bytes = b"", link: str = "") -> None:
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size, member.linkname = kind, mode, len(data), link
            tar.addfile(member, io.BytesIO(data))

        for name in FOLDERS:
            add(name, tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755)
        for name, text in FILES.items():
            add(name, tarfile.REGTYPE, 0o644, text.encode())
        add("bin/busybox", tarfile.REGTYPE, 0o755, Path(program).read_bytes())
        for applet in sorted(set(listed.stdout.split()) - {"busybox"}):
            add(f"bin/{applet}", tarfile.SYMTYPE, 0o777, link="busybox")
    return buffer.getvalue()


def docker_archive(target: Path, tag: str = "busybox:latest") -> None:
    """Write the image as ``docker save`` would: manifest.json, a config and one layer."""
    data = layer()
    config = {
        "architecture": "amd64",
        "os": "linux",
        "created": "2024-01-01T00:00:00Z",
        "config": {
            "Cmd": ["sh"],
            "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        },
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(data).hexdigest()}"]},
        "history": [{"created": "2024-01-01T00:00:00Z", "created_by": "busybox for tests"}],
    }
    raw = json.dumps(config).encode()
    name = f"{hashlib.sha256(raw).hexdigest()}.json"
    manifest = [{"Config": name, "RepoTags": [tag], "Layers": ["layer.tar"]}]
    with tarfile.open(target, "w") as tar:
        for member_name, content in (
            (name, raw),
            ("layer.tar", data),
            ("manifest.json", json.dumps(manifest).encode()),
        ):
            member = tarfile.TarInfo(member_name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
