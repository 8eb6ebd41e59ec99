"""create, start, stop, kill, rm, wait, ps, logs, exec, attach, inspect, cp, export, prune."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import stat
import tarfile
from pathlib import Path

from tests.support.installations import Installation
from tests.support.waiting import PATIENCE, wait_until


def test_create_start_wait_rm(box: Installation) -> None:
    container = box.run("create", "--name", "one", "busybox", "sh", "-c", "echo x; exit 3")[1]
    assert len(container) == 65
    assert box.run("ps", "-a", "--format", "{{.Status}}")[1] == b"Created\n"
    assert box.run("start", "one") == (0, b"one\n", b"")
    assert box.run("wait", "one") == (0, b"3\n", b"")
    assert re.fullmatch(
        rb"Exited \(3\) .* ago\n", box.run("ps", "-a", "--format", "{{.Status}}")[1]
    )
    assert box.run("start", "-a", "one")[:2] == (3, b"x\n")
    assert box.run("logs", "one") == (0, b"x\nx\n", b"")
    assert box.run("rm", "one", "two")[0] == 1
    assert box.run("ps", "-aq")[1] == b""


def test_a_failed_start_is_seen_by_inspect(box: Installation) -> None:
    assert box.run("create", "--name", "one", "busybox", "nope")[0] == 0
    assert box.run("start", "one")[0] != 0
    code, _, err = box.run("run", "-d", "--name", "two", "busybox", "nope")
    assert code == 127
    assert err.count(b"\n") == 1
    text = 'exec: "nope": executable file not found in $PATH'
    shown = "{{.State.Status}} {{.State.ExitCode}} {{.State.Error}}"
    for name in ("one", "two"):
        found = box.run("inspect", "--format", shown, name)
        assert found == (0, f"created 127 {text}\n".encode(), b"")
    assert box.run("ps", "-a", "--format", "{{.Status}}")[1] == b"Created\nCreated\n"


def test_start_attached_with_stdin(box: Installation) -> None:
    box.run("create", "-i", "--name", "one", "busybox", "cat")
    assert box.run("start", "-ai", "one", input=b"abc") == (0, b"abc", b"")
    box.run("rm", "one")


def test_stop_kill_and_running_rm(box: Installation) -> None:
    box.run("run", "-d", "--init", "--name", "one", "busybox", "sleep", "60")
    code, _, err = box.run("rm", "one")
    assert code == 1
    assert b"cannot remove container" in err
    assert box.run("stop", "-t", "20", "one") == (0, b"one\n", b"")
    assert box.run("stop", "one") == (0, b"one\n", b"")
    assert box.run("inspect", "-f", "{{.State.ExitCode}}", "one")[1] == b"143\n"
    box.run("start", "one")
    assert box.run("start", "one") == (0, b"one\n", b"")
    assert box.run("kill", "-s", "KILL", "one") == (0, b"one\n", b"")
    wait_until(lambda: box.run("inspect", "-f", "{{.State.Status}}", "one")[1] == b"exited\n")
    code, _, err = box.run("kill", "one")
    assert code == 1
    assert b"is not running" in err
    assert box.run("rm", "-fv", "one") == (0, b"one\n", b"")
    code, out, err = box.run("rm", "-f", "one")
    assert (code, out) == (0, b"")
    assert err == b"Error: No such container: one\n"


def test_ps(box: Installation) -> None:
    for name in ("one", "two"):
        box.run("create", "--name", name, "-l", f"n={name}", "busybox", "sleep", "a b", "c")
    table = box.run("ps", "-a")[1].decode().splitlines()
    assert table[0].split() == [
        "CONTAINER", "ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES",
    ]  # fmt: skip
    assert [line.split()[-1] for line in table[1:]] == ["two", "one"]
    assert '"sleep a b c"' in table[1]
    assert box.run("ps", "-q")[1] == b""
    assert len(box.run("container", "ls", "-aq", "--no-trunc")[1].split()[0]) == 64
    assert box.run("ps", "-a", "-f", "label=n=one", "--format", "{{.Names}}")[1] == b"one\n"
    assert box.run("ps", "-l", "--format", "{{.Names}}")[1] == b"two\n"
    rows = [json.loads(line) for line in box.run("ps", "-a", "--format", "json")[1].splitlines()]
    assert [row["Labels"] for row in rows] == ["n=two", "n=one"]
    assert b"virtual" in box.run("ps", "-as")[1]
    removed = box.run("container", "prune", "-f")[1].decode().splitlines()
    assert removed[0] == "Deleted Containers:"
    assert len(removed) == 5
    assert removed[-1].startswith("Total reclaimed space: ")


def test_logs(box: Installation) -> None:
    script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done"
    box.run("run", "--name", "one", "busybox", "sh", "-c", script)
    code, out, err = box.run("logs", "one")
    assert (code, out, err) == (0, b"out1\nout2\nout3\n", b"err1\nerr2\nerr3\n")
    last = b"".join(box.run("logs", "-n", "2", "one")[1:]).split()  # who was read last may vary
    assert set(last) in ({b"out3", b"err3"}, {b"out2", b"out3"}, {b"err2", b"err3"})
    stamped = box.run("logs", "-t", "one")[1].decode().splitlines()
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z out1", stamped[0])
    assert box.run("logs", "--since", "1h", "one")[1] == out
    assert box.run("logs", "--until", "1h", "one")[1] == b""
    code, _, err = box.run("logs", "--since", "yesterday", "one")
    assert code == 1
    assert b"neither a time nor a duration" in err
    box.run("rm", "one")


def test_logs_follow_until_the_end(box: Installation) -> None:
    box.run("run", "-d", "--init", "--name", "one", "busybox", "sh", "-c", "echo a; exec sleep 60")
    process = box.start("logs", "-f", "one")
    assert process.stdout is not None
    assert process.stdout.readline() == b"a\n"
    box.run("stop", "-t", "5", "one")
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == 0
    box.run("rm", "one")


def test_an_interrupted_follow_ends_alone(box: Installation) -> None:
    box.run("run", "-d", "--name", "one", "busybox", "sh", "-c", "echo a; exec sleep 60")
    process = box.start("logs", "-f", "one")
    assert process.stdout is not None
    assert process.stdout.readline() == b"a\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=PATIENCE) == (b"", b"")
    assert process.returncode == -signal.SIGINT
    assert box.run("ps", "--format", "{{.Names}}")[1] == b"one\n"
    box.run("rm", "-f", "one")


def test_exec(box: Installation) -> None:
    box.run("run", "-d", "--name", "one", "-e", "A=1", "busybox", "sleep", "60")
    assert box.run("exec", "one", "sh", "-c", "echo $A; exit 4") == (4, b"1\n", b"")
    assert box.run("exec", "-i", "one", "cat", input=b"abc") == (0, b"abc", b"")
    code, out, _ = box.run(
        "exec", "-e", "B=2", "-u", "7:8", "-w", "/usr", "one", "sh", "-c", "echo $B; id -u; pwd"
    )
    assert (code, out) == (0, b"2\n7\n/usr\n")
    assert box.run("exec", "one", "nope")[0] == 127
    assert box.run("exec", "one", "/etc")[0] == 126
    for place, why in (("/nope", b"No such file"), ("/etc/passwd", b"Not a directory")):
        code, out, err = box.run("exec", "-w", place, "one", "true")
        assert (code, out, err.count(b"\n")) == (126, b"", 1)
        assert b'working directory "' + place.encode() + b'": ' + why in err
    assert box.run("exec", "one", "mkdir", "-m", "700", "/mine")[0] == 0
    assert box.run("exec", "-u", "7", "-w", "/mine", "one", "true")[0] == 126
    code, _, err = box.run("exec", "-w", "srv", "one", "true")
    assert (code, b"Cwd must be an absolute path" in err) == (126, True)
    assert box.run("exec", "-it", "one", "sh")[0] == 1
    assert box.run("exec", "-d", "one", "touch", "/made") == (0, b"", b"")
    wait_until(lambda: box.run("exec", "one", "test", "-e", "/made")[0] == 0)
    box.run("kill", "one")
    code, _, err = box.run("exec", "one", "true")
    assert code == 1
    assert b"is not running" in err
    box.run("rm", "-f", "one")


def test_attach(box: Installation) -> None:
    script = "while read line; do echo got $line; done; exit 6"
    box.run("run", "-d", "-i", "--name", "one", "busybox", "sh", "-c", script)
    assert box.run("attach", "one", input=b"x\ny\n") == (6, b"got x\ngot y\n", b"")
    code, _, err = box.run("attach", "one")
    assert code == 1
    assert b"cannot attach to a stopped container" in err
    box.run("rm", "one")


def test_inspect(box: Installation) -> None:
    box.run("create", "--name", "one", "--memory", "64m", "busybox", "true")
    value = json.loads(box.run("inspect", "one", "busybox")[1])
    assert value[0]["Name"] == "/one"
    assert value[0]["HostConfig"]["Memory"] == 64 << 20
    assert value[1]["RepoTags"] == ["busybox:latest"]
    code, out, err = box.run("inspect", "one", "nothing")
    assert code == 1
    assert len(json.loads(out)) == 1
    assert err == b"Error: No such object: nothing\n"
    assert box.run("inspect", "-f", "{{json .Args}} {{.Path}}", "one")[1] == b"[] true\n"
    assert box.run("inspect", "--type", "image", "one")[0] == 1
    assert "SizeRootFs" in json.loads(box.run("container", "inspect", "-s", "one")[1])[0]
    box.run("rm", "one")


def test_cp(box: Installation, tmp_path: Path) -> None:
    (tmp_path / "dir" / "sub").mkdir(parents=True)
    (tmp_path / "dir" / "sub" / "file").write_text("text")
    box.run("create", "--name", "one", "busybox", "true")
    for destination, found in (("/new", "new/sub/file"), ("/", "dir/sub/file")):
        assert box.run("cp", str(tmp_path / "dir"), f"one:{destination}")[0] == 0
        out = box.run("cp", f"one:/{found}", "-")[1]
        with tarfile.open(fileobj=io.BytesIO(out)) as archive:
            member = archive.next()
            assert member is not None
            assert (member.name, member.size, member.uid) == ("file", 4, 0)
    assert box.run("cp", "one:/new/sub/file", str(tmp_path / "copy"))[0] == 0
    assert (tmp_path / "copy").read_text() == "text"
    assert box.run("cp", "one:/new/.", str(tmp_path / "made"))[0] == 0
    assert (tmp_path / "made" / "sub" / "file").exists()
    code, _, err = box.run("cp", "one:/none", str(tmp_path))
    assert code == 1
    assert err == b"Error: Could not find the file /none in container one\n"
    assert box.run("cp", "a", "b")[0] == 1
    box.run("rm", "one")


def test_cp_keeps_owners_and_follows_links_when_asked(box: Installation, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("text")
    os.chown(tmp_path / "file", 1234, 5678)
    (tmp_path / "link").symlink_to("file")
    box.run("run", "-d", "--name", "one", "busybox", "sleep", "1000")
    owner = ("exec", "one", "stat", "-c", "%u:%g %F")
    assert box.run("cp", "-a", str(tmp_path / "file"), "one:/kept")[0] == 0
    assert box.run(*owner, "/kept")[1] == b"1234:5678 regular file\n"
    assert box.run("cp", str(tmp_path / "file"), "one:/given")[0] == 0
    assert box.run(*owner, "/given")[1] == b"0:0 regular file\n"
    assert box.run("cp", str(tmp_path / "link"), "one:/link")[0] == 0
    assert box.run(*owner, "/link")[1] == b"0:0 symbolic link\n"
    assert box.run("cp", "-L", str(tmp_path / "link"), "one:/followed")[0] == 0
    assert box.run(*owner, "/followed")[1] == b"0:0 regular file\n"
    assert box.run("cp", "-aL", "one:/link", str(tmp_path / "back"))[0] == 1  # leads nowhere
    assert box.run("exec", "one", "ln", "-sf", "kept", "/link")[0] == 0
    assert box.run("cp", "-aL", "one:/link", str(tmp_path / "back"))[0] == 0
    found = (tmp_path / "back").lstat()
    assert (found.st_uid, found.st_gid, stat.S_ISREG(found.st_mode)) == (1234, 5678, True)
    assert box.run("rm", "-f", "one")[0] == 0


def test_cp_takes_a_tar_from_stdin(box: Installation) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        for name in ("in/file", "../../outside"):
            member = tarfile.TarInfo(name)
            member.size, member.uid = 4, 7
            archive.addfile(member, io.BytesIO(b"text"))
    box.run("create", "--name", "one", "busybox", "true")
    code, _, err = box.run("cp", "-", "one:/tmp", input=made.getvalue())
    assert code == 1, err
    assert b"outside" in err
    assert box.run("cp", "one:/tmp/in/file", "-")[0] == 0
    assert box.run("cp", "one:/outside", "-")[0] == 1
    assert box.run("cp", "-", "one:/none", input=made.getvalue())[0] == 1
    assert box.run("rm", "one")[0] == 0


def test_cp_follows_no_link_out_of_the_container(box: Installation, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    box.run("run", "--name", "one", "busybox", "ln", "-s", str(tmp_path), "/link")
    assert box.run("cp", f"one:/link/{secret.name}", str(tmp_path / "got"))[0] == 1
    (tmp_path / "evil").write_text("x")
    box.run("cp", str(tmp_path / "evil"), "one:/link")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["evil", "secret"]
    box.run("rm", "one")


def test_export_and_import(box: Installation, tmp_path: Path) -> None:
    box.run("run", "--name", "one", "busybox", "sh", "-c", "echo mark > /mark")
    tar = tmp_path / "root.tar"
    assert box.run("export", "-o", str(tar), "one")[0] == 0
    assert box.run("rm", "one")[0] == 0
    code, out, _ = box.run("import", "-c", 'CMD ["cat", "/mark"]', str(tar), "mine:1")
    assert code == 0
    assert out.startswith(b"sha256:")
    assert box.run("run", "--rm", "mine:1") == (0, b"mark\n", b"")
    assert box.run("import", "-", "mine:2", input=tar.read_bytes())[0] == 0


def test_recover_has_nothing_to_do(box: Installation) -> None:
    box.run("run", "-d", "--name", "one", "busybox", "sleep", "60")
    assert box.run("recover") == (0, b"", b"")
    assert box.run("ps", "--format", "{{.State}}")[1] == b"running\n"
    box.run("rm", "-f", "one")


def test_the_server_may_die_under_a_running_command(box: Installation) -> None:
    process = box.start("run", "--rm", "-i", "busybox", "cat")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"a\n")
    process.stdin.flush()
    assert process.stdout.readline() == b"a\n"
    signal.pidfd_send_signal(_pidfd(box.server_pid()), signal.SIGKILL)
    process.stdin.write(b"b\n")
    process.stdin.close()
    assert process.stdout.read() == b"b\n"
    assert process.wait(PATIENCE) == 0
    process.stdin = None
    process.communicate(timeout=PATIENCE)


def _pidfd(pid: int) -> int:
    import os

    return os.pidfd_open(pid)
