"""Members of archives made to hurt, for hypothesis to put together."""

from __future__ import annotations

from hypothesis import strategies as st

from knarr.snapshots.tarentry import BLOCK_DEVICE, CHARACTER, FIFO, FILE, Entry
from tests.support import tars
from tests.support.tars import WHEN, directory, file, hardlink, node, symlink

_PATHS = st.lists(
    st.sampled_from(["a", "b", "c", "..", ".", ".wh.a", ".wh.b", ".wh..wh..opq", ".wh.", "x" * 99]),
    min_size=1,
    max_size=4,
).map("/".join)
_TARGETS = st.sampled_from(["/", "..", "a", "/a", "../../a", "b", "/outside", "a/b", "c", "."])


@st.composite
def members(draw: st.DrawFn) -> tars.Member:
    name = draw(st.sampled_from(["", "/", "./"])) + draw(_PATHS)
    kind = draw(st.sampled_from("fdshnp"))
    if kind == "f":
        return file(name, draw(st.binary(max_size=20)), mode=draw(st.integers(0, 0o7777)))
    if kind == "d":
        return directory(name, draw(st.integers(0, 0o7777)))
    if kind == "s":
        return symlink(name, draw(_TARGETS))
    if kind == "h":
        return hardlink(name, draw(st.one_of(_TARGETS, _PATHS)))
    return node(name, CHARACTER if kind == "n" else FIFO, major=draw(st.integers(0, 1)))


_XATTRS = st.dictionaries(
    st.sampled_from(
        [b"user.a", b"user.b" * 20, b"user.", b"security.capability", b"trusted.overlay.opaque",
         b"security.selinux", b"system.posix_acl_access", b"user.overlay.x"]
    ),
    st.one_of(
        st.binary(max_size=300), st.just(bytes.fromhex("0100000200040000" + "00" * 12))
    ),
    max_size=2,
)  # fmt: skip
_IDS = st.sampled_from([0, 1, 70_000, 3_000_000_000])
_TIMES = st.sampled_from([0, WHEN, -1_500_000_000, 5_000_000_000_123_456_789])


@st.composite
def rich_members(draw: st.DrawFn) -> tars.Member:
    """As ``members``, with owners, times, attributes, holes and long names."""
    entry, data = draw(members())
    if draw(st.booleans()):
        entry.uid, entry.gid = draw(_IDS), draw(_IDS)
        entry.mtime_ns = draw(_TIMES)
        entry.xattrs = draw(_XATTRS)
    if entry.kind == FILE and draw(st.integers(0, 4)) == 0:
        size = draw(st.sampled_from([0, 1, 511, 512, 513, 5000]))
        entry.size, data = size, bytes(index % 251 for index in range(size))
    if entry.kind == FILE and len(data) > 1 and draw(st.integers(0, 3)) == 0:
        hole = draw(st.sampled_from([1, 512, 100_000]))
        entry.size, entry.sparse = hole + len(data), [(hole, len(data))]
    if draw(st.integers(0, 9)) == 0:
        long = draw(st.sampled_from([b"n" * 255, b"n" * 256, b"\xff\xfe", b"d" * 90 + b"/x"]))
        entry.name = long
    if draw(st.integers(0, 9)) == 0:
        entry = Entry(entry.name, BLOCK_DEVICE, major=8, minor=draw(st.sampled_from([0, 300])))
        data = b""
    return entry, data


_PARENTS = st.sampled_from(["", "", "a/", "b/", "a/b/", "s/", "l/"])
_LEAVES = st.sampled_from(["f", "g", "h" * 200, "é", ".wh.f", ".wh.g", ".wh..wh..opq"])


@st.composite
def likely_layer(draw: st.DrawFn) -> list[tars.Member]:
    """A layer that most likely can be applied: directories, what is in them, what goes from them.

    ``s`` and ``l`` are symlinks to directories, of this layer or of one below.
    """
    found: list[tars.Member] = []
    files = ["f", "a/g"]
    for _ in range(draw(st.integers(1, 10))):
        choice = draw(st.integers(0, 11))
        if choice < 2:
            name = draw(st.sampled_from(["a", "b", "a/b", "./", "b/a/"]))
            member = directory(name, draw(st.integers(0, 0o7777)))
        elif choice == 2:
            member = symlink(draw(st.sampled_from("sl")), draw(st.sampled_from(["a", "/b", "a/b"])))
        elif choice == 3 and files:
            member = hardlink(draw(_PARENTS) + "link", draw(st.sampled_from(files)))
        elif choice == 4:
            member = file(draw(st.sampled_from([".wh.a", ".wh.b", "a/.wh.b", ".wh.s"])))
        else:
            name = draw(_PARENTS) + draw(_LEAVES)
            size = draw(st.sampled_from([0, 1, 511, 512, 513, 5000]))
            member = file(name, bytes(index % 251 for index in range(size)))
            if ".wh." not in name and not name.startswith(("s/", "l/")):
                files.append(name)
        found.append(_enriched(draw, member))
    return found


def _enriched(draw: st.DrawFn, member: tars.Member) -> tars.Member:
    entry, data = member
    if draw(st.booleans()):
        entry.uid, entry.gid, entry.mtime_ns = draw(_IDS), draw(_IDS), draw(_TIMES)
    if draw(st.integers(0, 3)) == 0:
        entry.xattrs = {b"user.a": draw(st.binary(max_size=300))}
    if entry.kind == FILE and len(data) > 1 and draw(st.integers(0, 4)) == 0:
        hole = draw(st.sampled_from([1, 512, 100_000]))
        entry.size, entry.sparse = hole + len(data), [(hole, len(data))]
    return entry, data
