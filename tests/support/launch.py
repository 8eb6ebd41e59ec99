"""Containers through the launcher alone: no engine, no images, a busybox tree as only layer."""

from __future__ import annotations

import copy
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from knarr.config import Settings
from knarr.runtime.channel import Channel
from knarr.spec import capabilities
from knarr.spec.mount import Mount
from knarr.supervisor import rundir, state
from knarr.supervisor.client import ExecSession, Launcher
from tests.support.waiting import PATIENCE, wait_until

ID_BASE = 0x20000000
ID_SIZE = 65536
TYPES = ("pid", "network", "ipc", "uts", "mount", "cgroup", "user")
MASKED = ("/proc/acpi", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/timer_list",
          "/sys/firmware")  # fmt: skip
READONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
Spec = dict[str, Any]
_features: Spec = {}  # what the kernel can do: found once by whoever asks first
Edit = Callable[[Spec], object]

_MOUNTS: list[Spec] = [
    {"destination": "/proc", "type": "proc", "source": "proc",
     "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
     "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
     "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs",
     "options": ["nosuid", "noexec", "nodev", "ro"]},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
     "options": ["ro", "nosuid", "noexec", "nodev", "relatime"]},
    {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
     "options": ["nosuid", "noexec", "nodev"]},
    {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
     "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
]  # fmt: skip


def process(*args: str, **changes: Any) -> Spec:
    """Return the ``process`` of a spec: root of the container, Docker's capabilities."""
    caps = list(capabilities.DEFAULT)
    return {
        "args": list(args),
        "cwd": "/",
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0, "x-knarr-name": ""},
        "capabilities": {"bounding": caps, "effective": caps, "permitted": caps},
        **changes,
    }


def spec(*args: str, userns: bool = True) -> Spec:
    """Return an OCI spec as the engine makes it."""
    ids = [{"containerID": 0, "hostID": ID_BASE, "size": ID_SIZE}]
    kinds = TYPES if userns else TYPES[:-1]
    linux: Spec = {
        "namespaces": [{"type": kind} for kind in kinds],
        "maskedPaths": list(MASKED),
        "readonlyPaths": list(READONLY),
        "resources": {},
    }
    if userns:
        linux |= {"uidMappings": ids, "gidMappings": copy.deepcopy(ids)}
    return {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "hostname": "box",
        "process": process(*args),
        "mounts": copy.deepcopy(_MOUNTS),
        "linux": linux,
    }


@contextmanager
def layers() -> Iterator[Path]:
    """A directory of layers, removed at the end; ``l/base/fs`` is busybox."""
    folder = Path(tempfile.mkdtemp(prefix="kt-layers-", dir="/var/tmp"))
    folder.chmod(0o711)
    busybox_tree(folder / "l/base/fs")
    yield folder
    shutil.rmtree(folder)


def busybox_tree(target: Path) -> None:
    """Make a small root file system in ``target``."""
    program = shutil.which("busybox")
    assert program is not None, "busybox is missing: apt-get install busybox-static"
    for name in ("bin", "dev", "etc", "proc", "root", "sys", "tmp", "var", "data"):
        (target / name).mkdir(parents=True)
    (target / "tmp").chmod(0o1777)
    shutil.copy(program, target / "bin/busybox")
    listed = subprocess.run([program, "--list"], capture_output=True, text=True, check=True)
    for applet in set(listed.stdout.split()) - {"busybox"}:
        (target / "bin" / applet).symlink_to("busybox")
    (target / "etc/passwd").write_text(
        "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n"
    )
    (target / "etc/group").write_text("root:x:0:\nalice:x:1000:\nstaff:x:50:alice\n")


class Exit:
    """How a container ended: output of both streams and the last report."""

    def __init__(self, out: bytes, err: bytes, report: Spec) -> None:
        self.out = out
        self.err = err
        self.report = report

    @property
    def code(self) -> int:
        return int(self.report["exit_code"])

    @property
    def text(self) -> str:
        return self.out.decode()


class Attached:
    """A client of a supervisor."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.sock.settimeout(PATIENCE)
        self.out = bytearray()
        self.err = bytearray()
        self.hello: Spec = {}
        self.consumed = 0

    def send(self, tag: bytes, payload: bytes = b"") -> None:
        self.sock.send(tag + payload)

    def packet(self) -> tuple[bytes, bytes]:
        """Take the next packet in; returns its tag and payload, (b"", b"") at the end."""
        packet = self.sock.recv(1 << 17)
        tag, payload = packet[:1], packet[1:]
        if tag == b"o":
            self.out += payload
        elif tag == b"e":
            self.err += payload
        elif tag == b"s":
            self.hello = json.loads(payload)
        elif tag == b"w":
            self.consumed += int(payload)
        return tag, payload

    def until(self, text: bytes) -> None:
        """Read until ``text`` stands in the standard output."""
        while text not in self.out:
            tag, payload = self.packet()
            assert tag not in (b"", b"x"), (text, bytes(self.out), bytes(self.err), payload)

    def exit(self) -> Exit:
        """Read to the end and acknowledge it."""
        while True:
            tag, payload = self.packet()
            assert tag, f"the supervisor left without an exit after {bytes(self.out[-200:])!r}"
            if tag == b"x":
                try:
                    self.send(b"q")
                except BrokenPipeError:
                    pass  # nobody had to wait for it
                return Exit(bytes(self.out), bytes(self.err), json.loads(payload))

    def close(self) -> None:
        self.sock.close()


class Running:
    """A container that was started."""

    def __init__(self, box: Box, name: str, run_dir: Path, answer: Spec, log: Path) -> None:
        self.box = box
        self.id = name
        self.run_dir = run_dir
        self.pid = int(answer["pid"])
        self.warnings: list[str] = answer["warnings"]
        self.log = log
        self.client: Attached | None = None

    def attach(self) -> Attached:
        """Return a further client."""
        sock = rundir.connect(str(self.run_dir))
        client = Attached(socket.socket(fileno=sock.detach()))
        self.box.clients.append(client)
        return client

    def exit(self) -> Exit:
        assert self.client is not None
        return self.client.exit()

    def until(self, text: bytes) -> None:
        assert self.client is not None
        self.client.until(text)

    @property
    def state(self) -> Spec:
        found = state.read(str(self.run_dir))
        assert found is not None
        return found

    @property
    def supervisor(self) -> int:
        return int(self.state["supervisor_pid"])

    def settled(self) -> None:
        """Wait until its supervisor has cleaned up and ended."""
        wait_until(lambda: not rundir.is_locked(str(self.run_dir)))

    def kill(self) -> Exit:
        """Kill it and return how it ended."""
        client = self.client or self.attach()
        client.send(b"k", b"9")
        return client.exit()

    def exec(
        self,
        *args: str,
        fds: list[int] | None = None,
        exec_id: str = "",
        linux: Spec | None = None,
        **changes: Any,
    ) -> ExecSession:
        """Start a command; with ``fds`` on those descriptors, else on a terminal."""
        request: Spec = {
            "id": self.id,
            "run_dir": str(self.run_dir),
            "exec_id": exec_id or f"exec-{secrets.token_hex(4)}",
            "process": process(*args, **changes),
            "linux": linux or {},
            "fds": None if fds is None else [0, 1, 2],
        }
        if fds is None:
            request["process"]["terminal"] = True
        return self.box.launcher.exec(request, fds or [])

    def run(self, *args: str, stdin: bytes = b"", **changes: Any) -> tuple[int, bytes]:
        """Run a command in it; returns exit code and output of both streams."""
        reader, writer = os.pipe()
        source = os.memfd_create("stdin", os.MFD_CLOEXEC)
        os.write(source, stdin)
        os.lseek(source, 0, os.SEEK_SET)
        try:
            session = self.exec(*args, fds=[source, writer, writer], **changes)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
            os.close(source)
        with open(reader, "rb") as file:
            out = file.read()
        try:
            return int(session.wait()["exit_code"]), out
        finally:
            session.close()


class Box:
    """What a test needs to start containers; ``close`` ends all of them."""

    def __init__(self, settings: Settings, base: Path) -> None:
        self.settings = settings
        self.base = base
        self.launcher = Launcher(settings)
        self.containers = Path(settings.run_root) / "containers"
        self.containers.mkdir(parents=True, mode=0o700)
        Path(settings.data_root).mkdir(parents=True)
        self.running: list[Running] = []
        self.clients: list[Attached] = []
        self._own: list[Path] = []

    def layer(self) -> Path:
        """Return a directory of a layer above busybox, for a test to fill."""
        path = self.base / "l" / secrets.token_hex(4) / "fs"
        path.mkdir(parents=True)
        self._own.append(path.parent)
        return path

    def folder(self, name: str = "") -> Path:
        """Return a directory of the host for the test, removed after it."""
        path = Path(self.settings.data_root) / (name or secrets.token_hex(4))
        path.mkdir(parents=True)
        return path

    def can(self, feature: str) -> bool:
        """Return whether the kernel has a feature that the launcher looks for."""
        if not _features:
            _features.update(self.launcher.features(self.settings.data_root))
        return bool(_features[feature])

    def _maps_owners(self, *, needed: bool) -> bool:
        if needed and not self.can("idmap"):
            pytest.skip("this kernel cannot map the owners of layers")
        return self.can("idmap")

    def rootfs(self, layers: tuple[Path, ...] = ()) -> Mount:
        name = secrets.token_hex(8)
        own = self.base / "c" / name
        for part in ("fs", "work"):
            (own / part).mkdir(parents=True)
        self._own.append(own)
        lower = [f"lower={path.relative_to(self.base)}" for path in layers]
        options = (*lower, "lower=l/base/fs", f"upper=c/{name}/fs", f"work=c/{name}/work")
        return Mount("overlay", str(self.base), options)

    def request(
        self,
        *args: str,
        userns: bool | None = None,
        tty: bool = False,
        stdin: bool = False,
        log: bool = True,
        layers: tuple[Path, ...] = (),
        edit: Edit | None = None,
        **more: Any,
    ) -> Spec:
        """Return a request for ``Launcher.start`` and make its run directory.

        userns: whether it has a user namespace; None: where this kernel can map owners,
        and True skips the test where it cannot.
        """
        name = secrets.token_hex(32)
        run_dir = self.containers / name
        run_dir.mkdir(mode=0o700)
        made = spec(*args, userns=userns is not False and self._maps_owners(needed=bool(userns)))
        if tty:
            made["process"]["terminal"] = True
        if edit is not None:
            edit(made)
        return {
            "id": name,
            "run_dir": str(run_dir),
            "spec": made,
            "rootfs": [self.rootfs(layers).to_dict()],
            "cgroup": {"manager": "auto", "path": f"{self.settings.cgroup_parent}/{name}"},
            "log": f"{self.settings.data_root}/{name}.log" if log else None,
            "tty": tty,
            "stdin": stdin,
            **more,
        }

    def send(
        self,
        request: Spec,
        fds: tuple[int, ...] = (),
        *,
        attach: bool = True,
        announced: Channel | None = None,
    ) -> Running:
        """Start what a request describes, with a first client when ``attach``."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        client = Attached(ours)
        self.clients.append(client)
        made = {entry["type"] for entry in request["spec"]["linux"]["namespaces"]}
        apart = {"user", "network"} <= made
        try:
            if attach:
                request = {**request, "attach": len(fds)}
            handles = [*fds, *([theirs.fileno()] if attach else ())]
            answer = self.launcher.start(request, handles, apart=apart, announced=announced)
        finally:
            theirs.close()
        log = Path(request["log"] or "/nonexistent")
        started = Running(self, request["id"], Path(request["run_dir"]), answer, log)
        started.client = client if attach else None
        self.running.append(started)
        return started

    def start(self, *args: str, attach: bool = True, **more: Any) -> Running:
        return self.send(self.request(*args, **more), attach=attach)

    def run(self, *args: str, **more: Any) -> Exit:
        """Start a container and return how it ended."""
        return self.start(*args, **more).exit()

    def sh(self, script: str, **more: Any) -> str:
        """Run a shell script in a container; returns its output, fails unless it exits 0."""
        done = self.run("sh", "-c", script, **more)
        assert done.code == 0, (done.code, done.out, done.err)
        return done.text

    def close(self) -> None:
        for client in self.clients:
            client.close()
        for one in self.running:
            self._end(one)
        for path in self._own:
            shutil.rmtree(path, ignore_errors=True)

    @staticmethod
    def _end(one: Running) -> None:
        found = state.read(str(one.run_dir))
        if found is not None and state.alive(found):
            try:
                pidfd = os.pidfd_open(one.pid)
            except ProcessLookupError:
                return
            with open(pidfd, "rb"):
                os.kill(one.pid, 9)
        wait_until(lambda: not rundir.is_locked(str(one.run_dir)))
