"""``knarr-oci server``: everything is loaded before the command that needs it is called.

While it runs, the script has commands carried out by its workers, where that comes to the same
(``likeness``). Whatever it cannot do, and everything when it is not there, is done by the process
that was called. Why and how: docs/design/oci.md.
"""

import functools
import importlib
import os
import pkgutil
import sys
import time

from knarr.errors import Conflict, Unsupported
from knarr.kernel import files
from knarr.kernel.lean import signal
from knarr.warm import server

TYPE_CHECKING = False
if TYPE_CHECKING:
    from knarr.oci.worker import CarryOut, Parse
    from knarr.warm.pool import Work

# As in scripts/knarr-oci.
DIRECTORY = "/run/knarr-oci/@server"
# Engines call start right after create, and delete after that: nobody is to wait for a fork.
_AHEAD = 2
_LOADED = ("knarr.oci", "knarr.runtime", "knarr.cgroups", "knarr.kernel", "knarr.spec")


def serve(idle: float, parse: "Parse", carry_out: "CarryOut") -> None:
    """Serve until nobody has called for so many seconds, SIGTERM, or a new version is installed.

    parse, carry_out: what is said before a command; a command line. See ``worker``.
    Raises Unsupported without root, Conflict when there is a server already, PermissionError for a
    directory of others.
    """
    if os.geteuid():
        raise Unsupported("server: only root can have one; commands of others do without")
    began = time.time_ns()

    def prepare() -> "Work":
        _preload()
        from knarr.oci import worker

        return functools.partial(worker.become_a_command, ours=worker.Self(parse, carry_out))

    _forget_who_called()
    directory = os.environ.get("KNARR_OCI_SERVER") or DIRECTORY
    if not server.serve(directory, began, prepare, idle, _AHEAD):
        raise Conflict(f"another server listens in {directory}")


def _forget_who_called() -> None:
    """Have no hook get what only the server's caller had: descriptors, signals that are ignored."""
    files.close_range(3)
    for number in signal.valid_signals() - {signal.SIGPIPE, signal.SIGXFSZ}:
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def _preload() -> None:
    """Import what makes containers; what a machine has not the parts for is left to the command."""
    for name in _LOADED:
        for found in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    from knarr.oci import practice

    practice.practise()
    sys.argv[:] = sys.argv[:1]
