"""The journal of events: many writers at once, files that become long, half-written lines."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

import pytest

from knarr.config import Settings
from knarr.engine import eventreader
from knarr.engine.eventreader import Event
from knarr.errors import InvalidArgument
from knarr.supervisor import journal

ACTOR = b'{"ID":"%s","Attributes":{"name":"%s"'


def _settings(folder: Path) -> Settings:
    return Settings(data_root=str(folder / "d"), run_root=str(folder))


def _append(folder: Path, name: str, action: str = "start") -> None:
    actor = ACTOR % (name.encode() * 2, name.encode())
    journal.append(f"{folder}/events", journal.event(action.encode(), actor))


def _present(folder: Path, **filters: list[str]) -> list[Event]:
    import time

    return list(eventreader.read(_settings(folder), since=0, until=time.time_ns(), filters=filters))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tmp_path.chmod(0o700)
    return tmp_path


def test_many_processes_write_in_the_order_of_their_times(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six processes, a file that is renamed meanwhile, a reader beside: nothing lacks."""
    monkeypatch.setattr(journal, "LIMIT", 150_000)
    count, writers = 300, 6
    found: list[Event] = []
    live = eventreader.read(_settings(folder))

    def read() -> None:
        for event in live:
            found.append(event)
            if len(found) == count * writers:
                return

    # They are forked before there is a thread, and begin when the reader does.
    hear, go = os.pipe()
    children = []
    for writer in range(writers):
        pid = os.fork()
        if pid == 0:
            os.close(go)
            os.read(hear, 1)
            for number in range(count):
                _append(folder, f"{writer}-{number}")
            os._exit(0)
        children.append(pid)
    os.close(hear)
    reader = threading.Thread(target=read)
    reader.start()
    os.close(go)
    for pid in children:
        assert os.waitpid(pid, 0)[1] == 0
    reader.join(60)
    assert not reader.is_alive()
    times = [event["timeNano"] for event in found]
    assert times == sorted(times)
    names = [event["Actor"]["Attributes"]["name"] for event in found]
    for writer in range(writers):
        own = [name for name in names if name.startswith(f"{writer}-")]
        assert own == [f"{writer}-{number}" for number in range(count)]
    assert sorted(entry.name for entry in folder.glob("e*")) == ["events", "events.1"]
    assert (folder / "events").stat().st_mode & 0o777 == 0o600


def test_who_reads_slowly_sees_what_is_renamed_meanwhile(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While one file is read three are filled and two of them removed: all are open by then."""
    monkeypatch.setattr(journal, "LIMIT", 3000)
    monkeypatch.setattr(eventreader, "_CHUNK", 500)
    written, found = 20, []
    for number in range(written):
        _append(folder, str(number))
    place = eventreader.Journal(f"{folder}/events")
    before = len(os.listdir("/proc/self/fd"))
    renamings, inode = 0, (folder / "events").stat().st_ino
    for event in place.present():
        found.append(event["Actor"]["Attributes"]["name"])
        for _ in range(4 if len(found) <= 20 else 0):
            _append(folder, str(written))
            written += 1
            if (folder / "events").exists() and (folder / "events").stat().st_ino != inode:
                renamings, inode = renamings + 1, (folder / "events").stat().st_ino
    assert renamings >= 3
    found += [event["Actor"]["Attributes"]["name"] for event in place.present()]
    assert found == [str(number) for number in range(written)]
    assert len(os.listdir("/proc/self/fd")) == before
    place.close()
    assert len(os.listdir("/proc/self/fd")) == before - 1


def test_half_a_line_is_no_event(folder: Path) -> None:
    _append(folder, "one")
    with (folder / "events").open("a") as file:
        file.write('{"Type":"conta\n')
    _append(folder, "two")
    names = [event["Actor"]["Attributes"]["name"] for event in _present(folder)]
    assert names == ["one", "two"]


def test_who_cannot_write_goes_on(folder: Path) -> None:
    journal.append(f"{folder}/missing/events", b'"a":1')
    journal.note(str(folder), b"die")  # without an actor
    assert list(folder.iterdir()) == []


def test_a_container_tells_by_its_run_directory(folder: Path) -> None:
    (folder / "c").mkdir()
    actor = '{"ID":"abc","Attributes":{"name":"web"'
    (folder / "c" / journal.ACTOR).write_text(f"{folder}/events\n{actor}")
    journal.note(str(folder / "c"), b"die", b',"exitCode":"3"')
    (event,) = _present(folder)
    assert event["Actor"] == {"ID": "abc", "Attributes": {"name": "web", "exitCode": "3"}}
    assert (event["status"], event["id"], event["from"]) == ("die", "abc", "")
    assert event["time"] == event["timeNano"] // 10**9
    assert json.loads((folder / "events").read_text())["Action"] == "die"


EVENT: Event = {
    "Type": "container", "Action": "exec_start: sh -c true", "scope": "local", "timeNano": 5,
    "Actor": {"ID": "abcdef", "Attributes": {"name": "web", "image": "busybox:1", "tier": "a"}},
}  # fmt: skip
IMAGE: Event = {
    "Type": "image", "Action": "tag", "scope": "local", "timeNano": 5,
    "Actor": {"ID": "sha256:12", "Attributes": {"name": "busybox:1"}},
}  # fmt: skip


@pytest.mark.parametrize(
    ("event", "wanted", "found"),
    [
        (EVENT, {}, True),
        (EVENT, {"type": ["container"]}, True),
        (EVENT, {"type": ["image"]}, False),
        (EVENT, {"event": ["exec_start"]}, True),
        (EVENT, {"event": ["exec_start", "die"]}, True),
        (EVENT, {"event": ["exec"]}, False),
        (EVENT, {"event": ["exec_start: sh -c true"]}, True),
        (EVENT, {"container": ["abc"]}, True),
        (EVENT, {"container": ["nope", "web"]}, True),
        (EVENT, {"container": ["nope"]}, False),
        (EVENT, {"image": ["busybox"]}, True),
        (EVENT, {"image": ["busybox:1"]}, True),
        (EVENT, {"image": ["busybox:2"]}, False),
        (EVENT, {"label": ["tier"]}, True),
        (EVENT, {"label": ["tier=a"]}, True),
        (EVENT, {"label": ["tier=a", "other"]}, False),
        (EVENT, {"scope": ["local"]}, True),
        (EVENT, {"container": ["web"], "event": ["die"]}, False),
        (EVENT, {"volume": ["web"]}, False),
        (IMAGE, {"image": ["sha256:12"]}, True),
        (IMAGE, {"image": ["busybox"]}, True),
        (IMAGE, {"container": ["busybox"]}, False),
    ],
)
def test_filters(event: Event, wanted: dict[str, list[str]], found: bool) -> None:
    assert eventreader.matches(event, wanted) is found


def test_an_unknown_filter(folder: Path) -> None:
    with pytest.raises(InvalidArgument, match="invalid filter 'color'"):
        eventreader.read(_settings(folder), filters={"color": ["red"]})


def test_who_looks_away_for_two_files_misses_none(folder: Path) -> None:
    path = f"{folder}/events"
    _append(folder, "aa")
    reader = eventreader.Journal(path)
    try:
        reader.skip()
        for names in ("bb", "cc", "dd"):
            _append(folder, names)
            if names != "dd":
                os.rename(path, path + journal.OLDER)
        names_of = [event["Actor"]["Attributes"]["name"] for event in reader.present()]
        assert names_of == ["bb", "cc", "dd"]
        _append(folder, "ee")
        assert [event["Actor"]["ID"] for event in reader.present()] == ["eeee"]
    finally:
        reader.close()


def test_what_was_renamed_before_the_first_look_is_read_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "LIMIT", 200)
    reader = eventreader.Journal(f"{folder}/events")
    reader.skip()
    for number in range(6):
        _append(folder, str(number))
        if (folder / "events.1").exists() and (folder / "events").exists():
            break
    names = [event["Actor"]["Attributes"]["name"] for event in reader.present()]
    reader.close()
    assert names == [str(number) for number in range(len(names))]
    assert len(names) > 1


def test_from_now_on_is_not_what_was_renamed(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "LIMIT", 1)
    _append(folder, "before")
    _append(folder, "before")
    assert not (folder / "events").exists()
    reader = eventreader.Journal(f"{folder}/events")
    reader.skip()
    _append(folder, "after")
    names = [event["Actor"]["Attributes"]["name"] for event in reader.present()]
    reader.close()
    assert names == ["after"]
