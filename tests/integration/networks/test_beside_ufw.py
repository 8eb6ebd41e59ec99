"""Networks on a host where ufw runs."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from knarr import Engine
from knarr.networks import naming
from tests.support.beside import run, site, table
from tests.support.nethost import NetHost
from tests.support.waiting import wait_until

SHARED = Path("/usr/share/ufw")
pytestmark = pytest.mark.skipif(shutil.which("ufw") is None, reason="needs ufw")

# Its settings are in /etc alone, so they get a folder of the test's own there.
PROGRAM = """
mount --make-rprivate /; mount --bind "$0/ufw" /etc/ufw; mount --bind "$0/default" /etc/default/ufw
exec ufw "$@"
"""


class Ufw:
    """The command, with settings as they are after the package was installed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        own = folder / "ufw"
        shutil.copytree("/etc/ufw", own)
        for each in (*SHARED.glob("*.rules"), *SHARED.glob("*.init"), SHARED / "ufw.conf",
                     *(SHARED / "iptables").glob("*.rules")):  # fmt: skip
            shutil.copy(each, own / each.name)
        (folder / "default").write_text(Path("/etc/default/ufw").read_text())

    def __call__(self, *words: str) -> None:
        run("unshare", "--mount", "sh", "-c", PROGRAM, os.fspath(self._folder), *words)


def test_both_keep_their_rules(nethost: NetHost, engine: Engine, tmp_path: Path) -> None:
    ufw = Ufw(tmp_path)
    ufw("--force", "enable")
    try:
        before = table("ip", "filter"), table("ip6", "filter")
        with site(nethost, engine) as there:
            assert (table("ip", "filter"), table("ip6", "filter")) == before
            obstacles = engine.networks.on_host.firewall.obstacles()
            assert obstacles[0].startswith("table ip filter: chain FORWARD drops")
            ufw("route", "allow", "in", "on", there.bridge)
            ufw("route", "allow", "out", "on", there.bridge)
            wait_until(there.works)
            ours = table("inet", naming.table(engine.settings.data_root))
            ufw("reload")
            assert table("inet", naming.table(engine.settings.data_root)) == ours
            wait_until(there.works)
            assert not there.is_open()
            ufw("--force", "disable")
            assert table("inet", naming.table(engine.settings.data_root)) == ours
            ufw("--force", "enable")
            wait_until(there.works)
    finally:
        ufw("--force", "disable")
