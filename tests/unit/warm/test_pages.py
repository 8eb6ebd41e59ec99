"""A forked process that has taken its pages over writes to them without faults."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

SCRIPT = """
import os, resource, sys
from knarr.warm import pages
data = bytearray(8 << 20)
for place in range(0, len(data), 4096):
    data[place] = 1
pid = os.fork()
if pid == 0:
    if sys.argv[1] == "own":
        pages.own(lambda: False)
    elif sys.argv[1] == "stop":
        pages.own(lambda: True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for place in range(0, len(data), 4096):
        data[place] = 2
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    os.write(1, b"%d" % faults)
    os._exit(0)
os.waitpid(pid, 0)
"""


def faults(word: str) -> int:
    """Return how many faults 2048 first writes after a fork cause."""
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, word],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        check=True,
    )
    return int(done.stdout)


def test_pages_are_its_own() -> None:
    release = tuple(int(part) for part in os.uname().release.split(".")[:2])
    if release < (5, 14):
        pytest.skip("MADV_POPULATE_WRITE is not there")
    if faults("leave") < 500:
        pytest.skip("this heap is in huge pages")
    assert faults("own") < 20


def test_it_stops_when_somebody_waits() -> None:
    assert faults("stop") >= faults("own")
