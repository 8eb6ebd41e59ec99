"""The program that the resolver starts when somebody has deleted the firewall's rules.

What networks and ports there are is known to the database and the containers' supervisors, so
it is the engine's to say; the resolver only notices.
"""

from __future__ import annotations

from contextlib import closing

from knarr.config import Settings
from knarr.engine.engine import Engine


def main(data_root: str, run_root: str) -> None:
    """Make the rules anew if they are not there. Raises OSError, KnarrError."""
    with closing(Engine(Settings(data_root=data_root, run_root=run_root))) as engine:
        on_host = engine.networks.on_host
        if not on_host.firewall.present():
            on_host.restore()
