from __future__ import annotations

import os
from pathlib import Path

import pytest

from knarr.runtime.seccomp import cache as cache_module
from knarr.runtime.seccomp import compile  # noqa: A004
from knarr.runtime.seccomp.cache import Cache

PROFILE = {
    "defaultAction": "SCMP_ACT_ERRNO",
    "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW"}],
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "seccomp"


def only_file(folder: Path) -> Path:
    (path,) = folder.iterdir()
    return path


def test_second_time_nothing_is_compiled(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Cache(str(folder)).program(PROFILE, "x86_64")
    assert first == compile(PROFILE, "x86_64")
    monkeypatch.delattr(cache_module, "compile")
    assert Cache(str(folder)).program(PROFILE, "x86_64") == first


def test_file_is_the_program_and_nobody_elses(folder: Path) -> None:
    path = Cache(str(folder)).file(PROFILE, "x86_64")
    assert Path(path) == only_file(folder)
    assert Path(path).read_bytes() == compile(PROFILE, "x86_64")
    assert os.stat(path).st_mode & 0o777 == 0o400
    assert os.stat(folder).st_mode & 0o777 == 0o700


def test_machine_and_profile_are_part_of_the_key() -> None:
    keys = {
        Cache.key(PROFILE, "x86_64"),
        Cache.key(PROFILE, "aarch64"),
        Cache.key({"defaultAction": "SCMP_ACT_ALLOW"}, "x86_64"),
    }
    assert len(keys) == 3


def test_version_of_the_compiler_is_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    before = Cache.key(PROFILE, "x86_64")
    monkeypatch.setattr(cache_module, "VERSION", 10**6)
    assert Cache.key(PROFILE, "x86_64") != before


@pytest.mark.parametrize("content", [b"", b"\0" * 7, b"\0" * 8 * 4097])
def test_file_of_the_wrong_length_is_made_again(folder: Path, content: bytes) -> None:
    cache = Cache(str(folder))
    path = Path(cache.file(PROFILE, "x86_64"))
    path.unlink()
    path.write_bytes(content)
    assert cache.program(PROFILE, "x86_64") == compile(PROFILE, "x86_64")
    assert path.read_bytes() == compile(PROFILE, "x86_64")


def test_file_that_others_could_write_is_made_again(folder: Path) -> None:
    cache = Cache(str(folder))
    path = Path(cache.file(PROFILE, "x86_64"))
    path.unlink()
    path.write_bytes(b"\x06\0\0\0\0\0\xff\x7f")  # allow everything
    path.chmod(0o666)
    assert cache.program(PROFILE, "x86_64") == compile(PROFILE, "x86_64")
    assert path.stat().st_mode & 0o777 == 0o400


def test_symbolic_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    cache = Cache(str(folder))
    path = Path(cache.file(PROFILE, "x86_64"))
    path.unlink()
    target = tmp_path / "elsewhere"
    target.write_bytes(b"\x06\0\0\0\0\0\xff\x7f")
    path.symlink_to(target)
    assert cache.program(PROFILE, "x86_64") == compile(PROFILE, "x86_64")
    assert not path.is_symlink()


def test_directory_that_cannot_be_made_costs_only_the_time(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = Cache(str(tmp_path / "file" / "seccomp"))
    assert cache.program(PROFILE, "x86_64") == compile(PROFILE, "x86_64")
    with pytest.raises(OSError, match="seccomp"):
        cache.file(PROFILE, "x86_64")


def test_bad_profile_is_not_kept(folder: Path) -> None:
    with pytest.raises(ValueError, match="defaultAction"):
        Cache(str(folder)).program({}, "x86_64")
    assert not folder.exists()
