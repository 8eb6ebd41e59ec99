"""``save --since`` through a pipe, to a machine that has the base and to one that has not."""

import subprocess

from tests.conftest import Command


def said(done: subprocess.CompletedProcess[bytes], code: int = 0) -> str:
    assert done.returncode == code, (done.stdout + done.stderr).decode()
    return done.stdout.decode()


def test_only_the_new_layer_goes(knarr: Command) -> None:
    said(knarr("run", "--name", "maker", "busybox", "sh", "-c", "echo it >/new"))
    said(knarr("commit", "maker", "made:1"))
    said(knarr("rm", "maker"))
    whole = knarr("save", "made:1")
    delta = knarr("save", "--since", "busybox", "made:1")
    assert whole.returncode == delta.returncode == 0
    assert delta.stderr.startswith(b"Left out 1 layer (")
    assert len(delta.stdout) < 30_000 < len(whole.stdout)
    said(knarr("rmi", "made:1"))
    assert said(knarr("load", stdin=delta.stdout)) == "Loaded image: made:1\n"
    assert said(knarr("run", "--rm", "made:1", "cat", "/new")) == "it\n"
    assert knarr("save", "made:1").stdout == whole.stdout
    said(knarr("rmi", "made:1", "busybox"))
    refused = knarr("load", stdin=delta.stdout)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"was saved with --since busybox@sha256:" in refused.stderr
    assert said(knarr("images", "-q")) == ""
