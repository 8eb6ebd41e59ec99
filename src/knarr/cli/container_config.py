"""From the flags of ``run`` and ``create`` to a ContainerConfig; nothing is decided here."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from knarr.cli import lockpin, mountargs, networkargs, refusals, runvalues
from knarr.cli.exitcodes import BadFlag
from knarr.cli.flags import Args
from knarr.engine.model import (
    OTHER,
    BindMount,
    ContainerConfig,
    Device,
    HealthCheck,
    Limits,
    RestartPolicy,
    ThrottleDevice,
    Tmpfs,
    Ulimit,
)
from knarr.errors import InvalidArgument

if TYPE_CHECKING:
    from knarr.cli.layerlines import LayerLines
    from knarr.images.context import ProgressEvent

# In the order in which Docker looks at them.
_HEALTH = ("interval", "timeout", "retries", "start_period", "start_interval")
_SHM_SIZE = 64 * 1024 * 1024


def from_args(args: Args, environ: Mapping[str, str]) -> ContainerConfig:
    """Return the configuration that a command line means.

    environ: the caller's environment, for ``-e NAME`` and ``--env-file``.
    Raises InvalidArgument and Unsupported, NotFound for a lock file.
    """
    refusals.check(args)
    image, *command = args.rest
    entrypoint = args.text("entrypoint")
    return ContainerConfig(
        image=lockpin.pinned(image, args, environ),
        command=tuple(command),
        name=args.text("name") or None,
        entrypoint=None if entrypoint is None else (entrypoint,),  # "": none at all
        env=environment(args.many("env"), args.many("env-file"), environ),
        working_dir=_workdir(args.text("workdir")),
        user=args.text("user") or None,
        hostname=args.text("hostname") or None,
        domainname=args.text("domainname") or None,
        labels=pairs((*_labels(args.many("label-file")), *args.many("label"))),
        annotations=pairs(args.many("annotation")),
        tty=args.on("tty"),
        open_stdin=args.on("interactive"),
        auto_remove=args.on("rm"),
        init=args.on("init"),
        stop_signal=args.text("stop-signal") or None,
        stop_timeout=args.number("stop-timeout"),
        read_only=args.on("read-only"),
        tmpfs=tuple(_tmpfs(args)),
        binds=tuple(_binds(args)),
        volumes_from=args.many("volumes-from"),
        cap_add=args.many("cap-add"),
        cap_drop=args.many("cap-drop"),
        security_opt=args.many("security-opt"),
        privileged=args.on("privileged"),
        userns=args.text("userns") or None,
        **_ports(args),
        **networkargs.of_run(args),
        **networkargs.limits(args),
        pid=_mode(args, "pid", "PID", others=True),
        ipc=args.text("ipc") or None,
        uts=_mode(args, "uts", "UTS"),
        cgroupns=_mode(args, "cgroupns", "CGROUP", "private"),
        pull=args.text("pull") or "missing",
        platform=args.text("platform") or None,
        shm_size=args.number("shm-size") or _SHM_SIZE,
        limits=limits(args),
        ulimits=tuple(Ulimit(*each) for each in args.many("ulimit")),
        sysctls=pairs(args.many("sysctl")),
        group_add=args.many("group-add"),
        oom_score_adj=args.number("oom-score-adj") or 0,
        extra_hosts=args.many("add-host"),
        dns=args.many("dns"),
        dns_search=args.many("dns-search"),
        dns_options=args.many("dns-option"),
        devices=tuple(device for text in args.many("device") for device in _devices(text)),
        device_cgroup_rules=args.many("device-cgroup-rule"),
        cgroup_parent=args.text("cgroup-parent") or None,
        restart=restart_policy(args.text("restart")),
        runtime=_runtime(args.text("runtime")),
        cidfile=args.text("cidfile") or None,
        log_driver=args.text("log-driver") or None,
        log_opts=pairs(args.many("log-opt")),
        health=_health(args),
    )


def _runtime(text: str | None) -> str | None:
    """Return a runtime's name, or its path as the caller means it."""
    return os.path.abspath(text) if text and "/" in text else text or None


def _ports(args: Args) -> dict[str, Any]:
    """Return what is published and what else is exposed. Raises BadFlag in Docker's words."""
    published, exposed = args.many("publish"), args.many("expose")
    found: dict[str, Any] = {"publish_all": args.on("publish-all")}
    if not published and not exposed:
        return found
    from knarr.engine.ports import specs

    try:
        return {**found, "ports": specs.published(published), "expose": specs.exposed(exposed)}
    except InvalidArgument as error:
        raise BadFlag(str(error)) from None


def _health(args: Args) -> HealthCheck | None:
    """Return what is said of health checks. Raises InvalidArgument in Docker's words."""
    numbers = {name: args.number(f"health-{name.replace('_', '-')}") or 0 for name in _HEALTH}
    command = args.text("health-cmd")
    said = bool(command) or any(numbers.values())
    if args.on("no-healthcheck"):
        if said:
            raise BadFlag("--no-healthcheck conflicts with --health-* options")
        return HealthCheck(("NONE",))
    for name, value in numbers.items():
        if value < 0:
            raise BadFlag(f"--health-{name.replace('_', '-')} cannot be negative")
    test = ("CMD-SHELL", command) if command else ()
    return HealthCheck(test, **numbers) if said else None


def _binds(args: Args) -> Iterator[BindMount]:
    yield from (mountargs.bind(text) for text in args.many("volume"))
    yield from (each for each in args.many("mount") if isinstance(each, BindMount))


def _tmpfs(args: Args) -> Iterator[Tmpfs]:
    yield from (mountargs.tmpfs(text) for text in args.many("tmpfs"))
    yield from (each for each in args.many("mount") if isinstance(each, Tmpfs))


def restart_policy(text: str | None) -> RestartPolicy:
    """Return the policy that ``NAME[:RETRIES]`` says. Raises InvalidArgument in Docker's words."""
    name, mark, number = (text or "no").partition(":")
    if not name:
        raise BadFlag("invalid restart policy format: no policy provided before colon")
    if not mark or not number:
        return RestartPolicy(name)
    try:
        retries = int(number)
    except ValueError:
        raise BadFlag(
            "invalid restart policy format: maximum retry count must be an integer"
        ) from None
    return RestartPolicy(name, retries)


def limits(args: Args) -> Limits:
    """Return the limits; 0 means none, as with Docker. Raises InvalidArgument."""
    swappiness = args.number("memory-swappiness")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise BadFlag(f"invalid value: {swappiness}. Valid memory swappiness range is 0-100")
    return Limits(
        memory_swappiness=None if swappiness == -1 else swappiness,
        oom_kill_disable=args.on("oom-kill-disable"),
        **changeable(args),
    )


def changeable(args: Args) -> dict[str, Any]:
    """Return the limits that ``update`` can change too, by their names in ``Limits``."""
    return {
        "memory": args.number("memory") or None,
        "memory_swap": args.number("memory-swap") or None,
        "memory_reservation": args.number("memory-reservation") or None,
        "nano_cpus": args.number("cpus") or None,
        "cpu_shares": args.number("cpu-shares") or None,
        "cpu_period": args.number("cpu-period") or None,
        "cpu_quota": args.number("cpu-quota") or None,
        "cpu_rt_period": args.number("cpu-rt-period") or None,
        "cpu_rt_runtime": args.number("cpu-rt-runtime") or None,
        "cpuset_cpus": args.text("cpuset-cpus") or None,
        "cpuset_mems": args.text("cpuset-mems") or None,
        "pids": args.number("pids-limit") or None,
        "blkio_weight": args.number("blkio-weight") or None,
        "blkio_weight_device": throttles(args.many("blkio-weight-device")),
        "device_read_bps": throttles(args.many("device-read-bps")),
        "device_write_bps": throttles(args.many("device-write-bps")),
        "device_read_iops": throttles(args.many("device-read-iops")),
        "device_write_iops": throttles(args.many("device-write-iops")),
    }


def throttles(rates: Iterable[tuple[str, int]]) -> tuple[ThrottleDevice, ...]:
    """Return the devices with their rates."""
    return tuple(ThrottleDevice(path, rate) for path, rate in rates)


def _devices(text: str) -> Iterator[Device]:
    """Yield what ``--device`` means; a path that ends in ``*`` stands for all that match."""
    try:
        source, target, access = runvalues.device(text)
    except ValueError as error:
        raise BadFlag(str(error)) from None
    if not source.endswith("*"):
        yield Device(source, os.path.normpath(target), access)
        return
    if target != source:
        raise InvalidArgument(f"device with * suffix can't have dst: {text}")
    import glob

    for path in sorted(glob.glob(source)):
        yield Device(path, path, access)


def _mode(args: Args, flag: str, word: str, *known: str, others: bool = False) -> str | None:
    """Return whose namespace it is to be. Raises InvalidArgument in Docker's words."""
    mode = args.text(flag) or None
    if mode is None or mode == "host" or mode in known:
        return mode
    if not (others and mode.startswith(OTHER) and mode != OTHER):
        raise BadFlag(f"--{flag}: invalid {word} mode")
    return mode


def _workdir(path: str | None) -> str | None:
    if path and not path.startswith("/"):
        raise InvalidArgument(
            f"the working directory '{path}' is invalid, it needs to be an absolute path"
        )
    return path or None


def pairs(texts: Iterable[str]) -> dict[str, str]:
    """Return ``name=value`` texts as a mapping; ``name`` alone has an empty value."""
    split = (text.partition("=") for text in texts)
    return {name: value for name, _, value in split}


def environment(
    given: Iterable[str], files: Iterable[str], environ: Mapping[str, str]
) -> tuple[str, ...]:
    """Return the variables of ``--env-file``, then of ``-e``.

    ``NAME`` alone takes the caller's value; without one it stays ``NAME``,
    which unsets what the image says. Raises InvalidArgument.
    """
    entries = [entry for path in files for entry in _read_file(path)]
    entries.extend(given)
    return tuple(
        entry if "=" in entry or entry not in environ else f"{entry}={environ[entry]}"
        for entry in entries
    )


def _labels(files: Iterable[str]) -> Iterator[str]:
    """Yield the labels of ``--label-file``. Raises InvalidArgument."""
    for path in files:
        yield from _read_file(path)


def _read_file(path: str) -> list[str]:
    """Return the entries of an env file: one a line, ``#`` comments, no quoting."""
    try:
        with open(path, encoding="utf-8-sig") as file:
            lines = file.read().splitlines()
    except OSError as error:
        raise BadFlag(f"open {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise BadFlag(
            f"invalid env file ({path}): invalid utf8 bytes at byte {error.start}"
        ) from None
    entries = []
    for line in lines:
        entry = line.lstrip()
        if not entry or entry.startswith("#"):
            continue
        name = entry.partition("=")[0]
        if not name:
            raise BadFlag(f"invalid env file ({path}): no variable name on line '{entry}'")
        if any(letter.isspace() for letter in name):
            raise BadFlag(f"invalid env file ({path}): variable '{name}' contains whitespaces")
        entries.append(entry)
    return entries


def pull_progress(args: Args) -> Callable[[ProgressEvent], None]:
    """Return what shows the pull of the image on stderr; nothing is imported without a pull."""
    shown: list[LayerLines] = []

    def show(event: ProgressEvent) -> None:
        if not shown:
            from knarr.cli.layerlines import LayerLines

            shown.append(LayerLines(quiet=args.on("quiet"), out=sys.stderr))
        shown[0](event)

    return show
