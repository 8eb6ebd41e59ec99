"""What is otherwise in another image: files by the rules of layers, and settings."""

import io
import tarfile
from typing import Any

import pytest

from knarr.errors import InvalidArchive, NotFound, PlatformNotFound
from knarr.images.comparing import Comparison, ConfigChange, FileChange
from tests.unit.images.helpers import Room, load, tar_of
from tests.unit.images.several import several


def tar(*members: tuple[str, dict[str, Any], bytes]) -> bytes:
    """Return a tar of members with fields of TarInfo."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as made:
        for name, fields, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            for key, value in fields.items():
                setattr(info, key, value)
            made.addfile(info, io.BytesIO(data))
    return out.getvalue()


def diff(room: Room, before: list[bytes], after: list[bytes]) -> Comparison:
    load(room, before, "a:1")
    load(room, after, "a:2")
    return room.images.diff("a:1", "a:2")


def lines(found: Comparison) -> list[str]:
    return [f"{each.kind} {each.path}" for each in found.files]


BASE = tar_of({"etc": None, "etc/a": b"one", "etc/b": b"two", "lib": None, "lib/x": b"x" * 100})


def test_the_same_image_differs_in_nothing(room: Room) -> None:
    found = diff(room, [BASE], [BASE])
    assert found == Comparison((), (), 1, (1, 1))


def test_what_a_layer_more_does(room: Room) -> None:
    upper = tar_of(
        {"etc/a": b"other", "etc/.wh.b": b"", "new": None, "new/file": b"123", "lib/x": b"x" * 100}
    )
    found = diff(room, [BASE], [BASE, upper])
    assert found.files == (
        FileChange("C", "/etc/a", 3, 5, ("content",)),
        FileChange("D", "/etc/b", 3, 0),
        FileChange("A", "/new", 0, 0),
        FileChange("A", "/new/file", 0, 3),
    )
    assert (found.shared, found.layers) == (1, (1, 2))
    back = room.images.diff("a:2", "a:1")
    assert lines(back) == ["C /etc/a", "A /etc/b", "D /new"]
    assert back.files[2].before == 3


def test_the_same_files_in_other_layers_are_the_same(room: Room) -> None:
    one = [tar_of({"a": b"1"}), tar_of({"b": b"2", "c": b"3"}), tar_of({".wh.c": b""})]
    found = diff(room, one, [tar_of({"b": b"2", "a": b"1"})])
    assert found.files == ()
    assert found.shared == 0


@pytest.mark.parametrize("first", [True, False])
def test_an_opaque_directory_hides_what_is_below_and_not_its_own(room: Room, first: bool) -> None:
    mark: dict[str, bytes | str | None] = {"etc/.wh..wh..opq": b""}
    own: dict[str, bytes | str | None] = {"etc/c": b"c"}
    upper = tar_of({**mark, **own} if first else {**own, **mark})
    assert lines(diff(room, [BASE], [BASE, upper])) == ["D /etc/a", "D /etc/b", "A /etc/c"]


def test_directories_keep_what_is_in_them_and_files_replace_it(room: Room) -> None:
    upper = tar(("etc", {"type": tarfile.DIRTYPE, "mode": 0o700}, b""), ("lib", {}, b"a file"))
    found = diff(room, [BASE], [BASE, upper])
    assert found.files == (
        FileChange("C", "/etc", 0, 0, ("mode 0755 -> 0700",)),
        FileChange("C", "/lib", 0, 6, ("directory -> file", "mode 0755 -> 0644")),
        FileChange("D", "/lib/x", 100, 0),
    )


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ({}, {"uid": 7, "gid": 8}, "owner 0:0 -> 7:8"),
        ({}, {"mode": 0o4755}, "mode 0644 -> 4755"),
        ({}, {"pax_headers": {"SCHILY.xattr.user.k": "v"}}, "extended attributes"),
        ({"mtime": 1}, {"mtime": 2}, None),
        (
            {"type": tarfile.SYMTYPE, "linkname": "x"},
            {"type": tarfile.SYMTYPE, "linkname": "y"},
            "target",
        ),
        (
            {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 3},
            {"type": tarfile.CHRTYPE, "devmajor": 1, "devminor": 5},
            "device",
        ),
        ({}, {"type": tarfile.FIFOTYPE}, "file -> fifo"),
    ],
)
def test_what_of_a_file_may_be_otherwise(
    room: Room, before: dict[str, Any], after: dict[str, Any], what: str | None
) -> None:
    found = diff(room, [tar(("f", before, b""))], [tar(("f", after, b""))])
    assert [each.what for each in found.files] == ([] if what is None else [(what,)])


def test_links_are_followed_within_the_image(room: Room) -> None:
    base = tar_of({"usr": None, "usr/lib": None, "lib": "/usr/lib", "up": "../../usr"})
    upper = tar_of({"lib/x": b"1", "up/y": b"2"})
    assert lines(diff(room, [base], [base, upper])) == ["A /usr/lib/x", "A /usr/y"]


def test_a_hard_link_is_its_file(room: Room) -> None:
    linked = tar(("f", {}, b"data"), ("g", {"type": tarfile.LNKTYPE, "linkname": "f"}, b""))
    copied = tar(("f", {}, b"data"), ("g", {}, b"data"))
    assert diff(room, [linked], [copied]).files == ()
    over = tar(("h", {"type": tarfile.LNKTYPE, "linkname": "f"}, b""))
    assert diff(room, [linked], [linked, over]).files == (FileChange("A", "/h", 0, 4),)


def test_names_that_are_no_text(room: Room) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as made:
        made.addfile(tarfile.TarInfo("caf\udce9"))
    found = diff(room, [BASE], [BASE, out.getvalue()])
    assert found.files == (FileChange("A", "/caf\udce9", 0, 0),)


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        (tar(("g", {"type": tarfile.LNKTYPE, "linkname": "none"}, b"")), "hard link to /none"),
        (tar_of({"a": "b", "b": "a", "a/x": b""}), "too many links"),
        (tar_of({"/".join("d" * 500): b""}), "directories within each other"),
        (b"\1" * 1024, "layer"),
    ],
)
def test_layers_that_are_none(room: Room, layer: bytes, reason: str) -> None:
    load(room, [layer], "bad:1")
    with pytest.raises(InvalidArchive, match=reason):
        room.images.diff("bad:1", "bad:1")


# --- settings ---------------------------------------------------------------------


def test_settings_variable_by_variable(room: Room) -> None:
    one = {"Env": ["PATH=/bin", "A=1"], "Cmd": ["sh"], "Labels": {"x": "1"}, "User": ""}
    two = {
        "Env": ["A=2", "PATH=/bin", "B=x=y"],
        "Entrypoint": ["/app"],
        "Labels": {"x": "1", "y": "2"},
        "ExposedPorts": {"80/tcp": {}},
        "User": "app",
    }
    load(room, [BASE], "a:1", config=one)
    load(room, [BASE], "a:2", config=two, architecture="arm64")
    found = room.images.diff("a:1", "a:2")
    assert found.files == ()
    assert found.config == (
        ConfigChange("Cmd", '["sh"]', None),
        ConfigChange("Entrypoint", None, '["/app"]'),
        ConfigChange("Env A", "1", "2"),
        ConfigChange("Env B", None, "x=y"),
        ConfigChange("ExposedPorts 80/tcp", None, ""),
        ConfigChange("Labels y", None, "2"),
        ConfigChange("User", None, "app"),
        ConfigChange("architecture", "amd64", "arm64"),
    )


def test_platforms_of_images_that_have_several(room: Room) -> None:
    one, two = several(), several("docker.io/library/app:2", arm64=tar_of({"n": b""}))
    for layout in (one, two):
        room.images.load(io.BytesIO(tar_of(layout.done())))
    assert lines(room.images.diff("app:1", "app:2", platform="linux/arm64")) == ["A /n"]
    assert room.images.diff("app:1", "app:2", platform="linux/s390x").files == ()
    with pytest.raises(PlatformNotFound):
        room.images.diff("app:1", "app:2", platform="linux/riscv64")
    with pytest.raises(NotFound):
        room.images.diff("app:1", "app:3")
