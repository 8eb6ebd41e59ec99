"""Signals and job control: all that comes is passed on, and ends are the caller's own."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys

import pytest

from tests.support.waiting import PATIENCE
from tests.unit.client.conftest import Thin, ends

PASSED_ON = [
    signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTERM,
    signal.SIGTSTP, signal.SIGWINCH,
]  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGPIPE])
def test_it_dies_of_the_signal_it_is_told(thin: Thin, number: signal.Signals) -> None:
    process, there = thin.listen().serve()
    there.say(b"K%d" % number)
    assert ends(process) == -number


def test_a_signal_that_was_ignored_kills_when_it_is_told(thin: Thin) -> None:
    process, there = thin.listen().serve(
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    there.say(b"K1")
    assert ends(process) == -signal.SIGHUP


def test_signals_arrive_in_order_and_each_of_them(thin: Thin) -> None:
    process, there = thin.listen().serve("run")
    for number in PASSED_ON:
        process.send_signal(number)
        assert there.hear() == bytes([number])
    for _ in range(50):
        process.send_signal(signal.SIGUSR1)
        assert there.hear() == bytes([signal.SIGUSR1])
    there.say(b"X0")
    assert ends(process) == 0


def test_no_signal_is_lost_in_a_burst(thin: Thin) -> None:
    process, there = thin.listen().serve("run")
    for number in PASSED_ON:
        process.send_signal(number)
    assert {there.hear()[0] for _ in PASSED_ON} == set(PASSED_ON)
    there.say(b"X0")
    assert ends(process) == 0


def test_signals_before_the_greeting_do_what_they_do(thin: Thin) -> None:
    process = thin.listen().start("run")
    link = thin.accept(b"")
    process.send_signal(signal.SIGTERM)
    assert ends(process) == -signal.SIGTERM
    assert link.recv(10) == b""


def test_what_is_ignored_or_blocked_is_not_passed_on(native: Thin) -> None:
    def prepare() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR2])

    process, there = native.listen().serve("run", preexec_fn=prepare)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGUSR2)
    process.send_signal(signal.SIGTERM)
    assert there.hear() == bytes([signal.SIGTERM])
    there.say(b"X0")
    assert ends(process) == 0


def test_stop_and_continue(thin: Thin) -> None:
    process, there = thin.listen().serve("run", process_group=0)
    for number in (signal.SIGTSTP, signal.SIGTTIN):
        there.say(b"T%d" % number)
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        process.send_signal(signal.SIGCONT)
        said = [there.hear()]
        while said[-1][:1] != b"F":  # the number of SIGCONT may come before
            said.append(there.hear())
        assert said[-1] == b"F1"
    process.send_signal(signal.SIGTERM)
    while (word := there.hear())[:1] == b"F" or word == bytes([signal.SIGCONT]):
        continue
    assert word == bytes([signal.SIGTERM])
    there.say(b"X3")
    assert ends(process) == 3


def test_continuing_says_where_it_is(thin: Thin) -> None:
    process, there = thin.listen().serve("run", process_group=0)
    process.send_signal(signal.SIGSTOP)
    _, status = os.waitpid(process.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    process.send_signal(signal.SIGCONT)
    while there.hear() != b"F1":
        continue
    there.say(b"X0")
    assert ends(process) == 0


@pytest.mark.parametrize("front", [True, False])
def test_job_control(thin: Thin, front: bool) -> None:
    """A session with a terminal, and the command in its foreground or background group."""
    leader = (
        "import fcntl, os, subprocess, sys, termios\n"
        "fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        f"group = {'None' if front else '0'}\n"
        "sys.exit(subprocess.run(sys.argv[1:], process_group=group).returncode)\n"
    )
    if not front:
        leader = leader.replace("group = 0\n", "group = 0\nos.tcsetpgrp(0, os.getpgrp())\n")
    thin.listen()
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", leader, *thin.words, "run"],
        env=thin.environment,
        stdin=slave,
        start_new_session=True,
    )
    os.close(slave)
    there = thin.request()
    assert there.words[9] == (b"1" if front else b"0")
    there.say(b"X0")
    assert process.wait(PATIENCE) == 0
    os.close(master)


def test_the_last_word_counts_when_a_signal_was_left_unread(thin: Thin) -> None:
    process, there = thin.listen().serve("run", process_group=0)
    there.say(b"T%d" % signal.SIGTSTP)
    os.waitpid(process.pid, os.WUNTRACED)
    there.say(b"X5")
    process.send_signal(signal.SIGCONT)  # it says where it is, and nobody reads that
    # a worker that closes with something unread resets the connection
    assert select.select([there.link], [], [], PATIENCE)[0]
    there.link.close()
    assert ends(process) == 5


def test_a_signal_to_a_worker_that_refuses_still_counts(native: Thin) -> None:
    process, there = native.listen().serve("ps", "-a")
    process.send_signal(signal.SIGTERM)
    assert there.hear() == bytes([signal.SIGTERM])
    there.say(b"N")
    assert ends(process) == -signal.SIGTERM
