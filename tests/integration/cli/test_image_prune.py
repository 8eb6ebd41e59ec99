"""``image prune`` by the real command: what stays, and when an image was last used."""

import os
import subprocess
import time

from knarr.config import Settings
from tests.conftest import Command


def said(done: subprocess.CompletedProcess[bytes], code: int = 0) -> str:
    assert done.returncode == code, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def make(knarr: Command, name: str) -> None:
    """Make an image by its own layer and date."""
    said(knarr("run", "--name", "maker", "busybox", "sh", "-c", f"echo {name} >/name"))
    said(knarr("commit", "maker", name))
    said(knarr("rm", "maker"))


def test_the_newest_stay_and_a_rehearsal_says_so(knarr: Command) -> None:
    for name in ("app:1", "app:2", "app:3"):
        make(knarr, name)
    told = said(knarr("image", "prune", "--keep-last", "2", "--dry-run"))
    assert told.startswith("Would delete images:\nuntagged: app:1\ndeleted: sha256:")
    assert "Space that would be reclaimed: " in told
    asked = knarr("image", "prune", "--keep-last", "2", "--unused-for", "0s", stdin=b"n\n")
    words = "but for the 2 newest of each repository and those used in the last 0s."
    assert words in said(asked)
    assert said(knarr("images", "-q")).count("\n") == 4
    done = said(knarr("image", "prune", "-f", "--keep-last", "2"))
    assert done.startswith("Deleted Images:\nuntagged: app:1\n")
    assert told.splitlines()[1:4] == done.splitlines()[1:4]
    assert told.splitlines()[-1].split()[-1] == done.splitlines()[-1].split()[-1]
    left = said(knarr("images", "--format", "{{.Repository}}:{{.Tag}}")).split()
    assert left == ["app:3", "app:2", "busybox:latest"]


def test_a_container_that_was_removed_was_a_use(knarr: Command, settings: Settings) -> None:
    make(knarr, "app:1")
    image = said(knarr("images", "-q", "--no-trunc", "app")).strip()
    content = f"{settings.data_root}/content"
    week = time.time() - 8 * 24 * 3600
    for path in (f"{content}/used/{image[7:]}", f"{content}/blobs/sha256/{image[7:]}"):
        os.utime(path, (week, week))
    prune = ("image", "prune", "-f", "--unused-for", "7d", "--filter", "dangling=false")
    assert "app:1" in said(knarr(*prune, "--dry-run"))
    said(knarr("run", "--rm", "app:1", "true"))
    assert "app:1" not in said(knarr(*prune))
    assert "app" in said(knarr("images"))


def test_what_cannot_be(knarr: Command) -> None:
    done = knarr("image", "prune", "-f", "--unused-for", "soon")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"invalid age 'soon': use such as 36h, 7d or 2w" in done.stderr
    done = knarr("image", "prune", "-f", "--keep-last", "-1")
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"give 0 or more" in done.stderr
