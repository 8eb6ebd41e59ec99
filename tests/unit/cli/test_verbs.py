"""Both ways to name a command of a container, as Docker has them."""

from __future__ import annotations

import pytest

from knarr.cli import verbs
from knarr.cli.flags import UsageError

# `docker container …` of Docker 28, but for stats, which knarr does not have yet.
BOTH = (
    "attach", "commit", "cp", "create", "diff", "exec", "export", "kill", "logs", "pause", "port",
    "rename", "restart", "rm", "run", "start", "stop", "top", "unpause", "update", "wait",
)  # fmt: skip


@pytest.mark.parametrize("verb", BOTH)
def test_a_verb_is_the_same_with_and_without_its_group(verb: str) -> None:
    alone, rest = verbs.find([verb, "--x"])
    assert rest == ["--x"]
    assert verbs.find(["container", verb, "--x"]) == (alone, ["--x"])
    assert f"container {verb}" in alone.spellings


@pytest.mark.parametrize("word", ["ls", "list", "ps"])
def test_the_list_has_three_names(word: str) -> None:
    assert verbs.find(["container", word])[0] is verbs.find(["ps"])[0]
    assert f"container {word}" in verbs.find(["ps"])[0].spellings


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ("container remove", "rm"),
        ("container inspect", "container inspect"),
        ("container prune", "container prune"),
        ("container clone", "container clone"),
    ],
)
def test_what_is_only_in_the_group(words: str, name: str) -> None:
    assert verbs.find(words.split())[0].name == name


def test_all_spellings_lead_to_their_command() -> None:
    for verb in verbs.names():
        command = verbs.load(verb)
        for spelling in command.spellings:
            assert verbs.find(spelling.split())[0] is command


def test_what_is_not_there_is_not_called_later_too() -> None:
    assert not set(verbs.LATER) & set(verbs.names())
    with pytest.raises(UsageError) as caught:
        verbs.find(["container", "renam"])
    assert caught.value.near == "knarr container rename"
