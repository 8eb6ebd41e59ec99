"""Making a container's first process: clone, id maps, cgroup, root file system, gate.

``create`` returns a process that has carried out its plan and waits at the gate;
``Created.start`` lets it become the container's program. Both run in the
container's maker, a single-threaded process of its own.
"""

import errno
import os
import stat

from knarr.kernel import caps
from knarr.kernel.clone import CLONE_PARENT
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime import child, entering, finalleg
from knarr.runtime.entering import host_id
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.keeper import Keeper
from knarr.runtime.plan import Plan
from knarr.runtime.program import carrier, memory
from knarr.runtime.program.builder import Block, Program
from knarr.runtime.program.exchange import DIRECTORY_MISSING
from knarr.runtime.rlimits import raise_limits, set_score
from knarr.runtime.rootfs import ActingAs, clone_tree, close_all, idmap, idmap_bind, open_root
from knarr.runtime.steps.base import Circumstances, Setting, Stop
from knarr.runtime.steps.mounts import BindMount, NewMount
from knarr.runtime.waiting import Waiting, is_known, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from knarr.runtime.deputy import Deputy
    from knarr.runtime.entering import Maps
    from knarr.runtime.fifogate import FifoGate
    from knarr.runtime.seccomp.listener import Listener
    from knarr.runtime.timeline import Timeline
    from knarr.spec.mount import Mount

    class Group(Protocol):
        """The part of a cgroup that starting a process needs."""

        def clone_fd(self) -> int | None:
            """Return a directory for CLONE_INTO_CGROUP, None on v1."""

        def entrances(self) -> tuple[str, ...]:
            """Return the files into which a process writes 0 to enter."""


class Recipe:
    """What ``create`` needs beside the plan.

    rootfs: mounts of the root file system. target: an empty directory of the host
    on which it is attached inside the new mount namespace. mount_fds: detached
    mounts by index in ``mounts[]``. stdio: descriptors (-1: /dev/null), None with
    a terminal. program: compiled seccomp filter. init_fd: knarr's init.
    sibling: the process becomes a child of the caller's parent (CLONE_PARENT),
    which then waits for it. append: see ``open_root``. keeper: one that has begun for
    this container. gate: another than the channel, for a process that outlives who made it.
    idmapped: a user namespace sees root and bind mounts through its id map, also without
    the option ``idmap``. timeline: of a start that is to be explained. listener: of a
    filter that asks an agent.
    """

    __slots__ = (
        "append",
        "deputy",
        "gate",
        "group",
        "idmapped",
        "init_fd",
        "keeper",
        "listener",
        "mount_fds",
        "plan",
        "program",
        "rootfs",
        "sibling",
        "stdio",
        "target",
        "timeline",
    )

    def __init__(
        self,
        plan: Plan,
        rootfs: "list[Mount]",
        target: str,
        *,
        mount_fds: "dict[int, int] | None" = None,
        stdio: "tuple[int, int, int] | None" = None,
        program: "FilterProgram | None" = None,
        group: "Group | None" = None,
        init_fd: "int | None" = None,
        sibling: bool = False,
        append: bool = True,
        keeper: "Keeper | None" = None,
        gate: "FifoGate | None" = None,
        idmapped: bool = True,
        timeline: "Timeline | None" = None,
        listener: "Listener | None" = None,
        deputy: "Deputy | None" = None,
    ) -> None:
        self.listener = listener
        self.deputy = deputy
        self.append = append
        self.gate = gate
        self.idmapped = idmapped
        self.plan = plan
        self.rootfs = rootfs
        self.target = target
        self.mount_fds = dict(mount_fds or {})
        self.stdio = stdio
        self.program = program
        self.group = group
        self.init_fd = init_fd
        self.keeper = keeper
        self.sibling = sibling
        self.timeline = timeline

    def note(self, what: str) -> None:
        """Note when something was done, where somebody wants to know."""
        if self.timeline is not None:
            self.timeline.note(what)


class Created:
    """A container's first process, waiting at the gate.

    root_fd: its root file system's mount; as long as it is open, ending the
    container does not write the overlay back. master: of the pseudo-terminal, or
    -1. uid, gid: host ids of its user, -1 when there are none and as long as they are
    not known. seen: what its program depended on. leftover: descriptors that are not needed
    once it is on its way, and whose closing waits for the kernel: for when nobody else waits.
    """

    __slots__ = (
        "_opened",
        "_process",
        "gid",
        "leftover",
        "master",
        "root_fd",
        "seen",
        "uid",
        "warnings",
    )

    def __init__(self, process: Waiting, seen: Circumstances) -> None:
        self._process = process
        self.seen = seen
        self.root_fd = self.master = -1
        self.uid = self.gid = -1
        self._opened = False
        self.leftover: list[int] = []
        self.warnings: list[str] = []

    @property
    def pid(self) -> int:
        """The pid, as this process sees it."""
        return self._process.pid

    @property
    def pidfd(self) -> int:
        """A descriptor of the process."""
        return self._process.pidfd

    def start(self) -> None:
        """Open the gate; returns once the program runs. Raises RuntimeFailure: then abort."""
        if not self._opened:
            self.open_gate()
        self._process.await_exec()
        self._process.close()

    def open_gate(self) -> None:
        """Let the process go through its gate, be it there already or not yet."""
        self._opened = self._process.ahead = True
        self._process.go()

    def kill(self) -> None:
        """Kill the process; returns when it has ended."""
        self._process.kill()

    def abort(self) -> None:
        """Kill the process and release all that was made for it."""
        self.kill()
        self._process.close()
        close_all(self.leftover)
        for fd in (self._process.pidfd, self.root_fd, self.master):
            if fd >= 0:
                os.close(fd)
        self.root_fd = self.master = -1


def create(recipe: Recipe, meanwhile: "Callable[[Created], None] | None" = None) -> Created:
    """Return the container's first process at the gate. Raises RuntimeFailure and OSError.

    It shares this process's memory and, until it is ready, its descriptors.
    meanwhile: what to do while the process carries out its steps. When it returns, the
    gate is opened ahead if nothing has to be looked up in the container before, if the
    process does not stop on its way, and if the gate is not one of its own.
    """
    plan, gate = recipe.plan, recipe.gate
    _prepare(recipe)
    binds = _clone_binds(recipe)
    if binds:
        recipe.note("binds")
    opened = _join(recipe)
    directories = tuple(stat.S_ISDIR(os.fstat(fd).st_mode) for fd in binds)
    setting = setting_for(plan, directories)
    try:
        process, entrances = _spawn(recipe, setting)
    finally:
        entering.close_all(opened)
    recipe.note("process")
    if recipe.timeline is not None:
        recipe.timeline.seize(process.pid)
        process.look = recipe.timeline.pass_on
    seen = Circumstances(
        recipe.stdio,
        filtered=recipe.program is not None,
        has_init=recipe.init_fd is not None,
        directories=directories,
        entrances=entrances,
    )
    created = Created(process, seen)
    process.answer = lambda question: _make_missing(plan, created.root_fd, question)
    if recipe.listener is not None:
        recipe.listener.tell(created.pid)
    created.warnings += plan.warnings
    stops = [step for step in plan.steps if isinstance(step, Stop)]
    try:
        _hand_over(recipe, created, binds)
        process.go()
        known = is_known(plan.steps, setting)
        if known:
            _settle_user(plan, setting, created)
        if meanwhile is not None:
            meanwhile(created)
            if known and gate is None and not stops:
                created.open_gate()
        for stop in stops:
            process.await_stop()
            stop.outside(recipe, created)
            process.go()
        process.await_ready()
        recipe.note("ready")
        if recipe.deputy is not None:
            recipe.deputy.let_go()
        created.master = memory.MASTER.get()
        if not known:
            _settle_user(plan, setting, created)
    except BaseException:
        created.abort()
        raise
    return created


def _make_missing(plan: Plan, root_fd: int, question: bytes) -> None:
    """Make what a mount's place lacks, as the container's root; what fails the process finds."""
    from knarr.runtime.reaching import make_missing

    path = memory.text_at(memory.QUESTION.get())
    try:
        with ActingAs((host_id(0, plan.uid_maps), host_id(0, plan.gid_maps))):
            make_missing(root_fd, path, directory=question == DIRECTORY_MISSING)
    except OSError:
        pass  # the process opens the place next, and says what is there
    memory.ANSWER.set(1)


def _prepare(recipe: Recipe) -> None:
    """Make the memory and what a gate or a listener needs ready, before any cell is set."""
    deputy, gate = recipe.deputy, recipe.gate
    if deputy is None:
        carrier.prepare(apart=recipe.plan.apart)
    else:
        deputy.prepare()
    if gate is not None:
        gate.prepare()
        if deputy is not None:
            deputy.tell_in(gate.cells)
    if recipe.listener is not None:
        recipe.listener.place()


def _spawn(recipe: Recipe, setting: Setting) -> "tuple[Waiting, int]":
    """Return the process on its way, and how many control groups it enters itself.

    The group is entered at birth on v2, by the process's own hand otherwise.
    """
    plan, group = recipe.plan, recipe.group
    cgroup_fd = None if group is None else group.clone_fd()
    entrances = () if group is None or cgroup_fd is not None else group.entrances()
    try:
        process = _kept(recipe, setting, entrances)
        if process is None and plan.joins_user:
            number = memory.FAULT_ERROR.get()
            text = "linux.namespaces: cannot enter those of another container"
            text += f": {os.strerror(number)}" if number else ""
            raise RuntimeFailure("error", "namespaces", text, number)
        if process is None:
            ends = child.meet()
            program = _program(recipe, setting, entrances)
            if recipe.deputy is not None:
                spawned = _spawn_there(recipe, recipe.deputy, program, ends, cgroup_fd)
                return Waiting(program, ends, spawned, sibling=True), len(entrances)
            flags = plan.clone_flags | (CLONE_PARENT if recipe.sibling else 0)
            spawned = carrier.spawn(program, flags, cgroup_fd, apart=plan.apart)
            process = Waiting(program, ends, spawned, sibling=recipe.sibling)
    finally:
        if cgroup_fd is not None:
            os.close(cgroup_fd)
    return process, len(entrances)


def _spawn_there(
    recipe: Recipe,
    deputy: "Deputy",
    program: Program,
    ends: "tuple[_socket.socket, list[int]]",
    cgroup_fd: "int | None",
) -> "tuple[int, int]":
    """Return pid and pidfd of the process, which the deputy clones."""
    child.meet_there(ends, deputy.give)
    if recipe.gate is not None:
        recipe.gate.wait_there(deputy.give)
    return deputy.spawn(program, recipe.plan.clone_flags, cgroup_fd)


def _kept(recipe: Recipe, setting: Setting, entrances: "tuple[str, ...]") -> "Waiting | None":
    """Return the process that the recipe's keeper has cloned; None when there is none to use."""
    keeper = recipe.keeper
    if keeper is None:
        return None
    program = _program(recipe, setting, entrances, keeper.block)
    found = keeper.give(program)
    if found is None:
        keeper.close()
        return None
    return Waiting(program, keeper.ends, found, sibling=recipe.sibling)


def _program(
    recipe: Recipe,
    setting: Setting,
    entrances: "tuple[str, ...]",
    before: "Block | None" = None,
) -> Program:
    """Return the program, and set the cells that it takes values from."""
    plan = recipe.plan
    init_fd = None if recipe.init_fd is None else child.high(recipe.init_fd)
    permitted = caps.permitted(in_userns=plan.in_userns)
    gate = recipe.gate
    ending = finalleg.Ending(
        recipe.stdio, recipe.program, init_fd, permitted, has_proc=setting.has_proc,
        notifies=recipe.listener is not None,
    )  # fmt: skip
    if gate is not None:
        gate.settle(ending)
    program = child.first(
        plan.unshare_flags, plan.steps, setting, plan.leg, ending, entrances, before,
        None if gate is None else gate.emit,
    )  # fmt: skip
    child.set_paths(program, recipe.target, entrances)
    finalleg.set_cells(program, plan.leg, ending)
    if recipe.timeline is not None:
        recipe.timeline.note("program")
        room = 0 if before is None else memory.PROGRAM_SIZE
        program = recipe.timeline.stamped(program, before, room)
        recipe.timeline.note("stamps")
    return program


def _binds(plan: Plan) -> "list[BindMount]":
    """Return the bind mounts that are prepared outside, in the order in which they are numbered."""
    return [
        step
        for step in plan.steps
        if isinstance(step, BindMount) and step.is_prepared and step.index >= 0
    ]


def setting_for(plan: Plan, directories: "Sequence[bool]") -> Setting:
    """Return what the steps depend on. directories: of each bind mount, whether it is one."""
    numbered = enumerate(zip(_binds(plan), directories, strict=True))
    return Setting(
        in_userns=plan.in_userns or plan.nested,
        binds={step.index: (number, is_directory) for number, (step, is_directory) in numbered},
        has_proc=any(isinstance(step, NewMount) and step.fstype == "proc" for step in plan.steps),
        has_home="HOME" in plan.leg.environment(),
    )


def _settle_user(plan: Plan, setting: Setting, created: Created) -> None:
    uid, gid = resolve(plan.steps, setting)
    created.uid = host_id(uid, plan.uid_maps)
    created.gid = host_id(gid, plan.gid_maps)


def _join(recipe: Recipe) -> "entering.Opened":
    """Enter namespaces given by path; the child inherits them. With a user one, a keeper does.

    Returns what that keeper enters: to be closed when it has cloned the process.
    """
    plan, group = recipe.plan, recipe.group
    if plan.time_offsets is not None:
        entering.make_time(plan.time_offsets)
    if recipe.deputy is not None:
        recipe.deputy.enter(plan.joins)
    elif not plan.joins_user:
        entering.enter(plan.joins)
    elif recipe.keeper is None:
        if not carrier.SHARED:
            text = "linux.namespaces: a user namespace by path cannot be entered on this machine"
            raise RuntimeFailure("error", "namespaces", text)
        opened = entering.open_all(plan.joins)
        joined = entering.leave_to_process(opened)
        recipe.keeper = Keeper(joined, plan.clone_flags, sibling=recipe.sibling)
        recipe.keeper.begin(None if group is None else group.clone_fd())
        return opened
    return ()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _clone_binds(recipe: Recipe) -> "list[int]":
    """Return a detached clone of each bind mount."""
    fds = []
    for step in _binds(recipe.plan):
        fd = recipe.mount_fds.pop(step.index, None)
        if fd is None:
            fd = clone_tree(step.source, None, recursive=step.options.recursive)
        fds.append(fd)
        maps = recipe.plan.mount_maps.get(step.index)
        if maps is not None:
            _map_ids(step, fd, maps)
    return fds


def _map_ids(step: BindMount, fd: int, maps: "tuple[Maps, Maps]") -> None:
    """Have a detached mount seen through id maps of its own. Raises RuntimeFailure."""
    from knarr.runtime import usernamespace

    try:
        userns = usernamespace.make(*maps)
    except OSError as error:
        raise not_mapped(step, "uidMappings", error) from error
    try:
        idmap(fd, userns, recursive=step.options.idmap_recursive)
    except OSError as error:
        raise not_mapped(step, "uidMappings", error) from error
    finally:
        os.close(userns)


def not_mapped(step: BindMount, field: str, error: OSError) -> RuntimeFailure:
    """EINVAL is how the kernel says that a file system, or a mount mapped already, takes none."""
    text = f"mounts[{step.index}].{field}: {step.source}: {os.strerror(error.errno or 0)}"
    if error.errno == errno.EINVAL:
        text += " (its file system cannot be id-mapped, or the map is none)"
    return RuntimeFailure("error", step.describe(), text, error.errno or 0)


def _hand_over(recipe: Recipe, created: Created, binds: "list[int]") -> None:
    """Write the id maps and prepare the mounts through them, where the process finds them."""
    plan = recipe.plan
    userns = None
    if plan.joins_user:
        _find_maps(plan, created.pid)
    elif plan.in_userns:
        for name, maps in (("uid_map", plan.uid_maps), ("gid_map", plan.gid_maps)):
            _write_map(created.pid, name, maps)
        recipe.note("maps")
    if plan.in_userns:
        userns = os.open(f"/proc/{created.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    if plan.oom_score_adj is not None:
        warning = set_score(created.pid, plan.oom_score_adj, lenient=plan.nested)
        created.warnings += [warning] if warning else []
    raise_limits(created.pid, plan.leg.rlimits)
    try:
        owner = (host_id(0, plan.uid_maps), host_id(0, plan.gid_maps))
        through = userns if recipe.idmapped else None
        created.root_fd = open_root(
            recipe.rootfs, through, owner, append=recipe.append, leftover=created.leftover
        )
        recipe.note("root")
        for step, fd in zip(_binds(plan), binds, strict=True):
            if step.index in plan.mount_maps:
                pass  # it has its own
            elif userns is not None and step.options.idmap and not recipe.idmapped:
                try:
                    idmap(fd, userns, recursive=step.options.idmap_recursive)
                except OSError as error:
                    raise not_mapped(step, "options: idmap", error) from error
            elif userns is not None and recipe.idmapped and step.source.startswith("/"):
                # What is of another container, and of no path, has the ids of that namespace.
                problem = idmap_bind(fd, userns, step, recursive=step.options.recursive)
                created.warnings += [problem] if problem else []
        if binds:
            recipe.note("idmaps")
    finally:
        if userns is not None:
            os.close(userns)
    _tell(recipe, created.root_fd, binds)


def _tell(recipe: Recipe, root_fd: int, binds: "list[int]") -> None:
    """Have the process find its mounts: in its table of descriptors, whoever else's that is."""
    fds = [root_fd, *binds]
    root, *mounts = fds if recipe.deputy is None else recipe.deputy.give(fds)
    memory.ROOT.set(root)
    for number, fd in enumerate(mounts):
        memory.mount_cell(number).set(fd)


def _find_maps(plan: Plan, pid: int) -> None:
    """Have the plan's id maps be those of the user namespace that was entered."""
    found = entering.user_maps(pid)
    for name, given, own in zip("ug", (plan.uid_maps, plan.gid_maps), found, strict=True):
        if given and sorted(given) != sorted(own):
            text = f"linux.{name}idMappings: are not those of the user namespace"
            raise RuntimeFailure("error", "namespaces", text)
    plan.uid_maps, plan.gid_maps = found


def _write_map(pid: int, name: str, maps: "tuple[tuple[int, int, int], ...]") -> None:
    """Write an id map (user_namespaces(7)): once, and whole."""
    try:
        text = "\n".join(f"{inside} {outside} {size}" for inside, outside, size in maps)
        _write(f"/proc/{pid}/{name}", text)
    except OSError as error:
        text = f"{name}: {error.strerror}"
        raise RuntimeFailure("error", name, text, error.errno or 0) from error
