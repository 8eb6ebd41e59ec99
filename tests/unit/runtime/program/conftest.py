"""Programs are carried out by both: the machine code and the interpreter."""

from __future__ import annotations

import pytest

from knarr.runtime.program import carrier, memory


@pytest.fixture(params=["machine-code", "interpreter"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What ``carrier.run`` uses; each test begins with empty cells."""
    if request.param == "interpreter":
        monkeypatch.setattr(carrier, "_native", None)
    elif not carrier.SHARED:
        pytest.skip("there is no machine code for this machine")
    memory.write(memory.BASE, bytes(4096))
    return str(request.param)
