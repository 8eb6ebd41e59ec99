"""Debian's podman as an ordinary user calls it: it is root of a user namespace by then."""

from __future__ import annotations

import os
import shutil
import tarfile
from collections.abc import Iterator

import pytest

from tests.support.podman import Podman
from tests.support.rootless import GID, UID, UserOci, Users

pytestmark = [
    pytest.mark.peer,
    pytest.mark.skipif(shutil.which("podman") is None, reason="needs podman"),
    pytest.mark.skipif(shutil.which("newuidmap") is None, reason="needs newuidmap (uidmap)"),
]


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    """podman as a user with subordinate ids, and an image of busybox."""
    users = Users()
    user = UserOci(users)
    user.as_subordinate()
    folder = users.folder
    for name in ("home", "root", "run", "runtime"):
        (folder / name).mkdir(mode=0o700)
        os.chown(folder / name, UID, GID)
    program = folder / "knarr-oci"
    program.write_text(user.script("", f"--root {user.root}"))
    program.chmod(0o755)
    own = (f"HOME={folder}/home", f"XDG_RUNTIME_DIR={folder}/runtime", f"PATH={os.environ['PATH']}")
    before = (user.before, "env", "-i", *own)
    made = Podman(user, folder, before, program)
    image = folder / "image.tar"
    with tarfile.open(image, "w") as tar:
        tar.add(users.rootfs, ".")
    image.chmod(0o644)
    made("import", str(image), "box")
    yield made
    made("rm", "--all", "--force", "--time", "0")
    assert list(user.root.glob("[!@]*")) == []
    made("system", "migrate")  # ends the process that keeps its namespaces
    user.close()
    users.close()


def test_podman_runs_containers(podman: Podman) -> None:
    """Output, status, users, terminals, a root that is read-only, a file system of its own."""
    assert podman.run("--rm", "box", "echo", "hello") == "hello\n"
    podman.run("--rm", "box", "sh", "-c", "exit 7", status=7)
    assert podman.run("--rm", "--user", "5:6", "box", "id", "-u") == "5\n"
    assert podman.run("--rm", "--tty", "box", "tty").strip() == "/dev/pts/0"
    script = "echo >/x || echo no; mount -t tmpfs"
    said = podman.run("--rm", "--read-only", "--tmpfs", "/y", "box", "sh", "-c", script)
    assert said.startswith("no\n")
    assert " on /y " in said


def test_podman_keeps_one_in_the_background(podman: Podman) -> None:
    """It is entered and ended by processes of their own."""
    podman.run("--detach", "--name", "away", "box", "sleep", "1000")
    assert podman("exec", "away", "id", "-u") == "0\n"
    assert podman("exec", "--user", "7:8", "away", "id", "-g") == "8\n"
    assert podman("inspect", "--format", "{{.State.Status}}", "away") == "running\n"
    podman("kill", "--signal", "KILL", "away")
    assert podman("wait", "away") == "137\n"
    podman("rm", "away")


def test_podman_maps_ids(podman: Podman) -> None:
    """The user may be himself inside; then there is a user namespace below podman's."""
    podman.run("--detach", "--name", "kept", "--userns", "keep-id", "box", "sleep", "1000")
    assert podman("exec", "kept", "id", "-u") == f"{UID}\n"
    assert podman("exec", "--user", "0", "kept", "id", "-u") == "0\n"
    others = ("--userns", "container:kept", "--pid", "container:kept")
    said = podman.run("--rm", *others, "box", "sh", "-c", "cat /proc/1/cmdline; id -u")
    assert said.split("\0") == ["sleep", "1000", "0\n"]
    podman("rm", "--force", "--time", "0", "kept")


def test_podman_pod_shares_namespaces(podman: Podman) -> None:
    """Containers of a pod enter namespaces out of which their makers cannot go back."""
    podman(
        "pod", "create", "--name", "pod", "--infra-image", "box", "--infra-command", "sleep 1000",
        "--network", "none", "--hostname", "podhost", "--share", "net,ipc,uts,pid",
    )  # fmt: skip
    podman("run", "--detach", "--pod", "pod", "--name", "one", "box", "sleep", "1001")
    assert podman("exec", "one", "hostname") == "podhost\n"
    assert "sleep 1000" in podman("exec", "one", "ps")
    podman("pod", "rm", "--force", "--time", "0", "pod")


def test_a_score_that_is_not_permitted(podman: Podman) -> None:
    """It is left as it is, as with runc; the container runs."""
    script = "cat /proc/self/oom_score_adj"
    assert podman.run("--rm", "--oom-score-adj", "321", "box", "sh", "-c", script) == "321\n"
    assert podman.run("--rm", "--oom-score-adj", "-500", "box", "sh", "-c", script) == "0\n"
