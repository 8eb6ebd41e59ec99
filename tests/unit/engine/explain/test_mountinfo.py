"""Lines of proc_pid_mountinfo(5)."""

from __future__ import annotations

from knarr.engine.explain.mountinfo import parse


def test_a_line_with_escapes_and_propagation() -> None:
    text = (
        "36 35 98:0 /mnt\\0401 /mnt\\012two rw,noatime master:1 shared:2"
        " - ext3 /dev/root rw,errors=a\n"
        "37 36 0:5 / /proc ro - proc proc rw\n"
        "torn line\n"
    )
    first, second = parse(text)
    assert (first.number, first.device) == (36, "98:0")
    assert (first.root, first.destination) == ("/mnt 1", "/mnt\ntwo")
    assert first.options == ("rw", "noatime")
    assert first.propagation == ("master:1", "shared:2")
    assert (first.type, first.source, first.settings) == ("ext3", "/dev/root", ("rw", "errors=a"))
    assert second.propagation == ()
    assert second.destination == "/proc"
