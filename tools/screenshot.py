"""``python tools/screenshot.py docs/top.svg``: ``knarr top --all`` with containers that work.

Makes the picture in the documentation anew: containers of busybox below a root of their own
do a little of everything for half a minute, and textual draws what the table then shows.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from knarr import Container, ContainerConfig, Engine, Limits, Settings  # noqa: E402
from knarr.cli.dashboard.app import Dashboard  # noqa: E402
from knarr.engine.model import HealthCheck  # noqa: E402
from tests.support import busybox, leftovers  # noqa: E402

SIZE = (132, 16)
SECONDS = 20
# Megabytes that are hashed, one lot after the other, with a rest in between.
_WORK = (
    "while :; do for n in {}; do head -c ${{n}}0m /dev/zero | md5sum >/dev/null; "
    "sleep 0.3; done; done"
)
_GROWS = (
    "while :; do for n in 1 2 3 4 5 6 7 8; do dd if=/dev/zero bs=1M count=5 2>/dev/null "
    ">>/dev/shm/x; sleep 1; done; rm /dev/shm/x; done"
)
_WRITES = (
    "while :; do dd if=/dev/zero of=/x bs=64k count=20 oflag=direct 2>/dev/null; sleep 1; done"
)
_WEB = (
    "touch /tmp/ready; ip link add name a type veth; ip link set a up; ip link set veth0 up; "
    "while :; do arping -q -D -c 3 -w 1 -I a 10.9.9.9; done & " + _WORK.format("1 3 8 15 6 2")
)


def containers(engine: Engine) -> list[Container]:
    """Start what is to be seen; return it."""
    memory = Limits(memory=64 << 20, memory_swap=64 << 20)
    check = HealthCheck(("CMD-SHELL", "test -e /tmp/ready"), interval=10**9)
    never = HealthCheck(("CMD-SHELL", "test -e /tmp/never"), interval=10**9, retries=2)
    found = []
    for name, script, more in (
        ("web", _WEB, {"health": check, "cap_add": ("NET_ADMIN",)}),
        ("cache", _GROWS, {"limits": memory}),
        ("database", _WRITES, {}),
        ("worker-1", _WORK.format("9 4 1 1 2 6"), {}),
        ("worker-2", _WORK.format("1 1 30 30 1 1 1"), {"health": never}),
        ("batch", "exit 3", {}),
        ("paused", "exec sleep 1000", {}),
    ):
        config = ContainerConfig("busybox", ("sh", "-c", script), name=name, init=True, **more)
        found.append(engine.containers.launch(config, attach=False)[0])
    found[-2].wait()
    found[-1].pause()
    found.append(engine.containers.create(ContainerConfig("busybox", name="next")))
    return found


async def picture(engine: Engine) -> str:
    """Return the table as SVG after some seconds."""
    with engine.containers.stats(all=True) as board:
        app = Dashboard(board, lambda _: None)
        async with app.run_test(size=SIZE):
            await asyncio.sleep(SECONDS)
            return app.export_screenshot(title="knarr top --all")


def main() -> None:
    """Write the picture to the file that is named."""
    folder = Path(tempfile.mkdtemp(prefix="knarr-picture-", dir="/var/tmp"))
    parent = "/knarr-picture"
    settings = Settings(
        default_network="none",
        data_root=f"{folder}/d",
        run_root=f"{folder}/r",
        cgroup_parent=parent,
        launcher_idle=1.0,
    )
    made: list[Container] = []
    try:
        archive = folder / "busybox.tar"
        busybox.docker_archive(archive)
        with Engine(settings) as engine:
            engine.images.load(str(archive))
            try:
                made = containers(engine)
                Path(sys.argv[1]).write_text(asyncio.run(picture(engine)))
            finally:
                for container in made or engine.containers.list(all=True):
                    container.remove(force=True)
    finally:
        leftovers.end_server(f"{folder}/r/launcher.sock")
        leftovers.settle(lambda: leftovers.processes(f"{folder}/r"))
        leftovers.remove_cgroups(parent)
        shutil.rmtree(folder)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main()
