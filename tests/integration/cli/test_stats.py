"""stats on the command line: tables, templates, frames on a terminal, errors."""

from __future__ import annotations

import json
import re
import signal

from tests.integration.cli.test_terminal import Terminal, terminal  # noqa: F401 - a fixture
from tests.support.installations import Installation
from tests.support.waiting import PATIENCE

HEADINGS = ["CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O",
            "PIDS"]  # fmt: skip
FIELDS = ["BlockIO", "CPUPerc", "Container", "ID", "MemPerc", "MemUsage", "Name", "NetIO", "PIDs"]


def cells(line: str) -> list[str]:
    return re.split(r" {2,}", line.rstrip())


def start(box: Installation, name: str, *command: str) -> str:
    words = ("run", "-d", "--name", name, "--memory", "64m", "--memory-swap", "64m", "busybox")
    code, out, err = box.run(*words, *(command or ("sleep", "1000")))
    assert (code, err) == (0, b"")
    return out.decode().strip()


def test_once(box: Installation) -> None:
    code, out, err = box.run("stats", "--no-stream")
    assert (code, cells(out.decode()), err) == (0, HEADINGS, b"")
    busy = start(box, "busy", "sh", "-c", "while :; do :; done")
    code, out, err = box.run("container", "stats", "--no-stream")
    assert (code, err) == (0, b"")
    head, row = out.decode().splitlines()
    assert cells(head) == HEADINGS
    found = dict(zip(HEADINGS, cells(row), strict=True))
    assert (found["CONTAINER ID"], found["NAME"], found["PIDS"]) == (busy[:12], "busy", "1")
    assert 10 < float(found["CPU %"].rstrip("%")) < 110
    assert re.fullmatch(r"[\d.]+[KM]iB / 64MiB", found["MEM USAGE / LIMIT"])
    assert re.fullmatch(r"\d+\.\d\d%", found["MEM %"])
    assert found["NET I/O"] == "0B / 0B"
    assert re.fullmatch(r"[\d.]+k?M?B / [\d.]+k?M?B", found["BLOCK I/O"])


def test_formats(box: Installation) -> None:
    one = start(box, "one")
    two = box.run("create", "--name", "two", "busybox")[1].decode().strip()
    code, out, _ = box.run("stats", "--no-stream", "--format", "json", "one", one[:6])
    first, second = map(json.loads, out.splitlines())
    assert (code, sorted(first)) == (0, sorted(FIELDS))
    assert (first["Container"], first["ID"], first["Name"]) == ("one", one[:12], "one")
    assert (second["Container"], second["ID"]) == (one[:6], one[:12])
    template = "{{.Container}} {{.ID}} {{.Name}} {{.PIDs}}"
    assert box.run("stats", "--no-stream", "--no-trunc", "--format", template)[1] == (
        f"{one} {one} one 1\n".encode()
    )
    out = box.run("stats", "-a", "--no-stream", "--format", "table {{.Name}}\t{{.MemUsage}}")[1]
    assert [cells(line)[0] for line in out.decode().splitlines()] == ["NAME", "two", "one"]
    assert out.decode().splitlines()[1].endswith("0B / 0B")
    empty = f"{two[:12]} two 0.00% 0B / 0B 0.00% 0B / 0B 0B / 0B 0"
    template = "{{.ID}} {{.Name}} {{.CPUPerc}} {{.MemUsage}} {{.MemPerc}} {{.NetIO}} {{.BlockIO}} "
    code, out, err = box.run("stats", "--no-stream", "two", "--format", template + "{{.PIDs}}")
    assert (code, out, err) == (0, f"{empty}\n".encode(), b"")


def test_errors(box: Installation) -> None:
    start(box, "one")
    assert box.run("stats", "--no-stream", "one", "none", "two") == (
        1, b"", b"Error: No such container: none\nError: No such container: two\n",
    )  # fmt: skip
    assert box.run("stats", "none") == (1, b"", b"Error: No such container: none\n")
    code, out, err = box.run("stats", "--format", "{{.ID")
    assert (code, out, err.startswith(b"Error: --format: ")) == (1, b"", True)
    code, _, err = box.run("stats", "--filter", "x=y")
    assert (code, b"unknown flag: --filter" in err) == (125, True)


def test_a_stream_into_a_pipe_is_tables(box: Installation) -> None:
    start(box, "one")
    with box.start("stats", "--format", "{{.Name}}") as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"one\n"
        start(box, "two")
        seen = [process.stdout.readline()]
        while b"two\n" not in seen:
            seen.append(process.stdout.readline())
        assert box.run("rm", "-f", "one")[0] == 0
        seen = [process.stdout.readline() for _ in range(2)]
        while seen[-2:] != [b"two\n"] * 2:  # without the other in between
            seen.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        rest, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (-signal.SIGINT, b"")
    assert b"\033" not in rest


def test_a_named_one_that_is_removed_stays_without_figures(box: Installation) -> None:
    start(box, "one")
    with box.start("stats", "--format", "{{.Name}} {{.CPUPerc}} {{.MemUsage}}", "one") as process:
        assert process.stdout is not None
        assert re.fullmatch(rb"one [\d.]+% .*MiB\n", process.stdout.readline())
        assert box.run("rm", "-f", "one")[0] == 0
        while (line := process.stdout.readline()) != b"one -- -- / --\n":
            assert line.startswith(b"one ")
        process.terminate()
        process.communicate(timeout=PATIENCE)


def test_on_a_terminal_it_is_written_in_place(
    box: Installation,
    terminal: Terminal,  # noqa: F811 - pytest's way
) -> None:
    start(box, "one")
    process = terminal.start("stats")
    terminal.expect(
        r"\033\[HCONTAINER ID +NAME [^\n]*\033\[K\r\n\w{12} +one [^\n]*\033\[K\r\n\033\[J"
    )
    terminal.expect(r"\033\[HCONTAINER ID")
    terminal.type("\x03")
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE) == -signal.SIGINT
    assert terminal.given_back()
