"""Which files a program may be: as execve(2) will have it, with the program's own capabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.bundles import Oci

KINDS = ("bounding", "effective", "permitted", "inheritable", "ambient")


def closed(oci: Oci, *args: str, capabilities: tuple[str, ...] = (), uid: int = 1000) -> Path:
    """Return a bundle with a program that only its owner, root, may execute."""
    path = oci.bundle(*args, root={"path": "rootfs"})
    oci.copy_root(path / "rootfs")
    (path / "rootfs" / "opt").mkdir()
    program = path / "rootfs" / "opt" / "busybox"
    program.write_bytes((path / "rootfs" / "bin" / "busybox").read_bytes())
    program.chmod(0o700)

    def change(config: dict[str, Any]) -> None:
        config["process"]["user"] = {"uid": uid, "gid": 100}
        config["process"]["capabilities"] = {kind: list(capabilities) for kind in KINDS}
        config["process"]["env"] = ["PATH=/opt", "HOME=/"]

    oci.change(path, change)
    return path


@pytest.mark.parametrize("name", ["/opt/busybox", "busybox"])
def test_file_that_only_a_capability_lets_execute(oci: Oci, name: str) -> None:
    path = closed(oci, name, "true")
    said = oci("run", "-b", str(path), oci.name("denied"), check=False)
    assert f'exec: "{name}": permission denied' in said
    assert oci("list", "-q") == ""
    path = closed(oci, name, "id", "-u", capabilities=("CAP_DAC_OVERRIDE",))
    assert oci("run", "-b", str(path), oci.name("able")) == "1000\n"


def test_file_in_a_directory_that_only_a_capability_lets_search(oci: Oci) -> None:
    for capabilities in ((), ("CAP_DAC_READ_SEARCH",)):
        path = closed(oci, "/opt/busybox", "id", "-u", capabilities=capabilities)
        (path / "rootfs" / "opt" / "busybox").chmod(0o755)
        (path / "rootfs" / "opt").chmod(0o700)
        if capabilities:
            assert oci("run", "-b", str(path), oci.name("search")) == "1000\n"
        else:
            said = oci("run", "-b", str(path), oci.name("search"), check=False)
            assert "permission denied" in said


def test_file_that_nobody_may_execute_is_no_program(oci: Oci) -> None:
    """The capability passes over owners, and not over a file without any such bit (execve(2))."""
    path = closed(oci, "/opt/busybox", "true", capabilities=("CAP_DAC_OVERRIDE",), uid=0)
    (path / "rootfs" / "opt" / "busybox").chmod(0o644)
    said = oci("run", "-b", str(path), oci.name("none"), check=False)
    assert 'exec: "/opt/busybox": permission denied' in said


def test_further_process_with_the_capability(oci: Oci) -> None:
    path = closed(oci, "/bin/sleep", "1000", capabilities=("CAP_DAC_OVERRIDE",))
    name = oci.name("further")
    oci("run", "-d", "-b", str(path), name)
    assert oci("exec", name, "busybox", "id", "-u") == "1000\n"
