"""The command line of ``knarr-oci``: what is said before the command, and how failures end."""

import os
import sys

from knarr.errors import KnarrError
from knarr.oci import interrupts, protection, rootless
from knarr.oci.errors import NotHereError, UsageError
from knarr.oci.interrupts import Interrupted
from knarr.oci.log import Journal
from knarr.oci.options import Words, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import NoReturn

    from knarr.runtime.deputy import Deputy

_FLAGS = {
    "root": True, "log": True, "log-format": True, "debug": False, "systemd-cgroup": False,
    "cgroup-manager": True, "rootless": True, "version": False, "help": False,
}  # fmt: skip
# By the names that crun has for them.
_MANAGERS = {"cgroupfs": "cgroupfs", "systemd": "systemd", "disabled": "none"}
_SHORT = {"v": "version", "h": "help"}
_FAILED = {"exec": 255}  # as with runc: others are the program's own


def main(words: "Sequence[str]") -> "NoReturn":
    """Carry a command line out, and end with its status.

    Without what an interpreter does at its end: it would free the memory in which a container's
    process that waits to be started has its program.
    """
    status = 1
    try:
        status = ended(words)
    finally:
        os._exit(status)


def ended(words: "Sequence[str]", deputy: "Deputy | None" = None) -> int:
    """Carry a command line out, say what there is to say, and return its status.

    deputy: of the caller in whose place this process does it; raises NotHereError, if so.
    """
    status = 0
    try:
        status = carry_out(words, deputy)
        interrupts.hold()
        for stream in (sys.stdout, sys.stderr):
            if stream is not None:
                stream.flush()
    except OSError as error:
        os.write(2, f"knarr-oci: standard output: {error.strerror}\n".encode())
        status = status or 1
    except Interrupted as error:
        status = status or 128 + int(error.args[0])
    except NotHereError:
        raise
    except BaseException:
        status = 1
        sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
    return status


def parsed(words: "Sequence[str]") -> Words:
    """Return what is said before the command; raises UsageError."""
    return parse(words, _FLAGS, _SHORT, first=True)


def carry_out(words: "Sequence[str]", deputy: "Deputy | None" = None) -> int:
    """Carry a command line out; returns the exit status. deputy: see ``ended``."""
    journal = Journal()
    failed = 1
    try:
        interrupts.begin()
        before = parsed(words)
        journal = Journal(
            before.text("log"),
            before.choice("log-format", "text", "json"),
            debug=before.has("debug"),
        )
        failed = _FAILED.get(before.words[0], 1) if before.words else 1
        return _execute(before, journal, deputy)
    except Interrupted as error:
        import signal

        journal.error(f"interrupted by {signal.Signals(error.args[0]).name}")
        return 128 + int(error.args[0])
    except (KnarrError, ValueError, ArithmeticError, OSError, RecursionError) as error:
        journal.error(_said(error))
        return failed
    except Exception as error:
        from knarr.runtime.errors import RuntimeFailure

        if not isinstance(error, RuntimeFailure):
            raise
        journal.error(error.message)
        return failed


def _said(error: BaseException) -> str:
    if isinstance(error, OSError):
        where = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{where}"
    return str(error)


def _execute(before: Words, journal: Journal, deputy: "Deputy | None") -> int:
    if before.has("version"):
        from knarr.oci.show import version

        sys.stdout.write(version())
        return 0
    if before.has("help") or not before.words:
        return _help()
    lenient = rootless.is_lenient(before.choice("rootless", *rootless.CHOICES))
    name, *left = before.words
    protection.begin()
    if name in protection.ENTERING and not protection.is_put_off((name,)):
        protection.be_read_only()
    # Not before: what is loaded here would be loaded twice.
    from knarr.oci import commands, state

    root = os.path.abspath(before.text("root") or rootless.default_root(os.environ))
    state.check_root(root)
    said = commands.Global(root, _manager(before), journal, _serve, deputy)
    said.lenient = lenient
    return commands.execute(said, name, left)


def _serve(idle: float) -> None:
    from knarr.oci import server

    server.serve(idle, parsed, ended)


def _manager(before: Words) -> str:
    """Return who makes control groups; raises UsageError for two of them."""
    name = before.choice("cgroup-manager", *_MANAGERS)
    if before.has("systemd-cgroup"):
        if before.text("cgroup-manager", "systemd") != "systemd":
            raise UsageError(f"--systemd-cgroup: not together with --cgroup-manager {name}")
        name = "systemd"
    if name == "systemd" and rootless.has_systemd():
        return "systemd-user"
    return _MANAGERS[name]


def _help() -> int:
    from knarr.oci import commands

    sys.stdout.write("Usage: knarr-oci [FLAGS] COMMAND [FLAGS] [WORDS]\n\nCommands:\n")
    for name, (_, _, _, follows, text) in commands.COMMANDS.items():
        sys.stdout.write(f"  {f'{name} {follows}'.strip():<24} {text}\n")
    sys.stdout.write("\nFlags:\n")
    for flag, valued in _FLAGS.items():
        sys.stdout.write(f"  --{flag}{' VALUE' if valued else ''}\n")
    return 0
