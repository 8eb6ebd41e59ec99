/* Carries out a program of system calls, on x86_64. What an operation is stands in operations.py.

   Offset 0:  long run(const struct operation *first, struct fault *fault)
              Carries out operations until one ends the program. Returns 0 at END; on a failure
              that no jump takes care of, the number of that operation goes to fault->at, its
              error number to fault->error and, negated, to the caller.
   Offset 16: long spawn(struct clone_args *arguments, size_t size,
                         const struct operation *first, struct fault *fault)
              clone3(2) with all signals blocked around it, so that the child keeps them blocked.
              Returns the pid or a negated error number; the child, on the stack that the
              arguments give it, carries out the program and ends with status 0 or 1.

   Position independent, no data, no library, no use of the thread pointer: a child that shares
   its parent's memory may run it beside the parent.
   Assemble:  as -o code.o x86_64.S && objcopy -O binary -j .text code.o code

   Registers: rbx the operation, r12 the first one, r13 fault, ebp which arguments are indirect. */

    .intel_syntax noprefix
    .text
    .set SYS_rt_sigprocmask, 14
    .set SYS_exit_group, 231
    .set SYS_clone3, 435
    .set SIG_SETMASK, 2
    .set HIGHEST_ERROR, 4095
    .set EAGAIN, 11
    .set TRIES, 64
    /* struct operation */
    .set NUMBER, 0                      /* u16: of the system call */
    .set INDIRECT, 2                    /* u8: bit n: argument n is the address of its value */
    .set KIND, 3                        /* u8 */
    .set JUMP, 4                        /* i16: operations to go on a failure; 0: it is fatal */
    .set ERRORS, 6                      /* u8 [2]: failures that jump; first 0: all of them */
    .set OUT, 8                         /* u64: address for the result, or 0 */
    .set ARGUMENTS, 16                  /* u64 [6] */
    .set SIZE_SHIFT, 6                  /* an operation has 64 bytes */

    jmp run
    .balign 16
    jmp spawn
    .balign 16

run:
    push rbx
    push rbp
    push r12
    push r13
    mov rbx, rdi
    mov r12, rdi
    mov r13, rsi
next:
    movzx ebp, byte ptr [rbx + INDIRECT]
    .macro load register, number
    mov \register, [rbx + ARGUMENTS + 8 * \number]
    test bpl, 1 << \number
    jz 1f
    mov \register, [\register]
1:
    .endm
    load rdi, 0
    load rsi, 1
    load rdx, 2
    load r10, 3
    load r8, 4
    load r9, 5
    movzx ecx, byte ptr [rbx + KIND]
    test ecx, ecx
    jnz other
    movzx eax, word ptr [rbx + NUMBER]
    syscall
done:
    mov rcx, [rbx + OUT]
    test rcx, rcx
    jz 1f
    mov [rcx], rax
1:  cmp rax, -HIGHEST_ERROR
    jae failed
advance:
    add rbx, 1 << SIZE_SHIFT
    jmp next

failed:                                 /* rax: negated error number */
    neg eax
    cmp word ptr [rbx + JUMP], 0
    je fatal
    movzx ecx, byte ptr [rbx + ERRORS]
    test ecx, ecx
    jz jump
    cmp ecx, eax
    je jump
    movzx ecx, byte ptr [rbx + ERRORS + 1]
    cmp ecx, eax
    je jump
fatal:                                  /* eax: error number */
    mov rcx, rbx
    sub rcx, r12
    shr rcx, SIZE_SHIFT
    mov [r13], rcx
    mov [r13 + 8], rax
    neg rax
    jmp leave

jump:
    movsx rcx, word ptr [rbx + JUMP]
    shl rcx, SIZE_SHIFT
    add rbx, rcx
    jmp next

other:
    dec ecx
    jz set
    dec ecx
    jz test
    dec ecx
    jz jump
    dec ecx
    jz fail
    dec ecx
    jz repeat
    xor eax, eax                        /* END */
leave:
    pop r13
    pop r12
    pop rbp
    pop rbx
    ret
set:                                    /* the first argument is the result */
    mov rcx, [rbx + OUT]
    mov [rcx], rdi
    jmp advance
test:                                   /* (the u32 at argument 0 & argument 1) == argument 2? */
    mov eax, [rdi]
    and eax, esi
    cmp eax, edx
    je advance
    mov eax, r10d
    cmp word ptr [rbx + JUMP], 0
    je fatal
    jmp jump
fail:                                   /* with the error number in the first argument */
    mov eax, edi
    jmp fatal

repeat:                                 /* a call that EAGAIN asks to make again */
    mov ebp, TRIES
1:  movzx eax, word ptr [rbx + NUMBER]
    syscall
    cmp rax, -EAGAIN
    jne done
    dec ebp
    jnz 1b
    jmp done

spawn:
    push rbx
    push r12
    push r13
    push r14
    sub rsp, 24                         /* two signal sets */
    mov rbx, rdx
    mov r12, rcx
    mov r13, rdi
    mov r14, rsi
    mov qword ptr [rsp], -1
    mov edi, SIG_SETMASK
    mov rsi, rsp
    lea rdx, [rsp + 8]
    mov r10d, 8
    mov eax, SYS_rt_sigprocmask
    syscall
    mov rdi, r13
    mov rsi, r14
    mov eax, SYS_clone3
    syscall
    test rax, rax
    jz child
    mov rbx, rax
    mov edi, SIG_SETMASK
    lea rsi, [rsp + 8]
    xor edx, edx
    mov r10d, 8
    mov eax, SYS_rt_sigprocmask
    syscall
    mov rax, rbx
    add rsp, 24
    pop r14
    pop r13
    pop r12
    pop rbx
    ret
child:
    mov rdi, rbx
    mov rsi, r12
    call run
    xor edi, edi
    test rax, rax
    setnz dil
    mov eax, SYS_exit_group
    syscall
    hlt
