"""apt's two kinds of source files, as the virtual machines read them."""

from __future__ import annotations

from tests.vm import initramfs, mirror


def test_a_deb822_stanza_gives_every_uri_with_every_suite() -> None:
    text = (
        "Types: deb deb-src\n"
        "# a comment: with a colon\n"
        "URIs: http://one/debian http://two/debian\n"
        "Suites: bookworm bookworm-updates\n"
        "Components: main contrib\n"
        "\n"
        "Types: deb-src\nURIs: http://source/debian\nSuites: bookworm\nComponents: main\n"
    )
    assert list(mirror.deb822(text)) == [
        ("http://one/debian", "bookworm", ["main", "contrib"]),
        ("http://one/debian", "bookworm-updates", ["main", "contrib"]),
        ("http://two/debian", "bookworm", ["main", "contrib"]),
        ("http://two/debian", "bookworm-updates", ["main", "contrib"]),
    ]


def test_one_line_sources_with_options_and_comments() -> None:
    text = (
        "# deb http://no/debian sid main\n"
        "deb [arch=amd64 signed-by=/a/key] http://one/debian trixie main non-free # why\n"
        "deb-src http://one/debian trixie main\n"
        "deb http://two/debian sid main\n"
    )
    assert list(mirror.one_line(text)) == [
        ("http://one/debian", "trixie", ["main", "non-free"]),
        ("http://two/debian", "sid", ["main"]),
    ]


def test_archive_members_are_padded_to_four_bytes() -> None:
    for name in ("a", "ab", "abc", "abcd"):
        member = initramfs.entry(1, name, initramfs.REGULAR, b"12345")
        assert len(member) % 4 == 0
        assert member.startswith(b"070701")
        assert int(member[54:62], 16) == 5, "the seventh field is the size of the data"
