"""``import knarr`` is cheap, and everything it names is there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import knarr


@pytest.mark.parametrize("name", knarr.__all__)
def test_every_name_is_there(name: str) -> None:
    assert getattr(knarr, name) is not None
    assert name in dir(knarr)


def test_other_names_are_not() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        knarr.nothing_like_it  # noqa: B018


def test_importing_it_loads_nothing_else() -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); import knarr; "
        "print([m for m in sys.modules if m.startswith('knarr.')], 'sqlite3' in sys.modules)"
    )
    source = str(Path(knarr.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, source], capture_output=True, text=True, check=True
    )
    assert done.stdout == "['knarr._version'] False\n"
