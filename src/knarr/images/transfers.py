"""The part of ``Images`` that asks registries; what it takes is imported when it is used."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from knarr.errors import Unsupported
from knarr.images.context import Context, Progress, ProgressEvent, ignore_progress
from knarr.images.platform import Platform
from knarr.images.reference import Reference

if TYPE_CHECKING:
    from knarr.images.transfer import pull as pulling
    from knarr.images.transfer import push as pushing
    from knarr.images.transfer.lists import ManifestLists
    from knarr.registry.patience import Patience
    from knarr.registry.repository import Registry


class Transfers:
    """Images from and to registries, over the same neighbours as ``Images``."""

    _context: Context

    def pull(
        self,
        name: str,
        *,
        platform: str | None = None,
        all_tags: bool = False,
        lazy: bool = False,
        progress: Progress = ignore_progress,
    ) -> list[pulling.Pulled]:
        """Bring an image in from its registry and return what was done, for each tag.

        platform: which of an image for several; None means this machine. all_tags: every tag of
        the repository that ``name`` is. lazy: layers that can be used before they have come are
        left to come. Raises NotFound, Unauthorized, InvalidArchive,
        Unsupported, Unavailable, Timeout; what was verified then need not come again.
        """
        from knarr.images.transfer import pull as pulling

        expect = None
        if lazy:
            from knarr.images.lazy import expected

            expected.check(self._context.driver)
            expect = partial(expected.Expected, watch=self._watch)
        reference = Reference.parse(name, default_tag=not all_tags)
        wanted = _platform(platform)
        with open_registry(reference.domain, progress=progress) as registry:
            if not all_tags:
                return [pulling.pull(self._context, registry, reference, wanted, progress, expect)]
            return pulling.pull_all(self._context, registry, reference, wanted, progress, expect)

    def _watch(self) -> None:
        """Have somebody watch over layers that are still to come; images alone have nobody."""
        raise Unsupported("layers that are still to come need an engine, which watches over them")

    def push(
        self,
        name: str,
        *,
        platform: str | None = None,
        all_tags: bool = False,
        progress: Progress = ignore_progress,
    ) -> list[pushing.Pushed]:
        """Upload an image to the registry that its name is of; return what the tags are there.

        An image for several platforms goes with all of them, or with ``platform`` alone.
        Raises NotFound, Unauthorized, InvalidArgument, Unavailable, Timeout.
        """
        from knarr.images.transfer import push as pushing

        reference = Reference.parse(name, default_tag=not all_tags)
        wanted = _platform(platform)
        shown = reference.name
        progress(ProgressEvent("", f"The push refers to repository [{shown}]"))
        found = pushing.tags_of(self._context, reference, all_tags=all_tags)
        with open_registry(reference.domain, progress=progress) as registry:
            return [
                pushing.push(self._context, registry, each, wanted, progress, open_briefly)
                for each in found
            ]

    def digest_of(
        self, name: str, *, local: bool = False, progress: Progress = ignore_progress
    ) -> str:
        """Return the digest that a name stands for in its registry, or with ``local`` here.

        Of an image for several platforms it is that of the index. Raises NotFound, Unauthorized,
        Unavailable, Timeout, InvalidArgument.
        """
        from knarr.images.lockfile import resolve

        reference = Reference.parse(name)
        if reference.digest is not None:
            return reference.digest
        if local:
            return resolve.in_store(self._context, reference)
        with open_registry(reference.domain, progress=progress) as registry:
            return resolve.in_registry(registry, reference)

    @property
    def lists(self) -> ManifestLists:
        """Manifest lists that are put together here, to be pushed."""
        from knarr.images.transfer.lists import ManifestLists

        return ManifestLists(self._context.store, open_registry)


def open_registry(
    host: str,
    insecure: bool = False,
    progress: Progress = ignore_progress,
    patience: Patience | None = None,
) -> Registry:
    """Return the registry of a host name, as this machine's files say how it is reached.

    insecure: it may have a certificate that nobody vouches for, or none.
    """
    from knarr.registry.hosts import Hosts
    from knarr.registry.patience import Patience
    from knarr.registry.repository import Registry

    hosts = Hosts.from_environment(os.environ)
    if insecure:
        hosts = replace(hosts, insecure=(*hosts.insecure, host))
    return Registry(
        host,
        hosts,
        patience=patience or Patience(),
        notice=lambda text: progress(ProgressEvent("Warning", text)),
    )


def open_briefly(host: str) -> Registry:
    """Return a registry that need not answer, since there is another way: it is not waited for."""
    from knarr.registry.patience import Patience

    return open_registry(host, patience=Patience(attempts=2, connect=5.0, stall=20.0))


def _platform(text: str | None) -> Platform | None:
    return Platform.parse(text) if text else None
