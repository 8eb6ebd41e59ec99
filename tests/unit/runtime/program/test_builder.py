"""What a builder takes, and where it puts it."""

from __future__ import annotations

import os
import re

import pytest

from knarr.runtime.program import kept, memory
from knarr.runtime.program.builder import Builder, Label
from knarr.runtime.program.memory import TEMPORARY, Cell
from knarr.runtime.program.operations import CALL, JUMP, OPERATION, REPEAT, SIZE, TEST
from tests.support.programs import block

A = TEMPORARY[0]


def records(data: bytes) -> list[tuple[int, ...]]:
    return list(OPERATION.iter_unpack(data))


def test_an_operation_has_64_bytes() -> None:
    assert SIZE == 64
    assert len(block(Builder.end).data) == SIZE


def test_only_cells_are_taken_indirectly() -> None:
    made = block(lambda b: b.call("close", A, int(A) + 0, -1, None, "x", A))
    (record,) = records(made.data)
    number, indirect, kind = record[:3]
    assert (indirect, kind) == (0b100001, CALL)
    assert record[7:11] == (A, A, 2**64 - 1, 0)
    assert memory.text_at(record[11]) == "x"
    assert number == block(lambda b: b.call("close")).data[0]


def test_a_test_is_of_what_stands_at_the_address_of_a_cell() -> None:
    (record,) = records(block(lambda b: b.test(A, 1, 2, errno=3)).data)
    assert record[1:3] == (0, TEST)
    assert record[7:11] == (A, 1, 2, 3)


def test_look_ups_are_repeated() -> None:
    made = block(lambda b: (b.call("openat2"), b.call("openat")))  # type: ignore[func-returns-value]
    assert [record[2] for record in records(made.data)] == [REPEAT, CALL]


def test_labels_lead_forwards_and_back() -> None:
    def write(b: Builder) -> None:
        first, last = Label(), Label()
        b.place(first)
        b.call("close", orelse=last, errors=(2, 17))
        b.jump(first)
        b.test(A, 0, 0, orelse=first)
        b.place(last)

    found = [(record[2], record[3], record[4:6]) for record in records(block(write).data)]
    assert found == [(CALL, 3, (2, 17)), (JUMP, -1, (0, 0)), (TEST, -2, (0, 0))]


@pytest.mark.parametrize("value", ["a\0b", "\0"])
def test_a_text_with_a_nul_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(value))):
        Builder().call("chdir", value)


@pytest.mark.parametrize("value", [1.5, [], object()])
def test_other_arguments_are_refused(value: object) -> None:
    with pytest.raises(TypeError, match="is not a text"):
        Builder().call("chdir", value)  # type: ignore[arg-type]


@pytest.mark.parametrize("value", ["", "x", "\u00e9\udcff", "x" * 100_000])
def test_texts_stand_where_they_are_said_to(value: str) -> None:
    b = Builder()
    assert memory.text_at(b.address(value)) == value


def test_structures_stand_as_they_are() -> None:
    import ctypes

    data = bytes(range(256))
    assert ctypes.string_at(Builder().address(data), 257) == data + b"\0"
    assert ctypes.string_at(memory.address_of(data), 256) == data


def test_blocks_are_made_once() -> None:
    made = []

    def write(b: Builder, value: int) -> None:
        made.append(value)
        b.set(A, value)

    key = ("test_blocks_are_made_once", object())
    first = kept.block(key, write, 1)
    assert kept.block(key, write, 2) is first
    assert kept.block((*key, 2), write, 2) is not first
    assert made == [1, 2]


def test_no_more_blocks_are_kept_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_blocks", {})
    for number in range(2000):
        kept.block((number,), lambda b: None)
    assert kept.count() <= 1024


@pytest.mark.parametrize("value", [0, 1, -1, (1 << 63) - 1, -(1 << 63)])
def test_cells_hold_signed_numbers(value: int) -> None:
    A.set(value)
    assert A.get() == value
    assert Cell(A).get() == value


def test_cells_for_mounts_do_not_overlap_anything() -> None:
    cells = {memory.mount_cell(number) for number in range(memory.MOUNTS_MAX)}
    assert len(cells) == memory.MOUNTS_MAX
    others = {value for value in vars(memory).values() if isinstance(value, Cell)}
    assert not cells & {*others, *TEMPORARY, *memory.ENTRANCES, *memory.STDIO}
    assert max(cells) + 8 <= memory.STATX
    with pytest.raises(OverflowError, match="440 bind mounts"):
        memory.mount_cell(memory.MOUNTS_MAX)


def test_every_cell_has_a_place_of_its_own() -> None:
    named = [value for value in vars(memory).values() if isinstance(value, Cell)]
    named += [*TEMPORARY, *memory.ENTRANCES, *memory.STDIO]
    assert len(set(named)) == len(named)


def test_a_user_is_written_as_setgroups_takes_it() -> None:
    memory.set_user(1000, 100, (5, 0xFFFFFFFE), "/home/\udcff")
    assert (memory.UID.get(), memory.GID.get(), memory.GROUP_COUNT.get()) == (1000, 100, 2)
    assert memory.read(memory.GROUPS, 8) == b"\x05\0\0\0\xfe\xff\xff\xff"
    assert memory.text_at(memory.HOME) == "HOME=/home/\udcff"


@pytest.mark.parametrize(
    ("uid", "gid", "groups", "home"),
    [
        (0xFFFFFFFF, 0, (), "/"),
        (0, -1, (), "/"),
        (0, 0, (1 << 32,), "/"),
        (0, 0, (0,) * 65537, "/"),
        (0, 0, (), "/" + "x" * 4091),
    ],
)
def test_a_user_that_cannot_be_is_refused(
    uid: int, gid: int, groups: tuple[int, ...], home: str
) -> None:
    memory.UID.set(7)
    with pytest.raises(OverflowError, match=r"^user: "):
        memory.set_user(uid, gid, groups, home)
    assert memory.UID.get() == 7


def test_the_longest_home_and_the_most_groups() -> None:
    memory.set_user(0, 0, (1,) * 65536, "/" + "x" * 4089)
    assert memory.text_at(memory.HOME) == "HOME=/" + "x" * 4089
    assert memory.read(memory.KEEPER_STACK - 4, 4) == b"\x01\0\0\0"
    assert os.fsencode(memory.text_at(memory.HOME)) == memory.read(memory.HOME, 4095)


def test_a_jump_has_a_limited_reach() -> None:
    builder, far = Builder(), Label()
    builder.jump(far)
    for _ in range(1 << 15):
        builder.end()
    builder.place(far)
    with pytest.raises(ValueError, match="too far away"):
        builder.finish()
