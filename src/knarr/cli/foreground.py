"""What ``run``, ``start -a``, ``attach`` and ``exec`` share: the checks before, the end after."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from knarr.cli import stream, terminal
from knarr.cli.exitcodes import CommandError
from knarr.cli.flags import Args

if TYPE_CHECKING:
    from knarr.cli.caller import Caller
    from knarr.cli.stream import Streams
    from knarr.engine.attach import Attachment
    from knarr.engine.container import Container


class NotATerminal(CommandError):
    """``-it`` needs a terminal to read from; Docker's command ends with 1 then, even for run."""


def check_terminal(streams: Streams) -> None:
    """Raise NotATerminal when a container's terminal would be fed from something that is none."""
    if streams.tty and streams.stdin and not terminal.is_terminal(0):
        raise NotATerminal("the input device is not a TTY")


def keys(args: Args) -> bytes | None:
    """Return the value of ``--detach-keys``, None for the usual ones."""
    value: bytes | None = args.values["detach-keys"]
    return value


def follow(container: Container, attachment: Attachment, streams: Streams, caller: Caller) -> int:
    """Stay with a container until it ends; return its exit code.

    What follows from its end (``--rm``) is done here. Raises stream.Detached,
    Interrupted and OSError as ``stream.relay`` does; the container lives on then.
    """
    with attachment:
        try:
            status = stream.relay(attachment, streams, caller)
        except stream.Detached:
            attachment.settle()  # what was typed before the keys still arrives
            raise
        if status is None:  # its supervisor died: recovery or the kernel says how it ended
            status = container.wait()
        sys.stdout.flush()
        container.finish(attachment)
    return status.exit_code


def explain(found: dict[str, Any]) -> None:
    """Print an explanation (``Container.explain``) where the command's own output does not go."""
    from knarr.cli import explaining

    with contextlib.suppress(OSError):  # nobody reads it: no reason not to go on
        print(explaining.text(found, colour=terminal.is_terminal(2)), file=sys.stderr, flush=True)
