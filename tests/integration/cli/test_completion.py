"""Completion in real shells: what TAB makes of a line in bash, zsh and fish."""

from __future__ import annotations

import os
import pty
import re
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.installations import Installation
from tests.support.waiting import PATIENCE

SETUP = {
    "bash": "source <(knarr completion bash); PS1='READ''Y> '\n",
    "zsh": "autoload -Uz compinit; compinit -u -D; source <(knarr completion zsh); "
    "PS1='READ''Y> '; unsetopt zle_bracketed_paste\n",
}
START = {
    "bash": ["bash", "--norc", "--noprofile", "-i"],
    "zsh": ["zsh", "-f", "-i"],
}


class Shell:
    """An interactive shell in a terminal."""

    def __init__(self, name: str, environment: dict[str, str], folder: Path) -> None:
        self._screen = ""
        self._pid, self._terminal = pty.fork()
        if self._pid == 0:
            os.chdir(folder)
            os.execvpe(START[name][0], START[name], environment)
        self.send(SETUP[name])
        self.until("READY> ")

    def send(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def until(self, text: str) -> str:
        """Return what is shown up to and with ``text``, without what moves the cursor."""
        deadline = time.monotonic() + PATIENCE
        while text not in self._screen:
            left = deadline - time.monotonic()
            assert left > 0, self._screen
            if select.select([self._terminal], [], [], left)[0]:
                self._screen += os.read(self._terminal, 65536).decode(errors="replace")
                self._screen = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x1b[=>]|\x07|\r", "", self._screen)
                while "\x08" in self._screen:
                    self._screen = re.sub("[^\x08]?\x08", "", self._screen, count=1)
        shown, _, self._screen = self._screen.partition(text)
        return shown + text

    def close(self) -> None:
        os.close(self._terminal)
        os.waitpid(self._pid, 0)


@pytest.fixture(params=["bash", "zsh"])
def shell(request: pytest.FixtureRequest, box: Installation, tmp_path: Path) -> Iterator[Shell]:
    """A shell that has read the script, in a folder of its own."""
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    opened = Shell(request.param, environment(box, tmp_path), tmp_path)
    yield opened
    opened.close()


def environment(box: Installation, home: Path) -> dict[str, str]:
    path = f"{box.folder}/bin:{box.environment['PATH']}"
    return {**box.environment, "PATH": path, "HOME": str(home), "TERM": "dumb", "LC_ALL": "C.UTF-8"}


LINES = (
    ("knarr versi\t", "knarr version "),
    ("knarr container cl\t", "knarr container clone "),
    ("knarr exec weba\t", "knarr exec webapp "),
    ("knarr start do\t", "knarr start done "),
    ("knarr run --rm bus\t", "knarr run --rm busybox:latest "),
    ("knarr rmi busybox:l\t", "knarr rmi busybox:latest "),
    ("knarr run --cap-add=NET_A\t", "knarr run --cap-add=NET_ADMIN "),
    ("knarr kill -s SIGUSR1 weba\t", "knarr kill -s SIGUSR1 webapp "),
    ("knarr ps -f status=pa\t", "knarr ps -f status=paused "),
    ("knarr run --network container:w\t", "knarr run --network container:webapp "),
    ("knarr run -e 'A=b c' --env-file se\t", "knarr run -e 'A=b c' --env-file settings.env "),
    ("knarr cp webapp:/etc/pass\t", "knarr cp webapp:/etc/passwd "),
)


def test_words_are_finished(box: Installation, shell: Shell) -> None:
    containers(box)
    for typed, line in LINES:
        shell.send(typed)
        assert shell.until(line).endswith(line)
        shell.send("\x15")  # away with it
    box.run("rm", "-f", "webapp", "done")


@pytest.fixture(autouse=True)
def files(tmp_path: Path) -> None:
    """Files in the folder of the shell."""
    (tmp_path / "settings.env").write_text("A=1\n")
    (tmp_path / "with space.tar").write_text("")


def containers(box: Installation) -> None:
    assert box.run("run", "-d", "--name", "webapp", "busybox", "sleep", "1000")[0] == 0
    assert box.run("create", "--name", "done", "busybox", "true")[0] == 0


def test_a_name_with_a_space(shell: Shell) -> None:
    shell.send("knarr load -i wi\t")
    assert "with\\ space.tar " in shell.until("tar ")
    shell.send("\x15")


def test_a_name_that_would_be_carried_out(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "c$(touch proof).tar").write_text("")
    for typed in ("./c", "~/c"):  # both are the same folder
        shell.send(f"knarr load -i {typed}\t")
        shell.until("tar ")
        shell.send("\r")
        shell.until("READY> ")
    assert not (tmp_path / "proof").exists()


def test_several_are_listed(shell: Shell) -> None:
    shell.send("knarr container re\t\t")
    shown = shell.until("rename")
    shown += shell.until("restart")
    assert "remove" in shown
    shell.send("\x15")


@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish(box: Installation, tmp_path: Path) -> None:
    containers(box)
    lines = {
        "knarr versi": ["version"],
        "knarr ex": ["exec", "explain", "export"],
        "knarr exec ": ["webapp"],
        "knarr start ": ["done"],
        "knarr run --cap-add=NET_A": ["--cap-add=NET_ADMIN"],
        "knarr rmi busybox:l": ["busybox:latest"],
        "knarr load -i wi": ["with space.tar"],
        "knarr cp webapp:/etc/pass": ["webapp:/etc/passwd"],
        "knarr exec webapp ": [],
    }
    script = ["knarr completion fish | source"]
    script += [f"complete -C '{line}'; echo ---" for line in lines]
    done = subprocess.run(
        ["fish", "--no-config", "-c", "\n".join(script)],
        env=environment(box, tmp_path), cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = [part.strip("\n").splitlines() for part in done.stdout.split("---\n")[:-1]]
    assert [[row.split("\t")[0] for row in part] for part in found] == list(lines.values()), done
    assert "webapp\tbusybox, Up" in done.stdout
    box.run("rm", "-f", "webapp", "done")


def test_a_shell_that_there_is_not(box: Installation) -> None:
    code, _, err = box.run("completion", "ksh")
    assert (code, err) == (1, b"Error: completion ksh: there is one for bash, fish, zsh\n")
