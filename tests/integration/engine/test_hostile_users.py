"""Files of users that an image has made strange: nothing outside the container is ever read."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, ExecConfig, errors
from knarr.engine.model import Tmpfs

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from knarr import Container, Engine

    Run = Callable[[Container, str], str]

# Without id(1), which would look into the same files.
WHO = (
    "sh",
    "-c",
    "while read k v w; do case $k in Uid:) u=$v;; Gid:) echo $u $v; esac; done </proc/self/status",
)
LIMIT = 4 << 20
HOSTS = "hostonly:x:4242:4242::/:/bin/sh\n"


def replaced(engine: Engine, *members: tuple[str, bytes, str | bytes]) -> Container:
    """Make a container in whose /etc there is something else: (name, tar's type, what)."""
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "100")))
    container.remove_path("/etc/passwd")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, kind, what in members:
            member = tarfile.TarInfo(name)
            member.type, member.mode = kind, 0o644
            data = what if isinstance(what, bytes) else b""
            member.size = len(data)
            member.linkname = what if isinstance(what, str) else ""
            tar.addfile(member, io.BytesIO(data))
    archive.seek(0)
    container.put_archive("/etc", archive)
    return container


def of_the_image(engine: Engine, container: Container, user: str) -> str:
    """Run by a user of an image with these files, which the engine looks at."""
    container.commit("strange")
    config = ContainerConfig("strange", WHO, user=user, auto_remove=True)
    return engine.containers.run(config).text


def of_the_container(engine: Engine, container: Container, user: str) -> str:
    """The same with a mount, where the runtime looks, inside."""
    container.commit("strange")
    tmpfs = (Tmpfs("/tmp"),)
    config = ContainerConfig("strange", WHO, user=user, auto_remove=True, tmpfs=tmpfs)
    return engine.containers.run(config).text


def of_a_command(engine: Engine, container: Container, user: str) -> str:
    """The same for a command in a container that runs."""
    del engine
    if not container.state.running:
        container.start()
    return container.exec_run(ExecConfig(WHO, user=user)).text


WAYS = (of_the_image, of_the_container, of_a_command)


@pytest.fixture(params=WAYS, ids=lambda way: way.__name__)
def run(request: pytest.FixtureRequest, engine: Engine) -> Run:
    """One of the ways in which a name comes to be looked up."""
    way = request.param
    return lambda container, user: str(way(engine, container, user)).strip()


@pytest.mark.parametrize("climb", ["", "../../../../../.."])
def test_a_link_out_of_the_root(engine: Engine, run: Run, tmp_path: Path, climb: str) -> None:
    (tmp_path / "passwd").write_text(HOSTS)
    container = replaced(engine, ("passwd", tarfile.SYMTYPE, f"{climb}{tmp_path}/passwd"))
    with pytest.raises(errors.UnknownUser, match="unable to find user hostonly: no matching"):
        run(container, "hostonly")
    assert run(container, "4242") == "4242 0"
    container.remove(force=True)


def test_links_that_lead_through_processes(engine: Engine, run: Run) -> None:
    container = replaced(engine, ("passwd", tarfile.SYMTYPE, "/proc/1/root/etc/passwd"))
    with pytest.raises(errors.UnknownUser, match="unable to find user daemon"):
        run(container, "daemon")
    container.remove(force=True)


def test_a_link_within_the_root_is_followed(engine: Engine, run: Run) -> None:
    users = b"me:x:71:72::/:/bin/sh\n"
    container = replaced(
        engine, ("users", tarfile.REGTYPE, users), ("passwd", tarfile.SYMTYPE, "/../etc/users")
    )
    assert run(container, "me") == "71 72"
    container.remove(force=True)


@pytest.mark.parametrize("kind", [tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_what_is_no_file_is_as_good_as_none(engine: Engine, run: Run, kind: bytes) -> None:
    container = replaced(engine, ("passwd", kind, ""))
    with pytest.raises(errors.UnknownUser, match="unable to find user me: no matching entries"):
        run(container, "me")
    assert run(container, "7:8") == "7 8"
    container.remove(force=True)


def test_a_link_to_itself_is_as_good_as_none(engine: Engine, run: Run) -> None:
    container = replaced(engine, ("passwd", tarfile.SYMTYPE, "passwd"))
    with pytest.raises(errors.UnknownUser, match="unable to find user me"):
        run(container, "me")
    assert run(container, "7") == "7 0"
    container.remove(force=True)


def test_a_huge_file_is_refused_and_not_cut(engine: Engine, run: Run) -> None:
    line = b"me:x:71:7200::/:/bin/sh\n"
    filling = b"#" * (LIMIT - len(b"\nme:x:71:7")) + b"\n"  # cut there, the group would be 7
    container = replaced(engine, ("passwd", tarfile.REGTYPE, filling + line))
    with pytest.raises(errors.UnknownUser, match=f"/etc/passwd .* has {LIMIT} bytes or more"):
        run(container, "me")
    container.remove(force=True)


def test_a_file_as_large_as_may_be(engine: Engine, run: Run) -> None:
    line = b"me:x:71:72::/:/bin/sh\n"
    filling = b"#" * (LIMIT - len(line) - 2) + b"\n"
    container = replaced(engine, ("passwd", tarfile.REGTYPE, filling + line))
    assert run(container, "me") == "71 72"
    container.remove(force=True)
