"""Base images made for real, from this machine's packages."""

import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from knarr.images.bootstrap import busybox
from tests.integration.images.conftest import Place

CHROOT = shutil.which("chroot", path="/usr/sbin:/sbin:/usr/bin:/bin") or "chroot"


def test_busybox_runs_in_its_own_root(place: Place) -> None:
    image = place.images.bootstrap("busybox")
    assert image.tags == ("busybox:latest",)
    chain_id = place.images.unpack(image)
    assert chain_id is not None
    root = place.tree(chain_id)
    done = subprocess.run(
        [CHROOT, root, "/bin/sh", "-c", "id -un; ls /bin | wc -l; env printf done"],
        capture_output=True,
        check=True,
        env={"PATH": "/bin"},
    )
    user, applets, last = done.stdout.decode().split("\n")
    assert (user, last) == ("root", "done")
    assert int(applets) > 100
    assert (root / "bin/ls").samefile(root / "bin/busybox")
    assert stat.S_IMODE((root / "tmp").stat().st_mode) == 0o1777
    config = place.images.config(image)
    assert config["config"]["Cmd"] == ["sh"]
    assert config["config"]["Env"][0].startswith("PATH=")


def test_busybox_is_the_same_every_time(place: Place, elsewhere: Place) -> None:
    first, second = place.images.bootstrap("busybox"), elsewhere.images.bootstrap("busybox:stable")
    assert first.id == second.id
    assert place.images.bootstrap("busybox").record == first.record
    assert place.blobs() == set(first.record.blobs)


def test_busybox_may_have_another_name(place: Place) -> None:
    assert place.images.bootstrap("busybox", tag="tools:1").tags == ("tools:1",)


@pytest.mark.network
def test_busybox_comes_from_its_package_where_there_is_none(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busybox, "find", busybox._downloaded)
    image = place.images.bootstrap("busybox")
    assert place.images.history(image.id)[0].comment.startswith("BusyBox v")


# A second machine, as far as one can be had here: own host and machine names, clock zone, umask,
# apt settings, another way to write the same sources, and a directory that hands down its group.
ELSEWHERE = """
set -eu
hostname elsewhere
echo 0123456789abcdef0123456789abcdef >"$1/machine-id"
echo 'nameserver 192.0.2.1' >"$1/resolv.conf"
mkdir "$1/apt.conf.d" "$1/tmp"
cp /etc/apt/apt.conf.d/* "$1/apt.conf.d/"
echo 'APT::Install-Recommends "true"; Acquire::GzipIndexes "false";' >"$1/apt.conf.d/zz"
for file in /etc/apt/sources.list.d/debian.sources; do
  if [ -e "$file" ]; then
    sed -E 's,^(URIs: .*[^/])$,\\1/,' "$file" >"$1/sources"
    mount --bind "$1/sources" "$file"
  fi
done
mount --bind "$1/apt.conf.d" /etc/apt/apt.conf.d
[ ! -e /etc/machine-id ] || mount --bind "$1/machine-id" /etc/machine-id
mount -t tmpfs -o mode=755 caches /var/cache/apt
chgrp 50 "$1/tmp"
chmod 2775 "$1/tmp"
umask 077
exec env TMPDIR="$1/tmp" TZ=Asia/Tokyo LANG=tr_TR.UTF-8 "$2" -c "$3" "$1"
"""
MAKE = """
import sys
import tempfile
from pathlib import Path
from tests.integration.images.conftest import Place
print(Place(Path(sys.argv[1])).images.bootstrap("debian:bookworm-slim").id)
"""


def bootstrapped_elsewhere(folder: Path) -> str:
    """Bootstrap in other surroundings and return the id of the image."""
    root = Path(__file__).resolve().parents[3]
    done = subprocess.run(
        ["unshare", "--uts", "--mount", "--propagation", "private",
         "sh", "-c", ELSEWHERE, "sh", folder, sys.executable, MAKE],
        env=os.environ | {"PYTHONPATH": f"{root}:{root / 'src'}"},
        stdout=subprocess.PIPE,
        check=True,
    )  # fmt: skip
    return done.stdout.decode().strip()


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(900)  # two bootstraps of a minute each on a quiet machine
def test_debian_is_a_debian_and_the_same_everywhere(place: Place) -> None:
    lines: list[str] = []
    image = place.images.bootstrap(
        "debian:bookworm-slim", progress=lambda event: lines.append(event.subject)
    )
    assert image.tags == ("debian:bookworm-slim",)
    assert any("installing" in line for line in lines)
    chain_id = place.images.unpack(image)
    root = place.tree(chain_id or "")
    done = subprocess.run(
        [CHROOT, root, "sh", "-c", ". /etc/os-release; echo $VERSION_CODENAME; dpkg --audit"],
        capture_output=True,
        check=True,
    )
    assert done.stdout == b"bookworm\n"
    assert not (root / "etc/hostname").exists()
    assert not (root / "etc/apt/preferences.d/no-usrmerge").exists()
    assert os.listdir(root / "dev") == []
    assert (root / "usr/share/doc/libc6/copyright").exists()
    assert not list((root / "usr/share/man").glob("man1/*"))
    assert image.size < 110 * 1000**2
    labels = place.images.config(image)["config"]["Labels"]
    query = "dpkg-query -W -f '${Package} ${Version} ${Architecture}\n' | LC_ALL=C sort | sha256sum"
    done = subprocess.run([CHROOT, root, "sh", "-c", query], capture_output=True, check=True)
    assert labels["knarr.bootstrap.packages"] == f"sha256:{done.stdout.split()[0].decode()}"
    assert labels["org.opencontainers.image.version"].startswith("12.")
    # Not under the test's own directory: apt's user has to get through to it.
    with tempfile.TemporaryDirectory(prefix="knarr-elsewhere-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o755)
        assert bootstrapped_elsewhere(Path(folder)) == image.id


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_debian_with_python_in_it(place: Place) -> None:
    image = place.images.bootstrap(
        "debian:bookworm-slim", include=["python3-minimal"], tag="python"
    )
    assert image.tags == ("python:latest",)
    assert place.images.history(image.id)[0].comment.endswith("slim minbase + python3-minimal")
    root = place.tree(place.images.unpack(image) or "")
    words = [CHROOT, str(root), "python3", "-c", "print(6 * 7)"]
    assert subprocess.run(words, capture_output=True, check=True).stdout == b"42\n"
