"""What does ``knarr-oci`` take for a bundle, beside runc and crun?"""

from __future__ import annotations

import sys
from pathlib import Path

from .harness import PAUSE, Contestant, Report, alternate
from .peers import Peers, make_bundle

BESIDE = Path(sys.executable).parent / "knarr-oci"
NAMES = {"knarr-oci": str(BESIDE), "runc": "runc", "crun": "crun"}
RUN, LIFE = "run", "create, start, delete"


def run(rounds: int = 30) -> Report:
    """Let everybody carry a container of ``true`` through its life in turns, with one spec."""
    report = Report("oci", "A bundle of `true`, by OCI runtimes")
    with Peers() as peers:
        contestants: dict[str, Contestant] = {}
        for name, program in NAMES.items():
            try:
                folder = make_bundle(program, "runc")
                words = [program, "run", "--bundle", str(folder), f"knarr-bench-oci-{name}"]
                act, life = _runs(peers, words), peers.life(program, folder)
                act()
                life()
            except (FileNotFoundError, RuntimeError) as error:
                report.notes.append(f"left out: {name}: {error}")
                continue
            contestants[f"{name}, {RUN}"] = act
            contestants[f"{name}, {LIFE}"] = life
        report.samples = alternate(contestants, rounds, pause=PAUSE)
    for what in (RUN, LIFE):
        if f"runc, {what}" in report.samples:
            ratio = report.ratio(f"knarr-oci, {what}", f"runc, {what}")
            report.goal(f"{what}: knarr-oci / runc", ratio, 1.5)
    return report


def _runs(peers: Peers, words: list[str]) -> Contestant:
    return lambda: peers.run(words)
