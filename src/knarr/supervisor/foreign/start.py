"""Making a container with another runtime: its ``create`` and ``start`` in place of our own steps.

The supervisor takes in orphans meanwhile, so that the container's first process, which the
runtime leaves behind, becomes its child as it does otherwise.
"""

import errno
import os

from knarr.cgroups import manager as cgroups
from knarr.kernel import process as kprocess
from knarr.kernel.namespaces import CLONE_NEWUTS, setdomainname, setns
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.foreign import Foreign
from knarr.runtime.process import Created
from knarr.runtime.rootfs import close_all
from knarr.supervisor.foreign import process as processes
from knarr.supervisor.foreign.bundle import Bundle
from knarr.supervisor.foreign.console import Console
from knarr.supervisor.starter import Starter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable
    from typing import Any

    from knarr.cgroups.protocol import Group
    from knarr.runtime.keeper import Keeper

_CONSOLE = "console.sock"
_PID = "runtime.pid"


class ForeignCreated(Created):
    """A container's first process that another runtime has made and has not started yet."""

    __slots__ = ("_owner", "_pid", "_pidfd", "_program", "_runtime")

    def __init__(
        self, runtime: Foreign, process: "tuple[int, int]", bundle: Bundle, owner: int
    ) -> None:
        self._runtime, self._owner = runtime, owner
        self._pid, self._pidfd = process
        self._program = bundle.spec["process"]["args"][0]
        self.master = -1
        self.root_fd, self.uid, self.gid = bundle.root_fd, bundle.uid, bundle.gid
        self.leftover, self.warnings = bundle.leftover, bundle.warnings

    @property
    def pid(self) -> int:
        """The pid, as this process sees it."""
        return self._pid

    @property
    def pidfd(self) -> int:
        """A descriptor of the process."""
        return self._pidfd

    def start(self) -> None:
        """Have the runtime start it. Raises RuntimeFailure: then abort."""
        runtime = self._runtime
        runtime.call("start", runtime.container, owner=self._owner, program=self._program)

    def open_gate(self) -> None:
        """The gate is the runtime's: ``start`` opens it."""

    def kill(self) -> None:
        """Kill the process; who waits for it is the supervisor."""
        try:
            kprocess.pidfd_send_signal(self._pidfd, 9)
        except ProcessLookupError:
            return  # it has ended

    def abort(self) -> None:
        """Kill the process and let go of what was made for it; the undo list has the rest."""
        self.kill()
        close_all(self.leftover)
        for fd in (self._pidfd, self.root_fd, self.master):
            if fd >= 0:
                os.close(fd)
        self.root_fd = self.master = -1


class ForeignStarter(Starter):
    """One container in the making by another runtime."""

    __slots__ = ("_bundle", "_runtime")

    def __init__(self, request: "dict[str, Any]", keeper: "Keeper | None" = None) -> None:
        super().__init__(request, keeper)
        self._runtime = Foreign(request["runtime"], self.run_dir, request["id"])
        self._bundle = Bundle(request)

    def _begin(self, group: "Group | None") -> None:
        """Let go of the keeper: namespaces are the runtime's to make."""
        if group is None:
            text = f"OCI runtime {self._runtime.name}: there are no control groups here"
            raise RuntimeFailure("error", "runtime", text)
        if self.keeper is not None:
            self.kept = self.keeper.pid
            self.keeper.close()
            self.keeper = None

    def _place_namespaces(self, fds: "list[int]") -> None:
        """Say where namespaces of others are, in words that hold for the runtime's process too."""
        super()._place_namespaces(fds)
        for entry in self.request["spec"]["linux"]["namespaces"]:
            path = entry.get("path") or ""
            if path.startswith("/proc/self/"):
                entry["path"] = f"/proc/{os.getpid()}/{path.removeprefix('/proc/self/')}"

    def _made(
        self,
        fds: "list[int]",
        group: "Group | None",
        supervisor: "_socket.socket",
        meanwhile: "Callable[[Created], None]",
    ) -> Created:
        assert group is not None
        request, bundle, runtime = self.request, self._bundle, self._runtime
        init = request.get("init")
        bundle.open(request, self._mount_fds(fds))
        bundle.attach(None if init is None else fds[init])
        request["runtime"]["place"] = bundle.spec["root"]["path"]
        what = {"run_dir": self.run_dir, "container": request["id"]}
        self.undo.add("runtime", {**request["runtime"], **what})
        bundle.write(runtime.bundle, _place(group, request["cgroup"]["manager"]))
        os.mkdir(runtime.root, 0o700)
        self._note("bundle")
        created = self._create(group, supervisor.fileno())
        self._note("created")
        if bundle.domain:
            _name_domain(created.pid, bundle.domain)
        meanwhile(created)
        if not self.handed:
            self._hand_over(created, supervisor, fds)
        if not supervisor.recv(1):  # it does not take in orphans any more
            raise BrokenPipeError(errno.EPIPE, "the supervisor was killed")
        return created

    def _create(self, group: "Group", supervisor: int) -> ForeignCreated:
        """Have the runtime make the process; look at what it has made."""
        runtime, bundle = self._runtime, self._bundle
        pid_file = f"{self.run_dir}/{_PID}"
        self.undo.add("file", pid_file)
        words = ["--bundle", runtime.bundle, "--pid-file", pid_file]
        console = Console(self.run_dir, _CONSOLE) if self.request["tty"] else None
        if console is not None:
            words += ["--console-socket", console.path]
        program = bundle.spec["process"]["args"][0]
        stdio = self.streams.child or (-1, -1, -1)
        try:
            runtime.call(
                "create", *words, runtime.container,
                stdio=stdio, owner=supervisor, program=program,
            )  # fmt: skip
            # Who is not in the group is not touched: it may be one of knarr's own.
            process = processes.open_started(runtime, pid_file, os.getppid(), group.procs)
            created = ForeignCreated(runtime, process, bundle, supervisor)
            self.created = created
            if console is not None:
                created.master = console.master()
        finally:
            if console is not None:
                console.close()
        return created


def _place(group: "Group", manager: str) -> str:
    """Return the path of a group below the mount points, which a runtime is to be told."""
    found = cgroups.detect(manager)
    if found.version == 1:
        return group.path
    return group.paths["unified"].removeprefix(getattr(found, "mount_point", ""))


def _name_domain(pid: int, name: str) -> None:
    """Set the domain name of a container that has not begun yet: not every runtime can.

    In a process of its own, which ends in the container's UTS namespace.
    """
    namespace = os.open(f"/proc/{pid}/ns/uts", os.O_RDONLY | os.O_CLOEXEC)
    child = os.fork()
    if child == 0:
        code = 1
        try:
            setns(namespace, CLONE_NEWUTS)
            setdomainname(name)
            code = 0
        finally:
            os._exit(code)
    os.close(namespace)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeFailure("error", "domainname", f"domainname {name}: cannot be set")
