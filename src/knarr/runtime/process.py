"""Making a container's first process: clone, id maps, cgroup, root file system, gate.

``create`` returns a process that has carried out its plan and waits at the gate;
``Created.start`` lets it become the container's program. Both run in the
container's supervisor, a single-threaded process of its own.
"""

import os
import select
import signal

from knarr.kernel import process as kprocess
from knarr.kernel.clone import CLONE_PARENT, clone3
from knarr.kernel.namespaces import setns
from knarr.kernel.seccomp import FilterProgram
from knarr.runtime import child
from knarr.runtime.channel import Channel
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.plan import Plan
from knarr.runtime.rootfs import clone_tree, idmap, open_root
from knarr.runtime.steps.mounts import BindMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from knarr.spec.mount import Mount

    class Group(Protocol):
        """The part of a cgroup that starting a process needs."""

        def clone_fd(self) -> int | None:
            """Return a directory for CLONE_INTO_CGROUP, None on v1."""

        def enter(self) -> None:
            """Move the calling process in."""


_UNSUPPORTED = frozenset((22, 95))  # EINVAL, EOPNOTSUPP: this file system cannot be idmapped


class Recipe:
    """What ``create`` needs beside the plan.

    rootfs: mounts of the root file system. target: an empty directory of the host
    on which it is attached inside the new mount namespace. mount_fds: detached
    mounts by index in ``mounts[]``. stdio: descriptors (-1: /dev/null), None with
    a terminal. program: compiled seccomp filter. init_fd: knarr's init.
    sibling: the process becomes a child of the caller's parent (CLONE_PARENT),
    which then waits for it. append: see ``open_root``.
    """

    __slots__ = (
        "append",
        "group",
        "init_fd",
        "mount_fds",
        "plan",
        "program",
        "rootfs",
        "sibling",
        "stdio",
        "target",
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
    ) -> None:
        self.append = append
        self.plan = plan
        self.rootfs = rootfs
        self.target = target
        self.mount_fds = dict(mount_fds or {})
        self.stdio = stdio
        self.program = program
        self.group = group
        self.init_fd = init_fd
        self.sibling = sibling


class Created:
    """A container's first process, waiting at the gate.

    pid, pidfd: of the process. root_fd: its root file system's mount; as long as
    it is open, ending the container does not write the overlay back.
    master: of the pseudo-terminal, or -1. uid, gid: host ids of its user.
    """

    __slots__ = (
        "channel",
        "gid",
        "master",
        "pid",
        "pidfd",
        "root_fd",
        "sibling",
        "uid",
        "warnings",
    )

    def __init__(self, pid: int, pidfd: int, channel: Channel, *, sibling: bool = False) -> None:
        self.sibling = sibling
        self.pid = pid
        self.pidfd = pidfd
        self.channel = channel
        self.root_fd = self.master = -1
        self.uid = self.gid = 0
        self.warnings: list[str] = []

    def start(self) -> None:
        """Open the gate; returns once the program runs. Raises RuntimeFailure: then abort."""
        self.channel.send({"start": True})
        try:
            message, _ = self.channel.receive()
        except EOFError:
            self.channel.close()
            return
        raise RuntimeFailure.from_dict(message["error"])

    def abort(self) -> None:
        """Kill the process and release all that was made for it."""
        try:
            kprocess.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        except ProcessLookupError:
            # It has ended and our parent, whose child it is, has waited for it.
            self.sibling = True
        if self.sibling:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            poll.poll()
        else:
            os.waitpid(self.pid, 0)
        self.channel.close()
        for fd in (self.pidfd, self.root_fd, self.master):
            if fd >= 0:
                os.close(fd)
        self.pidfd = self.root_fd = self.master = -1


def create(recipe: Recipe) -> Created:
    """Return the container's first process at the gate. Raises RuntimeFailure and OSError."""
    plan = recipe.plan
    _join(plan)
    ours, theirs = Channel.pair()
    cgroup_fd = recipe.group.clone_fd() if recipe.group is not None else None
    try:
        parent = CLONE_PARENT if recipe.sibling else 0
        pid, pidfd = clone3(plan.clone_flags | parent, cgroup_fd)
    finally:
        if cgroup_fd is not None:
            os.close(cgroup_fd)
    if pid == 0:
        ours.close()
        enter = recipe.group.enter if recipe.group is not None and cgroup_fd is None else None
        child.main(plan, theirs, recipe.stdio, recipe.program, recipe.init_fd, enter)
    theirs.close()
    created = Created(pid, pidfd, ours, sibling=recipe.sibling)
    try:
        _hand_over(recipe, created)
        _await_ready(created, plan)
    except BaseException:
        created.abort()
        raise
    return created


def _join(plan: Plan) -> None:
    """Enter namespaces given by path; the child inherits them."""
    for flag, path in plan.joins:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            setns(fd, flag)
        finally:
            os.close(fd)


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _hand_over(recipe: Recipe, created: Created) -> None:
    """Write the id maps, prepare the mounts through them and send them to the child."""
    plan = recipe.plan
    userns = None
    if plan.in_userns:
        for name, maps in (("uid_map", plan.uid_maps), ("gid_map", plan.gid_maps)):
            text = "\n".join(f"{inside} {outside} {size}" for inside, outside, size in maps)
            _write(f"/proc/{created.pid}/{name}", text)
        userns = os.open(f"/proc/{created.pid}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    if plan.oom_score_adj is not None:
        _write(f"/proc/{created.pid}/oom_score_adj", str(plan.oom_score_adj))
    try:
        owner = (host_id(0, plan.uid_maps), host_id(0, plan.gid_maps))
        created.root_fd = open_root(recipe.rootfs, userns, owner, append=recipe.append)
        indexes, fds = _mounts(recipe, created, userns)
    finally:
        if userns is not None:
            os.close(userns)
    try:
        message = {"mounts": indexes, "target": recipe.target}
        created.channel.send(message, [created.root_fd, *fds])
    finally:
        for fd in fds:
            os.close(fd)


def _mounts(
    recipe: Recipe, created: Created, userns: "int | None"
) -> "tuple[list[int], list[int]]":
    """Return indexes and descriptors of the bind mounts, idmapped in a user namespace."""
    indexes: list[int] = []
    fds: list[int] = []
    for step in recipe.plan.steps:
        if not isinstance(step, BindMount) or step.index < 0:
            continue
        fd = recipe.mount_fds.pop(step.index, None)
        if fd is None:
            fd = clone_tree(step.source, None, recursive=step.options.recursive)
        indexes.append(step.index)
        fds.append(fd)
        if userns is not None:
            _idmap_bind(fd, userns, step, created)
    return indexes, fds


def _idmap_bind(fd: int, userns: int, step: BindMount, created: Created) -> None:
    """Map the ids of a bind mount, as much of its tree as its file systems allow."""
    for recursive in (True, False) if step.options.recursive else (False,):
        try:
            idmap(fd, userns, recursive=recursive)
        except OSError as error:
            if error.errno not in _UNSUPPORTED:
                raise
        else:
            return
    created.warnings.append(
        f"{step.source}: its file system has no id-mapped mounts, "
        f"so files on {step.destination} belong to nobody inside the container"
    )


def _await_ready(created: Created, plan: Plan) -> None:
    try:
        message, fds = created.channel.receive()
    except EOFError:
        raise RuntimeFailure(
            "error", "create", "the container's first process ended before it was ready"
        ) from None
    if "error" in message:
        raise RuntimeFailure.from_dict(message["error"])
    created.master = fds[0] if fds else -1
    created.warnings += message["warnings"]
    created.uid = host_id(message["uid"], plan.uid_maps)
    created.gid = host_id(message["gid"], plan.gid_maps)


def host_id(inside: int, maps: "tuple[tuple[int, int, int], ...]") -> int:
    """Return the host's id for one of the container, -1 (leave alone) when it has none."""
    if not maps:
        return inside
    for start, outside, size in maps:
        if start <= inside < start + size:
            return outside + inside - start
    return -1
