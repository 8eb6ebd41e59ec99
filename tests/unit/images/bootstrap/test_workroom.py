"""The directory for tools goes with the work, or with the next who sweeps."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest

from knarr.images.bootstrap.workroom import sweep, workroom


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A folder for notes; temporary files go to a folder beside it."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    (tmp_path / "store").mkdir()
    return str(tmp_path / "store")


def left(store: str) -> tuple[list[str], list[str]]:
    """Return what there is of notes and of directories."""
    return os.listdir(f"{store}/bootstrap"), os.listdir(tempfile.gettempdir())


def test_it_goes_with_all_that_is_in_it(store: str) -> None:
    sweep(store)  # where nothing has been
    with workroom(store) as path:
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o755
        Path(path, "a").mkdir()
        Path(path, "a", "link").symlink_to("/etc")
        sweep(store)
        assert os.listdir(path) == ["a"]
    assert left(store) == ([], [])
    with pytest.raises(KeyError), workroom(store):
        raise KeyError
    assert left(store) == ([], [])


def test_what_the_dead_left_goes_with_the_next(store: str) -> None:
    notes, temporary = Path(store, "bootstrap"), Path(tempfile.gettempdir())
    with workroom(store):
        pass
    (temporary / "knarr-bootstrap-1234").mkdir()
    (temporary / "knarr-bootstrap-1234" / "file").touch()
    (temporary / "precious").mkdir()
    (notes / "1234").write_text(str(temporary / "knarr-bootstrap-1234"))
    (notes / "5678").write_text(str(temporary / "precious"))
    (notes / "9abc").touch()
    with workroom(store) as path:
        assert set(left(store)[1]) == {os.path.basename(path), "precious"}
    assert left(store) == ([], ["precious"])
