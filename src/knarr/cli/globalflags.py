"""The flags before the verb."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from knarr.cli.flags import SWITCH, TEXT, Args, Flag, Table
from knarr.config import DATA_ROOT, RUN_ROOT, Settings

if TYPE_CHECKING:
    from knarr.cli.context import Context

_NO_DAEMON = "knarr has no daemon to connect to; --root and --run-root choose an engine's files"
_NO_CONFIG = "knarr has no configuration directory"
GLOBAL = Table(
    (
        Flag("root", TEXT, "Where images and containers are kept", metavar="path",
             example="--root /srv/knarr"),
        Flag("run-root", TEXT, "Where the state of running containers is kept", metavar="path",
             example="--run-root /run/knarr-test"),
        Flag("debug", SWITCH, "Show a traceback with unexpected errors", short="D"),
        Flag("version", SWITCH, "Print the version and end", short="v"),
    ),
    missing={
        "host": _NO_DAEMON, "H": _NO_DAEMON, "context": _NO_DAEMON, "c": _NO_DAEMON,
        "tls": _NO_DAEMON, "tlsverify": _NO_DAEMON, "tlscacert": _NO_DAEMON,
        "tlscert": _NO_DAEMON, "tlskey": _NO_DAEMON, "config": _NO_CONFIG,
        "log-level": "use --debug", "l": "use --debug",
    },
)  # fmt: skip


def settings(options: Args) -> Settings:
    """Return the settings of the environment, under what flags say. Raises ValueError."""
    environ = dict(os.environ)
    for flag, name, default in (
        ("root", "KNARR_ROOT", DATA_ROOT),
        ("run-root", "KNARR_RUN_ROOT", RUN_ROOT),
    ):
        given = options.text(flag)
        if given is not None:
            environ[name] = given or default
    return Settings.from_environment(environ)


def with_options(context: Context, words: list[str]) -> Context:
    """Return the context that these flags before a verb make. Raises UsageError, ValueError."""
    if not words:
        return context
    chosen = settings(GLOBAL.parse(words))
    return type(context)(chosen, context.caller, debug=context.debug)
