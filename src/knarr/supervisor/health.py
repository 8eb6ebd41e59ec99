"""A supervisor's share of a health check: when it is made, and what it has found.

The supervisor waits for an alarm in the loop in which it waits for everything else, so a
container costs no process for being checked. Each check is made by a child (``probe``),
a fork of the supervisor: no launcher has to be there, and the child's end is the answer.
It holds one end of a socket whose other end is ours: closing that, as the kernel does when
the supervisor is killed, has it kill the check with all it started.

The file ``probe`` names the control group of the check that is being made, for a successor.
"""

import os
import select
import time

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.kernel import timer
from knarr.runtime import packets
from knarr.supervisor import healthstate, journal, rundir
from knarr.supervisor import state as states
from knarr.supervisor.healthstate import Health, Result, Rules

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket

_PROBE = "probe"
_PAUSED = "paused"
_NO_MANAGER = "none"
# How long a check may take beyond its own time (ns): to begin, and to die when it is over.
_START = 30_000_000_000
_DEATH = 15_000_000_000
_KILLED = "the process that ran the check was killed"


class _Probe:
    """A check that is being made by a child of ours, which may be told to give it up."""

    __slots__ = ("given_up", "name", "pid", "pidfd", "sock", "started")

    def __init__(self, name: str, pid: int, sock: "_socket.socket", started: int) -> None:
        self.name, self.pid, self.sock, self.started = name, pid, sock, started
        self.pidfd = os.pidfd_open(pid)
        self.given_up = False

    def give_up(self) -> None:
        """Have it killed; its result does not count."""
        self.given_up = True
        self.sock.close()

    def result(self) -> "Result | None":
        """Return what the ended child has found, None when it found nothing."""
        from knarr.supervisor import probe

        try:
            body = self.sock.recv(probe.PACKET)
        except OSError:
            body = b""
        finally:
            self.sock.close()
        return probe.unpacked(self.started, body) if body else None


class Monitor:
    """The health check of one container that runs.

    fd: to be waited for; then ``turn`` does what is due. manager, group: of its cgroup.
    """

    __slots__ = (
        "_epoll", "_group", "_manager", "_paused", "_probe", "_rules", "_started", "_timer",
        "fd", "health", "run_dir",
    )  # fmt: skip

    def __init__(self, run_dir: str, manager: str, group: str) -> None:
        """Begin, or go on where another supervisor was killed. Raises OSError, ValueError."""
        self.run_dir, self._manager, self._group = run_dir, manager, group
        self._rules = Rules(states.read(run_dir, healthstate.CHECK) or {})
        self.health = healthstate.read(run_dir) or Health()
        self._started = states.started_at(states.read_body(run_dir))
        self._probe: _Probe | None = None
        left = states.read_body(run_dir, _PROBE)
        if left:
            self._remove(left.decode())
        self._timer = timer.create()
        self._epoll = select.epoll()
        self._epoll.register(self._timer, select.EPOLLIN)
        self.fd = self._epoll.fileno()
        self._paused = False
        self._arm()
        self.look()

    def look(self) -> None:
        """See whether the container is paused: nothing is checked then, and it is unhealthy."""
        paused = os.access(f"{self.run_dir}/{_PAUSED}", os.F_OK)
        if paused == self._paused:
            return
        self._paused = paused
        if not paused:
            if self._probe is None:
                self._arm()
            return
        timer.disarm(self._timer)
        if self._probe is not None:
            self._probe.give_up()
        self.health.stop()
        self._write()

    def turn(self) -> None:
        """Do what is due."""
        for fd, _ in self._epoll.poll(0):
            if fd == self._timer:
                timer.clear(fd)
                self._due()
            elif self._probe is not None and fd == self._probe.pidfd:
                self._ended(self._probe)

    def close(self) -> None:
        """Let go of everything. A check that is being made ends with the container."""
        if self._probe is not None:
            self._probe.give_up()
            os.close(self._probe.pidfd)
        self._epoll.close()
        os.close(self._timer)

    def _arm(self) -> None:
        age = time.time_ns() - self._started
        timer.arm(self._timer, self.health.interval(self._rules, age))

    def _due(self) -> None:
        if self._probe is not None:
            kprocess.pidfd_send_signal(self._probe.pidfd, 9)  # it hangs itself
            return
        self.look()
        if not self._paused:
            self._begin()

    def _begin(self) -> None:
        """Have the container checked."""
        name = f"exec-{os.urandom(8).hex()}"
        started = time.time_ns()
        try:
            states.replace(self.run_dir, name.encode(), _PROBE)
            ours, theirs = packets.pair()
            pid = os.fork()
        except OSError as error:
            self._note(Result(started, time.time_ns(), -1, str(error)))
            self._arm()
            return
        if pid == 0:
            from knarr.supervisor import probe

            probe.be(theirs, self.run_dir, name, self._rules.timeout)
        theirs.close()
        ours.setblocking(False)
        self._probe = _Probe(name, pid, ours, started)
        self._epoll.register(self._probe.pidfd, select.EPOLLIN)
        timer.arm(self._timer, self._rules.timeout + _START + _DEATH)

    def _ended(self, probe: _Probe) -> None:
        """Take note of the end of the child, and of what it found."""
        self._probe = None
        self._epoll.unregister(probe.pidfd)
        os.close(probe.pidfd)
        os.waitpid(probe.pid, 0)
        if not probe.given_up:
            result = probe.result()
            if result is None:
                self._remove(probe.name)
                result = Result(probe.started, time.time_ns(), -1, _KILLED)
            self._note(result)
        rundir.remove_file(self.run_dir, _PROBE)
        if not self._paused:
            self._arm()

    def _note(self, result: Result) -> None:
        changed = self.health.note(result, self._rules, self._started)
        self._write()
        if changed:
            journal.note(self.run_dir, b"health_status: " + self.health.status.encode())

    def _write(self) -> None:
        try:
            states.replace(self.run_dir, self.health.encode(), healthstate.NAME)
        except OSError:
            return  # a full disk, or a removal under way: the next result may be written

    def _remove(self, name: str) -> None:
        """Kill what is left of a check whose child was killed, with its control group."""
        if self._manager == _NO_MANAGER:
            return
        try:
            cgroups.detect(self._manager).remove(f"{self._group}/{name}")
        except (OSError, ValueError):
            return  # it goes with the container's own
