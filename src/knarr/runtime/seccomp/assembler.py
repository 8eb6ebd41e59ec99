"""Classic BPF, written from the end to the beginning (kernel: networking/filter.rst).

All jumps of classic BPF go forward, and conditional ones reach 255 instructions.
Built backwards, every target already has its place when a jump to it is written,
so its distance is known: too far away, an answer is simply repeated nearby.
"""

import struct

LD_WORD = 0x20  # A = 32 bits of struct seccomp_data at k
AND = 0x54  # A &= k
JEQ = 0x15
JGT = 0x25
JGE = 0x35
JA = 0x05
RET = 0x06

MAX_LENGTH = 4096  # BPF_MAXINSNS
_REACH = 255
_FORMAT = "=HBBI"  # struct sock_filter: code, jt, jf, k

# Offsets in struct seccomp_data.
DATA_NR = 0
DATA_ARCH = 4
DATA_ARGS = 16


class Answer:
    """A jump target that ends the program with a SECCOMP_RET_* value."""

    __slots__ = ("value",)

    def __init__(self, value: int) -> None:
        self.value = value


class Label:
    """A jump target that is already written: its place counted from the program's end."""

    __slots__ = ("place",)

    def __init__(self, place: int) -> None:
        self.place = place


class Assembler:
    """Collects instructions last to first; `program` turns them around."""

    __slots__ = ("_answers", "_code")

    def __init__(self) -> None:
        self._code: list[tuple[int, int, int, int]] = []
        self._answers: dict[int, int] = {}

    def _append(self, code: int, jump_true: int, jump_false: int, k: int) -> Label:
        if len(self._code) >= MAX_LENGTH:
            raise ValueError(f"seccomp: profile needs more than {MAX_LENGTH} instructions")
        self._code.append((code, jump_true, jump_false, k))
        return Label(len(self._code) - 1)

    def _place(self, target: "Answer | Label", spare: int) -> int:
        """Return the place of ``target``, made reachable for a jump ``spare`` instructions on."""
        here = len(self._code)
        if isinstance(target, Answer):
            place = self._answers.get(target.value)
            if place is None or here + spare - 1 - place > _REACH:
                place = self._append(RET, 0, 0, target.value).place
                self._answers[target.value] = place
            return place
        if here + spare - 1 - target.place > _REACH:
            return self._append(JA, 0, 0, here - 1 - target.place).place
        return target.place

    def jump(self, code: int, k: int, true: "Answer | Label", false: "Answer | Label") -> Label:
        """Write a conditional jump on the accumulator and return where it stands."""
        # Each of the two targets may cost one instruction of its own before the jump.
        place_true = self._place(true, 2)
        place_false = self._place(false, 1)
        here = len(self._code)
        return self._append(code, here - 1 - place_true, here - 1 - place_false, k)

    def load(self, offset: int, then: Label, mask: int = 0xFFFFFFFF) -> Label:
        """Write a load of 32 bits (masked) that goes on at ``then``; return where it stands."""
        if then.place != len(self._code) - 1:
            then = self._append(JA, 0, 0, len(self._code) - 1 - then.place)
        if mask != 0xFFFFFFFF:
            self._append(AND, 0, 0, mask)
        return self._append(LD_WORD, 0, 0, offset)

    def label(self, target: "Answer | Label") -> Label:
        """Return a place that gives ``target``; an answer is written if it is not near."""
        return Label(self._place(target, 0))

    def program(self) -> bytes:
        """Return the program, first instruction first, as an array of struct sock_filter."""
        return b"".join(struct.pack(_FORMAT, *one) for one in reversed(self._code))
