"""Log drivers: files that are rotated and compressed, receivers that are real sockets."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, errors
from knarr.engine import logconfig
from knarr.engine.model import ExecConfig
from knarr.supervisor import logfiles, streams
from knarr.supervisor import state as states
from knarr.supervisor.lines import LIMIT
from tests.support.waiting import PATIENCE, wait_until

if TYPE_CHECKING:
    from knarr import Engine

COUNT = "i=0; while [ $i -lt %d ]; do echo line $i; i=$((i+1)); done"


def made(engine: Engine, script: str, driver: str | None, **options: str) -> Container:
    named = {name.replace("_", "-"): value for name, value in options.items()}
    config = ContainerConfig(
        "busybox", ("sh", "-c", script), log_driver=driver, log_opts=named, labels={"tier": "a b"}
    )
    return engine.containers.create(config)


def finished(container: Container) -> Container:
    container.start()
    container.wait(PATIENCE)
    return container


def text(container: Container) -> bytes:
    return b"".join(entry.data for entry in container.logs())


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[socket.socket]:
    """A datagram socket as journald and syslogd have."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "socket"))
        sock.settimeout(PATIENCE)
        yield sock


def test_local_is_rotated_and_compressed(engine: Engine) -> None:
    # Written in many small pieces, so that there are many files one after the other.
    script = f"trap 'exit 0' TERM; {COUNT % 3000}; sleep 1000 & wait"
    container = made(engine, script, "local", max_size="2k", max_file="1000")
    container.start()
    last = b"line 2999\n"
    followed = []
    for entry in container.logs(follow=True, lines=True):
        followed.append(entry.data)
        if entry.data == last:
            break
    assert followed == [b"line %d\n" % number for number in range(3000)]
    path = container.paths.log
    wait_until(lambda: not os.path.exists(path) and os.path.exists(logfiles.packed_name(path, 0)))
    assert len(logfiles.numbers(path)) >= 2
    assert text(container) == b"".join(followed)
    assert [entry.data for entry in container.logs(tail=1500)] == followed[-1500:]
    container.kill("TERM")
    container.wait(PATIENCE)
    container.start()  # it goes on in the last file
    wait_until(lambda: text(container) == b"".join(followed) * 2)
    container.kill("TERM")
    container.wait(PATIENCE)


def test_what_is_too_old_goes(engine: Engine) -> None:
    script = COUNT % 30_000
    options = {"max_size": "10k", "max_file": "2", "compress": "false"}
    container = made(engine, script, "local", **options)
    container.start()
    # Nobody is attached: what a client that lags has yet to read stays in the present file.
    wait_until(lambda: container.status == "exited")
    kept = text(container)
    assert kept.endswith(b"line 29999\n")
    # A file ends with the piece of output, at most 64 KiB, that makes it too long.
    assert 0 < len(kept) < 2 * (10_000 + 65_536)
    assert len(logfiles.numbers(container.paths.log)) == 2
    for number in logfiles.numbers(container.paths.log):
        assert Path(logfiles.name(container.paths.log, number)).stat().st_size < 10_000 + 70_000


def test_without_a_word_everything_is_kept(engine: Engine) -> None:
    container = made(engine, "true", None)
    found = container.inspect()["HostConfig"]["LogConfig"]
    assert found == {"Type": "local", "Config": {"max-size": "-1"}}
    assert container.inspect()["LogPath"] == ""


def test_several_follow_over_rotation(engine: Engine) -> None:
    container = made(
        engine, f"read x; {COUNT % 4000}", "local", max_size="8k", max_file="10000", compress="true"
    )
    config = container.config
    assert config.log_opts["max-size"] == "8k"
    found: list[list[bytes]] = [[] for _ in range(4)]
    attachment = container.start(attach=True)
    assert attachment is not None

    def follow(into: list[bytes]) -> None:
        into.extend(entry.data for entry in container.logs(follow=True, lines=True))

    threads = [threading.Thread(target=follow, args=(into,)) for into in found]
    with attachment:
        for thread in threads:
            thread.start()
        status = attachment.wait(PATIENCE)
        container.finish(attachment)
    assert status is not None
    for thread in threads:
        thread.join(PATIENCE)
    assert found == [[b"line %d\n" % number for number in range(4000)]] * 4


def test_a_slow_client_gets_what_was_rotated(engine: Engine) -> None:
    """The file that an attached client has yet to read from stays until it has."""
    script = "head -c 8000000 /dev/zero | tr '\\0' x"
    container = made(engine, script, "local", max_size="100k", max_file="1", compress="false")
    attachment = container.start(attach=True)
    assert attachment is not None
    with attachment:
        wait_until(lambda: not container.state.running)
        newest = logfiles.name(container.paths.log, logfiles.newest(container.paths.log))
        assert Path(newest).stat().st_size > 6_000_000
        total = sum(len(data) for _, data in attachment.output(PATIENCE))
        container.finish(attachment)
    assert total == 8_000_000


def test_who_writes_much_gets_a_larger_pipe(engine: Engine) -> None:
    """Only he: what is in it is memory of the container's."""
    # One write fills the pipe before anybody can read from it.
    script = "echo few; read x; dd if=/dev/zero bs=300000 count=1 2>/dev/null; read x"
    container = engine.containers.create(
        ContainerConfig("busybox", ("sh", "-c", script), open_stdin=True)
    )
    attachment = container.start(attach=True)
    assert attachment is not None
    with attachment:
        pipe = os.open(f"{container.paths.run}/stdout", os.O_RDONLY | os.O_NONBLOCK)
        try:
            wait_until(lambda: text(container) == b"few\n")
            before = fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)
            attachment.write(b"\n")
            wait_until(lambda: len(text(container)) == 300_004)
            assert (before, fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ)) == (65536, streams.BULK)
        finally:
            os.close(pipe)
        attachment.write(b"\n")
        attachment.wait(PATIENCE)
        container.finish(attachment)


def test_a_terminal_that_is_full_stays_as_it_is(engine: Engine) -> None:
    script = "stty -opost; head -c 300000 /dev/zero"
    config = ContainerConfig("busybox", ("sh", "-c", script), tty=True)
    container = finished(engine.containers.create(config))
    assert container.state.exit_code == 0
    assert len(text(container)) == 300_000


def test_json_file(engine: Engine) -> None:
    script = "echo '<one>'; echo two >&2; printf three"
    container = finished(
        made(engine, script, "json-file", labels="tier,none", tag="{{.Name}}/{{.ID}}", env="PATH")
    )
    path = container.inspect()["LogPath"]
    assert path.endswith(f"/{container.id}-json.log")
    entries = [json.loads(line) for line in Path(path).read_text().splitlines()]
    assert {(e["log"], e["stream"]) for e in entries} == {
        ("<one>\n", "stdout"), ("two\n", "stderr"), ("three", "stdout"),
    }  # fmt: skip
    attrs = entries[0]["attrs"]
    assert attrs["tag"] == f"{container.name}/{container.short_id}"
    assert attrs["tier"] == "a b"
    assert set(attrs) <= {"tag", "tier", "PATH"}
    details = container.log_details()
    assert f"tag={container.name}%2F{container.short_id}".encode() in details
    assert details.endswith(b",tier=a+b")
    assert sorted(text(container)) == sorted(b"<one>\ntwo\nthree")


def test_json_file_of_many_lines_and_long_ones(engine: Engine) -> None:
    """Bulk, in which some lines are too long and some bytes no text, is what was written."""
    script = """
    i=0; while [ $i -lt 300 ]; do echo "line $i of <some>"; i=$((i+1)); done > /tmp/a
    { head -c 40000 /dev/zero | tr '\\0' y; echo; } > /tmp/b
    { printf 'no text: \\377\\342\\200 and \\001?\\n'; } > /tmp/c
    i=0; while [ $i -lt 20 ]; do cat /tmp/a /tmp/b /tmp/c; i=$((i+1)); done; printf rest
    """
    container = finished(made(engine, script, "json-file"))
    entries = [
        json.loads(line) for line in Path(container.paths.json_log).read_text().split("\n")[:-1]
    ]
    parts = ["y" * LIMIT, "y" * LIMIT, "y" * (40000 - 2 * LIMIT) + "\n"]
    round_of = [f"line {number} of <some>\n" for number in range(300)] + parts
    round_of.append("no text: \ufffd\ufffd\ufffd and \x01?\n")
    assert [entry["log"] for entry in entries] == round_of * 20 + ["rest"]
    raw = b"".join(f"line {number} of <some>\n".encode() for number in range(300))
    raw += b"y" * 40000 + b"\nno text: \xff\xe2\x80 and \x01?\n"
    assert text(container) == raw * 20 + b"rest"


def test_json_files_are_rotated(engine: Engine) -> None:
    options = {"max_size": "10k", "max_file": "3", "compress": "true"}
    container = finished(made(engine, COUNT % 3000, "json-file", **options))
    path = container.paths.json_log
    wait_until(lambda: os.path.exists(f"{path}.1.gz"))
    wait_until(lambda: not os.path.exists(f"{path}.1"))
    older = [json.loads(line)["log"] for line in gzip.open(f"{path}.1.gz", "rt")]
    newer = [json.loads(line)["log"] for line in Path(path).read_text().splitlines()]
    both = older + newer
    assert both == [f"line {number}\n" for number in range(3000 - len(both), 3000)]
    assert len(list(Path(path).parent.glob("*-json.log*"))) <= 3


def test_none(engine: Engine) -> None:
    container = made(engine, "echo unseen; exit 3", "none")
    attachment = container.start(attach=True)
    assert attachment is not None
    with attachment:
        status = attachment.wait(PATIENCE)
        container.finish(attachment)
    assert status is not None
    assert status.exit_code == 3
    assert not os.path.exists(container.paths.log)
    for follow in (True, False):
        with pytest.raises(
            errors.InvalidArgument, match="configured logging driver does not support reading"
        ):
            list(container.logs(follow=follow))


def test_syslog(engine: Engine, receiver: socket.socket) -> None:
    address = f"unixgram://{receiver.getsockname()}"
    options = {"syslog_address": address, "syslog_facility": "local1", "tag": "{{.Name}}"}
    container = finished(made(engine, "echo out; echo err >&2", "syslog", **options))
    found = {receiver.recv(1000), receiver.recv(1000)}
    assert {message[:5] for message in found} == {b"<142>", b"<139>"}
    assert all(f" {container.name}[".encode() in message for message in found)
    assert {message.rpartition(b": ")[2] for message in found} == {b"out\n", b"err\n"}
    assert sorted(text(container)) == sorted(b"out\nerr\n")  # kept here too, as by Docker


def test_without_its_copy_a_log_cannot_be_read(engine: Engine, receiver: socket.socket) -> None:
    address = f"unixgram://{receiver.getsockname()}"
    options = {"syslog_address": address, "cache_disabled": "true"}
    container = finished(made(engine, "echo out", "syslog", **options))
    assert receiver.recv(1000).endswith(b": out\n")
    assert not os.path.exists(container.paths.log)
    with pytest.raises(errors.InvalidArgument, match="does not support reading"):
        list(container.logs())


def test_syslog_over_tcp_while_nobody_reads(engine: Engine) -> None:
    """The container waits for a receiver that does not read, its supervisor does not."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        script = "head -c 30000000 /dev/zero | tr '\\0' 'x' | fold -w 1000; echo; echo end"
        container = made(engine, script, "syslog", syslog_address=address)
        container.start()
        probe, _ = server.accept()  # that of the start, which looks whether anybody is there
        probe.close()
        connection, _ = server.accept()
        assert container.exec_run(ExecConfig(("true",))).exit_code == 0
        assert container.status == "running"
        received = b""
        total = 0
        with connection:
            connection.settimeout(PATIENCE)
            while b": end\n" not in received:
                received = received[-100:] + connection.recv(1 << 20)
                total += 1
        assert container.wait(PATIENCE).exit_code == 0


def test_nobody_waits_with_a_buffer(engine: Engine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"tcp://127.0.0.1:{server.getsockname()[1]}"
        options = {"syslog_address": address, "mode": "non-blocking", "max_buffer_size": "10k"}
        script = "head -c 30000000 /dev/zero | tr '\\0' 'x' | fold -w 1000"
        container = made(engine, script, "syslog", **options)
        container.start()
        status = container.wait(PATIENCE)
    assert status.exit_code == 0
    assert "the log driver lost" in status.error


def test_journald(engine: Engine, receiver: socket.socket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logconfig, "JOURNAL", receiver.getsockname())
    container = finished(made(engine, "echo hello", "journald", labels="tier"))
    fields = dict(line.split("=", 1) for line in receiver.recv(4000).decode().splitlines())
    assert fields.pop("SYSLOG_TIMESTAMP")[10] == "T"
    assert fields == {
        "CONTAINER_ID": container.short_id,
        "CONTAINER_ID_FULL": container.id,
        "CONTAINER_NAME": container.name,
        "CONTAINER_TAG": container.short_id,
        "IMAGE_NAME": "busybox",
        "SYSLOG_IDENTIFIER": container.short_id,
        "TIER": "a b",
        "PRIORITY": "6",
        "MESSAGE": "hello",
    }
    assert text(container) == b"hello\n"


def test_no_receiver_no_start(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = str(tmp_path / "missing")
    monkeypatch.setattr(logconfig, "JOURNAL", missing)
    monkeypatch.setattr(logconfig, "SYSLOG", (missing,))
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    cases = {
        "journald is not enabled on this host": ("journald", {}),
        "Unix syslog delivery error": ("syslog", {}),
        f"dial unix {missing}: connect: no such file or directory": (
            "syslog", {"syslog_address": f"unix://{missing}"},
        ),
        f"dial tcp 127.0.0.1:{port}: connect: connection refused": (
            "syslog", {"syslog_address": f"tcp://127.0.0.1:{port}"},
        ),
    }  # fmt: skip
    for words, (driver, options) in cases.items():
        container = made(engine, "true", driver, **options)
        with pytest.raises(errors.Unavailable) as caught:
            container.start()
        assert str(caught.value) == f"failed to initialize logging driver: {words}"
        assert container.status == "created"


def test_a_successor_goes_on(engine: Engine, receiver: socket.socket) -> None:
    """kill -9 of the supervisor: whoever takes over knows driver, files and limits."""
    script = f"trap '{COUNT % 1000}; exit 3' TERM; echo one; while :; do sleep 1 & wait $!; done"
    address = f"unixgram://{receiver.getsockname()}"
    options = {"syslog_address": address, "cache_max_size": "5k", "cache_max_file": "1000"}
    container = made(engine, script, "syslog", **options)
    container.start()
    assert receiver.recv(1000).endswith(b": one\n")
    live = states.read(container.paths.run)
    assert live is not None
    os.kill(live["supervisor_pid"], 9)
    container.kill("TERM")
    for number in range(1000):
        assert receiver.recv(1000).endswith(b": line %d\n" % number)
    assert container.wait(PATIENCE).exit_code == 3
    assert text(container) == b"one\n" + b"".join(b"line %d\n" % n for n in range(1000))
    assert len(logfiles.numbers(container.paths.log)) > 1
