"""run: output, stdin, exit codes, flags, and what is left afterwards."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from knarr.kernel import mounts
from tests.support.installations import Installation
from tests.support.waiting import PATIENCE, wait_until


@contextmanager
def bound(source: str, target: Path) -> Iterator[None]:
    """Show a directory of the host at another place while the block runs."""
    mounts.mount(source, str(target), "", mounts.MS_BIND, "")
    try:
        yield
    finally:
        mounts.umount2(str(target), mounts.MNT_DETACH)


def test_hello(box: Installation) -> None:
    assert box.run("run", "--rm", "busybox", "echo", "hi") == (0, b"hi\n", b"")
    assert box.run("run", "--rm", "busybox", "echo", "hi", KNARR_SERVER="off") == (0, b"hi\n", b"")
    assert box.run("ps", "-aq") == (0, b"", b"")


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (("sh", "-c", "exit 7"), 7),
        (("sh", "-c", "kill -TERM $$; sleep 60"), 128 + 15),
        (("sh", "-c", "kill -KILL $$"), 128 + 9),
    ],
)
def test_exit_codes_of_the_command(box: Installation, command: tuple[str, ...], code: int) -> None:
    # Process 1 ignores signals without a handler, so the shell is a child of an init here.
    assert box.run("run", "--rm", "--init", "busybox", *command)[0] == code


def test_stdin_goes_in_and_ends(box: Installation) -> None:
    assert box.run("run", "--rm", "-i", "busybox", "cat", input=b"hi\n") == (0, b"hi\n", b"")
    assert box.run("run", "--rm", "busybox", "cat", input=b"hi\n") == (0, b"", b"")


def test_bytes_pass_untouched_both_ways(box: Installation) -> None:
    data = secrets.token_bytes(3 << 20)
    code, out, err = box.run("run", "--rm", "-i", "busybox", "cat", input=data)
    assert (code, err) == (0, b"")
    assert hashlib.sha256(out).digest() == hashlib.sha256(data).digest()


def test_stdout_and_stderr_stay_apart(box: Installation) -> None:
    script = "echo out; echo err >&2"
    assert box.run("run", "--rm", "busybox", "sh", "-c", script) == (0, b"out\n", b"err\n")
    assert box.run("run", "--rm", "-a", "stderr", "busybox", "sh", "-c", script)[1:] == (
        b"", b"err\n",
    )  # fmt: skip


def test_warnings_are_lines_on_stderr(box: Installation, tmp_path: Path) -> None:
    """Also for a name that would move the cursor."""
    folder = tmp_path / "a\nb\x1b[2J"
    folder.mkdir()
    with bound("/sys/kernel", folder):
        words = ("run", "--rm", "--name", "one", "-v", f"{folder}:/seen", "busybox", "true")
        for code, out, err in (box.run(*words), box.run(*words, KNARR_SERVER="off")):
            assert (code, out) == (0, b"")
            assert err.startswith(b"WARNING: container one: ")
            assert err.endswith(
                b"/a?b?[2J: its file system has no id-mapped mounts, "
                b"so files on /seen belong to nobody inside the container\n"
            )
            assert err.count(b"\n") == 1


def test_flags_reach_the_container(box: Installation, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    (tmp_path / "file").write_text("from the host")
    script = (
        "hostname; pwd; id -u; id -g; echo $A $B; cat /mnt/file; echo; "
        "touch /x 2>&1; touch /mnt/y 2>&1; df -k /t | tail -1 | awk '{print $2}'"
    )
    code, out, _ = box.run(
        "run", "--rm", "-h", "host1", "-w", "/usr", "-u", "1000:1001", "-e", "A=1", "-e", "B",
        "-v", f"{tmp_path}:/mnt:ro", "--read-only", "--tmpfs", "/t:size=1m", "busybox", "sh",
        "-c", script, B="2",
    )  # fmt: skip
    assert out.decode().splitlines() == [
        "host1", "/usr", "1000", "1001", "1 2", "from the host",
        "touch: /x: Read-only file system", "touch: /mnt/y: Read-only file system", "1024",
    ]  # fmt: skip
    assert code == 0


def test_detached(box: Installation) -> None:
    code, out, err = box.run("run", "-d", "--name", "web", "-l", "tier=x", "busybox", "sleep", "60")
    assert (code, err) == (0, b"")
    container = out.decode().strip()
    assert len(container) == 64
    assert box.run("ps", "--format", "{{.ID}} {{.Names}} {{.Image}} {{.State}}")[1].decode() == (
        f"{container[:12]} web busybox running\n"
    )
    assert box.run("rm", "-f", "web") == (0, b"web\n", b"")


def test_cidfile(box: Installation, tmp_path: Path) -> None:
    file = tmp_path / "cid"
    box.run("run", "--rm", "--cidfile", str(file), "busybox", "true")
    assert len(file.read_text()) == 64
    code, _, err = box.run("run", "--rm", "--cidfile", str(file), "busybox", "true")
    assert code == 125
    assert b"container ID file found" in err
    missing = tmp_path / "cid2"
    box.run("run", "--cidfile", str(missing), "nothing")
    assert not missing.exists()


def test_signals_reach_the_container(box: Installation) -> None:
    script = "trap 'echo got; exit 9' TERM; echo ready; while :; do sleep 0.1; done"
    process = box.start("run", "--rm", "busybox", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (9, b"got\n", b"")


def test_a_killed_command_leaves_the_container_running(box: Installation) -> None:
    process = box.start("run", "--name", "web", "busybox", "sh", "-c", "echo ready; exec sleep 60")
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: not box.workers())
    assert box.run("ps", "--format", "{{.Names}} {{.State}}")[1] == b"web running\n"
    assert box.run("logs", "web")[1] == b"ready\n"
    box.run("rm", "-f", "web")


def test_rm_is_done_though_nobody_waits(box: Installation) -> None:
    script = "echo ready; read line < /f/fifo"
    folder = box.run_root.parent / "f"
    folder.mkdir(mode=0o777)
    os.mkfifo(folder / "fifo", 0o666)
    os.chmod(folder / "fifo", 0o666)
    process = box.start("run", "--rm", "-v", f"{folder}:/f", "busybox", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process.kill()
    process.communicate(timeout=PATIENCE)
    (folder / "fifo").write_text("go\n")
    wait_until(lambda: box.run("ps", "-aq")[1] == b"")


def test_a_reader_that_leaves_ends_the_command_not_the_container(box: Installation) -> None:
    script = "while echo line; do :; done; sleep 60"
    process = box.start("run", "--name", "web", "busybox", "sh", "-c", script)
    assert process.stdout is not None
    assert process.stdout.readline() == b"line\n"
    process.stdout.close()
    assert process.wait(PATIENCE) == -signal.SIGPIPE
    process.stdout = None
    process.communicate(timeout=PATIENCE)
    assert box.run("ps", "--format", "{{.Names}}")[1] == b"web\n"
    box.run("rm", "-f", "web")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("run", "--pull", "never", "nothing"), 125, "knarr: No such image: nothing:latest"),
        (("run", "--rm", "busybox", "nope"), 127, 'exec: "nope": executable file not found'),
        (("run", "--rm", "busybox", "/etc"), 126, "/etc"),
        (("run", "--rm", "-m", "x", "busybox"), 125, 'invalid argument "x" for "-m, --memory"'),
        (("run", "-p", "80:x", "busybox"), 125, "invalid containerPort: x"),
        (("run", "--rm", "--network", "web", "busybox"), 125, "network web not found"),
        (("run", "-v", "/nowhere/x", "busybox"), 125, "anonymous volumes"),
        (("run", "-w", "srv", "busybox"), 125, "absolute path"),
        (("run", "--rm", "-w", "/etc/passwd", "busybox"), 125, '"/etc/passwd": Not a directory'),
        (
            ("run", "--rm", "--tmpfs", "/m:mode=700", "-u", "7", "-w", "/m", "busybox"),
            126,
            '"/m": Permission denied',
        ),
        (("run", "--pull", "sometimes", "busybox"), 125, "invalid pull option: 'sometimes'"),
        (("run", "--name", "-bad-", "busybox"), 125, "Invalid container name (-bad-)"),
        (("run", "-it", "busybox"), 1, "the input device is not a TTY"),
        (("run", "-d", "-a", "stdout", "busybox"), 1, "conflicting options"),
        (
            ("run", "-v", "/etc/passwd:/proc", "busybox"),
            125,
            '"/etc/passwd" cannot be mounted on "/proc"',
        ),
        (("run", "--cap-add", "FLY", "busybox"), 125, "FLY"),
        (("run", "--security-opt", "seccomp=/no", "busybox"), 125, "/no"),
        (("run", "--stop-signal", "NOPE", "busybox"), 125, "NOPE"),
        (("run",), 1, "'knarr run' requires at least 1 argument"),
        (("start", "nothing"), 1, "Error: No such container: nothing"),
        (("rm", "nothing"), 1, "Error: No such container: nothing"),
        (("logs", "nothing"), 1, "Error: No such container: nothing"),
        (("exec", "nothing", "true"), 1, "Error: No such container: nothing"),
        (("inspect", "nothing"), 1, "Error: No such object: nothing"),
        (("rmi", "nothing"), 1, "Error: No such image: nothing"),
        (("image", "inspect", "nothing"), 1, "Error: No such image: nothing"),
        (("ps", "-f", "nope=1"), 1, "invalid filter 'nope'"),
        (("image", "ls", "--format", "{{.Nope}}"), 1, 'map has no entry for key "Nope"'),
        (("load", "-i", "/nowhere"), 1, "/nowhere"),
        (("cp", "nothing:/x", "."), 1, "No such container: nothing"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    box: Installation, words: tuple[str, ...], code: int, message: str
) -> None:
    got, _, err = box.run(*words)
    text = err.decode()
    assert got == code, text
    assert message in text
    assert "Traceback" not in text
    assert len(text.split("\n\n", 1)[0].strip().splitlines()) == 1
    if words[0] == "run":
        assert box.run("ps", "-aq")[1] == b""


def test_what_does_not_start_has_said_its_id(box: Installation, tmp_path: Path) -> None:
    """It is there to be looked at, so the caller knows which it is, as with Docker."""
    file = tmp_path / "id"
    code, out, err = box.run("run", "-d", "--cidfile", str(file), "busybox", "nope")
    assert (code, err.count(b"\n")) == (127, 1)
    assert out.decode() == file.read_text() + "\n"
    form = "{{.State.Status}} {{.HostConfig.ContainerIDFile}}"
    assert box.run("inspect", "-f", form, out.decode().strip())[1].decode() == f"created {file}\n"
    assert box.run("rm", out.decode().strip())[0] == 0
    code, out, _ = box.run("run", "--rm", "-d", "busybox", "nope")
    assert (code, len(out)) == (127, 65)
    code, out, _ = box.run("run", "--rm", "-a", "stdin", "-i", "busybox", "nope")
    assert (code, len(out)) == (127, 65)
    assert box.run("run", "--rm", "busybox", "nope")[:2] == (127, b"")
    assert box.run("ps", "-aq")[1] == b""


def test_a_name_in_use(box: Installation) -> None:
    box.run("create", "--name", "one", "busybox")
    code, _, err = box.run("run", "--name", "one", "busybox")
    assert code == 125
    assert b'The container name "/one" is already in use' in err
    assert err.count(b"\n") == 1
    assert box.run("rm", "one")[0] == 0
