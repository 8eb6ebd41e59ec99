"""``knarr version``: what runs here; nothing is opened for it."""

from __future__ import annotations

import os
import platform
import sys

from knarr._version import __version__
from knarr.cli import listing
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args


def facts() -> dict[str, str]:
    """Return the version of knarr, of Python and of the kernel."""
    system = os.uname()
    return {
        "Version": __version__,
        "PythonVersion": platform.python_version(),
        "PythonPath": sys.executable,
        "Os": "linux",
        "Arch": system.machine,
        "KernelVersion": system.release,
    }


_LINES = (
    ("Version", " Version"),
    ("PythonVersion", " Python version"),
    ("PythonPath", " Python"),
    ("KernelVersion", " Kernel version"),
    ("OsArch", " OS/Arch"),
)


def run(_context: Context, args: Args) -> int:
    """Print the versions."""
    found = facts()
    template = args.text("format")
    if template:
        print(listing.show_one({"Client": found, "Server": found, **found}, template), end="")
        return 0
    print("Engine: knarr")
    target = f"{found['Os']}/{found['Arch']}"
    print(listing.facts({**found, "OsArch": target}, _LINES, width=18), end="")
    return 0


COMMAND = Command(
    name="version",
    summary="Show the versions of knarr, Python and the kernel",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr version", "Show versions"),
        ("knarr version -f '{{.Client.Version}}'", "Show one of them"),
    ),
    flags=(listing.format_of_one("--format '{{.Version}}'"),),
)
