"""Output, input, terminals and clients of a supervisor."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
from pathlib import Path

import pytest

from knarr.supervisor import log as logs
from knarr.supervisor import rundir
from knarr.supervisor.client import LaunchFailed
from tests.support.launch import Box
from tests.support.waiting import wait_until

MIB = 1 << 20


def private_memory(pid: int) -> int:
    """Return bytes that only this process uses (proc(5), smaps_rollup)."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024


def logged(path: Path) -> bytes:
    return b"".join(data for _, _, data in logs.read_records(str(path)))


def test_both_streams_and_the_exit_code(box: Box) -> None:
    done = box.run("sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.out, done.err, done.code) == (b"out\n", b"err\n", 3)
    assert done.report["status"] == "exited"
    assert done.report["error"] == ""
    assert done.report["finished_at"] > done.report["started_at"]


def test_killed_by_a_signal_is_137(box: Box) -> None:
    one = box.start("sleep", "1000")
    assert one.kill().code == 137


@pytest.mark.parametrize(
    ("command", "kind", "text"),
    [
        ("nope", "not-found", "executable file not found in $PATH"),
        ("/nope", "not-found", "no such file or directory"),
        ("/etc/passwd", "not-executable", "permission denied"),
        ("/etc", "not-executable", "is a directory"),
        ("/bin/script", "not-found", "no such file or directory"),
        ("/bin/empty", "not-executable", "exec format error"),
    ],
)
def test_what_cannot_be_executed(box: Box, command: str, kind: str, text: str) -> None:
    layer = box.layer()
    (layer / "bin").mkdir()
    for name, content in (("script", "#!/no/interpreter\n"), ("empty", "")):
        (layer / "bin" / name).write_text(content)
        (layer / "bin" / name).chmod(0o755)
    with pytest.raises(LaunchFailed) as caught:
        box.run(command, layers=(layer,))
    assert caught.value.kind == kind
    assert command in caught.value.message
    assert text in caught.value.message


def test_binary_output_arrives_exactly(box: Box) -> None:
    one = box.start(
        "sh", "-c", "dd if=/dev/urandom of=/r bs=1M count=9 2>/dev/null; cat /r; sha256sum /r >&2"
    )
    done = one.exit()
    assert len(done.out) == 9 * MIB
    assert hashlib.sha256(done.out).hexdigest() == done.err.split()[0].decode()
    assert b"".join(d for s, _, d in logs.read_records(str(one.log)) if s == 1) == done.out


def test_input_arrives_exactly_and_ends(box: Box) -> None:
    one = box.start("sha256sum", stdin=True)
    client = one.client
    assert client is not None
    data = os.urandom(3 * MIB)
    sent = 0
    while sent < len(data):
        if sent - client.consumed < 256 * 1024:
            client.send(b"i", data[sent : sent + 60000])
            sent += len(data[sent : sent + 60000])
        else:
            client.packet()
    client.send(b"c")
    assert one.exit().out.split()[0].decode() == hashlib.sha256(data).hexdigest()
    assert client.consumed == len(data)


def test_without_input_it_reads_nothing(box: Box) -> None:
    assert box.run("cat").out == b""


def test_input_after_the_container_closed_its_end_is_dropped(box: Box) -> None:
    one = box.start("sh", "-c", "exec <&-; echo closed; exec sleep 1000", stdin=True)
    one.until(b"closed")
    client = one.client
    assert client is not None
    for _ in range(20):
        client.send(b"i", b"x" * 60000)
    while client.consumed < 20 * 60000:
        assert client.packet()[0]
    assert one.kill().code == 137


def test_the_standard_streams_can_be_opened_by_name(box: Box) -> None:
    for user in ("", "alice"):
        done = box.run(
            "sh",
            "-c",
            "echo a >/dev/stdout; echo b >/dev/stderr",
            edit=lambda s, u=user: s["process"]["user"].update({"x-knarr-name": u}),
        )
        assert (done.out, done.err) == (b"a\n", b"b\n")


def test_a_terminal(box: Box) -> None:
    script = (
        "tty; stty size; [ -c /dev/console ] && echo console;"
        "until [ \"$(stty size)\" = '40 100' ]; do :; done; exit 4"
    )
    one = box.start(
        "sh",
        "-c",
        script,
        tty=True,
        edit=lambda s: s["process"].update(consoleSize={"height": 24, "width": 80}),
    )
    one.until(b"console")
    client = one.client
    assert client is not None
    assert client.hello["tty"] is True
    client.send(b"r", b"[40,100]")
    done = one.exit()
    assert done.code == 4
    assert done.out.replace(b"\r", b"").split()[:3] == [b"/dev/pts/0", b"24", b"80"]


def test_more_input_than_a_terminal_takes_at_once(box: Box) -> None:
    """The reader begins late, so that the terminal is full for a while."""
    size = 600_000
    script = f"stty raw -echo; echo go; until [ -e /now ]; do :; done; head -c {size} | sha256sum"
    one = box.start("sh", "-c", script, tty=True)
    one.until(b"go")
    client = one.client
    assert client is not None
    data = os.urandom(size)
    for start in range(0, 240_000, 60_000):
        client.send(b"i", data[start : start + 60_000])
    before = _cpu(one.supervisor)
    assert one.run("sh", "-c", "sleep 0.3; touch /now") == (0, b"")
    assert _cpu(one.supervisor) - before < 10, "the supervisor spins while the terminal is full"
    sent = 240_000
    while sent < size:
        if sent - client.consumed < 256 * 1024:
            client.send(b"i", data[sent : sent + 60_000])
            sent += len(data[sent : sent + 60_000])
        else:
            assert client.packet()[0]
    assert hashlib.sha256(data).hexdigest().encode() in one.exit().out


def _cpu(pid: int) -> int:
    """Return the processor time of a process in ticks of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_a_client_that_never_reads_blocks_nothing(box: Box) -> None:
    """200 MB pass by; container and supervisor do not wait for it, and nothing is kept for it."""
    one = box.start(
        "sh", "-c", "dd if=/dev/zero bs=1M count=200 2>/dev/null; echo done >/end; exec sleep 1000"
    )
    wait_until(lambda: one.run("test", "-e", "/end")[0] == 0)
    wait_until(lambda: one.log.stat().st_size >= 200 * MIB)
    memory = private_memory(one.supervisor)
    assert memory < 4 * MIB, memory
    # What it missed is there for it once it reads.
    client = one.client
    assert client is not None
    while len(client.out) < 200 * MIB:
        assert client.packet()[0]
    assert not client.out.strip(b"\0")
    one.kill()


def test_a_client_that_never_reads_does_not_keep_the_supervisor(box: Box) -> None:
    one = box.start("dd", "if=/dev/zero", "bs=1M", "count=8", attach=False)
    one.attach()
    wait_until(lambda: not rundir.is_locked(str(one.run_dir)))
    assert one.state["exit_code"] == 0


def test_a_client_that_lags_and_leaves_harms_nobody(box: Box) -> None:
    one = box.start(
        "sh",
        "-c",
        "dd if=/dev/zero bs=1M count=8 2>/dev/null; echo >/end; cat",
        stdin=True,
        attach=False,
    )
    second = one.attach()
    for lagging in (one.attach(), one.attach()):
        wait_until(lambda: one.run("test", "-e", "/end")[0] == 0)
        lagging.close()
    second.send(b"i", b"hello")
    second.send(b"c")
    done = second.exit()
    assert done.code == 0
    assert done.out.endswith(b"hello")


def test_without_a_log_a_client_that_does_not_read_holds_the_container(box: Box) -> None:
    """There is nowhere to keep the output, as with a pipe."""
    one = box.start("dd", "if=/dev/zero", "bs=1M", "count=50", log=False)
    client = one.client
    assert client is not None
    client.packet()
    wait_until(lambda: b"pipe_write" in _stack(one.pid) or _sleeping(one.pid))
    assert private_memory(one.supervisor) < 4 * MIB
    assert len(one.exit().out) == 50 * MIB


def _stack(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/wchan").read_bytes()
    except OSError:
        return b""


def _sleeping(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "S"


def test_two_clients_and_a_late_one(box: Box) -> None:
    one = box.start("sh", "-c", "echo early; read x; echo late $x", stdin=True)
    second = one.attach()
    while not second.hello:
        second.packet()
    one.until(b"early")
    second.send(b"i", b"word\n")
    done = one.exit()
    assert done.out == b"early\nlate word\n"
    assert second.exit().out.endswith(b"late word\n")
    assert one.log.exists()


def test_who_attaches_to_an_ended_container_hears_how(box: Box) -> None:
    one = box.start("sh", "-c", "sleep 0.05; exit 9")
    clients = [one.attach() for _ in range(5)]
    assert {client.exit().code for client in clients} == {9}


def test_signals_from_a_client(box: Box) -> None:
    one = box.start("sh", "-c", "trap 'echo got; exit 6' TERM; echo go; while :; do sleep 1; done")
    one.until(b"go")
    assert one.client is not None
    one.client.send(b"k", b"15")
    done = one.exit()
    assert (done.code, done.out) == (6, b"go\ngot\n")


def test_the_owners_departure_kills_the_container(box: Box) -> None:
    one = box.start("sleep", "1000", kill_on_hangup=True)
    assert one.client is not None
    one.client.close()
    wait_until(lambda: one.state["status"] == "exited")
    assert one.state["exit_code"] == 137


def test_another_clients_departure_does_not(box: Box) -> None:
    one = box.start("sh", "-c", "cat; exit 5", stdin=True, attach=False)
    first, second = one.attach(), one.attach()
    first.close()
    second.send(b"c")
    assert second.exit().code == 5


def test_the_owner_may_leave_after_the_exit(box: Box) -> None:
    """Its number may mean another process by then: nothing may be killed."""
    one = box.start("true", kill_on_hangup=True, on_exit=["/bin/true"])
    assert one.client is not None
    while one.client.packet()[0] != b"x":
        continue
    one.client.close()
    wait_until(lambda: not rundir.is_locked(str(one.run_dir)))
    assert not Path(f"/proc/{one.pid}").exists()


def test_nonsense_closes_the_connection_and_nothing_else(box: Box) -> None:
    one = box.start("sh", "-c", "cat; exit 5", stdin=True)
    junk = (
        b"",
        b"?",
        b"r",
        b"r[1]",
        b'r{"a":1}',
        b"r[99999,1]",
        b"rxx",
        b"k",
        b"k-1",
        b"kx",
        b"k999",
        b"k" + b"9" * 5000,
        b"r" + b"[" * 60000,
        b"x",
        b"s" * 65537,
        b"i" + b"z" * 100_000,
        b"\0" * 100,
    )
    for packet in junk:
        client = one.attach()
        try:
            client.sock.send(packet)
            client.sock.shutdown(socket.SHUT_WR)
        except OSError:
            continue
        try:
            while client.packet()[0]:
                continue
        except ConnectionResetError:
            continue  # it closed before it read the hello's answer
    assert one.client is not None
    one.client.send(b"c")
    assert one.exit().code == 5


def test_descriptors_sent_to_a_supervisor_are_dropped(box: Box) -> None:
    one = box.start("cat", stdin=True)
    client = one.attach()
    while not client.hello:
        client.packet()
    before = len(os.listdir(f"/proc/{one.supervisor}/fd"))
    for _ in range(20):
        socket.send_fds(client.sock, [b"i."], [0, 1, 2] * 20)
    while client.consumed < 20:
        client.packet()
    assert len(os.listdir(f"/proc/{one.supervisor}/fd")) == before
    one.kill()


def test_a_full_disk_under_the_log(box: Box) -> None:
    """The container goes on and the report says what is missing."""
    folder = box.folder("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", folder], check=True)
    try:
        request = box.request("sh", "-c", "dd if=/dev/zero bs=1M count=5 2>/dev/null; exit 3")
        request["log"] = str(folder / "log")
        one = box.send(request)
        done = one.exit()
        assert done.code == 3
        assert MIB // 2 < len(done.out) <= 5 * MIB
        assert "log lacks" in done.report["error"]
        records = list(logs.read_records(request["log"]))
        whole = sum(logs.record_size(len(data)) for _, _, data in records)
        assert Path(request["log"]).stat().st_size == whole
        one.settled()
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_under_the_run_directory(box: Box) -> None:
    """State that cannot be written whole is not written: the file is the old one or the new."""
    folder = box.folder("small")
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", folder], check=True)
    try:
        request = box.request("sh", "-c", "cat; exit 3", stdin=True)
        run_dir = folder / "c"
        run_dir.mkdir(mode=0o700)
        request["run_dir"] = str(run_dir)
        one = box.send(request)
        with open(folder / "fill", "wb") as file:
            try:
                while file.raw.write(b"x" * 4096):
                    continue
            except OSError:
                pass
        assert one.client is not None
        one.client.send(b"c")
        done = one.exit()
        assert done.code == 3
        assert json.loads((run_dir / "state.json").read_text())["status"] in ("running", "exited")
        wait_until(lambda: not rundir.is_locked(str(run_dir)))
        box.running.remove(one)
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_the_supervisor_is_not_stopped_by_a_terminals_signals(box: Box) -> None:
    one = box.start("sh", "-c", "cat; exit 5", stdin=True)
    for number in (signal.SIGHUP, signal.SIGINT):
        os.kill(one.supervisor, number)
    assert one.client is not None
    one.client.send(b"c")
    assert one.exit().code == 5


def test_stdin_can_be_opened_by_name_when_nobody_writes_to_it_any_more(box: Box) -> None:
    one = box.start("sh", "-c", "read x; cat /dev/stdin; echo ended $x", stdin=True)
    assert one.client is not None
    one.client.send(b"i", b"typed\n")
    one.client.send(b"c")
    done = one.exit()
    assert (done.code, done.out) == (0, b"ended typed\n")
