/* Gives pages of memory back that are again what a copy of them is, on x86_64.

   long give_back(const u64 *entries, size_t count, char *page, const char *copy, size_t size)

   entries: of /proc/self/pagemap for ``count`` pages of ``size`` bytes from ``page`` on, each a
   private mapping of the file of which ``copy`` is a shared one. Returns how many were given back.

   It looks at a page, compares it and lets go of it without anything else happening in the
   process: an interpreter that did this would write to what it has just compared. What was let go
   of is the file's page again; where it is not, because something else was mapped there
   meanwhile, it gets its bytes back.

   Position independent, no data, no library.

   Registers: rbx entry, rbp entries left, r12 the page, r13 its copy, r14 result, r15 size. */

    .intel_syntax noprefix
    .text
    .set SYS_madvise, 28
    .set MADV_DONTNEED, 4
    .set PRESENT, 63                    /* bits of an entry: proc_pid_pagemap(5) */
    .set OF_A_FILE, 61

    .macro words
    mov rcx, r15
    shr rcx, 3
    .endm
    .macro compare                      /* equal? */
    mov rsi, r12
    mov rdi, r13
    words
    repe cmpsq
    .endm

    push rbx
    push rbp
    push r12
    push r13
    push r14
    push r15
    mov rbx, rdi
    mov rbp, rsi
    mov r12, rdx
    mov r13, rcx
    mov r15, r8
    xor r14d, r14d
next:
    test rbp, rbp
    jz done
    mov rax, [rbx]
    bt rax, PRESENT
    jnc skip
    bt rax, OF_A_FILE
    jc skip
    compare
    jne skip
    mov rdi, r12
    mov rsi, r15
    mov edx, MADV_DONTNEED
    mov eax, SYS_madvise
    syscall
    test rax, rax
    jnz skip
    inc r14
    compare
    je skip
    dec r14
    mov rsi, r13
    mov rdi, r12
    words
    rep movsq
skip:
    add rbx, 8
    add r12, r15
    add r13, r15
    dec rbp
    jmp next
done:
    mov rax, r14
    pop r15
    pop r14
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
