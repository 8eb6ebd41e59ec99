"""``python -m benchmarks [NAME …]``: run benchmarks, print, write JSON and SVG."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys

from . import plot
from .harness import Report

# name -> what ratios are to
NAMES = {
    "start": "floor in C",
    "exec": "nsenter",
    "fleet": None,
    "layers": "GNU tar",
    "lazy": None,
    "logs": None,
    "networks": None,
    "oci": None,
    "dns": "aardvark-dns",
    "ps": "podman ps -a",
    "pull": "podman pull",
    "registry": None,
    "stats": "podman stats",
    "cp": "podman cp, in",
}


def main() -> int:
    """Run the benchmarks that were named, or all; 1 when one of them could not be run."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
    chosen = parser.parse_args().names or list(NAMES)
    for name in chosen:
        if name not in NAMES:
            parser.error(f"no benchmark {name}: choose from {', '.join(NAMES)}")
    if os.geteuid() != 0:
        parser.error("containers and namespaces take root")
    # What a benchmark has made goes with it, also when it is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    for name in chosen:
        report: Report = importlib.import_module(f"benchmarks.bench_{name}").run()
        report.show(NAMES[name])
        print(f"  kept in {report.save()}")
        picture = plot.draw(report)
        if picture is not None:
            print(f"  drawn in {picture}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
