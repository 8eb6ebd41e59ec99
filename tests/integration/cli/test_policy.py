"""What a policy refuses is one line that says which rule, where, and what to do; exit code 125."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.installations import Installation

NON_ROOT = "[containers]\nnon_root = true\n[limits]\npids = 50\n"


@pytest.fixture
def path(box: Installation) -> Path:
    """The path of a policy file for that installation."""
    path = Path(box.environment["KNARR_ROOT"]).with_name("policy.toml")
    box.environment["KNARR_POLICY"] = str(path)
    return path


def test_each_command_says_the_rule_and_ends_with_125(box: Installation, path: Path) -> None:
    path.write_text("")
    box.run("run", "-d", "--name", "old", "busybox", "sleep", "100")
    box.run("create", "--name", "two", "busybox", "sleep", "100")
    path.write_text(NON_ROOT)
    root = (
        f"refused by policy {path}, containers.non_root: the command would run as root: "
        "name another user with --user, such as --user 1000:1000\n"
    )
    pids = f"refused by policy {path}, limits.pids: set a limit with --pids-limit, of at most 50\n"
    for words, text in (
        (["run", "--rm", "busybox", "true"], f"knarr: {root}"),
        (["run", "--rm", "-u", "1000", "busybox", "true"], f"knarr: {pids}"),
        (["create", "-u", "root", "--pids-limit", "9", "busybox"], f"Error: {root}"),
        (["exec", "old", "true"], f"Error: {root}"),
        (["exec", "-u", "0", "old", "true"], f"Error: {root}"),
        (["start", "two"], f"Error: {root}"),
        (["start", "-a", "two"], f"Error: {root}"),
        (["update", "--pids-limit", "-1", "old"], f"Error: {pids}"),
        (["container", "clone", "old"], f"Error: {root}"),
    ):
        assert box.run(*words) == (125, b"", text.encode()), words
    assert box.run("exec", "-u", "7", "old", "id", "-u") == (0, b"7\n", b"")
    assert box.run("restart", "-t", "0", "old") == (125, b"", f"Error: {root}".encode())
    assert box.run("ps", "-aq")[1].count(b"\n") == 2
    box.run("rm", "-f", "old", "two")


def test_info_says_which_file_holds(box: Installation, path: Path) -> None:
    path.write_text(NON_ROOT)
    _, out, _ = box.run("info")
    assert f"Policy:\n  {path}\n".encode() in out
    path.chmod(0o622)
    _, out, err = box.run("info")
    assert f"Policy:\n  {path}\n".encode() in out
    assert f"WARNING: policy {path} cannot be trusted: others can write {path}".encode() in err
    code, _, err = box.run("run", "--rm", "-u", "7", "--pids-limit", "9", "busybox", "true")
    assert code == 125
    assert err.startswith(f"knarr: policy {path} cannot be trusted: ".encode())


def test_no_setting_takes_the_machines_policy_away(
    box: Installation, path: Path, tmp_path: Path
) -> None:
    """In a mount namespace where this machine has a policy."""
    path.write_text("")
    (tmp_path / "policy.toml").write_text(NON_ROOT)
    script = """
        mount -t tmpfs none "$1" && mkdir "$1/u" "$1/w"
        mount -t overlay none -o "lowerdir=/etc,upperdir=$1/u,workdir=$1/w" /etc || exit 77
        mkdir -m 755 -p /etc/knarr && cp "$2" /etc/knarr/policy.toml
        shift 2
        "$@" run --rm busybox true
        KNARR_POLICY= "$@" run --rm busybox true
        KNARR_POLICY="$KNARR_POLICY" "$@" create busybox
        "$@" --root "$KNARR_ROOT" run --rm busybox true
        "$@" run --rm --user 7 --pids-limit 9 busybox id -u
    """
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "--propagation", "private", "sh", "-c", script, "sh", str(scratch),
         str(tmp_path / "policy.toml"), box.program],
        env={**box.environment, "KNARR_SERVER": "off"}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    if done.returncode == 77:
        pytest.skip(f"no overlay above /etc: {done.stderr}")
    assert done.stdout == "7\n"
    lines = done.stderr.splitlines()
    assert len(lines) == 4, lines
    for line in lines:
        assert "refused by policy /etc/knarr/policy.toml, containers.non_root: " in line
