"""What the wheel is given when it is built: manual pages and the scripts of shells.

They are made of the same tables as the command itself, so they cannot say anything else.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CustomBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Adds ``share/man/man1`` and the places where shells look for completions."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Make the files and name them in ``build_data``."""
        del version
        sys.path.insert(0, str(Path(self.root) / "src"))
        try:
            from knarr.cli import manual, shells
        finally:
            sys.path.pop(0)
        self._folder = tempfile.TemporaryDirectory(prefix="knarr-build-")
        folder = Path(self._folder.name)
        made = {f"share/man/man1/{name}": text for name, text in manual.pages().items()}
        made |= {place: shells.SCRIPTS[shell] for shell, place in shells.PLACES.items()}
        for place, text in made.items():
            file = folder / place
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
            build_data["shared_data"][str(file)] = place

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Remove the files, which are in the wheel now."""
        del version, build_data, artifact_path
        self._folder.cleanup()
