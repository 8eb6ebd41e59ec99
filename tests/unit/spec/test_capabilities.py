from __future__ import annotations

import re
from pathlib import Path

import pytest

from knarr.spec import capabilities


def test_numbers_are_the_kernels() -> None:
    header = Path("/usr/include/linux/capability.h")
    if not header.exists():
        pytest.skip("kernel headers are not installed")
    pattern = re.compile(r"^#define (CAP_[A-Z_]+)\s+(\d+)$", re.M)
    expected = {name: int(number) for name, number in pattern.findall(header.read_text())}
    assert expected == capabilities.NUMBERS
    assert capabilities.LAST == 40


def test_default_is_dockers_fourteen() -> None:
    assert len(set(capabilities.DEFAULT)) == 14
    assert set(capabilities.DEFAULT) < set(capabilities.NAMES)
    assert capabilities.mask(capabilities.DEFAULT) == 0xA80425FB


def test_masks_and_names_are_inverse() -> None:
    assert capabilities.mask(capabilities.NAMES) == capabilities.ALL_MASK == 0x1FFFFFFFFFF
    assert capabilities.from_mask(capabilities.ALL_MASK) == list(capabilities.NAMES)
    assert capabilities.from_mask(1 << 21 | 1) == ["CAP_CHOWN", "CAP_SYS_ADMIN"]


def test_unknown_names_are_left_out() -> None:
    assert capabilities.mask(["CAP_KILL", "CAP_NO_SUCH", "KILL"]) == 1 << 5
    assert capabilities.from_mask(1 << 63) == []
