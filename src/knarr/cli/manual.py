"""Manual pages in the language of man(7), made from the tables of flags.

``python -m knarr.cli.manual DIRECTORY`` writes ``knarr.1`` and a page for each command.
"""

from __future__ import annotations

import os
import sys

from knarr._version import __version__
from knarr.cli import globalflags, helptext, verbs
from knarr.cli.command import Command
from knarr.cli.flags import Flag

_SETTINGS = (
    ("KNARR_ROOT", "Where images and containers are kept; /var/lib/knarr"),
    ("KNARR_RUN_ROOT", "Where the state of running containers is kept; /run/knarr"),
    ("KNARR_USERNS", '"host" turns the user namespace off for all containers'),
    ("KNARR_CGROUP_MANAGER", "auto, cgroupfs, systemd or none"),
    ("KNARR_CGROUP_PARENT", "Control group below which containers are put; /knarr"),
    ("KNARR_STORAGE_DRIVER", "auto, erofs (layers stay packed) or overlay (they are unpacked)"),
    ("KNARR_KEEP_COMPRESSED", "true keeps compressed layers beside the tars that erofs keeps"),
    ("KNARR_POLICY", "A policy file that holds beside /etc/knarr/policy.toml"),
    ("KNARR_SERVER", '"off" has commands run in their own process'),
    ("KNARR_DEBUG", "Anything has unexpected errors show where they happened"),
)
_FILES = (
    ("/var/lib/knarr", "Images, containers and the database"),
    ("/run/knarr", "What is true until the next boot"),
    ("/etc/knarr/policy.toml", "What an administrator demands of all containers"),
)
_CODES = (
    ("0", "It was done."),
    ("1", "It was not done."),
    ("125", "A flag is wrong, a policy refused, or 'run' could not start the container."),
    ("126", "The command of 'run' or 'exec' cannot be executed."),
    ("127", "The command of 'run' or 'exec' was not found."),
    ("128+n", "Signal n ended it."),
)


def pages() -> dict[str, str]:
    """Return file name -> text of every page."""
    found = {"knarr.1": page(None)}
    for module in verbs.modules():
        command = verbs.load(module)
        found[f"{_title(command)}.1"] = page(command)
    return found


def page(command: Command | None) -> str:
    """Return the page of one command, or of ``knarr`` itself."""
    lines = _whole() if command is None else _of(command)
    return "\n".join(lines) + "\n"


def _title(command: Command) -> str:
    return "knarr-" + command.name.replace(" ", "-")


def _head(title: str, summary: str) -> list[str]:
    return [
        '.\\" Made from the tables of flags in knarr/cli.',
        f'.TH {title.upper()} 1 "" "knarr {__version__}" "knarr"',
        ".SH NAME",
        f"{_text(title)} \\- {_text(summary[0].lower() + summary[1:])}",
    ]


def _of(command: Command) -> list[str]:
    lines = _head(_title(command), command.summary)
    lines.append(".SH SYNOPSIS")
    for number, form in enumerate(command.usage):
        lines += [".br"] if number else []
        lines.append(f"\\fBknarr {_text(command.name)}\\fR {_text(form)}".rstrip())
    lines += [".SH DESCRIPTION", _text(command.summary) + "."]
    for paragraph in filter(None, command.details.strip().split("\n\n")):
        lines += [".PP", *map(_text, paragraph.splitlines())]
    if command.spellings:
        names = ", ".join(f"\\fBknarr {_text(name)}\\fR" for name in command.spellings)
        lines += [".PP", f"Also: {names}."]
    if command.flags:
        lines += [".SH OPTIONS", *_flags(command.flags)]
    if command.missing:
        lines += [".SH OPTIONS OF DOCKER THAT ARE NOT HERE"]
        for name, instead in sorted(command.missing.items()):
            dashes = "-" if len(name) == 1 else "--"
            lines += [".TP", f"\\fB{_text(dashes + name)}\\fR", _text(instead)]
    if command.examples:
        lines += [".SH EXAMPLES", *_examples(command.examples)]
    others = sorted({"knarr", *_neighbours(command)} - {_title(command)})
    return [*lines, ".SH SEE ALSO", ", ".join(f"\\fB{_text(name)}\\fR(1)" for name in others)]


def _whole() -> list[str]:
    lines = _head("knarr", "A container engine without a daemon")
    lines += [
        ".SH SYNOPSIS",
        "\\fBknarr\\fR [OPTIONS] COMMAND",
        ".SH DESCRIPTION",
        "knarr makes images and runs containers, with the words, defaults and exit codes of",
        "Docker, and without a daemon.",
        "Each command has a page of its own,",
        "\\fBknarr\\-COMMAND\\fR(1), and \\fBknarr help COMMAND\\fR explains it as well.",
        ".SH OPTIONS",
        *_flags(globalflags.GLOBAL.flags),
        ".SH COMMANDS",
    ]
    for module in verbs.modules():
        command = verbs.load(module)
        lines += [".TP", f"\\fB{_text(_title(command))}\\fR(1)", _text(command.summary)]
    for title, rows in (
        ("ENVIRONMENT", _SETTINGS), ("FILES", _FILES), ("EXIT STATUS", _CODES),
    ):  # fmt: skip
        lines.append(f".SH {title}")
        for name, words in rows:
            lines += [".TP", f"\\fB{_text(name)}\\fR", _text(words)]
    return lines


def _flags(flags: tuple[Flag, ...]) -> list[str]:
    lines = []
    for flag in sorted(flags, key=lambda each: each.name):
        word = flag.metavar or flag.kind.metavar
        head = ", ".join(f"\\fB{_text(part)}\\fR" for part in flag.label.split(", "))
        lines += [".TP", head + (f" \\fI{_text(word)}\\fR" if word else "")]
        text = helptext.describe(flag)
        lines.append(_text(text) + ".")
        if "(default" not in text:
            lines.append(f"Default: {helptext.unsaid_default(flag)}.")
        if flag.example:
            lines.append(f"Example: \\fB{_text(flag.example)}\\fR")
    return lines


def _examples(examples: tuple[tuple[str, str], ...]) -> list[str]:
    lines: list[str] = []
    for line, what in examples:
        lines += [".PP"] if lines else []
        lines += [f"{_text(what)}:", ".PP", ".RS 4", ".nf", _text(line), ".fi", ".RE"]
    return lines


def _neighbours(command: Command) -> list[str]:
    """Return the pages of the other commands of the same group."""
    group = command.name.partition(" ")[0]
    if group not in verbs.GROUPS:
        return []
    return [_title(verbs.load(module)) for module in verbs.GROUPS[group].values()]


def _text(words: str) -> str:
    """Return words as troff takes them: no dash is a hyphen, no line a request."""
    found = words.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{found}" if found[:1] in (".", "'") else found


def write(directory: str) -> None:
    """Write all pages into ``directory``."""
    put(directory, pages())


def put(directory: str, made: dict[str, str]) -> None:
    """Write pages, by their names, into a directory that is made if need be. Raises OSError."""
    os.makedirs(directory, exist_ok=True)
    for name, text in made.items():
        with open(os.path.join(directory, name), "w", encoding="utf-8") as file:
            file.write(text)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m knarr.cli.manual DIRECTORY")
    write(sys.argv[1])
