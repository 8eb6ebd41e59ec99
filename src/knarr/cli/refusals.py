"""What Docker's command refuses of ``run`` and ``create`` by itself, before it asks its daemon.

Our engine would refuse it as well. But then ``create`` would end with 1, as for all that an engine
refuses, and not with 125, as for a flag that is wrong.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from knarr.cli.exitcodes import BadFlag

if TYPE_CHECKING:
    from collections.abc import Iterable

    from knarr.cli.flags import Args

_PULLS = ("always", "missing", "never", "lazy")
# Docker's, and what is ours: "private" insists on a user namespace.
_USER_MODES = ("", "host", "private", "auto")
_ALONE = frozenset({"no-new-privileges", "writable-cgroups", "disable"})  # need no value
_BUILT_IN = ("unconfined", "builtin")


def check(args: Args) -> None:
    """Raise BadFlag in Docker's words for what it would refuse so, in its order."""
    pull = args.text("pull")
    if pull and pull not in _PULLS:
        raise BadFlag(
            f'invalid pull option: \'{pull}\': must be one of "always", "missing" or "never"'
        )
    userns = args.text("userns") or ""
    if userns not in _USER_MODES and not userns.startswith("container:"):
        raise BadFlag("--userns: invalid USER mode")
    if args.text("log-driver") == "none" and args.many("log-opt"):
        raise BadFlag("invalid logging opts for driver none")
    _security(args.many("security-opt"))
    restart = (args.text("restart") or "no").partition(":")[0]
    if args.on("rm") and restart != "no":
        raise BadFlag("conflicting options: cannot specify both --restart and --rm")


def _security(texts: Iterable[str]) -> None:
    for text in texts:
        mark = "=" if "=" in text else ":"
        key, _, value = text.partition(mark)
        if not value and key not in _ALONE:
            raise BadFlag(f'Invalid --security-opt: "{text}"')
        if key == "seccomp" and value not in _BUILT_IN and not value.startswith("{"):
            _profile(value)


def _profile(path: str) -> None:
    """Refuse what is no JSON; what it says is for the engine to judge."""
    from knarr.engine.speccontext import PROFILE_LIMIT

    try:
        with open(path, "rb") as file:
            text = file.read(PROFILE_LIMIT + 1)
        if len(text) <= PROFILE_LIMIT:  # else the engine says how long it may be
            json.loads(text)
    except OSError as error:
        raise BadFlag(f"opening seccomp profile ({path}) failed: {error.strerror}") from None
    except ValueError as error:
        raise BadFlag(f"compacting json for seccomp profile ({path}) failed: {error}") from None
