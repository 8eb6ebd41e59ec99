"""Every field that the spec names and this runtime reads: a wrong value is told by its path."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from knarr.errors import InvalidArgument
from knarr.runtime.fields import SpecError
from tests.support import badconfigs
from tests.unit.oci.test_config_fuzz import carry_as_far_as_possible

FULL = badconfigs.private_users()
PLACES = badconfigs.places(FULL)


def spelled(path: badconfigs.Path) -> str:
    """Return a path as messages have it: linux.devices[0].major."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return text.removeprefix(".")


def said(path: badconfigs.Path, value: Any, folder: Path) -> str:
    config = copy.deepcopy(FULL)
    badconfigs.at(config, path[:-1])[path[-1]] = value
    file = folder / "config.json"
    file.write_text(json.dumps(config))
    with pytest.raises((SpecError, InvalidArgument)) as caught:
        carry_as_far_as_possible(file)
    return str(caught.value)


def test_the_whole_is_correct(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps(FULL))
    carry_as_far_as_possible(file)


@pytest.mark.parametrize("path", PLACES, ids=spelled)
def test_value_of_another_type(tmp_path: Path, path: badconfigs.Path) -> None:
    old = badconfigs.at(FULL, path)
    for value in (7, "text", [1.5], {"a": 1.5}, 1.5, True):
        if type(value) is type(old):
            continue
        name = spelled(path)
        if name.startswith("linux.resources") and isinstance(path[-1], int):
            name = spelled(path[:-1])  # "expected a list of objects"
        assert said(path, value, tmp_path).startswith(name), value


NUMBERS = [path for path in PLACES if type(badconfigs.at(FULL, path)) is int]


@pytest.mark.parametrize("path", NUMBERS, ids=spelled)
def test_number_out_of_range(tmp_path: Path, path: badconfigs.Path) -> None:
    for value in (-(1 << 70), 1 << 70, 10**4000):
        assert said(path, value, tmp_path).startswith(spelled(path)), value


TEXTS = [path for path in PLACES if type(badconfigs.at(FULL, path)) is str]


@pytest.mark.parametrize("path", TEXTS, ids=spelled)
def test_text_that_is_none(tmp_path: Path, path: badconfigs.Path) -> None:
    for value in ("a\0b", "\ud800"):
        assert said(path, value, tmp_path).startswith(spelled(path)), value
