"""top --all on a real pseudo-terminal, as a person sees it."""

from __future__ import annotations

import os
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from tests.integration.cli.test_terminal import Terminal
from tests.support.installations import REPOSITORY, Installation
from tests.support.waiting import PATIENCE, wait_until

pyte = pytest.importorskip("pyte")
pytest.importorskip("textual")

ROWS, COLUMNS = 24, 150


class Screen(Terminal):
    """A terminal whose screen is kept, as an emulator keeps it."""

    def __init__(self, box: Installation) -> None:
        super().__init__(box)
        self.resize(ROWS, COLUMNS)
        self._screen = pyte.Screen(COLUMNS, ROWS)
        self._stream = pyte.ByteStream(self._screen)
        self.written = b""

    def resize(self, rows: int, columns: int) -> None:
        super().resize(rows, columns)
        if hasattr(self, "_screen"):
            self._screen.resize(rows, columns)

    def run(self, *words: str) -> subprocess.Popen[bytes]:
        """Start any program on the terminal."""
        process = subprocess.Popen(
            words, stdin=self.slave, stdout=self.slave, stderr=self.slave, process_group=0,
            env={**self._box.environment, "PYTHONPATH": str(REPOSITORY / "src")},
        )  # fmt: skip
        self._processes.append(process)
        return process

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self._screen.display]

    @property
    def text(self) -> str:
        return "\n".join(self.lines)

    def _take(self, seconds: float) -> bool:
        if not select.select([self.master], [], [], seconds)[0]:
            return False
        data = os.read(self.master, 65536)
        self.written += data
        # Those with a letter before the number are for newer terminals than pyte.
        self._stream.feed(re.sub(rb"\x1b\[[<>=][0-9;]*[a-zA-Z]", b"", data))
        return True

    def until(self, condition: Callable[[str], object]) -> str:
        """Read until the screen is as it should be; return it."""
        deadline = time.monotonic() + PATIENCE
        while not condition(self.text):
            assert self._take(max(0, deadline - time.monotonic())), self.text
        return self.text

    def shows(self, pattern: str) -> str:
        return self.until(lambda text: re.search(pattern, text, re.MULTILINE))

    def lacks(self, pattern: str) -> str:
        return self.until(lambda text: not re.search(pattern, text, re.MULTILINE))

    def ended(self, process: subprocess.Popen[bytes]) -> int:
        """Return how a command ended, reading what it goes on to write until then."""
        deadline = time.monotonic() + PATIENCE
        handle = os.pidfd_open(process.pid)
        try:
            while not select.select([handle], [], [], 0)[0]:
                assert time.monotonic() < deadline, self.text
                select.select([handle, self.master], [], [], 1)
                self._take(0)
        finally:
            os.close(handle)
        return process.wait()

    def rest(self) -> None:
        while self._take(0):
            continue


@pytest.fixture
def screen(box: Installation) -> Iterator[Screen]:
    made = Screen(box)
    yield made
    made.close()


def start(box: Installation, name: str, *command: str) -> None:
    words = ("run", "-d", "--init", "--name", name, "busybox", *(command or ("sleep", "1000")))
    code, _, err = box.run(*words)
    assert (code, err) == (0, b"")


def state(box: Installation, name: str) -> str:
    code, out, _ = box.run("inspect", "-f", "{{.State.Status}}", name)
    return "none" if code else out.decode().strip()


def opened(screen: Screen, *names: str) -> subprocess.Popen[bytes]:
    process = screen.start("top", "--all")
    for name in names:
        screen.shows(rf"^ {name} ")
    return process


def left(screen: Screen) -> None:
    """The terminal is as it was: its settings, the usual screen, a cursor, no reports."""
    assert screen.given_back()
    screen.rest()
    for on, off in ((b"?1049h", b"?1049l"), (b"?25l", b"?25h"), (b"?1003h", b"?1003l"),
                    (b"?2004h", b"?2004l"), (b"[>", b"[<u"), (b"?1004h", b"?1004l")):  # fmt: skip
        assert screen.written.rfind(off) > screen.written.rfind(on) >= 0, off


def test_containers_in_a_table(screen: Screen, box: Installation) -> None:
    start(box, "busy", "sh", "-c", "while :; do :; done")
    box.run("create", "--name", "idle", "busybox")
    process = opened(screen, "busy", "idle")
    screen.shows(r"^ NAME +STATE +CPU % ▼ .* MEMORY +MEM % .* NET I/O +BLOCK I/O +PIDS +IMAGE")
    screen.shows(
        r"^ busy +running +[1-9][\d.]+% .*[▁-█]{2} +[\d.]+[KM]iB +[\d.]+%.*[▁-█]{2} .*busybox"
    )
    screen.shows(r"^ idle +created +0\.0% +0B +0\.0% ")
    screen.shows(r"2 containers, 1 running +CPU [1-9]\d+%")
    screen.shows(r"s Stop +r Restart +p Pause +d Remove +l Logs +e Shell +/ Filter +o Order")
    box.run("rm", "-f", "busy")
    screen.lacks("^ busy ")
    start(box, "third")
    screen.shows("^ third +running")
    check = ("--health-cmd", "true", "--health-interval", "100ms")
    box.run("run", "-d", "--name", "checked", *check, "busybox", "sleep", "1000")
    screen.shows("^ checked +running healthy")
    screen.type("q")
    assert screen.ended(process) == 0
    left(screen)


def test_keys_that_act(screen: Screen, box: Installation) -> None:
    start(box, "one")
    process = opened(screen, "one")
    screen.type("p")
    screen.shows("^ one +paused")
    screen.type("p")
    screen.shows("^ one +running")
    screen.type("s")
    screen.shows("^ one +exited")
    assert state(box, "one") == "exited"
    screen.type("p")
    screen.shows("is not running")
    screen.type("r")
    screen.shows("^ one +running")
    screen.type("d")
    screen.shows(r"Remove container one, which runs and is killed\?")
    screen.type("n")
    screen.lacks("which runs and is killed")
    assert state(box, "one") == "running"
    screen.type("d")
    screen.shows("y: yes")
    screen.type("y")
    screen.lacks("^ one ")
    wait_until(lambda: state(box, "one") == "none")
    screen.type("q")
    assert screen.ended(process) == 0
    left(screen)


def test_logs(screen: Screen, box: Installation) -> None:
    script = r"printf 'first\n\033[31mred\033[0m \033]0;title\007end\n'; exec sleep 1000"
    start(box, "one", "sh", "-c", script)
    process = opened(screen, "one")
    screen.type("l")
    text = screen.shows("^red end")
    assert "one: logs" in text
    assert text.index("first") < text.index("red end")
    assert b"title" not in screen.written
    box.run("exec", "one", "sh", "-c", "echo more > /proc/1/fd/1")
    screen.shows("^more")
    screen.type("sd")  # keys of the table, which is not seen
    box.run("exec", "one", "sh", "-c", "echo last > /proc/1/fd/1")
    assert "Remove container" not in screen.shows("^last")
    assert state(box, "one") == "running"
    screen.type("q")
    screen.shows("^ one +running")
    screen.type("q")
    assert screen.ended(process) == 0
    left(screen)


def test_a_shell(screen: Screen, box: Installation) -> None:
    start(box, "one")
    process = opened(screen, "one")
    screen.type("e")
    screen.shows("#$")
    assert not screen.given_back()
    screen.type("echo $((40 + 2)) $(stty size); exit 3\r")
    screen.shows(f"^42 {ROWS} {COLUMNS}")
    screen.shows("^ one +running")
    box.run("stop", "-t", "0", "one")
    screen.shows("^ one +exited")
    screen.type("e")
    screen.shows("is not running")
    screen.type("q")
    assert screen.ended(process) == 0
    left(screen)


def test_filter_order_and_size(screen: Screen, box: Installation) -> None:
    start(box, "apple")
    start(box, "pear")
    box.run("create", "--name", "plum", "busybox")
    process = opened(screen, "apple", "pear", "plum")
    screen.type("/")
    screen.shows("name, image, state or id")
    screen.type("pea")
    screen.lacks("^ apple ")
    screen.type("\r")
    screen.lacks("▔▔▔")
    screen.shows("filter: pea")
    screen.type("\x1b")
    screen.shows("^ apple ")
    screen.type("a")
    screen.lacks("^ plum ")
    screen.type("a")
    screen.shows("^ plum ")
    screen.type("oo")
    screen.shows("NAME ▲")
    screen.type("i")
    screen.shows("NAME ▼")
    screen.until(lambda text: text.index(" plum ") < text.index(" pear ") < text.index(" apple "))
    screen.resize(12, 60)
    process.send_signal(signal.SIGWINCH)
    screen.until(lambda _: screen.lines[11].startswith(" s Stop") and len(screen.lines) == 12)
    screen.type("\x03")  # Ctrl-C is a key like q
    assert screen.ended(process) == 0
    left(screen)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_a_killed_one_gives_the_terminal_back(
    screen: Screen, box: Installation, number: signal.Signals
) -> None:
    start(box, "one")
    process = opened(screen, "one")
    process.send_signal(number)
    assert screen.ended(process) == -number
    wait_until(screen.given_back)
    wait_until(lambda: not box.workers())
    left(screen)


def test_killed_while_a_shell_has_the_terminal(screen: Screen, box: Installation) -> None:
    start(box, "one")
    process = opened(screen, "one")
    screen.type("e")
    screen.shows("#$")
    process.send_signal(signal.SIGTERM)
    assert screen.ended(process) == -signal.SIGTERM
    wait_until(screen.given_back)
    wait_until(lambda: not box.workers())
    left(screen)


def test_in_the_background_and_back(screen: Screen, box: Installation) -> None:
    start(box, "one")
    process = opened(screen, "one")
    screen.type("\x1a")
    assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])
    left(screen)
    process.send_signal(signal.SIGCONT)
    wait_until(lambda: not screen.given_back())
    before = screen.written
    screen.until(lambda _: b"?1049h" in screen.written[len(before) :])
    screen.shows("^ one +running")
    screen.type("q")
    assert screen.ended(process) == 0
    left(screen)


BROKEN = """
import sys
from knarr.cli.caller import Caller
from knarr.cli.dashboard.app import Dashboard
from knarr.cli.dashboard.driver import driver_of, held_terminal

class Board:
    containers = {}
    def read(self):
        raise RuntimeError("of a kind that nobody foresaw")

with held_terminal():
    app = Dashboard(Board(), print, driver_of(Caller()))
    app.run()
print(repr(app.failed))
sys.exit(app.return_code)
"""


def test_a_defect_gives_the_terminal_back_too(screen: Screen) -> None:
    process = screen.run(sys.executable, "-c", BROKEN)
    screen.shows("RuntimeError.*of a kind that nobody foresaw")
    assert screen.ended(process) == 1
    left(screen)


def test_what_goes_wrong_inside_textual_does_as_well(screen: Screen) -> None:
    whole = BROKEN.replace('raise RuntimeError("of a kind that nobody foresaw")', "return []")
    broken = whole.replace("app.run()", "app.action_order = lambda: 1 / 0; app.run()")
    process = screen.run(sys.executable, "-c", broken)
    screen.shows("0 containers")
    screen.type("o")
    screen.shows("ZeroDivisionError")
    assert screen.ended(process) == 1
    left(screen)


def test_in_the_caller_itself(screen: Screen, box: Installation) -> None:
    start(box, "one")
    screen._box.environment["KNARR_SERVER"] = "off"
    process = opened(screen, "one")
    process.send_signal(signal.SIGTERM)
    assert screen.ended(process) == -signal.SIGTERM
    left(screen)


WITHOUT = """
import sys
from knarr.cli import main
from knarr.cli.caller import Caller
sys.modules["textual"] = None
sys.exit(main.run(["top", "--all"], Caller()))
"""


def test_it_needs_textual(screen: Screen) -> None:
    process = screen.run(sys.executable, "-c", WITHOUT)
    assert screen.ended(process) == 1
    screen.shows("^Error: top --all needs the package textual: install it with pip install")
    assert screen.given_back()


def test_it_needs_a_terminal(box: Installation) -> None:
    assert box.run("top", "--all") == (
        1, b"", b"Error: top --all needs a terminal: use 'knarr stats --no-stream'\n",
    )  # fmt: skip
    assert box.run("top", "--all", "one")[2].startswith(
        b"knarr: 'knarr top --all' accepts no arguments\n"
    )
    assert box.run("top")[2].startswith(b"knarr: 'knarr top' requires at least 1 argument\n")
