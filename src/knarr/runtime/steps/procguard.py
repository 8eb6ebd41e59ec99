"""Nothing is mounted into a procfs by way of a link of the image."""

import errno

from knarr.kernel.files import PROC_SUPER_MAGIC
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.memory import STATFS, Cell


def keep_out(b: Builder, target: Cell, destination: str) -> None:
    """Fail if a mount's place, already opened, is in a procfs (CVE-2019-16884, CVE-2025-52881).

    A destination that names /proc itself was judged by its name, by ``mountplan``; one that only
    leads there, by a link of the image, would have the runtime look at files of the image's for
    the kernel's.
    """
    if destination.lstrip("/").startswith("proc/"):
        return
    outside = Label()
    b.call("fstatfs", target, STATFS)
    b.test(STATFS, 0xFFFFFFFF, PROC_SUPER_MAGIC, orelse=outside)
    b.fail(errno.EPERM, explain=_inside)
    b.place(outside)


def _inside(name: str, number: int) -> RuntimeFailure:
    text = f"{name}: its place leads into /proc, where nothing stands in for the kernel's files"
    return RuntimeFailure("error", name, text, number)
