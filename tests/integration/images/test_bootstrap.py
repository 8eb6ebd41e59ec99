"""Base images made for real, from this machine's packages."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from knarr.content import digest as digests
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


@pytest.mark.network
def test_busybox_comes_from_its_package_where_there_is_none(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(busybox, "find", busybox._downloaded)
    image = place.images.bootstrap("busybox")
    assert place.images.history(image.id)[0].comment.startswith("BusyBox v")


@pytest.mark.network
@pytest.mark.slow
@pytest.mark.timeout(900)  # two bootstraps of a minute each on a quiet machine
def test_debian_is_a_debian_and_the_same_every_time(
    place: Place, elsewhere: Place, tmp_path: Path
) -> None:
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
    again = elsewhere.images.bootstrap("debian:bookworm-slim")
    assert again.id == image.id
    assert digests.chain_ids(again.record.diff_ids)[-1] == chain_id
