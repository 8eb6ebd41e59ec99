"""What a name means as a whole: an image, or one for several platforms.

A record is one platform. Where it came with an OCI index, the index's record tells which
other platforms are here; names stand for the index, and point at the record that suits this
machine, which is what ``run`` takes and lists show. An id means the image as it is listed.
"""

from __future__ import annotations

from typing import NamedTuple

from knarr.errors import InvalidArgument, NotFound, PlatformNotFound
from knarr.images.find import find
from knarr.images.index import ImageIndex, ImageRecord, IndexRecord, Member
from knarr.images.platform import Platform, rank
from knarr.images.reference import Reference


class Target(NamedTuple):
    """The record that a name points at, and the index and its platforms if it has one."""

    record: ImageRecord
    whole: IndexRecord | None = None
    members: tuple[tuple[Member, ImageRecord], ...] = ()

    @property
    def records(self) -> tuple[ImageRecord, ...]:
        """The records of all its platforms that are here, each once."""
        found = {record.id: record for _, record in self.members}
        return tuple(found.values()) or (self.record,)


def members_of(index: ImageIndex, found: IndexRecord) -> tuple[tuple[Member, ImageRecord], ...]:
    """Return the platforms of an index that are here, with their records, in its order."""
    pairs = []
    for member in found.members:
        try:
            pairs.append((member, index.get(member.image_id)))
        except NotFound:
            continue  # somebody removed it just now
    return tuple(pairs)


def target_of(index: ImageIndex, record: ImageRecord, digest: str | None) -> Target:
    """Return the target of a record with the index of this digest, if there is such an index."""
    found = index.get_index(digest) if digest is not None else None
    if found is None:
        return Target(record)
    members = members_of(index, found)
    return Target(record, found, members) if members else Target(record)


def find_target(index: ImageIndex, text: str) -> Target:
    """Return what a name, ``name@digest`` or id means; errors as those of ``find``."""
    record = find(index, text)
    return target_of(index, record, _index_meant(index, text, record))


def leaders(index: ImageIndex) -> dict[str, str | None]:
    """Return for each index, by digest, the id of the image that stands for it in lists.

    That which its names point at; without names the one for this machine.
    """
    names, targets = index.index_names(), index.all_tags()
    leading = {found.digest: found.main_id() for found in index.indexes()}
    leading.update({digest: targets.get(name) for name, digest in names.items()})
    return leading


def led_by(index: ImageIndex, image_id: str) -> list[IndexRecord]:
    """Return the indexes that this image stands for."""
    leading = leaders(index)
    return [found for found in index.indexes() if leading.get(found.digest) == image_id]


def hidden_ids(index: ImageIndex) -> set[str]:
    """Return the ids of images that are shown only as platforms of another image."""
    members = {member.image_id for found in index.indexes() for member in found.members}
    return members - set(leaders(index).values()) - set(index.all_tags().values())


def for_platform(target: Target, wanted: Platform, what: str) -> tuple[Member | None, ImageRecord]:
    """Return the platform of a target that serves ``wanted`` best.

    Raises PlatformNotFound in Docker's words when there is none.
    """
    offered: list[tuple[Platform, Member | None, ImageRecord]] = [
        (member.platform, member, record) for member, record in target.members
    ] or [(target.record.platform, None, target.record)]
    ranked = [
        (score, position)
        for position, (platform, _, _) in enumerate(offered)
        if (score := rank(wanted, platform)) is not None
    ]
    if not ranked:
        have = ", ".join(sorted({str(platform) for platform, _, _ in offered}))
        raise PlatformNotFound(
            f"image {what} was found but does not provide the specified platform ({wanted}):"
            f" it is for {have}"
        )
    return offered[min(ranked)[1]][1:]


def _index_meant(index: ImageIndex, text: str, record: ImageRecord) -> str | None:
    if index.get_index(text) is not None:
        return text
    try:
        reference = Reference.parse(text)
    except InvalidArgument:
        reference = None  # the start of an id
    if reference is not None:
        if reference.digest is not None:
            return reference.digest
        if index.resolve(str(reference)) == record.id:
            return index.index_names().get(str(reference))
    leading = led_by(index, record.id)
    return leading[0].digest if len(leading) == 1 else None
