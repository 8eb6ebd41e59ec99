"""Which names containers may have, and the ones they get."""

from __future__ import annotations

import pytest

from knarr import errors
from knarr.engine import names


@pytest.mark.parametrize("name", ["web", "a1", "web-1", "web_1.2", "/web", "0x"])
def test_accepts_what_docker_accepts(name: str) -> None:
    assert names.check(name) == name.removeprefix("/")


@pytest.mark.parametrize(
    "name", ["", "a", "-web", ".web", "we b", "web/x", "wéb", "web\n", "//web"]
)
def test_refuses_with_dockers_words(name: str) -> None:
    with pytest.raises(errors.InvalidArgument) as caught:
        names.check(name)
    assert str(caught.value) == (
        f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed"
    )


def test_conflict_names_both_sides() -> None:
    assert str(names.conflict("web", "abc")) == (
        'Conflict. The container name "/web" is already in use by container "abc". '
        "You have to remove (or rename) that container to be able to reuse that name."
    )


def test_generated_names_are_valid_and_differ() -> None:
    made = [names.generate(attempt) for attempt in range(8) for _ in range(50)]
    assert all(names.check(name) == name for name in made)
    assert len(set(made)) > 300


def test_words_are_not_repeated() -> None:
    for words in (names.ADJECTIVES, names.SURNAMES):
        assert len(words) == len(set(words))
        assert all(word.isascii() and word.isalpha() and word.islower() for word in words)
