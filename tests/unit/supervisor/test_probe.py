"""What one health check tells."""

from __future__ import annotations

import os
import subprocess

import pytest

from knarr.runtime import packets
from knarr.supervisor import healthstate, probe


@pytest.mark.parametrize(
    ("ns", "text"),
    [
        (10**6, "1ms"),
        (1_500_000, "1.5ms"),
        (300 * 10**6, "300ms"),
        (10**9, "1s"),
        (1_500_000_000, "1.5s"),
        (1_000_000_001, "1.000000001s"),
        (30 * 10**9, "30s"),
        (60 * 10**9, "1m0s"),
        (90 * 10**9, "1m30s"),
        (3600 * 10**9, "1h0m0s"),
        (3725 * 10**9 + 5 * 10**8, "1h2m5.5s"),
        (100 * 3600 * 10**9, "100h0m0s"),
    ],
)
def test_times_as_go_writes_them(ns: int, text: str) -> None:
    assert probe.go_duration(ns) == text


class Ended:
    """A command that has ended."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(["true"])
        self.pidfd = os.pidfd_open(self._process.pid)

    def finish(self) -> tuple[int, None]:
        return self._process.wait(), None

    def close(self) -> None:
        """Have nothing left to give back."""


def test_whoever_goes_on_writing_is_not_read_for_ever() -> None:
    ours, theirs = packets.pair()
    endless = os.open("/dev/zero", os.O_RDONLY)
    command = Ended()
    try:
        watch = probe._Watch(command, endless, theirs)  # type: ignore[arg-type]
        code, output = watch.outcome(60 * 10**9)
    finally:
        os.close(endless)
        os.close(command.pidfd)
        ours.close()
        theirs.close()
    assert code == 0
    assert output == b"\0" * healthstate.OUTPUT_LIMIT + b"..."
