"""``Container``: a handle on one container; every method is one verb of the command line."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, overload

from knarr import errors
from knarr.engine import (
    copy,
    events,
    execs,
    health,
    held,
    logs,
    pause,
    remove,
    rename,
    restart,
    spec_process,
    start,
    stop,
    telling,
    waiting,
)
from knarr.engine.attach import Attachment
from knarr.engine.inspect import inspect as inspect_container
from knarr.engine.paths import Paths
from knarr.engine.ports import shown
from knarr.engine.state import ContainerState, merged

if TYPE_CHECKING:
    from knarr.engine.copy import DirectoryEntry, PathStat
    from knarr.engine.engine import Engine
    from knarr.engine.execs import ExecSession
    from knarr.engine.logs import LogEntry
    from knarr.engine.model import (
        ContainerConfig,
        ExecConfig,
        ExitStatus,
        Health,
        Limits,
        RestartPolicy,
        RunResult,
    )
    from knarr.engine.records import ContainerRecord
    from knarr.engine.stats import Stats
    from knarr.engine.top import ProcessList
    from knarr.images.service import Image
    from knarr.snapshots.driver import Change


class Container:
    """One container. The handle is a value: cheap, and safe to use from any thread.

    ``state`` is read anew each time; everything else is as when the handle was made: id (64
    hexadecimal digits; short_id: the first 12), name (without Docker's leading slash),
    image_id (``sha256:HEX``), created (ns). Raises NotFound once it is removed.
    """

    __slots__ = ("_engine", "created", "id", "image_id", "name", "paths", "record", "short_id")

    def __init__(self, engine: Engine, record: ContainerRecord) -> None:
        self._engine = engine
        self.record = record
        self.id, self.short_id, self.name = record.id, record.id[:12], record.name
        self.image_id, self.created = record.image_id, record.created
        self.paths = Paths(engine.settings, record.id)

    def __repr__(self) -> str:
        return f"<Container {self.short_id} {self.name}>"

    @property
    def image(self) -> str:
        """The image as it was named at creation."""
        return self.config.image

    @property
    def config(self) -> ContainerConfig:
        """The configuration it was created with."""
        return self.record.config

    @property
    def labels(self) -> dict[str, str]:
        """The image's labels under the container's own."""
        return self._engine.labels(self.record)

    @property
    def exposed_ports(self) -> dict[str, Any]:
        """What it exposes, as its image or it was told, or publishes: ``80/tcp`` -> {}."""
        return shown.exposed(self.config, self._engine.image_defaults(self.image_id))

    @property
    def arguments(self) -> list[str]:
        """The command line that runs in it, without knarr's own init before it."""
        image = self._engine.image_defaults(self.image_id)
        return spec_process.command_line(self.config, image)

    @property
    def state(self) -> ContainerState:
        """What it is doing now. One whose supervisor died is put right first."""
        state = merged(self.record, self.paths)
        if state.stale:
            self._engine.recover_container(self.record)
            state = merged(self.record, self.paths)
        return state

    @property
    def status(self) -> str:
        """One word: created, running, paused, restarting, exited or removing."""
        return self.state.status

    @property
    def network_names(self) -> list[str]:
        """The names of the networks that it is on, or will be when it runs."""
        from knarr.engine.networks import shown as networks

        return networks.names(self._engine, self.record)

    def is_on(self, network: str) -> bool:
        """Return whether it is on a network, by name or id."""
        from knarr.engine.networks import shown as networks

        return networks.is_on(self._engine, self.record, network)

    def has_spec(self) -> bool:
        """Return whether its creation was completed."""
        return os.path.exists(self.paths.spec)

    def is_from(self, image: str) -> bool:
        """Return whether its image is that of the name or id, on any platform. Raises NotFound."""
        return self.image_id in self._engine.images.platform_ids(image)

    def describe(self) -> str:
        """Return the status in Docker's words (``Up 5 seconds``)."""
        return self.state.describe(time.time_ns())

    def start(
        self,
        *,
        attach: bool = False,
        size: tuple[int, int] | None = None,
        explained: telling.Listener | None = None,
    ) -> Attachment | None:
        """Start it; with ``attach`` return the connection that sees its output from the first byte.

        size: rows and columns of its terminal when its command starts. explained: as in
        ``Containers.launch``. Raises NotModified when it runs already, CommandNotFound,
        NotExecutable. One with auto_remove that cannot be started is removed, as with Docker.
        """
        with self.paths.locked():
            record = held.startable(self._engine, self.paths)
            state = merged(record, self.paths)
            if state.stale:  # whoever watched it, or had it paused, is dead
                state = held.settled(self._engine, record, self.paths)
            if state.restarting:
                raise errors.NotModified(f"container {self.name} is already being started again")
            if state.paused:
                raise errors.Conflict("cannot start a paused container, try unpause instead")
            with remove.removed_if_not_started(self._engine, record, self.paths):
                watch = telling.watch(self, explained)
                return start.start(self._engine, record, attach=attach, size=size, watch=watch)

    def attach(self) -> Attachment:
        """Return a connection to the running container's stdio. Raises Conflict when it is not."""
        if self.state.paused:
            raise errors.Conflict("You cannot attach to a paused container, unpause it first")
        attachment = stop.connect(self._engine, self.record, self.paths)
        if attachment is None:
            if self.state.restarting:
                raise errors.Conflict(
                    "You cannot attach to a restarting container, wait until it is running"
                )
            raise errors.Conflict("You cannot attach to a stopped container, start it first")
        self._tell("attach")
        return attachment

    def _tell(self, action: str, **more: str) -> None:
        events.note(self._engine, self.record, action, **more)

    def finish(self, attachment: Attachment) -> None:
        """Do what follows from an exit that ``attachment`` saw: with auto_remove, remove it."""
        remove.finish(self._engine, self.record, self.paths, attachment)

    def wait(self, timeout: float | None = None) -> ExitStatus:
        """Return how it ended, waiting for it at most ``timeout`` seconds. Raises Timeout."""
        return waiting.wait(self._engine, self.record, self.paths, timeout)

    @property
    def health(self) -> Health:
        """What the health checks found last; status ``none`` for one without a check."""
        return health.read(self.state, self.paths)

    def wait_healthy(self, timeout: float | None = None) -> None:
        """Return once it is. Raises Timeout (s), Conflict: no check, not running, unhealthy."""
        health.wait(self._engine, self.record, self.paths, timeout)

    def stop(self, timeout: int | None = None, signal: str | int | None = None) -> None:
        """Ask it to stop, kill it after ``timeout`` seconds (None: its own, else 10; -1: never).

        Raises NotModified when it does not run.
        """
        stop.stop(self._engine, self.record, self.paths, timeout=timeout, signal=signal)

    def restart(self, timeout: int | None = None, signal: str | int | None = None) -> None:
        """Stop it if it runs, as :meth:`stop` does, then start it. Raises as :meth:`start`."""
        restart.restart(self._engine, self.record, self.paths, timeout=timeout, signal=signal)
        self._tell("restart")

    def kill(self, signal: str | int = "KILL") -> None:
        """Send a signal to its first process. Raises Conflict when it does not run."""
        stop.kill(self._engine, self.record, self.paths, signal)

    def pause(self) -> None:
        """Freeze all its processes. Raises Conflict when it does not run or is paused."""
        pause.pause(self._engine, self.record, self.paths)
        self._tell("pause")

    def unpause(self) -> None:
        """Let its processes go on. Raises Conflict when it is not paused."""
        pause.unpause(self._engine, self.record, self.paths)
        self._tell("unpause")

    def remove(self, *, force: bool = False) -> None:
        """Remove it. Raises Conflict while it runs, unless ``force`` has it killed first."""
        remove.remove(self._engine, self.record, self.paths, force=force)

    def update(self, limits: Limits | None = None, restart: RestartPolicy | None = None) -> None:
        """Change its limits, at once where it runs, and its restart policy.

        limits: what is None or empty stays as it is. Raises InvalidArgument, Conflict and what
        the kernel says; everything is as before then.
        """
        from knarr.engine import update

        update.update(self._engine, self.record, self.paths, limits, restart)
        self.record = self._engine.table.find(self.id)
        self._tell("update")

    def rename(self, name: str) -> None:
        """Give it another name. Raises Conflict for one in use, InvalidArgument for no name."""
        rename.rename(self._engine, self.record, self.paths, name)
        before, self.record = self.name, self._engine.table.find(self.id)
        self.name = self.record.name
        events.renamed(self._engine, self.record, self.paths, before)

    def logs(
        self,
        *,
        follow: bool = False,
        since: int | None = None,
        until: int | None = None,
        tail: int | None = None,
        lines: bool = False,
        stop: int | None = None,
        runs: bool = False,
    ) -> Iterator[LogEntry]:
        """Yield its output: blocks as written, or lines (with ``lines`` or ``tail``).

        runs: pieces of whole lines that came together, instead of each line or block.

        since, until: ns since the epoch. tail: number of lines from the end.
        follow: go on until it ends, or until the descriptor ``stop`` is readable.
        """
        options = logs.LogOptions(since, until, tail, follow, lines, stop, runs)
        return logs.read(self._engine, self.record, self.paths, options)

    def log_details(self) -> bytes:
        """Return what ``logs --details`` has before each line. Raises InvalidArgument."""
        return logs.details(self._engine, self.record)

    def exec(
        self,
        config: ExecConfig,
        *,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        size: tuple[int, int] | None = None,
        by_name: bool = False,
    ) -> ExecSession:
        """Start a command inside; the streams are descriptors of the caller, None is /dev/null.

        size: rows and columns, with ``config.tty``. by_name: the command can open pipes as
        /dev/stdout, too; ``wait`` of the session moves the bytes then. Raises Conflict when the
        container does not run, CommandNotFound, NotExecutable, InvalidArgument.
        """
        ends = execs.Ends(stdin, stdout, stderr, size, by_name)
        return execs.start(self._engine, self, config, ends)

    def exec_run(
        self, config: ExecConfig, *, input: bytes | None = None, timeout: float | None = None
    ) -> RunResult:
        """Run a command inside to its end; return its output, exit code and usage.

        After ``timeout`` seconds it is killed with all it started, and
        ``timed_out`` is set in the result.
        """
        return execs.run(self._engine, self, config, input=input, timeout=timeout)

    def inspect(self) -> dict[str, Any]:
        """Return everything about it as Docker's JSON object."""
        return inspect_container(self._engine, self.record, self.paths, self.state)

    def explain(self, *, calls: bool = False) -> dict[str, Any]:
        """Return what makes its first process a container: facts of the kernel and of records.

        Namespaces with their inodes, id map, layers, mounts, control groups, capabilities,
        system call filter, limits, network, and the steps of its start; calls: with each
        system call. See docs/explain.md.
        """
        from knarr.engine import explain

        return explain.explain(self._engine, self.record, self.paths, self.state, calls=calls)

    @property
    def ports(self) -> dict[str, list[dict[str, str]] | None]:
        """Where its ports are while it runs: ``80/tcp`` -> [{"HostIp": …, "HostPort": …}].

        None for one that is exposed and not published.
        """
        return self.ports_in(self.state)

    def ports_in(self, state: ContainerState) -> dict[str, list[dict[str, str]] | None]:
        """Return ``ports`` for a state that it was found in."""
        image = self._engine.image_defaults(self.image_id) if state.running else {}
        return shown.published(self.config, image, state)

    def top(self, options: Sequence[str] = ()) -> ProcessList:
        """Return its processes as ps(1) shows them; options: ps's own, else ``-ef``.

        Raises Conflict when it does not run, InvalidArgument with what ps says of the options.
        """
        from knarr.engine import top

        found = top.top(self.record, self.paths, self.state, options)
        self._tell("top")
        return found

    @overload
    def stats(self, *, stream: Literal[False] = False) -> Stats: ...

    @overload
    def stats(self, *, stream: Literal[True], interval: float = 1.0) -> Iterator[Stats]: ...

    def stats(self, *, stream: bool = False, interval: float = 1.0) -> Stats | Iterator[Stats]:
        """Return what it uses, its processors measured over half a second.

        stream: yield that each ``interval`` seconds until it is removed; while it does not run
        all figures are 0.
        """
        from knarr.engine import stats

        if stream:
            return stats.of_one(self._engine, self.id, interval)
        return stats.once(self._engine, [self.id])[0]

    def diff(self) -> list[Change]:
        """Return what it changed in its image's file system, sorted by path: (A, C or D, path)."""
        from knarr.engine import changes

        return changes.diff(self._engine, self.record)

    def commit(
        self,
        ref: str | None = None,
        *,
        author: str = "",
        message: str = "",
        changes: Iterable[str] = (),
        pause: bool = True,
    ) -> Image:
        """Make an image of what it changed, above its own image.

        changes: Dockerfile instructions (``CMD ["sh"]``). pause: freeze it meanwhile, if it
        runs. Raises InvalidArgument, Conflict for one that is being removed.
        """
        from knarr.engine import commit

        wish = commit.Wish(ref, author, message, tuple(changes), pause)
        image = commit.commit(self._engine, self.record, self.paths, wish)
        self._tell("commit", comment=message, imageID=image.id, imageRef=ref or "")
        return image

    def clone(self, name: str | None = None) -> Container:
        """Return a new container, not started, with its configuration and all that it wrote.

        It stands still meanwhile, if it runs. name: by default a random one. A clone of a
        sandbox does not end with who made that. Raises as ``Containers.create``.
        """
        from knarr.engine import clone

        return clone.clone(self._engine, self, name)

    def stat_path(self, path: str, *, follow: bool = False) -> PathStat:
        """Return what is at ``path`` inside; a link there is followed if asked. Raises NotFound."""
        return copy.stat_path(self._engine, self, path, follow=follow)

    def get_archive(
        self, path: str, *, follow: bool = False, name: str | None = None
    ) -> Iterator[bytes]:
        """Yield the file or directory at ``path`` as a tar. Raises NotFound.

        name: what it is called there, by default what it is called here.
        """
        self._tell("archive-path", path=path)
        return copy.get_archive(self._engine, self, path, follow=follow, name=name)

    def put_archive(
        self,
        path: str,
        archive: BinaryIO,
        *,
        owner: tuple[int, int] | None = None,
        keep_kinds: bool = False,
    ) -> None:
        """Unpack a tar into the directory ``path``.

        owner: (uid, gid) inside for everything, None keeps the archive's.
        keep_kinds: never put a directory in place of a file or the other way
        round. Raises NotFound, InvalidArchive, Conflict, Forbidden.
        """
        copy.put_archive(self._engine, self, path, archive, owner=owner, keep_kinds=keep_kinds)
        self._tell("extract-to-dir", path=path)

    def list_directory(self, path: str) -> list[DirectoryEntry]:
        """Return what is in a directory inside, sorted by name. Raises NotFound."""
        return copy.list_directory(self._engine, self, path)

    def remove_path(self, path: str) -> None:
        """Remove a file inside, or a directory with all in it. Raises NotFound."""
        copy.remove_path(self._engine, self, path)

    def export(self) -> Iterator[bytes]:
        """Yield its whole file system as a tar, without what is mounted in it."""
        self._tell("export")
        return copy.export(self._engine, self)
