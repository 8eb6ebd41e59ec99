"""From words to a command (``ps``, ``container ls``); only that command's module is loaded."""

from __future__ import annotations

import importlib
import os
import pkgutil
from functools import lru_cache

from knarr.cli import commands
from knarr.cli.command import Command
from knarr.cli.flags import HelpAsked, UsageError, nearest

# ``knarr GROUP WORD`` -> module in commands/. A word that is not listed is its own verb.
_CONTAINER_VERBS = (
    "attach", "commit", "cp", "create", "diff", "exec", "explain", "export", "inspect", "kill",
    "logs", "pause", "port", "prune", "rename", "restart", "rm", "run", "start", "stats", "stop",
    "top", "unpause", "update", "wait",
)  # fmt: skip
_IMAGE_VERBS = ("bootstrap", "history", "import", "load", "pull", "push", "save", "tag")
GROUPS: dict[str, dict[str, str]] = {
    "container": {
        **{verb: verb for verb in _CONTAINER_VERBS},
        **dict.fromkeys(("ls", "list", "ps"), "ps"),
        "remove": "rm",
        "clone": "container_clone",
        "inspect": "container_inspect",
        "prune": "container_prune",
    },
    "image": {
        **{verb: verb for verb in _IMAGE_VERBS},
        **dict.fromkeys(("ls", "list"), "images"),
        **dict.fromkeys(("rm", "remove"), "rmi"),
        "diff": "image_diff",
        "inspect": "image_inspect",
        "prune": "image_prune",
        "verify": "image_verify",
    },
    "registry": {
        "gc": "registry_gc",
        "serve": "registry_serve",
    },
    "manifest": {
        verb: f"manifest_{verb}" for verb in ("annotate", "create", "inspect", "push", "rm")
    },
    "network": {
        **{
            verb: f"network_{verb}"
            for verb in ("connect", "create", "disconnect", "inspect", "ls", "prune", "rm")
        },
        "list": "network_ls",
        "remove": "network_rm",
    },
    "system": {
        "df": "system_df",
        "events": "events",
        "info": "info",
        "prune": "system_prune",
    },
}
GROUP_SUMMARIES = {
    "container": "Manage containers",
    "image": "Manage images",
    "manifest": "Manage Docker image manifests and manifest lists",
    "network": "Manage networks",
    "registry": "Serve images to others",
    "system": "Manage knarr",
}
# Docker's verbs that knarr does not have yet, and what serves instead.
LATER = {
    "build": "building images is not available yet; make one elsewhere and use 'knarr load'",
    "compose": "Compose projects are not available yet",
    "swarm": "knarr runs containers on one machine only",
    "volume": "named volumes are not available yet; use -v HOST:CONTAINER",
}


def names() -> list[str]:
    """Return the verbs that exist, sorted: the modules of ``commands/`` without group members."""
    folder = os.path.dirname(commands.__file__ or "")
    try:
        changed = os.stat(folder).st_mtime_ns
    except OSError:
        changed = 0  # within an archive
    return list(_names(changed))


@lru_cache(maxsize=1)
def _names(_changed: int) -> tuple[str, ...]:
    """Return ``names()`` as of the time that the folder last changed."""
    found = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    return tuple(sorted(name for name in found if "_" not in name))


def modules() -> list[str]:
    """Return the modules of ``commands/``, sorted: one for each command, members of groups too."""
    return sorted(module.name for module in pkgutil.iter_modules(commands.__path__))


def load(module: str) -> Command:
    """Return the command in ``commands/<module>.py``. Raises ModuleNotFoundError."""
    command: Command = importlib.import_module(f"{commands.__name__}.{module}").COMMAND
    return command


def find(words: list[str]) -> tuple[Command, list[str]]:
    """Return the command that ``words`` begin with, and the words after it.

    Raises UsageError that names the nearest verb when there is none, HelpAsked for a group.
    """
    verb, rest = words[0], words[1:]
    if verb == "__complete":  # by shells; what completes knows all verbs, and so us
        command: Command = importlib.import_module("knarr.cli.completing").COMMAND
        return command, rest
    if verb in GROUPS:
        return _find_in_group(verb, rest)
    if not verb.isascii() or not verb.isalpha() or verb not in names():
        raise _unknown(verb, [*names(), *GROUPS])
    return load(verb), rest


def _find_in_group(group: str, words: list[str]) -> tuple[Command, list[str]]:
    members = GROUPS[group]
    if not words:
        raise UsageError(f"knarr: 'knarr {group}' requires a command", exit_code=1, group=group)
    if words[0] in ("--help", "-h"):
        raise HelpAsked(group)
    if words[0] not in members:
        near = nearest(words[0], list(members))
        raise UsageError(
            f"knarr: unknown command: knarr {group} {words[0]}",
            exit_code=1,
            near=f"knarr {group} {near}" if near else "",
            group=group,
        )
    return load(members[words[0]]), words[1:]


def _unknown(verb: str, known: list[str]) -> UsageError:
    if verb in LATER:
        return UsageError(f"knarr: 'knarr {verb}': {LATER[verb]}", exit_code=1)
    near = nearest(verb, known)
    return UsageError(
        f"knarr: unknown command: knarr {verb}", exit_code=1, near=f"knarr {near}" if near else ""
    )
