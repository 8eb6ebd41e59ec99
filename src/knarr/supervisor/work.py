"""What the processes forked from the launcher do: watch, make, join, take over, look.

Each begins in ``be`` and ends there.
"""

import _socket
import json
import os
import resource
import select
import signal
import sys

from knarr.errors import KnarrError
from knarr.kernel import process as kprocess
from knarr.kernel.files import keep_only
from knarr.runtime import packets
from knarr.runtime.channel import Channel
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.fields import SpecError
from knarr.supervisor import features, handover, lessons, rundir, spare, undo, wire
from knarr.supervisor import state as states
from knarr.supervisor.container import Supervisor
from knarr.supervisor.execs import Exec, NotRunning, reap_all
from knarr.supervisor.starter import Starter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from knarr.runtime.keeper import Keeper

    Work = Callable[[_socket.socket, str], None]

TIMEOUT = 10.0  # seconds that a caller has to say what it wants
# What a maker hears from its supervisor: that the container is theirs, or the answer to give;
# and once more, where another runtime makes it, that it may run.
_LOCKED = b"l"
_WORD_LIMIT = 8192
# How long a maker stays when its container runs (s), and the signal that ends this.
_MOMENT = 0.02
_DISMISSED = (signal.SIGTERM,)
_KILLED = "the process that was making the container was killed; is its memory limit too low?"
_LEFT_ALONE = "a process of knarr that was at work for it was killed; try again"
# The limit of open files that containers get: what the launcher was started with.
FILES = resource.getrlimit(resource.RLIMIT_NOFILE)


def be(work: "Work", sock: "_socket.socket", run_dir: str) -> None:
    """Be the forked process; never returns."""
    code = 1
    try:
        os.setsid()
        work(sock, run_dir)
        code = 0
    except BaseException as error:  # the forked process must not return into its parent's loop
        _answer(Channel(sock), told("error", f"{type(error).__name__}: {error}"))
        sys.excepthook(type(error), error, error.__traceback__)
    os._exit(code)


def be_template(work: "Callable[[], None]", *keep: "_socket.socket") -> None:
    """Be the process that forks the others, with what they get from it; never returns."""
    code = 1
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, FILES)
        keep_only(*(sock.fileno() for sock in keep), lessons.teacher())
        work()
        code = 0
    except BaseException as error:  # it must not return into the launcher's loop
        sys.excepthook(type(error), error, error.__traceback__)
    os._exit(code)


def told(kind: str, message: str, **more: "Any") -> "dict[str, Any]":
    """Return the answer that says that a request failed."""
    return {"error": {"kind": kind, "message": message, **more}}


def refuse(sock: "_socket.socket", message: "dict[str, Any]") -> None:
    """Answer a request that was only looked at.

    It has to be taken first: closing a socket with something unread resets the
    connection, and the caller would not see the answer (unix(7)).
    """
    try:
        sock.recv(1)
    except OSError:
        # It never came, or the caller has gone.
        return
    _answer(Channel(sock), message)


def _answer(channel: Channel, message: "dict[str, Any]", fds: "tuple[int, ...]" = ()) -> None:
    try:
        channel.send(message, fds)
    except OSError:
        # The caller has gone. The container it asked for does not depend on it.
        return


def _failure(error: BaseException) -> "dict[str, Any]":
    """Return the answer that tells a caller why something could not be started."""
    if isinstance(error, RuntimeFailure):
        return told(error.kind, error.message, step=error.step, errno=error.errno)
    if isinstance(error, rundir.Busy):
        return told("busy", str(error.strerror))
    if isinstance(error, NotRunning):
        return told("not-running", "the container is not running")
    if isinstance(error, (SpecError, ValueError, KnarrError)):
        return told("invalid", str(error))
    if isinstance(error, (BrokenPipeError, ConnectionResetError)):
        return told("launcher", _LEFT_ALONE)  # we write to nobody else
    if isinstance(error, OSError):
        where = f": {error.filename}" if isinstance(error.filename, str) else ""
        return told("error", f"{error.strerror or error}{where}", errno=error.errno)
    return told("error", f"{type(error).__name__}: {error}")


def stand_by(sock: "_socket.socket", run_dir: str) -> None:
    """Be a process that was forked ahead, until there is something to do for it."""
    del run_dir
    kprocess.set_name("knarr-spare")
    ours, theirs = packets.pair()
    try:
        last, (launcher,) = packets.receive(sock, packets.LIMIT)
    except EOFError:
        return
    try:
        maker = os.fork()
    except OSError:
        return  # the launcher tries again later
    if maker == 0:
        ours.close()
        sock.close()
        requests = _socket.socket(fileno=launcher)

        def go(operation: bytes, caller: int, keeper: "Keeper | None") -> None:
            _go(operation, _caller(caller), theirs, keeper)

        spare.stand_by(requests, go, keep=last == wire.RUN_APART)
    theirs.close()
    os.close(launcher)
    attend(sock, ours, maker)


def attend(sock: "_socket.socket", maker: "_socket.socket", pid: int) -> None:
    """Wait for a request and carry it out, with a maker that has got it too. pid: the maker's."""
    given = spare.wait(sock)
    sock.close()
    if given is None:
        return
    operation, run_dir, fd = given
    caller = _caller(fd)
    if operation in wire.RUNS:
        _run(caller, run_dir, (maker, pid), foreign=operation == wire.RUN_FOREIGN)
        return
    taken = operation == wire.EXEC and not (spare.has_gone(maker) and _waits(caller))
    maker.close()
    if taken:
        # It does it all; only its end needs somebody, since an orphan is not taken care of
        # by every pid 1.
        caller.close()
        reap_all()
        return
    reap_all()
    FORKED[operation](caller, run_dir)


def _waits(caller: "_socket.socket") -> bool:
    """Return whether nobody has taken the caller's request."""
    poll = select.poll()
    poll.register(caller.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def _go(
    operation: bytes,
    caller: "_socket.socket",
    supervisor: "_socket.socket",
    keeper: "Keeper | None",
) -> None:
    """Do, as the process that has its memory ready, what there is to do."""
    if operation in wire.RUNS:
        _make(caller, supervisor, keeper)
        return
    supervisor.close()
    if keeper is not None:
        keeper.close()
    FORKED[operation](caller, "")


def _caller(fd: int) -> "_socket.socket":
    sock = _socket.socket(fileno=fd)
    sock.settimeout(TIMEOUT)
    return sock


def _run_foreign(sock: "_socket.socket", run_dir: str) -> None:
    """Be the supervisor of a container that another OCI runtime makes."""
    _run(sock, run_dir, foreign=True)


def _run(
    sock: "_socket.socket",
    run_dir: str,
    standing_by: "tuple[_socket.socket, int] | None" = None,
    *,
    foreign: bool = False,
) -> None:
    """Be a container's supervisor; a process of its own, here already or not, makes it."""
    if foreign:
        kprocess.set_child_subreaper(
            True
        )  # before anything is made: nothing is before the lock is held
    # It reads the request meanwhile, and makes nothing before it is told of the lock.
    maker, pid = standing_by or _fork_maker(sock)
    lock, word = -1, _LOCKED
    try:
        lock = rundir.lock(run_dir, patience=rundir.PATIENCE)
    except OSError as error:
        word = json.dumps(_failure(error)).encode()
    if not spare.tell(maker, word) and _waits(sock):
        # The one that stood by has died without taking the request.
        maker.close()
        reap_all()
        maker, pid = _fork_maker(sock)
        spare.tell(maker, word)
    if lock < 0:
        reap_all()
        return
    kprocess.set_name("knarr-watch")
    given = handover.receive(maker)
    supervisor = Supervisor(run_dir)
    root_fd = -1
    if given is not None:
        if foreign:
            # Before the container runs: its orphans are not ours.
            kprocess.set_child_subreaper(False)
            spare.tell(maker, _LOCKED)
        supervisor.take(given, pid)
        root_fd = handover.confirmed(maker)
        if root_fd >= 0:
            supervisor.begin(given, root_fd)
        else:
            supervisor.let_go(given)
    maker.close()
    if root_fd >= 0 or supervisor.adopt(ours=True):
        sock.close()
        if foreign and root_fd >= 0:
            supervisor.drive(states.read(run_dir) or {})
        _supervise(supervisor, lock)
    else:
        if foreign:
            _bury_foreign(run_dir)
        _bury(run_dir)
        # The maker has said why, and this is not read any more, unless it was killed: by the
        # kernel too, which kills all who share the memory of a process in the group. Whose
        # request was not even taken finds the connection reset and asks again.
        if not _waits(sock):
            _answer(Channel(sock), told("launcher", _KILLED))
        os.close(lock)


def _fork_maker(sock: "_socket.socket") -> "tuple[_socket.socket, int]":
    """Return connection and pid of a process that makes what the caller asks for."""
    ours, theirs = packets.pair()
    try:
        pid = os.fork()
    except OSError as error:
        refuse(sock, _failure(error))
        os._exit(1)
    if pid == 0:
        ours.close()
        _make(sock, theirs)
        os._exit(0)
    theirs.close()
    return ours, pid


def _make(
    sock: "_socket.socket", supervisor: "_socket.socket", keeper: "Keeper | None" = None
) -> None:
    """Be the process that makes the container and answers the caller."""
    kprocess.set_name("knarr-make")
    signal.pthread_sigmask(signal.SIG_BLOCK, _DISMISSED)
    try:
        request, fds = wire.receive(sock)
        word = supervisor.recv(_WORD_LIMIT)
        if word != _LOCKED:
            if word:  # else there is no supervisor any more
                _answer(Channel(sock), json.loads(word))
            return
        lessons.begin()
        starter = _starter(request, keeper)
        answer = starter.start(fds, supervisor)
    except BaseException as error:  # whatever it is, the caller waits for an answer
        _answer(Channel(sock), _failure(error))
        return
    _answer(Channel(sock), answer)
    if starter.timeline is not None and starter.created is not None:
        starter.timeline.release_after(sock, starter.created.pidfd)
    # What it made runs already. It may take long until this process ends, so that no end of a
    # pipe may depend on it. What takes long to close is closed by its end.
    created = starter.created
    keep_only(lessons.teacher(), *(created.leftover if created is not None else ()))
    kprocess.step_back()
    if created is not None and "runtime" not in request:
        lessons.teach(created.seen, spec=request["spec"])
    # The kernel takes a processor for a millisecond to end a process, and lets nobody interrupt
    # it: a container that is soon done would be told late. Its supervisor says when it was told.
    signal.sigtimedwait(_DISMISSED, _MOMENT)


def _starter(request: "dict[str, Any]", keeper: "Keeper | None") -> Starter:
    """Return what makes a container: our own, or with another OCI runtime."""
    if "runtime" not in request:
        return Starter(request, keeper)
    from knarr.supervisor.foreign.start import ForeignStarter

    return ForeignStarter(request, keeper)


def _bury_foreign(run_dir: str) -> None:
    """Have another runtime take back what its killed maker left, and end what is left of that."""
    from knarr.runtime import foreign

    undo.replay(run_dir)
    foreign.end_children()


def _bury(run_dir: str) -> None:
    """Wait for what is left of a container that did not come to run, and take it back."""
    reap_all()
    undo.replay(run_dir)
    states.remove(run_dir)


def _supervise(supervisor: Supervisor, lock: int) -> None:
    on_exit = supervisor.watch()
    os.close(lock)
    reap_all()  # the maker: not every init takes orphans
    if on_exit:
        os.execve(on_exit[0], on_exit, dict(os.environ))


def succeed(sock: "_socket.socket", run_dir: str) -> None:
    """Take over from a supervisor that was killed, once whoever shares its lock has gone too."""
    _adopt(sock, run_dir, wait=True)


def _adopt(sock: "_socket.socket", run_dir: str, *, wait: bool = False) -> None:
    """Take over a container whose supervisor is dead."""
    channel = Channel(sock)
    sock.recv(1)  # an answer only arrives when nothing of the request is unread
    try:
        lock = rundir.lock(run_dir, wait=wait, patience=rundir.PATIENCE)
        supervisor = Supervisor(run_dir)
        adopted = supervisor.adopt()
    except OSError as error:
        _answer(channel, _failure(error))
        return
    _answer(channel, {"adopted": adopted})
    channel.close()
    if adopted:
        _supervise(supervisor, lock)
    else:
        os.close(lock)


def _exec(sock: "_socket.socket", run_dir: str) -> None:
    """Run a further command in a container."""
    del run_dir
    kprocess.set_name("knarr-exec")
    channel = Channel(sock)
    task = Exec()
    try:
        task.start(*wire.receive(sock))
    except (RuntimeFailure, KnarrError, NotRunning, OSError, ValueError, EOFError) as error:
        _answer(channel, _failure(error))
        return
    _answer(channel, {"pid": task.pid}, (task.master,) if task.master >= 0 else ())
    task.watch(channel)


def _features(sock: "_socket.socket", run_dir: str) -> None:
    """Find out what this kernel can do; in a process of its own, since it makes namespaces."""
    del run_dir
    request, _ = wire.receive(sock)
    try:
        answer: dict[str, Any] = {**features.probe(request["directory"])}
    except OSError as error:
        answer = _failure(error)
    _answer(Channel(sock), answer)


FORKED: "dict[bytes, Work]" = {
    wire.RUN: _run,
    wire.RUN_APART: _run,
    wire.RUN_FOREIGN: _run_foreign,
    wire.EXEC: _exec,
    wire.ADOPT: _adopt,
    wire.FEATURES: _features,
}
