from pathlib import Path

import pytest

from knarr.errors import InvalidArgument, NotFound
from knarr.images.lockfile import file, sources

D1, D2 = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"
BOX, APP = "docker.io/library/busybox:latest", "localhost:5000/team/app:1.2"


def test_the_same_images_are_the_same_bytes(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    file.write(str(one), {BOX: D1, APP: D2})
    file.write(str(other), {APP: D2, BOX: D1})
    assert one.read_bytes() == other.read_bytes()
    assert one.read_text().endswith(f'[images]\n"{BOX}" = "{D1}"\n"{APP}" = "{D2}"\n')
    assert file.read(str(one)) == {APP: D2, BOX: D1}
    assert len(list(tmp_path.iterdir())) == 2


def test_a_file_that_says_it_already_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "knarr.lock"
    file.write(str(path), {BOX: D1})
    before = path.stat().st_ino
    file.write(str(path), {BOX: D1})
    assert path.stat().st_ino == before


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_replaced_and_not_followed(tmp_path: Path, there: bool) -> None:
    other, path = tmp_path / "somebody's", tmp_path / "knarr.lock"
    if there:
        other.write_text("precious")
    path.symlink_to(other)
    file.write(str(path), {BOX: D1})
    assert file.read(str(path)) == {BOX: D1}
    assert not path.is_symlink()
    assert (other.read_text() if other.exists() else "") == ("precious" if there else "")
    assert len(list(tmp_path.iterdir())) == 1 + there


def test_short_names_written_by_hand_are_meant_in_full(tmp_path: Path) -> None:
    path = tmp_path / "knarr.lock"
    path.write_text(f'version = 1\n[images]\nbusybox = "{D1}"\n')
    assert file.read(str(path)) == {BOX: D1}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "version None is not known"),
        ("version = 2\n", "version 2 is not known"),
        ("version = 1\nimages = 3\n", "images is no table"),
        (f'version = 1\n[images]\n"Bad Name" = "{D1}"\n', "invalid reference format"),
        (f'version = 1\n[images]\n"a@{D1}" = "{D1}"\n', "has a digest"),
        ('version = 1\n[images]\na = "sha256:12"\n', "is no digest"),
        ("version = 1\n[images]\na = 1\n", "1 is no digest"),
        ("{", "lock file"),
        ("\udcff", "lock file"),
    ],
)
def test_what_is_no_lock_file(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "knarr.lock"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InvalidArgument, match=reason):
        file.read(str(path))


def test_names_as_they_are_pinned(tmp_path: Path) -> None:
    path = str(tmp_path / "knarr.lock")
    file.write(path, {BOX: D1, APP: D2})
    assert file.pinned(path, "busybox") == f"busybox:latest@{D1}"
    assert file.pinned(path, "docker.io/library/busybox:latest") == f"busybox:latest@{D1}"
    assert file.pinned(path, APP) == f"{APP}@{D2}"
    for fixed in (f"busybox@{D2}", D2, "2" * 64):
        assert file.pinned(path, fixed) == fixed
    with pytest.raises(NotFound, match=r"busybox:1 is not in the lock file .*`knarr lock --lock"):
        file.pinned(path, "busybox:1")
    with pytest.raises(NotFound, match="no lock file"):
        file.pinned(path + "x", "busybox")


def test_names_come_from_words_and_files(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile.web").write_text(f"FROM debian:12\nFROM alpine@{D1}\n")
    (tmp_path / "compose.yml").write_text("services: {a: {image: 'redis:$V'}}\n")
    (tmp_path / ".env").write_text("V=7\n")
    files = [str(tmp_path / name) for name in ("Dockerfile.web", "compose.yml")]
    found = sources.references(["busybox", "debian:12"], files, {}, {})
    assert [each.familiar() for each in found] == ["busybox:latest", "debian:12", "redis:7"]


def test_a_file_is_named_by_what_is_wrong_with_it(tmp_path: Path) -> None:
    path = tmp_path / "Dockerfile"
    path.write_text("FROM Debian\n")
    with pytest.raises(InvalidArgument, match=f"{path}: invalid reference format"):
        sources.references([], [str(path)], {}, {})
    path.write_bytes(b"\xff")
    with pytest.raises(InvalidArgument, match="no text in UTF-8"):
        sources.references([], [str(path)], {}, {})
    with pytest.raises(NotFound, match="no file"):
        sources.references([], [str(path) + "x"], {}, {})


def test_the_usual_files(tmp_path: Path) -> None:
    assert sources.usual_files(str(tmp_path)) == []
    for name in ("docker-compose.yml", "compose.yml", "Dockerfile"):
        (tmp_path / name).touch()
    assert sources.usual_files(str(tmp_path)) == ["Dockerfile", "compose.yml"]
