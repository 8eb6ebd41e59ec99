"""Operations: a program of system calls as an array of 64-byte records, and the names in it.

A program is what a plan becomes for the process that carries it out. That process
runs the few hundred bytes of machine code in ``x86_64.S`` or ``aarch64.S``, or
``interpreter.py`` on other machines; all three do the same with the same record:

    u16 number     of the system call
    u8  indirect   bit n: argument n is the address of a cell that holds the value
    u8  kind       CALL, SET, TEST, JUMP, FAIL, REPEAT or END
    i16 jump       how many operations to go, counted from this one, when it fails;
                   0: then the program ends, and fault cells say where and why
    u8  errors[2]  the error numbers with which it jumps, others are fatal; 0: all
    u64 out        address of the cell for the result (an error negated), or 0
    u64 arguments[6]

CALL makes a system call. SET stores its first argument. TEST compares the 32 bits
at its first argument, masked with the second, with the third, and fails with the
fourth as error number when they differ. JUMP goes, FAIL fails, END ends. REPEAT is
a CALL that is made again, at most 64 times, as long as the kernel says EAGAIN.
"""

import struct

OPERATION = struct.Struct("=HBBhBBQ6Q")
SIZE = OPERATION.size
CALL, SET, TEST, JUMP, FAIL, REPEAT, END = range(7)
HIGHEST_ERROR = 4095
TRIES = 64
