/* Gives pages of memory back that are again what a copy of them is, on aarch64. What it does
   stands at the head of x86_64.S.

   Registers: x9 entry, x10 entries left, x11 the page, x12 its copy, x13 result, x14 size. */

    .text
    .set SYS_madvise, 233
    .set MADV_DONTNEED, 4
    .set PRESENT, 63
    .set OF_A_FILE, 61

    .macro compare different
    mov x15, 0
1:  ldr x16, [x11, x15]
    ldr x17, [x12, x15]
    cmp x16, x17
    b.ne \different
    add x15, x15, 8
    cmp x15, x14
    b.lo 1b
    .endm

    mov x9, x0
    mov x10, x1
    mov x11, x2
    mov x12, x3
    mov x14, x4
    mov x13, 0
next:
    cbz x10, done
    ldr x15, [x9]
    tbz x15, PRESENT, skip
    tbnz x15, OF_A_FILE, skip
    compare skip
    mov x0, x11
    mov x1, x14
    mov x2, MADV_DONTNEED
    mov x8, SYS_madvise
    svc 0
    cbnz x0, skip
    compare fill
    add x13, x13, 1
    b skip
fill:
    mov x15, 0
1:  ldr x16, [x12, x15]
    str x16, [x11, x15]
    add x15, x15, 8
    cmp x15, x14
    b.lo 1b
skip:
    add x9, x9, 8
    add x11, x11, x14
    add x12, x12, x14
    sub x10, x10, 1
    b next
done:
    mov x0, x13
    ret
