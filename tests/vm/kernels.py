"""A kernel and its modules out of a Debian suite, without installing it."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from .mirror import MachineError

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"

# Debian's name of the suite that carries each version.
SUITE = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "bookworm-backports"}


@dataclass(frozen=True)
class Kernel:
    """An unpacked kernel package: ``image`` to boot, ``modules`` = .../lib/modules/RELEASE."""

    name: str
    image: Path
    modules: Path


def _apt_environment(home: Path, mirror: str, suite: str) -> dict[str, str]:
    """Lay out an apt of its own below ``home``, so that the host's stays as it is."""
    for folder in ("etc/apt.conf.d", "etc/preferences.d", "state/lists/partial"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
    (home / "status").touch()
    (home / "etc/sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} {suite} main\n")
    (home / "apt.conf").write_text(
        f'Dir::Etc "{home}/etc"; Dir::State "{home}/state"; Dir::Cache "{home}/cache";\n'
        f'Dir::State::status "{home}/status"; APT::Architecture "amd64";\n'
        # downloads are done by root, since the cache is not open to apt's own user
        'APT::Sandbox::User "root"; Acquire::Languages "none";\n'
    )
    return {**os.environ, "APT_CONFIG": str(home / "apt.conf")}


def _download(home: Path, mirror: str, suite: str) -> Path:
    env = _apt_environment(home, mirror, suite)

    def apt(*words: str) -> str:
        done = subprocess.run(
            words, env=env, cwd=home, capture_output=True, text=True, check=False, timeout=600
        )
        if done.returncode:
            raise MachineError(f"{' '.join(words)}: {done.stderr.strip()[-300:]}")
        return done.stdout

    apt("apt-get", "update", "-qq")
    depends = apt("apt-cache", "depends", "linux-image-cloud-amd64")
    names = [line.split()[-1] for line in depends.splitlines() if "Depends: linux-image" in line]
    if not names:
        raise MachineError(f"{suite} at {mirror} has no linux-image-cloud-amd64")
    apt("apt-get", "download", "-qq", names[0])
    return next(home.glob("linux-image-*.deb"))


def fetch(name: str, cache: Path, mirror: str) -> Kernel:
    """Return Debian's kernel ``name`` ("6.1"), downloaded into ``cache`` the first time.

    Raises MachineError when the name is unknown or the archive cannot be used.
    """
    if name not in SUITE:
        raise MachineError(f"no kernel {name}: choose from {', '.join(SUITE)}")
    home = cache / f"kernel-{name}"
    if not (home / "complete").exists():
        shutil.rmtree(home, ignore_errors=True)
        apt_home = home / "apt"
        apt_home.mkdir(parents=True)
        package = _download(apt_home, mirror, SUITE[name])
        subprocess.run(["dpkg", "-x", package, home], check=True)
        shutil.rmtree(apt_home)
        (home / "complete").touch()
    return Kernel(
        name,
        image=next((home / "boot").glob("vmlinuz-*")),
        modules=next((home / "lib/modules").iterdir()),
    )
