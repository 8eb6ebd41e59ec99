"""Carries out a program of system calls in Python: what the machine code does, for any machine."""

import ctypes
import os

from knarr.kernel.libc import PYLIBC
from knarr.runtime.program.operations import (
    CALL,
    END,
    FAIL,
    HIGHEST_ERROR,
    JUMP,
    OPERATION,
    REPEAT,
    SET,
    SIZE,
    TEST,
    TRIES,
)

_EAGAIN = 11

_syscall = PYLIBC.syscall
_syscall.restype = ctypes.c_long


def run(first: int, fault: int) -> int:
    """Carry out operations from address ``first``; returns 0, or a negated error number.

    fault: address of the two cells for the number of the operation that failed and
    its error number.
    """
    at = first
    while True:
        record = OPERATION.unpack(ctypes.string_at(at, SIZE))
        number, indirect, kind, jump, *errors, out = record[:7]
        arguments = [
            _load(value) if indirect >> index & 1 else value
            for index, value in enumerate(record[7:])
        ]
        errno = 0
        if kind in (CALL, REPEAT):
            result = _call(number, arguments)
            for _ in range(TRIES - 1 if kind == REPEAT else 0):
                if result != -_EAGAIN:
                    break
                result = _call(number, arguments)
            if out:
                _store(out, result)
            errno = -result if -HIGHEST_ERROR <= result < 0 else 0
        elif kind == SET:
            _store(out, arguments[0])
        elif kind == TEST:
            word = ctypes.c_uint32.from_address(arguments[0]).value
            if word & arguments[1] & 0xFFFFFFFF != arguments[2] & 0xFFFFFFFF:
                errno, errors = arguments[3], [0]
        elif kind == JUMP:
            errno, errors = -1, [0]
        elif kind == FAIL:
            errno, jump = arguments[0], 0
        elif kind == END:
            return 0
        if errno == 0:
            at += SIZE
        elif jump and (not errors[0] or errno in errors):
            at += jump * SIZE
        else:
            _store(fault, (at - first) // SIZE)
            _store(fault + 8, errno)
            return -errno


def be(first: int, fault: int) -> None:
    """Be the process that a program is carried out in; never returns."""
    try:
        code = 1 if run(first, fault) else 0
    except BaseException:  # a defect must end this process, never return into the parent's code
        code = 2
    os._exit(code)


def _call(number: int, arguments: "list[int]") -> int:
    result: int = _syscall(
        ctypes.c_long(number), *(ctypes.c_long(_signed(value)) for value in arguments)
    )
    return -ctypes.get_errno() if result == -1 else result


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _load(address: int) -> int:
    return ctypes.c_int64.from_address(address).value


def _store(address: int, value: int) -> None:
    ctypes.c_int64.from_address(address).value = _signed(value & 0xFFFFFFFFFFFFFFFF)
