"""``knarr rmi``, by Docker's rules; ``pruning`` removes by the same.

By name: the name goes; the image itself only with its last name. A repository and digest are a
name, too, if a registry is known to have the image by it. By id: the image
goes with its name; with several names only when forced. An image that a container was
made from keeps its bytes for as long as there is the container: forced, it loses only
its names, and is dangling once the container is gone. Docker deletes the image of a
stopped container when forced, after which the container has none.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from knarr.content import digest as digests
from knarr.errors import Conflict, NotFound
from knarr.images import garbage, tars
from knarr.images.context import Context
from knarr.images.find import is_id
from knarr.images.index import ImageRecord, IndexRecord, Member
from knarr.images.platform import Platform
from knarr.images.reference import Reference
from knarr.images.target import find_target, for_platform, led_by

Action = tuple[str, str]
"""``("Untagged", name)`` or ``("Deleted", digest)``, as Docker prints them."""

IsRunning = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class PruneResult:
    """What ``prune`` did: its actions and the bytes of disk that came free."""

    actions: tuple[Action, ...]
    reclaimed: int


def remove(
    context: Context, name: str, *, force: bool, no_prune: bool, is_running: IsRunning
) -> list[Action]:
    """Remove a name, or an image by id, and return what was done in order.

    An image for several platforms goes with all of them. ``no_prune`` keeps blobs and unpacked
    layers until the next prune. Raises NotFound, and Conflict when other names or containers
    hold the image.
    """
    target = find_target(context.index, name)
    record = target.record
    tags = context.index.tags(record.id)
    users = [user for each in target.records for user in context.index.in_use(each.id)]
    by_id = is_id(name, record) and context.index.resolve(_canonical(name)) is None
    whole = target.whole.digest if target.whole else ""
    by_digest = name in (whole, whole.removeprefix("sha256:"))
    if "@" in name and (gone := _forget_digest(context, record, name, named=bool(tags))):
        return gone
    if by_id or by_digest or "@" in name:
        _check_by_id(record, tags, users, force=force, is_running=is_running)
        return delete(context, record, keep_bytes=no_prune)
    reference = Reference.parse(name)
    elsewhere = [x for x in record.repo_digests if not x.startswith(f"{reference.name}@")]
    last = len(tags) <= 1 and not elsewhere
    if last and users and not force:
        raise Conflict(
            f"conflict: unable to remove repository reference {reference.familiar()!r} (must force)"
            f" - container {users[0][:12]} is using its referenced image {_short(record.id)}"
        )
    if not last:
        context.index.untag(str(reference))
        taken = Taken(context)
        if target.whole and target.whole.digest not in context.index.index_names().values():
            taken.index(target.whole)
        taken.collect(keep_bytes=no_prune)
        gone = [("Untagged", reference.familiar()), *_forget_digests(context, record, reference)]
        return [*gone, *taken.actions]
    return delete(context, record, keep_bytes=no_prune)


def remove_platform(
    context: Context, name: str, wanted: Platform, *, no_prune: bool
) -> list[Action]:
    """Remove one platform of an image and return what was done.

    The last one takes the image and its name along. Raises NotFound, Conflict when a container
    was made from it.
    """
    target = find_target(context.index, name)
    member, record = for_platform(target, wanted, name)
    if users := context.index.in_use(record.id):
        raise Conflict(
            f"conflict: unable to delete {wanted} of {name} (cannot be forced)"
            f" - container {users[0][:12]} is using it"
        )
    if target.whole is None or member is None or len(target.members) == 1:
        return remove(context, name, force=False, no_prune=no_prune, is_running=bool)
    taken = Taken(context)
    taken.member(target.whole, member)
    taken.collect(keep_bytes=no_prune)
    return taken.actions


def _check_by_id(
    record: ImageRecord, tags: list[str], users: list[str], *, force: bool, is_running: IsRunning
) -> None:
    short = _short(record.id)
    for user in users:
        if is_running(user):
            raise Conflict(
                f"conflict: unable to delete {short} (cannot be forced)"
                f" - image is being used by running container {user[:12]}"
            )
        if not force:
            raise Conflict(
                f"conflict: unable to delete {short} (must be forced)"
                f" - image is being used by stopped container {user[:12]}"
            )
    if not force and len(tags) > 1:
        raise Conflict(
            f"conflict: unable to delete {short} (must be forced)"
            " - image is referenced in multiple repositories"
        )


def _forget_digest(
    context: Context, record: ImageRecord, name: str, *, named: bool
) -> list[Action]:
    """Forget one digest that an image is known by; nothing if that is the last of its names."""
    reference = Reference.parse(name)
    known = f"{reference.name}@{reference.digest}"
    left = tuple(each for each in record.repo_digests if each != known)
    if len(left) == len(record.repo_digests) or not (left or named):
        return []
    context.index.add(replace(record, repo_digests=left))
    return [("Untagged", Reference.parse(known).familiar())]


def _forget_digests(context: Context, record: ImageRecord, reference: Reference) -> list[Action]:
    """Forget the digests that a repository has an image by, with the last of its tags there."""
    names = (Reference.parse(tag).name for tag in context.index.tags(record.id))
    if reference.name in names:
        return []
    gone = [each for each in record.repo_digests if each.startswith(f"{reference.name}@")]
    if gone:
        left = tuple(each for each in record.repo_digests if each not in gone)
        context.index.add(replace(record, repo_digests=left))
    return [("Untagged", Reference.parse(each).familiar()) for each in gone]


def delete(context: Context, record: ImageRecord, *, keep_bytes: bool) -> list[Action]:
    """Remove an image with its names and platforms and return what was done.

    One that containers use only loses its names. Raises NotFound, Conflict when it has come
    into use just now.
    """
    names = context.index.tags(record.id)
    actions = [("Untagged", Reference.parse(name).familiar()) for name in names]
    led = led_by(context.index, record.id)
    ids = {record.id, *(member.image_id for found in led for member in found.members)}
    if any(context.index.in_use(each) for each in ids):
        # Forced. Its containers can still be started, so the image stays, without a name.
        for name in names:
            context.index.untag(name)
        return actions
    known = (Reference.parse(each).familiar() for each in record.repo_digests)
    actions += [("Untagged", each) for each in known]
    taken = Taken(context)
    taken.image(record)
    for found in led:
        taken.index(found)
    taken.collect(keep_bytes=keep_bytes)
    return actions + taken.actions


class Taken:
    """What a removal takes away: records at once, their bytes in the end."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._blobs: set[str] = set()
        self._gone: list[ImageRecord] = []

    def image(self, record: ImageRecord) -> None:
        """Remove an image, also as a platform of others. Raises NotFound, Conflict if used."""
        self._context.index.remove(record.id)
        self._gone.append(record)
        self._blobs.update(record.blobs)
        for found in self._context.index.indexes():
            for member in found.members:
                if member.image_id == record.id:
                    self._context.index.drop_member(found.digest, record.id)
                    self._blobs.update((member.manifest.digest, *member.blobs))

    def index(self, found: IndexRecord) -> None:
        """Remove an index, and those of its images that nothing else holds."""
        self._context.index.remove_index(found.digest)
        self._blobs.update(found.blobs)
        self._orphans(member.image_id for member in found.members)

    def member(self, found: IndexRecord, member: Member) -> None:
        """Remove one platform of an index; its names go to the one that then suits best."""
        index = self._context.index
        index.drop_member(found.digest, member.image_id)
        left = index.get_index(found.digest)
        main = left.main_id() if left else None
        for name, digest in index.index_names().items():
            if digest == found.digest and main is not None and index.resolve(name) != main:
                index.tag(name, main, digest)
        self._blobs.update((member.manifest.digest, *member.blobs))
        self._orphans([member.image_id])

    def collect(self, *, keep_bytes: bool) -> None:
        """Delete the bytes that nothing refers to any more, unless they wait for a prune."""
        if keep_bytes or not self._blobs:
            return
        tars_of_them = tars.of_all(self._context.store, self._blobs)
        garbage.collect(self._context, self._blobs | tars_of_them)
        garbage.collect_layers(self._context, self._chains())

    @property
    def actions(self) -> list[Action]:
        """What was deleted: ids, and the layers that no other image has."""
        shared: set[str] = set()
        for other in self._context.index.list():
            shared.update(digests.chain_ids(other.diff_ids))
        actions: list[Action] = []
        told: set[str] = set()
        for record in self._gone:
            chain = digests.chain_ids(record.diff_ids)[::-1]
            actions.append(("Deleted", record.id))
            actions += [("Deleted", each) for each in chain if each not in shared | told]
            told.update(chain)
        return actions

    def _chains(self) -> set[str]:
        return {each for record in self._gone for each in digests.chain_ids(record.diff_ids)}

    def _orphans(self, image_ids: Iterable[str]) -> None:
        index = self._context.index
        for image_id in image_ids:
            held = {member.image_id for found in index.indexes() for member in found.members}
            if image_id in held or index.tags(image_id) or index.in_use(image_id):
                continue
            with contextlib.suppress(NotFound, Conflict):  # gone, or in use, since a moment ago
                record = index.get(image_id)
                self.image(record)


def _canonical(name: str) -> str:
    # 64 hex digits and "sha256:…" are never names; anything else that found an image parses.
    bare = name.removeprefix("sha256:")
    return name if len(bare) == 64 or bare != name else str(Reference.parse(name))


def _short(image_id: str) -> str:
    return image_id.removeprefix("sha256:")[:12]
