"""Help in the layout of Docker's command, made from the tables of flags."""

from __future__ import annotations

import shutil
import textwrap
from typing import Any

from knarr.cli.command import Command
from knarr.cli.flags import Flag

_NARROWEST = 60
_COMMON = ("run", "exec", "ps", "images", "load", "bootstrap", "version", "info")


def overview() -> str:
    """Return the help of ``knarr`` itself: all verbs with their summaries, and global flags."""
    from knarr.cli import globalflags, verbs

    def block(title: str, rows: list[tuple[str, str]]) -> str:
        return title + ":\n" + "\n".join(f"  {name:<11} {text}" for name, text in rows)

    commands = {name: verbs.load(name).summary for name in verbs.names()}
    common = [(name, commands[name]) for name in _COMMON]
    others = [(name, text) for name, text in commands.items() if name not in _COMMON]
    options = flag_lines(globalflags.GLOBAL.flags, shutil.get_terminal_size().columns)
    return "\n\n".join(
        (
            "Usage:  knarr [OPTIONS] COMMAND",
            "A container engine without a daemon",
            block("Common Commands", common),
            block("Management Commands", list(verbs.GROUP_SUMMARIES.items())),
            block("Commands", others),
            "Global Options:\n" + "\n".join(options),
            "Run 'knarr COMMAND --help' or 'knarr help COMMAND' for more about a command.\n",
        )
    )


def group_help(group: str) -> str:
    """Return the help of a group of verbs: each with its summary."""
    from knarr.cli import verbs

    members = verbs.GROUPS[group]
    width = max(len(word) for word in members)
    rows = [
        f"  {word:<{width}} {verbs.load(module).summary}"
        for word, module in sorted(members.items())
    ]
    return "\n".join(
        (
            f"Usage:  knarr {group} COMMAND\n",
            f"{verbs.GROUP_SUMMARIES[group]}\n",
            "Commands:",
            *rows,
            f"\nRun 'knarr {group} COMMAND --help' for more about a command.\n",
        )
    )


def usage(command: Command) -> str:
    """Return the ``Usage:`` line, with one more line for each further form."""
    return "Usage:  " + "\n\t".join(
        f"knarr {command.name} {form}".rstrip() for form in command.usage
    )


def command_help(command: Command, *, examples: bool = False) -> str:
    """Return the whole help of one verb.

    examples: with command lines, and for each flag its default and an example.
    """
    parts = [usage(command), command.summary]
    if command.details:
        parts.append(command.details.strip())
    if command.spellings:
        names = [f"knarr {name}" for name in (*command.spellings, command.name)]
        parts.append("Aliases:\n  " + ", ".join(names))
    if command.flags:
        lines = flag_lines(command.flags, shutil.get_terminal_size().columns, examples=examples)
        parts.append("Options:\n" + "\n".join(lines))
    if examples and command.examples:
        lines = [f"  {what}:\n      {line}" for line, what in command.examples]
        parts.append("Examples:\n" + "\n".join(lines))
    return "\n\n".join(parts) + "\n"


def flag_lines(flags: tuple[Flag, ...], columns: int, *, examples: bool = False) -> list[str]:
    """Return the lines of the ``Options:`` block, sorted by long name and wrapped."""
    ordered = sorted(flags, key=lambda flag: flag.name)
    heads = [_head(flag) for flag in ordered]
    width = max(len(head) for head in heads) + 3
    room = max(columns, _NARROWEST) - width - 1
    lines = []
    for flag, head in zip(ordered, heads, strict=True):
        text = describe(flag)
        if examples:
            if "(default" not in text:
                text += f"\nDefault: {unsaid_default(flag)}"
            text += f"\nExample: {flag.example}" if flag.example else ""
        wrapped = [part for line in text.split("\n") for part in textwrap.wrap(line, room)]
        lines.append(head.ljust(width) + wrapped[0])
        lines.extend(" " * width + line for line in wrapped[1:])
    return lines


def _head(flag: Flag) -> str:
    short = f"  -{flag.short}, " if flag.short else "      "
    word = flag.metavar or flag.kind.metavar
    return f"{short}--{flag.name}" + (f" {word}" if word else "")


def describe(flag: Flag) -> str:
    """Return the flag's help with its default, when it has one worth telling."""
    shown = default_text(flag)
    return f"{flag.help} (default {shown})" if shown else flag.help


def unsaid_default(flag: Flag) -> str:
    """Return what holds when a flag is not given and its help does not say so."""
    if flag.kind.switch:
        return "false"
    return "not set"


def default_text(flag: Flag) -> str:
    """Return the default as the help shows it, "" for nothing."""
    value: Any = flag.default
    if value is None or value is False or value == ():
        return ""
    if value is True:
        return "true"
    return f'"{value}"' if isinstance(value, str) else str(value)
