"""``create``: all that a bundle asks for but the program itself, or nothing."""

import os
import time

from knarr.kernel import caps, plainjson, process
from knarr.kernel.namespaces import CLONE_NEWPID, CLONE_NEWTIME, NAMESPACES, setns
from knarr.oci import checks, document, grouping, hooks, interrupts, resctrl
from knarr.oci import config as configs
from knarr.oci.fields import named
from knarr.oci.filters import filter_of, listener_of, notifies
from knarr.oci.sockets import Receiver
from knarr.oci.state import Container, remove_pid_file, write_new
from knarr.oci.streams import give_streams
from knarr.runtime import ends
from knarr.runtime.entering import BY_ITSELF
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.fields import SpecError
from knarr.runtime.fifogate import FifoGate
from knarr.runtime.plan import Plan, namespace_flags
from knarr.runtime.process import Created, Recipe, create
from knarr.runtime.processplan import withheld_capabilities
from knarr.runtime.program import memory
from knarr.runtime.rootfs import clone_tree
from knarr.runtime.steps.mounts import BindMount
from knarr.spec.mount import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from knarr.oci.log import Journal
    from knarr.oci.netdevices import Devices
    from knarr.runtime.deputy import Deputy
    from knarr.runtime.seccomp.listener import Listener

# The process at the gate reads its program in this one's memory, which stays as it is at the
# end of this one: nothing of it may be freed, so ``main.finish`` ends without clearing up.
_kept: "list[Created]" = []


class Request:
    """What the command line says beside the name.

    root: where states are. bundle: absolute. manager: of control groups. lenient: there may be
    none. console: path of a
    socket, or empty, and so pidfd_socket. detach: nobody stays who could relay a terminal.
    pivot: the host's root goes.
    """

    __slots__ = (
        "bundle",
        "console",
        "detach",
        "journal",
        "keyring",
        "lenient",
        "manager",
        "pid_file",
        "pidfd_socket",
        "pivot",
        "preserved",
        "root",
    )

    def __init__(self, root: str, bundle: str, journal: "Journal") -> None:
        self.root = root
        self.bundle = bundle
        self.journal = journal
        self.manager = "cgroupfs"
        self.lenient = False
        self.console = ""
        self.pid_file = ""
        self.pidfd_socket = ""
        self.preserved = 0
        self.keyring = True
        self.pivot = True
        self.detach = True


class Creation:
    """One container in the making; what fails is undone by ``undo``."""

    __slots__ = (
        "config",
        "console",
        "container",
        "created",
        "deputy",
        "devices",
        "filtered",
        "gate",
        "group",
        "listener",
        "moved",
        "plan",
        "receiver",
        "request",
    )

    def __init__(self, request: Request, name: str, config: "dict[str, Any]") -> None:
        self.request = request
        self.config = config
        self.container = Container(request.root, name)
        self.moved: list[str] | None = None
        if not request.pivot:
            self.moved = configs.kernel_trees(configs.root_of(config, request.bundle))
        rootfs = configs.root_path(config, request.bundle)
        self.plan: Plan = configs.plan_of(config, request.bundle, rootfs, self.moved)
        self.filtered = filter_of(config, request.root)
        self.console: Receiver | None = None
        self.receiver: Receiver | None = None
        self.created: Created | None = None
        self.deputy: Deputy | None = None
        self.devices: Devices | None = None
        self.listener: Listener | None = None
        self.group: Any = None
        self.gate = FifoGate(
            self.container.file("gate.new"),
            self.container.file("cells"),
            preserved=request.preserved,
            keyring=request.keyring,
            notifies=notifies(config),
            at_stop=self._before_root if configs.before_root(config) else None,
        )

    def _hooks(self, kind: str) -> "list[dict[str, Any]]":
        return document.hooks(self.config, kind)

    def leave_to(self, deputy: "Deputy") -> None:
        """Have a deputy clone the process. Raises NotHereError for what one cannot do."""
        from knarr.oci.errors import NotHereError
        from knarr.runtime import deputy as deputies

        terminal = bool((self.config.get("process") or {}).get("terminal"))
        suits = deputies.suits(self.plan) and deputy.is_read_only()
        if terminal or self.gate.notifies or not suits:
            raise NotHereError
        self.deputy = deputy

    def make(self) -> Container:
        """Return the container, whose process waits at its gate. What fails leaves nothing.

        Signals that ask this process to end are held when it returns: what is whole stays so.
        """
        request, container = self.request, self.container
        rootfs = configs.root_of(self.config, request.bundle)
        terminal = bool((self.config.get("process") or {}).get("terminal"))
        if request.console:
            self.console = Receiver(request.console, "--console-socket")
        if request.pidfd_socket:
            self.receiver = Receiver(request.pidfd_socket, "--pidfd-socket")
        checks.check_sysctls(self.config)
        interrupts.hold()
        container.make()
        try:
            interrupts.release()
            self._note(rootfs)
            if self.gate.notifies:
                state = container.told("creating")
                self.listener = listener_of(self.config, state, first=True)
            self.group = grouping.make(
                container, self.config, request.journal, lenient=request.lenient
            )
            self._make_shares()
            self._create(rootfs, terminal=terminal)
            interrupts.hold()
            os.rename(self.gate.fifo, container.gate)
            if self.receiver is not None and self.created is not None:
                self.receiver.send(b"standard", self.created.pidfd)  # runc's word for it
            if request.pid_file:
                write_new(request.pid_file, str(container.pid))
        except BaseException:
            self._undo()
            raise
        finally:
            if self.devices is not None:
                self.devices.close()
        return container

    def _note(self, rootfs: str) -> None:
        """Write down what ``delete`` needs whatever happens from here on."""
        request, container = self.request, self.container
        container.values = {
            "ociVersion": self.config["ociVersion"],
            "pid": 0,
            "bundle": request.bundle,
            "rootfs": rootfs,
            "created": _now(),
            "annotations": self.config.get("annotations") or {},
            "cgroup": {
                "manager": request.manager,
                "path": configs.group_path(self.config, container.name),
            },
            "shared": not self.plan.clone_flags & CLONE_NEWPID,
            "preserved": request.preserved,
            "keyring": request.keyring,
            "moved": self.moved,
        }
        group = container.values["cgroup"]
        if not (request.manager.startswith("systemd") or group["path"].startswith("/")):
            group["path"] = "/" + group["path"]
        write_new(container.file(document.NAME), plainjson.dumps(self.config))

    def _create(self, rootfs: str, *, terminal: bool) -> None:
        own = _own_namespaces(self.plan)
        # What this command is bound to is no business of the container's, nor of its hooks.
        process.run_everywhere()
        try:
            recipe = Recipe(
                self.plan,
                [Mount("bind", rootfs, ("rbind",))],
                rootfs,
                mount_fds=_clone_binds(self.plan),
                stdio=None if terminal else (0, 1, 2),
                program=self.filtered,
                group=self.group,
                gate=self.gate,
                idmapped=False,
                listener=self.listener,
                deputy=self.deputy,
            )

            def meanwhile(created: Created) -> None:
                for flag, fd in own:
                    self._go_back(fd, flag)
                self._record(created)
                resctrl.enter(self.container.values["resctrl"]["tasks"], created.pid)
                self._move_devices(created.pid)

            try:
                self.created = create(recipe, meanwhile)
            except RuntimeFailure as failure:
                raise named(self.plan.steps, failure) from failure
            _kept.append(self.created)
            if self._hooks("startContainer"):
                self.container.values["home"] = memory.home()
                self.container.save()
        finally:
            for _, fd in own:
                os.close(fd)
            if self.listener is not None:
                self.listener.close()
        grantable = caps.permitted(in_userns=self.plan.in_userns)
        withheld = withheld_capabilities(self.plan.leg, grantable)
        for warning in (*self.created.warnings, *withheld):
            self.request.journal.warning(warning)
        if terminal and self.console is not None:
            self.console.send(b"/dev/ptmx", self.created.master)  # named as Linux names one
        elif not terminal:
            give_streams(self.created.uid, self.created.gid)

    def _go_back(self, fd: int, flag: int) -> None:
        """Enter a namespace that this process was in before: hooks are for those. OSError.

        Root of a user namespace may not where that one is the machine's; then hooks are run by
        a process that has stayed there (``ownuser``), and nothing else depends on it.
        """
        try:
            setns(fd, flag)
        except PermissionError:
            if not self.plan.nested:
                raise

    def _make_shares(self) -> None:
        """Make what linux.intelRdt asks for, once it is written down who removes it."""
        given = (self.config.get("linux") or {}).get("intelRdt")
        values = self.container.values
        values["resctrl"] = {"made": [], "tasks": []}
        if given is None:
            return
        groups = resctrl.Groups(resctrl.root(), given, self.container.name)
        values["resctrl"] = {"made": groups.made, "tasks": groups.tasks}
        self.container.save()
        groups.make()
        # What fails from here on takes back all of it, and delete all but a class with a name.
        values["resctrl"]["kept"] = groups.kept(given)

    def _move_devices(self, pid: int) -> None:
        wanted = (self.config.get("linux") or {}).get("netDevices")
        if wanted:
            from knarr.oci.netdevices import Devices

            try:
                self.devices = Devices(pid)
            except FileNotFoundError:
                return  # the process has ended already, and is asked why
            self.devices.move(wanted)

    def _record(self, created: Created) -> None:
        self.container.values |= {
            "pid": created.pid,
            "start_time": process.start_time(created.pid),
            "seen": {
                "directories": created.seen.directories,
                "entrances": created.seen.entrances,
                "filtered": created.seen.filtered,
            },
        }
        self.container.save()

    def _before_root(self, created: Created) -> None:
        """Run the hooks for which the namespaces are ready and the root is not yet changed."""
        flags = namespace_flags(self.config.get("linux") or {})
        for kind in configs.before_root(self.config):
            inside = None
            if kind == "createContainer":
                inside = hooks.Inside(created.pid, created.pidfd, flags, cwd=self.request.bundle)
            # Those who wrote the former ones were promised a created container: until version
            # 1.0.2 of the specification they were for ``start``.
            status = "created" if kind == "prestart" else "creating"
            hooks.run(self.config, kind, self.container.told(status), inside)

    def _undo(self) -> None:
        """Take back what was made, and let the hooks that clean up do so."""
        interrupts.hold()
        container = self.container
        if self.devices is not None:
            self._give_back(self.devices)
        pidfd = container.process()  # whoever failed has killed it, unless a signal came between
        if pidfd >= 0:
            ends.end(pidfd)
            os.close(pidfd)
        resctrl.remove(container.values.get("resctrl", {}).get("made", []))
        container.remove_group()
        container.remove()
        if self.request.pid_file and container.pid:
            remove_pid_file(self.request.pid_file, container.pid)
        if container.pid:
            interrupts.release()
            hooks.run_poststop(self.config, container, self.request.journal)

    def _give_back(self, devices: "Devices") -> None:
        try:
            devices.give_back()
        except OSError as error:  # a name that somebody has taken: the rest is undone all the same
            self.request.journal.warning(f"linux.netDevices: {error.strerror or error}")


def _now() -> str:
    """Return the time as runc writes it: RFC 3339 with the nanoseconds that count."""
    seconds, rest = divmod(time.time_ns(), 10**9)
    text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return text + f".{rest:09}".rstrip("0").rstrip(".") + "Z"


def _clone_binds(plan: Plan) -> "dict[int, int]":
    """Return detached clones of what bind mounts show, by index; raises SpecError."""
    found: dict[int, int] = {}
    for step in plan.steps:
        if isinstance(step, BindMount) and step.is_prepared:
            try:
                clone = clone_tree(step.source, None, recursive=step.options.recursive)
            except OSError as error:
                for fd in found.values():
                    os.close(fd)  # there may be too many: what is undone needs some
                text = f"mounts[{step.index}].source: {error.strerror}: {step.source}"
                raise SpecError(text) from error
            found[step.index] = clone
    return found


def _own_namespaces(plan: Plan) -> "list[tuple[int, int]]":
    """Return flag and descriptor of those of our namespaces that making the process leaves."""
    left = set() if plan.joins_user else {flag for flag, _ in plan.joins} - BY_ITSELF.keys()
    if plan.time_offsets is not None:
        left.add(CLONE_NEWTIME)
    kinds = {flag: name for flag, name in NAMESPACES.values() if flag in left}
    flags = os.O_RDONLY | os.O_CLOEXEC
    return [(flag, os.open(f"/proc/self/ns/{name}", flags)) for flag, name in kinds.items()]
