"""Going through the motions of a start."""

from __future__ import annotations

import os
from typing import Any

import pytest

from knarr.runtime.plan import plan
from knarr.runtime.rehearsal import rehearse
from knarr.runtime.steps.base import Circumstances
from tests.support.launch import spec


def test_no_file_that_a_caller_names_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may lie on a file system that does not answer: then no container could be started."""
    made = spec("true")
    entry = {"path": "/mnt/dead/node", "type": "c", "major": 1, "minor": 3}
    made["linux"]["devices"] = [entry]

    def refuse(path: Any, *_: object, **__: object) -> os.stat_result:
        raise AssertionError(path)

    monkeypatch.setattr(os, "stat", refuse)
    seen = Circumstances((-1, 4, 5), filtered=True, entrances=2)
    program = rehearse(plan(made), seen)
    monkeypatch.undo()
    assert len(rehearse(plan(made), seen, whole=True)) > len(program) > 0
