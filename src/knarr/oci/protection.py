"""Keeping this program safe from a container that another one's processes are in already.

Until its execve a container's process is one of the interpreter's, and what runs beside it in
a PID namespace that is joined can look at it: only with rights over the host's users, since it
is not dumpable, but then also through /proc/PID/exe (CVE-2019-5736). There the interpreter runs
from a read-only clone of its file, through which nobody writes.
"""

import os
import sys

from knarr.kernel import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_START = (
    "import sys; sys.path.append(sys.argv.pop(1)); "
    "from knarr.oci.main import main; main(sys.argv[1:])"
)


def begin() -> None:
    """Have nobody look into this process, whatever it shares memory with."""
    process.set_dumpable(False)


def from_others_in(config: "dict[str, Any]") -> None:
    """Begin anew from a read-only clone if a container's PID namespace is not a new one."""
    entries = (config.get("linux") or {}).get("namespaces") or []
    if any(entry.get("type") == "pid" and not entry.get("path") for entry in entries):
        return
    if os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY or _is_in_memory():
        return
    from knarr.runtime.detached import read_only_program

    fd = read_only_program(os.path.realpath(sys.executable))
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    flags = ("-I", "-S", "-E", "-B")
    os.execve(fd, [sys.executable, *flags, "-c", _START, package, *sys.argv[1:]], os.environ)


def _is_in_memory() -> bool:
    return os.readlink("/proc/self/exe").startswith("/memfd:")
