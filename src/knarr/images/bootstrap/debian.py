"""Debian and Ubuntu base images through mmdebstrap, from this machine's own mirror.

mmdebstrap does what has to be right about packages (signatures, configuration order);
its tar goes through ``rewrite`` into the content store and touches the disk nowhere else.
"""

from __future__ import annotations

import calendar
import email.utils
import os
import re
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, NamedTuple, cast

from knarr.errors import InvalidArchive
from knarr.images import times
from knarr.images.bootstrap import sources, tools
from knarr.images.bootstrap.names import Recipe
from knarr.images.bootstrap.rewrite import File
from knarr.images.context import Progress, ProgressEvent
from knarr.images.platform import Platform

_PURPOSE = "a Debian base image"
_APT_HELPER = "/usr/lib/apt/apt-helper"
_PASSED_ON = re.compile(
    r"Acquire::(?:Check-Valid-Until|Check-Date|Retries|ForceIPv[46]|https?::(?:Proxy|Timeout)(?:::.*)?)",
    re.IGNORECASE,
)
_RELEASE_LIMIT = 4 * 1024 * 1024
_ENDING = 30.0  # seconds for a tool that has lost its reader to end
_ARCHITECTURES = {
    "amd64": "amd64",
    "arm64": "arm64",
    "arm": "armhf",
    "386": "i386",
    "ppc64le": "ppc64el",
    "s390x": "s390x",
    "riscv64": "riscv64",
    "mips64le": "mips64el",
    "loong64": "loong64",
}
# Before bookworm no package asks for a merged /usr.
_UNMERGED = frozenset({"jammy", "bullseye"})
# init-system-helpers is content with either of two packages. The one apt would take, usrmerge,
# converts old systems and brings all of perl (40 MB) along; the tree is merged from the start.
# The links are made here, since mmdebstrap's own hook makes those of whatever release of
# debootstrap it finds on the machine, and others without.
_MERGED_LINKS = {
    "amd64": ("bin", "lib", "lib32", "lib64", "libx32", "sbin"),
    "i386": ("bin", "lib", "lib64", "libx32", "sbin"),
    "loong64": ("bin", "lib", "lib64", "sbin"),
    "mips64el": ("bin", "lib", "lib32", "lib64", "libo32", "sbin"),
    "ppc64el": ("bin", "lib", "lib64", "sbin"),
    "s390x": ("bin", "lib", "lib32", "sbin"),
}
_MERGE = 'for d in {}; do mkdir -p "$1/usr/$d" && ln -s "usr/$d" "$1/$d" || exit 1; done'
NO_USRMERGE = "etc/apt/preferences.d/no-usrmerge"
_PIN = r"Package: usrmerge\nPin: release *\nPin-Priority: -1\n"
# Docker's base images keep services from starting while packages are installed,
# and containers are thrown away rather than rescued after a power cut.
EXTRA = (
    File("usr/sbin/policy-rc.d", b"#!/bin/sh\nexit 101\n", 0o755),
    File("etc/dpkg/dpkg.cfg.d/container", b"force-unsafe-io\n"),
    File(
        "etc/apt/apt.conf.d/container",
        b'Acquire::Languages "none";\nApt::AutoRemove::SuggestsImportant "false";\n'
        b"DPkg::Post-Invoke "
        b'{ "rm -f /var/cache/apt/archives/*.deb /var/cache/apt/*.bin || true"; };\n',
    ),
)
SLIM_EXTRA = File(
    "etc/dpkg/dpkg.cfg.d/slim",
    b"path-exclude /usr/share/doc/*\npath-include /usr/share/doc/*/copyright\n"
    b"path-exclude /usr/share/info/*\npath-exclude /usr/share/linda/*\n"
    b"path-exclude /usr/share/lintian/overrides/*\npath-exclude /usr/share/locale/*\n"
    b"path-include /usr/share/locale/locale.alias\npath-exclude /usr/share/man/*\n"
    b"path-exclude /usr/share/groff/*\n",
)


class Plan(NamedTuple):
    """How an image is made: the mmdebstrap command, the suites, and files of the image itself.

    ``release`` is the address and the suite whose date the image takes.
    """

    command: list[str]
    suites: tuple[str, ...]
    release: tuple[str, str]
    extra: tuple[File, ...]


def plan(recipe: Recipe, mirror: str | None, snapshot: str | None, platform: Platform) -> Plan:
    """Return how to make an image, from ``mirror`` or from where this machine's packages come.

    ``snapshot`` (``20260101T000000Z``) is a moment of a mirror that keeps all of them. Raises
    Unsupported naming what this machine lacks, InvalidArgument for a malformed argument.
    """
    tool = tools.need("mmdebstrap", "mmdebstrap", _PURPOSE)
    archives = sources.archives_for(recipe.kind, recipe.suite, mirror)
    if snapshot is not None:
        archives = sources.at(archives, snapshot)
    architecture = _ARCHITECTURES.get(platform.architecture, platform.architecture)
    command = [
        *_held(),
        tool,
        "--variant=minbase",
        "--format=tar",
        *_merged(recipe.suite, architecture),
        f"--architectures={architecture}",
        *([f"--include={','.join(recipe.include)}"] if recipe.include else ()),
        '--aptopt=Acquire::Languages "none"',
        *_host_options(),
        *(['--aptopt=Acquire::Check-Valid-Until "false"'] if sources.is_old(archives) else ()),
        recipe.suite,
        "-",
        *(archive.line() for archive in archives),
    ]
    extra = (*EXTRA, SLIM_EXTRA) if recipe.slim else EXTRA
    listed = "".join(f"{line}\n" for line in sources.lines_inside(recipe.kind, archives))
    return Plan(
        command,
        tuple(archive.suite for archive in archives),
        (archives[0].address, archives[0].suite),
        (*extra, File("etc/apt/sources.list", listed.encode())),
    )


def _held() -> list[str]:
    """Return the words before a command that make it, and all it starts and mounts, end with us."""
    setpriv = tools.need("setpriv", "util-linux", _PURPOSE)
    unshare = tools.need("unshare", "util-linux", _PURPOSE)
    return [setpriv, "--pdeathsig", "KILL", unshare, "--mount", "--pid", "--kill-child", "--"]


def _host_options() -> list[str]:
    """Return the options by which apt on this machine reaches and judges its mirrors.

    They end in a file that ``rewrite`` leaves out, so an image knows no proxy of its maker's.
    """
    apt_config = tools.need("apt-config", "apt", _PURPOSE)
    dump = tools.run(
        [apt_config, "dump", "--format", "%f %v%n", "Acquire"], "/", "reading apt's options"
    )
    options = []
    for line in dump.decode("utf-8", "replace").splitlines():
        name, _, value = line.partition(" ")
        if _PASSED_ON.fullmatch(name) and value and '"' not in value:
            options.append(f'--aptopt={name} "{value}"')
    return options


def _merged(suite: str, architecture: str) -> list[str]:
    if suite in _UNMERGED:
        return []
    links = _MERGED_LINKS.get(architecture, ("bin", "lib", "sbin"))
    folder = os.path.dirname(NO_USRMERGE)
    return [
        f"--setup-hook={_MERGE.format(' '.join(links))}",
        f'--setup-hook=mkdir -p "$1/{folder}"',
        f"--setup-hook=printf '{_PIN}' > \"$1/{NO_USRMERGE}\"",
    ]


def epoch_of(release: tuple[str, str], directory: str | None = None) -> int:
    """Return the moment an image takes as its own: the date of its release, seconds since 1970.

    That of the suite itself, which changes with a point release; the Release files of updates and
    security are signed anew several times a day, also when no package has changed.
    SOURCE_DATE_EPOCH in the environment goes first. Raises Unavailable when there is no Release
    file to be had, InvalidArgument for a malformed SOURCE_DATE_EPOCH.
    """
    given = times.source_date_epoch()
    return _release_date(*release, directory) if given is None else given


@contextmanager
def running(
    command: list[str], epoch: int, progress: Progress, directory: str | None = None
) -> Iterator[BinaryIO]:
    """Run mmdebstrap and yield its tar output; its lines go to ``progress``.

    directory: where it works; None for where temporary files go. It leaves files there when it
    is not let to its end, which an error of the block, or the death of this process, is.
    Raises Unavailable with its last words when it fails, after the output has been read.
    """
    last: deque[str] = deque(maxlen=20)
    process = subprocess.Popen(
        command,
        env=tools.environment(SOURCE_DATE_EPOCH=str(epoch), **_temporary(directory)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    talker = threading.Thread(
        target=_relay, args=(cast("BinaryIO", process.stderr), last, progress), daemon=True
    )
    talker.start()
    try:
        yield cast("BinaryIO", process.stdout)
    except BaseException as error:
        process.stdout.close()
        # A truncated tar is the tool's failure, and its own words say more about it.
        if isinstance(error, InvalidArchive) and _ended_badly(process):
            talker.join()
            raise tools.failed("mmdebstrap", list(last)) from None
        process.kill()
        raise
    finally:
        process.stdout.close()
        process.wait()
        talker.join()  # not before all that it had started is gone, which has the pipe as well
        process.stderr.close()
    if process.returncode != 0:
        raise tools.failed("mmdebstrap", list(last))


def _temporary(directory: str | None) -> dict[str, str]:
    return {} if directory is None else {"TMPDIR": directory}


def _ended_badly(process: subprocess.Popen[bytes]) -> bool:
    try:
        return process.wait(_ENDING) not in (0, -signal.SIGPIPE)
    except subprocess.TimeoutExpired:
        return False


def _relay(stream: BinaryIO, last: deque[str], progress: Progress) -> None:
    for raw in stream:
        line = raw.decode("utf-8", "replace").rstrip()
        last.append(line)
        progress(ProgressEvent("Bootstrapping", line))


def _release_date(address: str, suite: str, within: str | None) -> int:
    helper = tools.need(_APT_HELPER, "apt", _PURPOSE)
    with tempfile.TemporaryDirectory(prefix="knarr-release-", dir=within) as directory:
        # apt drops root for downloads, to a user that has to reach the target.
        os.chmod(directory, 0o755)
        target = os.path.join(directory, "InRelease")
        url = f"{address.rstrip('/')}/dists/{suite}/InRelease"
        tools.run([helper, "download-file", url, target], directory, f"fetching {url}")
        with open(target, encoding="utf-8", errors="replace") as file:
            text = file.read(_RELEASE_LIMIT)
    for line in text.splitlines():
        if line.startswith("Date:"):
            # Its signature is mmdebstrap's to check; a year beyond reason is none.
            parsed = email.utils.parsedate(line.partition(":")[2].strip())
            if parsed is not None and 1970 <= parsed[0] <= 9999:
                return calendar.timegm(parsed)
    raise tools.failed(f"reading {url}", ["it has no Date"])
