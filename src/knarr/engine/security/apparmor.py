"""The default AppArmor profile: its text, and loading it once per boot.

The profile is the third line behind capabilities and seccomp: even a process
that got hold of more rights can neither mount, nor write kernel parameters, nor
look into processes outside its own profile. Source: apparmor.d(5).
"""

from __future__ import annotations

import os
import shutil
import subprocess

from knarr.errors import Unavailable

NAME = "knarr-default"
_ENABLED = "/sys/module/apparmor/parameters/enabled"
_LOADED = "/sys/kernel/security/apparmor/profiles"
_PARSER_TIMEOUT = 30

PROFILE = f"""\
abi <abi/3.0>,

profile {NAME} flags=(attach_disconnected,mediate_deleted) {{
  # What a container may do is decided by its namespaces; the denials below stand above that.
  network,
  capability,
  file,
  umount,
  signal (receive) peer=unconfined,
  signal (send, receive) peer={NAME},
  ptrace (trace, read, tracedby, readby) peer={NAME},
  unix,

  # No mounts, whatever capability was gained.
  deny mount,

  # Kernel parameters, other than the shared-memory ones that an IPC namespace has of its own.
  deny /proc/* w,
  deny /proc/{{[^1-9],[^1-9][^0-9],[^1-9s][^0-9y][^0-9s],[^1-9][^0-9][^0-9][^0-9]*}}/** w,
  deny /proc/sys/[^kn]** w,
  deny /proc/sys/kernel/{{?,??,[^s][^h][^m]**}} w,
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,

  # Everything in sysfs but the container's own control groups.
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,
}}
"""


def active() -> bool:
    """Return whether this kernel runs AppArmor."""
    try:
        with open(_ENABLED) as file:
            return file.read(1) == "Y"
    except OSError:
        return False


def loaded(name: str = NAME) -> bool:
    """Return whether the kernel knows the profile ``name``; False where that cannot be read."""
    try:
        with open(_LOADED) as file:
            return any(line.startswith(f"{name} (") for line in file)
    except OSError:
        return False


def ensure() -> str:
    """Return the name of the default profile, loaded into the kernel if it was not.

    Raises Unavailable with what to install when there is no parser, or with
    the parser's own words when it refuses.
    """
    if loaded():
        return NAME
    parser = shutil.which("apparmor_parser", path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")
    if parser is None:
        raise Unavailable(
            "AppArmor is active but apparmor_parser is not installed, so containers run without"
            " its profile (install the package apparmor)"
        )
    refused = ""
    for text in (PROFILE, PROFILE.partition("\n")[2]):  # parsers before 3.0 do not know ``abi``
        done = subprocess.run(
            [parser, "--skip-cache", "--replace"],
            input=text,
            capture_output=True,
            text=True,
            timeout=_PARSER_TIMEOUT,
            check=False,
        )
        if done.returncode == 0:
            return NAME
        refused = " ".join(done.stderr.split()) or f"exit code {done.returncode}"
    raise Unavailable(f"AppArmor profile {NAME}: {refused}")
