"""The validation programs of OCI runtime-tools, where somebody has built them.

No package registry has the programs. ``KNARR_RUNTIME_TOOLS`` names a tree in which they were
built (docs/conformance.md): ``validation/NAME/NAME.t``, ``runtimetest``, ``rootfs-*.tar.gz``.
"""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from tests.support.bundles import Oci

TREE = Path(os.environ.get("KNARR_RUNTIME_TOOLS") or "/nonexistent")
PROGRAMS = sorted(path.stem for path in TREE.glob("validation/*/*.t"))
KNOWN = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())["program"]
# They print no plan and no test, and nothing at all when all is well.
SILENT = ("process_rlimits_fail", "process_capabilities_fail")

pytestmark = pytest.mark.skipif(
    not PROGRAMS, reason="KNARR_RUNTIME_TOOLS names no tree with the built programs"
)


def passes(name: str, status: int, text: str) -> bool:
    """Return whether a program's TAP says that all is well.

    Some programs run no test (``1..0``) and only print an error as a diagnosis.
    """
    lines = text.splitlines()
    if status or any(re.match(r"\s*not ok", line) for line in lines):
        return False
    plan = next((line for line in lines if re.match(r"1\.\.\d+$", line)), "")
    if plan == "1..0" or name in SILENT:
        return '"error"' not in text
    return bool(plan) and any(line.startswith("ok ") for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("name", PROGRAMS or ["none"])
def test_program(name: str, oci: Oci, tmp_path: Path) -> None:
    """It passes, or fails for the reason that is written down."""
    words = [str(TREE / "validation" / name / f"{name}.t")]
    private = ["unshare", "--mount", "--propagation", "private"]
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    done = subprocess.run(
        [*private, *words], cwd=TREE, capture_output=True, text=True, errors="replace", check=False,
        env={**os.environ, "RUNTIME": str(oci.program), "TMPDIR": str(temporary)}, timeout=120,
    )  # fmt: skip
    passed = passes(name, done.returncode, done.stdout)
    known = KNOWN.get(name)
    if known is None:
        assert passed, done.stdout + done.stderr
    elif known["fault"] == "suite":
        assert not passed, "it is written down as one that nobody can pass"
