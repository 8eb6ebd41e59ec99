"""What this face raises beside what the rooms below raise."""

from knarr.errors import Conflict, InvalidArgument, NotFound

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn


class UsageError(InvalidArgument):
    """A command line that is none of this command's."""


class NotHereError(BaseException):
    """This process cannot carry the command out in its caller's place; nothing has been done."""


def missing(name: str) -> "NoReturn":
    """Raise NotFound; callers look for the words."""
    raise NotFound(f'container "{name}" does not exist')


def not_running(name: str, status: str) -> "NoReturn":
    """Raise Conflict; callers look for the first words."""
    raise Conflict(f'container not running: "{name}" is {status}')
