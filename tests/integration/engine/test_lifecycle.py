"""From create to rm: states, signals, waiting, listing, inspecting."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from knarr import Container, ContainerConfig, Engine, ExitStatus, errors

if TYPE_CHECKING:
    from knarr.config import Settings

SLEEP = ("sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 1 & wait $!; done")


def start(engine: Engine, *command: str, **options: object) -> Container:
    """Start a container in the background; return when it has written its first line."""
    config = ContainerConfig("busybox", command or SLEEP, **options)  # type: ignore[arg-type]
    container, attachment = engine.containers.launch(config)
    assert attachment is not None
    with attachment:
        for _, data in attachment.output(30):
            if b"ready" in data:
                break
    return container


def test_created_running_exited(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("sh", "-c", "exit 4")))
    assert (container.status, container.describe()) == ("created", "Created")
    assert container.wait() == ExitStatus(0)
    container.start()
    status = container.wait(30)
    assert status.exit_code == 4
    state = container.state
    assert (state.status, state.exit_code, state.pid) == ("exited", 4, 0)
    assert 0 < container.created <= state.started_at <= state.finished_at <= time.time_ns()
    assert container.describe().startswith("Exited (4) ")


def test_it_can_be_started_again(engine: Engine) -> None:
    container = engine.containers.create(
        ContainerConfig("busybox", ("sh", "-c", "echo x >> /count; wc -l < /count"))
    )
    for _ in range(3):
        container.start()
        container.wait(30)
    assert b"".join(entry.data for entry in container.logs()) == b"1\n2\n3\n"


def test_starting_a_running_one(engine: Engine) -> None:
    container = start(engine)
    with pytest.raises(errors.NotModified):
        container.start()
    assert container.state.running


def test_stop_asks_first(engine: Engine) -> None:
    container = start(engine)
    container.stop()
    assert container.state.exit_code == 5
    with pytest.raises(errors.NotModified):
        container.stop()


def test_stop_kills_what_does_not_listen(engine: Engine) -> None:
    container = start(engine, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done")
    begin = time.monotonic()
    container.stop(timeout=1)
    assert 0.9 < time.monotonic() - begin < 20
    assert container.state.exit_code == 137


def test_stop_uses_the_containers_signal(engine: Engine) -> None:
    script = "trap 'exit 6' USR1; echo ready; while :; do sleep 1 & wait $!; done"
    container = start(engine, "sh", "-c", script, stop_signal="USR1", stop_timeout=30)
    container.stop()
    assert container.state.exit_code == 6


def test_kill(engine: Engine) -> None:
    container = start(engine)
    with pytest.raises(errors.InvalidArgument, match="NOPE"):
        container.kill("NOPE")
    container.kill("TERM")
    assert container.wait(30).exit_code == 5
    with pytest.raises(errors.Conflict, match="is not running"):
        container.kill()


def test_waiting_from_other_threads_and_engines(engine: Engine, settings: Settings) -> None:
    container = start(engine)
    codes: list[int] = []

    def wait(with_engine: Engine) -> None:
        codes.append(with_engine.containers.get(container.id).wait(60).exit_code)

    with Engine(settings) as other:
        threads = [
            threading.Thread(target=wait, args=(chosen,)) for chosen in (engine, other, engine)
        ]
        for thread in threads:
            thread.start()
        container.kill()
        for thread in threads:
            thread.join()
    assert codes == [137, 137, 137]


def test_waiting_has_an_end(engine: Engine) -> None:
    container = start(engine)
    with pytest.raises(errors.Timeout):
        container.wait(0.05)
    assert container.state.running


def test_a_running_one_is_not_removed_without_force(engine: Engine) -> None:
    container = start(engine, name="web")
    with pytest.raises(errors.Conflict, match='cannot remove container "/web": container is runn'):
        container.remove()
    container.remove(force=True)
    with pytest.raises(errors.NotFound, match="No such container: web"):
        engine.containers.get("web")
    with pytest.raises(errors.NotFound):
        container.remove()


def test_auto_remove_without_anybody_watching(engine: Engine) -> None:
    container = start(engine, auto_remove=True)
    container.kill()
    for _ in range(600):
        if not engine.table.get(container.id):
            break
        time.sleep(0.05)  # the supervisor becomes the reaper: another process, nothing to wait on
    assert engine.table.get(container.id) is None
    assert engine.driver.list_keys() == []


def test_listing_and_filters(engine: Engine) -> None:
    one = start(engine, name="one", labels={"tier": "web", "x": "1"})
    two = engine.containers.create(ContainerConfig("busybox", ("false",), name="two"))
    two.start()
    two.wait(30)
    three = engine.containers.create(
        ContainerConfig("busybox", name="three", labels={"tier": "db"})
    )

    def names(**filters: list[str]) -> list[str]:
        found = engine.containers.list(all=True, filters=filters)
        return [container.name for container in found]

    assert [c.name for c in engine.containers.list()] == ["one"]
    assert names() == ["three", "two", "one"]
    assert names(status=["exited"]) == ["two"]
    assert names(status=["created", "running"]) == ["three", "one"]
    assert names(exited=["1"]) == ["two"]
    assert names(label=["tier"]) == ["three", "one"]
    assert names(label=["tier=web", "x"]) == ["one"]
    assert names(name=["^t"]) == ["three", "two"]
    assert names(id=[one.id[:8]]) == ["one"]
    assert names(since=["one"], before=["three"]) == ["two"]
    assert names(ancestor=["busybox"]) == ["three", "two", "one"]
    assert names(ancestor=["alpine"]) == []
    assert [c.name for c in engine.containers.list(limit=1)] == ["three"]
    with pytest.raises(errors.InvalidArgument, match="invalid filter 'colour'"):
        names(colour=["red"])
    assert engine.info()["ContainersRunning"] == 1
    removed, _ = engine.containers.prune()
    assert sorted(removed) == sorted([two.id, three.id])


def test_inspect_is_dockers(engine: Engine) -> None:
    container = start(engine, name="web", env=("A=1",), labels={"k": "v"}, user="1:2")
    found = container.inspect()
    json.dumps(found)
    assert found["Id"] == container.id
    assert found["Name"] == "/web"
    assert (found["Path"], found["Args"]) == ("sh", list(SLEEP[1:]))
    state = found["State"]
    assert (state["Status"], state["Running"], state["ExitCode"]) == ("running", True, 0)
    assert state["FinishedAt"] == "0001-01-01T00:00:00Z"
    os.kill(state["Pid"], 0)
    assert found["Config"]["User"] == "1:2"
    assert "A=1" in found["Config"]["Env"]
    assert found["Config"]["Labels"] == {"k": "v"}
    assert found["Config"]["StopSignal"] == "SIGTERM"
    assert found["HostConfig"]["NetworkMode"] == "none"
    assert found["GraphDriver"]["Name"] == engine.driver.name
    assert os.path.isdir(found["GraphDriver"]["Data"]["UpperDir"])
    assert found["HostConfig"]["LogConfig"]["Type"] == "local"
    assert found["Image"].startswith("sha256:")


def test_signals_from_the_attachment(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox", SLEEP))
    attachment = container.start(attach=True)
    assert attachment is not None
    with attachment:
        chunks = []
        for _, data in attachment.output(30):
            chunks.append(data)
            attachment.signal(signal.SIGTERM)
        assert attachment.status is not None
        assert attachment.status.exit_code == 5
        container.finish(attachment)
    assert b"".join(chunks) == b"ready\n"


def test_two_clients_see_the_same(engine: Engine) -> None:
    config = ContainerConfig(
        "busybox", ("sh", "-c", "echo ready; read x; echo got $x"), open_stdin=True
    )
    container, first = engine.containers.launch(config)
    assert first is not None
    with first, container.attach() as second:
        second.write(b"hello\n")
        seen = [b"".join(data for _, data in each.output(30)) for each in (first, second)]
    assert seen[0] == b"ready\ngot hello\n"
    assert seen[1].endswith(b"got hello\n")


def test_attaching_to_a_stopped_one(engine: Engine) -> None:
    container = engine.containers.create(ContainerConfig("busybox"))
    with pytest.raises(errors.Conflict, match="cannot attach to a stopped container"):
        container.attach()


def test_a_terminal(engine: Engine) -> None:
    config = ContainerConfig(
        "busybox", ("sh", "-c", "read x; stty size; test -t 0 && echo $x"), tty=True,
        open_stdin=True, auto_remove=True,
    )  # fmt: skip
    container, attachment = engine.containers.launch(config)
    assert attachment is not None
    with attachment:
        attachment.resize(33, 111)
        attachment.write(b"hi\n")
        output = b"".join(data for _, data in attachment.output(30))
        container.finish(attachment)
    assert b"33 111\r\n" in output
    assert output.endswith(b"hi\r\n")


def test_a_terminal_has_its_size_from_the_first_moment(engine: Engine) -> None:
    config = ContainerConfig("busybox", ("stty", "size"), tty=True)
    container, attachment = engine.containers.launch(config, size=(33, 111))
    for rows, columns in ((33, 111), (20, 60)):
        assert attachment is not None
        with attachment:
            assert b"".join(data for _, data in attachment.output(30)) == b"%d %d\r\n" % (
                rows, columns
            )  # fmt: skip
        attachment = container.start(attach=True, size=(20, 60))
    assert attachment is not None
    attachment.close()


def test_a_start_that_cannot_be_noted_is_taken_back(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = engine.containers.create(ContainerConfig("busybox", ("sleep", "100")))

    def fail(*_: object) -> None:
        raise errors.ResourceExhausted("state: disk full")

    with monkeypatch.context() as patched:
        patched.setattr(engine.table, "mark_started", fail)
        with pytest.raises(errors.ResourceExhausted):
            container.start()
    assert container.status == "created"
    container.start()
    assert container.status == "running"
