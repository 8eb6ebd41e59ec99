"""Notes of which tars stand for layers."""

from __future__ import annotations

import threading
from pathlib import Path

from knarr.content import digest as digests
from knarr.content.store import ContentStore
from knarr.images import tars


def test_notes_are_written_while_others_are_dropped(tmp_path: Path) -> None:
    store = ContentStore(str(tmp_path / "content"))
    ended = threading.Event()

    def drop() -> None:
        while not ended.is_set():
            tars.forget(store, set())

    dropping = threading.Thread(target=drop)
    dropping.start()
    try:
        for number in range(300):
            tars.note(store, digests.of(b"packed %d" % number), digests.of(b"plain"))
    finally:
        ended.set()
        dropping.join()
    tars.forget(store, set())
    assert list((tmp_path / "content/tars").iterdir()) == []
