"""Look-ups inside a root that lies about its paths."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program import memory, paths
from knarr.runtime.program.memory import PASSWD, PASSWD_SIZE, ROOT, TEMPORARY
from tests.support.programs import carry

pytestmark = pytest.mark.usefixtures("way")
OUT = TEMPORARY[0]


@pytest.fixture
def root(way: str, tmp_path: Path) -> Iterator[Path]:
    del way  # it empties the cells first
    (tmp_path / "outside").write_text("host")
    (tmp_path / "root/etc").mkdir(parents=True)
    fd = os.open(tmp_path / "root", os.O_PATH | os.O_DIRECTORY)
    ROOT.set(fd)
    yield tmp_path / "root"
    os.close(fd)


def taken() -> str:
    """Close the descriptor that a look-up gave and return where it leads."""
    fd = OUT.get()
    try:
        assert not os.get_inheritable(fd)
        return os.readlink(f"/proc/self/fd/{fd}")
    finally:
        os.close(fd)


def opened(path: str, *, follow: bool = True) -> str:
    carry(partial(paths.open_in_root, path=path, out=OUT, follow=follow))
    return taken()


def directory(path: str, *, follow: bool = True) -> str:
    carry(partial(paths.ensure_directory, path=path, out=OUT, follow=follow))
    return taken()


def tried(path: str) -> int:
    carry(partial(paths.try_directory, path=path, result=OUT))
    return OUT.get()


def file(path: str) -> str:
    carry(partial(paths.ensure_file, path=path, out=OUT))
    return taken()


def content(path: str) -> bytes:
    PASSWD_SIZE.set(-1)
    carry(partial(paths.read_file, path=path, address=PASSWD, size=PASSWD_SIZE))
    return memory.read(PASSWD, PASSWD_SIZE.get())


@pytest.mark.parametrize("link", ["/outside", "../outside", "../../../../../../outside"])
def test_links_end_inside(root: Path, link: str) -> None:
    (root / "link").symlink_to(link)
    with pytest.raises(FileNotFoundError, match=r"openat2: No such file or directory: /link$"):
        opened("/link")
    (root / "outside").write_text("inside")
    assert content("/link") == b"inside"
    assert opened("/link") == str(root / "outside")


@pytest.mark.parametrize("path", ["/etc/passwd", "../etc/passwd", "/../../etc/passwd"])
def test_paths_do_not_climb(root: Path, path: str) -> None:
    (root / "etc/passwd").write_text("image")
    assert content(path) == b"image"


def test_links_of_proc_are_not_followed(root: Path) -> None:
    (root / "magic").symlink_to("/proc/self/root/etc/passwd")
    assert content("/magic") == b""


def test_no_links_at_all_where_asked(root: Path) -> None:
    (root / "proc").symlink_to("etc")
    for path in ("/proc", "/proc/x"):
        with pytest.raises(OSError, match=path) as caught:
            opened(path, follow=False)
        assert caught.value.errno == errno.ELOOP
    with pytest.raises(OSError, match="/proc/x") as caught:
        directory("/proc/x", follow=False)
    assert caught.value.errno == errno.ELOOP
    assert os.listdir(root / "etc") == []


@pytest.mark.parametrize("kind", ["missing", "directory", "fifo", "loop", "socket"])
def test_what_is_no_file_reads_as_nothing(root: Path, kind: str) -> None:
    target = root / "file"
    if kind == "directory":
        target.mkdir()
    elif kind == "fifo":
        os.mkfifo(target)
    elif kind == "loop":
        target.symlink_to("file")
    elif kind == "socket":
        os.mknod(target, 0o140644)
    assert content("/file") == b""


def test_reading_stops_at_the_limit(root: Path) -> None:
    with (root / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    memory.write(PASSWD + memory.FILE_LIMIT, b"next")
    assert content("/huge") == bytes(memory.FILE_LIMIT)
    assert memory.read(PASSWD + memory.FILE_LIMIT, 4) == b"next"


def test_directories_are_made_one_by_one(root: Path) -> None:
    before = os.umask(0o022)
    try:
        assert directory("/a/./b//c") == str(root / "a/b/c")
    finally:
        os.umask(before)
    assert (root / "a/b").stat().st_mode == (root / "a/b/c").stat().st_mode == 0o40755
    assert directory("/a/b/c/") == str(root / "a/b/c")
    assert directory("/") == str(root)


def test_directories_are_made_where_links_lead_inside(root: Path) -> None:
    (root / "var").symlink_to("/etc/../etc")
    assert directory("/var/lib/x") == str(root / "etc/lib/x")


def test_nothing_is_made_behind_a_link_to_nowhere(root: Path, tmp_path: Path) -> None:
    (root / "dangling").symlink_to(f"{tmp_path}/new")
    with pytest.raises(FileExistsError, match="/dangling is a symbolic link to nowhere"):
        directory("/dangling/sub")
    with pytest.raises(FileNotFoundError, match="/dangling"):
        file("/dangling")
    assert tried("/dangling/sub") == -errno.EEXIST
    assert not (tmp_path / "new").exists()
    assert sorted(os.listdir(root)) == ["dangling", "etc"]


def test_a_directory_where_a_file_is(root: Path) -> None:
    (root / "file").touch()
    for path in ("/file", "/file/sub"):
        with pytest.raises(NotADirectoryError):
            directory(path)
        assert tried(path) == -errno.ENOTDIR


def test_a_directory_may_be_tried(root: Path) -> None:
    for _ in range(2):
        assert tried("/made/here") >= 0
        assert (root / "made/here").is_dir()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(OUT.get())


def test_files_are_made_empty_and_kept(root: Path) -> None:
    assert file("/x/y/z") == str(root / "x/y/z")
    assert (root / "x/y/z").read_bytes() == b""
    (root / "x/y/z").write_text("kept")
    assert file("/x/y/z") == str(root / "x/y/z")
    assert (root / "x/y/z").read_text() == "kept"


@pytest.mark.parametrize(
    ("kind", "mode"), [("file", 0o100000), ("directory", 0o040000), ("socket", 0o140000)]
)
def test_types_are_told_apart(root: Path, kind: str, mode: int) -> None:
    target = root / "etc/it"
    if kind == "file":
        target.touch()
    elif kind == "directory":
        target.mkdir()
    else:
        os.mknod(target, 0o140644)
    for wanted in (0o100000, 0o040000, 0o140000, 0o120000):
        look = partial(paths.status, directory=ROOT, name="etc/it")
        check = partial(paths.check_type, kind=wanted, errno=errno.EPERM, path="/etc/it")
        if wanted == mode:
            carry(look, check)
        else:
            with pytest.raises(PermissionError, match=r"block 1: check: .*: /etc/it$"):
                carry(look, check)


def test_device_numbers_and_inodes_are_compared(root: Path) -> None:
    null = os.open("/dev/null", os.O_PATH)
    OUT.set(null)
    look = partial(paths.status, directory=OUT)
    carry(look, partial(paths.check_device, major=1, minor=3, path="/dev/null"))
    for major, minor in ((1, 5), (2, 3)):
        with pytest.raises(OSError, match="/dev/null") as caught:
            carry(look, partial(paths.check_device, major=major, minor=minor, path="/dev/null"))
        assert caught.value.errno == errno.ENXIO
    os.close(null)
    number = root.stat().st_ino
    assert number < 1 << 32

    def explain(name: str, code: int) -> RuntimeFailure:
        return RuntimeFailure("error", name, "another inode", code)

    look = partial(paths.status, directory=ROOT)
    carry(look, partial(paths.check_inode, number=number, explain=explain))
    with pytest.raises(PermissionError, match="another inode"):
        carry(look, partial(paths.check_inode, number=number + 1, explain=explain))


def test_no_descriptor_is_left(root: Path) -> None:
    before = os.listdir("/proc/self/fd")
    (root / "etc/passwd").write_text("x")
    (root / "dangling").symlink_to("/nowhere")
    for _ in range(5):
        content("/etc/passwd")
        content("/etc")
        directory("/n/m")
        file("/n/f")
        tried("/n/t/u")
        tried("/etc/passwd")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_try_that_fails_leaves_no_descriptor(root: Path) -> None:
    (root / "dangling").symlink_to("/nowhere")
    before = os.listdir("/proc/self/fd")
    assert tried("/dangling/sub") == -errno.EEXIST
    assert len(os.listdir("/proc/self/fd")) == len(before)
