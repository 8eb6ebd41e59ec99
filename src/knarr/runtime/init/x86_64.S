/* knarr's init for x86_64: pid 1 of a container that has none of its own.

   init -- COMMAND ARGUMENTS...   starts COMMAND (a path, not looked up), hands it every signal
                                  that init receives, reaps whatever becomes an orphan, and ends
                                  as COMMAND ends: its exit code, or 128 + n after signal n.
                                  127: COMMAND does not exist, 126: it cannot be executed.
   init                           waits and reaps until a signal that asks to end arrives, then
                                  exits with 128 + n.

   With a terminal on descriptor 0, COMMAND runs in the foreground process group, its own.

   A static executable without any library: the ELF header stands below, the assembler's output
   is the file. All signals stay blocked and are fetched with rt_sigtimedwait(2), since the
   kernel drops unblocked default-action signals to pid 1.
   Assemble:  as -o init.o x86_64.S && objcopy -O binary -j .text init.o init

   Registers: rbx argv of COMMAND or 0, r12 environment, r13 pid of COMMAND, r14 its wait status,
   r15 1 once COMMAND has ended. Stack: rsp+0 inherited signal mask, +8 full mask, +16 word. */

    .intel_syntax noprefix
    .text
    .set BASE, 0x400000
    .set SYS_write, 1
    .set SYS_rt_sigprocmask, 14
    .set SYS_ioctl, 16
    .set SYS_getpid, 39
    .set SYS_fork, 57
    .set SYS_execve, 59
    .set SYS_wait4, 61
    .set SYS_kill, 62
    .set SYS_setpgid, 109
    .set SYS_rt_sigtimedwait, 128
    .set SYS_exit_group, 231
    .set SIGCHLD, 17
    .set SIGTTIN, 21
    .set SIGTTOU, 22
    .set SIG_SETMASK, 2
    .set WNOHANG, 1
    .set TIOCGPGRP, 0x540f
    .set TIOCSPGRP, 0x5410
    .set ENOENT, 2
    .set ENOTDIR, 20
    /* Signals that end a waiting init: HUP INT QUIT USR1 USR2 TERM and the real-time ones. */
    .set ENDING, 0xfffffffe00004a07

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
    lea rbx, [rsp + 16]                 /* &argv[1] */
    lea r12, [rsp + 8*rcx + 16]         /* environment, behind argv's NULL */
    sub rsp, 32
    xor r13d, r13d
    xor r15d, r15d
    mov rsi, [rbx]
    test rsi, rsi
    jz block
    cmp word ptr [rsi], 0x2d2d          /* "--" and its NUL */
    jne block
    cmp byte ptr [rsi + 2], 0
    jne block
    add rbx, 8
block:
    mov qword ptr [rsp + 8], -1
    mov edi, SIG_SETMASK
    lea rsi, [rsp + 8]
    mov rdx, rsp
    mov r10d, 8
    mov eax, SYS_rt_sigprocmask
    syscall
    cmp qword ptr [rbx], 0
    je next_signal                      /* no COMMAND: wait */
    mov eax, SYS_fork
    syscall
    test eax, eax
    jz child
    mov r13d, eax
    mov r14d, 126 << 8
    js finish                           /* no process to be had */

next_signal:
    lea rdi, [rsp + 8]
    xor esi, esi
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigtimedwait
    syscall
    test eax, eax
    jle next_signal                     /* EINTR after a stop and continue */
    cmp eax, SIGCHLD
    je reap
    test r13d, r13d
    jz waiting
    cmp eax, SIGTTIN
    je next_signal                      /* meant for init's own use of the terminal */
    cmp eax, SIGTTOU
    je next_signal
    mov esi, eax
    mov edi, r13d
    mov eax, SYS_kill
    syscall
    jmp next_signal

waiting:
    movabs rdx, ENDING
    lea ecx, [rax - 1]
    bt rdx, rcx
    jnc next_signal
    lea edi, [rax + 128]
    jmp exit

reap:
    mov edi, -1
    lea rsi, [rsp + 16]
    mov edx, WNOHANG
    xor r10d, r10d
    mov eax, SYS_wait4
    syscall
    test eax, eax
    jle reaped
    cmp eax, r13d
    jne reap
    mov r14d, [rsp + 16]
    mov r15d, 1
    jmp reap
reaped:
    test r15d, r15d
    jz next_signal
finish:
    mov edi, r14d
    and edi, 0x7f                       /* the signal that ended COMMAND */
    jz exited
    add edi, 128
    jmp exit
exited:
    mov edi, r14d
    shr edi, 8
    movzx edi, dil
exit:
    mov eax, SYS_exit_group
    syscall

child:
    xor edi, edi
    mov esi, TIOCGPGRP
    lea rdx, [rsp + 16]
    mov eax, SYS_ioctl
    syscall
    test eax, eax
    js execute                          /* descriptor 0 is not our terminal */
    xor edi, edi
    xor esi, esi
    mov eax, SYS_setpgid
    syscall
    mov eax, SYS_getpid
    syscall
    mov [rsp + 16], eax
    xor edi, edi
    mov esi, TIOCSPGRP
    lea rdx, [rsp + 16]
    mov eax, SYS_ioctl
    syscall                             /* SIGTTOU is blocked: this does not stop us */
execute:
    mov edi, SIG_SETMASK
    mov rsi, rsp
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigprocmask
    syscall
    mov rdi, [rbx]
    mov rsi, rbx
    mov rdx, r12
    mov eax, SYS_execve
    syscall
    mov r14d, 126
    cmp eax, -ENOENT
    je missing
    cmp eax, -ENOTDIR
    jne report
missing:
    inc r14d
report:
    lea rsi, [rip + message]
    mov edx, message_end - message
    call print
    mov rsi, [rbx]
    xor edx, edx
length:
    cmp byte ptr [rsi + rdx], 0
    je named
    inc edx
    jmp length
named:
    call print
    mov edx, 1
    lea rsi, [rip + newline]
    call print
    mov edi, r14d
    jmp exit
print:                                  /* rdx bytes at rsi to standard error */
    mov edi, 2
    mov eax, SYS_write
    syscall
    ret

message:
    .ascii "init: cannot execute "
message_end:
newline:
    .byte 10
end:
