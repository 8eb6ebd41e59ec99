import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from knarr.cgroups import dbus


def marshal(kind: str, value: Any) -> bytes:
    writer = dbus.Writer()
    writer.put(kind, value)
    return bytes(writer.data)


@pytest.mark.parametrize(
    ("kind", "value", "data"),
    [
        ("y", 7, b"\x07"),
        ("b", True, b"\x01\0\0\0"),
        ("u", 1, b"\x01\0\0\0"),
        ("t", 2, b"\x02\0\0\0\0\0\0\0"),
        ("s", "foo", b"\x03\0\0\0foo\0"),
        ("g", "a(sv)", b"\x05a(sv)\0"),
        ("au", [1, 2], b"\x08\0\0\0\x01\0\0\0\x02\0\0\0"),
        # Padding before the first element does not count as the array's length.
        ("at", [5], b"\x08\0\0\0\0\0\0\0\x05\0\0\0\0\0\0\0"),
        ("at", [], b"\0\0\0\0\0\0\0\0"),
        ("ay", b"\x01\x02", b"\x02\0\0\0\x01\x02"),
        ("v", ("b", False), b"\x01b\0\0\0\0\0\0"),
        ("(su)", ("a", 1), b"\x01\0\0\0a\0\0\0\x01\0\0\0"),
    ],
)
def test_marshalled_bytes(kind: str, value: Any, data: bytes) -> None:
    assert marshal(kind, value) == data


@given(
    st.lists(st.tuples(st.text(max_size=9), st.integers(0, 2**64 - 1))),
    st.lists(st.integers(0, 2**32 - 1)),
    st.booleans(),
)
def test_what_is_written_can_be_read(
    pairs: list[tuple[str, int]], numbers: list[int], flag: bool
) -> None:
    pairs = [(text.replace("\0", ""), number) for text, number in pairs]
    properties = [(text, ("t", number)) for text, number in pairs]
    data = marshal("(a(sv)auba{st})", (properties, numbers, flag, dict(pairs)))
    assert dbus.Reader(data).get("(a(sv)auba{st})") == (pairs, numbers, flag, dict(pairs))


def test_call_message() -> None:
    target = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StopUnit")
    data = dbus.encode_call(9, "org.freedesktop.systemd1", target, "ss", "a.scope", "replace")
    assert dbus.length(data[:16]) == len(data)
    assert struct.unpack_from("<I", data, 8) == (9,)
    message = dbus.decode(data)
    assert message.kind == dbus.CALL
    assert message.body == ("a.scope", "replace")
    assert message.fields == {1: target[0], 2: target[1], 3: target[2], 6: NAME, 8: "ss"}


NAME = "org.freedesktop.systemd1"


def test_big_endian_answer() -> None:
    fields = b"\x05\x01u\0\0\0\0\x07" + b"\x08\x01g\0\x01u\0"
    data = b"B\x02\0\x01" + struct.pack(">III", 4, 3, len(fields)) + fields
    data += bytes(-len(data) % 8) + b"\0\0\0\x2a"
    assert dbus.length(data[:16]) == len(data)
    message = dbus.decode(data)
    assert message.body == (42,)
    assert message.fields[dbus.REPLY_SERIAL] == 7


@pytest.mark.parametrize("signature", ["(s", "a", "a{s", "z", "(z)"])
def test_bad_signatures(signature: str) -> None:
    with pytest.raises(ValueError, match="signature"):
        dbus.split(signature)


def test_split() -> None:
    assert dbus.split("ssa(sv)a(sa(sv))") == ["s", "s", "a(sv)", "a(sa(sv))"]


def test_short_and_oversized_messages_are_refused() -> None:
    with pytest.raises(ValueError, match="ends too early"):
        dbus.Reader(b"\x05\0\0\0ab").get("s")
    with pytest.raises(ValueError, match="bytes"):
        dbus.length(b"l\x02\0\x01" + struct.pack("<III", 1 << 30, 1, 0))
    with pytest.raises(ValueError, match="too long"):
        dbus.Reader(struct.pack("<I", 1 << 30)).get("ay")
