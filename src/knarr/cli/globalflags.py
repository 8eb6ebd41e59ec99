"""The flags before the verb."""

from __future__ import annotations

from knarr.cli.flags import SWITCH, TEXT, Flag, Table

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
