"""Tables of system call numbers, one module an architecture; see tools/generate_syscalls.py."""
