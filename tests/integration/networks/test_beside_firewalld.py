"""Networks on a host where firewalld runs."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from knarr import Engine
from knarr.networks import naming
from tests.support.beside import run, site, table
from tests.support.nethost import NetHost
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    not (shutil.which("firewalld") and shutil.which("dbus-daemon")), reason="needs firewalld, dbus"
)
BUS = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-BUS Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig><type>system</type><listen>unix:path={path}</listen>
<policy context="default"><allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/>
<allow own="*"/></policy></busconfig>"""


class Firewalld:
    """firewalld with a message bus of its own, in the network namespace of the test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.environment = {"DBUS_SYSTEM_BUS_ADDRESS": f"unix:path={folder}/bus"}
        self._processes: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        bus = self._folder / "bus.conf"
        bus.write_text(BUS.format(path=self._folder / "bus"))
        self._start("dbus-daemon", f"--config-file={bus}", "--nofork", "--nopidfile")
        wait_until((self._folder / "bus").exists)
        settings = self._folder / "settings"
        for name in ("zones", "services", "policies", "ipsets", "icmptypes", "helpers"):
            (settings / name).mkdir(parents=True)
        self._start("firewalld", "--nofork", "--nopid", f"--system-config={settings}",
                    f"--log-file={self._folder}/log")  # fmt: skip
        wait_until(lambda: self._state() == b"running\n")
        return self

    def __exit__(self, *_: object) -> None:
        for process in reversed(self._processes):
            process.terminate()
            process.wait()

    def _start(self, *words: str) -> None:
        self._processes.append(
            subprocess.Popen(
                words, env={**os.environ, **self.environment},
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            )
        )  # fmt: skip

    def _state(self) -> bytes:
        return subprocess.run(
            ["firewall-cmd", "--state"], env={**os.environ, **self.environment},
            capture_output=True, check=False,
        ).stdout  # fmt: skip

    def __call__(self, *words: str) -> None:
        run("firewall-cmd", *words, **self.environment)


@pytest.fixture
def firewalld(nethost: NetHost, tmp_path: Path) -> Iterator[Firewalld]:
    del nethost
    with Firewalld(tmp_path) as started:
        yield started


def test_both_keep_their_rules(nethost: NetHost, engine: Engine, firewalld: Firewalld) -> None:
    before = table("inet", "firewalld")
    with site(nethost, engine) as there:
        assert table("inet", "firewalld") == before
        wait_until(there.answers)  # what a translation leads in is let through
        assert not there.reaches()  # what comes from an interface without a zone is rejected
        firewalld("--permanent", "--zone=trusted", f"--add-interface={there.bridge}")
        firewalld("--reload")
        wait_until(there.works)
        ours = table("inet", naming.table(engine.settings.data_root))
        firewalld("--reload")
        firewalld("--complete-reload")
        assert table("inet", naming.table(engine.settings.data_root)) == ours
        wait_until(there.works)
        assert not there.is_open()
        after = table("inet", "firewalld")
    assert table("inet", "firewalld") == after
