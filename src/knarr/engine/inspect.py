"""``inspect``: a container as Docker's JSON, field for field as far as they apply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from knarr.engine import health, hostfiles, logoptions, when
from knarr.engine.ports import shown
from knarr.engine.records import REMOVING
from knarr.engine.spec_process import INIT_NAME, written_environment
from knarr.engine.specbuild import stop_signal
from knarr.errors import NotFound
from knarr.spec import signals

if TYPE_CHECKING:
    from knarr.engine.engine import Engine
    from knarr.engine.model import BindMount, ContainerConfig, Health, ThrottleDevice
    from knarr.engine.paths import Paths
    from knarr.engine.records import ContainerRecord
    from knarr.engine.state import ContainerState
    from knarr.spec.mount import Mount

Object = dict[str, Any]


def arguments(spec: Object) -> list[str]:
    """Return the command line of a spec, without knarr's own init before it."""
    words = list((spec.get("process") or {}).get("args") or [])
    return words[2:] if words[:2] == [INIT_NAME, "--"] else words


def inspect(engine: Engine, record: ContainerRecord, paths: Paths, state: ContainerState) -> Object:
    """Return the object that ``docker inspect`` shows. Raises Internal for a damaged spec."""
    from knarr.engine.networks import shown as networks

    config, defaults = record.config, engine.image_defaults(record.image_id)
    spec = read_spec(paths)
    process = spec.get("process") or {}
    command = arguments(spec)
    sources = {each["destination"]: each["source"] for each in spec.get("mounts") or ()}
    files = {**paths.files, **sources}
    return {
        "Id": record.id,
        "Created": when.rfc3339(record.created),
        "Path": command[0] if command else "",
        "Args": command[1:],
        "State": _state(state, health.read(state, paths)),
        "Image": record.image_id,
        "ResolvConfPath": files.get("/etc/resolv.conf", ""),
        "HostnamePath": files.get("/etc/hostname", ""),
        "HostsPath": files.get("/etc/hosts", ""),
        "LogPath": paths.json_log if record.config.log_driver == "json-file" else "",
        "Name": f"/{record.name}",
        "RestartCount": state.restarts,
        "Driver": engine.driver.name,
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": process.get("apparmorProfile", ""),
        "ExecIDs": None,
        "HostConfig": host_config(config, spec),
        "GraphDriver": {
            "Name": engine.driver.name,
            "Data": _graph(root_mounts(engine, record)),
        },
        "Mounts": [_mount_point(bind) for bind in config.binds]
        + [_tmpfs_point(tmpfs.target) for tmpfs in config.tmpfs],
        "Config": _config(engine, record, spec),
        "NetworkSettings": _network(
            networks.networks(engine, record, running=state.running),
            shown.published(config, defaults, state),
        ),
    }


def read_spec(paths: Paths) -> Object:
    """Return the container's spec, empty when it is not (or no longer) there."""
    try:
        with open(paths.spec, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _state(state: ContainerState, found: Health) -> Object:
    return {
        "Status": state.status,
        "Running": state.running or state.restarting,
        "Paused": state.paused,
        "Restarting": state.restarting,
        "OOMKilled": state.oom_killed,
        "Dead": state.status == "dead",
        "Pid": state.pid,
        "ExitCode": state.exit_code,
        "Error": state.error,
        "StartedAt": when.rfc3339(state.started_at),
        "FinishedAt": when.rfc3339(0 if state.running else state.finished_at),
        **({"Health": _health(found)} if state.health else {}),
    }


def _health(found: Health) -> Object:
    return {
        "Status": found.status,
        "FailingStreak": found.failing_streak,
        "Log": [
            {
                "Start": when.rfc3339(result.start),
                "End": when.rfc3339(result.end),
                "ExitCode": result.exit_code,
                "Output": result.output,
            }
            for result in found.log
        ],
    }


def host_config(config: ContainerConfig, spec: Object) -> Object:
    """Return Docker's HostConfig: what depends on the host rather than on the image."""
    linux = spec.get("linux") or {}
    return {
        "Binds": [
            _bind_text(bind) for bind in config.binds if not bind.by_mount and not bind.inherited
        ]
        or None,
        "ContainerIDFile": config.cidfile or "",
        "LogConfig": _log_config(config),
        "NetworkMode": config.network or "none",
        "NetworkRateIn": config.network_rate_in,
        "NetworkRateOut": config.network_rate_out,
        "EgressAllow": None if config.egress_allow is None else list(config.egress_allow),
        "PortBindings": shown.asked(config),
        "RestartPolicy": {
            "Name": config.restart.name,
            "MaximumRetryCount": config.restart.retries,
        },
        "AutoRemove": config.auto_remove,
        "VolumeDriver": "",
        "VolumesFrom": list(config.volumes_from) or None,
        "CapAdd": list(config.cap_add) or None,
        "CapDrop": list(config.cap_drop) or None,
        "CgroupnsMode": "private" if "cgroup" in own_namespaces(linux) else "host",
        "Dns": list(config.dns),
        "DnsOptions": list(config.dns_options),
        "DnsSearch": list(config.dns_search),
        "ExtraHosts": list(config.extra_hosts) or None,
        "GroupAdd": list(config.group_add) or None,
        "IpcMode": config.ipc or "private",
        "Cgroup": "",
        "Links": None,
        "OomScoreAdj": config.oom_score_adj,
        "PidMode": config.pid or "",
        "Privileged": config.privileged,
        "PublishAllPorts": config.publish_all,
        "ReadonlyRootfs": config.read_only,
        "SecurityOpt": list(config.security_opt) or None,
        "Tmpfs": {
            entry.target: ",".join(entry.options) for entry in config.tmpfs if not entry.by_mount
        },
        **_mounts(config),
        "UTSMode": config.uts or "",
        "UsernsMode": "private" if "user" in own_namespaces(linux) else "host",
        "ShmSize": config.shm_size,
        "Runtime": config.runtime or "knarr",
        "Isolation": "",
        **({"Sysctls": dict(config.sysctls)} if config.sysctls else {}),
        **_limits(config),
        "CgroupParent": config.cgroup_parent
        or str(linux.get("cgroupsPath", "")).rpartition("/")[0],
        "MaskedPaths": linux.get("maskedPaths") or [],
        "ReadonlyPaths": linux.get("readonlyPaths") or [],
        "Init": config.init,
    }


def own_namespaces(linux: Object) -> set[str]:
    """Return the namespaces of a spec that are not the host's."""
    return {entry["type"] for entry in linux.get("namespaces") or ()}


def _log_config(config: ContainerConfig) -> Object:
    driver, options = logoptions.effective(config)
    return {"Type": driver, "Config": options}


def _limits(config: ContainerConfig) -> Object:
    limits = config.limits
    return {
        "CpuShares": limits.cpu_shares or 0,
        "Memory": limits.memory or 0,
        "NanoCpus": limits.nano_cpus or 0,
        "BlkioWeight": limits.blkio_weight or 0,
        "BlkioWeightDevice": [
            {"Path": device.path, "Weight": device.rate} for device in limits.blkio_weight_device
        ],
        "BlkioDeviceReadBps": _rates(limits.device_read_bps),
        "BlkioDeviceWriteBps": _rates(limits.device_write_bps),
        "BlkioDeviceReadIOps": _rates(limits.device_read_iops),
        "BlkioDeviceWriteIOps": _rates(limits.device_write_iops),
        "CpuPeriod": limits.cpu_period or 0,
        "CpuQuota": limits.cpu_quota or 0,
        "CpuRealtimePeriod": limits.cpu_rt_period or 0,
        "CpuRealtimeRuntime": limits.cpu_rt_runtime or 0,
        "CpusetCpus": limits.cpuset_cpus or "",
        "CpusetMems": limits.cpuset_mems or "",
        "Devices": [
            {
                "PathOnHost": device.source,
                "PathInContainer": device.target,
                "CgroupPermissions": device.access,
            }
            for device in config.devices
        ],
        "DeviceCgroupRules": list(config.device_cgroup_rules) or None,
        "DeviceRequests": None,
        "MemoryReservation": limits.memory_reservation or 0,
        "MemorySwap": limits.memory_swap or 0,
        "MemorySwappiness": limits.memory_swappiness,
        "OomKillDisable": limits.oom_kill_disable,
        "PidsLimit": limits.pids,
        "Ulimits": [
            {"Name": limit.name, "Hard": limit.hard, "Soft": limit.soft} for limit in config.ulimits
        ],
    }


def _rates(devices: tuple[ThrottleDevice, ...]) -> list[Object]:
    return [{"Path": device.path, "Rate": device.rate} for device in devices]


def _bind_text(bind: BindMount) -> str:
    options = ["ro"] if bind.read_only else []
    if bind.propagation != "rprivate":
        options.append(bind.propagation)
    return ":".join((bind.source, bind.target, *([",".join(options)] if options else [])))


def _mounts(config: ContainerConfig) -> Object:
    """Return what was said with ``--mount``, under its name; nothing when there is none."""
    found: list[Object] = []
    for bind in config.binds:
        if bind.by_mount and not bind.inherited:
            options: Object = {
                "Propagation": "" if bind.propagation == "rprivate" else bind.propagation,
                "NonRecursive": not bind.recursive,
                "ReadOnlyNonRecursive": bind.recursive_read_only is False,
                "ReadOnlyForceRecursive": bind.recursive_read_only is True,
            }
            found.append(
                _given({
                    "Type": "bind", "Source": bind.source, "Target": bind.target,
                    "ReadOnly": bind.read_only, "BindOptions": _given(options),
                })
            )  # fmt: skip
    for tmpfs in config.tmpfs:
        if tmpfs.by_mount:
            said = dict(option.partition("=")[::2] for option in tmpfs.options)
            options = {"SizeBytes": int(said.get("size", 0)), "Mode": int(said.get("mode", "0"), 8)}
            found.append(
                _given({
                    "Type": "tmpfs", "Target": tmpfs.target, "ReadOnly": "ro" in said,
                    "TmpfsOptions": _given(options),
                })
            )  # fmt: skip
    return {"Mounts": found} if found else {}


def _given(value: Object) -> Object:
    """Return the members that say something."""
    return {name: entry for name, entry in value.items() if entry}


def _mount_point(bind: BindMount) -> Object:
    return {
        "Type": "bind",
        "Source": bind.source,
        "Destination": bind.target,
        "Mode": "ro" if bind.read_only and not bind.by_mount else "",
        "RW": not bind.read_only,
        "Propagation": bind.propagation,
    }


def _tmpfs_point(target: str) -> Object:
    return {
        "Type": "tmpfs",
        "Source": "",
        "Destination": target,
        "Mode": "",
        "RW": True,
        "Propagation": "",
    }


def root_mounts(engine: Engine, record: ContainerRecord) -> list[Mount]:
    """Return the mounts of the root; none when the container is being removed. Raises NotFound."""
    try:
        return engine.driver.mounts(record.id)
    except NotFound:
        if engine.table.existing(record.id).state != REMOVING:
            raise
        return []


def _graph(mounts: list[Mount]) -> Object:
    """Return the directories of an overlay under Docker's names."""
    if len(mounts) != 1 or mounts[0].type != "overlay":
        return {}
    base = mounts[0].source
    pairs = [option.partition("=") for option in mounts[0].options]
    lower = [
        value.partition(":")[2] or f"{base}/{value}" for key, _, value in pairs if key == "lower"
    ]
    single = {key: f"{base}/{value}" for key, _, value in pairs if key in ("upper", "work")}
    return {
        "LowerDir": ":".join(lower),
        "UpperDir": single.get("upper", ""),
        "WorkDir": single.get("work", ""),
    }


def _config(engine: Engine, record: ContainerRecord, spec: Object) -> Object:
    config = record.config
    image = engine.image_config(record.image_id)
    member = image.get("config") or {}
    entrypoint = config.entrypoint if config.entrypoint is not None else member.get("Entrypoint")
    check = health.wanted(config, member)
    command: Any = list(config.command)
    if not command and config.entrypoint is None:
        command = member.get("Cmd")
    return {
        "Hostname": spec.get("hostname") or hostfiles.hostname(config, record.id),
        "Domainname": config.domainname or "",
        "User": config.user if config.user is not None else member.get("User") or "",
        "AttachStdin": config.open_stdin,
        "AttachStdout": True,
        "AttachStderr": True,
        "ExposedPorts": shown.exposed(config, member) or None,
        "Tty": config.tty,
        "OpenStdin": config.open_stdin,
        "StdinOnce": config.open_stdin,
        "Env": written_environment(config.env, member.get("Env") or ()),
        "Cmd": command or None,
        **({} if check is None else {"Healthcheck": health.as_docker(check)}),
        "Image": config.image,
        "Volumes": member.get("Volumes"),
        "WorkingDir": config.working_dir or member.get("WorkingDir") or "",
        "Entrypoint": list(entrypoint) if entrypoint and any(entrypoint) else None,
        "OnBuild": None,
        "Labels": engine.labels(record),
        "StopSignal": signals.name(stop_signal(config, image)),
        "StopTimeout": config.stop_timeout,
    }


def _network(joined: Object, ports: Object) -> Object:
    default = joined.get("bridge") or {}
    return {
        "Bridge": "",
        "SandboxID": "",
        "SandboxKey": "",
        "Ports": ports,
        "Gateway": default.get("Gateway", ""),
        "IPAddress": default.get("IPAddress", ""),
        "IPPrefixLen": default.get("IPPrefixLen", 0),
        "MacAddress": default.get("MacAddress", ""),
        "Networks": joined,
    }
