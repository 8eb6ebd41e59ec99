"""What a running command has at hand: settings, the engine, its caller."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING

from knarr.config import Settings

if TYPE_CHECKING:
    from knarr.cli.caller import Caller
    from knarr.cli.readiness import Ready
    from knarr.engine.engine import Engine


def preload() -> None:
    """Import what commands import only when they need it."""
    for name in ("knarr.engine.engine", "json", "difflib", "textwrap", "shutil"):
        try:
            importlib.import_module(name)
        except ImportError:
            continue  # a broken installation is reported by the command that needs the module


# What a worker of the command server has prepared while it waited.
ready: Ready | None = None


class Context:
    """One per command; the engine is opened when a command first asks for it."""

    def __init__(self, settings: Settings, caller: Caller, *, debug: bool = False) -> None:
        self.settings = settings
        self.caller = caller
        self.debug = debug
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """Return the engine of these settings. Raises what opening it raises."""
        if self._engine is None:
            from knarr.engine.engine import Engine

            _show_log(debug=self.debug)
            ahead = ready.engine(self.settings) if ready is not None else None
            self._engine = ahead or Engine(self.settings)
            # The process ends then. Closing the database would, with its last connection, sync and
            # remove the log that the next command would have to make and sync anew.
            self.caller.afterwards(self._engine.tidier.wait)
        return self._engine


def _show_log(*, debug: bool) -> None:
    """Print what the engine logs to stderr: warnings, and everything when debugging."""
    import logging

    from knarr.cli import human

    class Line(logging.Formatter):
        """One line for each record, whatever is in the names that it tells."""

        def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
            return human.visible(super().formatMessage(record))

    logger = logging.getLogger("knarr")
    if not logger.handlers:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Line("%(levelname)s: %(message)s"))
        logger.addHandler(handler)
    logger.setLevel(logging.DEBUG if debug else logging.WARNING)
