/* Starts a program from a read-only clone of its file, for x86_64.

   readonly-x86_64 PROGRAM ARGV0 ARGUMENTS...

   What runs may come to be executed where a container can name its file, as /proc/self/exe or
   /proc/PID/exe; through a clone of the mount that is read-only nobody writes to it. knarr-oci is
   started so (src/knarr/oci/protection.py), which does the same by itself where this cannot: it
   then costs a second start of the interpreter. Where there can be no clone (no root, a kernel
   before 5.12, a script instead of a program) PROGRAM is executed as it is.

   A static executable without any library: the ELF header stands below, the assembler's output is
   the file. tools/assemble.py makes it.

   Registers: rbx address of argv, r12 environment, r13 the clone. */

    .intel_syntax noprefix
    .text
    .set BASE, 0x400000
    .set SYS_write, 1
    .set SYS_execve, 59
    .set SYS_exit_group, 231
    .set SYS_execveat, 322
    .set SYS_open_tree, 428
    .set SYS_mount_setattr, 442
    .set AT_FDCWD, -100
    .set AT_EMPTY_PATH, 0x1000
    .set CLONE_CLOEXEC, 0x80001         /* OPEN_TREE_CLONE, OPEN_TREE_CLOEXEC */
    .set MOUNT_ATTR_RDONLY, 1
    .set ATTR_SIZE, 32                  /* struct mount_attr, MOUNT_ATTR_SIZE_VER0 */

header:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
    .quad 0
    .short 2, 62                        /* ET_EXEC, EM_X86_64 */
    .long 1
    .quad BASE + (start - header)
    .quad segments - header, 0
    .long 0
    .short 64, 56, 2, 64, 0, 0          /* two program headers, no sections */
segments:
    .long 1, 5                          /* PT_LOAD, read and execute */
    .quad 0, BASE, BASE, end - header, end - header, 0x1000
    .long 0x6474e551, 6                 /* PT_GNU_STACK, not executable */
    .quad 0, 0, 0, 0, 0, 16

start:
    mov rcx, [rsp]                      /* argc */
    lea rbx, [rsp + 8]                  /* argv */
    lea r12, [rsp + 8*rcx + 16]         /* environment, behind argv's NULL */
    cmp rcx, 3
    jb misused

    mov eax, SYS_open_tree
    mov rdi, AT_FDCWD
    mov rsi, [rbx + 8]
    mov edx, CLONE_CLOEXEC
    syscall
    test eax, eax
    js as_it_is
    mov r13d, eax

    sub rsp, ATTR_SIZE
    mov qword ptr [rsp], MOUNT_ATTR_RDONLY
    xor eax, eax
    mov [rsp + 8], rax                  /* attr_clr, propagation, userns_fd */
    mov [rsp + 16], rax
    mov [rsp + 24], rax
    mov eax, SYS_mount_setattr
    mov edi, r13d
    lea rsi, [rip + nothing]
    mov edx, AT_EMPTY_PATH
    mov r10, rsp
    mov r8d, ATTR_SIZE
    syscall
    test eax, eax
    js as_it_is

    mov eax, SYS_execveat
    mov edi, r13d
    lea rsi, [rip + nothing]
    lea rdx, [rbx + 16]
    mov r10, r12
    mov r8d, AT_EMPTY_PATH
    syscall

as_it_is:
    mov eax, SYS_execve
    mov rdi, [rbx + 8]
    lea rsi, [rbx + 16]
    mov rdx, r12
    syscall
    lea rsi, [rip + cannot]
    mov edx, cannot_end - cannot
    jmp fail
misused:
    lea rsi, [rip + usage]
    mov edx, usage_end - usage
fail:
    mov eax, SYS_write
    mov edi, 2
    syscall
    mov eax, SYS_exit_group
    mov edi, 127
    syscall

nothing:
    .byte 0
usage:
    .ascii "usage: readonly PROGRAM ARGV0 ARGUMENTS...\n"
usage_end:
cannot:
    .ascii "readonly: the program cannot be executed\n"
cannot_end:
end:
