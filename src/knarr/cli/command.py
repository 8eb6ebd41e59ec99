"""What one verb is: its words in the help, its flags, and the function that carries it out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from knarr.cli.flags import Args, Flag, Table, UsageError

if TYPE_CHECKING:
    from knarr.cli.context import Context

MANY = 1 << 30


@dataclass(frozen=True, slots=True)
class Command:
    """One verb. ``commands/<verb>.py`` holds it as COMMAND.

    usage: the arguments, one line for each form (``[OPTIONS] IMAGE [COMMAND] [ARG...]``).
    arguments: (least, most) number of positional arguments; MANY is no upper limit.
    stops_early: the first argument that is no flag ends the flags (run, exec, create).
    missing: Docker's flags that knarr does not have, each with what to do instead.
    spellings: other ways to say it (``image ls``), for the help.
    examples: command lines with what each does; they are parsed by a test.
    details: paragraphs for ``knarr help VERB`` and the documentation.
    """

    name: str
    summary: str
    usage: tuple[str, ...]
    run: Callable[[Context, Args], int]
    flags: tuple[Flag, ...] = ()
    arguments: tuple[int, int] = (0, 0)
    stops_early: bool = False
    missing: dict[str, str] = field(default_factory=dict)
    spellings: tuple[str, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    details: str = ""
    table: Table = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "table", Table(self.flags, self.missing))

    def parse(self, argv: list[str]) -> Args:
        """Return what ``argv`` (after the verb) says. Raises UsageError."""
        args = self.table.parse(argv, interspersed=not self.stops_early)
        least, most = self.arguments
        if not least <= len(args.rest) <= most:
            raise UsageError(f"knarr: 'knarr {self.name}' {self._wanted()}", exit_code=1)
        return args

    def _wanted(self) -> str:
        least, most = self.arguments
        if most == 0:
            return "accepts no arguments"
        if least == most:
            return f"requires {least} argument{'s' if least > 1 else ''}"
        if least == 0:
            return f"requires at most {most} argument{'s' if most > 1 else ''}"
        if most == MANY:
            return f"requires at least {least} argument{'s' if least > 1 else ''}"
        return f"requires at least {least} and at most {most} arguments"
