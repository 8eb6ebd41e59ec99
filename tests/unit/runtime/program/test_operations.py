"""What each operation does, by the machine code and by the interpreter."""

from __future__ import annotations

import errno
import os
from functools import partial

import pytest

from knarr.kernel.libc import MACHINE, NUMBERS
from knarr.runtime.errors import RuntimeFailure
from knarr.runtime.program import carrier, memory
from knarr.runtime.program.builder import Builder, Label, Program
from knarr.runtime.program.memory import FAULT_AT, FAULT_ERROR, TEMPORARY
from knarr.runtime.program.operations import TRIES
from tests.support.programs import block, carry, failure, program

pytestmark = pytest.mark.usefixtures("way")
A, B, C, D = TEMPORARY[:4]
NO_FD = 999_999


def test_a_call_gives_its_result() -> None:
    carry(partial(Builder.call, name="umask", out=A), lambda b: b.call("umask", A, out=B))
    assert B.get() == 0  # what the first call set
    before = os.umask(0)
    os.umask(before)
    assert before == A.get()


def test_a_failed_call_leaves_its_error_negated_and_says_where() -> None:
    found = failure(
        lambda b: b.set(B, 1), lambda b: b.call("close", NO_FD, out=A, path="a file"),
        lambda b: b.set(B, 2),
    )  # fmt: skip
    assert (A.get(), B.get()) == (-errno.EBADF, 1)
    assert (FAULT_AT.get(), FAULT_ERROR.get()) == (1, errno.EBADF)
    assert (found.kind, found.step, found.errno) == ("error", "block 1", errno.EBADF)
    assert found.message == "block 1: close: Bad file descriptor: a file"


def test_all_six_arguments_arrive_directly_and_through_cells() -> None:
    source, target = os.memfd_create("source"), os.memfd_create("target")
    os.write(source, b"0123456789")
    numbers, name = NUMBERS, "copy_file_range"
    memory.write(memory.BYTE, (2).to_bytes(8, "little") + (5).to_bytes(8, "little"))
    table = {**numbers, name: 326 if MACHINE == "x86_64" else 285}
    from knarr.runtime.program import builder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "NUMBERS", table)
        carry(lambda b: b.call(name, source, memory.BYTE, target, memory.BYTE + 8, 3, 0, out=A))
        assert A.get() == 3
        for cell, value in zip(TEMPORARY[2:8], (source, memory.BYTE, target, memory.BYTE + 8, 4, 0),
                               strict=True):  # fmt: skip
            cell.set(value)
        carry(lambda b: b.call(name, *TEMPORARY[2:8], out=A))
        assert A.get() == 4
        TEMPORARY[7].set(1)
        found = failure(lambda b: b.call(name, *TEMPORARY[2:8], out=A))
    assert found.errno == errno.EINVAL  # the flags, its sixth argument
    assert os.pread(target, 20, 0) == bytes(5) + b"2345678"
    os.close(source)
    os.close(target)


@pytest.mark.parametrize("value", [0, 1, -1, (1 << 63) - 1, -(1 << 63), 0xFFFFFFFF])
def test_values_are_stored_with_all_their_bits(value: int) -> None:
    B.set(value)
    carry(lambda b: b.set(A, value), lambda b: b.set(C, B))
    assert A.get() == C.get() == value


def test_texts_and_structures_are_given_by_their_address(tmp_path: object) -> None:
    carry(lambda b: b.call("openat", -100, f"{tmp_path}/new", os.O_CREAT | os.O_WRONLY, 0o600,
                           out=A),
          lambda b: b.call("write", A, b"a\0b", 3))  # fmt: skip
    os.close(A.get())
    with open(f"{tmp_path}/new", "rb") as file:
        assert file.read() == b"a\0b"


@pytest.mark.parametrize(
    ("errors", "jumps"),
    [
        ((), True),
        ((errno.EBADF,), True),
        ((errno.ENOENT, errno.EBADF), True),
        ((errno.EBADF, errno.ENOENT), True),
        ((errno.ENOENT,), False),
        ((errno.ENOENT, errno.EPERM), False),
    ],
)
def test_it_jumps_with_the_errors_that_are_named(errors: tuple[int, ...], jumps: bool) -> None:
    def write(b: Builder) -> None:
        label = Label()
        b.call("close", NO_FD, orelse=label, errors=errors)
        b.fail(errno.EXDEV)
        b.place(label)
        b.set(A, 1)

    if jumps:
        carry(write)
        assert A.get() == 1
    else:
        assert failure(write).errno == errno.EBADF
        assert FAULT_AT.get() == 0


def test_a_call_that_succeeds_does_not_jump() -> None:
    label = Label()

    def write(b: Builder) -> None:
        b.call("umask", 0o22, out=A, orelse=label)
        b.set(B, 1)
        b.place(label)

    carry(write)
    assert B.get() == 1


def test_jumps_lead_back_too() -> None:
    """A loop: reads one byte after the other until there is none."""
    reader, writer = os.pipe2(os.O_NONBLOCK)
    os.write(writer, b"abc")

    def write(b: Builder) -> None:
        again, end = Label(), Label()
        b.place(again)
        b.call("read", reader, memory.BYTE, 1, orelse=end, errors=(errno.EAGAIN,))
        b.set(A, 1)
        b.jump(again)
        b.place(end)

    carry(write)
    assert (A.get(), memory.read(memory.BYTE, 1)) == (1, b"c")
    os.close(reader)
    os.close(writer)


def test_a_test_that_fails_jumps_back() -> None:
    reader, writer = os.pipe()
    os.write(writer, b"aaaaX")

    def write(b: Builder) -> None:
        again = Label()
        b.place(again)
        b.call("read", reader, memory.BYTE, 1)
        b.test(memory.BYTE, 0xFF, ord("X"), orelse=again)

    carry(write)
    assert memory.read(memory.BYTE, 1) == b"X"
    os.close(reader)
    os.close(writer)


@pytest.mark.parametrize(
    ("word", "mask", "value", "same"),
    [
        (0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF, True),
        (0x80000000, 0x80000000, 0x80000000, True),
        (0x12345678, 0xFF00, 0x5600, True),
        (0x12345678, 0, 0, True),
        (0x12345678, 0xFF00, 0x5500, False),
        (0, 0xFFFFFFFF, 0x80000000, False),
        (5, 2, 2, False),
    ],
)
def test_a_test_compares_32_bits(word: int, mask: int, value: int, same: bool) -> None:
    A.set(0x5555555500000000 | word)  # what stands behind does not matter

    def write(b: Builder) -> None:
        label = Label()
        b.test(A, mask, value, orelse=label)
        b.set(B, 1)
        b.place(label)

    carry(write)
    assert B.get() == same
    check = partial(Builder.test, address=A, mask=mask, value=value, errno=errno.EXDEV, path="it")
    if same:
        carry(check)
    else:
        found = failure(check)
        assert found.message == "block 0: check: Invalid cross-device link: it"


def test_a_negated_error_can_be_tested() -> None:
    label = Label()

    def write(b: Builder) -> None:
        b.call("close", NO_FD, out=A, orelse=label)
        b.place(label)
        b.test(A, 0xFFFFFFFF, -errno.EBADF & 0xFFFFFFFF)

    carry(write)


@pytest.mark.parametrize("number", [1, 11, 95, 255, 4095])
def test_failing_gives_any_error(number: int) -> None:
    found = failure(partial(Builder.fail, errno=number, path="why"))
    assert found.errno == FAULT_ERROR.get() == number
    assert found.message == f"block 0: check: {os.strerror(number)}: why"


def test_nothing_happens_behind_the_end() -> None:
    carry(Builder.end, lambda b: b.set(A, 1), lambda b: b.fail(1))
    assert A.get() == 0


def test_a_fault_of_before_is_forgotten() -> None:
    failure(partial(Builder.fail, errno=1))
    carry(lambda b: b.set(A, 1))
    assert FAULT_ERROR.get() == 0


def repeated(b: Builder, fd: int, size: int, orelse: Label | None = None) -> None:
    """A read that is made again like a scoped look-up."""
    from knarr.runtime.program import builder

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builder, "NUMBERS", {"openat2": NUMBERS["read"]})
        b.call("openat2", fd, memory.BYTE, size, out=A, orelse=orelse)


def reads() -> int:
    """Return how often this thread has called read(2), those that failed as well (proc(5))."""
    fd = os.open("/proc/thread-self/io", os.O_RDONLY)
    try:
        text = os.read(fd, 4096).decode()
    finally:
        os.close(fd)
    return int(text.partition("syscr: ")[2].split()[0])


def test_what_eagain_asks_to_make_again_is_made_64_times() -> None:
    if not os.path.exists("/proc/thread-self/io"):
        pytest.skip("this kernel does not count what a thread reads")
    counter = os.eventfd(0, os.EFD_NONBLOCK)
    made = program(lambda b: repeated(b, counter, 8))
    before = reads()
    assert carrier.run(made) == -errno.EAGAIN
    assert reads() - before - 1 == TRIES
    assert A.get() == -errno.EAGAIN
    os.eventfd_write(counter, 3)
    before = reads()
    assert carrier.run(made) == 0
    assert reads() - before - 1 == 1
    assert A.get() == 8
    os.close(counter)


def test_a_plain_call_is_not_repeated() -> None:
    counter = os.eventfd(0, os.EFD_NONBLOCK)
    made = program(lambda b: b.call("read", counter, memory.BYTE, 8))
    before = reads()
    assert carrier.run(made) == -errno.EAGAIN
    assert reads() - before - 1 == 1
    os.close(counter)


def test_another_error_is_not_repeated_and_jumps() -> None:
    label = Label()

    def write(b: Builder) -> None:
        repeated(b, NO_FD, 8, label)
        b.fail(errno.EXDEV)
        b.place(label)

    carry(write)
    assert A.get() == -errno.EBADF


def test_the_failure_is_explained_by_the_block_it_is_in() -> None:
    def explain(name: str, number: int) -> RuntimeFailure:
        return RuntimeFailure("not-found", name, f"told: {number}", number)

    made = Program()
    same = block(lambda b: (b.set(A, B), b.call("close", A, explain=explain)))  # type: ignore[func-returns-value]
    good = os.open("/dev/null", os.O_RDONLY)
    B.set(good)
    made.add("first", same)
    made.add("between", block(lambda b: b.set(B, NO_FD)))
    made.add(lambda: "sec" + "ond", same)
    made.add("end", block(Builder.end))
    assert len(made) == 6
    assert carrier.run(made) == -errno.EBADF
    assert FAULT_AT.get() == 4
    found = made.failure()
    assert found is not None
    assert (found.kind, found.step, found.message) == ("not-found", "second", "told: 9")
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(good)  # the block did its work where it stood first


def test_a_block_with_jumps_stands_anywhere() -> None:
    def loop(b: Builder) -> None:
        again, out, end = Label(), Label(), Label()
        b.jump(out)
        b.place(again)
        b.call("close", NO_FD, orelse=end)
        b.place(out)
        b.call("close", NO_FD, orelse=again)
        b.fail(1)
        b.place(end)

    same = block(loop)
    made = Program()
    for name in "abc":
        made.add(name, same)
        made.add(name, block(lambda b: b.set(A, 7)))
    made.add("end", block(Builder.end))
    assert carrier.run(made) == 0
    assert A.get() == 7


def test_a_program_that_went_well_has_no_failure() -> None:
    made = program(lambda b: b.set(A, 1))
    assert carrier.run(made) == 0
    assert made.failure() is None


def test_a_fault_outside_of_all_blocks_is_told_too() -> None:
    FAULT_AT.set(10)
    FAULT_ERROR.set(errno.EPERM)
    found = program().failure()
    assert found is not None
    assert found.message == "operation 9: Operation not permitted"


def test_registers_of_the_caller_are_kept() -> None:
    made = program(lambda b: b.call("close", NO_FD, out=A))
    for _ in range(1000):
        assert carrier.run(made) == -errno.EBADF


def test_a_long_program() -> None:
    """Jumps over more than a byte's worth of operations."""

    def write(b: Builder) -> None:
        back, over = Label(), Label()
        b.jump(over)
        b.place(back)
        b.end()
        for _ in range(3000):
            b.fail(errno.EXDEV)
        b.place(over)
        b.jump(back)

    carry(write)
