/* The thin command for aarch64: what it does and why stands in x86_64.S; this is the same step by
   step, with the same frame.

   Registers: x19 address of argv[0] of the command, x20 environment, x21 path of python, w22 socket,
   w23 signalfd, x29 frame. Text is appended at x10 and comes from x11. Subroutines that call others
   keep their return address in x24 (those that call none of these), x25 or x26. */

    .text
    .set BASE, 0x400000
    .set SYS_getcwd, 17
    .set SYS_ioctl, 29
    .set SYS_faccessat, 48
    .set SYS_openat, 56
    .set SYS_read, 63
    .set SYS_write, 64
    .set SYS_ppoll, 73
    .set SYS_signalfd4, 74
    .set SYS_readlinkat, 78
    .set SYS_newfstatat, 79
    .set SYS_exit_group, 94
    .set SYS_kill, 129
    .set SYS_rt_sigaction, 134
    .set SYS_rt_sigprocmask, 135
    .set SYS_getpgid, 155
    .set SYS_umask, 166
    .set SYS_getpid, 172
    .set SYS_geteuid, 175
    .set SYS_socket, 198
    .set SYS_connect, 203
    .set SYS_sendto, 206
    .set SYS_setsockopt, 208
    .set SYS_getsockopt, 209
    .set SYS_sendmsg, 211
    .set SYS_recvmsg, 212
    .set SYS_execve, 221
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
    .set LAST_SIGNAL, 64
    .set TIOCGPGRP, 0x540f
    .set ENOENT, 2
    .set EINTR, 4
    .set EAGAIN, 11
    .set ECONNRESET, 104
    .set PATIENCE, 10
    .set LONGEST, 90
    .set PATH_MAX, 4096
    .set PASSED_ON, 0x080a4a07
    .set PASSED_ON_LOW, 0x7782eeff
    .set PASSED_ON_HIGH, 0xfffffffe

    .set PACKET, 0
    .set STATUS, 0x80
    .set ADDRESS, 0x110
    .set MESSAGE, 0x180
    .set PIECES, 0x1c0
    .set RIGHTS, 0x200
    .set POLLED, 0x220
    .set TIME, 0x230
    .set MASK, 0x240
    .set OLD_MASK, 0x248
    .set BIT, 0x250
    .set KEPT_MASK, 0x258
    .set DEFAULT, 0x260
    .set ACTION, 0x280
    .set PASSED, 0x2a0
    .set FRONT, 0x2a8
    .set INSTEAD, 0x2b0
    .set DIRECTORY, 0x2b8
    .set HEADER, 0x300
    .set OWN_PATH, 0x3000
    .set FRAME, 0x4100
    .set SPARE, 0x40

    .set BUFFER, 0x200000000
    .set ROOM, 0x8000
    .set RESULT, ROOM
    .set CONTROL, ROOM + 8
    .set CONTROL_SIZE, 272
    .set BUFFER_SIZE, ROOM + 0x1000
    .set HEAD, 64
    .set SPAWN, 16

header:
    .byte 0x7f, 'E', 'L', 'F', 2, 1, 1, 0
    .quad 0
    .short 2, 183                       /* ET_EXEC, EM_AARCH64 */
    .long 1
    .quad BASE + (start - header)
    .quad segments - header, 0
    .long 0
    .short 64, 56, 3, 64, 0, 0          /* three program headers, no sections */
segments:
    .long 1, 5                          /* PT_LOAD, read and execute */
    .quad 0, BASE, BASE, end - header, end - header, 0x10000
    .long 1, 6                          /* PT_LOAD, read and write, nothing of it in the file */
    .quad 0, BUFFER, BUFFER, 0, BUFFER_SIZE, 0x10000
    .long 0x6474e551, 6                 /* PT_GNU_STACK, not executable */
    .quad 0, 0, 0, 0, 0, 16

    .macro call_kernel number
    mov x8, #\number
    svc #0
    .endm

start:
    ldr x0, [sp]                        /* argc */
    add x19, sp, #8                     /* argv */
    add x20, x19, x0, lsl #3
    add x20, x20, #8                    /* environment, behind argv's NULL */
    sub sp, sp, #(FRAME & 0xf000)
    sub sp, sp, #(FRAME & 0xfff) + SPARE
    mov x29, sp
    str xzr, [x29, #INSTEAD]
    cmp x0, #4
    b.lo called_by_link
    ldr x11, [x19]
    bl file_name
    adr x12, client
    bl starts_with
    b.ne called_by_link
    ldr x11, [x19, #8]
    adr x12, from_script
    bl same
    b.ne for_runtime
    ldr x21, [x19, #16]
    add x19, x19, #24
    b find_server

for_runtime:
    ldr x11, [x19, #8]
    adr x12, runtime
    bl same
    b.ne called_by_link
    ldur x0, [x19, #-8]                 /* argc */
    cmp x0, #10
    b.lo called_by_link
    ldr x0, [x19, #16]
    add x1, x19, #24
    ldr x21, [x19, #32]
    add x19, x19, #72
    str x0, [x29, #DIRECTORY]
    str x1, [x29, #INSTEAD]
    b find_server

called_by_link:
    adr x11, proc_self_exe
    add x10, x29, #OWN_PATH
    mov x21, x10
    bl read_link
    add x10, x10, x0                    /* its end */
    mov w9, #3
cut:                                    /* the last three names */
    sub x10, x10, #1
    cmp x10, x21
    b.lo lost
    ldrb w0, [x10]
    cmp w0, #'/'
    b.ne cut
    subs w9, w9, #1
    b.ne cut
    mov x9, x10
    adr x11, bin_python
    bl append
    mov x0, #AT_FDCWD
    mov x1, x21
    mov x2, #X_OK
    call_kernel SYS_faccessat
    cbz w0, find_server
    mov x10, x9
    adr x11, bin_knarr                  /* the script knows where else to look */
    bl append
    str x21, [x19]
    mov x1, x19
    b execute

find_server:
    adr x11, knarr_server
    bl get_variable
    b.eq looking
    adr x12, off
    bl same
    b.eq run_here
looking:
    mov x0, #AF_UNIX
    mov x1, #(SOCK_SEQPACKET_CLOEXEC & 0xffff)
    movk x1, #(SOCK_SEQPACKET_CLOEXEC >> 16), lsl #16
    mov x2, #0
    call_kernel SYS_socket
    cmp w0, #2
    b.le run_here                       /* an error, or one of 0 to 2 is closed: nothing to hand on */
    mov w22, w0
    mov x1, #PATIENCE
    str x1, [x29, #TIME]
    str xzr, [x29, #TIME + 8]
    mov x1, #SOL_SOCKET
    mov x2, #SO_SNDTIMEO
    add x3, x29, #TIME
    mov x4, #16
    call_kernel SYS_setsockopt

    ldr x11, [x29, #DIRECTORY]
    ldr x0, [x29, #INSTEAD]
    cbnz x0, place
    adr x11, knarr_run_root
    bl get_variable
    b.eq usual_place
    ldrb w0, [x11]
    cbnz w0, place
usual_place:
    adr x11, run_root
place:
    add x10, x29, #ADDRESS + 2
    bl length
    cmp x2, #LONGEST
    b.ls short_enough
    mov x0, #AT_FDCWD                   /* through a descriptor any path is short */
    mov x1, x11
    mov x2, #O_PATH_CLOEXEC
    call_kernel SYS_openat
    tbnz w0, #31, run_here
    mov x9, x0
    adr x11, proc_self_fd
    bl append
    mov x0, x9
    bl append_number
    b at_place
short_enough:
    bl append
at_place:
    adr x11, command_sock
    bl append
    mov w0, #AF_UNIX
    strh w0, [x29, #ADDRESS]
    mov w0, w22
    add x1, x29, #ADDRESS
    sub x2, x10, x1
    add x2, x2, #1                      /* the NUL too */
    call_kernel SYS_connect
    tbnz w0, #31, run_here

    mov w0, #12                         /* whose server is it? */
    str w0, [x29, #TIME]
    mov w0, w22
    mov x1, #SOL_SOCKET
    mov x2, #SO_PEERCRED
    add x3, x29, #PACKET
    add x4, x29, #TIME
    call_kernel SYS_getsockopt
    tbnz w0, #31, run_here
    call_kernel SYS_geteuid
    ldr w1, [x29, #PACKET + 4]
    cmp w0, w1
    b.ne run_here

    add x10, x29, #HEADER               /* the words before the arguments */
    adr x11, protocol
    bl append_word
    mov x11, x21
    bl length
    cmp x2, #PATH_MAX
    b.hs run_here
    ldrb w0, [x11]
    cmp w0, #'/'
    b.eq absolute
    mov x0, x10                         /* a relative path means what it means to python */
    mov x1, #PATH_MAX
    call_kernel SYS_getcwd
    cmp w0, #0
    b.le run_here
    add x10, x10, x0
    mov w0, #'/'
    strb w0, [x10, #-1]
    ldrh w0, [x11]
    mov w1, #0x2f2e                     /* "./" */
    cmp w0, w1
    b.ne absolute
    add x11, x11, #2
absolute:
    bl append_word
    mov x0, #AT_FDCWD
    adr x1, root
    add x2, x29, #STATUS
    mov x3, #0
    call_kernel SYS_newfstatat
    tbnz w0, #31, run_here
    ldr x0, [x29, #STATUS]              /* st_dev */
    bl append_number
    mov w0, #':'
    strb w0, [x10], #1
    ldr x0, [x29, #STATUS + 8]          /* st_ino */
    bl append_number
    add x10, x10, #1
    adr x11, proc_mnt
    bl append_link
    adr x11, proc_user
    bl append_link
    mov x0, #63
    call_kernel SYS_umask
    mov x9, x0
    call_kernel SYS_umask
    mov x0, x9
    bl append_number
    add x10, x10, #1
    sub x0, x20, #8
    sub x0, x0, x19
    lsr x0, x0, #3
    bl append_number
    add x10, x10, #1

    add x0, x29, #HEADER                /* the message */
    sub x1, x10, x0
    stp x0, x1, [x29, #PIECES]
    ldr x11, [x20, #-16]                /* the last argument */
    bl length
    add x1, x11, x2
    add x1, x1, #1
    ldr x0, [x19]
    sub x1, x1, x0
    stp x0, x1, [x29, #PIECES + 16]
    bl in_front
    strb wzr, [x29, #FRONT + 2]
    add x0, x29, #FRONT + 1
    mov x1, #1
    ldr x3, [x20]
    mov x4, #0
    cbz x3, no_environment
    mov x1, #2
    mov x9, x20
last_variable:
    ldr x11, [x9], #8
    ldr x5, [x9]
    cbnz x5, last_variable
    bl length
    add x4, x11, x2
    sub x4, x4, x3
no_environment:
    stp x0, x1, [x29, #PIECES + 32]
    stp x3, x4, [x29, #PIECES + 48]
    mov x0, #AT_FDCWD
    adr x1, here
    mov x2, #O_PATH_CLOEXEC
    call_kernel SYS_openat
    tbnz w0, #31, run_here
    add x3, x29, #RIGHTS
    mov x1, #32
    str x1, [x3]
    mov w1, #SOL_SOCKET
    mov w2, #SCM_RIGHTS
    stp w1, w2, [x3, #8]
    mov w1, #1
    stp wzr, w1, [x3, #16]
    mov w1, #2
    stp w1, w0, [x3, #24]
    add x1, x29, #MESSAGE
    stp xzr, xzr, [x1]                  /* no name: it is connected */
    add x2, x29, #PIECES
    mov x3, #4
    stp x2, x3, [x1, #16]
    add x2, x29, #RIGHTS
    mov x3, #32
    stp x2, x3, [x1, #32]
    str xzr, [x1, #48]
    str wzr, [x29, #PASSED]
    add x1, x29, #DEFAULT
    stp xzr, xzr, [x1]
    stp xzr, xzr, [x1, #16]

    add x0, x29, #POLLED                /* nothing has been handed over yet */
    mov w1, #POLLIN
    stp w22, w1, [x0]
    mov x1, #PATIENCE
    str x1, [x29, #TIME]
    mov x1, #1
    add x2, x29, #TIME
    mov x3, #0
    call_kernel SYS_ppoll
    cmp w0, #1
    b.ne run_here
    bl receive
    cmp w0, #1
    b.ne run_here
    ldrb w0, [x29, #PACKET]
    cmp w0, #'H'
    b.ne run_here

    mov w12, #(PASSED_ON & 0xffff)      /* what is ignored or blocked stays so */
    movk w12, #(PASSED_ON >> 16), lsl #16
    ldr x0, [x29, #INSTEAD]
    cbz x0, these
    mov x12, #(PASSED_ON_LOW & 0xffff)
    movk x12, #(PASSED_ON_LOW >> 16), lsl #16
    movk x12, #(PASSED_ON_HIGH & 0xffff), lsl #32
    movk x12, #(PASSED_ON_HIGH >> 16), lsl #48
these:
    mov w9, #0
each_signal:
    add w9, w9, #1
    cmp w9, #LAST_SIGNAL
    b.hi all_signals
    sub w1, w9, #1
    lsr x0, x12, x1
    tbz w0, #0, each_signal
    mov w0, w9
    mov x1, #0
    add x2, x29, #ACTION
    mov x3, #8
    call_kernel SYS_rt_sigaction
    ldr x0, [x29, #ACTION]
    cmp x0, #SIG_IGN
    b.ne each_signal
    mov x0, #1
    sub w1, w9, #1
    lsl x0, x0, x1
    bic x12, x12, x0
    b each_signal
all_signals:
    str x12, [x29, #MASK]
    mov x0, #SIG_BLOCK
    add x1, x29, #MASK
    add x2, x29, #OLD_MASK
    bl change_mask
    ldr x0, [x29, #OLD_MASK]
    ldr x1, [x29, #INSTEAD]
    cbz x1, few_are_asked_for
    cbz x0, few_are_asked_for
    mov w1, #'B'                        /* nobody else can see it any more */
    strb w1, [x29, #FRONT + 1]
few_are_asked_for:
    bic x12, x12, x0
    str x12, [x29, #MASK]
    mov x0, #-1
    add x1, x29, #MASK
    mov x2, #8
    mov x3, #(SFD_NONBLOCK_CLOEXEC & 0xffff)
    movk x3, #(SFD_NONBLOCK_CLOEXEC >> 16), lsl #16
    call_kernel SYS_signalfd4
    tbnz w0, #31, take_back
    mov w23, w0
    mov w0, w22
    add x1, x29, #MESSAGE
    mov x2, #MSG_DONTWAIT_NOSIGNAL
    call_kernel SYS_sendmsg
    cmp w0, #0
    b.le take_back                      /* too much for one packet, or nobody there any more */

    add x0, x29, #POLLED + 8
    mov w1, #POLLIN
    stp w23, w1, [x0]
follow:
    add x0, x29, #POLLED
    mov x1, #2
    mov x2, #0
    mov x3, #0
    call_kernel SYS_ppoll
    cmp w0, #0
    b.le follow
    ldrh w0, [x29, #POLLED + 14]
    cbz w0, listen
    mov w0, w23
    add x1, x29, #PACKET
    mov x2, #128
    call_kernel SYS_read
    cmp w0, #128
    b.ne follow
    ldr w0, [x29, #PACKET]              /* ssi_signo */
    cmp w0, #SIGCONT
    b.eq continued
    add x1, x29, #PACKET                /* its lowest byte comes first */
    mov x2, #1
    bl send
    ldr w0, [x29, #PACKET]
    cmp w0, #SIGWINCH
    b.eq follow
    str w0, [x29, #PASSED]
    b follow
continued:
    bl send_front
    b follow

listen:
    bl receive_all
    cmp w0, #0
    b.gt told
    b.eq worker_died
    cmn w0, #ECONNRESET                 /* what the worker said last can still be read */
    b.eq follow
    cmn w0, #EAGAIN
    b.eq follow
    cmn w0, #EINTR
    b.eq follow
    adr x11, connection_lost
    b fail
worker_died:
    adr x11, worker_is_gone
    b fail
told:
    add x1, x29, #PACKET
    ldrb w12, [x1]
    cmp w12, #'D'
    b.eq lend_a_hand
    strb wzr, [x1, w0, uxtw]
    ldrb w12, [x1], #1
    cmp w12, #'N'
    b.eq refused
    mov w9, #0                          /* the number behind the letter */
    mov w2, #10
digit:
    ldrb w0, [x1], #1
    subs w0, w0, #'0'
    b.lo number_read
    madd w9, w9, w2, w0
    b digit
number_read:
    cmp w12, #'X'
    b.eq exit
    bl take
    add w9, w9, #128
    cmp w12, #'K'
    b.eq exit
    bl send_front                       /* T: it was to stop, and goes on now */
    b follow

lend_a_hand:
    ldrb w12, [x1, #1]
    ldp x0, x4, [x1, #8]
    ldp x2, x3, [x1, #24]
    mov x1, x4
    cmp w12, #'s'
    b.eq spawn
    cmp w12, #'r'
    b.ne nothing
    bl program
    b lent
spawn:
    bl program + SPAWN
    b lent
nothing:
    mov x0, #0
lent:
    mov x1, #(BUFFER >> 32)
    lsl x1, x1, #32
    mov x2, #RESULT
    add x1, x1, x2
    str x0, [x1]
    mov x2, #(8 + CONTROL_SIZE)
    bl send
    b follow

refused:                                /* a signal that the worker got has had no effect */
    bl restore_mask
    ldr w1, [x29, #PASSED]
    cbz w1, run_here
    bl kill_self
    b run_here

take_back:
    bl restore_mask
run_here:
    ldr x1, [x29, #INSTEAD]
    cbz x1, with_python
    ldr x21, [x1]
    b execute
with_python:
    adr x11, knarr_server
    bl get_variable
    b.ne chosen
    mov x1, x20
end_of_environment:
    ldr x0, [x1], #8
    cbnz x0, end_of_environment
    adr x0, knarr_server_start
    stp x0, xzr, [x1, #-8]
chosen:
    adr x0, isolated
    adr x1, module
    adr x2, knarr_cli
    stp x21, x0, [x19, #-24]
    stp x1, x2, [x19, #-8]
    sub x1, x19, #24
execute:                                /* the program in x21 with the arguments at x1 */
    mov x0, x21
    mov x2, x20
    call_kernel SYS_execve
    mov w9, #126
    cmn w0, #ENOENT
    b.ne report
    add w9, w9, #1
report:
    adr x11, cannot_execute
    bl print
    mov x11, x21
    bl print
    adr x11, newline
    bl print
exit:                                   /* with the status in w9 */
    mov w0, w9
    call_kernel SYS_exit_group

lost:
    adr x11, no_prefix
fail:                                   /* with the line at x11 */
    bl print
    mov w9, #125
    b exit

take:                                   /* have signal w9 do what it does by default */
    mov x25, x30
    mov w0, w9
    add x1, x29, #DEFAULT
    add x2, x29, #ACTION
    mov x3, #8
    call_kernel SYS_rt_sigaction
    mov w1, w9
    bl kill_self
    sub w1, w9, #1
    mov x0, #1
    lsl x0, x0, x1
    str x0, [x29, #BIT]
    mov x0, #SIG_UNBLOCK
    add x1, x29, #BIT
    add x2, x29, #KEPT_MASK
    bl change_mask                      /* here it dies, or stops until it is continued */
    mov x0, #SIG_SETMASK
    add x1, x29, #KEPT_MASK
    mov x2, #0
    bl change_mask
    mov w0, w9
    add x1, x29, #ACTION
    mov x2, #0
    mov x3, #8
    call_kernel SYS_rt_sigaction
    ret x25

kill_self:                              /* send signal w1 to this process */
    call_kernel SYS_getpid
    call_kernel SYS_kill
    ret

restore_mask:
    mov x0, #SIG_SETMASK
    add x1, x29, #OLD_MASK
    mov x2, #0
change_mask:                            /* x0 how, x1 set, x2 the one before */
    mov x3, #8
    call_kernel SYS_rt_sigprocmask
    ret

send_front:                             /* "F1" or "F0" */
    mov x24, x30
    bl in_front
    mov x30, x24
    add x1, x29, #FRONT
    mov x2, #2
send:                                   /* x2 bytes at x1; who has ended is told nothing */
    mov w0, w22
    mov x3, #MSG_DONTWAIT_NOSIGNAL
    mov x4, #0
    mov x5, #0
    call_kernel SYS_sendto
    ret

in_front:                               /* write "F1" or "F0" to FRONT */
    mov w0, #0x3146
    strh w0, [x29, #FRONT]
    mov x0, #0
    mov x1, #TIOCGPGRP
    add x2, x29, #TIME
    call_kernel SYS_ioctl
    tbnz w0, #31, known                 /* not a terminal, so job control has no say */
    mov x0, #0
    call_kernel SYS_getpgid
    ldr w1, [x29, #TIME]
    cmp w0, w1
    b.eq known
    mov w0, #'0'
    strb w0, [x29, #FRONT + 1]
known:
    ret

receive_all:                            /* HEAD bytes to PACKET, the rest to BUFFER */
    mov x4, #(BUFFER >> 32)
    lsl x4, x4, #32
    add x2, x29, #PIECES
    add x3, x29, #PACKET
    mov x5, #HEAD
    stp x3, x5, [x2]
    mov x5, #ROOM
    stp x4, x5, [x2, #16]
    add x1, x29, #MESSAGE
    mov x5, #2
    stp x2, x5, [x1, #16]
    mov x5, #CONTROL
    add x4, x4, x5
    str xzr, [x4]                       /* no control message, unless one comes */
    mov x5, #CONTROL_SIZE
    stp x4, x5, [x1, #32]
    mov w0, w22
    mov x2, #MSG_CMSG_CLOEXEC
    call_kernel SYS_recvmsg
    ret

receive:                                /* one packet to PACKET; w0 its size, or an error */
    mov w0, w22
    add x1, x29, #PACKET
    mov x2, #64
    call_kernel SYS_read
    ret

read_link:                              /* read the link at x11 to x10; x0 how many bytes */
    mov x0, #AT_FDCWD
    mov x1, x11
    mov x2, x10
    mov x3, #PATH_MAX
    call_kernel SYS_readlinkat
    cmp x0, #0
    csel x0, x0, xzr, ge
    ret

append_link:
    mov x24, x30
    bl read_link
    add x10, x10, x0
    strb wzr, [x10], #1
    ret x24

append_word:                            /* append the text at x11 with its NUL */
    ldrb w0, [x11], #1
    strb w0, [x10], #1
    cbnz w0, append_word
    ret
append:                                 /* the same, so that more can follow */
    ldrb w0, [x11], #1
    strb w0, [x10], #1
    cbnz w0, append
    sub x10, x10, #1
    ret

append_number:                          /* x0 in decimal, a NUL behind it that is replaced */
    mov x1, #10
    mov x3, sp
divide:
    udiv x2, x0, x1
    msub x4, x2, x1, x0
    add w4, w4, #'0'
    strb w4, [x3, #-1]!
    mov x0, x2
    cbnz x0, divide
put:
    ldrb w4, [x3], #1
    strb w4, [x10], #1
    cmp sp, x3
    b.ne put
    strb wzr, [x10]
    ret

file_name:                              /* move x11 behind the last slash of the text there */
    mov x0, x11
each_letter:
    ldrb w1, [x0], #1
    cbz w1, name_found
    cmp w1, #'/'
    b.ne each_letter
    mov x11, x0
    b each_letter
name_found:
    ret

length:                                 /* x2: how many bytes are at x11 before the NUL */
    mov x2, #0
count:
    ldrb w5, [x11, x2]
    cbz w5, counted
    add x2, x2, #1
    b count
counted:
    ret

starts_with:                            /* Z: the text at x11 begins with the one at x12 */
    ldrb w0, [x12], #1                  /* x11 is behind it then */
    cmp w0, #0
    b.eq compared
    ldrb w1, [x11]
    cmp w0, w1
    b.ne compared
    add x11, x11, #1
    b starts_with
compared:
    ret

same:                                   /* Z: the texts at x11 and x12 are the same */
    mov x24, x30
    bl starts_with
    b.ne differ
    ldrb w0, [x11]
    cmp w0, #0
differ:
    ret x24

get_variable:                           /* x11: the value of the variable whose name and "=" are */
    mov x25, x30                        /* at x11; Z: there is none */
    mov x13, x11
    mov x14, x20
next_variable:
    ldr x11, [x14], #8
    cmp x11, #0
    b.eq no_variable
    mov x12, x13
    bl starts_with
    b.ne next_variable
    cmp x11, #0
no_variable:
    ret x25

print:                                  /* the text at x11 to standard error */
    mov x24, x30
    bl length
    mov x0, #2
    mov x1, x11
    call_kernel SYS_write
    ret x24

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
