"""events, as one types it."""

from __future__ import annotations

import json
import re
import select
import time

from tests.support.installations import Installation


def test_past_events(box: Installation) -> None:
    box.run("run", "--rm", "--name", "one", "-l", "tier=a", "busybox", "sh", "-c", "exit 3")
    until = str(time.time() + 0.1)
    code, out, err = box.run("events", "--since", "10m", "--until", until, "-f", "container=one")
    assert (code, err) == (0, b"")
    lines = out.decode().splitlines()
    assert [line.split()[2] for line in lines] == ["create", "attach", "start", "die", "destroy"]
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}(Z|[+-]\d\d:\d\d)"
    assert re.fullmatch(
        stamp + r" container die [0-9a-f]{64} "
        r"\(execDuration=0, exitCode=3, image=busybox, name=one, tier=a\)",
        lines[3],
    )
    asked = ("events", "--since", "10m", "--until", until, "-f", "event=die")
    found = json.loads(box.run(*asked, "--format", "json")[1])
    assert list(found) == [
        "status", "id", "from", "Type", "Action", "Actor", "scope", "time", "timeNano",
    ]  # fmt: skip
    assert json.loads(box.run(*asked, "--format", "{{json .}}")[1]) == found
    shown = "{{.Type}} {{.Action}} {{.From}} {{.Actor.Attributes.exitCode}} {{.ID}}"
    assert box.run(*asked, "--format", shown)[1].decode() == (
        f"container die busybox 3 {found['id']}\n"
    )
    assert box.run("system", *asked[:1], *asked[1:], "--format", "json")[1] != b""


def test_as_it_happens(box: Installation) -> None:
    with box.start("events", "--filter", "event=destroy", "--format", "{{.Action}}") as watcher:
        assert watcher.stdout is not None
        try:
            # It may begin later than this: containers come and go until it has seen one.
            seen = b""
            while not seen:
                box.run("run", "--rm", "busybox", "true")
                if select.select([watcher.stdout], [], [], 1)[0]:
                    seen = watcher.stdout.readline()
            assert seen == b"destroy\n"
        finally:
            watcher.terminate()


def test_what_is_wrong(box: Installation) -> None:
    for words, message in (
        (("--filter", "color=red"), "invalid filter 'color'"),
        (("--filter", "color"), "bad format of filter (expected name=value)"),
        (("--since", "tomorrow"), 'invalid value for "since"'),
        (("--format", "{{.Nope"), "--format"),
    ):
        code, out, err = box.run("events", *words)
        assert code != 0
        assert out == b""
        assert message in err.decode()
