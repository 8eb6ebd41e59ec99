/* knarr's init for aarch64: what it does and why stands in x86_64.S; this is the same step by step.

   Assemble:  as -o init.o aarch64.S && objcopy -O binary -j .text init.o init

   Registers: x19 argv of COMMAND, x20 environment, w21 pid of COMMAND, w22 its wait status,
   w23 1 once COMMAND has ended. Stack: sp+0 inherited signal mask, +8 full mask, +16 word. */

    .text
    .set BASE, 0x400000
    .set SYS_ioctl, 29
    .set SYS_write, 64
    .set SYS_exit_group, 94
    .set SYS_kill, 129
    .set SYS_rt_sigprocmask, 135
    .set SYS_rt_sigtimedwait, 137
    .set SYS_setpgid, 154
    .set SYS_getpid, 172
    .set SYS_clone, 220
    .set SYS_execve, 221
    .set SYS_wait4, 260
    .set SIGCHLD, 17
    .set SIGTTIN, 21
    .set SIGTTOU, 22
    .set SIG_SETMASK, 2
    .set WNOHANG, 1
    .set TIOCGPGRP, 0x540f
    .set TIOCSPGRP, 0x5410
    .set ENOENT, 2
    .set ENOTDIR, 20

header:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
    .quad 0
    .short 2, 183                       /* ET_EXEC, EM_AARCH64 */
    .long 1
    .quad BASE + (start - header)
    .quad segments - header, 0
    .long 0
    .short 64, 56, 2, 64, 0, 0          /* two program headers, no sections */
segments:
    .long 1, 5                          /* PT_LOAD, read and execute */
    .quad 0, BASE, BASE, end - header, end - header, 0x10000
    .long 0x6474e551, 6                 /* PT_GNU_STACK, not executable */
    .quad 0, 0, 0, 0, 0, 16

start:
    ldr x0, [sp]                        /* argc */
    add x19, sp, #16                    /* &argv[1] */
    add x20, x19, x0, lsl #3            /* environment, behind argv's NULL */
    sub sp, sp, #32
    mov w21, #0
    mov w23, #0
    ldr x1, [x19]
    cbz x1, block
    ldrb w0, [x1]
    cmp w0, #'-'
    b.ne block
    ldrb w0, [x1, #1]
    cmp w0, #'-'
    b.ne block
    ldrb w0, [x1, #2]
    cbnz w0, block
    add x19, x19, #8
block:
    mov x0, #-1
    str x0, [sp, #8]
    mov x0, #SIG_SETMASK
    add x1, sp, #8
    mov x2, sp
    mov x3, #8
    mov x8, #SYS_rt_sigprocmask
    svc #0
    ldr x0, [x19]
    cbz x0, next_signal                 /* no COMMAND: wait */
    mov x0, #SIGCHLD
    mov x1, #0
    mov x2, #0
    mov x3, #0
    mov x4, #0
    mov x8, #SYS_clone
    svc #0
    cbz w0, child
    mov w21, w0
    mov w22, #126 << 8
    tbnz w0, #31, finish                /* no process to be had */

next_signal:
    add x0, sp, #8
    mov x1, #0
    mov x2, #0
    mov x3, #8
    mov x8, #SYS_rt_sigtimedwait
    svc #0
    cmp w0, #0
    b.le next_signal                    /* EINTR after a stop and continue */
    cmp w0, #SIGCHLD
    b.eq reap
    cbz w21, waiting
    cmp w0, #SIGTTIN
    b.eq next_signal                    /* meant for init's own use of the terminal */
    cmp w0, #SIGTTOU
    b.eq next_signal
    mov w1, w0
    mov w0, w21
    mov x8, #SYS_kill
    svc #0
    b next_signal

waiting:
    ldr x2, ending
    sub w1, w0, #1
    lsr x2, x2, x1
    tbz x2, #0, next_signal
    add w0, w0, #128
    b exit

reap:
    mov w0, #-1
    add x1, sp, #16
    mov x2, #WNOHANG
    mov x3, #0
    mov x8, #SYS_wait4
    svc #0
    cmp w0, #0
    b.le reaped
    cmp w0, w21
    b.ne reap
    ldr w22, [sp, #16]
    mov w23, #1
    b reap
reaped:
    cbz w23, next_signal
finish:
    ands w0, w22, #0x7f                 /* the signal that ended COMMAND */
    b.eq exited
    add w0, w0, #128
    b exit
exited:
    ubfx w0, w22, #8, #8
exit:
    mov x8, #SYS_exit_group
    svc #0

child:
    mov x0, #0
    mov x1, #TIOCGPGRP
    add x2, sp, #16
    mov x8, #SYS_ioctl
    svc #0
    tbnz w0, #31, execute               /* descriptor 0 is not our terminal */
    mov x0, #0
    mov x1, #0
    mov x8, #SYS_setpgid
    svc #0
    mov x8, #SYS_getpid
    svc #0
    str w0, [sp, #16]
    mov x0, #0
    mov x1, #TIOCSPGRP
    add x2, sp, #16
    mov x8, #SYS_ioctl
    svc #0                              /* SIGTTOU is blocked: this does not stop us */
execute:
    mov x0, #SIG_SETMASK
    mov x1, sp
    mov x2, #0
    mov x3, #8
    mov x8, #SYS_rt_sigprocmask
    svc #0
    ldr x0, [x19]
    mov x1, x19
    mov x2, x20
    mov x8, #SYS_execve
    svc #0
    mov w22, #126
    cmn w0, #ENOENT
    b.eq missing
    cmn w0, #ENOTDIR
    b.ne report
missing:
    add w22, w22, #1
report:
    adr x1, message
    mov x2, #message_end - message
    bl print
    ldr x1, [x19]
    mov x2, #0
length:
    ldrb w0, [x1, x2]
    cbz w0, named
    add x2, x2, #1
    b length
named:
    bl print
    adr x1, message_end
    mov x2, #1
    bl print
    mov w0, w22
    b exit
print:                                  /* x2 bytes at x1 to standard error */
    mov x0, #2
    mov x8, #SYS_write
    svc #0
    ret

    .balign 8
ending:                                 /* HUP INT QUIT USR1 USR2 TERM and the real-time ones */
    .quad 0xfffffffe00004a07
message:
    .ascii "init: cannot execute "
message_end:
    .byte 10
end:
