/* Carries out a program of system calls, on aarch64. What it does stands at the head of x86_64.S.

   Registers: x19 the operation, x20 the first one, x21 fault, w22 which arguments are indirect. */

    .text
    .set SYS_exit_group, 94
    .set SYS_rt_sigprocmask, 135
    .set SYS_clone3, 435
    .set SIG_SETMASK, 2
    .set HIGHEST_ERROR, 4095
    .set EAGAIN, 11
    .set TRIES, 64
    /* struct operation */
    .set NUMBER, 0
    .set INDIRECT, 2
    .set KIND, 3
    .set JUMP, 4
    .set ERRORS, 6
    .set OUT, 8
    .set ARGUMENTS, 16
    .set SIZE_SHIFT, 6

    b run
    .balign 16
    b spawn
    .balign 16

run:
    stp x29, x30, [sp, -48]!
    stp x19, x20, [sp, 16]
    stp x21, x22, [sp, 32]
    mov x19, x0
    mov x20, x0
    mov x21, x1
next:
    ldrb w22, [x19, INDIRECT]
    .macro load number
    ldr x\number, [x19, ARGUMENTS + 8 * \number]
    tbz w22, \number, 1f
    ldr x\number, [x\number]
1:
    .endm
    load 0
    load 1
    load 2
    load 3
    load 4
    load 5
    ldrb w9, [x19, KIND]
    cbnz w9, other
    ldrh w8, [x19, NUMBER]
    svc 0
done:
    ldr x9, [x19, OUT]
    cbz x9, 1f
    str x0, [x9]
1:  cmn x0, HIGHEST_ERROR
    b.hs failed
advance:
    add x19, x19, 1 << SIZE_SHIFT
    b next

failed:                                 /* x0: negated error number */
    neg w0, w0
    ldrsh x9, [x19, JUMP]
    cbz x9, fatal
    ldrb w9, [x19, ERRORS]
    cbz w9, jump
    cmp w9, w0
    b.eq jump
    ldrb w9, [x19, ERRORS + 1]
    cmp w9, w0
    b.eq jump
fatal:                                  /* w0: error number */
    uxtw x0, w0
    sub x9, x19, x20
    lsr x9, x9, SIZE_SHIFT
    stp x9, x0, [x21]
    neg x0, x0
    b leave

jump:
    ldrsh x9, [x19, JUMP]
    add x19, x19, x9, lsl SIZE_SHIFT
    b next

other:
    subs w9, w9, 1
    b.eq set
    subs w9, w9, 1
    b.eq test
    subs w9, w9, 1
    b.eq jump
    subs w9, w9, 1
    b.eq fatal                          /* FAIL: the error number is the first argument */
    subs w9, w9, 1
    b.eq repeat
    mov x0, 0                           /* END */
leave:
    ldp x19, x20, [sp, 16]
    ldp x21, x22, [sp, 32]
    ldp x29, x30, [sp], 48
    ret
set:
    ldr x9, [x19, OUT]
    str x0, [x9]
    b advance
test:
    ldr w9, [x0]
    and w9, w9, w1
    cmp w9, w2
    b.eq advance
    mov w0, w3
    ldrsh x9, [x19, JUMP]
    cbz x9, fatal
    b jump

repeat:
    ldrh w8, [x19, NUMBER]
    mov x10, x0
    mov w11, TRIES
1:  mov x0, x10
    svc 0
    cmn x0, EAGAIN
    b.ne done
    subs w11, w11, 1
    b.ne 1b
    b done

spawn:
    stp x29, x30, [sp, -64]!
    stp x19, x20, [sp, 16]
    stp x21, x22, [sp, 32]
    mov x19, x2
    mov x20, x3
    mov x21, x0
    mov x22, x1
    mov x9, -1
    str x9, [sp, 48]
    mov x0, SIG_SETMASK
    add x1, sp, 48
    add x2, sp, 56
    mov x3, 8
    mov x8, SYS_rt_sigprocmask
    svc 0
    mov x0, x21
    mov x1, x22
    mov x8, SYS_clone3
    svc 0
    cbz x0, child
    mov x21, x0
    mov x0, SIG_SETMASK
    add x1, sp, 56
    mov x2, 0
    mov x3, 8
    mov x8, SYS_rt_sigprocmask
    svc 0
    mov x0, x21
    ldp x19, x20, [sp, 16]
    ldp x21, x22, [sp, 32]
    ldp x29, x30, [sp], 64
    ret
child:
    mov x0, x19
    mov x1, x20
    bl run
    cmp x0, 0
    cset w0, ne
    mov x8, SYS_exit_group
    svc 0
    brk 0
