"""Keeping this program safe from the container that it makes.

Until its execve a container's process is one of the interpreter's. What is executed there can
name that file: a script or a library loader of the image that is ``/proc/self/exe``, and, where a
PID namespace is joined or is the host's, whoever has rights over the host's users
(CVE-2019-5736). So the interpreter runs from a read-only clone of its file, through which nobody
writes; nothing of it can be looked at from inside, since it is not dumpable.
"""

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# Commands that put a process into a container, or whose children do.
ENTERING = frozenset(("create", "run", "exec", "server"))
_MAKING = frozenset(("create", "run"))
_START = "import sys; sys.path.append(sys.argv.pop(1)); "
_FOUND = "from knarr.oci.ownuser import found; found(sys.argv.pop(1)); "
_MAIN = "from knarr.oci.entry import main; main(sys.argv[1:])"


def begin() -> None:
    """Have nobody look into this process, whatever it shares memory with.

    And have 0 to 2 open: what is opened in the place of one would be the program's.
    """
    from knarr.kernel import process

    process.set_dumpable(False)
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open("/dev/null", os.O_RDWR), True)


def be_read_only() -> None:
    """Begin the command anew from a file that nobody can write to, unless this one is such."""
    if os.statvfs("/proc/self/exe").f_flag & os.ST_RDONLY or _is_in_memory():
        return
    begin_anew()


def is_put_off(words: "Sequence[str]") -> bool:
    """Return whether the command begins anew later: an ordinary user's in a namespace of his."""
    return bool(os.geteuid()) and not _MAKING.isdisjoint(words)


def begin_anew(found: "tuple[str, ...]" = (), flags: "tuple[str, ...]" = ()) -> None:
    """Execute the command once more, from a file that nobody can write to. OSError.

    found: what it is to take over (``ownuser.found``). flags: to say before the others.
    """
    from knarr.runtime.readonly import read_only_program

    fd = read_only_program(os.path.realpath(sys.executable))
    package = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    start = _START + (_FOUND if found else "") + _MAIN
    words = ("-I", "-S", "-E", "-B", "-c", start, package, *found, *flags, *sys.argv[1:])
    os.execve(fd, [sys.executable, *words], os.environ)


def _is_in_memory() -> bool:
    return os.readlink("/proc/self/exe").startswith("/memfd:")
