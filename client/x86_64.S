/* The thin command for x86_64: it does what the Python half of scripts/knarr does, without Python.

   client-x86_64 --from-script PYTHON SCRIPT ARGUMENTS...   as scripts/knarr calls it
   knarr ARGUMENTS...                                       a link to this file, in PATH
   client-x86_64 --runtime DIRECTORY PROGRAM PYTHON PYTHON -I -S -E SCRIPT ARGUMENTS...
                                                            as scripts/knarr-oci calls it

   It hands the arguments, the environment, descriptors 0 to 2 and the working directory to the
   command server, passes signals on, and ends as it is told. Whenever that cannot be, and nothing
   has been handed over yet, it becomes `PYTHON -I -m knarr.cli ARGUMENTS...`; for the runtime, what
   begins with PROGRAM. That one's server is in DIRECTORY, and is sent every signal that can be. For
   it, this process also lends a hand: a container has to be its child, and nobody else's. See
   runtime/deputy.py for what it is told, and who knows what is in BUFFER.
   The conversation, and whom a server serves: docs/design/command-server.md.

   A static executable without any library: the ELF header stands below, the assembler's output is
   the file. tools/assemble.py makes it.

   Signals are blocked from just before the request is sent, and read from a signalfd(2): none can
   be lost between two instructions. Their dispositions stay the caller's, so what is pending when
   the command comes back (N) takes effect by being unblocked.

   Registers: rbx address of argv[0] of the command, r12 environment, r13 path of python,
   r14 socket, r15 signalfd, rbp frame. Subroutines use no others than these for themselves:
   rdi is where text is appended, rsi where it comes from; rax, rcx, rdx, r8 to r11 are free. */

    .intel_syntax noprefix
    .text
    .set BASE, 0x400000
    .set SYS_read, 0
    .set SYS_write, 1
    .set SYS_rt_sigaction, 13
    .set SYS_rt_sigprocmask, 14
    .set SYS_ioctl, 16
    .set SYS_getpid, 39
    .set SYS_socket, 41
    .set SYS_connect, 42
    .set SYS_sendto, 44
    .set SYS_sendmsg, 46
    .set SYS_recvmsg, 47
    .set SYS_setsockopt, 54
    .set SYS_getsockopt, 55
    .set SYS_execve, 59
    .set SYS_kill, 62
    .set SYS_getcwd, 79
    .set SYS_umask, 95
    .set SYS_geteuid, 107
    .set SYS_getpgid, 121
    .set SYS_exit_group, 231
    .set SYS_openat, 257
    .set SYS_newfstatat, 262
    .set SYS_readlinkat, 267
    .set SYS_faccessat, 269
    .set SYS_ppoll, 271
    .set SYS_signalfd4, 289
    .set AT_FDCWD, -100
    .set AF_UNIX, 1
    .set SOCK_SEQPACKET_CLOEXEC, 0x80005
    .set SOL_SOCKET, 1
    .set SO_PEERCRED, 17
    .set SO_SNDTIMEO, 21
    .set SCM_RIGHTS, 1
    .set MSG_DONTWAIT_NOSIGNAL, 0x4040
    .set MSG_CMSG_CLOEXEC, 0x40000000
    .set O_PATH_CLOEXEC, 0x280000
    .set SFD_NONBLOCK_CLOEXEC, 0x80800
    .set POLLIN, 1
    .set X_OK, 1
    .set SIG_BLOCK, 0
    .set SIG_UNBLOCK, 1
    .set SIG_SETMASK, 2
    .set SIG_IGN, 1
    .set SIGCONT, 18
    .set SIGWINCH, 28
    .set TIOCGPGRP, 0x540f
    .set ENOENT, 2
    .set EINTR, 4
    .set EAGAIN, 11
    .set ECONNRESET, 104
    .set PATIENCE, 10                   /* seconds for a server to greet */
    .set LONGEST, 90                    /* of a run root that fits into sun_path with the rest */
    .set PATH_MAX, 4096
    /* HUP INT QUIT USR1 USR2 TERM CONT TSTP WINCH */
    .set PASSED_ON, 0x080a4a07
    /* For the runtime all but what oci/foreground.py leaves alone, and those of the C library. */
    .set PASSED_ON_LOW, 0x7782eeff
    .set PASSED_ON_HIGH, 0xfffffffe

    /* The frame. HEADER holds the words before the arguments: at most twice PATH_MAX for the
       path of python (a working directory and a relative one), and under 300 bytes of others. */
    .set PACKET, 0                      /* what was received; struct signalfd_siginfo: 128 bytes */
    .set STATUS, 0x80                   /* struct stat: 144 bytes */
    .set ADDRESS, 0x110                 /* struct sockaddr_un: 110 bytes */
    .set MESSAGE, 0x180                 /* struct msghdr: 56 bytes */
    .set PIECES, 0x1c0                  /* four struct iovec: 64 bytes */
    .set RIGHTS, 0x200                  /* a control message with four descriptors: 32 bytes */
    .set POLLED, 0x220                  /* two struct pollfd: 16 bytes */
    .set TIME, 0x230                    /* struct timespec, also struct timeval: 16 bytes */
    .set MASK, 0x240                    /* signals that are passed on */
    .set OLD_MASK, 0x248                /* signals that the caller had blocked */
    .set BIT, 0x250                     /* a set of one signal */
    .set KEPT_MASK, 0x258
    .set DEFAULT, 0x260                 /* struct sigaction, all zero: SIG_DFL */
    .set ACTION, 0x280                  /* struct sigaction: 32 bytes */
    .set PASSED, 0x2a0                  /* the last signal that was passed on, 0: none */
    .set FRONT, 0x2a8                   /* "F1" or "F0", and a NUL */
    .set INSTEAD, 0x2b0                 /* address of what is executed without a server, 0: python */
    .set DIRECTORY, 0x2b8               /* of the runtime's server */
    .set HEADER, 0x300
    .set OWN_PATH, 0x3000               /* PATH_MAX and "/bin/python3" */
    .set FRAME, 0x4100
    .set SPARE, 0x40                    /* above it: room for more arguments, see run_here */

    /* Memory that is at the same place everywhere, far from where anything else of a process is:
       what follows the first 64 bytes of a packet; a result, and descriptors that came along. */
    .set BUFFER, 0x200000000
    .set ROOM, 0x8000
    .set RESULT, ROOM
    .set CONTROL, ROOM + 8
    .set CONTROL_SIZE, 272              /* a control message with 64 descriptors */
    .set BUFFER_SIZE, ROOM + 0x1000
    .set HEAD, 64
    .set SPAWN, 16                      /* in the machine code of src/knarr/runtime/program */

header:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
    .quad 0
    .short 2, 62                        /* ET_EXEC, EM_X86_64 */
    .long 1
    .quad BASE + (start - header)
    .quad segments - header, 0
    .long 0
    .short 64, 56, 3, 64, 0, 0          /* three program headers, no sections */
segments:
    .long 1, 5                          /* PT_LOAD, read and execute */
    .quad 0, BASE, BASE, end - header, end - header, 0x1000
    .long 1, 6                          /* PT_LOAD, read and write, nothing of it in the file */
    .quad 0, BUFFER, BUFFER, 0, BUFFER_SIZE, 0x1000
    .long 0x6474e551, 6                 /* PT_GNU_STACK, not executable */
    .quad 0, 0, 0, 0, 0, 16

start:
    mov rcx, [rsp]                      /* argc */
    lea rbx, [rsp + 8]                  /* argv */
    lea r12, [rsp + 8*rcx + 16]         /* environment, behind argv's NULL */
    sub rsp, FRAME + SPARE
    mov rbp, rsp
    mov qword ptr [rbp + INSTEAD], 0
    cmp rcx, 4
    jb called_by_link
    mov rsi, [rbx]                      /* under another name that word is no order to execute */
    call file_name                      /* a program: sudo may allow the link, not all programs */
    lea rdi, [rip + client]
    call starts_with
    jne called_by_link
    mov rsi, [rbx + 8]
    lea rdi, [rip + from_script]
    call same
    jne for_runtime
    mov r13, [rbx + 16]
    add rbx, 24
    jmp find_server

for_runtime:
    mov rsi, [rbx + 8]
    lea rdi, [rip + runtime]
    call same
    jne called_by_link
    mov rcx, [rbp + FRAME + SPARE]      /* argc */
    cmp rcx, 10
    jb called_by_link
    mov rax, [rbx + 16]
    mov [rbp + DIRECTORY], rax
    lea rax, [rbx + 24]
    mov [rbp + INSTEAD], rax
    mov r13, [rbx + 32]
    add rbx, 72
    jmp find_server

called_by_link:                         /* the python is PREFIX/bin/python3, this file is */
    lea rsi, [rip + proc_self_exe]      /* PREFIX/libexec/knarr/client-x86_64 */
    lea rdi, [rbp + OWN_PATH]
    call read_link
    mov r13, rdi
    lea rdi, [rbp + OWN_PATH]
    add rdi, rax                        /* its end */
    mov ecx, 3
cut:                                    /* the last three names */
    dec rdi
    cmp rdi, r13
    jb lost
    cmp byte ptr [rdi], '/'
    jne cut
    dec ecx
    jnz cut
    push rdi
    lea rsi, [rip + bin_python]
    call append
    mov edi, AT_FDCWD
    mov rsi, r13
    mov edx, X_OK
    mov eax, SYS_faccessat
    syscall
    pop rdi
    test eax, eax
    jz find_server
    lea rsi, [rip + bin_knarr]          /* the script knows where else to look */
    call append
    mov [rbx], r13
    mov rsi, rbx
    jmp execute

find_server:
    lea rsi, [rip + knarr_server]
    call get_variable
    jz looking
    mov rsi, rax
    lea rdi, [rip + off]
    call same
    je run_here
looking:
    mov edi, AF_UNIX
    mov esi, SOCK_SEQPACKET_CLOEXEC
    xor edx, edx
    mov eax, SYS_socket
    syscall
    cmp eax, 2
    jle run_here                        /* an error, or one of 0 to 2 is closed: nothing to hand on */
    mov r14d, eax
    mov qword ptr [rbp + TIME], PATIENCE
    mov qword ptr [rbp + TIME + 8], 0
    mov edi, r14d
    mov esi, SOL_SOCKET
    mov edx, SO_SNDTIMEO
    lea r10, [rbp + TIME]
    mov r8d, 16
    mov eax, SYS_setsockopt
    syscall

    mov rax, [rbp + DIRECTORY]
    cmp qword ptr [rbp + INSTEAD], 0
    jne place
    lea rsi, [rip + knarr_run_root]
    call get_variable
    jz usual_place
    cmp byte ptr [rax], 0
    jne place
usual_place:
    lea rax, [rip + run_root]
place:
    mov rsi, rax
    call length
    cmp rdx, LONGEST
    jbe short_enough
    mov edi, AT_FDCWD                   /* through a descriptor any path is short */
    mov edx, O_PATH_CLOEXEC
    mov eax, SYS_openat
    syscall
    test eax, eax
    js run_here
    push rax
    lea rdi, [rbp + ADDRESS + 2]
    lea rsi, [rip + proc_self_fd]
    call append
    pop rax
    call append_number
    jmp at_place
short_enough:
    lea rdi, [rbp + ADDRESS + 2]
    call append
at_place:
    lea rsi, [rip + command_sock]
    call append
    mov word ptr [rbp + ADDRESS], AF_UNIX
    lea rsi, [rbp + ADDRESS]
    mov rdx, rdi
    sub rdx, rsi
    inc edx                             /* the NUL too */
    mov edi, r14d
    mov eax, SYS_connect
    syscall
    test eax, eax
    js run_here

    mov dword ptr [rbp + TIME], 12      /* whose server is it? */
    mov edi, r14d
    mov esi, SOL_SOCKET
    mov edx, SO_PEERCRED
    lea r10, [rbp + PACKET]
    lea r8, [rbp + TIME]
    mov eax, SYS_getsockopt
    syscall
    test eax, eax
    js run_here
    mov eax, SYS_geteuid
    syscall
    cmp eax, [rbp + PACKET + 4]
    jne run_here

    /* The words before the arguments. */
    lea rdi, [rbp + HEADER]
    lea rsi, [rip + protocol]
    call append_word
    mov rsi, r13
    call length
    cmp rdx, PATH_MAX
    jae run_here
    cmp byte ptr [r13], '/'
    je absolute
    push rdi                            /* a relative path means what it means to python */
    mov esi, PATH_MAX
    mov eax, SYS_getcwd
    syscall
    pop rdi
    test eax, eax
    jle run_here
    lea rdi, [rdi + rax - 1]
    mov byte ptr [rdi], '/'
    inc rdi
    mov rsi, r13
    cmp word ptr [rsi], 0x2f2e          /* "./" */
    jne relative
    add rsi, 2
    jmp relative
absolute:
    mov rsi, r13
relative:
    call append_word
    push rdi
    mov edi, AT_FDCWD
    lea rsi, [rip + root]
    lea rdx, [rbp + STATUS]
    xor r10d, r10d
    mov eax, SYS_newfstatat
    syscall
    pop rdi
    test eax, eax
    js run_here
    mov rax, [rbp + STATUS]             /* st_dev */
    call append_number
    mov byte ptr [rdi], ':'
    inc rdi
    mov rax, [rbp + STATUS + 8]         /* st_ino */
    call append_number
    inc rdi
    lea rsi, [rip + proc_mnt]
    call append_link
    lea rsi, [rip + proc_user]
    call append_link
    push rdi
    mov edi, 63
    mov eax, SYS_umask
    syscall
    push rax
    mov edi, eax
    mov eax, SYS_umask
    syscall
    pop rax
    pop rdi
    call append_number
    inc rdi
    lea rax, [r12 - 8]
    sub rax, rbx
    shr eax, 3
    call append_number
    inc rdi

    /* The message: these words, the arguments and the environment, which the kernel has laid
       out one after the other with their NULs, and between them whether we are in front. */
    lea rax, [rbp + HEADER]
    mov [rbp + PIECES], rax
    sub rdi, rax
    mov [rbp + PIECES + 8], rdi
    mov rsi, [r12 - 16]                 /* the last argument */
    call length
    lea rax, [rsi + rdx + 1]
    mov rsi, [rbx]
    mov [rbp + PIECES + 16], rsi
    sub rax, rsi
    mov [rbp + PIECES + 24], rax
    call in_front
    mov byte ptr [rbp + FRONT + 2], 0
    lea rax, [rbp + FRONT + 1]
    mov [rbp + PIECES + 32], rax
    mov qword ptr [rbp + PIECES + 40], 1
    mov rcx, [r12]
    mov [rbp + PIECES + 48], rcx
    mov qword ptr [rbp + PIECES + 56], 0
    test rcx, rcx
    jz no_environment
    inc qword ptr [rbp + PIECES + 40]
    mov rax, r12
last_variable:
    mov rsi, [rax]
    add rax, 8
    cmp qword ptr [rax], 0
    jne last_variable
    call length
    lea rax, [rsi + rdx]
    sub rax, rcx
    mov [rbp + PIECES + 56], rax
no_environment:
    mov edi, AT_FDCWD
    lea rsi, [rip + here]
    mov edx, O_PATH_CLOEXEC
    mov eax, SYS_openat
    syscall
    test eax, eax
    js run_here
    mov qword ptr [rbp + RIGHTS], 32
    mov dword ptr [rbp + RIGHTS + 8], SOL_SOCKET
    mov dword ptr [rbp + RIGHTS + 12], SCM_RIGHTS
    mov dword ptr [rbp + RIGHTS + 16], 0
    mov dword ptr [rbp + RIGHTS + 20], 1
    mov dword ptr [rbp + RIGHTS + 24], 2
    mov [rbp + RIGHTS + 28], eax
    xor eax, eax
    mov [rbp + MESSAGE], rax            /* no name: it is connected */
    mov [rbp + MESSAGE + 8], rax
    lea rcx, [rbp + PIECES]
    mov [rbp + MESSAGE + 16], rcx
    mov qword ptr [rbp + MESSAGE + 24], 4
    lea rcx, [rbp + RIGHTS]
    mov [rbp + MESSAGE + 32], rcx
    mov qword ptr [rbp + MESSAGE + 40], 32
    mov [rbp + MESSAGE + 48], rax
    mov [rbp + PASSED], eax
    mov [rbp + DEFAULT], rax
    mov [rbp + DEFAULT + 8], rax
    mov [rbp + DEFAULT + 16], rax
    mov [rbp + DEFAULT + 24], rax

    /* Nothing has been handed over yet: a server that does not greet in time is left alone. */
    mov [rbp + POLLED], r14d
    mov dword ptr [rbp + POLLED + 4], POLLIN
    mov qword ptr [rbp + TIME], PATIENCE
    lea rdi, [rbp + POLLED]
    mov esi, 1
    lea rdx, [rbp + TIME]
    xor r10d, r10d
    mov eax, SYS_ppoll
    syscall
    cmp eax, 1
    jne run_here
    call receive
    cmp eax, 1
    jne run_here
    cmp byte ptr [rbp + PACKET], 'H'
    jne run_here

    /* What is ignored (nohup) stays ignored, what is blocked stays blocked. */
    mov eax, PASSED_ON
    cmp qword ptr [rbp + INSTEAD], 0
    je these
    mov eax, PASSED_ON_HIGH
    shl rax, 32
    mov ecx, PASSED_ON_LOW
    or rax, rcx
these:
    mov [rbp + MASK], rax
each_signal:
    bsf rdi, rax
    jz all_signals
    lea rcx, [rax - 1]
    and rax, rcx
    push rax
    push rdi
    inc edi
    xor esi, esi
    lea rdx, [rbp + ACTION]
    mov r10d, 8
    mov eax, SYS_rt_sigaction
    syscall
    pop rdi
    pop rax
    cmp qword ptr [rbp + ACTION], SIG_IGN
    jne each_signal
    mov rcx, [rbp + MASK]
    btr rcx, rdi
    mov [rbp + MASK], rcx
    jmp each_signal
all_signals:
    mov edi, SIG_BLOCK
    lea rsi, [rbp + MASK]
    lea rdx, [rbp + OLD_MASK]
    call change_mask
    mov rax, [rbp + OLD_MASK]
    cmp qword ptr [rbp + INSTEAD], 0
    je few_are_asked_for
    test rax, rax
    jz few_are_asked_for
    mov byte ptr [rbp + FRONT + 1], 'B' /* nobody else can see it any more */
few_are_asked_for:
    not rax
    and [rbp + MASK], rax
    mov edi, -1
    lea rsi, [rbp + MASK]
    mov edx, 8
    mov r10d, SFD_NONBLOCK_CLOEXEC
    mov eax, SYS_signalfd4
    syscall
    mov r15d, eax
    test eax, eax
    js take_back
    mov edi, r14d
    lea rsi, [rbp + MESSAGE]
    mov edx, MSG_DONTWAIT_NOSIGNAL
    mov eax, SYS_sendmsg
    syscall
    test eax, eax
    jle take_back                       /* too much for one packet, or nobody there any more */

    mov [rbp + POLLED + 8], r15d
    mov dword ptr [rbp + POLLED + 12], POLLIN
follow:
    lea rdi, [rbp + POLLED]
    mov esi, 2
    xor edx, edx
    xor r10d, r10d
    mov eax, SYS_ppoll
    syscall
    test eax, eax
    jle follow
    cmp word ptr [rbp + POLLED + 14], 0
    je listen
    mov edi, r15d
    lea rsi, [rbp + PACKET]
    mov edx, 128
    mov eax, SYS_read
    syscall
    cmp eax, 128
    jne follow
    mov eax, [rbp + PACKET]               /* ssi_signo */
    cmp eax, SIGCONT
    je continued
    lea rsi, [rbp + PACKET]               /* its lowest byte comes first */
    mov edx, 1
    call send
    mov eax, [rbp + PACKET]
    cmp eax, SIGWINCH
    je follow
    mov [rbp + PASSED], eax
    jmp follow
continued:
    call send_front
    jmp follow

listen:
    call receive_all
    test eax, eax
    jg told
    jz worker_died
    cmp eax, -ECONNRESET                /* what the worker said last can still be read */
    je follow
    cmp eax, -EAGAIN
    je follow
    cmp eax, -EINTR
    je follow
    lea rsi, [rip + connection_lost]
    jmp fail
worker_died:
    lea rsi, [rip + worker_is_gone]
    jmp fail
told:
    lea rsi, [rbp + PACKET]
    movzx ecx, byte ptr [rsi]
    cmp ecx, 'D'
    je lend_a_hand
    mov byte ptr [rsi + rax], 0
    cmp ecx, 'N'
    je refused
    xor edi, edi                        /* the number behind the letter */
digit:
    inc rsi
    movzx eax, byte ptr [rsi]
    sub eax, '0'
    jb number_read
    imul edi, edi, 10
    add edi, eax
    jmp digit
number_read:
    cmp ecx, 'X'
    je exit
    push rcx
    push rdi
    call take
    pop rdi
    pop rcx
    add edi, 128
    cmp ecx, 'K'
    je exit
    call send_front                     /* T: it was to stop, and goes on now */
    jmp follow

/* What it is told ("D" and one more letter, then numbers from the eighth byte on) is one of:
   r(operations, fault): carry operations out; s(arguments, size, operations, fault): clone a
   process that does; anything else: just say which numbers the descriptors got that came along. */
lend_a_hand:
    movzx ecx, byte ptr [rsi + 1]
    xor eax, eax
    mov rdi, [rbp + PACKET + 8]
    mov rsi, [rbp + PACKET + 16]
    mov rdx, [rbp + PACKET + 24]
    cmp ecx, 's'
    je spawn
    cmp ecx, 'r'
    jne lent
    call program
    jmp lent
spawn:
    mov rcx, [rbp + PACKET + 32]
    call program + SPAWN
lent:
    mov rsi, BUFFER + RESULT
    mov [rsi], rax
    mov edx, 8 + CONTROL_SIZE
    call send
    jmp follow

refused:                                /* a signal that the worker got has had no effect */
    call restore_mask
    mov esi, [rbp + PASSED]
    test esi, esi
    jz run_here
    call kill_self
    jmp run_here

take_back:
    call restore_mask

/* The command in this process: PYTHON -I -m knarr.cli ARGUMENTS. The four words take the place of
   the script's name and of what is before it on the stack; one more variable that of the end of
   the environment and of the first auxiliary value behind it, which nobody needs any more. */
run_here:
    mov rsi, [rbp + INSTEAD]
    test rsi, rsi
    jz with_python
    mov r13, [rsi]
    jmp execute
with_python:
    lea rsi, [rip + knarr_server]
    call get_variable
    jnz chosen
    mov rax, r12
end_of_environment:
    add rax, 8
    cmp qword ptr [rax - 8], 0
    jne end_of_environment
    lea rcx, [rip + knarr_server_start]
    mov [rax - 8], rcx
    mov qword ptr [rax], 0
chosen:
    lea rsi, [rbx - 24]
    mov [rsi], r13
    lea rax, [rip + isolated]
    mov [rsi + 8], rax
    lea rax, [rip + module]
    mov [rsi + 16], rax
    lea rax, [rip + knarr_cli]
    mov [rsi + 24], rax
execute:                                /* the program in r13 with the arguments at rsi */
    mov rdi, r13
    mov rdx, r12
    mov eax, SYS_execve
    syscall
    mov ebx, 126
    cmp eax, -ENOENT
    jne report
    inc ebx
report:
    lea rsi, [rip + cannot_execute]
    call print
    mov rsi, r13
    call print
    lea rsi, [rip + newline]
    call print
    mov edi, ebx
exit:                                   /* with the status in edi */
    mov eax, SYS_exit_group
    syscall

lost:                                   /* /proc is not there, or this file is not in its place */
    lea rsi, [rip + no_prefix]
fail:                                   /* with the line at rsi */
    call print
    mov edi, 125
    jmp exit

/* Have signal edi do to this process what it does by default. */
take:
    push rdi
    lea rsi, [rbp + DEFAULT]
    lea rdx, [rbp + ACTION]
    mov r10d, 8
    mov eax, SYS_rt_sigaction
    syscall
    mov esi, [rsp]
    call kill_self
    mov rcx, [rsp]
    dec ecx
    mov eax, 1
    shl rax, cl
    mov [rbp + BIT], rax
    mov edi, SIG_UNBLOCK
    lea rsi, [rbp + BIT]
    lea rdx, [rbp + KEPT_MASK]
    call change_mask                    /* here it dies, or stops until it is continued */
    mov edi, SIG_SETMASK
    lea rsi, [rbp + KEPT_MASK]
    xor edx, edx
    call change_mask
    pop rdi
    lea rsi, [rbp + ACTION]
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigaction
    syscall
    ret

/* Send signal esi to this process. */
kill_self:
    mov eax, SYS_getpid
    syscall
    mov edi, eax
    mov eax, SYS_kill
    syscall
    ret

restore_mask:
    mov edi, SIG_SETMASK
    lea rsi, [rbp + OLD_MASK]
    xor edx, edx
change_mask:                            /* edi how, rsi set, rdx the one before */
    mov r10d, 8
    mov eax, SYS_rt_sigprocmask
    syscall
    ret

/* Say whether we are in the foreground: "F1" or "F0". */
send_front:
    call in_front
    lea rsi, [rbp + FRONT]
    mov edx, 2
send:                                   /* edx bytes at rsi; who has ended is told nothing */
    mov edi, r14d
    mov r10d, MSG_DONTWAIT_NOSIGNAL
    xor r8d, r8d
    xor r9d, r9d
    mov eax, SYS_sendto
    syscall
    ret

/* Write "F1" to FRONT, "F0" when another process group has the terminal on descriptor 0. */
in_front:
    mov word ptr [rbp + FRONT], 0x3146
    xor edi, edi
    mov esi, TIOCGPGRP
    lea rdx, [rbp + TIME]
    mov eax, SYS_ioctl
    syscall
    test eax, eax
    js known                            /* not a terminal, so job control has no say */
    xor edi, edi
    mov eax, SYS_getpgid
    syscall
    cmp eax, [rbp + TIME]
    je known
    dec byte ptr [rbp + FRONT + 1]
known:
    ret

/* Read one packet to PACKET; eax its size, 0 at the end, or an error. */
/* The next packet: HEAD bytes to PACKET, the rest to BUFFER with what came along. */
receive_all:
    mov rcx, BUFFER
    lea rdx, [rbp + PIECES]
    lea rax, [rbp + PACKET]
    mov [rdx], rax
    mov qword ptr [rdx + 8], HEAD
    mov [rdx + 16], rcx
    mov qword ptr [rdx + 24], ROOM
    lea rsi, [rbp + MESSAGE]
    mov [rsi + 16], rdx
    mov qword ptr [rsi + 24], 2
    add rcx, CONTROL
    mov qword ptr [rcx], 0              /* no control message, unless one comes */
    mov [rsi + 32], rcx
    mov qword ptr [rsi + 40], CONTROL_SIZE
    mov edi, r14d
    mov edx, MSG_CMSG_CLOEXEC
    mov eax, SYS_recvmsg
    syscall
    ret
receive:
    mov edi, r14d
    lea rsi, [rbp + PACKET]
    mov edx, 64
    mov eax, SYS_read
    syscall
    ret

/* Read the link at rsi to rdi, at most PATH_MAX bytes; rax how many. Leaves rdi. */
read_link:
    push rdi
    mov rdx, rdi
    mov edi, AT_FDCWD
    mov r10d, PATH_MAX
    mov eax, SYS_readlinkat
    syscall
    pop rdi
    test rax, rax
    jns link_read
    xor eax, eax
link_read:
    ret

/* Append what the link at rsi says, and a NUL. */
append_link:
    call read_link
    add rdi, rax
    mov byte ptr [rdi], 0
    inc rdi
    ret

/* Append the text at rsi with its NUL (append_word), or so that more can follow (append). */
append:
    call append_word
    dec rdi
    ret
append_word:
    mov al, [rsi]
    mov [rdi], al
    inc rsi
    inc rdi
    test al, al
    jnz append_word
    ret

/* Append rax in decimal, with a NUL behind it that the next text replaces. */
append_number:
    mov ecx, 10
    xor r8d, r8d
divide:
    xor edx, edx
    div rcx
    add edx, '0'
    push rdx
    inc r8d
    test rax, rax
    jnz divide
put:
    pop rax
    mov [rdi], al
    inc rdi
    dec r8d
    jnz put
    mov byte ptr [rdi], 0
    ret

/* Move rsi behind the last slash of the text there. */
file_name:
    mov rax, rsi
each_letter:
    mov dl, [rax]
    inc rax
    test dl, dl
    jz name_found
    cmp dl, '/'
    jne each_letter
    mov rsi, rax
    jmp each_letter
name_found:
    ret

/* rdx: how many bytes are at rsi before the NUL. */
length:
    xor edx, edx
count:
    cmp byte ptr [rsi + rdx], 0
    je counted
    inc rdx
    jmp count
counted:
    ret

/* ZF: the text at rsi begins with the one at rdi; rsi is behind it then. */
starts_with:
    mov al, [rdi]
    test al, al
    jz compared
    cmp al, [rsi]
    jne compared
    inc rdi
    inc rsi
    jmp starts_with
compared:
    ret

/* ZF: the texts at rsi and rdi are the same. */
same:
    call starts_with
    jne compared
    cmp byte ptr [rsi], 0
    ret

/* rax: the value of the variable whose name and "=" are at rsi; ZF: there is none. */
get_variable:
    mov r8, r12
    mov r9, rsi
next_variable:
    mov rsi, [r8]
    test rsi, rsi
    jz no_variable
    add r8, 8
    mov rdi, r9
    call starts_with
    jne next_variable
    mov rax, rsi
    test rsi, rsi
no_variable:
    ret

/* Write the text at rsi to standard error. */
print:
    call length
    mov edi, 2
    mov eax, SYS_write
    syscall
    ret

    .balign 16
program:                                /* src/knarr/runtime/program: carries operations out */
    .incbin "program"
client:
    .asciz "client-"
runtime:
    .asciz "--runtime"
from_script:
    .asciz "--from-script"
proc_self_exe:
    .asciz "/proc/self/exe"
bin_python:
    .asciz "/bin/python3"
bin_knarr:
    .asciz "/bin/knarr"
knarr_run_root:
    .asciz "KNARR_RUN_ROOT="
run_root:
    .asciz "/run/knarr"
command_sock:
    .asciz "/command.sock"
proc_self_fd:
    .asciz "/proc/self/fd/"
proc_mnt:
    .asciz "/proc/self/ns/mnt"
proc_user:
    .asciz "/proc/self/ns/user"
protocol:
    .asciz "knarr/1"
root:
    .asciz "/"
here:
    .asciz "."
knarr_server_start:
    .asciz "KNARR_SERVER=start"
knarr_server:
    .asciz "KNARR_SERVER="
off:
    .asciz "off"
isolated:
    .asciz "-I"
module:
    .asciz "-m"
knarr_cli:
    .asciz "knarr.cli"
cannot_execute:
    .asciz "knarr: cannot execute "
newline:
    .asciz "\n"
no_prefix:
    .asciz "knarr: cannot tell where knarr is installed: link to PREFIX/bin/knarr instead\n"
connection_lost:
    .asciz "knarr: lost the command server while the command was running\n"
worker_is_gone:
    .asciz "knarr: the worker of the command server died before the command ended\n"
end:
