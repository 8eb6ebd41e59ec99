"""``Sandbox``: a container that waits for commands, for as long as its owner lives.

    with Sandbox("debian:bookworm", memory="256m", network="none") as box:
        box.files.write("/tmp/main.py", "print(6 * 7)")
        result = box.run("python3", "/tmp/main.py", timeout=5)

The container is tied to this process by one connection: when the process
ends, even by kill -9, the kernel closes it and the supervisor kills and removes
the container. Nothing is forked here and no signal handler is installed, so it
may be used from threads and (``AsyncSandbox``) from asyncio.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, overload

from knarr import errors
from knarr.closing import Closing
from knarr.engine.boxfiles import Files
from knarr.engine.engine import Engine
from knarr.engine.model import (
    BindMount,
    ContainerConfig,
    ExecConfig,
    Health,
    HealthCheck,
    Limits,
    RunResult,
    Tmpfs,
)
from knarr.spec.quantity import cpus as parse_cpus
from knarr.spec.quantity import size as parse_size

if TYPE_CHECKING:
    from knarr.engine.container import Container
    from knarr.engine.execs import ExecSession
    from knarr.engine.stats import Stats

DEFAULT_MEMORY = "256m"
DEFAULT_PIDS = 256


class Sandbox(Closing):
    """A disposable container; a context manager. All methods may be called from any thread.

    memory: bytes, or text such as ``256m``; None is unlimited, as for cpus
    (processors, 0.5 is half of one) and pids. tmpfs: paths, or path -> options.
    binds: host path -> path inside, with ``:ro`` behind for read-only.
    health: a check of what is started in it. engine: the one to use, else it gets its own.
    Raises NotFound (image), InvalidArgument, Unavailable and what the kernel says.
    """

    def __init__(
        self,
        image: str,
        *,
        memory: int | str | None = DEFAULT_MEMORY,
        cpus: float | str | None = None,
        network: str = "none",
        pids: int | None = DEFAULT_PIDS,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        workdir: str | None = None,
        read_only: bool = False,
        tmpfs: Sequence[str] | Mapping[str, str] = (),
        binds: Mapping[str, str] | None = None,
        name: str | None = None,
        egress_allow: Sequence[str] | None = None,
        health: HealthCheck | None = None,
        engine: Engine | None = None,
    ) -> None:
        self._engine = Engine() if engine is None else engine
        self._owns_engine = engine is None
        config = ContainerConfig(
            image=image,
            name=name,
            env=tuple(f"{key}={value}" for key, value in (env or {}).items()),
            user=user,
            working_dir=workdir,
            read_only=read_only,
            tmpfs=_tmpfs(tmpfs),
            binds=_binds(binds or {}),
            network=network,
            egress_allow=_entries(egress_allow),
            limits=_limits(memory, cpus, pids),
            health=health,
            auto_remove=True,
            sandbox=True,
            kill_on_owner_exit=True,
        )
        self._launch(config)

    def _launch(self, config: ContainerConfig, source: Container | None = None) -> None:
        self._closed = False
        launched = self._engine.containers.launch(config, source=source)
        self.container: Container = launched.container
        self.id, self.name = self.container.id, self.container.name
        assert launched.attachment is not None
        self._tie = launched.attachment
        self.files = Files(self.container)

    @property
    def engine(self) -> Engine:
        """The engine that it was made with."""
        return self._engine

    def fork(self, name: str | None = None) -> Sandbox:
        """Return a second sandbox with the same files; what either writes, the other lacks.

        It has the same limits and mounts, and none of the processes, which stand still
        meanwhile. It ends by itself or with this process, not with this sandbox. Raises
        Conflict when this one is gone.
        """
        from knarr.engine import clone

        if self._closed:
            raise errors.Conflict(f"sandbox {self.container.short_id} is closed")
        with clone.source(self._engine, self.container, name) as config:
            return _Fork(self._engine, config, self.container)

    def __repr__(self) -> str:
        return f"<Sandbox {self.container.short_id} {self.container.image}>"

    def run(
        self,
        *argv: str,
        timeout: float | None = None,
        input: bytes | str | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        check: bool = False,
    ) -> RunResult:
        """Run a command and return stdout, stderr, exit code and usage.

        A command that is still running after ``timeout`` seconds is killed with
        everything it started; the result then has ``timed_out`` set, exit code
        137 and the output so far. check: raise CommandFailed for any exit code
        but 0, and Timeout, both with the result as ``.result``. Always raises
        CommandNotFound, NotExecutable, and Conflict when the sandbox is gone.
        """
        data = input.encode() if isinstance(input, str) else input
        result = self.container.exec_run(
            self._exec_config(argv, env, cwd, user), input=data, timeout=timeout
        )
        if check and result.timed_out:
            raise SandboxTimeout(f"{argv[0]}: still running after {timeout:g} seconds", result)
        if check and result.exit_code != 0:
            raise CommandFailed(f"{argv[0]}: exit code {result.exit_code}", result)
        return result

    def popen(
        self,
        *argv: str,
        stdin: int | None = None,
        stdout: int | None = None,
        stderr: int | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | None = None,
        user: str | None = None,
        tty: bool = False,
    ) -> ExecSession:
        """Start a command on descriptors of the caller (None is /dev/null) and return its session.

        For streaming: give one end of ``os.pipe()``, read the other; then
        ``session.wait()``. Raises as :meth:`run`.
        """
        config = self._exec_config(argv, env, cwd, user, tty=tty)
        return self.container.exec(config, stdin=stdin, stdout=stdout, stderr=stderr)

    @overload
    def stats(self, *, stream: Literal[False] = False) -> Stats: ...

    @overload
    def stats(self, *, stream: Literal[True], interval: float = 1.0) -> Iterator[Stats]: ...

    def stats(self, *, stream: bool = False, interval: float = 1.0) -> Stats | Iterator[Stats]:
        """Return what all its commands use together, as ``Container.stats``."""
        if stream:
            return self.container.stats(stream=True, interval=interval)
        return self.container.stats()

    @property
    def health(self) -> Health:
        """What its checks found last; status ``none`` without any."""
        return self.container.health

    def wait_healthy(self, timeout: float | None = None) -> None:
        """Return once a check has succeeded. Raises as ``Container.wait_healthy``."""
        self.container.wait_healthy(timeout)

    def close(self) -> None:
        """Kill and remove the container; calling it again does nothing."""
        if self._closed:
            return
        self._closed = True
        try:
            self._tie.signal(9)
            if self._tie.wait() is None:
                self.container.remove(force=True)
            else:
                self.container.finish(self._tie)
        except errors.NotFound:
            pass  # somebody else removed it
        finally:
            self._tie.close()
            if self._owns_engine:
                self._engine.close()

    def _exec_config(
        self,
        argv: tuple[str, ...],
        env: Mapping[str, str] | None,
        cwd: str | None,
        user: str | None,
        *,
        tty: bool = False,
    ) -> ExecConfig:
        if self._closed:
            raise errors.Conflict(f"sandbox {self.container.short_id} is closed")
        pairs = tuple(f"{key}={value}" for key, value in (env or {}).items())
        return ExecConfig(command=argv, env=pairs, working_dir=cwd, user=user, tty=tty)


class _Fork(Sandbox):
    """A sandbox that begins with another's files, on the engine of that one."""

    def __init__(self, engine: Engine, config: ContainerConfig, source: Container) -> None:
        self._engine, self._owns_engine = engine, False
        self._launch(config, source)


class CommandFailed(errors.KnarrError):
    """A command ended with another exit code than 0; ``result`` has everything else."""

    def __init__(self, message: str, result: RunResult) -> None:
        super().__init__(message)
        self.result = result


class SandboxTimeout(errors.Timeout):
    """A command was killed since its time was up; ``result`` has what it wrote until then."""

    def __init__(self, message: str, result: RunResult) -> None:
        super().__init__(message)
        self.result = result


def _entries(given: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return a list of egress; one text, whose letters would be names, is a list between commas."""
    if given is None:
        return None
    return tuple(given.split(",")) if isinstance(given, str) else tuple(given)


def _limits(memory: int | str | None, cpus: float | str | None, pids: int | None) -> Limits:
    nano = None if cpus is None else parse_cpus(cpus)
    limit = parse_size(memory) if isinstance(memory, str) else memory
    # No swap beside it: a limit that lets a program go on in swap surprises.
    return Limits(memory=limit, memory_swap=limit, nano_cpus=nano, pids=pids)


def _tmpfs(given: Sequence[str] | Mapping[str, str]) -> tuple[Tmpfs, ...]:
    if isinstance(given, Mapping):
        return tuple(Tmpfs(path, (options,) if options else ()) for path, options in given.items())
    return tuple(Tmpfs(path) for path in given)


def _binds(given: Mapping[str, str]) -> tuple[BindMount, ...]:
    return tuple(
        BindMount(
            source,
            target.removesuffix(":ro"),
            read_only=target.endswith(":ro"),
            create_source=False,
        )
        for source, target in given.items()
    )
