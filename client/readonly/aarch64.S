/* Starts a program from a read-only clone of its file, for aarch64: what it does and why stands in
   x86_64.S; this is the same step by step.

   Registers: x19 address of argv, x20 environment, w21 the clone. */

    .text
    .set BASE, 0x400000
    .set SYS_write, 64
    .set SYS_exit_group, 94
    .set SYS_execve, 221
    .set SYS_execveat, 281
    .set SYS_open_tree, 428
    .set SYS_mount_setattr, 442
    .set AT_FDCWD, -100
    .set AT_EMPTY_PATH, 0x1000
    .set MOUNT_ATTR_RDONLY, 1
    .set ATTR_SIZE, 32

header:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
    .quad 0
    .short 2, 183                       /* ET_EXEC, EM_AARCH64 */
    .long 1
    .quad BASE + (start - header)
    .quad segments - header, 0
    .long 0
    .short 64, 56, 2, 64, 0, 0
segments:
    .long 1, 5                          /* PT_LOAD, read and execute */
    .quad 0, BASE, BASE, end - header, end - header, 0x10000
    .long 0x6474e551, 6                 /* PT_GNU_STACK, not executable */
    .quad 0, 0, 0, 0, 0, 16

start:
    ldr x9, [sp]                        /* argc */
    add x19, sp, #8                     /* argv */
    add x20, x19, x9, lsl #3
    add x20, x20, #8                    /* environment, behind argv's NULL */
    cmp x9, #3
    b.lo misused

    mov x8, #SYS_open_tree
    mov x0, #AT_FDCWD
    ldr x1, [x19, #8]
    mov x2, #1                          /* OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC */
    movk x2, #8, lsl #16
    svc #0
    tbnz x0, #63, as_it_is
    mov w21, w0

    sub sp, sp, #ATTR_SIZE
    mov x9, #MOUNT_ATTR_RDONLY
    stp x9, xzr, [sp]                   /* attr_clr, propagation, userns_fd */
    stp xzr, xzr, [sp, #16]
    mov x8, #SYS_mount_setattr
    mov w0, w21
    adr x1, nothing
    mov x2, #AT_EMPTY_PATH
    mov x3, sp
    mov x4, #ATTR_SIZE
    svc #0
    tbnz x0, #63, as_it_is

    mov x8, #SYS_execveat
    mov w0, w21
    adr x1, nothing
    add x2, x19, #16
    mov x3, x20
    mov x4, #AT_EMPTY_PATH
    svc #0

as_it_is:
    mov x8, #SYS_execve
    ldr x0, [x19, #8]
    add x1, x19, #16
    mov x2, x20
    svc #0
    adr x1, cannot
    mov x2, #(cannot_end - cannot)
    b fail
misused:
    adr x1, usage
    mov x2, #(usage_end - usage)
fail:
    mov x8, #SYS_write
    mov x0, #2
    svc #0
    mov x8, #SYS_exit_group
    mov x0, #127
    svc #0

nothing:
    .byte 0
usage:
    .ascii "usage: readonly PROGRAM ARGV0 ARGUMENTS...\n"
usage_end:
cannot:
    .ascii "readonly: the program cannot be executed\n"
cannot_end:
end:
