"""docs/cli is what the tables of flags say."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.cli import docs, verbs
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
def test_examples_parse(module: str) -> None:
    import shlex

    command = verbs.load(module)
    for flag in command.flags:
        args = command.table.parse(shlex.split(flag.example))
        assert flag.name in args.given, f"{module}: {flag.example}"
