"""One QEMU machine: boots a disk, streams what its job prints, ends by status or power loss."""

from __future__ import annotations

import io
import os
import selectors
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from . import image, initramfs
from .kernels import Kernel
from .mirror import MachineError

CONTROL = b"\x1e"  # begins a line that is meant for us: "exit N" or "power-loss"
BOOT_LIMIT = 240  # seconds until the job's first byte; a boot takes ten to thirty
CONSOLE_LINES = 15


class PowerLoss(Exception):
    """The job asked for the plug to be pulled, and it was."""


class Machine:
    """A disk of its own, which may be booted several times; a context manager.

    kernel: what to boot. source: folder that the job sees as /src (without .git
    and build products). memory in MiB.
    """

    def __init__(self, kernel: Kernel, pristine: Path, source: Path, memory: int = 3072) -> None:
        self.kernel = kernel
        self.source = source
        self.memory = memory
        self._folder = Path(tempfile.mkdtemp(prefix="run-", dir=pristine.parent))
        self.console = self._folder / "console"
        self._disk = self._folder / "disk.img"
        self._job = self._folder / "job.tar"
        self._initramfs = self._folder / "initramfs"
        self._initramfs.write_bytes(initramfs.build(kernel.modules))
        subprocess.run(
            ["cp", "--sparse=always", "--reflink=auto", pristine, self._disk], check=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def boot(self, script: Path, limit: float, output: Callable[[bytes], object]) -> int:
        """Boot, run ``script`` as root in /src, power off; return its exit status.

        output gets what the job prints, as it comes. Raises PowerLoss when the
        job asked for it, TimeoutError after ``limit`` seconds, MachineError
        when the machine ended without a status.
        """
        self._pack(script)
        command = self._command()
        with subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as qemu:
            try:
                return self._follow(qemu, limit, output)
            finally:
                qemu.kill()

    def _pack(self, script: Path) -> None:
        """Write the second disk: a tar of the sources with the job's script and environment."""
        with tarfile.open(self._job, "w") as tar:
            listed = subprocess.run(
                ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                cwd=self.source, capture_output=True, check=True,
            )  # fmt: skip
            for name in sorted(set(os.fsdecode(listed.stdout).split("\0")) - {""}):
                if (self.source / name).is_file():
                    tar.add(self.source / name, name)
            for name, data in (
                (".vm/script", script.read_bytes()),
                (".vm/environment", self._environment()),
            ):
                member = tarfile.TarInfo(name)
                member.size = len(data)
                tar.addfile(member, io.BytesIO(data))

    def _environment(self) -> bytes:
        """What the machine must know to reach the same registries as the host."""
        lines = [f"export VM_KERNEL={self.kernel.name} VM_SITE=/{image.SITE}"]
        told = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        for line in told.stdout.splitlines():
            key, _, value = line.partition("=")
            option = key.rpartition(".")[2]
            value = value.strip("'\"")
            if option in {"index-url", "trusted-host", "timeout", "proxy"}:
                lines.append(f"export PIP_{option.upper().replace('-', '_')}='{value}'")
            elif option == "cert":  # its content is in the image's own bundle
                lines.append("export PIP_CERT=/etc/ssl/certs/ca-certificates.crt")
        for name in ("http_proxy", "https_proxy", "no_proxy", "KNARR_VM_BARE_TESTS"):
            if name in os.environ:
                lines.append(f"export {name}='{os.environ[name]}'")
        return ("\n".join(lines) + "\n").encode()

    def _command(self) -> list[str]:
        drive = "if=virtio,format=raw,cache=unsafe"
        return [
            "qemu-system-x86_64", "-accel", "tcg",
            # with cmpxchg16b announced, kernel 6.12 fails under QEMU 7's emulation
            "-cpu", "max,cx16=off", "-m", str(self.memory),
            # One processor: with two in parallel the kernels lock up or panic after some minutes
            # (5.10 in spin locks, 6.12 where it patches its own code), two in turns are no quicker
            "-smp", "1",
            "-display", "none", "-monitor", "none", "-no-reboot",
            "-kernel", str(self.kernel.image), "-initrd", str(self._initramfs),
            "-append", "console=ttyS0 quiet panic=-1 systemd.show_status=0",
            "-drive", f"file={self._disk},{drive}", "-drive", f"file={self._job},{drive}",
            "-nic", "user,model=virtio-net-pci",
            "-serial", f"file:{self.console}", "-serial", "stdio",
        ]  # fmt: skip

    def _follow(
        self, qemu: subprocess.Popen[bytes], limit: float, output: Callable[[bytes], object]
    ) -> int:
        assert qemu.stdout is not None
        started = time.monotonic()
        buffer = b""
        heard = False
        with selectors.DefaultSelector() as selector:
            selector.register(qemu.stdout, selectors.EVENT_READ)
            while True:
                deadline = started + (limit if heard else min(limit, BOOT_LIMIT))
                if not selector.select(max(0.0, deadline - time.monotonic())):
                    if heard:
                        raise TimeoutError(f"the job did not end within {limit:.0f} seconds")
                    raise MachineError(f"no job after {BOOT_LIMIT} seconds: {self._last_words()}")
                data = os.read(qemu.stdout.fileno(), 65536)
                if not data:
                    raise MachineError(f"QEMU ended without a status: {self._last_words(buffer)}")
                heard = True
                buffer += data.replace(b"\r\n", b"\n")
                complete, newline, buffer = buffer.rpartition(b"\n")
                for line in (complete + newline).splitlines(keepends=True):
                    if not line.startswith(CONTROL):
                        output(line)
                        continue
                    word, _, value = line[1:].strip().partition(b" ")
                    if word == b"power-loss":
                        raise PowerLoss
                    return int(value)

    def _last_words(self, said: bytes = b"") -> str:
        text = self.console.read_text(errors="replace") if self.console.exists() else ""
        lines = [line for line in (text + said.decode(errors="replace")).splitlines() if line]
        return " | ".join(lines[-CONSOLE_LINES:]) or "it said nothing"
