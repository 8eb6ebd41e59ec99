"""``python tools/program.py SPEC.json``: the system calls by which a container is started.

SPEC.json is an OCI runtime specification, such as ``containers/ID/spec.json`` below the
data root. Nothing is made or started; it takes no root.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from knarr.runtime.finalleg import INIT_NAME
from knarr.runtime.plan import plan
from knarr.runtime.program.listing import describe
from knarr.runtime.rehearsal import rehearse
from knarr.runtime.steps.base import Circumstances
from knarr.runtime.steps.mounts import BindMount

PIPE = 16  # any descriptor beyond the standard ones


def main() -> int:
    """Print the plan of a specification, and the program that it becomes."""
    parser = argparse.ArgumentParser(prog="tools/program.py", description=__doc__)
    parser.add_argument("spec", type=Path, help="file with an OCI runtime specification")
    parser.add_argument(
        "--groups", type=int, default=0, metavar="N", help="v1 control groups that it enters"
    )
    chosen = parser.parse_args()
    made = plan(json.loads(chosen.spec.read_text()))
    binds = [step for step in made.steps if isinstance(step, BindMount) and step.index >= 0]
    seen = Circumstances(
        None if made.leg.terminal else (PIPE, PIPE, PIPE),
        filtered=True,
        has_init=made.leg.args[0] == INIT_NAME,
        directories=tuple(Path(step.source).is_dir() for step in binds),
        entrances=chosen.groups,
    )
    print("\n".join([*made.describe(), "", *describe(rehearse(made, seen, whole=True))]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
