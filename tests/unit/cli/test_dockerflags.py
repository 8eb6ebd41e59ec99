"""Docker's flags beside ours: every one is there, or answered with what to do instead."""

from __future__ import annotations

import pytest

from knarr.cli import dockerflags, docs, verbs
from knarr.cli.command import Command
from knarr.cli.flags import UsageError

HERE = {name: command for name, command in dockerflags.commands().items() if command is not None}


@pytest.mark.parametrize("command", HERE.values(), ids=list(HERE))
def test_every_flag_is_here_or_has_an_answer(command: Command) -> None:
    silent = [each.flag for each in dockerflags.compared(command)
              if not each.present and not each.instead]  # fmt: skip
    assert not silent, f"{command.name}: say in `missing` what to do instead"


@pytest.mark.parametrize("command", HERE.values(), ids=list(HERE))
def test_the_answer_is_what_the_command_line_says(command: Command) -> None:
    for each in dockerflags.compared(command):
        if each.present:
            continue
        for word in each.flag.split(", "):
            with pytest.raises(UsageError) as caught:
                command.parse([word, "x", "y"])
            assert each.instead in str(caught.value), word
            assert caught.value.exit_code == 125


def test_verbs_that_are_not_here_have_an_answer() -> None:
    absent = {name for name, command in dockerflags.commands().items() if command is None}
    assert absent <= set(verbs.LATER)


def test_the_page_has_a_row_for_each() -> None:
    page = docs.pages()["docker.md"]
    rows = [line for line in page.splitlines() if line.startswith("| `run` | `--")]
    assert len([row for row in rows if "| yes |" in row or "| no |" in row]) > 90
    assert "| `run` | `--add-host` | yes |  |" in rows
    assert any("`--link` | no | gone from Docker" in row for row in rows)
