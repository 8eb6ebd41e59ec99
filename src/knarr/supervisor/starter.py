"""Making one container: a short-lived process that does the work and hands over to the supervisor.

The supervisor stays as small as the fork it is, since the pages that making a
container touches are those of this process, which ends when the container
runs. The container's first process becomes the supervisor's child, not ours.
"""

import errno
import os
import time

from knarr.cgroups import manager as cgroups
from knarr.cgroups import oom
from knarr.kernel.namespaces import CLONE_NEWCGROUP
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime import elsewhere
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.keeper import NAMESPACES, Keeper
from knarr.runtime.plan import enters_user, namespace_flags, namespaces, plan
from knarr.runtime.process import Created, Recipe, create
from knarr.runtime.program import carrier
from knarr.spec.mount import Mount
from knarr.supervisor import handover, journal, networking, rundir, spare
from knarr.supervisor import state as states
from knarr.supervisor import streams as pipes
from knarr.supervisor.outlet import open_log, open_outlet
from knarr.supervisor.undo import Undo, crash_point

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from knarr.cgroups.protocol import Group
    from knarr.runtime import resolving
    from knarr.runtime.timeline import Timeline

PROGRAM_LIMIT = 1 << 20
SHARED_MEMORY = "/dev/shm"
# In the run directory of a container whose start is explained: when each step was done.
TIMES = "times.json"


class Starter:
    """One container in the making. keeper: of namespaces that were made ahead."""

    __slots__ = (
        "created",
        "given",
        "handed",
        "keeper",
        "kept",
        "listener",
        "names",
        "oom",
        "request",
        "run_dir",
        "spare",
        "state",
        "streams",
        "timeline",
        "undo",
    )

    def __init__(self, request: "dict[str, Any]", keeper: "Keeper | None" = None) -> None:
        self.request = request
        self.keeper = keeper
        self.kept = 0  # pid of that, which is then the supervisor's to wait for
        self.spare = 0  # pid of one that was not needed
        self.run_dir: str = request["run_dir"]
        self.undo = Undo(self.run_dir)
        self.state: dict[str, Any] = {}
        self.streams = pipes.Streams()
        self.created: Created | None = None
        self.given = False  # the pipes, to the container's user
        self.handed = False  # all that its supervisor needs before it runs
        self.oom = -1  # a descriptor for the supervisor
        self.names: resolving.Offer | None = None  # on its way to the resolver
        self.listener: _socket.socket | None = None
        self.timeline: Timeline | None = None
        if request.get("timed"):
            from knarr.runtime import timeline

            self.timeline = timeline.Timeline(request["timed"])

    def start(self, fds: "list[int]", supervisor: "_socket.socket") -> "dict[str, Any]":
        """Make the container, let it run, hand it over; return the answer for the caller.

        What fails is undone and raised: RuntimeFailure, SpecError, OSError.
        """
        try:
            self._note("request")
            self._place_namespaces(fds)
            group = self._group()
            self._note("group")
            self._begin(group)
            if self.keeper is not None:
                self._note("keeper")
            self._make_streams()
            if not self.request["tty"]:
                self._note("streams")

            def meanwhile(created: Created) -> None:
                self.names = networking.join(created.pid, self.request, self.undo)
                if self.request.get("network") or self.request.get("ports"):
                    self._note("network")
                self._try_log()
                self._record(created)
                self._note("record")
                if self.given and not self.request["tty"]:
                    self._hand_over(created, supervisor, fds)
                crash_point("running")

            self.created = self._made(fds, group, supervisor, meanwhile)
            crash_point("created")
            if self.names is not None:
                self.names.confirm()
            if not self.given:
                self._give_streams(self.created)
            self.created.start()
            if self.timeline is not None:
                self.timeline.note("executed")
                self.timeline.hold()
            # The supervisor's end may have been the container's, before that ever ran: nobody is
            # to see as running, and then as ended, what was only being started.
            self._need(supervisor)
            states.publish(self.run_dir)
            journal.note(self.run_dir, b"start")
            crash_point("started")
            if not self.handed:
                self._hand_over(self.created, supervisor, fds)
            handover.confirm(supervisor, self.created.root_fd)
            if self.timeline is not None:
                self.timeline.note("told")
                states.write(self.run_dir, self.timeline.result(), TIMES)
        except BaseException:
            self._give_up(supervisor)
            self._need(supervisor)
            raise
        state = self.state
        warnings = self.created.warnings
        return {"pid": state["pid"], "started_at": state["started_at"], "warnings": warnings}

    def _made(
        self,
        fds: "list[int]",
        group: "Group | None",
        supervisor: "_socket.socket",
        meanwhile: "Callable[[Created], None]",
    ) -> Created:
        """Return the first process on its way to its gate; what ``meanwhile`` does is done."""
        del supervisor
        return create(self._recipe(fds, group), meanwhile)

    def _note(self, what: str) -> None:
        if self.timeline is not None:
            self.timeline.note(what)

    @staticmethod
    def _need(supervisor: "_socket.socket") -> None:
        """Raise BrokenPipeError when the supervisor has been killed."""
        if spare.has_gone(supervisor):
            raise BrokenPipeError(errno.EPIPE, "the supervisor was killed")

    def _group(self) -> "Group | None":
        wanted = self.request["cgroup"]
        if wanted["manager"] == "none":
            return None
        self.undo.add("cgroup", wanted)
        resources = (self.request["spec"].get("linux") or {}).get("resources") or {}
        try:
            group = cgroups.detect(wanted["manager"]).create(wanted["path"], resources)
        except BaseException:
            # It has taken back what it made. What was there before is somebody else's.
            self.undo.forget()
            raise
        if (resources.get("memory") or {}).get("limit"):
            self.oom = oom.watch(group)
        return group

    def _begin(self, group: "Group | None") -> None:
        """Have the process cloned already if the namespaces that there are are those it gets."""
        made, joined = namespaces(self.request["spec"].get("linux") or {})
        if enters_user(joined):
            self._enter(joined, made, group)
            return
        if self.keeper is None:
            return
        self.kept = self.keeper.pid
        if made & ~CLONE_NEWCGROUP != NAMESPACES or joined:
            self.keeper.close()
            self.keeper = None
        else:
            self.keeper.begin(None if group is None else group.clone_fd())

    def _enter(
        self, joined: "tuple[tuple[int, str], ...]", made: int, group: "Group | None"
    ) -> None:
        """Have the process cloned in another container's user namespace, and in what is there."""
        if not carrier.SHARED:
            text = "namespaces of other containers cannot be joined on this kind of machine"
            raise RuntimeFailure("error", "join", text)
        if self.keeper is not None:
            self.spare = self.keeper.pid
            self.keeper.close(wait=True)
        flags = os.O_RDONLY | os.O_CLOEXEC
        opened = tuple((flag, os.open(path, flags)) for flag, path in joined)
        self.keeper = Keeper(opened, made)
        self.kept = self.keeper.pid
        self.keeper.begin(None if group is None else group.clone_fd())

    def _place_namespaces(self, fds: "list[int]") -> None:
        """Say where the namespaces of other containers are that came as descriptors."""
        given = self.request.get("namespace_fds")
        if not given:
            return
        for entry in self.request["spec"]["linux"]["namespaces"]:
            if entry["type"] in given and entry["type"] != "mount":
                entry["path"] = f"/proc/self/fd/{fds[given[entry['type']]]}"

    def _make_streams(self) -> None:
        if self.request["tty"]:
            return
        stdin = bool(self.request["stdin"])
        for name in pipes.NAMES[0 if stdin else 1 :]:
            self.undo.add("file", f"{self.run_dir}/{name}")
        self.streams = pipes.make_pipes(self.run_dir, stdin=stdin)

    def _try_log(self) -> None:
        """Open the log as the supervisor does when the container runs, too late to fail."""
        config = self.request.get("log_config")
        log = open_log(self.request.get("log") or "", config)
        outlet = open_outlet(log, config)
        if outlet is not None:
            outlet.close()
        if log is not None:
            log.close()

    def _mount_fds(self, fds: "list[int]") -> "dict[int, int]":
        """Return the mounts that were made elsewhere: the caller's, another container's memory."""
        request = self.request
        found = {int(k): fds[v] for k, v in (request.get("mount_fds") or {}).items()}
        given = request.get("namespace_fds") or {}
        if "mount" in given:
            for index, entry in enumerate(request["spec"]["mounts"]):
                if entry["destination"] == SHARED_MEMORY and entry["type"] == "bind":
                    found.setdefault(index, elsewhere.clone(fds[given["mount"]], SHARED_MEMORY))
        return found

    def _recipe(self, fds: "list[int]", group: "Group | None") -> Recipe:
        request = self.request
        init = request.get("init")
        return Recipe(
            plan(request["spec"]),
            [Mount.from_dict(mount) for mount in request["rootfs"]],
            self.run_dir,
            mount_fds=self._mount_fds(fds),
            stdio=self.streams.child,
            program=read_program(request, fds),
            group=group,
            init_fd=None if init is None else fds[init],
            sibling=True,
            append=bool(request.get("overlay_append", True)),
            keeper=self.keeper,
            timeline=self.timeline,
        )

    def _record(self, created: Created) -> None:
        """Write the state while the process is on its way to the gate.

        So it never runs unrecorded, and never did so by name before it runs.
        """
        request = self.request
        self.state = {
            "status": states.RUNNING,  # first: see ``states.ended``
            "id": request["id"],
            "pid": created.pid,
            "start_time": states.start_time(created.pid),
            "boot_id": states.boot_id(),
            "supervisor_pid": os.getppid(),
            "started_at": time.time_ns(),
            "tty": bool(request["tty"]),
            "namespaces": namespace_flags(request["spec"].get("linux") or {}),
            "cgroup": request["cgroup"],
            "log": request.get("log"),
            "log_config": request.get("log_config"),
            "exit_file": request.get("exit_file"),
            "on_exit": request.get("on_exit"),
        }
        if request.get("restart"):
            self.state["restart"] = request["restart"]
        for name in ("health", "runtime"):
            if request.get(name):
                self.state[name] = request[name]
        if self.oom >= 0:
            self.state["oom"] = True
        if request.get("ports"):
            self.state["ports"] = request["ports"]
        states.prepare(self.run_dir, self.state)
        self.undo.add("file", f"{self.run_dir}/attach.sock")
        self.listener = rundir.listen(self.run_dir)
        if created.uid >= 0:
            self._give_streams(created)

    def _give_streams(self, created: Created) -> None:
        pipes.give_to(self.streams, created.uid, created.gid)
        self.given = True

    def _hand_over(self, created: Created, supervisor: "_socket.socket", fds: "list[int]") -> None:
        """Give the supervisor what it gets ready with while the process is on its way."""
        attach, ports = self.request.get("attach"), self.request.get("ports_kept")
        assert self.listener is not None
        master, streams = created.master, self.streams
        handover.send(
            supervisor,
            handover.Handover(
                pid=created.pid,
                pidfd=created.pidfd,
                listener=self.listener.fileno(),
                out=master if master >= 0 else streams.out,
                err=streams.err,
                stdin=master if master >= 0 else streams.stdin,
                client=-1 if attach is None else fds[attach],
                terminal=master >= 0,
                owner=bool(self.request.get("kill_on_hangup")),
                log=self.state["log"] or "",
                manager=self.state["cgroup"]["manager"],
                cgroup=self.state["cgroup"]["path"],
                exit_file=self.state["exit_file"] or "",
                keeper=self.kept,
                spare=self.spare,
                configured=self.state["log_config"] is not None,
                checked="health" in self.state,
                oom=self.oom,
                ports=-1 if ports is None else fds[ports],
            ),
        )
        self.handed = True

    def _give_up(self, supervisor: "_socket.socket") -> None:
        """Leave nothing of a container that did not come to run.

        Who looks in between must not find the end of one that ran. When the supervisor was
        killed the directory may be another's by now: its successor's, or of the next start.
        """
        gone = spare.has_gone(supervisor)
        if self.keeper is not None:
            self.keeper.close()
        if gone and self.created is not None and not states.published(self.run_dir):
            self.created.kill()  # else a successor would wait, and have it run
        try:
            lock = rundir.lock(self.run_dir, patience=rundir.PATIENCE) if gone else -1
        except OSError:
            return  # who has it sees whether the process lives, and takes back the rest
        states.withdraw(self.run_dir)
        if self.created is not None:
            self.created.abort()
        if self.timeline is not None:
            self.timeline.release()
        self.streams.close()
        self.undo.run()
        states.remove(self.run_dir)
        self.undo.close()
        if lock >= 0:
            os.close(lock)


def read_program(request: "dict[str, Any]", fds: "list[int]") -> "FilterProgram | None":
    """Return the compiled seccomp filter that came as a descriptor, None when there is none."""
    if request.get("seccomp") is None:
        return None
    return FilterProgram(os.pread(fds[request["seccomp"]], PROGRAM_LIMIT, 0))
