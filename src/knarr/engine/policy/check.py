"""What the engine asks policies before it makes, starts or changes something."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from knarr import errors
from knarr.engine import accounts, sharing
from knarr.engine.model import OTHER
from knarr.engine.policy.rules import NAMESPACES, Facts, Rules
from knarr.engine.spec_process import USER_NAME
from knarr.images.reference import Reference
from knarr.runtime.users import resolve_user

if TYPE_CHECKING:
    from knarr.engine.create import Prepared
    from knarr.engine.engine import Engine
    from knarr.engine.model import ContainerConfig
    from knarr.engine.records import ContainerRecord
    from knarr.images.index import ImageRecord
    from knarr.runtime.users import ResolvedUser

CheckBind = Callable[[str, bool], None]


def new(
    engine: Engine,
    rules: Rules,
    config: ContainerConfig,
    image: ImageRecord,
    tag: str | None,
    spec: Mapping[str, Any],
) -> None:
    """Check a container before there is anything of it.

    tag: the name by which its image was found, None for an id. Who a name means is
    checked by :func:`of_image` once its files are there. Raises RefusedByPolicy.
    """
    rules.container(_facts(engine, config, image, [tag] if tag else [], spec))


def of_image(engine: Engine, rules: Rules, record: ContainerRecord, user: str) -> None:
    """Check whom a new container is to run as by the files of its image. Raises RefusedByPolicy."""
    if rules.non_root:
        try:
            rules.user(accounts.resolve_in_image(engine, record, user).uid)
        except errors.InvalidArgument:
            return  # its own files may know the user when it is started


def start(
    engine: Engine, rules: Rules, prepared: Prepared, known: ResolvedUser | None
) -> ResolvedUser | None:
    """Check a container that is going to be started by the policies as they are now.

    known: who it runs as, if that was looked up. Where policies want to know, a name is looked up
    here, in the container's own files without what is mounted over them, and returned, so
    that nothing can come to mean another user afterwards. Raises RefusedByPolicy, UnknownUser.
    """
    import json

    record = prepared.record
    spec = json.loads(prepared.spec(None))
    if known is None and rules.non_root and prepared.user is not None:
        root = accounts.open_root(engine.driver.mounts(record.id))
        try:
            known = accounts.resolve(prepared.user, root, record.config.group_add)
        finally:
            os.close(root)
    image = engine.index.get(record.image_id)
    names = _by_name(record.config.image, image)
    rules.container(_facts(engine, record.config, image, names, spec))
    if known is not None:
        rules.user(known.uid)
    return known


def _by_name(word: str, image: ImageRecord) -> list[str]:
    """Return the name that an image was asked for by, if the word was no id."""
    bare = word.removeprefix("sha256:")
    if image.id.removeprefix("sha256:").startswith(bare):
        return []
    try:
        return [str(Reference.parse(word))]
    except errors.InvalidArgument:
        return []


def _facts(
    engine: Engine,
    config: ContainerConfig,
    image: ImageRecord,
    names: list[str],
    spec: Mapping[str, Any],
) -> Facts:
    user = spec["process"]["user"]
    indexes = {
        found.digest
        for found in engine.index.indexes()
        if any(member.image_id == image.id for member in found.members)
    }
    return Facts(
        config,
        spec,
        _number(user[USER_NAME]) if USER_NAME in user else int(user["uid"]),
        _shared(engine, config, spec),
        [*names, *engine.index.tags(image.id), *image.repo_digests],
        frozenset({image.id, image.manifest_digest, *indexes}),
    )


def _number(user: str) -> int | None:
    """Return the uid that a user means whatever files say; None for a name."""
    try:
        return resolve_user(user.partition(":")[0], b"", b"").uid
    except errors.InvalidArgument:
        return None


def _shared(engine: Engine, config: ContainerConfig, spec: Mapping[str, Any]) -> frozenset[str]:
    """Return the kinds of namespaces that are the host's, also by way of other containers."""
    own = {entry["type"] for entry in spec["linux"].get("namespaces") or ()}
    found = set(NAMESPACES) - own
    for kind in ("network", "pid", "ipc"):
        mode: str | None = getattr(config, kind)
        while mode is not None and mode.startswith(OTHER):
            mode = getattr(engine.table.find(mode.removeprefix(OTHER)).config, kind)
        if mode == "host":
            found.add(kind)
    if "user" in own and sharing.user_owner(config) is not None:
        owner = engine.table.find(sharing.user_owner(config) or "")
        if owner.id_slot is None:
            found.add("user")
    return frozenset(found)


def binds(rules: Rules | None) -> CheckBind | None:
    """Return what checks a path of the host that was opened to be mounted; None: nobody asks."""
    if rules is None or not rules.checks_binds:
        return None
    return lambda path, read_only: rules.bind(path, read_only=read_only)
