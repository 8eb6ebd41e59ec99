import io
import os
import struct
import tarfile
from pathlib import Path

import pytest

from knarr.errors import InvalidArchive, InvalidArgument, Unavailable
from knarr.images.bootstrap import busybox, deb, debian, names, packages, sources, tools
from knarr.images.bootstrap.names import Recipe, with_packages
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
    assert not any(word.startswith("--include") for word in plan.command)
    more = with_packages(Recipe("debian", "bookworm"), ["python3", "git", "git"])
    plan = debian.plan(more, None, None, Platform("linux", "amd64"))
    assert "--include=git,python3" in plan.command
    unmerged = debian.plan(Recipe("debian", "bullseye"), None, None, Platform("linux", "amd64"))
    assert not any("setup-hook" in word for word in unmerged.command)


@pytest.mark.parametrize("name", ["g++", "libc6:i386", "git=1:2.39-1~deb12u1", "git/bookworm"])
def test_packages_are_named_as_for_apt(name: str) -> None:
    assert with_packages(Recipe("debian", "bookworm"), [name]).include == (name,)


@pytest.mark.parametrize(
    "name", ["", "x y", "Git", "-o", "?essential", "~n", "a,b", "a;b", "./a.deb"]
)
def test_what_is_no_package_is_refused(name: str) -> None:
    with pytest.raises(InvalidArgument, match="invalid package name"):
        with_packages(Recipe("debian", "bookworm"), [name])


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
    with pytest.raises(InvalidArgument, match="without packages"):
        room.images.bootstrap("busybox", include=["git"])
    with pytest.raises(InvalidArgument, match="lower case"):
        room.images.bootstrap("busybox", tag="Busybox")
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
