"""Which tags stay what they are once they were pushed."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

from knarr.registryd.faults import Fault


@dataclass(frozen=True, slots=True)
class TagRules:
    """Patterns of tags (``v*``) or of repositories and tags (``team/*:v*``), as a shell has them.

    immutable: tags that cannot move or be deleted. mutable: those that can all the same.
    """

    immutable: tuple[str, ...] = ()
    mutable: tuple[str, ...] = ()

    def fixed(self, repository: str, tag: str) -> bool:
        """Return whether the tag, once pushed, stays."""
        return _any(self.immutable, repository, tag) and not _any(self.mutable, repository, tag)

    def check_move(self, repository: str, tag: str, now: str, wanted: str) -> None:
        """Raise Fault when a tag of digest ``now`` may not become ``wanted``."""
        if now != wanted and self.fixed(repository, tag):
            raise Fault(
                409,
                "DENIED",
                f"tag {repository}:{tag} is immutable here and stands for {now}: "
                "push under another tag",
                detail={"tag": tag, "digest": now},
            )

    def check_delete(self, repository: str, tag: str) -> None:
        """Raise Fault when a tag, or the manifest that it stands for, may not be deleted."""
        if self.fixed(repository, tag):
            raise Fault(
                405,
                "DENIED",
                f"tag {repository}:{tag} is immutable here and cannot be deleted",
                detail={"tag": tag},
            )


def _any(patterns: tuple[str, ...], repository: str, tag: str) -> bool:
    return any(
        fnmatchcase(f"{repository}:{tag}" if ":" in pattern else tag, pattern)
        for pattern in patterns
    )
