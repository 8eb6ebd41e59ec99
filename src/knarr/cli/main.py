"""One command from argv to exit code: global flags, the verb, errors in one line."""

from __future__ import annotations

import os
import signal
import sys
from typing import TYPE_CHECKING

from knarr import errors
from knarr.cli import exitcodes, globalflags, helptext, verbs
from knarr.cli.caller import Interrupted
from knarr.cli.context import Context
from knarr.cli.flags import Args, HelpAsked, UsageError

if TYPE_CHECKING:
    from knarr.cli.caller import Caller
    from knarr.cli.command import Command


def run(argv: list[str], caller: Caller) -> int:
    """Run ``knarr ARGV``. Returns the exit code, or -n when signal n ends the command.

    Nothing is raised: whatever happens becomes a line on stderr and a code.
    """
    caller.prepare_signals()
    try:
        code = _run(argv, caller)
        sys.stdout.flush()
    except Interrupted as asked:
        code = -asked.number
    except BrokenPipeError:
        code = -signal.SIGPIPE  # as every filter ends when its reader has gone
    except Exception as error:
        code = _defect(error, None, debug=bool(os.environ.get("KNARR_DEBUG")))
    finally:
        _silence_signals()
    return code


def _silence_signals() -> None:
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGIO):
        signal.signal(number, signal.SIG_IGN)


def _run(argv: list[str], caller: Caller) -> int:
    debug = bool(os.environ.get("KNARR_DEBUG"))
    command: Command | None = None
    try:
        options = globalflags.GLOBAL.parse(argv, interspersed=False)
        debug = debug or options.on("debug")
        early = _without_verb(options)
        if early is not None:
            return early
        command, words = verbs.find(options.rest)
        return _call(command, words, options, caller, debug=debug)
    except HelpAsked as asked:
        if asked.group:
            print(helptext.group_help(asked.group), end="")
        else:
            print(helptext.command_help(command) if command else helptext.overview(), end="")
        return exitcodes.OK
    except UsageError as error:
        return _wrong_usage(error, command)
    except errors.KnarrError as error:
        return _failed(error, command, debug=debug)
    except (BrokenPipeError, KeyboardInterrupt):
        raise
    except Exception as error:
        return _defect(error, command, debug=debug)


def _without_verb(options: Args) -> int | None:
    """Return the exit code of ``knarr --version``; None when there is a verb. Raises HelpAsked."""
    if options.on("version"):
        from knarr._version import __version__

        print(f"knarr version {__version__}")
        return exitcodes.OK
    if not options.rest:
        raise HelpAsked
    return None


def _call(command: Command, words: list[str], options: Args, caller: Caller, *, debug: bool) -> int:
    args = command.parse(words)
    try:
        settings = globalflags.settings(options)
    except ValueError as error:
        raise errors.InvalidArgument(f"the environment's KNARR_ settings: {error}") from None
    return command.run(Context(settings, caller, debug=debug), args)


def _wrong_usage(error: UsageError, command: Command | None) -> int:
    sys.stdout.flush()
    lines = [str(error)]
    if error.near:
        lines.append(f"Did you mean '{error.near}'?")
    if command is not None:
        lines += ["", helptext.usage(command)]
    if error.group:
        lines += ["", f"Usage:  knarr {error.group} COMMAND"]
    name = f"knarr {command.name if command else error.group}".rstrip()
    lines += ["", f"Run '{name} --help' for more information"]
    print("\n".join(lines), file=sys.stderr)
    return error.exit_code


def _failed(error: errors.KnarrError, command: Command | None, *, debug: bool) -> int:
    sys.stdout.flush()
    if debug:
        _traceback(error)
    verb = command.name if command else ""
    say(str(error), verb)
    return exitcodes.for_error(error, verb)


def _defect(error: Exception, command: Command | None, *, debug: bool) -> int:
    """Report what no one foresaw: an OSError from a full disk, or a defect of knarr."""
    if debug:
        _traceback(error)
    verb = command.name if command else ""
    if isinstance(error, OSError):
        text = str(error)
    elif isinstance(error, UnicodeEncodeError):
        text = f"{os.fsencode(error.object)!r}: no such name: it is not valid UTF-8"
    else:
        text = f"unexpected {type(error).__name__}: {error} (KNARR_DEBUG=1 shows where)"
    say(text.replace("\n", " "), verb)
    return exitcodes.for_error(error, verb)


def say(text: str, verb: str = "") -> None:
    """Print one line of error: ``knarr: …`` for run, whose stderr is shared with the container."""
    from knarr.cli import human

    prefix = "knarr: " if verb in ("run", "") else "Error: "
    print(prefix + human.visible(text), file=sys.stderr)


def _traceback(error: BaseException) -> None:
    import traceback

    traceback.print_exception(error, file=sys.stderr)
