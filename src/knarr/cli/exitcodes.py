"""The one place where an error becomes an exit code, as Docker's command has them.

125: the engine refused before the command of ``run`` could start, a policy refused, or a
flag is wrong. 126: the command cannot be executed. 127: it was not found. 1: all other
errors. 128+n: ended by signal n.
"""

from __future__ import annotations

from knarr import errors

OK = 0
FAILED = 1
REFUSED = 125
NOT_EXECUTABLE = 126
COMMAND_NOT_FOUND = 127

# Verbs whose own failure must be told from the exit code of what they run.
_RUNNERS = frozenset({"run"})
# Verbs of which Docker's command looks at the values of all flags before it asks its daemon.
_MAKERS = frozenset({"run", "create"})


class CommandError(errors.KnarrError):
    """A refusal of the command line itself, with an exit code of its own."""

    exit_code = FAILED


class BadFlag(errors.InvalidArgument):
    """A value that Docker's command refuses by itself: 125 from ``run`` and ``create``, else 1."""


class BadTemplate(CommandError):
    """A ``--format`` that cannot be read, of a command that prints one object."""

    exit_code = 64


def for_error(error: BaseException, verb: str) -> int:
    """Return the exit code with which ``knarr VERB`` ends after ``error``."""
    if isinstance(error, CommandError):
        return error.exit_code
    if isinstance(error, errors.RefusedByPolicy):
        return REFUSED
    if isinstance(error, BadFlag) and verb in _MAKERS:
        return REFUSED
    if isinstance(error, errors.CommandNotFound):
        return COMMAND_NOT_FOUND
    if isinstance(error, errors.NotExecutable):
        return NOT_EXECUTABLE
    if isinstance(error, errors.UnknownUser) and verb == "exec":
        return NOT_EXECUTABLE
    return REFUSED if verb in _RUNNERS else FAILED


def for_refusal(error: errors.KnarrError) -> int:
    """Return the exit code of a command of which one name of several failed so."""
    return REFUSED if isinstance(error, errors.RefusedByPolicy) else FAILED


def for_signal(number: int) -> int:
    """Return the exit code that a shell reports for a process ended by signal ``number``."""
    return 128 + number
