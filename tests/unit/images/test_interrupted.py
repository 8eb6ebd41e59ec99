"""Notes of pulls: whose blobs are no garbage, and for how long."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from knarr.content import parts
from knarr.content.store import ContentStore
from knarr.images import interrupted
from tests.unit.images.helpers import leave_part, sha256

IMAGE, OTHER = sha256(b"image"), sha256(b"other")
A, B = sha256(b"a"), sha256(b"b")


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path))


def notes(store: ContentStore) -> list[str]:
    return sorted(os.listdir(f"{store.root}/pulls"))


def interrupt(store: ContentStore, image: str, blob: str) -> None:
    with pytest.raises(KeyError), interrupted.noted(store, image, [blob], ["chain"]):
        raise KeyError


def test_a_note_stands_while_the_pull_runs(store: ContentStore) -> None:
    with interrupted.noted(store, IMAGE, [A, B], ["chain"]):
        assert interrupted.kept(store) == interrupted.Kept({A, B}, {"chain"})
        assert interrupted.kept(store, ended=False) == interrupted.Kept({A, B}, {"chain"})
        assert interrupted.forget(store, 0) == 0
        assert interrupted.kept(store).blobs == {A, B}
    assert interrupted.kept(store) == interrupted.Kept()
    assert notes(store) == []


def test_an_interrupted_one_stays_until_the_next_has_ended(store: ContentStore) -> None:
    interrupt(store, IMAGE, A)
    assert interrupted.kept(store).blobs == {A}
    assert interrupted.kept(store, ended=False).blobs == set()
    with interrupted.noted(store, IMAGE, [A, B], []):
        assert len(notes(store)) == 1
    assert notes(store) == []


def test_two_pulls_of_one_image_have_a_note_each(store: ContentStore) -> None:
    with interrupted.noted(store, IMAGE, [A], []):
        with interrupted.noted(store, IMAGE, [A], []):
            assert len(notes(store)) == 2
        assert interrupted.kept(store, ended=False).blobs == {A}


def test_old_notes_and_parts_are_forgotten(store: ContentStore) -> None:
    interrupt(store, IMAGE, A)
    (old,) = notes(store)
    interrupt(store, OTHER, B)
    week = time.time() - interrupted.KEPT - 60
    os.utime(f"{store.root}/pulls/{old}", (week, week))
    for digest in (A, B):
        path = leave_part(store, digest)
        if digest == A:
            os.utime(path, (week, week))
    assert interrupted.forget(store, interrupted.KEPT) == 4
    assert interrupted.kept(store).blobs == {B}
    assert parts.sizes(store) == {B: 4}
    assert interrupted.forget(store, 0) == 4
    assert (notes(store), parts.sizes(store)) == ([], {})


def test_what_a_pull_wants_that_runs_keeps_its_parts(store: ContentStore) -> None:
    leave_part(store, A)
    with interrupted.noted(store, IMAGE, [A], []):
        assert interrupted.forget(store, 0) == 0
    assert interrupted.forget(store, 0) == 4


def test_a_note_that_is_cut_off_keeps_nothing(store: ContentStore) -> None:
    interrupt(store, IMAGE, A)
    Path(store.root, "pulls", notes(store)[0]).write_text('{"blobs": [')
    assert interrupted.kept(store) == interrupted.Kept()
    interrupted.forget(store, 0)
    assert notes(store) == []


def test_a_pull_that_is_killed_holds_nothing_any_more(store: ContentStore) -> None:
    code = (
        "import os, signal, sys\n"
        "from knarr.content.store import ContentStore\n"
        "from knarr.images import interrupted\n"
        f"with interrupted.noted(ContentStore(sys.argv[1]), {IMAGE!r}, [{A!r}], []):\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    environment = {**os.environ, "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", code, store.root], check=False, env=environment)
    assert done.returncode == -9
    assert interrupted.kept(store).blobs == {A}
    assert interrupted.kept(store, ended=False).blobs == set()
    interrupted.forget(store, 0)
    assert notes(store) == []
