"""What ``stop`` and ``restart`` can be told about the end of a container."""

from __future__ import annotations

from knarr.cli.flags import NUMBER, TEXT, Flag

FLAGS = (
    Flag("signal", TEXT, "Signal to send instead of the container's stop signal", short="s",
         example="-s SIGINT"),
    Flag("timeout", NUMBER, "Seconds to wait before killing; -1 waits for ever (default: the "
         "container's, else 10)", short="t", example="-t 30", aliases=("time",)),
)  # fmt: skip
