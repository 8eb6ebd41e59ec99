"""What does ``knarr-oci`` take for a bundle, beside runc and crun?"""

from __future__ import annotations

import sys
from pathlib import Path

from .harness import PAUSE, Contestant, Report, alternate
from .peers import Peers, make_bundle

BESIDE = Path(sys.executable).parent / "knarr-oci"
SERVED = "knarr-oci with its server"
NAMES = {"knarr-oci": str(BESIDE), SERVED: str(BESIDE), "runc": "runc", "crun": "crun"}
RUN, LIFE = "run", "create, start, delete"


def run(rounds: int = 30) -> Report:
    """Let everybody carry a container of ``true`` through its life in turns, with one spec."""
    report = Report("oci", "A bundle of `true`, by OCI runtimes")
    with Peers() as peers, peers.oci_server(str(BESIDE)) as server:
        contestants: dict[str, Contestant] = {}
        for name, program in NAMES.items():
            try:
                folder = make_bundle(program, "runc")
                words = [program, "run", "--bundle", str(folder), f"knarr-bench-oci-{len(name)}"]
                # Without one that listens there, each command does its work itself.
                variables = server if name == SERVED else {"KNARR_OCI_SERVER": "/nowhere"}
                act, life = _runs(peers, words, variables), peers.life(program, folder, variables)
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
            ratio = report.ratio(f"{SERVED}, {what}", f"runc, {what}")
            report.goal(f"{what}: {SERVED} / runc", ratio, 1.0)
    return report


def _runs(peers: Peers, words: list[str], variables: dict[str, str]) -> Contestant:
    return lambda: peers.run(words, variables)
