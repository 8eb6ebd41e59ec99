"""``knarr info``: the state of the engine and what this machine can do."""

from __future__ import annotations

import sys
from typing import Any

from knarr.cli import listing
from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args

# (field, words) in the order of Docker's output; fields that are missing are left out.
_LINES = (
    ("Containers", "Containers"),
    ("ContainersRunning", " Running"),
    ("ContainersPaused", " Paused"),
    ("ContainersStopped", " Stopped"),
    ("Images", "Images"),
    ("ServerVersion", "Server Version"),
    ("Driver", "Storage Driver"),
    ("DriverNote", " Layers Unpacked"),
    ("LoggingDriver", "Logging Driver"),
    ("CgroupDriver", "Cgroup Driver"),
    ("CgroupVersion", "Cgroup Version"),
    ("RuntimeNames", "Runtimes"),
    ("DefaultRuntime", "Default Runtime"),
    ("KernelVersion", "Kernel Version"),
    ("OperatingSystem", "Operating System"),
    ("OSType", "OSType"),
    ("Architecture", "Architecture"),
    ("NCPU", "CPUs"),
    ("MemTotal", "Total Memory"),
    ("Name", "Name"),
    ("DockerRootDir", "Root Dir"),
    ("RunRoot", "Run Root"),
)


def run(context: Context, args: Args) -> int:
    """Print the facts, and warnings on stderr."""
    found = context.engine.info()
    template = args.text("format")
    if template:
        print(listing.show_one(found, template), end="")
        return 0
    memory = f"{found['MemTotal'] / 2**30:.4g}GiB"
    shown = {**found, "MemTotal": memory, "RuntimeNames": " ".join(found.get("Runtimes") or ())}
    for _, note in found.get("DriverStatus") or ():
        shown["DriverNote"] = note
    print(listing.facts(shown, _LINES), end="")
    _print_list("Security Options", found.get("SecurityOptions"))
    _print_list("Policy", found.get("PolicyFiles"))
    sys.stdout.flush()
    for warning in found.get("Warnings") or ():
        print(f"WARNING: {warning}", file=sys.stderr)
    return 0


def _print_list(title: str, values: Any) -> None:
    if values:
        print(f"{title}:")
        for value in values:
            print(f"  {str(value).removeprefix('name=')}")


COMMAND = Command(
    name="info",
    summary="Show the state of the engine and what this machine can do",
    usage=("[OPTIONS]",),
    run=run,
    examples=(
        ("knarr info", "Show the engine, the machine, and what it cannot do"),
        ("knarr info -f '{{.CgroupVersion}}'", "Show one thing of it"),
    ),
    flags=(listing.format_of_one("--format '{{.CgroupVersion}}'"),),
    spellings=("system info",),
)
