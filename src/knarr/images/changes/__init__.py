"""``-c`` of import and commit: Dockerfile instructions that change an image's config."""

from knarr.images.changes.apply import apply_changes

__all__ = ["apply_changes"]
