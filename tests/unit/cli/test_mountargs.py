"""-v and --tmpfs."""

from __future__ import annotations

from pathlib import Path

import pytest

from knarr.cli import mountargs
from knarr.engine.model import BindMount, Tmpfs
from knarr.errors import InvalidArgument, Unsupported


def test_bind() -> None:
    assert mountargs.bind("/a:/b") == BindMount("/a", "/b")
    assert mountargs.bind("/a/../c:/b/:ro") == BindMount("/c", "/b", read_only=True)
    assert mountargs.bind("/a:/b:rw,rshared") == BindMount("/a", "/b", propagation="rshared")
    assert mountargs.bind("/a:/b:cached") == BindMount("/a", "/b")


def test_relative_paths_are_taken_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert mountargs.bind("./data:/d").source == f"{tmp_path}/data"
    assert mountargs.bind(".:/d").source == str(tmp_path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (":x", "invalid spec: :x: empty section between colons"),
        ("/a:/b:c:d", "invalid volume specification"),
        ("/a:b", "mount path must be absolute"),
        ("/a:/", "destination can't be '/'"),
        ("/a:/b:foo", "invalid mode: foo"),
        ("/a:/b:ro,rw", "invalid mode"),
        ("/a:/b:nocopy", "nocopy"),
    ],
)
def test_bind_refuses(text: str, message: str) -> None:
    with pytest.raises(InvalidArgument, match=message):
        mountargs.bind(text)


def test_volumes_are_named_as_not_available() -> None:
    with pytest.raises(Unsupported, match=r"named volumes are not available yet.*\./data"):
        mountargs.bind("data:/d")
    with pytest.raises(Unsupported, match="anonymous volumes"):
        mountargs.bind("/d")


def test_selinux_labels_matter_only_where_selinux_is() -> None:
    assert mountargs.bind("/a:/b:z", exists=lambda _path: False) == BindMount("/a", "/b")
    with pytest.raises(Unsupported, match="SELinux"):
        mountargs.bind("/a:/b:Z", exists=lambda _path: True)


def test_tmpfs() -> None:
    assert mountargs.tmpfs("/tmp") == Tmpfs("/tmp")
    assert mountargs.tmpfs("/tmp:size=64m,mode=1777") == Tmpfs("/tmp", ("size=64m", "mode=1777"))
    for text in ("tmp", "/", ""):
        with pytest.raises(InvalidArgument):
            mountargs.tmpfs(text)
