"""The first root file system: busybox, six modules and a script, as a cpio archive."""

from __future__ import annotations

import gzip
import lzma
import shutil
from pathlib import Path

from .mirror import MachineError

# In the order in which they depend on one another; a kernel that has one built in lacks the file.
MODULES = (
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "virtio_blk",
)

INIT = """\
#!/bin/busybox sh
b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sysfs /sys
$b mount -t devtmpfs dev /dev
for module in MODULES; do
    [ -f /$module.ko ] && $b insmod /$module.ko
done
tries=0
until [ -b /dev/vda ] || [ $tries = 100 ]; do $b sleep 0.1; tries=$((tries + 1)); done
$b mount -t ext4 /dev/vda /root && exec $b switch_root /root /sbin/init
echo "initramfs: no root file system on /dev/vda"
$b poweroff -f
"""

DIRECTORY, REGULAR = 0o040755, 0o100755


def entry(number: int, name: str, mode: int, data: bytes = b"") -> bytes:
    """Return one member in the "new ASCII" form of cpio(5): magic, 13 hexadecimal fields."""
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
    return head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)


def _module(modules: Path, name: str) -> bytes | None:
    for file in modules.rglob(f"{name}.ko*"):
        data = file.read_bytes()
        return lzma.decompress(data) if file.suffix == ".xz" else data
    return None


def build(modules: Path) -> bytes:
    """Return a gzipped initramfs for the kernel whose modules are in ``modules``.

    Raises MachineError when the host has no static busybox.
    """
    busybox = shutil.which("busybox")
    if busybox is None:
        raise MachineError("busybox is missing: apt-get install busybox-static")
    files: list[tuple[str, int, bytes]] = [
        (name, DIRECTORY, b"") for name in ("bin", "dev", "proc", "root", "sys")
    ]
    files.append(("bin/busybox", REGULAR, Path(busybox).read_bytes()))
    files.append(("init", REGULAR, INIT.replace("MODULES", " ".join(MODULES)).encode()))
    for name in MODULES:
        data = _module(modules, name)
        if data is not None:
            files.append((f"{name}.ko", REGULAR, data))
    members = [entry(number, *file) for number, file in enumerate(files, start=1)]
    return gzip.compress(b"".join(members) + entry(0, "TRAILER!!!", 0), compresslevel=1)
