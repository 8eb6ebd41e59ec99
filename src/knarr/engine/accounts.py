"""Who ``--user`` means: the passwd and group files of an image or of a running container.

They are read through a descriptor of the root directory, resolved inside it,
so that no symbolic link of the image leads to a file of the host.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from knarr.engine.security.users import ResolvedUser, resolve_user
from knarr.errors import InvalidArgument, UnknownUser
from knarr.runtime import rootfs, userfiles

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.records import ContainerRecord
    from knarr.spec.mount import Mount

_CONTEXT_MOUNTS = (6, 8)  # the first kernel whose overlays need no place in a tree to be made

T = TypeVar("T")


def resolve(user: str, root: int, groups: Sequence[str] = ()) -> ResolvedUser:
    """Return the ids that ``user`` means in the root directory behind descriptor ``root``.

    groups: further ones, names or numbers. Raises UnknownUser as :func:`resolve_user`
    InvalidArgument, and for a file of 4 MiB or more.
    """
    return _resolved(user, *userfiles.read(root), groups)


def _resolved(user: str, passwd: bytes, group: bytes, groups: Sequence[str]) -> ResolvedUser:
    try:
        return resolve_user(user, passwd, group, groups)
    except InvalidArgument as error:
        raise UnknownUser(str(error)) from error


def resolve_in_image(engine: Engine, record: ContainerRecord, user: str) -> ResolvedUser:
    """Return the ids that ``user`` means in the container's image. Raises as :func:`resolve`.

    An image is read once for each user.
    """
    image_id, groups = record.image_id, record.config.group_add
    return engine.users.get(
        (image_id, user, groups), lambda: _read_image(engine, image_id, user, groups)
    )


def _read_image(engine: Engine, image_id: str, user: str, groups: tuple[str, ...]) -> ResolvedUser:
    image = engine.index.get(image_id)
    if not image.chain_id:
        return _resolved(user, b"", b"", groups)
    root = open_root(engine.driver.view(image.chain_id))
    try:
        return resolve(user, root, groups)
    finally:
        os.close(root)


def open_root(mounts: list[Mount]) -> int:
    """Return a descriptor of the root file system that ``mounts`` describe. Raises OSError.

    On kernels before 6.8 the mount is made in a mount namespace of its own; a
    thread that ends right away takes it, so that the caller's stays.
    """
    release = os.uname().release.split("-")[0].split(".")
    if tuple(int(part) for part in release[:2] if part.isdigit()) >= _CONTEXT_MOUNTS:
        return rootfs.open_root(mounts)
    return _in_thread(lambda: rootfs.open_root(mounts))


def _in_thread(work: Callable[[], T]) -> T:
    results: list[T] = []
    failures: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            failures.append(error)

    thread = threading.Thread(target=run, name="knarr-mount")
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
    return results[0]
