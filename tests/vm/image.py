"""A small Debian 12 with systemd in an ext4 file, made once for each kernel."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from .kernels import Kernel
from .mirror import MachineError

SUITE = "bookworm"
PACKAGES = (
    "apparmor",
    "busybox-static",
    "ca-certificates",
    "iproute2",
    "kmod",
    "make",
    "procps",
    "python3",
    "systemd",
    "systemd-sysv",
    "udev",
)
# Test tools for the suite's job, for the image's Python; pure wheels, so any pip can fetch them.
PYTHON = "3.11"
WHEELS = (
    "pytest>=8.3",
    "pytest-xdist>=3.6",
    "pytest-timeout>=2.3",
    "hypothesis>=6.100",
    "backports.zstd>=1.0",
    "h11>=0.14",
)
SITE = "opt/test-tools"
DISK_SIZE = 12 * 1024**3

NETWORK = """\
[Match]
Name=en* eth*
[Network]
Address=10.0.2.15/24
Gateway=10.0.2.2
"""
# A job that is killed ends the machine, or the host would wait until its time is over. A process
# that makes a container with too low a limit dies of it and belongs to the job's own memory:
# systemd would stop the job for that.
UNIT = """\
[Unit]
Description=The job on the second disk
After=multi-user.target network-online.target
Wants=network-online.target
FailureAction=poweroff-force
[Service]
Type=oneshot
OOMPolicy=continue
ExecStart=/usr/local/sbin/vm-job
TimeoutStartSec=infinity
"""
# Output and control lines go to the second serial port, kernel messages to the first.
JOB = """\
#!/bin/sh
stty -F /dev/ttyS1 raw -echo
exec </dev/null >/dev/ttyS1 2>&1
rm -rf /src
mkdir /src
tar -xf /dev/vdb -C /src
cd /src
. ./.vm/environment
export HOME=/root LANG=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
# a job's programs must not take the port for a person's terminal
{ sh ./.vm/script; echo $? >/run/vm-status; } 2>&1 | cat
status=$(cat /run/vm-status)
sync
printf '\\n\\036exit %d\\n' "$status"
systemctl poweroff --force --force
"""
POWER_LOSS = """\
#!/bin/sh
# Called by a job that is to be cut off: the host ends the machine on this line.
printf '\\n\\036power-loss\\n' >/dev/ttyS1
exec sleep 600
"""


def _recipe() -> str:
    parts = (SUITE, *PACKAGES, PYTHON, *WHEELS, NETWORK, UNIT, JOB, POWER_LOSS, str(DISK_SIZE))
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:12]


def _write(path: Path, text: str, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)


def _run(*words: str | Path) -> None:
    path = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"  # su keeps a user's PATH
    program = shutil.which(str(words[0]), path=path)
    if program is None:
        raise MachineError(f"{words[0]} is missing here: sh tools/ensure vm installs it")
    try:
        done = subprocess.run(
            (program, *words[1:]), capture_output=True, text=True, check=False, timeout=900
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MachineError(f"{words[0]}: {error}") from error
    if done.returncode:
        raise MachineError(f"{words[0]}: {done.stderr.strip()[-400:]}")


def _furnish(root: Path) -> None:
    """Add the job's unit, the network and what the host knows of names and certificates."""
    etc = root / "etc"
    shadow = etc / "shadow"
    shadow.write_text(shadow.read_text().replace("root:*:", "root::", 1))
    (etc / "resolv.conf").unlink(missing_ok=True)
    _write(etc / "resolv.conf", "nameserver 10.0.2.3\n")
    _write(etc / "hostname", "machine\n")
    _write(etc / "systemd/network/10-user.network", NETWORK)
    _write(etc / "systemd/system/vm-job.service", UNIT)
    wants = etc / "systemd/system/multi-user.target.wants"
    wants.mkdir(parents=True, exist_ok=True)
    (wants / "vm-job.service").symlink_to("/etc/systemd/system/vm-job.service")
    (wants / "systemd-networkd.service").symlink_to("/lib/systemd/system/systemd-networkd.service")
    online = etc / "systemd/system/network-online.target.wants"
    online.mkdir(parents=True, exist_ok=True)
    waiter = "systemd-networkd-wait-online.service"
    (online / waiter).symlink_to(f"/lib/systemd/system/{waiter}")
    for unit in ("serial-getty@ttyS0.service", "apt-daily.timer", "apt-daily-upgrade.timer"):
        (etc / "systemd/system" / unit).symlink_to("/dev/null")
    _write(root / "usr/local/sbin/vm-job", JOB, 0o755)
    _write(root / "usr/local/sbin/vm-power-loss", POWER_LOSS, 0o755)
    bundle = Path("/etc/ssl/certs/ca-certificates.crt")
    if bundle.is_file():  # the host may trust an authority of its own for its registries
        shutil.copy(bundle, root / "etc/ssl/certs/ca-certificates.crt")


def _base(cache: Path, mirror: str) -> Path:
    """Return the folder of the furnished base system."""
    root = cache / f"base-{_recipe()}"
    if (root.with_suffix(".complete")).exists():
        return root
    shutil.rmtree(root, ignore_errors=True)
    packages = "--include=" + ",".join(PACKAGES)
    _run("mmdebstrap", "--quiet", "--variant=minbase", packages, SUITE, root, mirror)
    _furnish(root)
    wheels = (
        "--only-binary=:all:",
        f"--python-version={PYTHON}",
        "--platform=manylinux2014_x86_64",
    )
    more = ("--platform=manylinux_2_28_x86_64", "--platform=any", "--target", root / SITE)
    _run(sys.executable, "-m", "pip", "install", "--quiet", *wheels, *more, *WHEELS)
    root.with_suffix(".complete").touch()
    return root


def disk(kernel: Kernel, cache: Path, mirror: str) -> Path:
    """Return the pristine disk image for ``kernel``; copy it, never boot it.

    Made from Debian packages the first time (two to three minutes, root only).
    Raises MachineError when a tool is missing or fails.
    """
    image = cache / f"disk-{kernel.name}-{kernel.modules.name}-{_recipe()}.img"
    if image.exists():
        return image
    if os.geteuid() != 0:
        raise MachineError("making a disk image takes root, for the owners of its files")
    base = _base(cache, mirror)
    work = cache / f"work-{os.getpid()}"
    try:
        work.mkdir()
        root = work / "root"
        _run("cp", "-a", "--reflink=auto", base, root)
        modules = root / "lib/modules" / kernel.modules.name
        modules.parent.mkdir(parents=True, exist_ok=True)
        _run("cp", "-a", "--reflink=auto", kernel.modules, modules)
        _run("depmod", "-b", root, kernel.modules.name)
        fresh = work / "disk.img"
        with fresh.open("wb") as file:
            file.truncate(DISK_SIZE)
        _run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=1", "-d", root, fresh)
        fresh.rename(image)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return image
