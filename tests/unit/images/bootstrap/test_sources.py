"""Where packages come from: the sources of this machine, and those an image gets."""

from pathlib import Path

import pytest

from knarr.errors import InvalidArgument, Unsupported
from knarr.images.bootstrap import debian, sources, tools
from knarr.images.bootstrap.names import Recipe
from knarr.images.platform import Platform


@pytest.fixture
def apt(tmp_path: Path) -> Path:
    (tmp_path / "sources.list.d").mkdir()
    keyring = tmp_path / "keyring.gpg"
    keyring.touch()
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        "Types: deb deb-src\n# a comment\nURIs: http://mirror.example/debian\n"
        f"Suites: bookworm bookworm-updates\nComponents: main\nSigned-By: {keyring}\n\n"
        "Types: deb\nURIs: http://mirror.example/debian-security\nSuites: bookworm-security\n"
        f"Components: main\nSigned-By: {keyring}\n\n"
        "Types: deb\nURIs: http://off.example/debian\nSuites: sid\nEnabled: no\n\n"
        "Types: deb-src\nURIs: http://src.example/debian\nSuites: sid\n"
    )
    (tmp_path / "sources.list").write_text("# deb http://old.example/debian potato main\n")
    (tmp_path / "sources.list.d" / "other.list").write_text(
        f"deb [arch=amd64 signed-by={keyring}] http://node.example/x nodistro main # comment\n"
    )
    return tmp_path


def lines(distribution: str, suite: str, mirror: str | None, root: Path) -> list[str]:
    return [each.line() for each in sources.archives_for(distribution, suite, mirror, str(root))]


def test_sources_of_another_suite_come_from_the_same_mirror(
    apt: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = apt / "keyring.gpg"
    assert lines("debian", "trixie", None, apt) == [
        f"deb [signed-by={keyring}] http://mirror.example/debian trixie main",
        f"deb [signed-by={keyring}] http://mirror.example/debian trixie-updates main",
        f"deb [signed-by={keyring}] http://mirror.example/debian-security trixie-security main",
    ]
    assert len(lines("debian", "sid", None, apt)) == 1
    given = lines("debian", "bookworm", "https://other.example/debian", apt)
    assert given == [f"deb [signed-by={keyring}] https://other.example/debian bookworm main"]

    monkeypatch.setitem(sources._KEYRINGS, "ubuntu", str(keyring))
    ubuntu = lines("ubuntu", "noble", "http://a.example/ubuntu", apt)
    assert [line.split()[3] for line in ubuntu] == ["noble", "noble-updates", "noble-security"]


@pytest.mark.parametrize(
    ("suite", "address", "inside"),
    [
        ("bookworm", "http://deb.debian.org/debian/", "http://deb.debian.org/debian"),
        ("bookworm", "https://ftp.de.debian.org/debian", "http://deb.debian.org/debian"),
        ("bookworm-security", "http://security.debian.org/debian-security",
         "http://deb.debian.org/debian-security"),
        ("bookworm", "http://snapshot.debian.org/archive/debian/20250520T000000Z/",
         "http://deb.debian.org/debian"),
        ("bookworm", "http://me:secret@mirror.example/debian", "http://mirror.example/debian"),
        ("bookworm", "http://deb.debian.org.example/debian", "http://deb.debian.org.example/debian"),
        ("bookworm", "file:///srv/debian", "http://deb.debian.org/debian"),
        ("bookworm-security", "copy:/srv/security", "http://deb.debian.org/debian-security"),
    ],
)  # fmt: skip
def test_what_an_image_knows_of_its_mirror(suite: str, address: str, inside: str) -> None:
    archive = sources.Archive(address, suite, "main", "/etc/apt/keys/ours.gpg")
    keyring = "/usr/share/keyrings/debian-archive-keyring.gpg"
    assert sources.lines_inside("debian", [archive]) == [
        f"deb [signed-by={keyring}] {inside} {suite} main"
    ]


def test_snapshots_need_a_mirror_that_keeps_them(apt: Path) -> None:
    keyring = apt / "keyring.gpg"
    (apt / "sources.list.d" / "debian.sources").write_text(
        "Types: deb\nURIs: http://snapshot.debian.org/archive/debian/20250520T000000Z\n"
        f"Suites: bookworm\nSigned-By: {keyring}\n\n"
        "Types: deb\nURIs: http://snapshot.debian.org/archive/debian-security/20250520T000000Z/\n"
        f"Suites: bookworm-security\nSigned-By: {keyring}\n"
    )
    archives = sources.archives_for("debian", "bookworm", None, str(apt))
    assert sources.is_old(archives)
    assert [archive.address for archive in sources.at(archives, "20260101T000000Z")] == [
        "http://snapshot.debian.org/archive/debian/20260101T000000Z",
        "http://snapshot.debian.org/archive/debian/20260101T000000Z",
        "http://snapshot.debian.org/archive/debian-security/20260101T000000Z/",
    ]
    with pytest.raises(InvalidArgument, match="invalid snapshot 'yesterday'"):
        sources.at(archives, "yesterday")
    plain = [sources.Archive("http://u:p@mirror.example/debian", "sid", "main", str(keyring))]
    assert not sources.is_old(plain)
    with pytest.raises(Unsupported, match=r"http://mirror\.example/debian keeps no snapshots"):
        sources.at(plain, "20260101T000000Z")


def test_one_line_sources_are_read_too(tmp_path: Path) -> None:
    (tmp_path / "sources.list").write_text(
        "deb http://a.example/ubuntu noble main universe\n"
        "deb-src http://b.example/ubuntu noble main\n"
    )
    assert sources.read_sources(str(tmp_path)) == [
        sources.Source("http://a.example/ubuntu", ("noble",), "")
    ]


def test_what_is_missing_is_named(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Unsupported, match="no apt source for Ubuntu"):
        sources.archives_for("ubuntu", "noble", None, str(apt))
    monkeypatch.setitem(sources._KEYRINGS, "ubuntu", "/nowhere/ubuntu.gpg")
    with pytest.raises(Unsupported, match="Ubuntu's package ubuntu-keyring"):
        sources.archives_for("ubuntu", "noble", "http://a.example/ubuntu", str(apt))
    for mirror in ("--option", "ftp://x", "http://x/ [trusted=yes]", "http://x y"):
        with pytest.raises(InvalidArgument, match="invalid mirror"):
            sources.archives_for("debian", "sid", mirror, str(apt))
    monkeypatch.setattr(tools, "environment", lambda **_: {"PATH": "/nowhere"})
    with pytest.raises(Unsupported, match="apt-get install mmdebstrap"):
        debian.plan(Recipe("debian", "sid"), None, None, Platform("linux", "amd64"))
