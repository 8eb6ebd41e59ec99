"""docs/cli is what the tables of flags say."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from knarr.cli import container_config, docs, filterargs, listing, verbs
from knarr.cli.command import Command

FOLDER = Path(__file__).resolve().parents[3] / "docs" / "cli"
MODULES = verbs.modules()


def test_pages_are_up_to_date() -> None:
    written = {path.name: path.read_text() for path in FOLDER.glob("*.md")}
    assert written == docs.pages(), "run: python -m knarr.cli.docs docs/cli"


def test_writing_removes_pages_of_commands_that_are_gone(tmp_path: Path) -> None:
    (tmp_path / "gone.md").write_text("old")
    docs.write(str(tmp_path))
    assert not (tmp_path / "gone.md").exists()
    assert (tmp_path / "run.md").read_text() == docs.pages()["run.md"]


@pytest.mark.parametrize("module", MODULES)
def test_every_command_is_whole(module: str) -> None:
    command: Command = verbs.load(module)
    assert command.name == module.replace("_", " ")
    assert command.summary[0].isupper()
    assert not command.summary.endswith(".")
    names = [flag.name for flag in command.flags]
    shorts = [flag.short for flag in command.flags if flag.short]
    assert len(set(names)) == len(names)
    assert len(set(shorts)) == len(shorts)
    assert not set(command.missing) & {*names, *shorts}
    for flag in command.flags:
        assert flag.example, f"{module} --{flag.name} has no example"
        words = flag.example.replace("=", " ").split()
        assert any(word.startswith("-") for word in words)


@pytest.mark.parametrize("module", MODULES)
def test_examples_of_the_command_are_right(module: str) -> None:
    command = verbs.load(module)
    assert command.examples, f"{module} has no example"
    for line, what in command.examples:
        assert what[0].isupper()
        assert not what.endswith(".")
        parts = [part.split(" > ")[0] for part in line.split(" | ") if "knarr " in part]
        found = [command_of(part[part.index("knarr ") :]) for part in parts]
        assert command in found, line


def command_of(line: str) -> Command:
    """Return the command that a line calls, having parsed all of it as that would."""
    _, *words = shlex.split(line)
    command, rest = verbs.find(words)
    args = command.parse(rest)
    if command.name in ("run", "create"):
        container_config.from_args(args, {})
    if "filter" in args.values:
        filterargs.by_name(args.many("filter"))
    if "format" in args.given and args.text("format") not in ("json", "table"):
        listing.show_one({}, "{{if 0}}" + str(args.text("format")) + "{{end}}")
    return command


@pytest.mark.parametrize("module", MODULES)
def test_examples_parse(module: str) -> None:
    command = verbs.load(module)
    for flag in command.flags:
        args = command.table.parse(shlex.split(flag.example))
        assert flag.name in args.given, f"{module}: {flag.example}"
