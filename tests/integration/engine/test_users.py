"""Who a command runs as: looked up when it starts, in the container's own files."""

from __future__ import annotations

import io
import tarfile
from typing import TYPE_CHECKING

import pytest

from knarr import ContainerConfig, ExecConfig, errors
from knarr.engine.model import Tmpfs

if TYPE_CHECKING:
    from knarr import Container, Engine

ME = b"root:x:0:0:root:/root:/bin/sh\nme:x:71:72:Me:/home/me:/bin/sh\n"
OURS = b"root:x:0:\nus:x:73:me\n"
UNKNOWN = "unable to find user me: no matching entries in passwd file"
WHO = ("sh", "-c", "echo $(id -u) $(id -g) $(id -G) $HOME")


def put(container: Container, passwd: bytes, group: bytes) -> None:
    """Replace the user files of a container, as ``knarr cp`` does."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, data in (("passwd", passwd), ("group", group)):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    archive.seek(0)
    container.put_archive("/etc", archive)


def output(container: Container) -> str:
    attachment = container.start(attach=True)
    assert attachment is not None
    with attachment:
        return b"".join(data for _, data in attachment.output(30)).decode().strip()


def test_an_unknown_user_fails_at_start_and_leaves_the_container(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("true",), user="me"))
    with pytest.raises(errors.UnknownUser) as caught:
        container.start()
    assert str(caught.value) == UNKNOWN
    assert container.status == "created"
    container.remove()


def test_the_containers_own_files_count(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", WHO, user="me"))
    put(container, ME, OURS)
    assert output(container) == "71 72 72 73 /home/me"
    put(container, ME.replace(b":71:", b":81:"), OURS)
    assert output(container) == "81 72 72 73 /home/me"
    put(container, b"", b"")
    with pytest.raises(errors.UnknownUser) as caught:
        container.start()
    assert str(caught.value) == UNKNOWN
    assert container.status == "exited"


def test_with_mounts_the_runtime_looks(engine: Engine) -> None:
    config = ContainerConfig("busybox", WHO, user="me:72", tmpfs=(Tmpfs("/tmp"),))
    container = engine.containers.create(config)
    with pytest.raises(errors.UnknownUser) as caught:
        container.start()
    assert str(caught.value) == UNKNOWN
    put(container, ME, OURS)
    assert output(container) == "71 72 72 /home/me"


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("0:them", "unable to find group them: no matching entries in group file"),
        ("4294967296", "uids and gids must be in range 0-2147483647"),
    ],
)
def test_bad_groups_and_numbers(engine: Engine, user: str, text: str) -> None:
    with pytest.raises(errors.UnknownUser, match=text):
        engine.containers.run(ContainerConfig("busybox", ("true",), user=user, auto_remove=True))
    assert engine.table.all() == []


def test_exec_looks_when_it_starts(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "100"), user="me"))
    put(container, ME, OURS)
    container.start()
    assert container.exec_run(ExecConfig(WHO)).text == "71 72 72 73 /home/me\n"
    container.exec_run(ExecConfig(("sed", "-i", "s/:71:/:91:/", "/etc/passwd"), user="root"))
    assert container.exec_run(ExecConfig(WHO)).text == "91 72 72 73 /home/me\n"
    assert container.exec_run(ExecConfig(WHO, user="root")).text == "0 0 0 /root\n"
    with pytest.raises(errors.UnknownUser) as caught:
        container.exec_run(ExecConfig(WHO, user="you"))
    assert str(caught.value) == "unable to find user you: no matching entries in passwd file"
