"""What every endpoint works on: the catalogue, the bytes, the uploads, and the rules."""

from __future__ import annotations

import os
from dataclasses import dataclass, field

from knarr.content.store import ContentStore
from knarr.registryd.catalogue import Catalogue
from knarr.registryd.quotas import Quotas
from knarr.registryd.tagrules import TagRules
from knarr.registryd.uploads import Uploads


@dataclass(frozen=True, slots=True)
class Shelf:
    """A registry's data in one directory."""

    root: str
    catalogue: Catalogue
    store: ContentStore
    uploads: Uploads
    rules: TagRules = field(default_factory=TagRules)
    quotas: Quotas = field(default_factory=Quotas)

    def close(self) -> None:
        """Close the database."""
        self.catalogue.close()


def open_shelf(root: str, rules: TagRules | None = None, quotas: Quotas | None = None) -> Shelf:
    """Return the registry below a directory, made where it is missing.

    Raises OSError, Unavailable.
    """
    os.makedirs(root, mode=0o700, exist_ok=True)
    return Shelf(
        root,
        Catalogue(os.path.join(root, "registry.db")),
        ContentStore(root),
        Uploads(os.path.join(root, "uploads")),
        rules or TagRules(),
        quotas or Quotas(),
    )
