"""Lock files and tags by the real command, with Debian's docker-registry."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.support import dockerregistry


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    with dockerregistry.running(tmp_path) as host:
        yield host


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> Path:
    """The working directory of the commands."""
    if "PYTHONPATH" in environment:
        environment["PYTHONPATH"] = os.path.abspath(environment["PYTHONPATH"])
    made = tmp_path / "project"
    made.mkdir()
    monkeypatch.chdir(made)
    return made


def said(done: subprocess.CompletedProcess[bytes], code: int = 0) -> str:
    assert done.returncode == code, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def refused(done: subprocess.CompletedProcess[bytes], code: int) -> str:
    assert done.returncode == code, (done.stdout + done.stderr).decode()
    return done.stderr.decode()


def push(knarr: Command, name: str, text: str) -> str:
    """Push an image that prints ``text``, without keeping it here; return its digest."""
    said(knarr("run", "--name", "maker", "busybox", "sh", "-c", f"echo {text} >/said"))
    said(knarr("commit", "-c", 'CMD ["cat", "/said"]', "maker", name))
    said(knarr("rm", "maker"))
    done = said(knarr("push", name))
    said(knarr("rmi", name))
    return "sha256:" + done.rpartition("digest: sha256:")[2].partition(" ")[0]


def test_a_lock_file_holds_what_tags_stood_for(knarr: Command, server: str, folder: Path) -> None:
    app = f"{server}/team/app:1"
    first = push(knarr, app, "first")
    (folder / "Dockerfile").write_text(f"ARG TAG=1\nFROM {server}/team/app:$TAG\n")
    assert said(knarr("lock")).splitlines() == [f"Locked {app} {first}", "knarr.lock: 1 image"]
    assert said(knarr("lock", "--check")) == ""

    second = push(knarr, app, "second")
    before = (folder / "knarr.lock").read_bytes()
    assert said(knarr("lock", "--check"), 1) == f"Moved: {app} {first} -> {second}\n"
    assert said(knarr("lock")) == "knarr.lock: 1 image\n"  # what is pinned stays so
    assert (folder / "knarr.lock").read_bytes() == before

    # Nobody asked for the file here: as with Docker, it is the tag.
    assert said(knarr("run", "--rm", app)) == "second\n"
    assert said(knarr("run", "--rm", "--lock-file", "knarr.lock", app)) == "first\n"
    assert "Tagged" in said(knarr("pull", "--lock-file", "knarr.lock", app))
    assert said(knarr("run", "--rm", "--pull", "never", app)) == "first\n"
    made = said(knarr("create", "--lock-file", "knarr.lock", app)).strip()
    shown = said(knarr("inspect", "-f", "{{.Config.Image}}", made)).strip()
    assert shown == f"{app}@{first}"
    said(knarr("rm", made))

    assert said(knarr("lock", "--update")).splitlines()[0] == f"Moved {app} {first} -> {second}"
    assert said(knarr("lock", "--check", app)) == ""
    assert said(knarr("run", "--rm", "--lock-file", "knarr.lock", app)) == "second\n"


def test_what_a_lock_file_does_not_name_is_refused(
    knarr: Command, folder: Path, environment: dict[str, str]
) -> None:
    box = said(knarr("lock", "--local", "busybox"))
    assert box.startswith("Locked busybox:latest sha256:")
    environment["KNARR_LOCK_FILE"] = "knarr.lock"
    assert said(knarr("run", "--rm", "busybox", "echo", "it")) == "it\n"
    said(knarr("tag", "busybox", "other:1"))
    reason = refused(knarr("run", "--rm", "other:1", "true"), 125)
    assert "other:1 is not in the lock file knarr.lock: add it with `knarr lock" in reason
    assert "not in the lock file" in refused(knarr("pull", "other:1"), 1)
    assert "give --lock-file ''" in refused(knarr("pull", "-a", "other"), 1)
    image = said(knarr("images", "-q", "--no-trunc", "other")).strip()
    assert said(knarr("run", "--rm", image, "echo", "id")) == "id\n"
    assert said(knarr("run", "--rm", "--lock-file=", "other:1", "echo", "free")) == "free\n"
    del environment["KNARR_LOCK_FILE"]


def test_what_check_finds(knarr: Command, server: str, folder: Path) -> None:
    one = push(knarr, f"{server}/one", "1")
    said(knarr("lock", f"{server}/one"))
    (folder / "compose.yaml").write_text(f"services: {{a: {{image: {server}/two}}}}\n")
    done = knarr("lock", "--check")
    assert said(done, 1) == f"Not locked: {server}/two:latest\n"
    (folder / "knarr.lock").write_text(
        f'version = 1\n[images]\n"{server}/gone:1" = "{one}"\n"{server}/one:latest" = "{one}"\n'
    )
    done = knarr("lock", "--check", f"{server}/gone:1", f"{server}/one")
    assert (done.returncode, done.stdout) == (1, b"")
    assert f"manifest for {server}/gone:1 not found" in done.stderr.decode()


def test_nothing_is_written_when_one_is_not_found(
    knarr: Command, server: str, folder: Path
) -> None:
    push(knarr, f"{server}/one", "1")
    assert "not found" in refused(knarr("lock", f"{server}/one", f"{server}/none"), 1)
    assert list(folder.iterdir()) == []
    said(knarr("tag", "busybox", f"{server}/none"))
    reason = refused(knarr("lock", f"{server}/none"), 1)
    assert reason.endswith("; --local takes the digest of the image that is here\n")
    said(knarr("rmi", f"{server}/none"))
    assert "nothing to lock" in refused(knarr("lock"), 1)
    assert "no Dockerfile" in refused(knarr("lock", "--check"), 1)
    assert "give one" in refused(knarr("lock", "--check", "--update"), 1)


def test_latest_that_runs_unattended_is_warned_of_once(
    knarr: Command, environment: dict[str, str]
) -> None:
    words = ("create", "--restart", "always")
    done = knarr(*words, "busybox", "true")
    assert done.stderr.decode().count("WARNING: busybox: 'latest' is whatever") == 1
    environment["KNARR_LATEST_WARNING"] = "0"
    quiet = knarr(*words, "busybox", "true")
    del environment["KNARR_LATEST_WARNING"]
    said(knarr("tag", "busybox", "busybox:1"))
    others = [quiet, knarr(*words, "busybox:1", "true"), knarr("create", "busybox", "true")]
    for each in others:
        assert (each.returncode, each.stderr) == (0, b"")
    said(knarr("rm", *(each.stdout.decode().strip() for each in (done, *others))))


def test_a_tag_of_version_and_commit(knarr: Command, folder: Path) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    (folder / "VERSION").write_text("1.4.2\n")
    for words in (["init", "-q"], ["add", "-A"], [*who, "commit", "-q", "-m", "x"]):
        subprocess.run(["git", *words], check=True, capture_output=True)
    commit = subprocess.check_output(["git", "rev-parse", "HEAD"], text=True)[:7]
    assert said(knarr("tag", "--auto", "busybox")) == f"busybox:1.4.2-{commit}\n"
    (folder / "new").touch()
    made = said(knarr("tag", "--auto", "busybox", "localhost:5000/team/box")).strip()
    assert made == f"localhost:5000/team/box:1.4.2-{commit}-dirty"
    assert said(knarr("images", "-q", made)) == said(knarr("images", "-q", "busybox:latest"))
    image = said(knarr("images", "-q", "busybox:latest")).strip()
    assert "is an image id" in refused(knarr("tag", "--auto", image), 1)
    assert "give box without one" in refused(knarr("tag", "--auto", image, "box:1"), 1)
    assert "no git repository" in refused(knarr("tag", "--auto", "--source", "/", "busybox"), 1)
    assert "--source is for --auto" in refused(knarr("tag", "--source", "/", "a", "b"), 1)
