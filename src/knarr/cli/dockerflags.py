"""The flags of ``docker`` 28, verb by verb, beside ours: what there is, and why not.

Only names are kept here; which of them exist and what is said of the others is read from
the tables of the commands themselves, so that it cannot be out of date.
"""

from __future__ import annotations

from typing import NamedTuple

from knarr.cli import verbs
from knarr.cli.command import Command

RELEASE = 28

_RUN = """
add-host annotation attach,a blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent
cgroupns cidfile cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime
cpu-shares,c cpus
cpuset-cpus cpuset-mems device device-cgroup-rule device-read-bps device-read-iops device-write-bps
device-write-iops disable-content-trust dns dns-opt dns-option dns-search domainname entrypoint
env,e env-file expose gpus group-add health-cmd health-interval health-retries
health-start-interval health-start-period health-timeout hostname,h init interactive,i
io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory label,l label-file link link-local-ip
log-driver log-opt mac-address memory,m memory-reservation memory-swap memory-swappiness mount name
net net-alias network network-alias no-healthcheck oom-kill-disable oom-score-adj pid pids-limit
platform privileged publish,p publish-all,P pull quiet,q read-only restart rm runtime security-opt
shm-size stop-signal stop-timeout storage-opt sysctl tmpfs tty,t ulimit use-api-socket user,u userns
uts volume,v volume-driver volumes-from workdir,w
"""

# Verb -> its flags as ``name`` or ``name,letter``; a verb without flags has an empty text.
FLAGS: dict[str, str] = {
    "attach": "detach-keys no-stdin sig-proxy",
    "commit": "author,a change,c message,m pause,p",
    "container inspect": "format,f size,s",
    "container prune": "filter force,f",
    "cp": "archive,a follow-link,L quiet,q",
    "create": _RUN,
    "diff": "",
    "events": "filter,f format since until",
    "exec": "detach,d detach-keys env,e env-file interactive,i privileged tty,t user,u workdir,w",
    "export": "output,o",
    "history": "format human,H no-trunc platform quiet,q",
    "image inspect": "format,f platform",
    "image prune": "all,a filter force,f",
    "images": "all,a digests filter,f format no-trunc quiet,q tree",
    "import": "change,c message,m platform",
    "info": "format,f",
    "inspect": "format,f size,s type",
    "kill": "signal,s",
    "load": "input,i platform quiet,q",
    "logs": "details follow,f since tail,n timestamps,t until",
    "pause": "",
    "port": "",
    "ps": "all,a filter,f format last,n latest,l no-trunc quiet,q size,s",
    "rename": "",
    "restart": "signal,s time timeout,t",
    "rm": "force,f link,l volumes,v",
    "rmi": "force,f no-prune platform",
    "run": _RUN + "detach,d detach-keys sig-proxy",
    "save": "output,o platform",
    "start": "attach,a checkpoint checkpoint-dir detach-keys interactive,i",
    "stats": "all,a format no-stream no-trunc",
    "stop": "signal,s time timeout,t",
    "system df": "format verbose,v",
    "system prune": "all,a filter force,f volumes",
    "tag": "",
    "top": "",
    "unpause": "",
    "update": "blkio-weight cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares,c cpus "
    "cpuset-cpus cpuset-mems kernel-memory memory,m memory-reservation memory-swap pids-limit "
    "restart",
    "version": "format,f",
    "wait": "",
}


class Compared(NamedTuple):
    """One flag of Docker's: as it is written, whether knarr has it, else what to do instead."""

    flag: str
    present: bool
    instead: str


def compared(command: Command) -> list[Compared]:
    """Return Docker's flags of a verb, in the order of the alphabet; instead "" is no answer."""
    ours = {flag.name: flag.short for flag in command.flags}
    ours.update((alias, "") for flag in command.flags for alias in flag.aliases)
    found = []
    for entry in sorted(FLAGS[command.name].split()):
        name, _, letter = entry.partition(",")
        present = name in ours and (not letter or ours[name] == letter)
        text = f"-{letter}, --{name}" if letter else f"--{name}"
        found.append(Compared(text, present, "" if present else command.missing.get(name, "")))
    return found


def only_ours(command: Command) -> list[str]:
    """Return the flags of a verb that Docker does not have."""
    theirs = {entry.partition(",")[0] for entry in FLAGS[command.name].split()}
    return [f"--{flag.name}" for flag in command.flags if flag.name not in theirs]


def commands() -> dict[str, Command | None]:
    """Return each verb of `FLAGS` with its command, None where knarr has none."""
    known = set(verbs.modules())
    return {
        name: verbs.load(module) if (module := name.replace(" ", "_")) in known else None
        for name in FLAGS
    }
