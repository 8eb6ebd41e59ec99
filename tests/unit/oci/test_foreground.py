"""Whoever waits for a program in the foreground passes signals on, whenever they come."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import os, signal, subprocess, threading, time
from knarr.oci.foreground import Foreground

script = "trap 'exit 7' USR1; echo; while :; do sleep 0.05; done"
program = subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE)
program.stdout.readline()
front = Foreground()
front.prepare(os.pidfd_open(program.pid), -1)
# Another thread gets the signal: for this one that is as if it had come just before its call.
threading.Thread(target=lambda: time.sleep(1000), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
waiting = "until grep -qE 'poll|wait' /proc/$PPID/wchan; do :; done; kill -USR1 $PPID"
helper = subprocess.Popen(["sh", "-c", waiting])
print(front.wait())
"""


def test_signal_that_comes_just_before_it_waits() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout == "7\n"
