"""``Containers``: all containers of an engine. The whole of ``run`` is on this page."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from knarr.engine import create, listing, remove, start, telling, unfinished
from knarr.engine.container import Container
from knarr.engine.model import ContainerConfig, RunResult
from knarr.engine.pump import communicate
from knarr.images.context import ignore_progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from knarr.engine.attach import Attachment
    from knarr.engine.engine import Engine
    from knarr.engine.listing import Filters, Listed
    from knarr.engine.stats import Board
    from knarr.images.context import Progress


class Launched(NamedTuple):
    """A started container and its first attachment (None when none was asked for)."""

    container: Container
    attachment: Attachment | None


class Containers:
    """Makes, finds and lists containers."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def create(
        self,
        config: ContainerConfig,
        *,
        source: Container | None = None,
        progress: Progress = ignore_progress,
    ) -> Container:
        """Create a container and return it, not started.

        source: one of the same image, whose files it begins with (``Container.clone``).
        progress: is told of the pull of an image that is not here (``config.pull``).
        Raises NotFound (image), Conflict (name in use), InvalidArgument, Unsupported.
        """
        same = source.id if source else None
        with create.made(self._engine, config, same, progress) as prepared:
            return Container(self._engine, prepared.record)

    def launch(
        self,
        config: ContainerConfig,
        *,
        attach: bool = True,
        size: tuple[int, int] | None = None,
        source: Container | None = None,
        created: Callable[[Container], object] = lambda _container: None,
        explained: Callable[[dict[str, Any]], object] | None = None,
        progress: Progress = ignore_progress,
    ) -> Launched:
        """Create and start a container; return it with its first attachment.

        size: rows and columns of its terminal when its command starts. source: see `create`.
        created: called before it is started, and so also when it then cannot be: it stays as
        created, as with Docker, unless auto_remove is set. explained: called with what
        ``Container.explain`` returns, with the times of the start in it, before the command has
        done anything. progress: see `create`. Raises as :meth:`create` and ``Container.start``.
        """
        engine = self._engine
        with create.made(engine, config, source.id if source else None, progress) as prepared:
            container = Container(engine, prepared.record)
            with remove.removed_if_not_started(engine, prepared.record, prepared.paths):
                created(container)
                attachment = start.start(
                    engine,
                    prepared.record,
                    attach=attach,
                    prepared=prepared,
                    kill_on_hangup=config.kill_on_owner_exit,
                    size=size,
                    watch=telling.watch(container, explained),
                )
            return Launched(container, attachment)

    def run(
        self,
        config: ContainerConfig,
        *,
        input: bytes | None = None,
        timeout: float | None = None,
    ) -> RunResult:
        """Create, start, wait; return output, exit code and usage.

        input goes to its stdin (set ``open_stdin``). After ``timeout`` seconds
        it is killed, and ``timed_out`` set. With ``auto_remove`` nothing is left.
        """
        container, attachment = self.launch(config)
        assert attachment is not None
        with attachment:
            stdout, stderr, timed_out = communicate(attachment, input, timeout)
            status = attachment.status or container.wait()
            container.finish(attachment)
        return RunResult(
            stdout, stderr, status.exit_code, status.usage, timed_out, status.oom_killed
        )

    def get(self, name_or_id: str) -> Container:
        """Return the container with this name, id, or unambiguous start of an id.

        Raises NotFound, InvalidArgument when several match.
        """
        return Container(self._engine, unfinished.find(self._engine, name_or_id))

    def list(
        self, *, all: bool = False, filters: Filters | None = None, limit: int | None = None
    ) -> builtins.list[Container]:
        """Return the running containers, or all of them, the newest first.

        filters: as ``docker ps --filter``, name -> values. A filter by status
        and a limit imply ``all``. Raises InvalidArgument for unknown filters.
        """
        found = self.listed(all=all, filters=filters, limit=limit)
        return [each.container for each in found]

    def listed(
        self, *, all: bool = False, filters: Filters | None = None, limit: int | None = None
    ) -> builtins.list[Listed]:
        """Return what :meth:`list` does, each with the state that it was found in."""
        return listing.select(self._engine, all=all, filters=filters, limit=limit)

    def stats(self, names: Sequence[str] = (), *, all: bool = False) -> Board:
        """Return what shows, again and again, what containers use; close it.

        These, or without names all that run, or all there are; they come and go. Raises
        NotFound.
        """
        from knarr.engine.stats import Board

        return Board(self._engine, names, all=all)

    def prune(self, filters: Filters | None = None) -> tuple[builtins.list[str], int]:
        """Remove all containers that do not run; return their ids and the bytes freed.

        filters: ``until``, ``label``, ``label!``, as Docker's. Raises InvalidArgument for others.
        """
        from knarr.engine import prune

        return prune.prune(self._engine, filters or {})
