"""``knarr recover``: put right what dead processes and reboots left behind."""

from __future__ import annotations

import sys

from knarr.cli.command import Command
from knarr.cli.context import Context
from knarr.cli.flags import Args


def run(context: Context, _args: Args) -> int:
    """Print what was done; 1 when something could not be put right."""
    report = context.engine.recover()
    problems = set(report.problems)
    for line in report.lines():
        print(line, file=sys.stderr if line in problems else sys.stdout)
    return 1 if problems else 0


COMMAND = Command(
    name="recover",
    summary="Put right what dead processes and reboots left behind",
    usage=("",),
    run=run,
    examples=(
        (
            "knarr recover",
            "Put right what a crash or a reboot left, and start what is to be started",
        ),
    ),
    details="""\
Running containers whose supervisor was killed get a new one, containers that
ended unseen are marked so, half-made and half-removed ones go, and mounts,
cgroups and files that belong to nobody are cleaned up. It may be run at any
time and any number of times; the systemd unit knarr-recover runs it at boot.""",
)
