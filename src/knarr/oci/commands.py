"""The commands: flags of each, and what it does. Every one returns its exit status."""

import os
import sys

from knarr.oci import interrupts, limits, state
from knarr.oci.errors import UsageError, missing
from knarr.oci.options import Words, parse
from knarr.oci.rootless import is_unprivileged

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.oci.create import Request
    from knarr.oci.log import Journal
    from knarr.oci.options import Flags
    from knarr.runtime.deputy import Deputy


class Global:
    """What is said before the command.

    manager: of control groups. serve: be a server. deputy: of the caller in whose place this
    process does it, if so. lenient: a group that cannot be had is left out.
    """

    __slots__ = ("deputy", "journal", "lenient", "manager", "root", "serve")

    def __init__(
        self,
        root: str,
        manager: str,
        journal: "Journal",
        serve: "Callable[[float], None]",
        deputy: "Deputy | None" = None,
    ) -> None:
        self.deputy = deputy
        self.root = root
        self.manager = manager
        self.journal = journal
        self.serve = serve
        self.lenient = False


_CREATE: "Flags" = {
    "bundle": True, "pid-file": True, "console-socket": True, "pidfd-socket": True,
    "preserve-fds": True, "no-new-keyring": False, "no-pivot": False, "config": True,
}  # fmt: skip


_EXEC: "Flags" = {
    "process": True, "detach": False, "tty": False, "pid-file": True, "console-socket": True,
    "pidfd-socket": True,
    "cwd": True, "env": True, "user": True, "additional-gids": True, "cap": True,
    "no-new-privs": False, "apparmor": True, "process-label": True, "preserve-fds": True,
    "cgroup": True, "ignore-paused": False,
}  # fmt: skip
_EXEC_SHORT = {"p": "process", "d": "detach", "t": "tty", "e": "env", "u": "user", "c": "cap",
               "g": "additional-gids"}  # fmt: skip
_FOR_EVER = 1e9  # seconds
# Commands that pass on what follows the container's id.
_PASSING = ("exec", "ps")


def _create(said: Global, words: Words) -> int:
    _make(said, words, detach=True)
    return 0


def _run(said: Global, words: Words) -> int:
    detach = words.has("detach")
    return _make(said, words, detach=detach, start=True)


def _make(said: Global, words: Words, *, detach: bool, start: bool = False) -> int:
    from knarr.oci import config as configs
    from knarr.oci import document, streams

    name = state.check_name(words.one("the container's id"))
    bundle = os.path.abspath(words.text("bundle", "."))
    config = configs.read(os.path.join(bundle, words.text("config", document.NAME)))
    preserved = streams.add_listeners(config, words.number("preserve-fds"))
    _leave_to_root(said, config, preserved)
    # Not before: what is loaded here would be loaded twice.
    from knarr.oci import create, lifecycle

    request = _request(said, words, bundle, preserved)
    streams.arrange_descriptors(request.preserved)
    terminal = bool((config.get("process") or {}).get("terminal"))
    if request.console and not (terminal and detach):
        raise UsageError("--console-socket: is for process.terminal and a detached container")
    if terminal and detach and not request.console:
        raise UsageError("process.terminal: needs --console-socket when nobody stays to relay it")
    os.chdir(bundle)
    creation = create.Creation(request, name, config)
    if said.deputy is not None and detach:
        # Who waits for it is not this process, but whoever waits for the caller's.
        creation.leave_to(said.deputy)
    container = creation.make()
    said.journal.debug(f"created {name}, pid {container.pid}")
    if not start:
        return 0
    created = creation.created
    assert created is not None
    relay = None
    try:
        interrupts.release()
        creation.gate.let_go()
        if not detach:
            from knarr.oci.foreground import Foreground

            relay = Foreground()
            relay.prepare(created.pidfd, created.master)
        lifecycle.start(container, said.journal)
        if relay is None:
            return 0
        container.unlock()  # for as long as the program runs
        interrupts.release()  # it passes them on
    except BaseException:
        interrupts.hold()
        if relay is not None:
            relay.restore()
        if os.path.isdir(container.path):
            lifecycle.delete(container, said.journal, force=True)
        raise
    try:
        return relay.wait()
    finally:
        if not words.has("keep") and container.lock_again():
            lifecycle.delete(container, said.journal, force=True)


def _request(said: Global, words: Words, bundle: str, preserved: int) -> "Request":
    """Return what the command line says beside the name."""
    from knarr.oci.create import Request

    request = Request(said.root, bundle, said.journal)
    request.preserved = preserved
    request.manager = said.manager
    request.lenient = said.lenient
    request.keyring = not words.has("no-new-keyring")
    request.pivot = not words.has("no-pivot")
    request.console = _absolute(words.text("console-socket"))
    request.pid_file = _absolute(words.text("pid-file"))
    request.pidfd_socket = _absolute(words.text("pidfd-socket"))
    return request


def _leave_to_root(said: Global, config: "dict[str, Any]", preserved: int) -> None:
    """Be root of what a container is made with; an ordinary user's command begins anew."""
    if is_unprivileged():
        from knarr.oci import ownuser

        ownuser.enter(config, said.root, preserved)
        if warning := ownuser.check_groups(config):
            said.journal.warning(warning)


def _exec(said: Global, words: Words) -> int:
    from knarr.oci import execs

    return execs.execute(said, words)


def _absolute(path: str) -> str:
    return os.path.abspath(path) if path else ""


def _start(said: Global, words: Words) -> int:
    from knarr.oci import lifecycle

    container = state.load(said.root, words.one("the container's id"), lock=True)
    lifecycle.start(container, said.journal)
    return 0


def _state(said: Global, words: Words) -> int:
    from knarr.oci import show

    sys.stdout.write(show.one(said.root, words.one("the container's id")))
    return 0


def _kill(said: Global, words: Words) -> int:
    from knarr.oci import lifecycle

    if not 1 <= len(words.words) <= 2:
        raise UsageError("expected the container's id and a signal")
    number = lifecycle.number_of(words.words[1] if len(words.words) > 1 else "TERM")
    container = state.load(said.root, words.words[0])
    if not container.values:
        missing(container.name)
    lifecycle.kill(container, number, everybody=words.has("all"))
    return 0


def _delete(said: Global, words: Words) -> int:
    from knarr.oci import lifecycle

    name = words.one("the container's id")
    lifecycle.remove(said.root, name, said.journal, force=words.has("force"))
    return 0


def _pause(said: Global, words: Words) -> int:
    from knarr.oci import control

    control.pause(state.load(said.root, words.one("the container's id"), lock=True))
    return 0


def _resume(said: Global, words: Words) -> int:
    from knarr.oci import control

    control.resume(state.load(said.root, words.one("the container's id"), lock=True))
    return 0


def _update(said: Global, words: Words) -> int:
    from knarr.oci import update

    given = update.asked_for(words)
    container = state.load(said.root, words.one("the container's id"), lock=True)
    lines = update.schemas(words, container)
    update.update(container, given, said.journal)
    update.set_schemas(container, lines)
    return 0


def _events(said: Global, words: Words) -> int:
    from knarr.oci import events

    container = state.load(said.root, words.one("the container's id"))
    if words.has("stats"):
        events.once(container)
    else:
        events.follow(container, events.interval_of(words.text("interval", "5s")))
    return 0


def _list(said: Global, words: Words) -> int:
    from knarr.oci import show

    if words.words:
        raise UsageError("list takes no words")
    form = words.choice("format", "table", "json")
    sys.stdout.write(show.listed(said.root, form, quiet=words.has("quiet")))
    return 0


def _ps(said: Global, words: Words) -> int:
    from knarr.oci import show

    if not words.words:
        raise UsageError("expected the container's id")
    name, *rest = words.words
    form = words.choice("format", "table", "json")
    sys.stdout.write(show.processes(said.root, name, form, rest))
    return 0


def _features(said: Global, words: Words) -> int:
    from knarr.oci import show

    del said
    if words.words:
        raise UsageError("features takes no words")
    sys.stdout.write(show.features())
    return 0


def _server(said: Global, words: Words) -> int:
    if words.words:
        raise UsageError("server takes no words")
    said.serve(float(words.number("idle")) or _FOR_EVER)
    return 0


def _spec(said: Global, words: Words) -> int:
    from knarr.oci import show

    del said
    if words.words:
        raise UsageError("spec takes no words")
    show.write_spec(words.text("bundle", "."), rootless=words.has("rootless"))
    return 0


# name -> what it does, flags, short names, what follows, one line of help
COMMANDS: "dict[str, tuple[Callable[[Global, Words], int], Flags, dict[str, str], str, str]]" = {
    "create": (_create, _CREATE, {"b": "bundle"}, "ID", "make a container that waits for start"),
    "start": (_start, {}, {}, "ID", "let a created container's program run"),
    "run": (_run, {**_CREATE, "detach": False, "keep": False}, {"b": "bundle", "d": "detach"}, "ID",
            "create and start, and wait unless detached"),
    "exec": (_exec, _EXEC, _EXEC_SHORT, "ID COMMAND [WORD...]",
             "run a further command in a container, and wait unless detached"),
    "state": (_state, {}, {}, "ID", "show a container's state as JSON"),
    "kill": (_kill, {"all": False}, {"a": "all"}, "ID [SIGNAL]", "send a signal (TERM)"),
    "delete": (_delete, {"force": False}, {"f": "force"}, "ID",
               "remove a container that has ended"),
    "pause": (_pause, {}, {}, "ID", "have all processes of a container stand still"),
    "resume": (_resume, {}, {}, "ID", "have a paused container go on"),
    "update": (_update, limits.FLAGS, {"r": "resources"}, "ID", "change a container's limits"),
    "events": (_events, {"stats": False, "interval": True}, {}, "ID",
               "show what a container uses, and kills for want of memory, as JSON"),
    "list": (_list, {"format": True, "quiet": False}, {"f": "format", "q": "quiet"}, "",
             "show all containers"),
    "ps": (_ps, {"format": True}, {"f": "format"}, "ID [PS-OPTION...]",
           "show a container's processes"),
    "features": (_features, {}, {}, "", "show what this runtime can do as JSON"),
    "server": (_server, {"idle": True}, {}, "", "carry commands out more quickly; ends by SIGTERM"),
    "spec": (_spec, {"bundle": True, "rootless": False}, {"b": "bundle"}, "",
             "write a config.json to begin with"),
}  # fmt: skip


def execute(said: Global, name: str, left: "list[str]") -> int:
    """Carry a command out; returns its exit status. Raises UsageError and what it raises."""
    if name not in COMMANDS:
        raise UsageError(f"{name!r} is not a command of knarr-oci")
    act, flags, short, follows, text = COMMANDS[name]
    words = parse(left, {**flags, "help": False}, {"h": "help", **short}, first=name in _PASSING)
    if words.has("help"):
        sys.stdout.write(f"Usage: knarr-oci {name} [FLAGS] {follows}\n\n{text}\n\nFlags:\n")
        for flag, valued in flags.items():
            sys.stdout.write(f"  --{flag}{' VALUE' if valued else ''}\n")
        return 0
    return act(said, words)
