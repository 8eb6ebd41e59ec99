"""Fixtures for all tests: roots of their own, an engine, images, and nothing left over.

Each test that touches the machine gets its own data root, run root and cgroup
parent, so tests may run side by side. When it ends, its containers are removed,
its launcher and command server are ended, and whatever is still there is an error.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest

from knarr.config import Settings
from knarr.runtime import imagemount
from tests.support import busybox, leftovers

if TYPE_CHECKING:
    from knarr import Engine

# How long an example takes says nothing about what is tested, but much about the machine.
hypothesis.settings.register_profile(
    "any-machine", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("any-machine")

REPOSITORY = Path(__file__).resolve().parents[1]
# Docker Hub is nobody, in this process and in all that tests start.
os.environ["KNARR_CERTS_D"] = str(Path(__file__).parent / "support" / "certs.d")
NEEDS_ROOT = ("integration", "crash", "contracts", "conformance", "stress")
# What a kernel, systemd as process 1 or pure cgroup v2 decides: limits, devices, kills, layers and
# their owners, mounts, namespaces, recovery. Some tests elsewhere have the mark by themselves.
ON_OTHER_KERNELS = (
    "contracts/test_snapshot_driver.py",
    "integration/cgroups/test_devices.py",
    "integration/cgroups/test_life.py",
    "integration/cgroups/test_limits.py",
    "integration/engine/test_copy.py",
    "integration/engine/test_many.py",
    "integration/engine/test_recover.py",
    "integration/engine/test_run.py",
    "integration/explain/test_facts.py",
    "integration/oci/test_cgroups.py",
    "integration/oci/test_control.py",
    "integration/oci/test_events.py",
    "integration/oci/test_exec.py",
    "integration/oci/test_hooks.py",
    "integration/oci/test_mounts.py",
    "integration/oci/test_namespaces.py",
    "integration/oci/test_propagation.py",
    "integration/oci/test_systemd.py",
    "integration/oci/test_unified.py",
    "integration/runtime/test_filesystem.py",
    "integration/runtime/test_namespaces.py",
    "integration/runtimes/test_inside.py",
    "integration/runtimes/test_life.py",
    "integration/snapshots/test_erofs.py",
    "integration/supervisor/test_crash.py",
)


def pytest_configure() -> None:
    """Take no notice of signals that are to be ignored, but start nothing that ignores them.

    A shell has its background jobs ignore the terminal's signals, nohup the end of it.
    """
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) == signal.SIG_IGN:
            signal.signal(number, lambda _number, _frame: None)


@pytest.hookimpl(tryfirst=True)  # before -m looks at the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark by file what also runs on other kernels; skip what needs root for other users."""
    skip = pytest.mark.skip(reason="needs root")
    for item in items:
        path = item.path.relative_to(REPOSITORY / "tests")
        if path.as_posix() in ON_OTHER_KERNELS:
            item.add_marker(pytest.mark.vm)
        if os.geteuid() != 0 and (path.parts[0] in NEEDS_ROOT or item.get_closest_marker("root")):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all xdist workers of this run share."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def _once(target: Path) -> Iterator[bool]:
    """Hold a lock beside ``target``; yield True when the caller has to make it."""
    with (target.parent / f"{target.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield not target.exists()


@pytest.fixture(scope="session")
def busybox_archive(shared_folder: Path) -> Path:
    """A docker-archive of busybox, tagged busybox:latest, made once for all workers."""
    target = shared_folder / "busybox.tar"
    with _once(target) as missing:
        if missing:
            fresh = target.with_suffix(".new")
            busybox.docker_archive(fresh)
            fresh.rename(target)
    return target


def _short_folder() -> Path:
    """Make a folder with a short path: a unix socket's holds at most 107 bytes."""
    return Path(tempfile.mkdtemp(prefix="kt-", dir=os.environ.get("KNARR_TEST_ROOT", "/var/tmp")))


@pytest.fixture
def settings() -> Iterator[Settings]:
    """Settings with roots and a cgroup parent of the test's own; leftovers are an error."""
    folder = _short_folder()
    chosen = Settings(
        data_root=str(folder / "d"),
        run_root=str(folder / "r"),
        cgroup_parent=f"/knarr-test-{secrets.token_hex(4)}",
        # A test of networks has a host's network of its own, and says what it wants.
        default_network="none",
        launcher_idle=60.0,
        server_idle=60.0,
    )
    yield chosen
    problems: list[str] = []
    try:
        problems += _remove_containers(chosen)
        problems += [f"process {p}" for p in leftovers.settle(lambda: _processes(chosen))]
        # Mounts of layers stay for the next container: there is none, now that nothing runs.
        layers = f"{chosen.run_root}/layers"
        imagemount.release(layers, imagemount.names(layers))
        problems += [f"mount {m}" for m in leftovers.settle(lambda: leftovers.mounts(str(folder)))]
        problems += [
            f"cgroup {c}" for c in leftovers.settle(lambda: _used_cgroups(chosen.cgroup_parent))
        ]
    finally:
        leftovers.remove_cgroups(chosen.cgroup_parent)
        shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():
        problems.append(f"files in {folder}")
    if problems:
        pytest.fail("left over: " + "; ".join(problems))


def _processes(chosen: Settings) -> list[str]:
    """Return what runs, but end the servers: one may only just have been started."""
    for name in ("command.sock", "launcher.sock", "lazy.sock"):
        leftovers.end_server(f"{chosen.run_root}/{name}")
    leftovers.end_resolver(chosen.run_root)
    return leftovers.processes(chosen.run_root)


def _used_cgroups(parent: str) -> list[str]:
    """The parent itself may stay, as a shared folder does; anything inside it may not."""
    return [
        str(entry)
        for folder in leftovers.cgroups(parent)
        for entry in Path(folder).iterdir()
        if entry.is_dir()
    ]


def _remove_containers(chosen: Settings) -> list[str]:
    """Remove what the test left running; return what went wrong."""
    if not os.path.exists(f"{chosen.data_root}/knarr.db"):
        return []
    from knarr import Engine

    problems = []
    with Engine(chosen) as engine:
        engine.recover()
        for container in engine.containers.list(all=True):
            try:
                container.remove(force=True)
            except Exception as error:
                problems.append(f"container {container.name}: {error}")
    return problems


@pytest.fixture
def engine(settings: Settings, busybox_archive: Path) -> Iterator[Engine]:
    """An engine with roots of its own and the image busybox:latest."""
    from knarr import Engine

    with Engine(settings) as made:
        made.images.load(str(busybox_archive))
        yield made


@pytest.fixture(scope="session")
def debian_archive(shared_folder: Path) -> Path:
    """A docker-archive of debian:bookworm, bootstrapped once for all workers (about a minute)."""
    from knarr import Engine

    target = shared_folder / "debian.tar"
    with _once(target) as missing:
        if missing:
            folder = _short_folder()
            try:
                settings = Settings(data_root=str(folder / "d"), run_root=str(folder / "r"))
                with Engine(settings) as made:
                    made.images.bootstrap("debian:bookworm")
                    fresh = target.with_suffix(".new")
                    made.images.save(["debian:bookworm"], str(fresh))
                fresh.rename(target)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    return target


@pytest.fixture
def debian(engine: Engine, debian_archive: Path) -> str:
    """The name of a Debian image that is loaded into ``engine``."""
    engine.images.load(str(debian_archive))
    return "debian:bookworm"


@pytest.fixture
def environment(settings: Settings) -> dict[str, str]:
    """The environment in which a ``knarr`` command uses ``settings``."""
    bin_folder = str(Path(sys.executable).parent)
    return {
        **{name: value for name, value in os.environ.items() if not name.startswith("KNARR_")},
        "PATH": f"{bin_folder}:{os.environ.get('PATH', os.defpath)}",
        "KNARR_ROOT": settings.data_root,
        "KNARR_RUN_ROOT": settings.run_root,
        "KNARR_CGROUP_PARENT": settings.cgroup_parent,
        "KNARR_DEFAULT_NETWORK": settings.default_network,
        "KNARR_CERTS_D": os.environ["KNARR_CERTS_D"],
        "KNARR_LAUNCHER_IDLE": str(settings.launcher_idle),
        "KNARR_SERVER_IDLE": str(settings.server_idle),
    }


Command = Callable[..., "subprocess.CompletedProcess[bytes]"]


@pytest.fixture
def knarr(environment: dict[str, str], busybox_archive: Path) -> Command:
    """Run the real ``knarr`` command: ``knarr("run", ..., stdin=b"")``; busybox is loaded."""
    program = shutil.which("knarr", path=environment["PATH"]) or str(REPOSITORY / "scripts/knarr")

    def run(
        *words: str, stdin: bytes = b"", timeout: float = 60
    ) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [program, *words],
            input=stdin,
            capture_output=True,
            env=environment,
            timeout=timeout,
            check=False,
        )

    loaded = run("load", "-i", str(busybox_archive))
    assert loaded.returncode == 0, loaded.stderr
    return run
