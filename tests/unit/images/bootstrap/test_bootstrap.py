import io
import os
import struct
import tarfile
from pathlib import Path

import pytest

from knarr.errors import InvalidArchive, InvalidArgument, Unavailable, Unsupported
from knarr.images.bootstrap import busybox, deb, debian, names, packages, sources, tools
from knarr.images.bootstrap.names import Recipe
from knarr.images.bootstrap.rewrite import File, rewrite
from knarr.images.platform import Platform
from tests.unit.images.helpers import Room, sha256, tar_of


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("busybox", Recipe("busybox")),
        ("docker.io/library/busybox:latest", Recipe("busybox")),
        ("debian", Recipe("debian", "stable")),
        ("debian:12", Recipe("debian", "bookworm")),
        ("debian:bookworm-slim", Recipe("debian", "bookworm", slim=True)),
        ("ubuntu:24.04", Recipe("ubuntu", "noble")),
        ("ubuntu:jammy", Recipe("ubuntu", "jammy")),
    ],
)
def test_names_that_are_known(name: str, recipe: Recipe) -> None:
    assert names.recipe(name) == recipe
    assert names.is_known(name)


@pytest.mark.parametrize(
    "name",
    [
        "nginx",
        "x.io/busybox",
        "busybox:1.2",
        "debian:potato",
        "Bad",
        "ubuntu:noble-slim",
        "user/debian",
    ],
)
def test_names_that_are_not(name: str) -> None:
    assert not names.is_known(name)
    with pytest.raises(InvalidArgument):
        names.recipe(name)


ELF = (
    b"\x7fELF\x02\x01"
    + bytes(26)
    + struct.pack("<Q", 64)
    + bytes(14)
    + struct.pack("<HH", 56, 1)
    + bytes(6)
)


def elf(kind: int) -> bytes:
    return ELF + struct.pack("<I", kind) + bytes(52)


def test_static_programs_are_told_from_dynamic_ones() -> None:
    assert busybox.is_static(elf(1))
    assert not busybox.is_static(elf(3))
    assert not busybox.is_static(b"#!/bin/sh\n" + bytes(100))
    assert not busybox.is_static(ELF)
    assert not busybox.is_static(b"")
    with open(os.path.realpath("/proc/self/exe"), "rb") as file:
        assert not busybox.is_static(file.read())


def test_the_tree_of_busybox() -> None:
    made = busybox.Busybox(b"program", 5, ("[", "ls", "sh"), "v1")
    data = b"".join(busybox.tree(made, 1_700_000_000))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        members = {member.name: member for member in tar}
        order = tar.getnames()
        passwd = tar.extractfile("etc/passwd")
        assert passwd is not None
        assert passwd.read().startswith(b"root:x:0:0:root:/root:/bin/sh\n")
    for applet in ("bin/[", "bin/ls", "bin/sh", "usr/bin/env"):
        assert members[applet].islnk()
        assert members[applet].linkname == "bin/busybox"
        assert order.index(applet) > order.index("bin/busybox")
    assert members["tmp"].mode == 0o1777
    assert members["root"].mode == 0o700
    assert members["etc/shadow"].mode == 0o600
    assert {member.mtime for member in members.values()} == {1_700_000_000}
    for name in members:
        parent = os.path.dirname(name)
        assert not parent or order.index(parent) < order.index(name)
    assert data == b"".join(busybox.tree(made, 1_700_000_000))


def ar(members: dict[str, bytes]) -> bytes:
    out = b"!<arch>\n"
    for name, data in members.items():
        out += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(data):<10}".encode() + b"`\n"
        out += data + b"\n" * (len(data) % 2)
    return out


def test_a_file_out_of_a_package() -> None:
    import lzma

    data = lzma.compress(tar_of({"./bin/busybox": b"program"}))
    package = ar({"debian-binary": b"2.0\n", "control.tar.xz": b"odd", "data.tar.xz": data})
    assert deb.extract(io.BytesIO(package), ("bin/busybox",)).data == b"program"
    with pytest.raises(InvalidArchive, match="no file bin/other"):
        deb.extract(io.BytesIO(package), ("bin/other",))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "ar archive"),
        (b"!<arch>\n", "no data.tar"),
        (ar({"debian-binary": b"2.0\n"}), "no data.tar"),
        (b"!<arch>\n" + b"x" * 60, "malformed"),
        (ar({"data.tar": b"x" * 512}), "checksum"),
    ],
)
def test_broken_packages(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidArchive, match=reason):
        deb.extract(io.BytesIO(data), ("bin/busybox",))


def test_rewriting_leaves_out_what_changes() -> None:
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w") as tar:
        for name in ("./", "./dev/", "./etc/", "./usr/share/doc/x/"):
            info = tarfile.TarInfo(name)
            info.type, info.mtime = tarfile.DIRTYPE, 1_000_000_000
            tar.addfile(info)
        for name in ("./dev/null", "./etc/hostname", "./etc/machine-id", "./var/log/dpkg.log",
                     "./var/lib/dpkg/status-old", "./etc/kept", "./usr/share/doc/x/readme",
                     "./usr/share/doc/x/copyright", "./usr/share/man/man1/x.1"):  # fmt: skip
            info = tarfile.TarInfo(name)
            info.mtime = 1_000_000_000
            tar.addfile(info)
        link = tarfile.TarInfo("./etc/also-kept")
        link.type, link.linkname = tarfile.LNKTYPE, "./etc/kept"
        tar.addfile(link)
        link = tarfile.TarInfo("./etc/gone-too")
        link.type, link.linkname = tarfile.LNKTYPE, "./etc/hostname"
        tar.addfile(link)

    def rewritten(*, slim: bool) -> dict[str, tarfile.TarInfo]:
        source.seek(0)
        extra = (File("etc/added", b"x", 0o755),)
        data = b"".join(rewrite(source, 1_500_000_000, slim=slim, extra=extra))
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            return {member.name: member for member in tar}

    full = rewritten(slim=False)
    assert set(full) == {
        "dev", "etc", "etc/kept", "etc/also-kept", "etc/added", "usr/share/doc/x",
        "usr/share/doc/x/readme", "usr/share/doc/x/copyright", "usr/share/man/man1/x.1",
    }  # fmt: skip
    assert full["dev"].mtime == 1_500_000_000
    assert full["etc/kept"].mtime == 1_000_000_000
    assert full["etc/also-kept"].linkname == "etc/kept"
    assert full["etc/added"].mode == 0o755
    gone = {"usr/share/doc/x/readme", "usr/share/man/man1/x.1"}
    assert set(rewritten(slim=True)) == set(full) - gone


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


def test_nothing_of_this_machine_is_in_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    archives = [sources.Archive("http://mirror.example/debian", "bookworm", "main", "/key.gpg")]
    monkeypatch.setattr(sources, "archives_for", lambda *_: archives)
    monkeypatch.setattr(tools, "need", lambda tool, *_: tool)
    monkeypatch.setattr(tools, "run", lambda *_: b"")
    plan = debian.plan(Recipe("debian", "bookworm"), None, None, Platform("linux", "amd64"))
    assert not any("hook-dir" in word for word in plan.command)
    assert any("lib lib32 lib64 libx32 sbin" in word for word in plan.command)
    assert plan.release == ("http://mirror.example/debian", "bookworm")
    assert {file.name for file in plan.extra} >= {"etc/apt/sources.list"}
    unmerged = debian.plan(Recipe("debian", "bullseye"), None, None, Platform("linux", "amd64"))
    assert not any("setup-hook" in word for word in unmerged.command)


def test_labels_tell_the_packages() -> None:
    status = (
        b"Package: b\nStatus: install ok installed\nArchitecture: amd64\nVersion: 2:1\n"
        b"Description: x\n Version: not this\n\n"
        b"Package: gone\nStatus: deinstall ok config-files\nVersion: 1\nArchitecture: all\n\n"
        b"Package: a\nStatus: hold ok installed\nArchitecture: all\nVersion: 1\n\n"
    )
    files = {
        "var/lib/dpkg/status": status,
        "etc/debian_version": b"12.15\n",
        "usr/lib/os-release": b'ID=debian\nVERSION_ID="12"\n',
    }
    assert sorted(packages.installed(status)) == [b"a 1 all\n", b"b 2:1 amd64\n"]
    assert packages.labels(files, ["bookworm", "bookworm-updates"]) == {
        "knarr.bootstrap.packages": sha256(b"a 1 all\nb 2:1 amd64\n"),
        "knarr.bootstrap.package-count": "2",
        "knarr.bootstrap.suites": "bookworm bookworm-updates",
        "org.opencontainers.image.version": "12.15",
    }
    ubuntu = {"usr/lib/os-release": b'ID=ubuntu\nVERSION_ID="24.04"\n'}
    assert packages.version(ubuntu) == "24.04"
    assert packages.version({}) == ""


def test_rewriting_keeps_of_attributes_what_packages_set() -> None:
    source = io.BytesIO()
    with tarfile.open(fileobj=source, mode="w", format=tarfile.PAX_FORMAT) as tar:
        info = tarfile.TarInfo("./bin/ping")
        info.pax_headers = {
            "SCHILY.xattr.security.capability": "cap",
            "SCHILY.xattr.security.selinux": "label",
            "SCHILY.xattr.user.made-by": "me",
        }
        info.size = 4
        tar.addfile(info, io.BytesIO(b"ping"))
    source.seek(0)
    noted = {"bin/ping": b"", "bin/other": b""}
    data = b"".join(rewrite(source, 0, noted=noted))
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        kept = [key for key in tar.getmembers()[0].pax_headers if "xattr" in key]
    assert kept == ["SCHILY.xattr.security.capability"]
    assert noted == {"bin/ping": b"ping", "bin/other": b""}


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


def test_how_apt_reaches_mirrors_here_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    dump = (
        "Acquire::http::Proxy http://proxy.example:3128\nAcquire::Check-Valid-Until false\n"
        "Acquire::https::Proxy::x.example DIRECT\nAcquire::GzipIndexes true\nAcquire::Retries \n"
    )
    monkeypatch.setattr(tools, "need", lambda *_: "apt-config")
    monkeypatch.setattr(tools, "run", lambda *_: dump.encode())
    assert debian._host_options() == [
        '--aptopt=Acquire::http::Proxy "http://proxy.example:3128"',
        '--aptopt=Acquire::Check-Valid-Until "false"',
        '--aptopt=Acquire::https::Proxy::x.example "DIRECT"',
    ]


def test_a_failing_tool_is_quoted() -> None:
    with pytest.raises(Unavailable, match="doing it failed: E: it broke"):
        tools.run(["sh", "-c", "echo I: fine >&2; echo E: it broke >&2; exit 1"], "/", "doing it")


def plan_of(command: list[str]) -> debian.Plan:
    return debian.Plan(command, ("sid",), ("http://x.example/debian", "sid"), ())


def test_a_failing_mmdebstrap_leaves_nothing(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    command = ["sh", "-c", "head -c 100000 /dev/zero; echo 'E: no mirror' >&2; exit 25"]
    monkeypatch.setattr(debian, "plan", lambda *_: plan_of(command))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    events: list[str] = []
    with pytest.raises(Unavailable, match="mmdebstrap failed: E: no mirror"):
        room.images.bootstrap("debian:sid", progress=lambda event: events.append(event.subject))
    assert "E: no mirror" in events
    assert room.blobs() == set()


def test_a_broken_tar_of_mmdebstrap_leaves_nothing(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debian, "plan", lambda *_: plan_of(["sh", "-c", "echo no tar"]))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    with pytest.raises(InvalidArchive):
        room.images.bootstrap("debian:sid")
    assert room.blobs() == set()


def test_a_tool_that_dies_in_the_middle_is_quoted(
    room: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ["sh", "-c", "echo half a header; echo 'E: killed' >&2; exit 25"]
    monkeypatch.setattr(debian, "plan", lambda *_: plan_of(command))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "0")
    with pytest.raises(Unavailable, match="mmdebstrap failed: E: killed"):
        room.images.bootstrap("debian:sid")
    assert room.blobs() == set()


def test_what_goes_wrong_here_ends_the_tool_and_is_told_as_it_is() -> None:
    with (
        pytest.raises(OSError, match="disk full"),
        debian.running(["sleep", "1000"], 0, lambda _: None),
    ):
        raise OSError("disk full")


def test_a_mirror_is_of_no_use_to_busybox(room: Room) -> None:
    with pytest.raises(InvalidArgument, match="give no mirror"):
        room.images.bootstrap("busybox", mirror="http://x.example/debian")
    with pytest.raises(InvalidArgument, match="cannot bootstrap nginx:latest"):
        room.images.bootstrap("nginx")


@pytest.mark.parametrize(
    ("date", "epoch"),
    [
        ("Sat, 11 Jul 2026 10:16:37 UTC", 1783764997),
        ("Sat, 11 Jul 99999999 10:16:37 UTC", None),
        ("soon", None),
    ],
)
def test_the_date_of_a_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, date: str, epoch: int | None
) -> None:
    def fetch(argv: list[str], *_: str) -> bytes:
        Path(argv[-1]).write_text(f"Suite: x\nDate: {date}\n")
        return b""

    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    monkeypatch.setattr(tools, "need", lambda tool, *_: tool)
    monkeypatch.setattr(tools, "run", fetch)
    release = ("http://mirror.example/debian", "bookworm")
    if epoch is None:
        with pytest.raises(Unavailable, match="it has no Date"):
            debian.epoch_of(release)
    else:
        assert debian.epoch_of(release) == epoch
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "5")
    assert debian.epoch_of(release) == 5
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "9" * 30)
    with pytest.raises(InvalidArgument, match="is not a number of seconds"):
        debian.epoch_of(release)
