"""``python -m knarr.cli.docs DIRECTORY``: the pages of docs/cli, made from the tables of flags."""

from __future__ import annotations

import os
import sys

from knarr.cli import dockerflags, globalflags, helptext, manual, verbs
from knarr.cli.command import Command
from knarr.cli.flags import Flag

_MADE = (
    "<!-- Made by `python -m knarr.cli.docs docs/cli`; change the tables in src/knarr/cli. -->\n"
)


def pages() -> dict[str, str]:
    """Return file name -> text of every page."""
    found = {name: verbs.load(name) for name in verbs.modules()}
    made = {f"{name.replace('_', '-')}.md": page(command) for name, command in found.items()}
    made["README.md"] = _index(found)
    made["docker.md"] = _beside_docker()
    return made


def page(command: Command) -> str:
    """Return the page of one verb."""
    usage = "\n".join(f"knarr {command.name} {form}".rstrip() for form in command.usage)
    parts = [
        f"{_MADE}\n# knarr {command.name}\n",
        f"{command.summary}.\n",
        f"```\n{usage}\n```\n",
    ]
    if command.details:
        parts.append(command.details.strip() + "\n")
    if command.spellings:
        parts.append("Also: " + ", ".join(f"`knarr {name}`" for name in command.spellings) + "\n")
    if command.examples:
        parts.append("## Examples\n")
        parts += [f"{what}:\n\n    {line}\n" for line, what in command.examples]
    if command.flags:
        parts.append("## Options\n")
        parts.append(_flag_table(command.flags))
    if command.missing:
        parts.append("## Docker's options that are not here\n")
        parts.append(_missing_table(command.missing))
    return "\n".join(parts)


def _flag_table(flags: tuple[Flag, ...]) -> str:
    rows = ["| option | takes | default | what it does | example |", "|---|---|---|---|---|"]
    for flag in sorted(flags, key=lambda each: each.name):
        name = f"`-{flag.short}`, `--{flag.name}`" if flag.short else f"`--{flag.name}`"
        default = helptext.default_text(flag)
        cells = (
            name,
            flag.metavar or flag.kind.metavar,
            f"`{default}`" if default else "",
            _cell(flag.help),
            f"`{_cell(flag.example)}`" if flag.example else "",
        )
        rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


def _missing_table(missing: dict[str, str]) -> str:
    rows = ["| option | instead |", "|---|---|"]
    for name in sorted(missing):
        dashes = "-" if len(name) == 1 else "--"
        rows.append(f"| `{dashes}{name}` | {_cell(missing[name])} |")
    return "\n".join(rows) + "\n"


def _beside_docker() -> str:
    """Return the page with each of Docker's flags: present, or why not."""
    rows, absent, more = [], [], []
    for name, command in dockerflags.commands().items():
        if command is None:
            absent.append(f"| `{name}` | {_cell(verbs.LATER.get(name, 'not available yet'))} |")
            continue
        for each in dockerflags.compared(command):
            here = "yes" if each.present else "no"
            rows.append(f"| `{name}` | `{each.flag}` | {here} | {_cell(each.instead)} |")
        if ours := dockerflags.only_ours(command):
            more.append(f"| `{name}` | {', '.join(f'`{flag}`' for flag in ours)} |")
    return "\n".join(
        (
            f"{_MADE}\n# The flags of docker {dockerflags.RELEASE}\n",
            "Each flag of each verb: whether `knarr` has it, else what to do instead. A flag",
            "that is not here is an error with the same words, never ignored.\n",
            "| verb | flag | here | instead |",
            "|---|---|---|---|",
            *rows,
            *(["\n## Verbs that are not here\n", "| verb | instead |", "|---|---|", *absent]
              if absent else []),
            "\n## Flags that only knarr has\n",
            "| verb | flags |",
            "|---|---|",
            *more,
            "",
        )
    )  # fmt: skip


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _index(found: dict[str, Command]) -> str:
    rows = ["| command | what it does |", "|---|---|"]
    for name, command in found.items():
        link = f"[`knarr {command.name}`]({name.replace('_', '-')}.md)"
        rows.append(f"| {link} | {_cell(command.summary)} |")
    later = ["| command | instead |", "|---|---|"]
    later += [f"| `knarr {name}` | {_cell(text)} |" for name, text in sorted(verbs.LATER.items())]
    return "\n".join(
        (
            f"{_MADE}\n# The command line\n",
            *rows,
            "\n## Options before the command\n",
            _flag_table(globalflags.GLOBAL.flags),
            f"[The flags of docker {dockerflags.RELEASE}](docker.md): here, or why not.\n",
            "Settings that are variables of the environment are described with `knarr.config`.\n",
            "## Docker's commands that are not here\n",
            *later,
            "",
        )
    )


def write(directory: str) -> None:
    """Write all pages into ``directory`` and remove pages of commands that are gone."""
    made = pages()
    manual.put(directory, made)
    for name in set(os.listdir(directory)) - set(made):
        if name.endswith(".md"):
            os.unlink(os.path.join(directory, name))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m knarr.cli.docs DIRECTORY")
    write(sys.argv[1])
